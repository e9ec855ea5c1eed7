#!/usr/bin/perl
# Each fuzz target passes its corpus, which has every input that ever failed,
# without the fuzzer.
use strict;
use warnings;
use Test::More;
use Hook;

my @programs = glob 'build/seeds/*-seeds';
plan skip_all => 'none was built: make check' if !@programs;

for my $program (@programs) {
	my ($name) = $program =~ m{(\w+)-seeds$};
	subtest "$name passes its corpus" => sub {
		# These open their file of keys, which is in memory, there.
		plan skip_all => 'needs /proc'
			if $name =~ /config|keys/ && !-e '/proc/self/fd';
		my @seeds = glob "tests/fuzz/corpus/$name/*";
		cmp_ok(scalar @seeds, '>', 20, 'inputs');
		my $dir = scratch();
		my $output = qx(TMPDIR='$dir' $program @seeds 2>&1);
		is($?, 0, 'none fails') or diag($output);
	};
}

done_testing();
