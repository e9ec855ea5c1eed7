#!/usr/bin/perl
# FastCGI beside requests: management records, who may connect, and what the web
# server did not pass.
use strict;
use warnings;
use Test::More;
use Answers;
use Hook;
use IO::Select;
use IO::Socket::IP;
use Socket qw(MSG_PEEK);

$SIG{PIPE} = 'IGNORE';

my @NAMES = qw(FCGI_MAX_CONNS FCGI_MAX_REQS FCGI_MPXS_CONNS);
my $ASK = fcgi_record(9, fcgi_pairs(map { ($_ => '') } @NAMES), 0);
my $VALUES = qr/\A10[ ]0[ ]\x0e[\x01-\x04]FCGI_MAX_CONNS\d+
	\x0d[\x01-\x04]FCGI_MAX_REQS\d+\x0f\x01FCGI_MPXS_CONNS0\z/x;

# The first N records that come, as 'TYPE ID CONTENT'.
sub records {
	my ($socket, $n) = @_;
	my ($buf, @records) = '';
	wait_for(sub {
		IO::Select->new($socket)->can_read(0)
			&& !sysread $socket, $buf, 65536, length $buf
			and return 1;
		while (length $buf >= 8) {
			my (undef, $type, $id, $size, $pad) =
				unpack 'CCnnC', $buf;
			last if length $buf < 8 + $size + $pad;
			push @records, "$type $id " . substr $buf, 8, $size;
			substr $buf, 0, 8 + $size + $pad, '';
		}
		return @records >= $n;
	}, 5);
	return @records;
}

subtest 'FCGI_GET_VALUES alone is answered' => sub {
	my $worker = worker(spool => new_spool());
	my $socket = fcgi_connect($worker);
	for (1, 2) {
		fcgi_send($socket, $ASK);
		like((records($socket, 1))[0] // '', $VALUES, 'all values');
	}
	fcgi_send($socket, fcgi_request(event(), keep => 1));
	is(fcgi_status($socket), 200, 'then a request is');
	reap_clean($worker);
};

subtest 'FCGI_GET_VALUES is answered wherever it comes' => sub {
	my $worker = worker(spool => new_spool());
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, fcgi_request(event(), keep => 1));
	is(fcgi_status($socket), 200, 'a kept connection');
	for my $i (0 .. length $ASK) {
		next if $i % 13 && $i < length $ASK;
		fcgi_send($socket, substr $ASK, 0, $i);
		is(post_status($worker, event()), 200, "$i bytes were read");
		fcgi_send($socket, substr $ASK, $i);
		like((records($socket, 1))[0] // '', $VALUES,
			"... and the rest: answered");
	}
	fcgi_send($socket, $ASK . $ASK . fcgi_request(event(), keep => 1));
	is(scalar(grep { /$VALUES/ } records($socket, 3)), 2,
		'before a request');
	fcgi_send($socket, fcgi_request(event(), keep => 1)
		=~ s/(?=\x01\x05\0\x01)/$ASK/r);
	my @all = records($socket, 4);
	is(scalar(grep { /$VALUES/ } @all), 1, 'within one');
	is(scalar(grep { /"stored"/ } @all), 1, '... which is answered, too');
	reap_clean($worker);
};

subtest 'only the values that are asked for are answered' => sub {
	my $worker = worker(spool => new_spool());
	my $socket = fcgi_connect($worker);
	for ([fcgi_pairs(FCGI_MPXS_CONNS => ''),
			"10 0 \x0f\1FCGI_MPXS_CONNS0"],
		[fcgi_pairs(OTHER => 'x' x 200, FCGI_MPXS_CONNS => ''),
			'10 0 '],
		[fcgi_pairs(OTHER => 'x', (FCGI_MPXS_CONNS => 'y') x 2),
			"10 0 \x0f\1FCGI_MPXS_CONNS0"],
		[fcgi_pairs(FCGI_MPXS => '', FCGI_MPXS_CONNSX => ''), '10 0 '],
		['', '10 0 '], ["\xff", '10 0 '], ["\x0f", '10 0 '],
		["\x0f\0FCGI_MPXS_CONN", '10 0 '],
		["\xff\xff\xff\xff" x 2, '10 0 ']) {
		my ($pairs, $answer) = @$_;
		fcgi_send($socket, fcgi_record(9, $pairs, 0));
		is((records($socket, 1))[0], $answer,
			length($pairs) . ' bytes');
	}
	reap_clean($worker);
};

subtest 'unknown management records get FCGI_UNKNOWN_TYPE' => sub {
	my $worker = worker(spool => new_spool());
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, fcgi_record($_, 'x', 0))
		for 12, 255, 1 .. 8, 10, 11;
	fcgi_send($socket, $ASK);
	my @all = records($socket, 3);
	is(join('|', @all[0, 1]),
		"11 0 \x0c" . "\0" x 7 . "|11 0 \xff" . "\0" x 7, 'of each');
	like($all[2], $VALUES, 'other known types get none');
	reap_clean($worker);
};

subtest 'management records hold nobody up' => sub {
	my $worker = worker(spool => new_spool());
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, $ASK x 65);
	records($socket, 65);
	ok(!sysread($socket, my $byte, 1), 'too many at once: closed');
	$socket = fcgi_connect($worker);
	my ($asked, $before, $unread) = (0, -1, '');
	while ($asked < 5000 && length $unread > $before
		&& fcgi_send($socket, $ASK)) {
		$asked++;
		$before = length $unread;
		wait_for(sub { recv $socket, $unread, 1 << 20, MSG_PEEK;
			return length $unread > $before }, 2);
	}
	cmp_ok($asked, '<', 5000, 'a server that does not read is closed');
	is(post_status($worker, event()), 200, '... and others are served');
	reap_clean($worker);
};

subtest 'FCGI_WEB_SERVER_ADDRS says who may connect by TCP' => sub {
	for (['127.0.0.1', '127.0.0.1', '127.0.0.1', 1],
		['192.0.2.9, 127.0.0.1', '127.0.0.1', '127.0.0.1', 1],
		['127.0.0.1', '127.0.0.1', '127.0.0.2', 0],
		['192.0.2.9,2001:db8::1', '127.0.0.1', '127.0.0.1', 0],
		['', '127.0.0.1', '127.0.0.2', 1],
		[undef, '127.0.0.1', '127.0.0.2', 1],
		['::1', '::1', '::1', 1],
		['127.0.0.1,2001:db8::1', '::1', '::1', 0],
		['127.0.0.1', '::ffff:127.0.0.1', '127.0.0.1', 1],
		['::ffff:127.0.0.1', '127.0.0.1', '127.0.0.1', 1],
		['127.0.0.2', '::ffff:127.0.0.1', '127.0.0.1', 0]) {
		my ($list, $on, $from, $may) = @$_;
		my $name = ($list // 'no list') . ", on $on, from $from";
		my $listener = IO::Socket::IP->new(LocalHost => $on,
			Listen => 5, V6Only => 0);
		SKIP: {
			skip "no socket on $on", 2 if !$listener;
			my $worker = worker(spool => new_spool(),
				listener => $listener,
				env => { FCGI_WEB_SERVER_ADDRS => $list });
			my $socket = IO::Socket::IP->new(LocalHost => $from,
				PeerHost => $from =~ /\./ ? '127.0.0.1' : '::1',
				PeerPort => $listener->sockport);
			skip "no address $from", 2 if !$socket;
			fcgi_send($socket, fcgi_request(event()));
			is((fcgi_recv($socket) // {})->{status},
				$may ? 200 : undef, $name);
			reap($worker);
			is((() = log_of($worker) =~ / result=peer_refused /g),
				1 - $may, "$name: the log");
		}
	}
};

subtest 'FCGI_WEB_SERVER_ADDRS does not concern a Unix socket' => sub {
	my $worker = worker(spool => new_spool(),
		env => { FCGI_WEB_SERVER_ADDRS => '127.0.0.1' });
	is(post_status($worker, event()), 200, 'it serves');
	reap($worker);
};

subtest 'with a list that cannot be parsed it does not start' => sub {
	my $worker = worker(spool => new_spool(),
		env => { FCGI_WEB_SERVER_ADDRS => 'localhost' });
	my $status = -1;
	wait_for(sub { waitpid($worker->{pid}, 1) > 0 and $status = $?, 1 }, 5);
	reap($worker, 'KILL');
	is($status >> 8, 1, 'exit status');
	like(log_of($worker), qr/ result=start_failed (?#
		)reason="FCGI_WEB_SERVER_ADDRS is not /, 'the log says why');
};

subtest 'the log names what the web server did not pass' => sub {
	my $worker = worker(spool => new_spool());
	for ([405, 'the web server passed no REQUEST_METHOD',
			params => { REQUEST_METHOD => undef }],
		[401, 'no signature: the web server passed no header (?#
			)\(HTTP_...\) at all',
			params => { HTTP_X_PROTOCOL_SIGNATURE => undef }],
		[401, 'no signature', params => { HTTP_HOST => 'a',
			HTTP_X_PROTOCOL_SIGNATURE => undef }]) {
		my ($status, $reason, @with) = @$_;
		is(post_status($worker, event(), @with), $status, $reason);
		ok(wait_for(sub { log_of($worker)
			=~ / status=$status .* reason="$reason"\n\z/ }, 5),
			'the reason');
	}
	reap($worker);
};

done_testing();
