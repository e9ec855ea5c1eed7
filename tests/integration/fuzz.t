#!/usr/bin/perl
# Each fuzz target runs for some seconds under AddressSanitizer and
# UndefinedBehaviorSanitizer and finds nothing; our JSON reader agrees with
# Python's; and both find each bug of tests/mutations that is theirs.
use strict;
use warnings;
use Test::More;
use Hook;

my $SECONDS = $ENV{FUZZ_SECONDS} // 10;
my $MUTATION_SECONDS = 60;
my @TARGETS = map { m{([^/]+)\.c$} } glob 'tests/fuzz/*.c';
plan skip_all => 'not built: make fuzz' if grep { !-x "build/fuzz/$_" } @TARGETS;

# Runs COMMAND in the directory DIR; returns its wait status and its output.
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

sub compare_with_python {
	my ($dir) = @_;
	return run($dir, 'tests/fuzz/strict/compare', 'build/fuzz/read', 20000,
		glob 'tests/fuzz/corpus/event/*');
}

for my $target (@TARGETS) {
	subtest "$target: fuzzing finds nothing" => sub {
		my ($failed, $output) = fuzz('.', $target, $SECONDS);
		is($failed, 0, 'status') or diag($output);
		my ($n) = $output =~ /number_of_executed_units: (\d+)/;
		cmp_ok($n // 0, '>', 1000, 'number of executions');
		diag(sprintf 'fuzz %s: %d executions in %d s', $target, $n,
			$SECONDS) if $n;
	};
}

subtest 'our JSON reader accepts what Python, set to be strict, accepts' => sub {
	my ($failed, $output) = compare_with_python('.');
	is($failed, 0, 'status') or diag($output);
	diag("compare: $output");
};

# The part of a name before the first '-' is the target that must find the bug.
my @mutations = grep { m{/(?:strict|${\ join '|', @TARGETS })-[^/]*$} }
	glob 'tests/mutations/*.patch';
for my $target (@TARGETS) {
	cmp_ok(scalar(grep { m{/\Q$target\E-[^/]*$} } @mutations), '>=', 1,
		"$target: there is a mutation for it");
}
for my $patch (@mutations) {
	my ($name, $target) = $patch =~ m{/((\w+)-[^/]*)\.patch$};
	subtest "$name: the bug is found" => sub {
		my $dir = scratch();
		my $strict = $target eq 'strict';
		is(system('sh', 'tests/mutations/apply', $patch, $dir), 0,
			'it is planted');
		my ($failed, $output) = run($dir, 'make', '-s',
			'build/fuzz/' . ($strict ? 'read' : $target));
		is($failed, 0, 'it is built') or diag($output);
		($failed, $output) = $strict ? compare_with_python($dir)
			: fuzz($dir, $target, $MUTATION_SECONDS);
		isnt($failed, 0, 'it is found') or diag($output);
		# If the stack was overwritten, there is no SUMMARY.
		my ($line) = $output =~
			/^(SUMMARY: .*|==\d+==\s*ERROR: .*|differ: .*)/m;
		ok($line, 'it is reported');
		diag("$name: ", $line // 'not reported');
	};
}
done_testing();
