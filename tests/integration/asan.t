#!/usr/bin/perl
# What make check-asan runs would find a byte that is written past its end.
use strict;
use warnings;
use Test::More;
use Hook;

$ENV{ASAN_OPTIONS} = 'detect_leaks=0';
for my $patch (undef, glob 'tests/plants/asan-*.patch') {
	my $dir = scratch();
	my $name = $patch // 'no bug';
	is(system($patch ? ('sh', 'tests/plants/plant', $patch, $dir)
		: ('sh', 'scripts/copy', $dir)), 0, "$name: copied");
	is(system("make -s -C $dir all-asan"), 0, "$name: built");
	local $Hook::PROGRAM = "$dir/protocol-hook";
	my $got = cgi(spool => new_spool(), body => event(), under => ['env']);
	is($got->{status}, $patch ? undef : 200, "$name: the answer");
	like($got->{log}, $patch ? qr/ERROR: AddressSanitizer/ : qr/\A$TS result=.*\n\z/,
		"$name: standard error");
}
done_testing();
