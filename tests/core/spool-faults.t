#!/usr/bin/perl
# System calls that fail, are slow, or during which the process is killed, by
# strace: what is answered, and what is left in the spool.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256_hex);
use Hook;
use Spool;

plan skip_all => no_strace() if no_strace();

subtest 'a delivery that fails removes no older file' => sub {
	my $spool = new_spool();
	my $body = '"signed, but not an event"';
	is(cgi(spool => $spool, body => $body)->{status}, 422, 'kept');
	is(cgi(spool => $spool, body => $body,
		under => fault('fsync:error=EIO'))->{status}, 503,
		'the same once more, and the flush fails');
	is_deeply([content($spool, 'rejected')], [$body],
		'the older file is still in rejected/');
};

subtest 'a process killed while it undoes a delivery loses nothing' => sub {
	my $spool = new_spool();
	for my $n (1, 2) {
		cgi(spool => $spool, body => my $body = event(), under =>
			fault("fsync:error=EIO unlinkat:signal=KILL:when=$n"));
		is(cgi(spool => $spool, body => $body)->{status}, 200,
			"killed at step $n: a retry gets 200");
		is(count_in($spool, 'new', $body), 1, '... new/ has it once');
	}
};

subtest 'a delivery stays in new/ if only the archive fails' => sub {
	my $spool = new_spool();
	my $body = event();
	is(cgi(spool => $spool, body => $body,
		under => fault('renameat:error=EIO'))->{status}, 503, 'status');
	my @names = files($spool);
	is(scalar @names, 1, 'a reader may have seen it: it stays');
	is(cgi(spool => $spool, body => $body)->{json}{status}, 'duplicate',
		'a retry finds it');
	is_deeply([files($spool)], \@names, '... and stores nothing');
};

subtest 'a signal during a write loses no bytes' => sub {
	my $spool = new_spool();
	is(cgi(spool => $spool, body => my $body = event(),
		under => fault('write:error=EINTR:when=1'))->{status}, 200,
		'status');
	is_deeply([content($spool, 'new')], [$body], 'bytes');
};

subtest 'new/ and rejected/ are flushed, and fail, separately' => sub {
	for (['new', '503 422'], ['rejected', '200 503']) {
		my ($sub, $want) = @$_;
		my $spool = new_spool();
		cgi(spool => $spool, body => event());
		my $worker = worker(spool => $spool,
			under => fault('fsync:error=EIO', '-P', "$spool/$sub"));
		get_ready($worker);
		is(join(' ', map { fcgi_status($_) }
			send_group($worker, event(), '"no event"')), $want,
			"$sub/ can't be flushed");
		reap($worker);
	}
};

subtest 'if new/ cannot be flushed, rejected/ is flushed all the same' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	my $trace = scratch() . '/trace';
	my $worker = worker(spool => $spool, under => fault(
		'fsync:error=EIO:when=1', '-e', 'trace=fsync', '-o', $trace));
	get_ready($worker);
	is(join(' ', map { fcgi_status($_) }
		send_group($worker, event(), '"no event"')), '503 422',
		'answers');
	reap($worker);
	like(slurp($trace), qr/ EIO .*\nfsync\(\d+\) += 0$/m, 'calls');
};

subtest 'a mode that changes during a group counts from the next' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	my $path = days_ago(0) . '/.' . sha256_hex(my $body = event());
	my $worker = worker(spool => $spool, under =>
		fault('openat:delay_exit=500000', '-P', $path));
	get_ready($worker);
	my @sockets = send_group($worker, $body, event());
	ok(wait_for(sub { -e "$spool/archive/$path" }), 'the first is written');
	chmod 0752, "$spool/new" or die $!;
	is(join(' ', map { fcgi_status($_) } @sockets), '200 200',
		'the group is stored');
	is(post_status($worker, event()), 500, 'the next is refused');
	reap($worker);
};

subtest 'free space is looked up again after an error' => sub {
	my $worker = worker(spool => new_spool(), under =>
		fault('fstatfs:error=EIO:when=2'));
	is(post_status($worker, event()), 503, 'the look-up fails');
	is(post_status($worker, event()), 200, 'the next succeeds');
	reap($worker);
};

done_testing();
