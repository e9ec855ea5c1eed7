#!/usr/bin/perl
# No branch and no index depends on a key or on the expected signature, as
# valgrind reports it; and it reports the mutations constant-*, which add one.
use strict;
use warnings;
use Test::More;
use Hook;

plan skip_all => 'needs valgrind' if system('valgrind --version >/dev/null 2>&1');

# Builds tests/constant-time.c in DIR and runs it; returns its exit status, its
# output and valgrind's log.
sub run_under_valgrind {
	my ($dir) = @_;
	my $output = qx(make -s -C $dir build/constant-time 2>&1);
	is($?, 0, 'it is built') or diag($output);
	my $log = scratch() . '/log';
	$output = qx(valgrind --quiet --error-exitcode=99 --log-file=$log $dir/build/constant-time);
	return ($? >> 8, $output, slurp($log));
}

subtest 'nothing depends on a secret' => sub {
	my ($exit, $output, $log) = run_under_valgrind('.');
	is($exit, 0, 'valgrind has no error') or diag($log);
	is($output, "right: 1\nwrong: 0\nwrong: 0\n" x 3,
		'the results are right, which are secret until they are returned');
};

my @mutations = glob 'tests/mutations/constant-*.patch';
cmp_ok(scalar @mutations, '>=', 2, 'there are mutations');
for my $patch (@mutations) {
	subtest "$patch: the bug is reported" => sub {
		my $dir = scratch();
		is(system('sh', 'tests/mutations/apply', $patch, $dir), 0,
			'it is planted');
		my ($exit, $output, $log) = run_under_valgrind($dir);
		is($exit, 99, 'valgrind has an error');
		my $function = $patch =~ /read/ ? 'keys_add' : 'keys_verify';
		like($log, qr/depends on uninitialised value.*?$function/s,
			"it is in $function");
	};
}
done_testing();
