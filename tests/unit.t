#!/usr/bin/perl
# Runs the unit tests in C, each of which prints TAP of its own.
use strict;
use warnings;
use Test::More;

my @programs = grep { -x } sort glob 'build/unit-*';
plan skip_all => 'none was built: make check' if !@programs;
plan tests => scalar @programs;
$ENV{CMOCKA_MESSAGE_OUTPUT} = 'TAP';
for my $program (@programs) {
	my $output = qx($program 2>&1);
	ok($? == 0, $program) or diag($output);
}
