# The list of cases that every set-up must pass.  The code of a case returns its
# result in words, to be compared with what protocol-hook(8) promises.  No case
# depends on which server it runs against.
package Servers::Cases;
use strict;
use warnings;
use Exporter qw(import);
use File::Find ();
use Hook;
use IO::Select;
use POSIX ();
use Servers::Client;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(@CASES);
our @CASES;

sub case {
	my ($id, $promise, $expected, $code) = @_;
	push @CASES, { id => $id, promise => $promise, expected => $expected,
		code => $code };
}

# Notes what is wrong with an answer, for the case 'headers', and the signature
# of BODY, for the case 'secrets'.
sub note_answer {
	my ($s, $body, $answer, %with) = @_;
	$s->{sent}{ sign($body) } = 1 if length $body;
	return if !$answer;
	my $unclean = sub { $s->{unclean}{ $_[0] } = 1 };
	my @types = header($answer, 'Content-Type');
	my @lengths = header($answer, 'Content-Length');
	$unclean->('a Status header') if header($answer, 'Status');
	$unclean->('not one Content-Type') if @types != 1
		&& outcome($answer) !~ /by the server/;
	$unclean->('two Content-Lengths') if @lengths > 1;
	$unclean->('a wrong Content-Length') if @lengths && !$with{head}
		&& $lengths[0] != length($answer->{body} // '');
	my $text = ($answer->{body} // '') .
		join '', map { join ' ', @$_ } @{ $answer->{headers} };
	$unclean->("a secret") if index($text, $KEY) >= 0
		|| index($text, $s->{dir}) >= 0
		|| length $body && index($text, sign($body)) >= 0;
}

# Sends one request over a new connection.  Returns the answer, undef if none
# came.
sub deliver {
	my ($s, $body, %with) = @_;
	my $socket = dial($s) or return;
	my $payload = exists $with{payload} ? $with{payload} : $body;
	transmit($socket, head($s, $body, %with) . $payload);
	my $is_head = ($with{method} // '') eq 'HEAD';
	my $answer = receive($socket, head => $is_head);
	note_answer($s, $body, $answer, head => $is_head);
	return $answer;
}

sub delivered { return outcome(deliver(@_)) }

# How many files in new/ have this event; -1 if one of them differs from BODY.
sub stored {
	my ($s, $body) = @_;
	my ($id) = $body =~ /"id":"([^"]*)"/;
	my @found = grep { /\Q.$id.json\E\z/ } files($s->{spool});
	for (@found) {
		return -1 if slurp("$s->{spool}/new/$_") ne $body;
	}
	return scalar @found;
}

# How many files in rejected/ have these bytes.
sub rejected {
	my ($s, $body) = @_;
	return scalar grep { $_ eq $body } content($s->{spool}, 'rejected');
}

# The result of most cases: an outcome and a number of files.
sub with_files {
	my ($outcome, $n) = @_;
	return "$outcome, $n file" . ($n == 1 ? '' : 's');
}

sub deliver_and_count {
	my ($s, $body, %with) = @_;
	my $outcome = delivered($s, $body, %with);
	return with_files($outcome, stored($s, $body));
}

# A result for requests that some servers refuse by themselves: every refusal
# counts.
sub refused {
	my ($s, $outcome, $body) = @_;
	my $what = $outcome =~ /^(?:no|[45])/ ? 'refused' : $outcome;
	return with_files($what, stored($s, $body));
}

# An event of exactly SIZE bytes.
sub sized {
	my ($size) = @_;
	my $id = sprintf 'size%d', $size;
	return event(id => $id, pad => $size - length event(id => $id));
}

case 'first', 'the commands of the set-up end in a stored delivery',
	'200 stored, as sent', sub {
	my ($s) = @_;
	Servers::command($s, $s->{send}, "$s->{dir}/sent");
	my $answer = slurp("$s->{dir}/sent");
	my ($file) = content($s->{spool}, 'new');
	return $answer if $answer !~ /"status":"stored"/;
	return '200 stored, ' . ($file eq $EXAMPLE ? 'as sent' : 'changed');
};

case 'stored', 'an event is stored', '200 stored, 1 file', sub {
	my ($s) = @_;
	return deliver_and_count($s, event());
};

case 'repeat', 'the same bytes again are a duplicate',
	'200 duplicate, 1 file', sub {
	my ($s) = @_;
	my $body = event();
	delivered($s, $body);
	return deliver_and_count($s, $body);
};

case 'ignored', 'an event that is not wanted is ignored',
	'200 ignored, 0 files', sub {
	my ($s) = @_;
	return deliver_and_count($s, event(type => 'group.created'));
};

case 'get', 'GET is answered with "ready"', '200 ready', sub {
	my ($s) = @_;
	return delivered($s, '', method => 'GET', signature => undef,
		length => undef);
};

case 'head', 'HEAD is answered like GET, without a body',
	'200 without a body', sub {
	my ($s) = @_;
	my $answer = deliver($s, '', method => 'HEAD', signature => undef,
		length => undef) or return 'no answer';
	my ($type) = header($answer, 'Content-Type');
	return outcome($answer) if ($type // '') ne 'application/json';
	return "$answer->{status} without a body";
};

sub method_case {
	my ($method, $body) = @_;
	return sub {
		my ($s) = @_;
		my $answer = deliver($s, $body, method => $method);
		return 'no answer' if !$answer;
		my ($allow) = header($answer, 'Allow');
		return outcome($answer) . ', Allow: ' . ($allow // 'nothing');
	};
}

case 'put', 'PUT is refused, with the allowed methods in Allow',
	'405 Method Not Allowed, Allow: GET, HEAD, POST',
	method_case('PUT', event());

case 'delete', 'DELETE is refused, with the allowed methods in Allow',
	'405 Method Not Allowed, Allow: GET, HEAD, POST',
	method_case('DELETE', '');

case 'no-length', 'POST without a length and a body is refused',
	'411 Length Required', sub {
	my ($s) = @_;
	return delivered($s, '', length => undef);
};

case 'bad-length', 'a length that is not a number is refused',
	'refused, 0 files', sub {
	my ($s) = @_;
	my $body = event();
	my @outcomes = map { refused($s, delivered($s, $body, length => $_),
		$body) } '-1', '+5', '0x10', '5 5';
	return (grep { $_ ne $outcomes[0] } @outcomes)[0] // $outcomes[0];
};

case 'chunked', 'a chunked request is stored', '200 stored, 1 file', sub {
	my ($s) = @_;
	my $body = event(pad => 10000);
	return deliver_and_count($s, $body, length => undef,
		more => [['Transfer-Encoding', 'chunked']],
		payload => chunked($body, 1000));
};

case 'chunked-1M', 'a chunked request of 1 MB is stored',
	'200 stored, 1 file', sub {
	my ($s) = @_;
	my $body = event(pad => (1 << 20) - 200);
	return deliver_and_count($s, $body, length => undef,
		more => [['Transfer-Encoding', 'chunked']],
		payload => chunked($body, 60000));
};

case 'chunked-large', 'a chunked request larger than MAX_BODY is refused',
	'413 Content Too Large, 0 files', sub {
	my ($s) = @_;
	my $body = event(pad => (1 << 20) + 1000);
	return deliver_and_count($s, $body, length => undef,
		more => [['Transfer-Encoding', 'chunked']],
		payload => chunked($body, 60000));
};

case 'sizes', 'bodies of 1 byte to 1 MB are stored as sent',
	'all as sent', sub {
	my ($s) = @_;
	for my $size (1, 2, 63) {
		my $body = substr '[' x 63, 0, $size;
		my $got = delivered($s, $body);
		return "$size: $got" if $got ne '422 Unprocessable Content'
			|| rejected($s, $body) != 1;
	}
	for my $size (128, 1024, 4095 .. 4097, 8191 .. 8193, 16384,
		32767 .. 32769, 65535 .. 65537, 131071 .. 131073, 262144,
		524288, (1 << 20) - 1, 1 << 20) {
		my $got = deliver_and_count($s, sized($size));
		return "$size: $got" if $got ne '200 stored, 1 file';
	}
	return 'all as sent';
};

case 'large', 'a body one byte larger than MAX_BODY is refused',
	'413 Content Too Large, 0 files', sub {
	my ($s) = @_;
	return deliver_and_count($s, sized((1 << 20) + 1));
};

case 'short', 'a body shorter than its length is not stored',
	'refused, 0 files', sub {
	my ($s) = @_;
	my $body = event(pad => 5000);
	my $socket = dial($s) or return 'no connection';
	transmit($socket, head($s, $body) . substr $body, 0, 2500);
	shutdown $socket, 1;
	my $answer = receive($socket);
	note_answer($s, $body, $answer);
	return refused($s, outcome($answer), $body);
};

case 'unsigned', 'a delivery without a signature is refused',
	 '401 Unauthorized, 0 files', sub {
	my ($s) = @_;
	return deliver_and_count($s, event(), signature => undef);
};

case 'wrong', 'a wrong signature is refused', '401 Unauthorized, 0 files', sub {
	my ($s) = @_;
	return deliver_and_count($s, event(), signature => sign('other'));
};

case 'malformed', 'a signature that is not 64 hex digits is refused',
	'401 Unauthorized, 0 files', sub {
	my ($s) = @_;
	my $body = event();
	my $right = sign($body);
	my @outcomes = map { deliver_and_count($s, $body, signature => $_) }
		substr($right, 1), "${right}0", "sha256=$right", "0x$right",
		"$right $right", '';
	return (grep { $_ ne $outcomes[0] } @outcomes)[0] // $outcomes[0];
};

sub twice {
	my ($s, $body, @signatures) = @_;
	return deliver_and_count($s, $body, signature => $signatures[0],
		more => [['x-protocol-signature', $signatures[1]]]);
}

case 'twice', 'the right signature sent twice is refused',
	'401 Unauthorized, 0 files', sub {
	my ($s) = @_;
	my $body = event();
	return twice($s, $body, sign($body), sign($body));
};

case 'twice-wrong', 'a right and a wrong signature, in any order, are refused',
	'401 Unauthorized, 0 files; 401 Unauthorized, 0 files', sub {
	my ($s) = @_;
	my ($one, $two) = (event(), event());
	return twice($s, $one, sign($one), sign('other')) . '; ' .
		twice($s, $two, sign('other'), sign($two));
};

case 'odd-case', 'the name of the signature\'s header may be in any case',
	'200 stored, 1 file', sub {
	my ($s) = @_;
	my $body = event();
	return deliver_and_count($s, $body, signature => undef,
		more => [['X-pROTOCOL-Signature', sign($body)]]);
};

case 'upper-hex', 'the signature may be in upper-case hex',
	'200 stored, 1 file', sub {
	my ($s) = @_;
	my $body = event();
	return deliver_and_count($s, $body, signature => uc sign($body));
};

case 'underscore', 'a wrong X_Protocol_Signature replaces no signature',
	'200 stored, 1 file', sub {
	my ($s) = @_;
	return deliver_and_count($s, event(),
		more => [['X_Protocol_Signature', sign('other')]]);
};

case 'rejected', 'a signed body that is not an event is kept in rejected/',
	'422 Unprocessable Content, 1 file', sub {
	my ($s) = @_;
	my $body = '{"id":"x","type":"message.created"}';
	return with_files(delivered($s, $body), rejected($s, $body));
};

case 'bytes', 'a signed body of all 256 byte values arrives unchanged',
	'422 Unprocessable Content, 1 file', sub {
	my ($s) = @_;
	my $body = join '', "\0\0\r\n\r\n", map { chr } 0 .. 255, 0 .. 255;
	return with_files(delivered($s, $body), rejected($s, $body));
};

case 'gzip', 'a body with Content-Encoding: gzip is kept as it was sent',
	'422 Unprocessable Content, 1 file', sub {
	my ($s) = @_;
	# gzip of "{}\n"
	my $body = pack 'H*', '1f8b0800000000000003abae' .
		'e50200fd39ad4203000000';
	my $outcome = delivered($s, $body,
		more => [['Content-Encoding', 'gzip']]);
	return with_files($outcome, rejected($s, $body));
};

case 'utf8', 'the reference page\'s example, sent again, is a duplicate',
	'200 duplicate, 1 file', sub {
	my ($s) = @_;
	return deliver_and_count($s, $EXAMPLE);
};

case 'query', 'a query string is never taken for arguments', 'all stored', sub {
	my ($s) = @_;
	for my $query (qw(?--help ?check ?a+b ?-V ?-h+sign ?)) {
		my $got = deliver_and_count($s, event(), query => $query);
		return "$query: $got" if $got ne '200 stored, 1 file';
	}
	return 'all stored';
};

case 'configure', 'a request header never sets a variable of the program',
	'401 Unauthorized, 0 files', sub {
	my ($s) = @_;
	my $body = event();
	return deliver_and_count($s, $body, signature => sign($body, 'evil'),
		more => [['PROTOCOL-HOOK-SECRET', 'evil'],
			['Proxy', 'http://192.0.2.1/']]);
};

case 'expect', 'Expect: 100-continue is answered, and the delivery stored',
	'100, 200 stored, 1 file', sub {
	my ($s) = @_;
	my $body = event(pad => 3000);
	my $socket = dial($s) or return 'no connection';
	transmit($socket, head($s, $body,
		more => [['Expect', '100-continue']]));
	# Then the client goes on as curl does.
	my $interim = receive($socket, interim => 1, seconds => 1);
	my $said = $interim ? $interim->{status} : 'nothing';
	return $said if $interim && $said != 100;
	transmit($socket, $body);
	my $answer = receive($socket);
	note_answer($s, $body, $answer);
	return "$said, " . with_files(outcome($answer), stored($s, $body));
};

case 'http-1.0', 'a delivery over HTTP/1.0 is stored',
	'200 stored, 1 file', sub {
	my ($s) = @_;
	return deliver_and_count($s, event(), version => '1.0');
};

# Sends the deliveries one after the other, over one connection; over a new one
# if the server has closed it.
sub in_turn {
	my ($s, @deliveries) = @_;
	my ($socket, @outcomes);
	for (@deliveries) {
		my ($body, %with) = @$_;
		$socket //= dial($s) or return 'no connection';
		transmit($socket, head($s, $body, connection => 'keep-alive',
			%with) . $body);
		my $answer = receive($socket);
		note_answer($s, $body, $answer);
		push @outcomes, outcome($answer);
		undef $socket if !$answer || !kept($answer);
	}
	return join ', ', @outcomes;
}

case 'in-turn', 'deliveries are stored after refused ones on a connection',
	'401 Unauthorized, 200 stored, 413 Content Too Large, 200 stored, ' .
	'405 Method Not Allowed, 200 stored', sub {
	my ($s) = @_;
	return in_turn($s, [event(pad => 70000), signature => sign('other')],
		[event()], [sized((1 << 20) + 2)], [event()],
		[event(), method => 'PUT'], [event()]);
};

case 'slow', 'a client that sends slowly delays no other client',
	'200 stored, 1 file', sub {
	my ($s) = @_;
	my $body = event();
	my $slow = dial($s) or return 'no connection';
	transmit($slow, head($s, $body));
	my $longest = 0;
	for my $i (0 .. 9) {
		transmit($slow, substr $body, $i, 1);
		my $began = time;
		my $got = delivered($s, event());
		return "another: $got" if $got ne '200 stored';
		my $took = time - $began;
		$longest = $took if $took > $longest;
		sleep 0.2 - $took if $took < 0.2;
	}
	return sprintf 'another waited for %.1f s', $longest if $longest > 2;
	transmit($slow, substr $body, 10);
	my $answer = receive($slow);
	note_answer($s, $body, $answer);
	return with_files(outcome($answer), stored($s, $body));
};

case 'hang-up', 'of a client that hangs up half-way nothing is stored',
	'200 stored, 1 file, and none of theirs', sub {
	my ($s) = @_;
	my @bodies = map { event(pad => 9000) } 1 .. 8;
	for (@bodies) {
		my $socket = dial($s) or return 'no connection';
		transmit($socket, head($s, $_) . substr $_, 0, 4000);
		$s->{never}{$_} = 1;	# for the case 'stop'
		close $socket;
	}
	my $got = deliver_and_count($s, event());
	my $theirs = grep { stored($s, $_) } @bodies;
	return "$got, and " . ($theirs || 'none') . ' of theirs';
};

# Sends all bodies before it reads any answer.  Returns the number of each
# outcome.
sub at_once {
	my ($s, @bodies) = @_;
	my @sockets = map { dial($s) or return 'no connection' } @bodies;
	transmit($sockets[$_], head($s, $bodies[$_]) . $bodies[$_])
		for 0 .. $#bodies;
	my %count;
	for (0 .. $#bodies) {
		my $answer = receive($sockets[$_]);
		note_answer($s, $bodies[$_], $answer);
		$count{ outcome($answer) }++;
	}
	return join ', ', map { "$count{$_} x $_" } sort keys %count;
}

case 'concurrent', '64 deliveries at the same time are stored',
	'64 x 200 stored, 64 files', sub {
	my ($s) = @_;
	my @bodies = map { event(pad => 500) } 1 .. 64;
	my $got = at_once($s, @bodies);
	return with_files($got, scalar grep { stored($s, $_) == 1 } @bodies);
};

case 'racing', 'the same delivery, 32 times at the same time, is stored once',
	'31 x 200 duplicate, 1 x 200 stored, 1 file', sub {
	my ($s) = @_;
	my $body = event();
	my $got = at_once($s, ($body) x 32);
	return with_files($got, stored($s, $body));
};

case 'unusable', 'while the spool can\'t be used, deliveries get 500',
	'500 Internal Server Error, 0 files; 200 stored, 1 file', sub {
	my ($s) = @_;
	my $body = event();
	my $new = "$s->{spool}/new";
	rename $new, "$new.away" or die $!;
	symlink 'elsewhere', $new or die $!;
	my $got = delivered($s, $body);
	unlink $new or die $!;
	rename "$new.away", $new or die $!;
	return with_files($got, stored($s, $body)) . '; ' .
		deliver_and_count($s, $body);
};

case 'unavailable', 'a delivery that can\'t be stored gets 503, then is stored',
	'503 Service Unavailable, 0 files, Retry-After: 30; ' .
	'GET 503 Service Unavailable; 200 stored, 1 file', sub {
	my ($s) = @_;
	my $body = event();
	my $new = "$s->{spool}/new";
	my $mode = (stat $new)[2] & 07777;
	chmod 0550, $new or die $!;
	my $answer = deliver($s, $body);
	my $ready = delivered($s, '', method => 'GET', signature => undef,
		length => undef);
	chmod $mode, $new or die $!;
	my ($after) = $answer ? header($answer, 'Retry-After') : ();
	return with_files(outcome($answer), stored($s, $body)) .
		', Retry-After: ' . ($after // 'none') . "; GET $ready; " .
		deliver_and_count($s, $body);
};

# The number of log lines of a delivery, which may come after its answer.
sub logged {
	my ($s, $pattern) = @_;
	my $n;
	wait_for(sub { $n = () = Servers::logs($s) =~ /$pattern/g }, 5);
	return $n || 'no';
}

case 'log', 'each delivery, stored or refused, is one line in the log',
	'1 stored, 1 refused', sub {
	my ($s) = @_;
	my $body = event();
	my ($id) = $body =~ /"id":"([^"]*)"/;
	delivered($s, $body);
	# 7,777 bytes: no other body is as long.
	my $bad = event(pad => 7777 - length event(id => 'idid'), id => 'idid');
	delivered($s, $bad, signature => sign('other'));
	return logged($s, qr/result=stored [^\n]*id=\Q$id\E /) . ' stored, ' .
		logged($s, qr/result=unauthorized [^\n]*bytes=7777 /) .
		' refused';
};

# Returns a 2xx answer that did not come from the program, or ''.  A sender
# would take it for a stored delivery, a health check for a receiver that is
# ready.
sub false_success {
	my ($s, %with) = @_;
	my $body = event();
	my $got = deliver_and_count($s, $body, %with);
	return "POST: $got" if $got =~ /^2/ && $got ne '200 stored, 1 file';
	$got = delivered($s, '', %with, method => 'GET', signature => undef,
		length => undef);
	return "GET: $got" if $got =~ /^2/ && $got ne '200 ready';
	return '';
}

case 'other-places', 'other paths and hosts never answer 2xx',
	'none', sub {
	my ($s) = @_;
	my $path = $s->{path};
	my @places = map { [path => $_] } "$path/", "$path/x", "$path//",
		"/$path", "/x/..$path", "$path/../x", "${path}x", "$path.json",
		uc $path, $path =~ s/p/%70/r, '/other', '/x/', '/',
		'/index.html', '//';
	push @places, [host => 'other.example'],
		[host => 'other.example', path => '/other'],
		[host => 'other.example', path => '/'];
	my @found;
	for (@places) {
		my $what = false_success($s, @$_);
		push @found, "@$_: $what" if $what;
	}
	return join('; ', @found) || 'none';
};

# The processes that run the program itself.
sub receivers {
	my ($s) = @_;
	return grep { (eval { slurp("/proc/$_/comm") } // '') =~
		/^protocol-hook/ } Servers::processes($s);
}

sub kill_receivers {
	my ($s) = @_;
	my @pids = receivers($s);
	kill 'KILL', @pids;
	wait_for(sub { !grep { Servers::alive($_) } @pids })
		or die "@pids can't be killed\n";
}

# Kills the program while it has a delivery that it has not answered.  Returns
# a false 2xx, or ''.
sub killed_under_way {
	my ($s) = @_;
	my @pids = receivers($s) or return '';
	kill 'STOP', @pids;
	my $body = event();
	my $socket = dial($s) or return '';
	transmit($socket, head($s, $body) . $body);
	# Time for the request to arrive; no answer can come.
	IO::Select->new($socket)->can_read(0.5);
	kill_receivers($s);
	my $got = with_files(outcome(receive($socket)), stored($s, $body));
	return $got =~ /^2/ && $got ne '200 stored, 1 file' ? $got : '';
}

case 'down', 'while the program can\'t run, nothing answers 2xx; ' .
	'then deliveries are stored again', 'none; 200 stored, 1 file', sub {
	my ($s) = @_;
	my $program = "$s->{dir}/usr/local/bin/protocol-hook";
	my @found;
	{
		local $Servers::Client::SECONDS = 2;
		@found = grep { $_ } killed_under_way($s);
		rename $program, "$program.away" or die $!;
		for my $script ('', 'kill -KILL $$', 'exit 0', 'exit 1') {
			Servers::make_file($program, "#!/bin/sh\n$script\n");
			chmod 0755, $program;
			unlink $program if !$script;
			kill_receivers($s);
			my $what = false_success($s);
			push @found, "'$script': $what" if $what;
		}
		rename "$program.away", $program or die $!;
	}
	Servers::start_receiver($s);
	wait_for(sub { delivered($s, '', method => 'GET', signature => undef,
		length => undef) eq '200 ready' }, $s->{setup}{recovery} // 40);
	return (join('; ', @found) || 'none') . '; ' .
		deliver_and_count($s, event());
};

# Returns how a pid file has changed since it had BEFORE, and restores it.
sub changed_pid_file {
	my ($s, $file, $before) = @_;
	my $now = Servers::pid_of($s, $file);
	return if ($now // 0) == $before;
	if ($now && Servers::alive($now)) {
		kill 'KILL', $now;
		wait_for(sub { !Servers::alive($now) });
	}
	Servers::make_file("$s->{dir}/run/$file", "$before\n");
	return $now ? "another in $file" : "none in $file";
}

case 'started-twice', 'the commands of the set-up, run again, change nothing',
	'200 stored, 1 file, the same processes', sub {
	my ($s) = @_;
	my %pid = map { $_->[0] => Servers::pid_of($s, $_->[0]) }
		@{ $s->{setup}{stop} };
	my @changed;
	for (@{ $s->{start} }) {
		my $started = Servers::command($s, $_);
		push @changed, "'$_' does not fail"
			if $started && m{^sh \S+/start\b};
	}
	my $got = deliver_and_count($s, event());
	push @changed, map { changed_pid_file($s, $_, $pid{$_}) } sort
		grep { $pid{$_} } keys %pid;
	return "$got, " . (join(', ', @changed) || 'the same processes');
};

# Starts clients that deliver without a pause until end_load().
sub begin_load {
	my ($s) = @_;
	my $log = "$s->{dir}/acknowledged";
	my @pids;
	for (1 .. 4) {
		my $pid = fork // die $!;
		if ($pid) {
			push @pids, $pid;
			next;
		}
		$SIG{ALRM} = 'DEFAULT';
		alarm 60;
		open my $fh, '>>', $log or POSIX::_exit(1);
		$Servers::Client::SECONDS = 10;
		while (!-e "$s->{dir}/enough") {
			my $body = event();
			my $got = delivered($s, $body);
			syswrite $fh, "$body\n" if $got eq '200 stored';
			sleep 0.02 if $got ne '200 stored';
		}
		POSIX::_exit(0);
	}
	return { log => $log, pids => \@pids };
}

sub acknowledged {
	my ($load) = @_;
	my $text = eval { slurp($load->{log}) } // '';
	return split /\n/, $text;
}

sub wait_for_more {
	my ($load, $n) = @_;
	$n += acknowledged($load);
	return wait_for(sub { acknowledged($load) >= $n }, 20);
}

# Ends the clients.  Returns 'all are there', or how many acknowledged
# deliveries are missing.
sub end_load {
	my ($s, $load) = @_;
	open my $fh, '>', "$s->{dir}/enough" or die $!;
	waitpid $_, 0 for @{ $load->{pids} };
	unlink "$s->{dir}/enough";
	my @bodies = acknowledged($load);
	my $missing = grep { stored($s, $_) != 1 } @bodies;
	unlink $load->{log};
	return $missing ? "$missing of " . @bodies . ' are missing'
		: 'all are there';
}

case 'reload', 'a reload under load loses no acknowledged delivery',
	'all are there', sub {
	my ($s) = @_;
	return 'it has none' if !$s->{setup}{reload};
	my $load = begin_load($s);
	my $before = wait_for_more($load, 10);
	Servers::reload($s);
	my $after = wait_for_more($load, 20);
	my $end = end_load($s, $load);
	return $before && $after ? $end : 'no service';
};

case 'stop', 'a stop under load loses no acknowledged delivery',
	'all are there, nothing runs', sub {
	my ($s) = @_;
	my $load = begin_load($s);
	my $before = wait_for_more($load, 10);
	my @left = Servers::stop($s);
	my $end = end_load($s, $load);
	return 'no service' if !$before;
	my @late = grep { stored($s, $_) } keys %{ $s->{never} };
	return 'half a body was stored' if @late;
	return "$end, " . (@left ? "@left still run" : 'nothing runs');
};

case 'headers', 'every answer above had valid headers and no secret',
	'clean', sub {
	my ($s) = @_;
	return join(', ', sort keys %{ $s->{unclean} }) || 'clean';
};

case 'secrets', 'no log contains a key, a signature or a body', 'none', sub {
	my ($s) = @_;
	my $logs = Servers::logs($s);
	my @found;
	push @found, 'the key' if index($logs, $KEY) >= 0;
	push @found, 'a signature' if grep { index($logs, $_) >= 0 }
		keys %{ $s->{sent} }, sign('other');
	push @found, 'a body' if index($logs, '"payload"') >= 0;
	push @found, 'nothing at all' if $logs eq '';
	return join(', ', @found) || 'none';
};

1;
