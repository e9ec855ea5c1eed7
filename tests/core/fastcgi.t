#!/usr/bin/perl
# The FastCGI door, raw over its socket: what web servers do, and what they
# should not.
use strict;
use warnings;
use Test::More;
use POSIX ();
use Hook;
use Time::HiRes qw(time);

$SIG{PIPE} = 'IGNORE';
my $spool = new_spool();
my $worker = worker(spool => $spool);
my $body = event();
my $padding = 0;

# One connection each.
my $got = post($worker, $EXAMPLE);
is($got->{status}, 200, 'example: 200');
is($got->{json}{status}, 'stored', 'example: stored');
is($got->{ended}, 1, 'and the request is ended');
is_deeply([content($spool, 'new')], [$EXAMPLE], 'example: bytes');
is(post($worker, $EXAMPLE)->{json}{status}, 'duplicate', 'a repeat');

# A kept connection.
my $kept = fcgi_connect($worker);
for my $n (1 .. 3) {
	fcgi_send($kept, fcgi_request(event(), keep => 1));
	is(fcgi_recv($kept)->{json}{status}, 'stored', "kept: request $n");
}
fcgi_send($kept, fcgi_request(event(), keep => 1,
	params => { HTTP_X_PROTOCOL_SIGNATURE => undef }));
is(fcgi_recv($kept)->{status}, 401, 'kept: after a refusal ...');
fcgi_send($kept, fcgi_request('x' x 2_000_000, keep => 1));
is(fcgi_recv($kept)->{status}, 413, '... and one too large ...');
fcgi_send($kept, fcgi_request(event(), keep => 1));
is(fcgi_recv($kept)->{json}{status}, 'stored', '... it still serves');
is(post($worker, event())->{json}{status}, 'stored',
	'a kept connection does not hold others up');

# What only the wire can carry.
is(post($worker, $body, more => [HTTP_X_PROTOCOL_SIGNATURE => sign($body)])
	->{status}, 401, 'a signature that is repeated, and right both times: 401');
for (['a repeated signature', 401, more => [HTTP_X_PROTOCOL_SIGNATURE => 'x']],
	['a short body', 400, params => { CONTENT_LENGTH => length($body) + 1 }],
	['a long body', 400, params => { CONTENT_LENGTH => length($body) - 1 }],
	['no length', 411, params => { CONTENT_LENGTH => undef }],
	['an empty length', 411, params => { CONTENT_LENGTH => '' }],
	['GET', 200, params => { REQUEST_METHOD => 'GET' }],
	['no method', 405, params => { REQUEST_METHOD => undef }],
	['configuration in parameters', 401, params => {
		PROTOCOL_HOOK_SECRET => 'mine',
		HTTP_X_PROTOCOL_SIGNATURE => sign($body, 'mine') }]) {
	my ($name, $status, @with) = @$_;
	is(post($worker, $body, @with)->{status}, $status, "$name: $status");
}
my @before = files($spool);
for my $size (1, 100, 8192, 65535, 65536, 70000, 300_000, (1 << 20) - 200) {
	my $text = event(pad => $size);
	for my $chunk (1000, 65535) {
		is(post($worker, $text, chunk => $chunk)->{status}, 200,
			"$size bytes in records of $chunk");
	}
	is((grep { $_ eq $text } content($spool, 'new')), 1,
		"$size bytes: all of them, once");
}
for my $text (event(pad => 500), event(pad => 200_000)) {
	is(post($worker, $text, params => { CONTENT_LENGTH => '',
		HTTP_TRANSFER_ENCODING => 'chunked' })->{status}, 200,
		'chunked: ' . length $text);
}
is(post($worker, 'x' x (1 << 21), params => { CONTENT_LENGTH => undef,
	HTTP_TRANSFER_ENCODING => 'chunked' })->{status}, 413, 'chunked: 2M');

# Byte by byte.
my $slow = event();
my $trickle = fcgi_connect($worker);
for my $byte (split //, fcgi_request($slow)) {
	syswrite $trickle, $byte;
}
is(fcgi_recv($trickle)->{json}{status}, 'stored', 'a byte at a time');

# A kept connection whose requests come in parts, more often than there are
# descriptors; and one that is closed each time.
{
	my $few = worker(spool => $spool, under => ['prlimit', '--nofile=40']);
	my $socket = fcgi_connect($few);
	my $in_parts = sub {
		my ($socket, $keep) = @_;
		my $request = fcgi_request(event(), keep => $keep);
		fcgi_send($socket, substr $request, 0, 50, '');
		post($few, '', params => { REQUEST_METHOD => 'PUT' });
		fcgi_send($socket, $request);
		return (fcgi_recv($socket, 5) // {})->{status} // 'none';
	};
	my @got = map { $in_parts->($socket, 1) } 1 .. 50;
	is("@got", join(' ', (200) x 50), 'kept: 50 requests, each in two parts');
	@got = map { $in_parts->(fcgi_connect($few), 0) } 1 .. 50;
	is("@got", join(' ', (200) x 50), 'and each on a connection of its own');
	fcgi_send($socket, fcgi_request(event(), keep => 1));
	is((fcgi_recv($socket) // {})->{status}, 200, 'then one that is whole');
	my $start = time;
	is(reap($few), 0, 'SIGTERM');
	cmp_ok(time - $start, '<=', 3, 'a kept connection does not put the end off');
}

# Nothing of a request is seen in the next one: its answer and its log line are
# those that it gets alone.  The same place in memory serves both.
my @plain = (
	['stored'],
	['no signature', params => { HTTP_X_PROTOCOL_SIGNATURE => undef }],
	['a wrong signature', params => { HTTP_X_PROTOCOL_SIGNATURE => '0' x 64 }],
	['no method', params => { REQUEST_METHOD => undef }],
	['no length', params => { CONTENT_LENGTH => undef }],
	['GET', params => { REQUEST_METHOD => 'GET' }],
	['a large length', params => { CONTENT_LENGTH => '9' x 9 }],
	['no address', params => { REMOTE_ADDR => undef }],
	# More than libfcgi reads at once, and less than is kept for it.
	['a large body, and no method', body => event(pad => 30_000),
		params => { REQUEST_METHOD => undef }],
	['no event', body => '"no event"'],
);
my @others = (@plain,
	['a duplicate', body => $EXAMPLE],
	['the previous key', key => 'old'],
	['an unknown type', type => 'call.ended'],
	['a signature twice', more => [HTTP_X_PROTOCOL_SIGNATURE => 'x']],
	['chunked', params => { CONTENT_LENGTH => undef,
		HTTP_TRANSFER_ENCODING => 'chunked' }],
	['a long body', params => { CONTENT_LENGTH => 1 }],
	['a short body', params => { CONTENT_LENGTH => 1000 }],
	['cut'],
);

sub by_kept {
	my ($socket, $name, %with) = @_;
	my $text = $with{body} // event(id => 'same', pad => ++$padding % 7,
		type => $with{type}) . ' ' x $padding;
	my %params = (HTTP_X_PROTOCOL_SIGNATURE => sign($text, $with{key}),
		%{ $with{params} // {} });
	my $request = fcgi_request($text, keep => 1, more => $with{more},
		params => \%params);
	if ($name eq 'cut') {	# which ends a connection: one of its own
		$socket = fcgi_connect($worker);
		substr $request, -20, 20, '';
	}
	fcgi_send($socket, $request);
	shutdown $socket, 1 if $name eq 'cut';
	return (fcgi_recv($socket) // {})->{text};
}

# Answers and log lines of the requests, without what differs each time.
sub served {
	my $spool = new_spool();
	my $worker_of_before = $worker;
	$worker = worker(spool => $spool,
		env => { PROTOCOL_HOOK_SECRET_PREVIOUS => 'old' });
	post($worker, $EXAMPLE);
	my $socket = fcgi_connect($worker);
	my @answers = map { by_kept($socket, @$_) } @_;
	close $socket;
	reap($worker);
	my @log = grep { !/ result=sandbox_off / } split /\n/, slurp($worker->{log});
	$worker = $worker_of_before;
	s/(?:^ts| file| ms| bytes)=\S+//g for @log;
	return map { [$answers[$_ - 1], $log[$_]] } 1 .. $#log;
}

my %alone = map { $_->[0] => (served($_))[0] } @plain;
for my $first (@others) {
	my @with = served(map { ($first, $_) } @plain);
	is_deeply([@with[map { 2 * $_ + 1 } 0 .. $#plain]],
		[map { $alone{$_->[0]} } @plain], "after: $first->[0]");
}

# Clients that stop: nobody waits for them, and nothing is kept.
@before = files($spool);
my $text = event(pad => 100);
my $all = fcgi_request($text);
my @stalled = map { fcgi_connect($worker) } 1 .. 40;
for my $i (0 .. $#stalled) {
	fcgi_send($stalled[$i], substr $all, 0,
		int($i * (length($all) - 1) / $#stalled));
}
my $big = fcgi_request(event(pad => 900_000));
my @more = map { fcgi_connect($worker) } 1 .. 4;
fcgi_send($more[$_], substr $big, 0, 200_000 * ($_ + 1)) for 0 .. 3;
my $start = time;
is(post($worker, event())->{status}, 200, "busy beside the silent $_")
	for 1 .. 5;
cmp_ok(time - $start, '<=', 2, 'without waiting for them');
shutdown $_, 1 for @stalled[0 .. 19];
for my $i (0 .. 19) {
	my $answer = fcgi_recv($stalled[$i]);
	ok(!defined $answer || $answer->{status} == 400,
		"half a request, then its end: $i");
}
close $_ for @stalled, @more;
is(post($worker, event())->{status}, 200, 'it lives on');
is(scalar files($spool), @before + 6, 'nothing of theirs was kept');

# Records that make no sense.
my @junk = ("\0" x 100, "GET / HTTP/1.1\r\n\r\n", "\1" x 64, "\xff" x 4096,
	fcgi_record(5, 'x') . fcgi_record(5, ''),
	fcgi_record(1, "\0\1\0\0\0\0\0\0") . fcgi_record(5, ''),
	fcgi_record(1, "\0\1") . fcgi_record(4, '') . fcgi_record(5, ''),
	fcgi_record(1, pack 'nCx5', 9, 0) . fcgi_record(4, '')
		. fcgi_record(5, ''),
	fcgi_record(1, pack 'nCx5', 1, 0) . fcgi_record(4, "\xff" x 20)
		. fcgi_record(4, '') . fcgi_record(5, ''),
	fcgi_record(1, pack 'nCx5', 1, 0) . fcgi_record(2, ''),
	fcgi_record(1, pack 'nCx5', 1, 0) . fcgi_record(4, "\5\5ab")
		. fcgi_record(4, '') . fcgi_record(5, ''),
	(map { fcgi_record(1, pack 'nCx5', 1, 0) . fcgi_record(4, $_)
		. fcgi_record(4, '') . fcgi_record(5, '') } "\x80\0", "\1", "\1\0"),
	fcgi_record(1, pack 'nCx5', 1, 0)
		. fcgi_record(4, fcgi_pairs(X => 'y' x 65000)) x 17
		. fcgi_record(4, '') . fcgi_record(5, ''),
	fcgi_record(9, fcgi_pairs(FCGI_MAX_CONNS => ''), 0),
	# What libfcgi would answer into what it reads from.
	fcgi_record(1, pack 'nCx5', 1, 0) . fcgi_request(event()),
	fcgi_request(event()) =~ s/(?=\x01\x05\0\x01\0\0)/fcgi_record(8, 'x')/er,
	fcgi_request(event()) =~ s/(?=\x01\x05\0\x01\0\0)/fcgi_record(4, '')/er);
for my $i (0 .. $#junk) {
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, $junk[$i]);
	shutdown $socket, 1;
	my $answer = fcgi_recv($socket, 5);
	ok(!defined $answer || $answer->{status} !~ /^2/, "junk $i: no 2xx");
}
# The same in two parts, of which the first has been looked at.
for my $i (4, 7, 9) {
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, substr $junk[$i], 0, 9);
	is(post($worker, event())->{status}, 200, "junk $i, in part");
	fcgi_send($socket, substr $junk[$i], 9);
	shutdown $socket, 1;
	is(fcgi_recv($socket, 5), undef, "junk $i, the rest: closed");
}
is(post($worker, event())->{status}, 200, 'it lives on after junk');
my $values = fcgi_connect($worker);
fcgi_send($values, fcgi_record(9, fcgi_pairs(FCGI_MAX_CONNS => ''), 0)
	. fcgi_request($text = event()));
is(fcgi_recv($values)->{status}, 200, 'a management record before a request');
$values = fcgi_connect($worker);
fcgi_send($values, fcgi_record(9, fcgi_pairs((FCGI_MPXS_CONNS => '') x 60), 0)
	. fcgi_request(event()));
is((fcgi_recv($values) // {})->{status}, 200,
	'what overruns a buffer in libfcgi is kept from it');

# Padding where servers put none, and a server that gives a request up.
my $padded = fcgi_request($text = event());
$padded =~ s/\A(\x01\x01\0\x01\0\x08)\0(.{9})/$1\x03$2pad/s or die;
$padded =~ s/(\x01\x04\0\x01\0\0)\0\0/$1\x05\0#####/ or die;
my $odd = fcgi_connect($worker);
fcgi_send($odd, $padded);
is((fcgi_recv($odd) // {})->{status}, 200, 'padding of what is empty');
is((grep { $_ eq $text } content($spool, 'new')), 1, 'the body is whole');
$odd = fcgi_connect($worker);
fcgi_send($odd, substr(fcgi_request(event()), 0, -8) . fcgi_record(2, ''));
ok(IO::Select->new($odd)->can_read(20) && !sysread($odd, my $none, 1),
	'FCGI_ABORT_REQUEST: closed');

# A parameter that says it has 2 GB, where there is no memory for that.
SKIP: {
	skip left_out('memory'), 4 if left_out('memory');
	skip 'a sanitizer needs more', 4 if defined $ENV{ASAN_OPTIONS};
	my $small = worker(spool => $spool, under => ['prlimit', '--as=500000000']);
	my $liar = fcgi_connect($small);
	fcgi_send($liar, fcgi_record(1, pack 'nCx5', 1, 0)
		. fcgi_record(4, pack('C N', 1, 0xfffffff0) . 'ab')
		. fcgi_record(4, '') . fcgi_record(5, ''));
	is(fcgi_recv($liar), undef, 'a length that lies: closed');
	is((post($small, event()) // {})->{status}, 200, 'and it lives on');
	reap($small);
	$small = worker(spool => $spool, under => ['prlimit', '--as=500000000'],
		env => { PROTOCOL_HOOK_MAX_BODY => '64M' });
	is((grep { (post($small, 'x', params => { CONTENT_LENGTH => 60_000_000 })
		// {})->{status} == 400 } 1 .. 20), 20,
		'memory for a large body is given back');
	is((post($small, event()) // {})->{status}, 200, 'and can be had');
	reap($small);
}

# What there is always memory for, and one byte more.
{
	my $spool = new_spool();
	my $large = worker(spool => $spool,
		env => { PROTOCOL_HOOK_MAX_BODY => '2M' });
	for my $size (1 << 20, (1 << 20) + 1) {
		$text = event();
		$text .= ' ' x ($size - length $text);
		is(post($large, $text)->{status}, 200, "$size bytes");
		is((grep { $_ eq $text } content($spool, 'new')), 1, 'all of them');
	}
	reap($large);
}

# What nobody reads, and what libfcgi refuses: each descriptor is closed once.
SKIP: {
	skip no_strace(), 1 if no_strace();
	my $trace = scratch() . '/trace';
	my $worker = worker(spool => $spool, under => ['strace', '-D', '-qq',
		'-o', $trace, '-e', 'trace=close,recvfrom']);
	post($worker, event());
	for my $keep (0, 1) {
		my $request = fcgi_request(event(), keep => $keep);
		kill 'STOP', $worker->{pid};
		for my $whole ($request, fcgi_record(1, pack 'nCx5', 9, $keep)
			. fcgi_record(4, '') . fcgi_record(5, '')) {
			for my $part (0, 20) {
				my $gone = fcgi_connect($worker);
				fcgi_send($gone, substr $whole, 0, $part);
				kill 'CONT', $worker->{pid} if $part;
				post($worker, event()) if $part;
				kill 'STOP', $worker->{pid};
				fcgi_send($gone, substr $whole, $part);
				close $gone;
			}
		}
		kill 'CONT', $worker->{pid};
		post($worker, event());
	}
	reap($worker);
	unlike(slurp($trace), qr/EBADF/, 'what nobody reads, or is refused: each '
		. 'descriptor is closed once');
}

# An answer that nobody reads.
for my $keep (0, 0, 0, 1, 1, 1) {
	my $gone = fcgi_connect($worker);
	fcgi_send($gone, fcgi_request($text = event(), keep => $keep));
	close $gone;
}
ok(wait_for(sub { grep { $_ eq $text } content($spool, 'new') }),
	'the client that left is served all the same');
is(post($worker, $text)->{json}{status}, 'duplicate', 'and may ask again');

# A kept connection whose request is cut.
my $cut = fcgi_connect($worker);
$text = fcgi_request(event(), keep => 1);
fcgi_send($cut, substr $text, 0, length($text) - 20);
shutdown $cut, 1;
is(fcgi_recv($cut)->{status}, 400, 'a cut request on a kept connection ...');
ok(!sysread($cut, $none, 1), '... ends it');

# More at once than a group has, with log lines that fill what is kept of them.
my $lines = () = slurp($worker->{log}) =~ /\n/g;
my @sockets = send_group($worker, map { event(id => '\\u0001' x 120 . ++$lines,
	type => '\\u0002' x 120) } 1 .. 140);
is((grep { $_->{status} == 200 } map { fcgi_recv($_) } @sockets), 140,
	'140 at once: each is answered');
ok(wait_for(sub { my $now = () = slurp($worker->{log}) =~ /\n/g;
	$now == $lines }), '... and logged');

# SIGTERM while a body comes in.
my $busy = fcgi_connect($worker);
$text = fcgi_request(event());
fcgi_send($busy, substr $text, 0, -20, '');
is(post($worker, event())->{status}, 200, 'one is stored');
kill 'TERM', $worker->{pid};
# It has taken it.
wait_for(sub { !-e "/proc/$$/status" || slurp("/proc/$worker->{pid}/status")
	!~ /^(?:Sig|Shd)Pnd:.*[4-7c-f]...$/m });
fcgi_send($busy, $text);
is((fcgi_recv($busy) // {})->{status}, 200, 'SIGTERM: the other, too');

my $log = slurp($worker->{log});
unlike($log, qr/\Q$KEY\E/, 'no key in the log');
unlike($log, qr/xxxxxxxxxxxx/, 'no body in the log');
is((grep { !/^$TS result=\w+ status=\d{3} .*ms=[\d.]+( reason=.*)?$/ }
	grep { !/^$TS result=sandbox_off / } split /\n/, $log), 0,
	'every line has its form');
is(reap($worker), 0, 'SIGTERM ends it with 0');

# Late requests, with less patience than usual.
{
	local $Hook::PROGRAM = 'build/quick/protocol-hook';
	$spool = new_spool();
	$worker = worker(spool => $spool);
	my $silent = fcgi_connect($worker);
	my $half = fcgi_connect($worker);
	fcgi_send($half, substr $all, 0, length($all) - 20);
	$kept = fcgi_connect($worker);
	fcgi_send($kept, fcgi_request(event(), keep => 1));
	is(fcgi_recv($kept)->{status}, 200, 'a connection is kept');
	my $other = fcgi_connect($worker);
	my $keep = fcgi_request(event(), keep => 1);
	fcgi_send($other, substr $keep, 0, length($keep) - 20);
	is(fcgi_recv($half)->{status}, 408, 'half a request: 408 in the end');
	is(fcgi_recv($other)->{status}, 408, 'on a kept connection, too ...');
	ok(!sysread($other, $none, 1), '... which ends');
	is(fcgi_recv($silent), undef, 'a silent connection is closed');
	fcgi_send($kept, fcgi_request(event(), keep => 1));
	is(fcgi_recv($kept)->{status}, 200, 'a kept one is not');
	# It has been silent for longer than a request may take.
	$silent = fcgi_connect($worker);
	is(fcgi_recv($silent), undef, 'another silent one is closed');
	$keep = fcgi_request(event(), keep => 1);
	fcgi_send($kept, substr $keep, 0, 50, '');
	post($worker, event());
	fcgi_send($kept, $keep);
	is((fcgi_recv($kept) // {})->{status}, 200,
		'the time of its next request counts from where that begins');
	fcgi_send($kept, substr fcgi_request(event(), keep => 1), 0, -20);
	is((fcgi_recv($kept) // {})->{status}, 408, 'and has an end, too');
	# The one that began first, though the other has an earlier slot.
	my $first = fcgi_connect($worker);
	$half = fcgi_connect($worker);
	fcgi_send($half, substr $all, 0, length($all) - 20);
	post($worker, event());
	close $first;
	select undef, undef, undef, 0.5;
	$first = fcgi_connect($worker);
	fcgi_send($first, substr $all, 0, length($all) - 20);
	is((fcgi_recv($half) // {})->{status}, 408, 'half a request: 408 ...');
	ok(!IO::Select->new($first)->can_read(0.2),
		'... before one that began later');
	is((fcgi_recv($first) // {})->{status}, 408, '... which gets it, too');
	reap($worker);
	pipe my $read, my $write or die $!;
	is(cgi(spool => $spool, body => $body, stdin => $read)->{status}, 408,
		'CGI: a body that does not come');

	# Who gives way where there is no slot: the one that is idle for longest.
	$worker = worker(spool => $spool, under => ['prlimit', '--nofile=40']);
	my ($busy, $idle);
	for my $socket ($busy, $idle, $busy) {
		$socket //= fcgi_connect($worker);
		fcgi_send($socket, fcgi_request(event(), keep => 1));
		is(fcgi_recv($socket)->{status}, 200, 'a kept connection');
		select undef, undef, undef, 0.01;	# a time of its own
	}
	my @fill;
	my $both = IO::Select->new($busy, $idle);
	my @closed;
	for (1 .. 40) {
		push @fill, fcgi_connect($worker);
		last if (@closed = $both->can_read(0.05));
	}
	is(scalar(grep { $_ == $idle } @closed), 1, 'the idle one gives way ...');
	is(scalar(grep { $_ == $busy } @closed), 0, '... before the busy one');
	close $_ for @fill;
	reap($worker);

	# More connections than there are slots: the oldest give way.
	$spool = new_spool();
	$worker = worker(spool => $spool, under => ['prlimit', '--nofile=300']);
	my @crowd = map { fcgi_connect($worker) } 1 .. 200;
	is(post($worker, event())->{status}, 200, 'served beside a crowd of silent ones');
	close $_ for @crowd;
	reap($worker);
	$worker = worker(spool => $spool, under => ['prlimit', '--nofile=19']);
	is((post($worker, event()) // {})->{status}, 200,
		'even with 19 descriptors') for 1 .. 2;
	reap($worker);
	$worker = worker(spool => $spool, under => ['prlimit', '--nofile=40']);
	@crowd = map { fcgi_connect($worker) } 1 .. 14;
	is((post($worker, event()) // {})->{status}, 200,
		'even with 40 descriptors');
	fcgi_send($_, fcgi_request(event())) for @crowd[9 .. 13];
	is((grep { ((fcgi_recv($_, 5) // {})->{status} // 0) == 200 }
		@crowd[12 .. 13]), 2, 'more at once than it can hold');
	close $_ for @crowd;
	reap($worker);
}

# A burst: who has just connected is not closed for others, who wait meanwhile.
$worker = worker(spool => $spool, under => ['prlimit', '--nofile=40']);
my @burst = map { fcgi_connect($worker) } 1 .. 20;
fcgi_send($_, fcgi_request(event())) for reverse @burst;
is((grep { ((fcgi_recv($_) // {})->{status} // 0) == 200 } @burst), 20,
	'a burst: all are served');
reap($worker);

# Descriptors that whoever started it left open count, too: some are left, ...
sub leaving {
	my ($n, @command) = @_;
	return ('perl', '-e', 'my ($n, @open) = shift; $^F = 1 << 20;'
		. 'while ($n-- > 0) { open my $f, "<", "/dev/null" or die;'
		. 'push @open, $f } exec @ARGV', $n, @command);
}
# Ticks of processor time that it has used.
sub ticks {
	my ($worker) = @_;
	my @field = split ' ', slurp("/proc/$worker->{pid}/stat") =~ s/.*\)//r;
	return $field[11] + $field[12];
}
SKIP: {
	skip 'needs /proc', 4 if !-e "/proc/$$/stat";
	my $worker = worker(spool => new_spool(), under => ['prlimit',
		'--nofile=220:220', leaving(195)]);
	is(post($worker, event())->{status}, 200, 'few descriptors left: served');
	my $before = ticks($worker);
	my @crowd = map { fcgi_connect($worker) } 1 .. 60;
	ok(!wait_for(sub { ticks($worker) - $before > 60 }, 1.5),
		'more than there are descriptors for: it does not spin');
	fcgi_send($crowd[0], fcgi_request(event()));
	is((fcgi_recv($crowd[0]) // {})->{status}, 200,
		'... and has some left to store with');
	unlike(slurp($worker->{log}), qr/ result=accept_failed /,
		'... as it had counted them');
	reap($worker);
}
# ... or none, by and by, as for a system that has no more.
SKIP: {
	skip no_strace(), 7 if no_strace();
	my $trace = scratch() . '/trace';
	my $worker = worker(spool => new_spool(), under => ['strace', '-D', '-o',
		$trace, '-e', 'trace=accept4', '-e',
		'inject=accept4:error=ENFILE:when=2..11']);
	is(post($worker, event())->{status}, 200, 'it serves');
	is((post($worker, event()) // {})->{status}, 200,
		'ENFILE: it serves again when there are some');
	my $calls = () = slurp($trace) =~ /ENFILE/g;
	is($calls, 10, 'ENFILE: as often as that was said');
	is((() = slurp($worker->{log}) =~ /result=accept_failed reason=/g), 1,
		'the log tells it once');
	reap($worker);
	# For a request that comes in parts one that waits is given up.
	local $Hook::PROGRAM = 'build/quick/protocol-hook';
	$worker = worker(spool => new_spool(), under => ['strace', '-D', '-o',
		'/dev/null', '-e', 'inject=memfd_create:error=EMFILE:when=1']);
	my $idle = fcgi_connect($worker);
	fcgi_send($idle, fcgi_request(event(), keep => 1));
	is(fcgi_recv($idle)->{status}, 200, 'one that is kept');
	my $since = time;
	wait_for(sub { time - $since > 0.2 });
	my $part = fcgi_connect($worker);
	my $text = fcgi_request(event());
	fcgi_send($part, substr $text, 0, 100, '');
	ok(IO::Select->new($idle)->can_read(5), '... gives way');
	fcgi_send($part, $text);
	is((fcgi_recv($part) // {})->{status}, 200, '... to one in parts');
	reap($worker);
}

# SIGTERM: who still sends gets some seconds, however slowly he goes on.
{
	my $worker = worker(spool => $spool);
	my $slow = fcgi_connect($worker);
	my $request = fcgi_request(event(pad => 1000));
	fcgi_send($slow, substr $request, 0, 100, '');
	is(post($worker, event())->{status}, 200, 'half a request is there');
	kill 'TERM', $worker->{pid};
	my $start = time;
	ok(wait_for(sub { fcgi_send($slow, substr $request, 0, 1, '');
		waitpid($worker->{pid}, POSIX::WNOHANG()) > 0 }, 15),
		'a byte now and then does not put the end off');
	cmp_ok(time - $start, '>=', 4, 'which comes after 5 seconds');
	reap($worker);
}

# Without a standard error, the log goes to the web server.
for my $with ([no_stderr => 1], [stderr => '/dev/null']) {
	$spool = new_spool();
	$worker = worker(spool => $spool, @$with);
	$got = post($worker, $body);
	is($got->{status}, 200, "@$with: stored");
	$got->{err} =~ s/\A$TS result=sandbox_off .*\n//;
	like($got->{err}, qr/\A$TS result=stored status=200 .*\n\z/,
		"@$with: the log line comes by the connection");
	is_deeply([content($spool, 'new')], [$body], "@$with: bytes");
	is(() = post($worker, event())->{err} =~ /\n/g, 1,
		"@$with: the next one has its own line alone");
	reap($worker);
}

# A limit of the size of files: 503, for each alone, and also where a request that
# comes in parts is collected; nobody dies of it.
for ([20_000, 0], [70_000, 0], [70_000, 1]) {
	my ($size, $parts) = @$_;
	my $spool = new_spool();
	my $worker = worker(spool => $spool, under => ['prlimit', '--fsize=9000']);
	my $socket = fcgi_connect($worker);
	my $long = fcgi_request(event(pad => $size), keep => 1);
	if ($parts) {
		fcgi_send($socket, substr $long, 0, 1000, '');
		is(post($worker, event())->{status}, 200, 'a part was looked at');
	}
	fcgi_send($socket, $long);
	is((fcgi_recv($socket) // {})->{status}, 503,
		"too long for a file: $size, $parts");
	ok(wait_for(sub { slurp($worker->{log})
		=~ /status=503 .*: File too large"$/m }), 'the log says why');
	is((post($worker, event()) // {})->{status}, 200, 'it lives on');
	is(scalar files($spool), 1 + $parts, 'nothing else is left');
	is(reap($worker), 0, 'and ends');
}

# Signals that were blocked, or ignored as by nohup.
for my $how ('sigprocmask(SIG_BLOCK, POSIX::SigSet->new(1 .. 31))',
	'$SIG{$_} = "IGNORE" for qw(HUP TERM INT USR1)') {
	for my $signal (qw(TERM INT USR1 XCPU)) {
		my $worker = worker(spool => new_spool(), under => ['perl',
			'-MPOSIX', '-e', "$how; exec \@ARGV"]);
		is(post($worker, event())->{status}, 200, 'served');
		kill 'HUP', $worker->{pid};
		ok(wait_for(sub { slurp($worker->{log}) =~ /\bresult=reload_failed / },
			5), "SIGHUP after $how");
		kill $signal, $worker->{pid};
		my $status;
		wait_for(sub { waitpid($worker->{pid}, 1) > 0
			and $status = $?, 1 }, 5);
		is($status, 0, "SIG$signal after $how");
		reap($worker, 'KILL');
	}
}

# Keys that are read again.
my $keys = scratch() . '/keys';
sub set_keys {
	open my $fh, '>', $keys or die $!;
	print $fh @_;
	close $fh;
}
sub reload {
	my ($want) = @_;
	my $seen = () = slurp($worker->{log}) =~ /^$TS result=reload/mg;
	kill 'HUP', $worker->{pid};
	ok(wait_for(sub { my $now = () = slurp($worker->{log})
		=~ /^$TS result=reload/mg; $now > $seen }), 'SIGHUP is seen');
	like(slurp($worker->{log}), qr/^$TS result=$want.*\n\z/m, $want);
}
$spool = new_spool();
set_keys("one\n");
$worker = worker(spool => $spool, env => { PROTOCOL_HOOK_SECRET => undef,
	PROTOCOL_HOOK_SECRET_FILE => $keys });
sub by { my $t = event(); return post($worker, $t,
	params => { HTTP_X_PROTOCOL_SIGNATURE => sign($t, shift) })->{status} }
is(by('one'), 200, 'the first key');
set_keys("two\none\n");
is(by('two'), 401, 'a new key is not known before SIGHUP');
reload('reloaded');
is(by('two'), 200, 'the new key is');
is(by('one'), 200, 'the old one still is');
set_keys("two\n");
reload('reloaded');
is(by('one'), 401, 'the old one is no more');
my $elsewhere = scratch() . '/keys';
rename $keys, $elsewhere or die $!;
symlink $elsewhere, $keys or die $!;
reap($worker);
$worker = worker(spool => $spool, env => { PROTOCOL_HOOK_SECRET => undef,
	PROTOCOL_HOOK_SECRET_FILE => $keys });
is(by('two'), 200, 'a symbolic link to the file ...');
set_keys("three\ntwo\n");
reload('reloaded');
is(by('three'), 200, '... which SIGHUP follows');
unlink $keys;
reload('reload_failed');
is(by('two'), 200, 'a file that is gone: the keys stay');
unlike(slurp($worker->{log}), qr/\Q$keys\E/, 'its path is not logged');
reap($worker);
$worker = worker(spool => $spool, env => { PROTOCOL_HOOK_SECRET => undef,
	PROTOCOL_HOOK_SECRET_FILE => $keys });
is(by('two'), 500, 'no file at start: 500 ...');
set_keys("two\n");
reload('reloaded');
is(by('two'), 200, '... until it is there and SIGHUP comes');
reap($worker);

# More often than there are descriptors.
$worker = worker(spool => $spool, under => ['prlimit', '--nofile=40'],
	env => { PROTOCOL_HOOK_SECRET => undef,
	PROTOCOL_HOOK_SECRET_FILE => $keys });
is(by('two'), 200, 'few descriptors');
unlink $keys;
POSIX::mkfifo($keys, 0600) or die $!;
for my $n (1 .. 40) {
	kill 'HUP', $worker->{pid};
	wait_for(sub { $n == (() = slurp($worker->{log}) =~ /result=reload/g) });
}
unlink $keys;
set_keys("two\n");
reload('reloaded');
is(by('two'), 200, '40 times a file that can not be used, then one that can');
reap($worker);

SKIP: {
	skip no_strace(), 2 if no_strace();
	$worker = worker(spool => $spool, under => ['strace', '-D', '-qq', '-o',
		'/dev/null', '-P', $keys, '-e', 'inject=read:signal=SIGHUP:when=3'],
		env => { PROTOCOL_HOOK_SECRET => undef,
		PROTOCOL_HOOK_SECRET_FILE => $keys });
	is(by('two'), 200, 'it serves');
	kill 'HUP', $worker->{pid};
	ok(wait_for(sub { 2 == (() = slurp($worker->{log})
		=~ /result=reloaded/g) }),
		'SIGHUP while the keys are read: they are read again');
	reap($worker);
}

# Socket activation with descriptor 3.
$spool = new_spool();
$worker = worker(spool => $spool, under => ['perl', '-e', <<'END']);
require POSIX;
$^F = 3;	# not closed on exec
open my $socket, '+<&', \*STDIN;
open STDIN, '<', '/dev/null';
POSIX::dup2(fileno($socket), 3);
$ENV{LISTEN_PID} = $$;
$ENV{LISTEN_FDS} = 1;
exec { $ARGV[0] } @ARGV;
END
is(post($worker, event())->{status}, 200, 'LISTEN_FDS');
reap($worker);

# A group that waits for more must not lose its connections to new ones, when
# slots run out.  The first 60 make it wait for as many, and slow flushes long.
SKIP: {
	skip no_strace(), 3 if no_strace();
	my $spool = new_spool();
	my $worker = worker(spool => $spool, under => ['sh', '-c',
		'ulimit -n 250; exec strace -f --seccomp-bpf -D -o /dev/null -e trace=fsync ' .
		'-e inject=fsync:delay_enter=100000 "$@"', 'sh']);
	is(post($worker, event())->{status}, 200, 'few descriptors: ready');
	kill 'STOP', $worker->{pid};
	my @sockets = map { fcgi_connect($worker) } 1 .. 60;
	fcgi_send($_, fcgi_request(event(), keep => 1)) for @sockets;
	kill 'CONT', $worker->{pid};
	fcgi_recv($_) for @sockets;
	kill 'STOP', $worker->{pid};
	fcgi_send($_, fcgi_request(event(), keep => 1)) for @sockets[0 .. 4];
	my @silent = map { fcgi_connect($worker) } 1 .. 100;
	kill 'CONT', $worker->{pid};
	my $good = grep { (fcgi_recv($_, 5) // {})->{status} }
		@sockets[0 .. 4];
	is($good, 5, 'a group keeps its connections when slots run out');
	is(scalar files($spool), 66, 'and stores all');
	reap($worker);
}

done_testing();
