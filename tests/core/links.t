#!/usr/bin/perl
# The links of the documents lead to files and headings that exist.
use strict;
use warnings;
use Test::More;
use Hook;
use Links;

subtest 'no link in the tree is dead' => sub {
	cmp_ok(scalar documents('.'), '>', 5, 'documents');
	is(join("\n", dead_links('.')), '', 'dead links');
};

subtest 'in a package, links to what it lacks become text' => sub {
	my $package = scratch() . '/package';
	mkdir $package or die $!;
	is(system('cp', '-R', 'README.md', 'SECURITY.md', 'NEWS.md', 'docs',
		$package), 0, 'copied');
	cmp_ok(scalar dead_links($package), '>', 5, 'dead links before');
	is(system($^X, 'scripts/links', $package), 0, 'scripts/links');
	is(join("\n", dead_links($package)), '', 'dead links after');
	my $readme = slurp("$package/README.md");
	like($readme, qr/\[SECURITY\.md\]\(SECURITY\.md\)/,
		'a link to what the package has stays');
	like($readme, qr/(?<!\[)protocol-hook\(8\): every answer/,
		'of another one its text stays');
};

done_testing();
