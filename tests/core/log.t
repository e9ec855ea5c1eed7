#!/usr/bin/perl
# The reader of the log may stop reading: no request waits for it, dropped lines
# are counted, and no line is cut.  A full standard output is waited for.
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

# Writes lines of one length to FH until it is full.
sub fill {
	my ($fh, $blocking) = @_;
	set_flag($fh, 1);
	1 while syswrite $fh, 'x' x 63 . "\n";
	1 while syswrite $fh, "\n";
	set_flag($fh, !$blocking);
	return;
}

# full_*: the two sides, to read and to write, of a full one.
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

# Returns nothing where there are none: TIOCSPTLCK and TIOCGPTN are Linux's.
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

# Reads until CODE returns true for what came, and returns that.
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

# Sends SIGTERM; returns the exit status, or 'running' after 15 seconds.
sub terminate {
	my ($worker) = @_;
	my $status = 'running';
	kill 'TERM', $worker->{pid};
	wait_for(sub { waitpid($worker->{pid}, POSIX::WNOHANG()) > 0
		and $status = $?, 1 }, 15) and return $status;
	reap($worker, 'KILL');
	return $status;
}

# TEXT without what a terminal adds, and without the rest of what filled it.
sub plain { return $_[0] =~ s/\r\n/\n/gr =~ s/^x+(?=ts=)//mgr }

# How many log lines TEXT has or counts as dropped; and how many counts it has.
sub accounted {
	my $text = plain(@_);
	my @counts = $text =~ /^$TS result=log_dropped count=(\d+)$/mg;
	my $lines = () = $text =~
		/^$TS result=(?:unauthorized|stored) .*ms=[\d.]+(?: reason=.*)?$/mg;
	$lines += $_ for @counts;
	return ($lines, scalar @counts);
}

# A request that is refused and logged.
sub post_unsigned {
	my ($worker) = @_;
	return post($worker, 'x',
		params => { HTTP_X_PROTOCOL_SIGNATURE => undef });
}

# Requests are served, and their lines dropped and counted, while the reader
# stops; READ and WRITE are the sides of a full pipe, socket or terminal.
sub check_full_log {
	my ($read, $write, %with) = @_;
	my $worker = worker(spool => new_spool(), stderr => $write, %with);
	my $bad = 0;
	for (1 .. 400) {
		my $got = post_unsigned($worker);
		last if ++$bad && !$got;
		$bad-- if $got->{status} == 401;
	}
	is($bad, 0, 'requests are answered');
	is(post_status($worker, event()), 200, 'a delivery is stored');
	my $text = read_until($read, sub { (accounted($_[0]))[0] >= 401 });
	my ($lines, $drops) = accounted($text);
	is($lines, 401, 'each line arrives or is counted');
	cmp_ok($drops, '>', 0, 'some were dropped');
	is((grep { !/^x*$/ && !/$LINE/ } split /\n/, plain($text)), 0,
		'no line is cut');
	is(post_status($worker, event()), 200, 'the next delivery is stored');
	like(plain(read_until($read, sub { $_[0] =~ /\n/ })),
		qr/\A$TS result=stored .*\n\z/, '... and logged as before');
	fill($write, !$with{nonblock});
	post_unsigned($worker);
	is(terminate($worker), 0, 'SIGTERM ends it while nobody reads');
	return;
}

my @BLOCKING = ([1, ''], [0, ', O_NONBLOCK']);

for (@BLOCKING) {
	my ($blocking, $how) = @$_;
	my @with = (nonblock => !$blocking);
	subtest "a full pipe$how delays no request" => sub {
		check_full_log(full_pipe($blocking), @with);
	};
	subtest "a full socket$how delays no request" => sub {
		check_full_log(full_socket($blocking), @with);
	};
	subtest "a full terminal$how delays no request" => sub {
		my @terminal = full_terminal($blocking);
		plan skip_all => 'no terminals' if !@terminal;
		check_full_log(@terminal, @with);
	};
}

for my $with ([], [no_stderr => 1]) {
	my $how = @$with ? ', nor the log with them' : '';
	subtest "a web server that does not read answers$how" => sub {
		my $worker = worker(spool => new_spool(), @$with);
		my $deaf = fcgi_connect($worker);
		my ($before, $n) = (0, 0);
		for ($n = 0; $n < 2000; $n++) {
			fcgi_send($deaf, fcgi_request('x', keep => 1)) or last;
			my $unread;
			wait_for(sub { recv $deaf, $unread, 1 << 20, MSG_PEEK;
				return length $unread > $before
					|| closed($deaf) });
			last if length $unread <= $before;
			$before = length $unread;
		}
		cmp_ok($n, '<', 2000, 'its connection is closed');
		is(post_status($worker, event()), 200,
			"others are served after $n answers");
		is(terminate($worker), 0, 'SIGTERM ends the program');
	};
}

subtest 'a pipe that another process fills does not block it' => sub {
	plan skip_all => no_strace() if no_strace();
	my ($read, $write) = full_pipe(1);
	# poll() says that the pipe is writable.
	my $worker = worker(spool => new_spool(), stderr => $write,
		under => [qw(strace -D -o /dev/null -e inject=poll:retval=1)]);
	is(post_status($worker, event()), 200, 'stored') for 1 .. 2;
	is(terminate($worker), 0, 'SIGTERM ends it');
};

subtest 'a line that a full file cut goes on when there is space' => sub {
	my $worker = worker(spool => new_spool(),
		under => ['prlimit', '--fsize=1000:']);
	post_unsigned($worker) for 1 .. 20;
	my $half = log_of($worker);
	is(length $half, 1000, 'the file is full, within a line');
	truncate $worker->{log}, 0;
	ok(wait_for(sub { log_of($worker) =~ /\n/ }), 'it was emptied');
	my ($rest) = log_of($worker) =~ /\A(.*\n)/;
	like(($half =~ /([^\n]*)\z/)[0] . $rest, $LINE, 'the line is whole');
	reap($worker);
};

for (@BLOCKING) {
	my ($blocking, $how) = @$_;
	for ([pipe => \&full_pipe], [socket => \&full_socket],
		[terminal => \&full_terminal]) {
		my ($what, $make) = @$_;
		subtest "CGI: a full $what$how delays no answer" => sub {
			my ($read, $write) = $make->($blocking);
			plan skip_all => "no $what" if !$write;
			my $run = cgi(spool => new_spool(), body => event(),
				start => 1, stderr => $write);
			my $ended = wait_for(sub { -s "$run->{dir}/out" }, 10);
			kill 'KILL', $run->{pid} if !$ended;
			my $got = Hook::cgi_done($run->{pid}, $run->{dir});
			is($got->{status}, 200, 'it answers');
			is($got->{exit}, 0, 'and ends');
		};
	}
}

for (@BLOCKING) {
	my ($blocking, $how) = @$_;
	subtest "CGI: a full standard output$how is waited for" => sub {
		my ($read, $write) = full_pipe($blocking);
		my $run = cgi(spool => new_spool(), body => event(),
			start => 1, stdout => $write);
		close $write;
		ok(wait_for(sub { -s "$run->{dir}/err" }), 'it is stored');
		my $text = read_until($read, sub { $_[0] =~ /\}\n\z/ });
		$text =~ s/\Ax[x\n]*//;
		is(answer($text)->{status}, 200, 'the answer is whole');
		is(Hook::cgi_done($run->{pid}, $run->{dir})->{exit}, 0,
			'exit status');
	};
}

subtest 'CGI: an answer that nobody reads ends with exit status 1' => sub {
	local $Hook::PROGRAM = 'build/quick/protocol-hook';
	my ($read, $write) = full_pipe(1);
	my $run = cgi(spool => new_spool(), body => event(), start => 1,
		stdout => $write);
	close $write;
	my $status;
	ok(wait_for(sub { waitpid($run->{pid}, POSIX::WNOHANG()) > 0
		and $status = $? >> 8, 1 }, 15), 'it ends');
	is($status, 1, 'exit status');
	kill 'KILL', $run->{pid};
};

done_testing();
