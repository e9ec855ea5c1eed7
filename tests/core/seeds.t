#!/usr/bin/perl
# The seeds of each fuzz target, among them all that was ever found, without the
# fuzzer.
use strict;
use warnings;
use Test::More;
use Hook;

my @programs = glob 'build/seeds/*-seeds';
plan skip_all => 'none was built: make check' if !@programs;
my $dir = scratch();
for my $program (@programs) {
	my ($name) = $program =~ m{(\w+)-seeds$};
	SKIP: {
	# Its file of keys is one in memory.
	skip "$name: needs /proc", 2
		if $name =~ /config|keys/ && !-e '/proc/self/fd';
	my @seeds = glob "tests/fuzz/corpus/$name/*";
	cmp_ok(scalar @seeds, '>', 20, "$name: seeds");
	my $said = qx(TMPDIR='$dir' $program @seeds 2>&1);
	is($?, 0, "$name: each is taken rightly") or diag($said);
	}
}
done_testing();
