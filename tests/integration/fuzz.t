#!/usr/bin/perl
# Each fuzz target for some seconds, under AddressSanitizer and
# UndefinedBehaviorSanitizer; our reader of JSON beside Python's; and the bugs in
# tests/plants, each of which must be found.
use strict;
use warnings;
use Test::More;
use Hook;

my $SECONDS = $ENV{FUZZ_SECONDS} // 10;
my @targets = map { m{([^/]+)\.c$} } glob 'tests/fuzz/*.c';
plan skip_all => 'none was built: make fuzz' if grep { !-x "build/fuzz/$_" } @targets;

# Runs COMMAND; whether it failed, and what it said.
sub run {
	my ($dir, @command) = @_;
	my $log = scratch() . '/log';
	my $pid = fork // die $!;
	if (!$pid) {
		open STDOUT, '>', $log or die $!;
		open STDERR, '>&', \*STDOUT or die $!;
		chdir $dir && exec @command or POSIX::_exit(127);
	}
	waitpid $pid, 0;
	return ($?, slurp($log));
}

sub fuzz {
	my ($dir, $target, $seconds) = @_;
	return run($dir, 'sh', 'tests/fuzz/run', $target, $seconds);
}

sub compare {
	my ($dir) = @_;
	return run($dir, 'tests/fuzz/strict/compare', 'build/fuzz/read', 20000,
		glob 'tests/fuzz/corpus/event/*');
}

for my $target (@targets) {
	my ($failed, $said) = fuzz('.', $target, $SECONDS);
	is($failed, 0, "$target: nothing was found") or diag($said);
	my ($n) = $said =~ /number_of_executed_units: (\d+)/;
	cmp_ok($n // 0, '>', 1000, "$target: executions");
	diag(sprintf 'fuzz %s: %d executions in %d s', $target, $n, $SECONDS)
		if $n;
}
my ($failed, $said) = compare('.');
is($failed, 0, "what we take is what Python's strict reading takes")
	or diag($said);
diag("compare: $said");

my @plants = grep { m{/(?:strict|${\ join '|', @targets })-[^/]*$} }
	glob 'tests/plants/*.patch';
cmp_ok(scalar @plants, '>=', scalar @targets, 'there are bugs to find');
for my $patch (@plants) {
	my ($name, $target) = $patch =~ m{/((\w+)-[^/]*)\.patch$};
	my $dir = scratch();
	my $strict = $target eq 'strict';
	is(system('sh', 'tests/plants/plant', $patch, $dir), 0,
		"$name: planted");
	($failed, $said) = run($dir, 'make', '-s',
		'build/fuzz/' . ($strict ? 'read' : $target));
	is($failed, 0, "$name: built") or diag($said);
	($failed, $said) = $strict ? compare($dir) : fuzz($dir, $target, 60);
	isnt($failed, 0, "$name: found") or diag($said);
	# A smashed stack may leave the sanitizer no summary.
	like($said, qr/^SUMMARY: |^==\d+==\s*ERROR: |^differ: /m, "$name: and shown");
	diag("plant $name: ", $said =~ /^(SUMMARY: .*|==\d+==\s*ERROR: .*|differ: .*)/m);
}
done_testing();
