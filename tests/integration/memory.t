#!/usr/bin/perl
# A worker's resident memory stays small and flat.
use strict;
use warnings;
use Test::More;
use File::Temp qw(tempdir);
use Hook;

plan skip_all => 'needs /proc' if !-e '/proc/self/status';
my $dir = -w '/dev/shm' ? tempdir(DIR => '/dev/shm', CLEANUP => 1) : scratch();
mkdir "$dir/spool", 0750 or die $!;
my $worker = worker(spool => "$dir/spool", stderr => '/dev/null');

sub rss {
	my ($kb) = slurp("/proc/$worker->{pid}/status") =~ /^VmRSS:\s+(\d+)/m;
	return $kb;
}

# Delivers N bodies or some more, on 16 connections at a time.
sub deliver {
	my ($n) = @_;
	my @sockets = map { fcgi_connect($worker) } 1 .. 16;
	my $stored = 0;
	while ($n > 0) {
		fcgi_send($_, fcgi_request(event(pad => 400), keep => 1))
			for @sockets;
		$stored += (fcgi_recv($_)->{status} == 200) for @sockets;
		$n -= @sockets;
	}
	return $stored;
}

cmp_ok(deliver(100), '>=', 100, '100 deliveries are stored');
my $first = rss();
cmp_ok(deliver(10_000), '>=', 10_000, '10,000 deliveries are stored');
my $many = rss();
cmp_ok($many - $first, '<=', 1024, "it stays flat: $first KB after 100 deliveries, $many KB after 10,100");
is(post($worker, event(pad => (1 << 20) - 200))->{status}, 200, 'a body of 1 MB is stored') for 1 .. 3;
# The memory into which a body was read is kept.
cmp_ok(rss() - $many, '<=', 1536, 'it grows little: ' . rss() . ' KB after bodies of 1 MB');
cmp_ok(rss(), '<', 4096, 'it is below 4 MB');
reap($worker);
done_testing();
