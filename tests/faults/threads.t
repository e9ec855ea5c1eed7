#!/usr/bin/perl
# A group whose files several threads flush: the flush of each fails in turn,
# and there is no thread to be had.
use strict;
use warnings;
use Test::More;
use Hook;
use Faults;

my $SIZE = 12;	# some threads have one file, some two
my $shim = "$ENV{PWD}/build/shim.so";

# Delivers BODIES as one group; their answers.
sub deliver {
	my ($spool, $env, @bodies) = @_;
	my $worker = worker(spool => $spool, under => ['env',
		"LD_PRELOAD=$shim", $env]);
	kill 'STOP', $worker->{pid};
	my @sockets = map { fcgi_connect($worker) } @bodies;
	fcgi_send($sockets[$_], fcgi_request($bodies[$_])) for 0 .. $#bodies;
	kill 'CONT', $worker->{pid};
	my @got = map { fcgi_recv($_) // {} } @sockets;
	reap($worker);
	return @got;
}

for my $n (1 .. $SIZE) {
	my ($spool, @bodies) = (new_spool(), fresh_bodies($SIZE));
	my @got;
	is(join("\n", attempt(\@bodies, $spool, sub {
		return @got = deliver($spool, "SHIM_FDATASYNC=$n", @bodies);
	})), '', "flush $n fails: the promise holds");
	my %status;
	$status{$_->{status} // 'none'}++ for @got;
	is_deeply(\%status, { 200 => $SIZE - 1, 503 => 1 },
		'one is asked for again, the others are stored');
}
my ($spool, @bodies) = (new_spool(), fresh_bodies($SIZE));
my @got = deliver($spool, 'SHIM_NOTHREAD=1', @bodies);
is((grep { ($_->{status} // '') eq '200' } @got), $SIZE, 'without threads');
is_deeply([sort(content($spool, 'new'))], [sort @bodies], 'all are there');
done_testing();
