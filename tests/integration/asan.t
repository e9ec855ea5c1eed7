#!/usr/bin/perl
# The build of make check-asan reports a byte that is written after the end of a
# buffer: it finds the mutations asan-*.
use strict;
use warnings;
use Test::More;
use Hook;

$ENV{ASAN_OPTIONS} = 'detect_leaks=0';

sub check_build {
	my ($patch) = @_;
	my $dir = scratch();
	is(system($patch ? ('sh', 'tests/mutations/apply', $patch, $dir)
		: ('sh', 'scripts/copy', $dir)), 0, 'the tree is copied');
	is(system("make -s -C $dir all-asan"), 0, 'it is built');
	local $Hook::PROGRAM = "$dir/protocol-hook";
	return cgi(spool => new_spool(), body => event(), under => ['env']);
}

subtest 'without a bug, a delivery is stored and nothing is reported' => sub {
	my $got = check_build();
	is($got->{status}, 200, 'status');
	like($got->{log}, qr/\A$TS result=.*\n\z/, 'standard error');
};

for my $patch (glob 'tests/mutations/asan-*.patch') {
	subtest "$patch: the bug is reported" => sub {
		my $got = check_build($patch);
		is($got->{status}, undef, 'there is no answer');
		like($got->{log}, qr/ERROR: AddressSanitizer/, 'standard error');
	};
}
done_testing();
