#!/usr/bin/perl
# examples/kafka by kcat, against librdkafka's mock cluster of three brokers:
# what was delivered is in the topic, whichever process is killed.
use strict;
use warnings;
use Cwd qw(abs_path);
use POSIX qw(:sys_wait_h);
use Test::More;
use Time::HiRes qw(sleep time);
# Only processes are killed, so the spool may be in memory.
BEGIN { $ENV{TMPDIR} //= '/dev/shm' if -d '/dev/shm' && -w _ }
use Hook;

plan skip_all => 'needs kcat' if system('kcat -V >/dev/null 2>&1');

# exit() runs the END blocks, which clean up.
$SIG{$_} = sub { exit 1 } for qw(HUP INT TERM);

my $FORWARD = abs_path('examples/kafka/forward');
my $dir = scratch();
my %started;

sub start {
	my ($log, @command) = @_;
	open my $made, '>>', $log or die $!;
	my $pid = fork // die $!;
	if (!$pid) {
		setpgrp;
		open STDIN, '<', '/dev/null' or die $!;
		open STDOUT, '>>', $log or die $!;
		open STDERR, '>&', \*STDOUT or die $!;
		exec @command or POSIX::_exit(127);
	}
	$started{$pid} = 1;
	return $pid;
}

sub end {
	my ($pid) = @_;
	wait_for(sub { waitpid($pid, WNOHANG) == $pid }, 60) or return;
	delete $started{$pid};
	return $?;
}

END {
	my $status = $?;
	kill 'KILL', -$_ for keys %started;
	waitpid $_, 0 for keys %started;
	$? = $status;
}

# The cluster lives in a kcat that waits for input for ever; it ignores the
# broker that it has to be given.
sub mock {
	my $log = "$dir/mock";
	my $pid = start($log, 'sh', '-c', 'sleep 600 | exec kcat -P -t none '
		. '-b 127.0.0.1:1 -X test.mock.num.brokers=3 -X debug=mock');
	my $brokers;
	wait_for(sub { ($brokers) = slurp($log) =~
		/bootstrap\.servers=(127[\d.:,]+)\n/ }) or die 'no mock cluster';
	return ($pid, $brokers);
}

my ($mock, $brokers) = mock();

sub forward {
	my ($spool, $topic, @arguments) = @_;
	my @options = @arguments && $arguments[0] eq '-1' ? shift @arguments : ();
	return start("$spool/../log", 'sh', $FORWARD, @options, '-w', 1, $spool,
		$topic, '-b', $brokers, @arguments);
}

# [partition, key, body] of all messages of a topic, in each partition's order.
sub topic {
	my ($topic) = @_;
	open my $kcat, '-|', 'kcat', '-C', '-q', '-e', '-t', $topic, '-b',
		$brokers, '-o', 'beginning', '-f', '%p\x1f%k\x1f%s\x1e' or die $!;
	local $/;
	return map { [split /\x1f/, $_, 3] } split /\x1e/, <$kcat>;
}

sub left {
	my @left = (files($_[0]), files($_[0], 'kafka'));
	return @left;
}

sub deliver {
	my ($spool, @bodies) = @_;
	my $worker = worker(spool => $spool);
	for (@bodies) {
		post($worker, $_)->{status} == 200 or die 'not delivered';
	}
	reap($worker);
	return;
}

my $spool = new_spool();
my @bodies = ($EXAMPLE, qq(\r\n\t{"id":"space","type":"group.deleted",\n"payload":{}}\n\n),
	map { event(id => 'key' . $_ % 3, pad => $_) } 1 .. 60);
deliver($spool, @bodies);
is(end(forward($spool, 'one', '-1')), 0, '-1 ends when all is forwarded');
is_deeply([left($spool)], [], 'and deleted');
my @got = topic('one');
is_deeply([sort map { $_->[2] } @got], [sort @bodies], 'byte for byte');
is_deeply([grep { $_->[2] !~ /"id":"\Q$_->[1]\E"/ } @got], [],
	'the key is the id');
for my $key (map { "key$_" } 0 .. 2) {
	is_deeply([map { $_->[2] } grep { $_->[1] eq $key } @got],
		[grep { /"id":"$key"/ } @bodies], "in order: $key");
}

# A message that is too large.
$spool = new_spool();
@bodies = (event(), event(pad => 200_000), event());
deliver($spool, @bodies);
is(end(forward($spool, 'two', '-1', '-X', 'message.max.bytes=100000')), 0,
	'too large: it goes on');
is_deeply([sort map { $_->[2] } topic('two')], [sort @bodies[0, 2]],
	'the others are forwarded');
is(join('', content($spool, 'failed')) eq $bodies[1], 1, 'it is in failed/');
like(slurp("$spool/../log"), qr/too large: it is in failed/, 'the log says so');

# What was not acknowledged in time is kept.
$spool = new_spool();
deliver($spool, @bodies);
kill 'STOP', -$mock;
isnt(end(forward($spool, 'three', '-1', '-X', 'message.timeout.ms=500')), 0,
	'no acknowledgement in time: -1 fails');
kill 'CONT', -$mock;
is(scalar(() = left($spool)), 3, 'the files are kept');
is(end(forward($spool, 'three', '-1')), 0, 'the next run');
my %got = map { $_->[2] => 1 } topic('three');
is_deeply([sort keys %got], [sort @bodies], 'sends them');

# SIGTERM.
$spool = new_spool();
my $one = forward($spool, 'one');
deliver($spool, event());
ok(wait_for(sub { files($spool, 'archive') && !left($spool) }),
	'it waits for more');
kill 'TERM', $one;
is(end($one), 0, 'SIGTERM: ends');

# It is killed at random moments under load, alone or with its kcat.
$spool = new_spool();
my $worker = worker(spool => $spool);
my %sent;
my $pid = forward($spool, 'four');
for my $round (1 .. 40) {
	for (1 .. 10) {
		post($worker, my $body = event())->{status} == 200
			or die 'not delivered';
		$sent{$body} = 1;
	}
	sleep rand 0.4;
	kill 'KILL', $round % 2 ? $pid : -$pid;
	end($pid);
	$pid = forward($spool, 'four');
}
reap($worker);
# A kcat whose forwarder is dead keeps the lock for as long as it runs.
ok(wait_for(sub {
	if (waitpid($pid, WNOHANG) == $pid) {
		delete $started{$pid};
		$pid = forward($spool, 'four');
	}
	!left($spool)
}, 120), 'killed 40 times: nothing stays') or diag scalar(() = left($spool));
kill 'TERM', $pid;
end($pid);
my %in;
$in{$_->[2]}++ for topic('four');
is(scalar(grep { !$in{$_} } keys %sent), 0, '400 deliveries, none lost');
is(scalar(grep { !$sent{$_} } keys %in), 0, 'byte for byte');
my $again = 0;
$again += $_ - 1 for values %in;
note "$again sent twice";

# Without a cluster files wait.
kill 'KILL', -$mock;
end($mock);
$spool = new_spool();
deliver($spool, @bodies);
isnt(end(forward($spool, 'five', '-1', '-X', 'message.timeout.ms=1000')), 0,
	'no broker: -1 fails');
is(scalar(() = left($spool)), 3, 'the files are kept');

done_testing();
