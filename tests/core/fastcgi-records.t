#!/usr/bin/perl
# FastCGI records that no web server should send, or few do: nothing malformed
# is answered with 2xx, or harms the requests after it.
use strict;
use warnings;
use Test::More;
use Answers;
use Hook;
use IO::Select;

$SIG{PIPE} = 'IGNORE';

# FCGI_BEGIN_REQUEST for a responder, and the ends of parameters and of the
# body.
my $BEGIN = fcgi_record(1, pack 'nCx5', 1, 0);
my $END = fcgi_record(4, '') . fcgi_record(5, '');
# Where the first record of the body begins in a request.
my $BODY = qr/(?=\x01\x05\0\x01\0\0)/;

# Sends BYTES on a new connection: the answer, or undef.
sub answer_to {
	my ($worker, $bytes) = @_;
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, $bytes);
	shutdown $socket, 1;
	return fcgi_recv($socket, 5);
}

subtest 'malformed records get no 2xx, and the process lives on' => sub {
	my $worker = worker(spool => new_spool());
	my @junk = ("\0" x 100, "GET / HTTP/1.1\r\n\r\n", "\1" x 64,
		"\xff" x 4096,
		fcgi_record(5, 'x') . fcgi_record(5, ''),
		fcgi_record(1, "\0\1\0\0\0\0\0\0") . fcgi_record(5, ''),
		fcgi_record(1, "\0\1") . $END,
		fcgi_record(1, pack 'nCx5', 9, 0) . $END,
		$BEGIN . fcgi_record(4, "\xff" x 20) . $END,
		$BEGIN . fcgi_record(2, ''),
		(map { $BEGIN . fcgi_record(4, $_) . $END }
			"\5\5ab", "\x80\0", "\1", "\1\0"),
		$BEGIN . fcgi_record(4, fcgi_pairs(X => 'y' x 65000)) x 17
			. $END,
		fcgi_record(9, fcgi_pairs(FCGI_MAX_CONNS => ''), 0),
		# libfcgi would write its answer into its input.
		$BEGIN . fcgi_request(event()),
		fcgi_request(event()) =~ s/$BODY/fcgi_record(8, 'x')/er,
		fcgi_request(event()) =~ s/$BODY/fcgi_record(4, '')/er);
	for my $i (0 .. $#junk) {
		my $got = answer_to($worker, $junk[$i]);
		ok(!defined $got || $got->{status} !~ /^2/, "junk $i");
	}
	is(post_status($worker, event()), 200, 'a delivery after these');
	reap_clean($worker);
};

subtest 'malformed records in two parts close the connection' => sub {
	my $worker = worker(spool => new_spool());
	for (['a body first', fcgi_record(5, 'x') . fcgi_record(5, '')],
		['an unknown role', fcgi_record(1, pack 'nCx5', 9, 0) . $END],
		['abort', $BEGIN . fcgi_record(2, '')]) {
		my ($name, $bytes) = @$_;
		my $socket = fcgi_connect($worker);
		fcgi_send($socket, substr $bytes, 0, 9);
		is(post_status($worker, event()), 200,
			"$name: the first part was read");
		fcgi_send($socket, substr $bytes, 9);
		shutdown $socket, 1;
		is(fcgi_recv($socket, 5), undef, "$name: closed");
	}
	reap_clean($worker);
};

# libfcgi's own answer overruns a buffer.
subtest 'management records do not disturb a request' => sub {
	my $worker = worker(spool => new_spool());
	for my $pairs (fcgi_pairs(FCGI_MAX_CONNS => ''),
		fcgi_pairs((FCGI_MPXS_CONNS => '') x 60)) {
		my $socket = fcgi_connect($worker);
		fcgi_send($socket, fcgi_record(9, $pairs, 0)
			. fcgi_request(event()));
		is(fcgi_status($socket), 200, length($pairs) . ' bytes');
	}
	reap_clean($worker);
};

subtest 'padding of empty records is not part of the body' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool);
	my $padded = fcgi_request(my $text = event());
	$padded =~ s/\A(\x01\x01\0\x01\0\x08)\0(.{9})/$1\x03$2pad/s or die;
	$padded =~ s/(\x01\x04\0\x01\0\0)\0\0/$1\x05\0#####/ or die;
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, $padded);
	is(fcgi_status($socket), 200, 'status');
	is((grep { $_ eq $text } content($spool, 'new')), 1, 'bytes');
	reap_clean($worker);
};

subtest 'FCGI_ABORT_REQUEST closes the connection' => sub {
	my $worker = worker(spool => new_spool());
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, substr(fcgi_request(event()), 0, -8)
		. fcgi_record(2, ''));
	ok(IO::Select->new($socket)->can_read(20)
		&& !sysread($socket, my $byte, 1), 'end of file');
	reap_clean($worker);
};

subtest 'a parameter that claims 2 GB needs no memory' => sub {
	plan skip_all => left_out('memory') if left_out('memory');
	plan skip_all => 'a sanitizer needs more' if defined $ENV{ASAN_OPTIONS};
	my $worker = worker(spool => new_spool(),
		under => [qw(prlimit --as=500000000)]);
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, $BEGIN . fcgi_record(4,
		pack('C N', 1, 0xfffffff0) . 'ab') . $END);
	is(fcgi_recv($socket), undef, 'closed');
	is(post_status($worker, event()), 200, 'the next is stored');
	reap_clean($worker);
};

done_testing();
