#!/usr/bin/perl
# A duplicate of a body that another process is storing waits for the result,
# and delays nobody else.
use strict;
use warnings;
use IO::Select;
use Test::More;
use Digest::SHA qw(sha256_hex);
use Hook;
use Spool;

subtest 'a duplicate waits for the other process, and delays nobody' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool);
	is(post_status($worker, event()), 200, 'it serves');
	my $body = event();
	my $lock = lock_body($spool, $body);
	my $start = time;
	my @waiting = map { send_busy($worker, $body) } 1 .. 3;
	cmp_ok(time - $start, '<=', 3, 'without waiting');
	archive($spool, days_ago(0), $body);
	close $lock;
	is(get_json($_), 'duplicate',
		'the other process has stored it: a duplicate') for @waiting;
	is(cgi(spool => $spool, body => $body)->{json}{status}, 'duplicate',
		'those that waited hold no lock');
	reap($worker);
};

subtest 'a duplicate gets 503 if the other process failed' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool);
	is(post_status($worker, event()), 200, 'it serves');
	my $lock = lock_body($spool, my $body = event());
	my $socket = send_busy($worker, $body);
	close $lock;
	is(fcgi_status($socket), 503, 'status');
	ok(wait_for(sub { log_of($worker) =~
		/reason="another process failed to store the same/ }),
		'the log says why');
	is(post($worker, $body)->{json}{status}, 'stored', 'a retry is stored');
	reap($worker);
};

subtest 'a duplicate of what is not an event waits, too' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool);
	is(post_status($worker, event()), 200, 'it serves');
	my $body = '"signed, but not an event"';
	my $lock = lock_body($spool, $body);
	my $socket = send_busy($worker, $body);
	spew("$spool/rejected/" . sha256_hex($body), $body);
	close $lock;
	is(fcgi_status($socket), 422, 'status');
	reap($worker);
};

subtest 'at most 64 duplicates wait, and SIGTERM answers them' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool);
	is(post_status($worker, event()), 200, 'it serves');
	my $lock = lock_body($spool, my $body = event());
	my @more = map { fcgi_connect($worker) } 1 .. 70;
	fcgi_send($_, fcgi_request($body)) for @more;
	ok(wait_for(sub { count_logged($worker,
		qr/result=unavailable.* reason="lock: /) >= 6 }, 8),
		'more than 64: the others get 503 at once');
	send_busy($worker, event());
	my $start = time;
	kill 'TERM', $worker->{pid};
	is((grep { fcgi_status($_) eq '503' } @more), 70,
		'SIGTERM: all are answered');
	cmp_ok(time - $start, '<=', 4, '... before their time is over');
	is(reap($worker), 0, '... and the process ends');
};

subtest 'a duplicate waits 10 seconds for the other process' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	my $worker = worker(spool => $spool, under => [qw(prlimit --nofile=40)]);
	my $lock = lock_body($spool, my $body = event());
	my $start = time;
	my $socket = send_busy($worker, $body);
	# It is older than the 5 seconds after which a silent connection's slot
	# is reclaimed.
	ok(!IO::Select->new($socket)->can_read(6), 'it waits');
	my @silent = map { fcgi_connect($worker) } 1 .. 20;
	is((post($worker, event()) // {})->{status}, 200,
		'another is served when no slot is left');
	close $_ for @silent;
	is(fcgi_status($socket), 503, 'status');
	cmp_ok(time - $start, '>=', 9, 'after 10 seconds');
	is_deeply([grep { $_ eq $body } content($spool, 'new')], [],
		'nothing is stored');
	reap($worker);
};

subtest 'a duplicate gets 503 at once if the lock fails' => sub {
	plan skip_all => no_strace() if no_strace();
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	my $worker = worker(spool => $spool, under =>
		fault('fcntl:error=ENOLCK:when=3+', '-P', "$spool/lock"));
	my $lock = lock_body($spool, my $body = event());
	my $start = time;
	is(post_status($worker, $body), 503, 'status');
	cmp_ok(time - $start, '<', 5, 'at once');
	reap($worker);
	like(log_of($worker), qr/reason="lock: No locks available"/,
		'the log says why');
};

subtest 'a body is a duplicate only when it is flushed' => sub {
	plan skip_all => no_strace() if no_strace();
	for my $call ('fdatasync', 'fsync', 'renameat') {
		my $spool = new_spool();
		cgi(spool => $spool, body => my $old = event());
		my $worker = worker(spool => $spool,
			under => fault("$call:delay_enter=500000"));
		get_ready($worker);
		# $old is a duplicate: it takes no lock, and waits for the
		# commit of the group.
		my @sockets = send_group($worker, my $body = event(), $old);
		my $path = "$spool/archive/" . days_ago(0) . '/.'
			. sha256_hex($body);
		ok(wait_for(sub { -e $path }), "a slow $call: it is written");
		is(cgi(spool => $spool, body => $body)->{json}{status},
			'duplicate', 'another process waits for the commit');
		is(join(' ', map { get_json($_) } @sockets),
			'stored duplicate', '... by the first');
		is(scalar files($spool), 2, '... once');
		reap($worker);
	}
};

subtest 'the lock on a body ends with its commit' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool);
	is(post($worker, my $body = event())->{json}{status}, 'stored',
		'stored');
	unlink glob "$spool/archive/*/*";
	is(cgi(spool => $spool, body => $body)->{json}{status}, 'stored',
		'another process can store it while the first runs');
	reap($worker);
};

subtest 'a duplicate needs no free space' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => my $body = event());
	my @short = (env => { PROTOCOL_HOOK_MIN_FREE => '1000000G' });
	is(cgi(spool => $spool, body => event(), @short)->{status}, 503,
		'too little space for a delivery');
	is(cgi(spool => $spool, body => $body, @short)->{json}{status},
		'duplicate', 'a duplicate is recognised');
};

subtest 'a duplicate is also found in the directory of yesterday' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	my $worker = worker(spool => $spool);
	post($worker, event());
	my $lock = lock_body($spool, my $body = event());
	my $run = cgi(spool => $spool, body => $body, start => 1);
	my $socket = send_busy($worker, $body);
	# A process that began before midnight stores it under yesterday.
	archive($spool, days_ago(1), $body);
	close $lock;
	is(get_json($socket), 'duplicate',
		'FastCGI, though there was no such directory before');
	is(Hook::cgi_done($run->{pid}, $run->{dir})->{json}{status},
		'duplicate', 'CGI');
	reap($worker);
};

done_testing();
