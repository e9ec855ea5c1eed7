#!/usr/bin/perl
# Runs the unit tests, tests/unit/*.c.  They print TAP, of which only what they
# skip is shown.  They make files in the current directory, which is a scratch
# one.
use strict;
use warnings;
use Test::More;
use Hook;

my @programs = grep { -x && !/\.real$/ } sort glob 'build/unit-*';
plan skip_all => 'none was built: make check' if !@programs;
$ENV{CMOCKA_MESSAGE_OUTPUT} = 'TAP';
my $top = $ENV{PWD};
chdir scratch() or die $!;
for my $program (@programs) {
	my $output = qx("$top/$program" 2>&1);
	is($?, 0, $program) or diag($output);
	my ($name) = $program =~ m{(unit-.*)};
	for my $skipped ($output =~ /^(?:not )?ok \d+ # SKIP (\S+)/mg) {
		SKIP: { skip "$name: $skipped", 1 }
	}
}
chdir $top or die $!;
done_testing();
