# An HTTP client for what curl can't do: repeat headers, stop half-way, send one
# byte at a time, and keep control of each connection.
package Servers::Client;
use strict;
use warnings;
use Exporter qw(import);
use Hook;
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use Time::HiRes qw(time);

our @EXPORT = qw(dial head transmit receive outcome header kept
	chunked);

our $SECONDS = 20;	# to wait for an answer

sub dial {
	my ($s) = @_;
	return IO::Socket::INET->new(PeerAddr => '127.0.0.1',
		PeerPort => $s->{port}, Timeout => $SECONDS);
}

# Returns the request line and headers of a delivery of BODY.  %with replaces
# parts: method, query, version, path, host, connection; signature, length:
# undef for none; more: additional headers, as [name => value].
sub head {
	my ($s, $body, %with) = @_;
	%with = (method => 'POST', query => '', version => '1.1',
		path => $s->{path}, host => "127.0.0.1:$s->{port}",
		signature => sign($body), length => length $body,
		connection => 'close', %with);
	my @headers = ([Host => $with{host}],
		[Connection => $with{connection}],
		['x-protocol-signature' => $with{signature}],
		['Content-Length' => $with{length}], @{ $with{more} // [] });
	return "$with{method} $with{path}$with{query} HTTP/$with{version}\r\n" .
		join('', map { defined $_->[1] ? "$_->[0]: $_->[1]\r\n" : () }
		@headers) . "\r\n";
}

sub chunked {
	my ($body, $size) = @_;
	return join('', map { sprintf "%x\r\n%s\r\n", length, $_ }
		unpack "(a$size)*", $body) . "0\r\n\r\n";
}

# Returns whether all bytes were sent.  Even if not, there may be an answer.
sub transmit {
	my ($socket, $bytes) = @_;
	local $SIG{PIPE} = 'IGNORE';
	while (length $bytes) {
		my $n = syswrite $socket, $bytes or return 0;
		substr $bytes, 0, $n, '';
	}
	return 1;
}

# Reads into ${$buffer}.  Returns false at the end of file or at the time END.
sub more {
	my ($socket, $buffer, $end) = @_;
	my $left = $end - time;
	return $left > 0 && IO::Select->new($socket)->can_read($left)
		&& sysread $socket, $$buffer, 65536, length $$buffer;
}

sub until_match {
	my ($socket, $buffer, $end, $pattern) = @_;
	while (1) {
		return $1 if $$buffer =~ s/$pattern//;
		more($socket, $buffer, $end) or return;
	}
}

sub until_length {
	my ($socket, $buffer, $end, $length) = @_;
	while (length $$buffer < $length) {
		more($socket, $buffer, $end) or last;
	}
	return substr $$buffer, 0, $length, '';
}

sub receive_chunks {
	my ($socket, $buffer, $end) = @_;
	my $body = '';
	while (1) {
		my $size = until_match($socket, $buffer, $end,
			qr/\A([0-9a-fA-F]+)[^\n]*\r\n/) // return;
		$body .= until_length($socket, $buffer, $end, hex $size);
		until_match($socket, $buffer, $end, qr/\A(\r\n)/) // return;
		return $body if hex $size == 0;
	}
}

# All values of a header.
sub header {
	my ($answer, $name) = @_;
	return map { $_->[1] } grep { lc $_->[0] eq lc $name }
		@{ $answer->{headers} };
}

# Reads one answer: status, headers, body, json; framed is undef if the end of
# the connection ends the body.  Returns undef if no answer came.  %with: head,
# the answer is to HEAD; interim, return a 1xx answer, too; seconds to wait;
# buffer, a reference to bytes that were read beyond the answer before.
sub receive {
	my ($socket, %with) = @_;
	my $buffer = $with{buffer} // \(my $new = '');
	my $end = time + ($with{seconds} // $SECONDS);
	my ($text, %answer);
	do {
		$text = until_match($socket, $buffer, $end,
			qr/\A(.*?\r\n)\r\n/s) // return;
		$text =~ s/\AHTTP\/(1\.[01]) (\d{3})[^\r\n]*\r\n// or return;
		@answer{qw(version status)} = ($1, $2);
	} while ($answer{status} < 200 && !$with{interim});
	$answer{headers} = [map { [split /:[ \t]*/, $_, 2] }
		split /\r\n/, $text];
	return \%answer if $answer{status} < 200;
	my ($length) = header(\%answer, 'Content-Length');
	my ($coding) = header(\%answer, 'Transfer-Encoding');
	$answer{framed} = $coding // $length;
	if ($with{head}) {
		$answer{body} = '';
	} elsif (defined $coding) {
		$answer{body} = receive_chunks($socket, $buffer, $end);
	} elsif (defined $length) {
		$answer{body} = until_length($socket, $buffer, $end, $length);
	} else {
		1 while more($socket, $buffer, $end);
		$answer{body} = $$buffer;
		$$buffer = '';
	}
	$answer{json} = eval { JSON::PP::decode_json($answer{body} // '') };
	return \%answer;
}

# Whether the connection can be used for another request.
sub kept {
	my ($answer) = @_;
	my ($connection) = header($answer, 'Connection');
	return $answer->{framed} && lc($connection //
		($answer->{version} eq '1.0' ? 'close' : '')) ne 'close';
}

# The answer in words: "200 stored" or "401 Unauthorized" if the program gave
# it, "413 by the server" if not, or "no answer".
sub outcome {
	my ($answer) = @_;
	return 'no answer' if !$answer;
	my ($status, $json) = @$answer{qw(status json)};
	my ($type) = header($answer, 'Content-Type');
	$json = {} if ref $json ne 'HASH';
	return "$status $json->{status}"
		if $status == 200 && ($type // '') eq 'application/json'
		&& $json->{status};
	return "$status $json->{title}"
		if ($type // '') eq 'application/problem+json'
		&& $json->{title} && $json->{status} == $status;
	return "$status by the server";
}

1;
