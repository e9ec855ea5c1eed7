#!/usr/bin/perl
# No branch and no index depends on a key or on the signature that was expected,
# as valgrind sees it; and where one does, it is seen.
use strict;
use warnings;
use Test::More;
use Hook;

plan skip_all => 'needs valgrind' if system('valgrind --version >/dev/null 2>&1');

# Builds the program in DIR as the Makefile would and runs it; the number of
# errors, what it printed and what valgrind said.
sub watch {
	my ($dir) = @_;
	my $said = qx(make -s -C $dir build/constant-time 2>&1);
	is($?, 0, 'built') or diag($said);
	my $log = scratch() . '/log';
	my $out = qx(valgrind --quiet --error-exitcode=99 --log-file=$log $dir/build/constant-time);
	return ($? >> 8, $out, slurp($log));
}

my ($exit, $out, $log) = watch('.');
is($exit, 0, 'nothing depends on a secret') or diag($log);
is($out, "right: 1\nwrong: 0\nwrong: 0\n" x 3,
	'the answers are right, and secret until they are given');

my @plants = glob 'tests/plants/constant-*.patch';
cmp_ok(scalar @plants, '>=', 2, 'there are leaks to find');
for my $patch (@plants) {
	my $dir = scratch();
	is(system('sh', 'tests/plants/plant', $patch, $dir), 0, "$patch: planted");
	($exit, $out, $log) = watch($dir);
	is($exit, 99, "$patch: found");
	my $where = $patch =~ /read/ ? 'keys_add' : 'keys_verify';
	like($log, qr/depends on uninitialised value.*?$where/s,
		"$patch: in $where");
}
done_testing();
