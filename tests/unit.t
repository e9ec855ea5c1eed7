#!/usr/bin/perl
# Runs the unit tests in C, each of which prints TAP of its own; what one of
# them skips is shown here, too.
use strict;
use warnings;
use Test::More;

my @programs = grep { -x && !/\.real$/ } sort glob 'build/unit-*';
plan skip_all => 'none was built: make check' if !@programs;
$ENV{CMOCKA_MESSAGE_OUTPUT} = 'TAP';
for my $program (@programs) {
	my $output = qx($program 2>&1);
	ok($? == 0, $program) or diag($output);
	my ($name) = $program =~ m{(unit-.*)};
	for my $skipped ($output =~ /^(?:not )?ok \d+ # SKIP (\S+)/mg) {
		SKIP: { skip "$name: $skipped", 1 }
	}
}
done_testing();
