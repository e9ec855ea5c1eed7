# What the tests share: makes spools and signatures, runs the program as CGI or
# FastCGI, reads its answers, and reads what is in the spool.  At the end of a
# test it ends all processes that are left, and removes all scratch files.
package Hook;
use strict;
use warnings;
use Cwd qw(abs_path getcwd);
use Digest::SHA qw(hmac_sha256_hex sha256_hex);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::UNIX;
use JSON::PP ();
use POSIX qw(:sys_wait_h);
use Socket qw(SOCK_STREAM SOMAXCONN);
use Time::HiRes qw(time);

our @EXPORT = qw($PROGRAM $KEY $EXAMPLE $TS sign event scratch new_spool
	fill_spool slurp spew files content days_ago cgi answer worker reap
	fcgi_connect fcgi_send fcgi_recv fcgi_status send_group fcgi_request
	fcgi_record fcgi_pairs post post_status log_of wait_for as_other
	left_out no_strace traceable);

$ENV{PWD} = getcwd();	# make -C does not set it
our $PROGRAM = abs_path($ENV{PROTOCOL_HOOK} // 'protocol-hook');
my $BUILT = $PROGRAM;
my $DUMPABLE = "$ENV{PWD}/build/dumpable/protocol-hook";
our $KEY = 'canary-key-6fd1';
# How a log line begins.
our $TS = qr/ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/;
# The reference page's own example, byte for byte.
our $EXAMPLE = slurp('tests/data/example.json');

# Perl runs END blocks, which clean up, after exit, but not when a signal ends
# it: so exit on a signal.  Processes that a test forks clean nothing up.
my $owner = $$;
my @ends = qw(HUP INT QUIT TERM PIPE);
for (grep { ($SIG{$_} // '') ne 'IGNORE' } @ends) {
	$SIG{$_} = sub {
		POSIX::_exit(1) if $$ != $owner;
		$SIG{$_} = 'IGNORE' for @ends;
		exit 1;
	};
}

sub slurp {
	my ($path) = @_;
	open my $fh, '<:raw', $path or die "$path: $!";
	local $/;
	my $bytes = <$fh> // '';
	return $bytes;
}

# Writes a file with BYTES, or an empty one; returns its path.
sub spew {
	my ($path, $bytes) = @_;
	open my $file, '>:raw', $path or die "$path: $!";
	print {$file} $bytes // '';
	close $file or die "$path: $!";
	return $path;
}

# The signature of BODY, in hex, with KEY or the one that the program gets.
sub sign { return hmac_sha256_hex($_[0], $_[1] // $KEY) }

my $count = 0;

# A body that no other call returns.  id, type => in the event; pad => bytes of
# text in its payload.
sub event {
	my (%with) = @_;
	my $id = $with{id} // sprintf('id%d-%d', $$, ++$count);
	my $type = $with{type} // 'message.created';
	my $text = 'x' x ($with{pad} // 0);
	return qq({"id":"$id","type":"$type",)
		. qq("payload":{"id":"p$id","message":"$text"}});
}

# A directory that is removed at the end of the test.
sub scratch { return tempdir('hook-XXXXXXXX', TMPDIR => 1, CLEANUP => 1) }

sub new_spool {
	my $dir = scratch() . '/spool';
	mkdir $dir, 0750 or die $!;
	return $dir;
}

# Makes new/ and puts BODIES into it, with names such as a receiver gives.
sub fill_spool {
	my ($spool, @bodies) = @_;
	mkdir "$spool/new" or die $!;
	for (1 .. @bodies) {
		open my $file, '>', sprintf '%s/new/20261124T105724.%06dZ.'
			. 'message.created.x%d.json', $spool, $_, $_ or die $!;
		print {$file} $bodies[$_ - 1];
		close $file or die $!;
	}
	return;
}

# Sorted names in the directory SUB, or new/, of the spool, without those that
# begin with a dot.
sub files {
	my ($spool, $sub) = @_;
	opendir my $d, "$spool/" . ($sub // 'new') or return;
	my @names = sort grep { !/^\./ } readdir $d;
	return @names;
}

# The bytes of these files.
sub content {
	my ($spool, $sub) = @_;
	return map { slurp("$spool/$sub/$_") } files($spool, $sub);
}

# The name in archive/ of the day that was DAYS ago, in UTC.
sub days_ago {
	my ($days) = @_;
	my @t = gmtime(time - 86400 * $days);
	return sprintf '%04d-%02d-%02d', $t[5] + 1900, $t[4] + 1, $t[3];
}

# Waits until CODE returns true; returns 0 if it does not within SECONDS, which
# only a failing test should take.
sub wait_for {
	my ($code, $seconds) = @_;
	my $end = time + ($seconds // 20);
	until ($code->()) {
		return 0 if time > $end;
		select undef, undef, undef, 0.01;
	}
	return 1;
}

# The command that runs the program as a user who has no name, or nothing if
# that is impossible.  If that user can't enter the tree, $PROGRAM is a copy from
# here on.
sub as_other {
	my @under = qw(setpriv --reuid 54321 --regid 54321 --clear-groups);
	my $can = sub {
		return system("@under test -x '$PROGRAM' 2>/dev/null") == 0;
	};
	if ($> == 0 && !$can->()) {
		my $copy = scratch() . '/protocol-hook';
		copy($PROGRAM, $copy) or die $!;
		chmod 0755, dirname($copy), $copy;
		$PROGRAM = $copy;
	}
	return $can->() ? @under : ();
}

# The parts of a CGI response.
sub answer {
	my ($text) = @_;
	my ($head, $body) = split /\r\n\r\n/, $text, 2;
	my %header;
	my @lines = split /\r\n/, $head // '';
	for (@lines) {
		my ($name, $value) = /^([A-Za-z-]+): (.*)$/ or next;
		$header{lc $name} = $value;
	}
	my ($status) = ($header{status} // '') =~ /^(\d{3}) /;
	my $json = eval { JSON::PP::decode_json($body // '') };
	return { text => $text, status => $status, header => \%header,
		first => $lines[0], body => $body, json => $json };
}

# Why WHAT is skipped, or ''.  LEAVE_OUT, a list of words, is set where a system
# can't run some tests: strace, order (of calls), memory (with a limit on it),
# wiped (the environment in /proc).
sub left_out {
	my ($what) = @_;
	return (grep { $_ eq $what } split ' ', $ENV{LEAVE_OUT} // '') ?
		"$what: LEAVE_OUT has it" : '';
}

# Why tests with strace are skipped, or ''.
sub no_strace {
	return left_out('strace') ||
		(system('strace -o /dev/null true 2>/dev/null') != 0 ?
		'needs strace that may trace' :
		-e '/proc/self/fd' ? '' : 'strace needs /proc');
}

# The program to trace.  Only root may trace the program or read its files in
# /proc; for other users this is a build that allows it (tests/dumpable).
sub traceable {
	return $PROGRAM if $> == 0 || defined $ENV{PROTOCOL_HOOK} ||
		$PROGRAM ne $BUILT;
	return $DUMPABLE;
}

# The program to run with the command UNDER in front of it.
sub program_under {
	my (@under) = @_;
	return (grep { /\bstrace\b/ } @under) ? traceable() : $PROGRAM;
}

# Passes on the variables of the locale and of sanitizers.  A fault that lasts
# would spoil the counts of gcov, which then go to /dev/null.
sub pass_on {
	my ($env, @under) = @_;
	$env->{$_} = $ENV{$_}
		for grep { /^(ASAN|UBSAN|LSAN)_|^(LC_ALL|LOCPATH)$/ } keys %ENV;
	$env->{GCOV_PREFIX} = '/dev/null' if grep { /when=\d+\+/ } @under;
	return;
}

# Opens STREAM to append to TO, a path or a handle, or else to FILE.
sub to_stream {
	my ($stream, $to, $file) = @_;
	open my $made, '>>', $file or die $!;
	open $stream, ref $to ? '>>&' : '>>', $to // $file or die $!;
	return;
}

# Runs the program as CGI and returns answer() with {exit}, {signal} and {log}.
#
#	spool => path	body => bytes	args => []	program => another one
#	env => {}	replaces variables; undef removes one.  CONTENT_LENGTH
#			and the signature are right by default.
#	under => []	the command that runs it, such as strace
#	stdin => handle		stdout, stderr => handle or path
#	start => 1	returns at once; cgi_done() waits and returns the answer
sub cgi {
	my (%with) = @_;
	my $body = $with{body} // '';
	my %env = (PATH => $ENV{PATH}, GATEWAY_INTERFACE => 'CGI/1.1',
		REQUEST_METHOD => 'POST', CONTENT_LENGTH => length $body,
		HTTP_X_PROTOCOL_SIGNATURE => sign($body),
		PROTOCOL_HOOK_SECRET => $KEY, PROTOCOL_HOOK_MIN_FREE => 0,
		PROTOCOL_HOOK_SPOOL => $with{spool}, %{ $with{env} // {} });
	delete $env{$_} for grep { !defined $env{$_} } keys %env;
	pass_on(\%env, @{ $with{under} // [] });
	my $dir = scratch();
	open my $in, '+>:raw', "$dir/in" or die $!;
	syswrite $in, $body if length $body;
	sysseek $in, 0, 0;
	my @under = @{ $with{under} // [] };
	my @command = (@under, $with{program} // program_under(@under),
		@{ $with{args} // [] });
	my $pid = fork // die $!;
	if (!$pid) {
		open STDIN, '<&', $with{stdin} // $in or die $!;
		to_stream(*STDOUT, $with{stdout}, "$dir/out");
		to_stream(*STDERR, $with{stderr}, "$dir/err");
		%ENV = %env;
		exec { $command[0] } @command or POSIX::_exit(127);
	}
	return { pid => $pid, dir => $dir } if $with{start};
	my $result = cgi_done($pid, $dir);
	watch($result->{log}) if !$with{under}
		&& grep { exists $env{$_} } qw(REQUEST_METHOD GATEWAY_INTERFACE);
	return $result;
}

# Standard error may have log lines only: above all, no report of a sanitizer.
# Other lines fail the test at its end.
my @unexpected;
sub watch {
	my ($text) = @_;
	push @unexpected, grep { !/^$TS result=/ } split /\n/, $text;
	return;
}

# Waits for a program that cgi() has started.
sub cgi_done {
	my ($pid, $dir) = @_;
	waitpid $pid, 0;
	my $result = answer(slurp("$dir/out"));
	$result->{exit} = $? >> 8;
	$result->{signal} = $? & 127;
	$result->{log} = slurp("$dir/err");
	return $result;
}

my %workers;

# Starts the program as FastCGI, with its listening socket as descriptor 0; it
# ends with reap() or with the test.
#
#	spool, env, under, stderr => as for cgi()	no_stderr => 1
#	count => processes on one socket
#	dir, listener => of an earlier worker, whose socket this one takes over
sub worker {
	my (%with) = @_;
	my $dir = $with{dir} // scratch();
	my $path = "$dir/socket";
	my $listener = $with{listener} // IO::Socket::UNIX->new(Local => $path,
		Listen => SOMAXCONN, Type => SOCK_STREAM) // die "$path: $!";
	my %env = (PATH => $ENV{PATH}, PROTOCOL_HOOK_SECRET => $KEY,
		PROTOCOL_HOOK_MIN_FREE => 0, PROTOCOL_HOOK_SPOOL => $with{spool},
		%{ $with{env} // {} });
	delete $env{$_} for grep { !defined $env{$_} } keys %env;
	pass_on(\%env, @{ $with{under} // [] });
	my @pids;
	for (1 .. $with{count} // 1) {
		my $pid = fork // die $!;
		if (!$pid) {
			open STDIN, '<&', $listener or die $!;
			open STDOUT, '>', '/dev/null' or die $!;
			to_stream(*STDERR, $with{stderr}, "$dir/log");
			close STDERR if $with{no_stderr};
			%ENV = %env;
			my @under = @{ $with{under} // [] };
			my @command = (@under, program_under(@under));
			exec { $command[0] } @command or POSIX::_exit(127);
		}
		$workers{$pid} = 1;
		push @pids, $pid;
	}
	return { pid => $pids[0], pids => \@pids, socket => $path, dir => $dir,
		log => "$dir/log", listener => $listener, watched => !grep {
		defined $with{$_} } qw(under stderr no_stderr) };
}

# Ends a worker with SIGNAL, or SIGTERM; returns its wait status.
sub reap {
	my ($worker, $signal) = @_;
	my $status = 0;
	for my $pid (@{ $worker->{pids} }) {
		kill $signal // 'TERM', $pid if defined $workers{$pid};
		waitpid $pid, 0;
		$status = $?;
		delete $workers{$pid};
	}
	watch(slurp($worker->{log})) if $worker->{watched};
	$worker->{watched} = 0;
	return $status;
}

# Whether a process exists and is not a zombie.
sub runs {
	my ($pid) = @_;
	return kill(0, $pid) && (eval { slurp("/proc/$pid/stat") } // '')
		!~ /\) [ZX] /;
}

# The processes below this one, without zombies.
sub descendants {
	my (%children, @found);
	my $procfs = -e '/proc/self/stat';
	for ($procfs ? map { eval { slurp($_) } // '' } glob '/proc/[0-9]*/stat'
		: split /^/, qx(ps -A -o pid= -o ppid= 2>/dev/null)) {
		my ($pid, $parent) = $procfs ? /^(\d+) \(.*\) [^ZX] (\d+) /s
			: /(\d+)\s+(\d+)/ or next;
		push @{ $children{$parent} }, $pid;
	}
	my @look = $$;
	while (@look) {
		my @children = @{ $children{ shift @look } // [] };
		push @found, @children;
		push @look, @children;
	}
	return @found;
}

# Ends the processes below this one, and those that lose their parent meanwhile.
sub end_descendants {
	my @left = descendants() or return;
	kill 'TERM', @left;
	kill 'CONT', @left;
	wait_for(sub {
		1 while waitpid(-1, WNOHANG) > 0;
		@left = grep { runs($_) } @left;
		return !@left;
	}, 5);
	kill 'KILL', @left, descendants();
	1 while waitpid(-1, WNOHANG) > 0;
	return;
}

END {
	return if $$ != $owner;
	my $status = $?;
	kill 'KILL', $_ for keys %workers;
	waitpid $_, 0 for keys %workers;
	end_descendants();
	print "# unexpected on standard error: $_\n" for @unexpected;
	$? = $status || (@unexpected ? 1 : 0);
}

# The web server's side of FastCGI.

sub fcgi_record {
	my ($type, $content, $id) = @_;
	return pack('CCnnCx', 1, $type, $id // 1, length $content, 0)
		. $content;
}

sub fcgi_pairs {
	my $out = '';
	while (my ($name, $value) = splice @_, 0, 2) {
		$out .= join '', map { length() < 128 ? pack('C', length)
			: pack('N', length() | 0x80000000) } $name, $value;
		$out .= $name . $value;
	}
	return $out;
}

# All records of one POST.
#
#	keep => 1	asks to keep the connection
#	params => {}	replaces parameters; undef removes one
#	more => []	pairs that are added, also of a name that is there
#	chunk => bytes	of the body in a record
sub fcgi_request {
	my ($body, %with) = @_;
	my %param = (REQUEST_METHOD => 'POST', CONTENT_LENGTH => length $body,
		HTTP_X_PROTOCOL_SIGNATURE => sign($body),
		REMOTE_ADDR => '192.0.2.7', %{ $with{params} // {} });
	my @pairs = map { defined $param{$_} ? ($_, $param{$_}) : () }
		sort keys %param;
	push @pairs, @{ $with{more} // [] };
	my $out = fcgi_record(1, pack('nCx5', 1, $with{keep} // 0));
	$out .= fcgi_record(4, fcgi_pairs(@pairs)) . fcgi_record(4, '');
	$out .= fcgi_record(5, $_)
		for unpack '(a' . ($with{chunk} // 32768) . ')*', $body;
	return $out . fcgi_record(5, '');
}

sub fcgi_connect {
	my ($worker) = @_;
	return IO::Socket::UNIX->new(Peer => $worker->{socket},
		Type => SOCK_STREAM) // die "connect: $!";
}

sub fcgi_send {
	my ($socket, $bytes) = @_;
	local $SIG{PIPE} = 'IGNORE';
	while (length $bytes) {
		my $n = syswrite $socket, $bytes;
		return 0 if !defined $n;
		substr $bytes, 0, $n, '';
	}
	return 1;
}

# Sends a request with each of BODIES while the worker is stopped, so that it
# finds them all at once: one group.  Returns their sockets.
sub send_group {
	my ($worker, @bodies) = @_;
	kill 'STOP', $worker->{pid};
	my @sockets = map { fcgi_connect($worker) } @bodies;
	fcgi_send($sockets[$_], fcgi_request($bodies[$_])) for 0 .. $#bodies;
	kill 'CONT', $worker->{pid};
	return @sockets;
}

# Reads one response: answer() with {err} and {ended}; undef if nothing came
# within SECONDS, 20 by default.
sub fcgi_recv {
	my ($socket, $seconds) = @_;
	my ($buf, $out, $err, $ended) = ('', '', '', 0);
	my $select = IO::Select->new($socket);
	my $end = time + ($seconds // 20);
	while (!$ended) {
		my $left = $end - time;
		last if $left <= 0 || !$select->can_read($left);
		last if !sysread $socket, $buf, 65536, length $buf;
		while (length $buf >= 8) {
			my (undef, $type, undef, $n, $pad) =
				unpack 'CCnnC', $buf;
			last if length $buf < 8 + $n + $pad;
			my $content = substr $buf, 8, $n;
			substr $buf, 0, 8 + $n + $pad, '';
			$out .= $content if $type == 6;
			$err .= $content if $type == 7;
			$ended = 1 if $type == 3;
		}
	}
	return if !$ended && $out eq '';
	my $result = answer($out);
	$result->{err} = $err;
	$result->{ended} = $ended;
	return $result;
}

# The status of one response, or 'none'.
sub fcgi_status {
	my $got = fcgi_recv(@_) // {};
	return $got->{status} // 'none';
}

# One delivery on a connection of its own: see fcgi_request().
sub post {
	my ($worker, $body, %with) = @_;
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, fcgi_request($body, %with)) or return;
	return fcgi_recv($socket);
}

# Its status, or 'none'.
sub post_status {
	my $got = post(@_) // {};
	return $got->{status} // 'none';
}

# What a worker has logged so far.
sub log_of { my ($worker) = @_; return slurp($worker->{log}) }

1;
