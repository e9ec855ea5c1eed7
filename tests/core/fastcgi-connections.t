#!/usr/bin/perl
# FastCGI connections: kept ones, slow and silent clients, and what happens when
# descriptors run out.
use strict;
use warnings;
use Test::More;
use Answers;
use Hook;
use IO::Select;
use Time::HiRes qw(time);

$SIG{PIPE} = 'IGNORE';

# Its requests time out after a second.
my $QUICK = 'build/quick/protocol-hook';

# Runs the program with at most N descriptors.
sub limit { my ($n) = @_; return (under => ['prlimit', "--nofile=$n"]) }

subtest 'a kept connection serves requests one after the other' => sub {
	my $worker = worker(spool => new_spool());
	my $kept = fcgi_connect($worker);
	for my $n (1 .. 3) {
		fcgi_send($kept, fcgi_request(event(), keep => 1));
		is(fcgi_recv($kept)->{json}{status}, 'stored', "request $n");
	}
	fcgi_send($kept, fcgi_request(event(), keep => 1,
		params => { HTTP_X_PROTOCOL_SIGNATURE => undef }));
	is(fcgi_status($kept), 401, 'one without signature');
	fcgi_send($kept, fcgi_request('x' x 2_000_000, keep => 1));
	is(fcgi_status($kept), 413, 'one that is too large');
	fcgi_send($kept, fcgi_request(event(), keep => 1));
	is(fcgi_recv($kept)->{json}{status}, 'stored', 'one after these');
	is(post($worker, event())->{json}{status}, 'stored',
		'other connections are served meanwhile');
	reap_clean($worker);
};

subtest 'a kept connection whose request is cut gets 400 and ends' => sub {
	my $worker = worker(spool => new_spool());
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, substr fcgi_request(event(), keep => 1), 0, -20);
	shutdown $socket, 1;
	is(fcgi_status($socket), 400, 'status');
	ok(!sysread($socket, my $byte, 1), 'end of file');
	reap_clean($worker);
};

subtest 'requests in parts leave no descriptor open' => sub {
	my $worker = worker(spool => new_spool(), limit(40));
	my $in_parts = sub {
		my ($socket, $keep) = @_;
		my $request = fcgi_request(event(), keep => $keep);
		fcgi_send($socket, substr $request, 0, 50, '');
		post($worker, '', params => { REQUEST_METHOD => 'PUT' });
		fcgi_send($socket, $request);
		return fcgi_status($socket, 5);
	};
	my $kept = fcgi_connect($worker);
	my @got = map { $in_parts->($kept, 1) } 1 .. 50;
	is("@got", join(' ', (200) x 50), '50 on a kept connection');
	@got = map { $in_parts->(fcgi_connect($worker), 0) } 1 .. 50;
	is("@got", join(' ', (200) x 50), '50 on connections of their own');
	fcgi_send($kept, fcgi_request(event(), keep => 1));
	is(fcgi_status($kept), 200, 'then one that is whole');
	my $start = time;
	is(reap($worker), 0, 'SIGTERM: exit status');
	cmp_ok(time - $start, '<=', 3, 'a kept connection does not delay it');
};

subtest 'clients that stall delay nobody, and nothing of them is kept' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool);
	my $request = fcgi_request(event(pad => 100));
	my @stalled = map { fcgi_connect($worker) } 1 .. 40;
	for my $i (0 .. $#stalled) {
		fcgi_send($stalled[$i], substr $request, 0,
			int($i * (length($request) - 1) / $#stalled));
	}
	my $long = fcgi_request(event(pad => 900_000));
	my @long = map { fcgi_connect($worker) } 1 .. 4;
	fcgi_send($long[$_], substr $long, 0, 200_000 * ($_ + 1)) for 0 .. 3;
	my $start = time;
	is(post_status($worker, event()), 200, "delivery $_ beside them")
		for 1 .. 5;
	cmp_ok(time - $start, '<=', 2, 'without waiting');
	shutdown $_, 1 for @stalled[0 .. 19];
	for my $i (0 .. 19) {
		my $got = fcgi_recv($stalled[$i]);
		ok(!defined $got || $got->{status} == 400,
			"half a request, then end of file: $i");
	}
	close $_ for @stalled, @long;
	is(post_status($worker, event()), 200, 'a delivery after them');
	is(scalar files($spool), 6, 'new/ has the whole deliveries');
	reap_clean($worker);
};

subtest 'a request that stalls gets 408; a kept connection may be idle' => sub {
	local $Hook::PROGRAM = $QUICK;
	my $worker = worker(spool => new_spool());
	my $silent = fcgi_connect($worker);
	my $half = fcgi_connect($worker);
	fcgi_send($half, substr fcgi_request(event()), 0, -20);
	my $kept = fcgi_connect($worker);
	fcgi_send($kept, fcgi_request(event(), keep => 1));
	is(fcgi_status($kept), 200, 'a connection is kept');
	my $half_kept = fcgi_connect($worker);
	fcgi_send($half_kept, substr fcgi_request(event(), keep => 1), 0, -20);
	is(fcgi_status($half), 408, 'half a request');
	is(fcgi_status($half_kept), 408, '... that asks to keep it');
	ok(!sysread($half_kept, my $byte, 1), '... ends the connection');
	is(fcgi_recv($silent), undef, 'a silent connection is closed');
	fcgi_send($kept, fcgi_request(event(), keep => 1));
	is(fcgi_status($kept), 200, 'the kept one still serves');
	reap_clean($worker);
};

subtest 'on a kept connection time counts from the first byte' => sub {
	local $Hook::PROGRAM = $QUICK;
	my $worker = worker(spool => new_spool());
	my $kept = fcgi_connect($worker);
	fcgi_send($kept, fcgi_request(event(), keep => 1));
	is(fcgi_status($kept), 200, 'a connection is kept');
	my $silent = fcgi_connect($worker);
	is(fcgi_recv($silent), undef,
		'it is idle for longer than a request may take');
	my $request = fcgi_request(event(), keep => 1);
	fcgi_send($kept, substr $request, 0, 50, '');
	post($worker, event());
	fcgi_send($kept, $request);
	is(fcgi_status($kept), 200, 'the next request has all of its time');
	fcgi_send($kept, substr fcgi_request(event(), keep => 1), 0, -20);
	is(fcgi_status($kept), 408, '... and no more');
	reap_clean($worker);
};

subtest 'the request that began first times out first' => sub {
	local $Hook::PROGRAM = $QUICK;
	my $worker = worker(spool => new_spool());
	my $part = substr fcgi_request(event()), 0, -20;
	my $first_slot = fcgi_connect($worker);
	my $early = fcgi_connect($worker);
	fcgi_send($early, $part);
	post($worker, event());
	close $first_slot;
	select undef, undef, undef, 0.5;	# its age
	my $late = fcgi_connect($worker);
	fcgi_send($late, $part);
	is(fcgi_status($early), 408, 'the earlier one');
	ok(!IO::Select->new($late)->can_read(0.2), '... before the later one');
	is(fcgi_status($late), 408, '... which times out, too');
	reap_clean($worker);
};

subtest 'the connection that is idle for longest gives way' => sub {
	local $Hook::PROGRAM = $QUICK;
	my $worker = worker(spool => new_spool(), limit(40));
	my ($busy, $idle);
	for my $socket ($busy, $idle, $busy) {
		$socket //= fcgi_connect($worker);
		fcgi_send($socket, fcgi_request(event(), keep => 1));
		is(fcgi_status($socket), 200, 'a kept connection');
		select undef, undef, undef, 0.01;	# a time of its own
	}
	my $both = IO::Select->new($busy, $idle);
	my (@others, @closed);
	while (@others < 40 && !@closed) {
		push @others, fcgi_connect($worker);
		@closed = $both->can_read(0.05);
	}
	is(scalar(grep { $_ == $idle } @closed), 1, 'the idle one');
	is(scalar(grep { $_ == $busy } @closed), 0, '... and not the other');
	close $_ for @others;
	reap($worker);
};

subtest 'silent connections give way to others' => sub {
	local $Hook::PROGRAM = $QUICK;
	my $worker = worker(spool => new_spool(), limit(300));
	my @silent = map { fcgi_connect($worker) } 1 .. 200;
	is(post_status($worker, event()), 200, '200 silent ones');
	close $_ for @silent;
	reap($worker);
	$worker = worker(spool => new_spool(), limit(40));
	@silent = map { fcgi_connect($worker) } 1 .. 14;
	is(post_status($worker, event()), 200, 'with 40 descriptors');
	fcgi_send($_, fcgi_request(event())) for @silent[9 .. 13];
	is((grep { fcgi_status($_, 5) eq '200' } @silent[12 .. 13]), 2,
		'the last to connect are served when they send');
	close $_ for @silent;
	reap($worker);
};

subtest '19 descriptors are enough' => sub {
	local $Hook::PROGRAM = $QUICK;
	my $worker = worker(spool => new_spool(), limit(19));
	is(post_status($worker, event()), 200, "delivery $_") for 1 .. 2;
	reap($worker);
};

subtest 'in a burst, no new connection is closed for another' => sub {
	my $worker = worker(spool => new_spool(), limit(40));
	my @burst = map { fcgi_connect($worker) } 1 .. 20;
	fcgi_send($_, fcgi_request(event())) for reverse @burst;
	is((grep { fcgi_status($_) eq '200' } @burst), 20, 'all are served');
	reap_clean($worker);
};

# The first 60 requests make the group wait for as many, and slow flushes make
# it wait long.
subtest 'a group that waits keeps its connections' => sub {
	plan skip_all => no_strace() if no_strace();
	my $spool = new_spool();
	my $worker = worker(spool => $spool, under => ['sh', '-c',
		'ulimit -n 250; exec strace -f --seccomp-bpf -D -o /dev/null '
		. '-e trace=fsync -e inject=fsync:delay_enter=100000 "$@"',
		'sh']);
	is(post_status($worker, event()), 200, 'it serves');
	kill 'STOP', $worker->{pid};
	my @kept = map { fcgi_connect($worker) } 1 .. 60;
	fcgi_send($_, fcgi_request(event(), keep => 1)) for @kept;
	kill 'CONT', $worker->{pid};
	fcgi_recv($_) for @kept;
	kill 'STOP', $worker->{pid};
	fcgi_send($_, fcgi_request(event(), keep => 1)) for @kept[0 .. 4];
	my @silent = map { fcgi_connect($worker) } 1 .. 100;
	kill 'CONT', $worker->{pid};
	is((grep { fcgi_status($_, 5) ne 'none' } @kept[0 .. 4]), 5,
		'new connections do not take their slots');
	is(scalar files($spool), 66, 'all are stored');
	reap($worker);
};

# The command that opens N descriptors and leaves them to COMMAND.
sub leaving {
	my ($n, @command) = @_;
	return ('perl', '-e', 'my ($n, @open) = shift; $^F = 1 << 20;'
		. 'while ($n-- > 0) { open my $f, "<", "/dev/null" or die;'
		. 'push @open, $f } exec { $ARGV[0] } @ARGV', $n, @command);
}

# The processor time of a worker, in ticks.
sub ticks {
	my ($worker) = @_;
	my @field = split ' ', slurp("/proc/$worker->{pid}/stat") =~ s/.*\)//r;
	return $field[11] + $field[12];
}

subtest 'inherited descriptors are counted' => sub {
	plan skip_all => 'needs /proc' if !-e "/proc/$$/stat";
	my $worker = worker(spool => new_spool(), under => [
		qw(prlimit --nofile=220:220), leaving(195)]);
	is(post_status($worker, event()), 200, 'few are left: it serves');
	my $before = ticks($worker);
	my @more = map { fcgi_connect($worker) } 1 .. 60;
	ok(!wait_for(sub { ticks($worker) - $before > 60 }, 1.5),
		'more connections than descriptors: it does not spin');
	fcgi_send($more[0], fcgi_request(event()));
	is(fcgi_status($more[0]), 200, '... and has descriptors to store with');
	unlike(log_of($worker), qr/ result=accept_failed /,
		'... as accept never failed');
	reap($worker);
};

subtest 'when the system has no descriptors, it waits for some' => sub {
	plan skip_all => no_strace() if no_strace();
	my $trace = scratch() . '/trace';
	my $worker = worker(spool => new_spool(), under => ['strace', '-D',
		'-o', $trace, '-e', 'trace=accept4', '-e',
		'inject=accept4:error=ENFILE:when=2..11']);
	is(post_status($worker, event()), 200, 'it serves');
	is(post_status($worker, event()), 200,
		'it serves again after 10 times ENFILE');
	is((() = slurp($trace) =~ /ENFILE/g), 10, '... all of them');
	is((() = log_of($worker) =~ /result=accept_failed reason=/g), 1,
		'the log tells it once');
	reap($worker);
};

subtest 'an idle connection gives way to a request in parts' => sub {
	plan skip_all => no_strace() if no_strace();
	local $Hook::PROGRAM = $QUICK;
	my $worker = worker(spool => new_spool(), under => ['strace', '-D',
		'-o', '/dev/null', '-e',
		'inject=memfd_create:error=EMFILE:when=1']);
	my $idle = fcgi_connect($worker);
	fcgi_send($idle, fcgi_request(event(), keep => 1));
	is(fcgi_status($idle), 200, 'one is kept');
	# A connection must have been idle for a while.
	my $since = time;
	wait_for(sub { time - $since > 0.2 });
	my $socket = fcgi_connect($worker);
	my $request = fcgi_request(event());
	fcgi_send($socket, substr $request, 0, 100, '');
	ok(IO::Select->new($idle)->can_read(5), 'it is closed');
	fcgi_send($socket, $request);
	is(fcgi_status($socket), 200, 'the request in parts is served');
	reap($worker);
};

done_testing();
