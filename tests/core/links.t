#!/usr/bin/perl
# Every link of the documents leads to something: here, and in a package, which
# has not the whole tree.
use strict;
use warnings;
use Test::More;
use Hook;
use Links;

cmp_ok(scalar documents('.'), '>', 5, 'documents');
is(join("\n", dead_links('.')), '', 'no link leads nowhere');

my $package = scratch() . '/package';
mkdir $package or die $!;
is(system('cp', '-R', 'README.md', 'SECURITY.md', 'NEWS.md', 'docs', $package),
	0, 'some of it');
cmp_ok(scalar dead_links($package), '>', 5, 'has links to what it lacks');
is(system($^X, 'scripts/links', $package), 0, 'scripts/links');
is(join("\n", dead_links($package)), '', 'no link there leads nowhere');
my $readme = slurp("$package/README.md");
like($readme, qr/\[SECURITY\.md\]\(SECURITY\.md\)/, 'what is there is a link');
like($readme, qr/(?<!\[)protocol-hook\(8\): every answer/,
	'of others the text stays');
done_testing();
