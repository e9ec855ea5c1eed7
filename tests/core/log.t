#!/usr/bin/perl
# Whoever reads the log may stop: nobody waits for it, what is dropped is counted,
# and no line is cut.  A standard output that is full is waited for.
use strict;
use warnings;
use Test::More;
use Fcntl;
use Hook;
use IO::Handle;
use IO::Poll qw(POLLHUP);
use Socket;

$SIG{PIPE} = 'IGNORE';
my $LINE = qr/^$TS result=(\w+)(?: .*)?$/;

sub set_flag {
	my ($fh, $on) = @_;
	my $flags = fcntl $fh, F_GETFL, 0;
	fcntl $fh, F_SETFL, $on ? $flags | O_NONBLOCK : $flags & ~O_NONBLOCK
		or die $!;
	return;
}

# Lines of one length, until no more are taken.
sub fill {
	my ($fh, $blocking) = @_;
	set_flag($fh, 1);
	1 while syswrite $fh, 'x' x 63 . "\n";
	1 while syswrite $fh, "\n";
	set_flag($fh, !$blocking);
	return;
}

sub full_pipe {
	pipe my $read, my $write or die $!;
	fill($write, @_);
	return ($read, $write);
}

sub full_socket {
	socketpair my $read, my $write, AF_UNIX, SOCK_STREAM, 0 or die $!;
	fill($write, @_);
	return ($read, $write);
}

# Nothing where there are none: TIOCSPTLCK and TIOCGPTN are Linux's.
sub full_terminal {
	my ($unlock, $n) = (pack('i', 0), pack('i', 0));
	$^O eq 'linux' && sysopen my $master, '/dev/ptmx', O_RDWR | O_NOCTTY
		or return;
	ioctl $master, 0x40045431, $unlock or return;
	ioctl $master, 0x80045430, $n or return;
	sysopen my $slave, '/dev/pts/' . unpack('i', $n), O_RDWR | O_NOCTTY
		or return;
	fill($slave, @_);
	return ($master, $slave);
}

# What comes until CODE returns true for it.
sub read_until {
	my ($fh, $code) = @_;
	my $text = '';
	set_flag($fh, 1);
	wait_for(sub { 1 while sysread $fh, $text, 65536, length $text;
		return $code->($text) });
	return $text;
}

# Whether the other side of SOCKET has closed it.
sub closed {
	my ($socket) = @_;
	my $poll = IO::Poll->new;
	$poll->mask($socket => POLLHUP);
	$poll->poll(0);
	return $poll->events($socket) & POLLHUP;
}

# The exit status after SIGTERM, or what it is that does not end.
sub terminate {
	my ($worker) = @_;
	my $status = 'it does not end';
	kill 'TERM', $worker->{pid};
	wait_for(sub { waitpid($worker->{pid}, POSIX::WNOHANG()) > 0
		and $status = $?, 1 }, 15) and return $status;
	reap($worker, 'KILL');
	return $status;
}

# What a terminal adds, or had no room for, taken away.
sub plain { return $_[0] =~ s/\r\n/\n/gr =~ s/^x+(?=ts=)//mgr }

# Lines that have come, and those that were counted.
sub accounted {
	my $text = plain(@_);
	my @counts = $text =~ /^$TS result=log_dropped count=(\d+)$/mg;
	my $lines = () = $text =~
		/^$TS result=(?:unauthorized|stored) .*ms=[\d.]+(?: reason=.*)?$/mg;
	$lines += $_ for @counts;
	return ($lines, scalar @counts);
}

sub is_full_log {
	my ($name, $read, $write, %with) = @_;
	my $spool = new_spool();
	my $worker = worker(spool => $spool, stderr => $write, %with);
	my $bad = 0;
	for (1 .. 400) {
		my $got = post($worker, 'x',
			params => { HTTP_X_PROTOCOL_SIGNATURE => undef });
		last if ++$bad && !$got;
		$bad-- if $got->{status} == 401;
	}
	is($bad, 0, "$name: requests are answered");
	is((post($worker, event()) // {})->{status}, 200, "$name: one is stored");
	my $text = read_until($read, sub { (accounted($_[0]))[0] >= 401 });
	my ($lines, $drops) = accounted($text);
	is($lines, 401, "$name: each line comes or is counted");
	cmp_ok($drops, '>', 0, "$name: some were dropped");
	is((grep { !/^x*$/ && !/$LINE/ } split /\n/, plain($text)),
		0, "$name: no line is cut");
	is((post($worker, event()) // {})->{status}, 200, "$name: then ...");
	like(plain(read_until($read, sub { $_[0] =~ /\n/ })),
		qr/\A$TS result=stored .*\n\z/, "$name: ... all is as before");
	fill($write, !$with{nonblock});
	post($worker, 'x', params => { HTTP_X_PROTOCOL_SIGNATURE => undef });
	is(terminate($worker), 0, "$name: SIGTERM ends it while nobody reads");
	return;
}

for my $blocking (1, 0) {
	my $how = $blocking ? '' : ', O_NONBLOCK';
	is_full_log("a pipe$how", full_pipe($blocking), nonblock => !$blocking);
	is_full_log("a socket$how", full_socket($blocking),
		nonblock => !$blocking);
	my @terminal = full_terminal($blocking);
	SKIP: {
		skip 'no terminals', 8 if !@terminal;
		is_full_log("a terminal$how", @terminal, nonblock => !$blocking);
	}
}

# The web server does not read: neither its answers, nor the log with them.
for my $with ([], [no_stderr => 1]) {
	my $worker = worker(spool => new_spool(), @$with);
	my $deaf = fcgi_connect($worker);
	my ($before, $n) = (0, 0);
	for ($n = 0; $n < 2000; $n++) {
		fcgi_send($deaf, fcgi_request('x', keep => 1)) or last;
		my $here;
		wait_for(sub { recv $deaf, $here, 1 << 20, MSG_PEEK;
			return length $here > $before || closed($deaf) });
		last if length $here <= $before;
		$before = length $here;
	}
	cmp_ok($n, '<', 2000, "@$with: a web server that does not read");
	is((post($worker, event()) // {})->{status}, 200,
		"@$with: others are served after $n answers");
	is(terminate($worker), 0, "@$with: SIGTERM ends it");
}

# Another process fills the pipe after we saw that it is writable.
SKIP: {
	skip no_strace(), 2 if no_strace();
	my ($read, $write) = full_pipe(1);
	my $worker = worker(spool => new_spool(), stderr => $write, under => [
		'strace', '-D', '-o', '/dev/null', '-e', 'inject=poll:retval=1']);
	is((post($worker, event()) // {})->{status}, 200, 'a write that waits') for 1 .. 2;
	is(terminate($worker), 0, 'a write that waits: SIGTERM ends it');
}

# A file that can't take more for a while.
{
	my $spool = new_spool();
	my $worker = worker(spool => $spool, under => ['prlimit', '--fsize=1000:']);
	for (1 .. 20) {
		post($worker, 'x', params => { HTTP_X_PROTOCOL_SIGNATURE => undef });
	}
	my $half = slurp($worker->{log});
	is(length $half, 1000, 'a log that is full, in the middle of a line');
	truncate $worker->{log}, 0;
	ok(wait_for(sub { slurp($worker->{log}) =~ /\n/ }), 'it was rotated');
	my ($rest) = slurp($worker->{log}) =~ /\A(.*\n)/;
	like(($half =~ /([^\n]*)\z/)[0] . $rest, $LINE, 'the line goes on there');
	reap($worker);
}

# CGI: the answer comes; the line does not.
for my $blocking (1, 0) {
	my $how = $blocking ? '' : ', O_NONBLOCK';
	for ([pipe => full_pipe($blocking)], [socket => full_socket($blocking)],
		[terminal => full_terminal($blocking)]) {
		my ($what, $read, $write) = @$_;
		SKIP: {
			skip "no $what", 2 if !$write;
			my $spool = new_spool();
			my $run = cgi(spool => $spool, body => event(), start => 1,
				stderr => $write);
			my $ended = wait_for(sub { -s "$run->{dir}/out" }, 10);
			kill 'KILL', $run->{pid} if !$ended;
			my $got = Hook::cgi_done($run->{pid}, $run->{dir});
			is($got->{status}, 200, "CGI, a $what$how: it answers");
			is($got->{exit}, 0, "CGI, a $what$how: and ends");
		}
	}
}

# CGI: a standard output that is full, whether or not it waits.
for my $blocking (1, 0) {
	my ($read, $write) = full_pipe($blocking);
	my $run = cgi(spool => new_spool(), body => event(), start => 1,
		stdout => $write);
	close $write;
	ok(wait_for(sub { -s "$run->{dir}/err" }), 'CGI: it is stored');
	my $text = read_until($read, sub { $_[0] =~ /\}\n\z/ });
	$text =~ s/\Ax[x\n]*//;
	is(answer($text)->{status}, 200, 'CGI: an answer that had to wait');
	is(Hook::cgi_done($run->{pid}, $run->{dir})->{exit}, 0, '... came whole');
}
{
	local $Hook::PROGRAM = 'build/quick/protocol-hook';
	my ($read, $write) = full_pipe(1);
	my $run = cgi(spool => new_spool(), body => event(), start => 1,
		stdout => $write);
	close $write;
	my $status;
	ok(wait_for(sub { waitpid($run->{pid}, POSIX::WNOHANG()) > 0
		and $status = $? >> 8, 1 }, 15), 'CGI: an answer that nobody reads');
	is($status, 1, 'CGI: its exit status is 1');
	kill 'KILL', $run->{pid};
}

done_testing();
