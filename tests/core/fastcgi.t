#!/usr/bin/perl
# The FastCGI entry point, over its socket without a web server: requests, their
# bodies and answers.
use strict;
use warnings;
use Test::More;
use Answers;
use Hook;

$SIG{PIPE} = 'IGNORE';

subtest 'a whole delivery is stored, once' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool);
	my $got = post($worker, $EXAMPLE);
	is($got->{status}, 200, 'status');
	is($got->{json}{status}, 'stored', 'answer');
	is($got->{ended}, 1, 'the request is ended');
	is_deeply([content($spool, 'new')], [$EXAMPLE], 'bytes');
	is(post($worker, $EXAMPLE)->{json}{status}, 'duplicate',
		'the same again');
	reap_clean($worker);
};

subtest 'each row of the table of answers, as by CGI' => sub {
	my $worker = worker(spool => new_spool());
	my $body = event();
	for (['a repeated signature, right both times', 401,
			more => [HTTP_X_PROTOCOL_SIGNATURE => sign($body)]],
		['a repeated signature', 401,
			more => [HTTP_X_PROTOCOL_SIGNATURE => 'x']],
		['a short body', 400,
			params => { CONTENT_LENGTH => length($body) + 1 }],
		['a long body', 400,
			params => { CONTENT_LENGTH => length($body) - 1 }],
		['no length', 200, params => { CONTENT_LENGTH => undef }],
		['an empty length', 200, params => { CONTENT_LENGTH => '' }],
		['no length and no body', 411, without_body => 1,
			params => { CONTENT_LENGTH => '' }],
		['chunked and no body', 422, without_body => 1, params => {
			CONTENT_LENGTH => '',
			HTTP_TRANSFER_ENCODING => 'chunked' }],
		['GET', 200, params => { REQUEST_METHOD => 'GET' }],
		['no method', 405, params => { REQUEST_METHOD => undef }],
		['configuration in parameters', 401, params => {
			PROTOCOL_HOOK_SECRET => 'mine',
			HTTP_X_PROTOCOL_SIGNATURE => sign($body, 'mine') }]) {
		my ($name, $status, @with) = @$_;
		my $sent = $with[0] eq 'without_body' ? '' : $body;
		is(post_status($worker, $sent, @with), $status,
			"$name: $status");
	}
	reap_clean($worker);
};

subtest 'a body of any size, in records of any size, is stored whole' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool);
	for my $size (1, 100, 8192, 65535, 65536, 70000, 300_000,
		(1 << 20) - 200) {
		my $text = event(pad => $size);
		for my $chunk (1000, 65535) {
			is(post_status($worker, $text, chunk => $chunk), 200,
				"$size bytes in records of $chunk");
		}
		is((grep { $_ eq $text } content($spool, 'new')), 1,
			"$size bytes: all of them, once");
	}
	my $socket = fcgi_connect($worker);
	syswrite $socket, $_ for split //, fcgi_request(event());
	is(fcgi_recv($socket)->{json}{status}, 'stored', 'a byte at a time');
	reap_clean($worker);
};

subtest 'a chunked body needs no length, but has the same limit' => sub {
	my $worker = worker(spool => new_spool());
	for my $text (event(pad => 500), event(pad => 200_000)) {
		is(post_status($worker, $text, params => {
			CONTENT_LENGTH => '',
			HTTP_TRANSFER_ENCODING => 'chunked' }), 200,
			length($text) . ' bytes');
	}
	is(post_status($worker, 'x' x (1 << 21), params => {
		CONTENT_LENGTH => undef,
		HTTP_TRANSFER_ENCODING => 'chunked' }), 413, '2M');
	reap_clean($worker);
};

# Up to 1M the program has memory from its start; above, it maps some.
subtest 'bodies above 1M are stored whole' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool,
		env => { PROTOCOL_HOOK_MAX_BODY => '2M' });
	for my $size (1 << 20, (1 << 20) + 1) {
		my $text = event();
		$text .= ' ' x ($size - length $text);
		is(post_status($worker, $text), 200, "$size bytes");
		is((grep { $_ eq $text } content($spool, 'new')), 1,
			'... all of them');
	}
	reap_clean($worker);
};

subtest 'memory for a large body is given back' => sub {
	plan skip_all => left_out('memory') if left_out('memory');
	plan skip_all => 'a sanitizer needs more' if defined $ENV{ASAN_OPTIONS};
	my $worker = worker(spool => new_spool(),
		under => [qw(prlimit --as=500000000)],
		env => { PROTOCOL_HOOK_MAX_BODY => '64M' });
	is((grep { post_status($worker, 'x', params => {
		CONTENT_LENGTH => 60_000_000 }) eq '400' } 1 .. 20), 20,
		'20 bodies that need more than there is, together');
	is(post_status($worker, event()), 200, 'then a delivery is stored');
	reap_clean($worker);
};

subtest 'more requests at once than a group has are all stored' => sub {
	my $worker = worker(spool => new_spool());
	# Their log lines are longer than what is buffered of them.
	my @sockets = send_group($worker, map {
		event(id => '\\u0001' x 120 . $_, type => '\\u0002' x 120)
		} 1 .. 140);
	is((grep { fcgi_status($_) eq '200' } @sockets), 140,
		'each is answered');
	ok(wait_for(sub {
		my $lines = () = log_of($worker) =~ / status=200 .*\n/g;
		return $lines == 140 }), 'each is logged');
	reap_clean($worker);
};

subtest 'what nobody reads, or is refused, is closed once' => sub {
	plan skip_all => no_strace() if no_strace();
	my $trace = scratch() . '/trace';
	my $worker = worker(spool => new_spool(), under => ['strace', '-D',
		'-qq', '-o', $trace, '-e', 'trace=close,recvfrom']);
	post($worker, event());
	for my $keep (0, 1) {
		my $request = fcgi_request(event(), keep => $keep);
		my $refused = fcgi_record(1, pack 'nCx5', 9, $keep)
			. fcgi_record(4, '') . fcgi_record(5, '');
		kill 'STOP', $worker->{pid};
		for my $whole ($request, $refused) {
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
	unlike(slurp($trace), qr/EBADF/, 'no descriptor is closed twice');
};

subtest 'a client that leaves before its answer is served' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool);
	my $text;
	for my $keep (0, 0, 0, 1, 1, 1) {
		my $socket = fcgi_connect($worker);
		fcgi_send($socket, fcgi_request($text = event(),
			keep => $keep));
		close $socket;
	}
	ok(wait_for(sub { grep { $_ eq $text } content($spool, 'new') }),
		'the last is stored');
	is(post($worker, $text)->{json}{status}, 'duplicate', 'a retry');
	reap_clean($worker);
};

# Requests whose answer and log line are compared: name, by_kept() arguments.
my @COMPARED = (
	['stored'],
	['no signature', params => { HTTP_X_PROTOCOL_SIGNATURE => undef }],
	['a wrong signature', params => {
		HTTP_X_PROTOCOL_SIGNATURE => '0' x 64 }],
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
# Requests that come before these.
my @BEFORE = (@COMPARED,
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
my $sent = 0;

# The text of the answer to a request on the kept connection SOCKET.
sub by_kept {
	my ($worker, $socket, $name, %with) = @_;
	$sent++;
	my $text = $with{body} // event(id => 'same', pad => $sent % 7,
		type => $with{type}) . ' ' x $sent;
	my %params = (HTTP_X_PROTOCOL_SIGNATURE => sign($text, $with{key}),
		%{ $with{params} // {} });
	my $request = fcgi_request($text, keep => 1, more => $with{more},
		params => \%params);
	if ($name eq 'cut') {	# this ends a connection: one of its own
		$socket = fcgi_connect($worker);
		substr $request, -20, 20, '';
	}
	fcgi_send($socket, $request);
	shutdown $socket, 1 if $name eq 'cut';
	return (fcgi_recv($socket) // {})->{text};
}

# Sends requests to a new worker: [answer, log line] of each, without times and
# sizes.
sub served {
	my @requests = @_;
	my $worker = worker(spool => new_spool(),
		env => { PROTOCOL_HOOK_SECRET_PREVIOUS => 'old' });
	post($worker, $EXAMPLE);
	my $socket = fcgi_connect($worker);
	my @answers = map { by_kept($worker, $socket, @$_) } @requests;
	close $socket;
	reap($worker);
	my @log = grep { !/ result=sandbox_off / }
		split /\n/, log_of($worker);
	s/(?:^ts| file| ms| bytes)=\S+//g for @log;
	return map { [$answers[$_ - 1], $log[$_]] } 1 .. $#log;
}

subtest 'a request does not depend on the one before it' => sub {
	my %alone = map { $_->[0] => (served($_))[0] } @COMPARED;
	for my $before (@BEFORE) {
		my @pairs = served(map { ($before, $_) } @COMPARED);
		is_deeply([@pairs[map { 2 * $_ + 1 } 0 .. $#COMPARED]],
			[map { $alone{$_->[0]} } @COMPARED],
			"after: $before->[0]");
	}
};

for my $with ([no_stderr => 1], [stderr => '/dev/null']) {
	subtest "the log goes to the web server: @$with" => sub {
		my $spool = new_spool();
		my $worker = worker(spool => $spool, @$with);
		my $got = post($worker, my $body = event());
		is($got->{status}, 200, 'status');
		$got->{err} =~ s/\A$TS result=sandbox_off .*\n//;
		like($got->{err}, qr/\A$TS result=stored status=200 .*\n\z/,
			'its log line comes with the answer');
		is_deeply([content($spool, 'new')], [$body], 'bytes');
		is(() = post($worker, event())->{err} =~ /\n/g, 1,
			'the next answer has its own line alone');
		reap($worker);
	};
}

# In parts, a request is collected in a file in memory, which has the limit,
# too.
for ([20_000, 0], [70_000, 0], [70_000, 1]) {
	my ($size, $in_parts) = @$_;
	my $how = $in_parts ? ', in parts' : '';
	subtest "a limit on file sizes gets 503: $size bytes$how" => sub {
		my $spool = new_spool();
		my $worker = worker(spool => $spool,
			under => [qw(prlimit --fsize=9000)]);
		my $socket = fcgi_connect($worker);
		my $long = fcgi_request(event(pad => $size), keep => 1);
		if ($in_parts) {
			fcgi_send($socket, substr $long, 0, 1000, '');
			is(post_status($worker, event()), 200,
				'the first part was read');
		}
		fcgi_send($socket, $long);
		is(fcgi_status($socket), 503, 'status');
		ok(wait_for(sub { log_of($worker)
			=~ /status=503 .*: File too large"$/m }),
			'the log says why');
		is(post_status($worker, event()), 200,
			'a smaller one is stored');
		is(scalar files($spool), 1 + $in_parts, 'nothing else is left');
		is(reap($worker), 0, 'SIGTERM: exit status');
	};
}

subtest 'the socket may be descriptor 3, as from systemd' => sub {
	my $worker = worker(spool => new_spool(),
		under => ['perl', '-e', <<'END']);
require POSIX;
$^F = 3;	# not closed on exec
open my $socket, '+<&', \*STDIN;
open STDIN, '<', '/dev/null';
POSIX::dup2(fileno($socket), 3);
$ENV{LISTEN_PID} = $$;
$ENV{LISTEN_FDS} = 1;
exec { $ARGV[0] } @ARGV;
END
	is(post_status($worker, event()), 200, 'LISTEN_FDS');
	reap($worker);
};

done_testing();
