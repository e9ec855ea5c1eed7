#!/usr/bin/perl
# A single system call fails at an entry point, where a plain delivery does not
# reach it: a request in parts, a file that a killed process left, midnight, a
# spool that is a file system of its own.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256 sha256_hex);
use Fcntl qw(F_SETLK F_WRLCK);
use Disk qw(can_mount);
use Hook;
use Faults qw(can_trace);

my $can_mount = can_mount();	# it may start this test again
plan skip_all => 'needs strace that may trace' if !can_trace();
$SIG{PIPE} = 'IGNORE';
my $shim = 'build/shim.so';	# no path for LD_PRELOAD may have a space
my $MIDNIGHT = 1795564800;	# the beginning of 2026-11-25, in UTC

# What runs the program with the faults INJECT, in strace's words, separated by
# spaces; OPTIONS are strace's.
sub fault {
	my ($inject, @options) = @_;
	return ['strace', '-D', '-qq', '-o', '/dev/null', @options,
		map { ('-e', "inject=$_") } split ' ', $inject];
}
sub shimmed { return ['env', "LD_PRELOAD=$shim", @_] }

# A clock that this test sets and the program reads, also while it runs.
my $clock = scratch() . '/clock';
my @CLOCK = ("LD_PRELOAD=$shim", "SHIM_CLOCK=$clock");

sub set_clock {
	my ($seconds) = @_;
	if (-e $clock) {	# the program has mapped this very file
		open my $fh, '+<', $clock or die $!;
		syswrite $fh, pack 'q', $seconds;
		return;
	}
	open my $fh, '>', "$clock.new" or die $!;
	print {$fh} pack 'q', $seconds;
	close $fh or die $!;
	rename "$clock.new", $clock or die $!;
	return;
}
sub clocked { return shimmed("SHIM_CLOCK=$clock") }
sub clocked_worker { return worker(spool => $_[0], under => clocked()) }

# strace with OPTIONS, for a program that reads that clock.
sub clocked_strace {
	return ['strace', '-qq', (map { ('-E', $_) } @CLOCK), @_];
}

sub day {
	my @t = gmtime $_[0];
	return sprintf '%04d-%02d-%02d', $t[5] + 1900, $t[4] + 1, $t[3];
}
# Where the program writes BODY today, below archive/.
sub staged { return day(time) . '/.' . sha256_hex($_[0]) }

sub used_spool {
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	return $spool;
}
# Leaves BODY as a process does that was killed after it had linked it into new/.
sub leave_linked {
	my ($spool, $body) = @_;
	my $path = "$spool/archive/" . staged($body);
	spew($path, $body);
	link $path, "$spool/new/20261124T000000.000000Z.a.b.json" or die $!;
	return;
}
# Turns a stored delivery into one whose process was killed before it ended.
sub unfinish {
	my ($spool, $day, $body) = @_;
	my $hex = sha256_hex($body);
	rename "$spool/archive/$day/$hex", "$spool/archive/$day/.$hex" or die $!;
	return;
}
# Locks N bytes from START, or all for 0, until the file is closed.
sub lock_spool {
	my ($spool, $start, $n) = @_;
	open my $lock, '>>', "$spool/lock" or die $!;
	fcntl $lock, F_SETLK, pack('s s x4 q q i x4', F_WRLCK, 0, $start, $n, 0)
		or die $!;
	return $lock;
}
sub count_in_new {
	my ($spool, $body) = @_;
	return scalar grep { $_ eq $body } content($spool, 'new');
}

# Delivers a body under a fault: the answer has STATUS, and its log line matches
# REASON.  A retry without the fault is answered 200, or what RETRY says, and
# leaves one file.
sub delivery_under_fault {
	my ($name, $status, $reason, $under, %with) = @_;
	my $spool = $with{spool} // new_spool();
	my $body = $with{body} // event();
	my $got = cgi(spool => $spool, body => $body, under => $under);
	like($got->{status}, qr/^$status$/, "$name: status $status")
		or diag($got->{log});
	like($got->{log}, qr/$reason/, "$name: the log says why");
	$got = cgi(spool => $spool, body => $body);
	is($got->{status}, $with{retry} // 200, "$name: status of a retry");
	my @kept = content($spool, $with{retry} ? 'rejected' : 'new');
	is((grep { $_ eq $body } @kept), 1, "$name: one file after the retry");
	return;
}

subtest 'FastCGI: a request in parts that cannot be buffered is not stored' => sub {
	for my $fault ('memfd_create:error=EMFILE:when=1',
		'write:error=ENOSPC:when=1', 'write:error=ENOSPC:when=2',
		'lseek:error=EIO:when=1') {
		my $spool = new_spool();
		my $worker = worker(spool => $spool, under => fault($fault));
		my $request = fcgi_request(my $body = event());
		my $socket = fcgi_connect($worker);
		fcgi_send($socket, substr $request, 0, 20);
		is(post($worker, event())->{status}, 200,
			"$fault: another request is served");
		fcgi_send($socket, substr $request, 20);
		is(fcgi_recv($socket), undef, "$fault: the connection is closed");
		is(count_in_new($spool, $body), 0, "$fault: nothing is stored");
		is(post($worker, $body)->{status}, 200, "$fault: a retry is stored");
		reap($worker);
	}
};

subtest 'FastCGI: a client that sends without a pause does not block others' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool, under => fault(
		'recvfrom:delay_enter=3000'), env => {
		PROTOCOL_HOOK_MAX_BODY => '64M' });
	my $body = event(pad => 8 << 20);
	my $socket = fcgi_connect($worker);
	my $pid = fork // die $!;
	if (!$pid) {
		fcgi_send($socket, fcgi_request($body));
		POSIX::_exit(0);
	}
	is(post($worker, event())->{status}, 200, 'a small body is served beside 8M');
	is((fcgi_recv($socket, 60) // {})->{status}, 200, 'so are the 8M');
	waitpid $pid, 0;
	is(count_in_new($spool, $body), 1, 'their bytes are stored');
	reap($worker);
};

subtest 'FastCGI: a start that fails exits with 1 and logs why' => sub {
	for my $fault ('pipe,pipe2:error=EMFILE', 'prlimit64:error=EPERM',
		map { "fcntl:error=EINVAL:when=$_" } 2 .. 6) {
		my $worker = worker(spool => new_spool(), under => fault($fault));
		ok(wait_for(sub { waitpid($worker->{pid}, POSIX::WNOHANG()) > 0 }),
			"$fault: the worker ends");
		is($? >> 8, 1, "$fault: exit status");
		reap($worker, 'KILL');
		like(slurp($worker->{log}), qr/ result=start_failed reason="\w/,
			"$fault: the log says why");
	}
};

subtest 'FastCGI: an error of recv ends at most its connection' => sub {
	for (['EINTR', 200], ['EAGAIN', 200], ['ECONNRESET', 0]) {
		my ($errno, $status) = @{$_};
		my $worker = worker(spool => new_spool(),
			under => fault("recvfrom:error=$errno:when=1"));
		my $body = event();
		my $got = post($worker, $body);
		is($got ? $got->{status} : 0, $status, "recv gives $errno: status");
		is(post($worker, $body)->{status}, 200,
			"recv gives $errno: the next request is served");
		reap($worker);
	}
};

subtest 'FastCGI: without Landlock deliveries are stored and the log says so' => sub {
	my $worker = worker(spool => new_spool(),
		under => fault('landlock_create_ruleset:error=ENOSYS'));
	is(post($worker, event())->{status}, 200, 'a delivery is stored');
	ok(wait_for(sub { slurp($worker->{log})
		=~ /^$TS result=sandbox_off reason="the kernel has no/m }),
		'the log says that the sandbox is off');
	reap($worker);
};

subtest 'FastCGI: equal bodies in a group are stored once' => sub {
	my $worker = worker(spool => new_spool(), under => shimmed('SHIM_SLOW=1'));
	my @bodies = (event(), event());
	post($worker, $bodies[0]);
	for my $round (1 .. 5) {
		my @sockets = send_group($worker, @bodies[0, 1], $bodies[1],
			event());
		is(join(' ', sort map { fcgi_recv($_)->{json}{status} } @sockets),
			$round == 1 ? 'duplicate duplicate stored stored'
			: 'duplicate duplicate duplicate stored',
			"round $round: duplicates and new bodies in one group");
		# These are fewer than the group that the worker now expects.
		@sockets = map { fcgi_connect($worker) } 1 .. 3;
		fcgi_send($_, fcgi_request(event())) for @sockets;
		is(fcgi_recv($_)->{status}, 200, "round $round: a smaller group")
			for @sockets;
	}
	reap($worker);
};

subtest 'CGI: a body that takes too long is answered 408' => sub {
	local $Hook::PROGRAM = "$ENV{PWD}/build/quick/protocol-hook";
	pipe my $read, my $write or die $!;
	my $body = event(pad => 60000) . ' ' x 30000;
	my $pid = fork // die $!;
	if (!$pid) {
		syswrite $write, $body;
		POSIX::_exit(0);
	}
	close $write;
	my $got = cgi(spool => new_spool(), body => $body, stdin => $read,
		under => fault('read:delay_exit=1100000', '-P', (readlink
		'/proc/self/fd/' . fileno $read)));
	close $read;
	is($got->{status}, 408, 'it arrives without a pause, but slowly');
	waitpid $pid, 0;
};

subtest 'CGI: an interrupted read of the body is repeated' => sub {
	for my $errno ('EINTR', 'EAGAIN') {
		pipe my $read, my $write or die $!;
		syswrite $write, my $body = event();
		my $got = cgi(spool => new_spool(), body => $body, stdin => $read,
			under => fault("read:error=$errno:when=1", '-P', (readlink
			'/proc/self/fd/' . fileno $read)));
		is($got->{status}, 200, "read gives $errno");
	}
};

subtest 'CGI: deliveries are stored if /dev/null cannot be examined' => sub {
	for (1, 2) {
		my $got = cgi(spool => new_spool(), body => event(),
			under => ['sh', '-c', 'exec "$@" 2>/dev/null', 'sh', @{ fault(
			"newfstatat,fstat,stat:error=EIO:when=$_", '-P',
			'/dev/null') }]);
		is($got->{status}, 200, "call $_ fails");
	}
};

subtest 'the spool: a race with another process, or a failure to stage' => sub {
	my $body = event();
	my $staged = staged($body);
	delivery_under_fault('another process makes new/ meanwhile', 200,
		'result=stored', fault('openat:error=ENOENT:when=1', '-P', 'new'),
		spool => used_spool());
	delivery_under_fault('another process makes the day meanwhile', 200,
		'result=stored', fault('openat:error=ENOENT:when=1', '-P', $staged),
		body => $body, spool => used_spool());
	delivery_under_fault('a file is in the way', 503, 'reason="open: ',
		fault('openat:error=EEXIST', '-P', $staged), body => $body);
	delivery_under_fault('that file cannot be examined', 503,
		'reason="open: Input/output', fault('openat:error=EEXIST '
		. 'newfstatat:error=EIO', '-P', $staged), body => $body);
	delivery_under_fault('all names are taken', 503,
		'reason="link: File exists', fault('linkat:error=EEXIST'));
	delivery_under_fault("shim: $_->[0]", $_->[1], $_->[2],
		shimmed("SHIM_FS=$_->[0]"))
		for ['ro', 503, 'the spool is read-only'],
		['uncounted', 200, 'result=stored'];
};

subtest 'the spool: a body that is not an event is kept, or answered 503' => sub {
	for my $fault ('linkat:error=EIO', 'fsync:error=EIO') {
		delivery_under_fault($fault, 503, 'Input/output error',
			fault($fault), spool => used_spool(), body => "[] $fault",
			retry => 422);
	}
};

subtest 'the spool: a lock that another process holds is waited for' => sub {
	my $spool = used_spool();
	delivery_under_fault('it is released', 200, 'result=stored',
		fault('fcntl:error=EACCES:when=1..3', '-P', "$spool/lock"),
		spool => $spool);
	my $lock = lock_spool($spool, 0, 0);
	my $got = cgi(spool => $spool, body => event(),
		under => fault('clock_nanosleep,nanosleep:retval=0'));
	is($got->{status}, 503, 'it is held too long: status');
	like($got->{log}, qr/reason="lock: Resource temp/,
		'it is held too long: the log says why');
	close $lock;
};

subtest 'the archive: days that cannot be listed do not expire' => sub {
	# CGI: the first two allocations are those of the receiver and the spool.
	for my $n (1 .. 6) {
		my $spool = used_spool();
		mkdir "$spool/archive/$_" or die $!
			for '2026-01-01', day(time - 86400);
		delivery_under_fault("allocation $n fails",
			$n <= 2 ? '503' : '(?:200|500)',
			$n <= 2 ? 'reason="memory: ' : 'result=',
			shimmed("SHIM_ALLOC=$n"), spool => $spool);
		ok(!-d "$spool/archive/2026-01-01",
			"allocation $n fails: the retry removes the old day");
	}
};

subtest 'the archive: more days than can be listed' => sub {
	my $spool = used_spool();
	mkdir "$spool/archive/" . day(time + $_ * 86400) or die $! for 2 .. 3700;
	delivery_under_fault('3700 days of the future', 200, 'result=stored', [],
		spool => $spool);
};

subtest 'a file that a killed process left becomes one delivery' => sub {
	my $body = event();
	for my $linked (0, 1) {
		my $spool = used_spool();
		if ($linked) {
			leave_linked($spool, $body);
		} else {
			spew("$spool/archive/" . staged($body), 'torn');
		}
		my $name = $linked ? 'linked into new/' : 'not linked';
		delivery_under_fault("$name, and the flush fails", 503,
			'Input/output error', fault('fsync:error=EIO'),
			spool => $spool, body => $body);
		is(scalar files($spool), 2, "$name: one file of it");
	}
	my $spool = used_spool();
	leave_linked($spool, $body);
	my $worker = worker(spool => $spool);
	is(join(' ', map { fcgi_recv($_)->{json}{status} }
		send_group($worker, $body, event())), 'duplicate stored',
		'in a group with another body: their states');
	is(scalar files($spool), 3, 'in a group: one file of it');
	reap($worker);
};

subtest 'after midnight such a file is found in the day before' => sub {
	my $body = event();
	my $yesterday = day($MIDNIGHT - 60);
	my $hex = sha256_hex($body);
	for my $fault ('', 'newfstatat:error=EIO') {
		my $name = $fault || 'no fault';
		set_clock($MIDNIGHT - 60);
		my $spool = new_spool();
		is(cgi(spool => $spool, body => $body, under => clocked())
			->{json}{status}, 'stored', "$name: stored before midnight");
		unfinish($spool, $yesterday, $body);
		set_clock($MIDNIGHT + 60);
		my $got = cgi(spool => $spool, body => $body, under =>
			clocked_strace('-o', '/dev/null', '-P', "$yesterday/.$hex",
			'-e', $fault ? "inject=$fault" : 'trace=newfstatat'));
		is($got->{status}, $fault ? 503 : 200, "$name: status");
		like($got->{log}, $fault ? qr/look for a leftover: Input/
			: qr/^$TS result=duplicate/, "$name: the log");
		ok(-e "$spool/archive/$yesterday/" . ($fault ? ".$hex" : $hex),
			"$name: its name in the archive");
		is(scalar files($spool), 1, "$name: one file");
	}
	set_clock($MIDNIGHT - 60);
	my $spool = new_spool();
	my $worker = clocked_worker($spool);
	is(post($worker, $body)->{json}{status}, 'stored',
		'a process that runs across midnight: stored before it');
	unfinish($spool, $yesterday, $body);
	set_clock($MIDNIGHT + 60);
	is(post($worker, $body)->{json}{status}, 'duplicate',
		'a process that runs across midnight: a duplicate after it');
	is(scalar files($spool), 1, 'a process that runs across midnight: one file');
	reap($worker);
};

subtest 'a body that arrives across midnight is archived on the new day' => sub {
	my $body = event();
	for my $fault ('', 'getdents64:error=EIO:when=5+') {
		my $name = $fault || 'no fault';
		set_clock($MIDNIGHT - 1);
		my $spool = used_spool();
		my ($now) = files($spool, 'archive');
		rename "$spool/archive/$now", "$spool/archive/" . day($MIDNIGHT - 1)
			or die $!;
		pipe my $read, my $write or die $!;
		unlink "$spool/lock";
		my $trace = scratch() . '/trace';
		my $run = cgi(spool => $spool, body => $body, stdin => $read,
			start => 1, under => clocked_strace('-o', $trace, '-P',
			"$spool/archive", '-e', $fault ? "inject=$fault"
			: 'trace=getdents64'));
		close $read;
		# It reads the archive twice, with two calls each, and then its body.
		ok(wait_for(sub { -e "$spool/lock" && -e $trace &&
			(() = slurp($trace) =~ /getdents64\(.* = \d/g) == 4 }),
			"$name: it has listed the archive and waits for its body");
		set_clock($MIDNIGHT + 1);
		syswrite $write, $body;
		close $write;
		my $got = Hook::cgi_done($run->{pid}, $run->{dir});
		is($got->{status}, $fault ? 503 : 200, "$name: status");
		is(-e "$spool/archive/" . day($MIDNIGHT + 1) . '/'
			. sha256_hex($body) ? 1 : 0, $fault ? 0 : 1,
			"$name: whether it is in the new day");
	}
};

subtest 'a body that another process stores across midnight is a duplicate' => sub {
	set_clock($MIDNIGHT - 1);
	my $spool = new_spool();
	my $body = event();
	my $worker = clocked_worker($spool);
	is(post($worker, event())->{status}, 200, 'another body, before midnight');
	my $lock = lock_spool($spool,
		unpack('Q>', sha256($body)) & ((1 << 62) - 1), 1);
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, fcgi_request($body));
	post($worker, event()) for 1, 2;	# by then it has tried the lock
	set_clock($MIDNIGHT + 1);
	my $path = "$spool/archive/" . day($MIDNIGHT + 1);
	mkdir $path or die $!;
	spew("$path/" . sha256_hex($body), '');
	close $lock;
	is((fcgi_recv($socket) // {})->{json}{status}, 'duplicate',
		'the new day is searched, too');
	reap($worker);
};

subtest 'a clock that was ahead when the worker started expires nothing' => sub {
	set_clock($MIDNIGHT + 31 * 86400);
	my $spool = new_spool();
	my @days = sort { $a cmp $b } map { day($MIDNIGHT + $_ * 86400) }
		-3, -2, 30;
	mkdir $_ or die $! for map { "$spool/$_" } 'archive',
		map { "archive/$_" } @days;
	my $worker = clocked_worker($spool);
	my $junk = fcgi_connect($worker);
	fcgi_send($junk, 'junk' x 4);
	fcgi_recv($junk);	# it is closed once the worker has started
	set_clock($MIDNIGHT);
	post($worker, event());
	reap($worker);
	is_deeply([files($spool, 'archive')], [@days[0, 1], day($MIDNIGHT),
		$days[2]], 'all days are there');
};

subtest 'names: files of others stay if all names that are tried exist' => sub {
	set_clock($MIDNIGHT + 200);
	my $spool = used_spool();
	my ($file) = files($spool);
	my @taken = map { sprintf '20261125T000320.%06dZ.message.created.taken.json',
		$_ } 0 .. 999;
	link "$spool/new/$file", "$spool/new/$_" or die $! for @taken;
	my $got = cgi(spool => $spool, body => event(id => 'taken'),
		under => clocked());
	like($got->{log}, qr/status=503 .*reason="link: File exists"/,
		'the delivery is refused');
	is_deeply([files($spool)], [sort { $a cmp $b } $file, @taken],
		'the files are there');
};

subtest 'names grow, also if the clock does not' => sub {
	set_clock($MIDNIGHT + 100);
	my $spool = new_spool();
	my $worker = clocked_worker($spool);
	my @order = map { my $body = event(); post($worker, $body); $body } 1 .. 3;
	is_deeply([content($spool, 'new')], \@order,
		'a clock that stands still: the order of arrival');
	like((files($spool))[2], qr/^20261125T000140\.000002Z/,
		'a clock that stands still: a microsecond is added for each');
	set_clock($MIDNIGHT + 50);
	post($worker, event());
	like((files($spool))[0], qr/^20261125T000050\.000000Z/,
		'a clock that is set back is believed');
	reap($worker);
};

subtest 'the archive: a list of days is kept once it is older than archive/' => sub {
	set_clock($MIDNIGHT + 50);
	my $spool = new_spool();
	my $worker = clocked_worker($spool);
	post($worker, event());
	set_clock(time + 10);
	for (1 .. 3) {
		post($worker, my $body = event());
		is(post($worker, $body)->{json}{status}, 'duplicate',
			"a duplicate is recognised: $_");
	}
	reap($worker);
};

subtest 'a failure in a group concerns one delivery and leaks no descriptor' => sub {
	my $spool = new_spool();
	my $body = event();
	my $worker = worker(spool => $spool, under => fault('close:error=EIO', '-P',
		"$spool/archive/" . staged($body)));
	is(join(' ', map { fcgi_recv($_)->{status} }
		send_group($worker, $body, event())), '503 200',
		'one file of a group cannot be closed');
	reap($worker);
	$worker = worker(spool => $spool, under => fault('fdatasync:error=EIO'));
	my $open = sub { my @fds = glob "/proc/$worker->{pid}/fd/*"; @fds };
	post($worker, event());
	my $before = $open->();
	is(post($worker, event())->{status}, 503, "the flush fails: $_") for 1 .. 3;
	# A connection may be closed a moment later.
	ok(wait_for(sub { $open->() <= $before }), 'no descriptor is lost');
	reap($worker);
};

subtest 'a spool that is a file system of its own' => sub {
	plan skip_all => 'may not mount' if !$can_mount;
	my $spool = new_spool();
	my $body = event();
	Disk::run('mount', '-t', 'tmpfs', '-o', 'mode=750', 'none', $spool);
	$Disk::mounted{$spool} = 1;
	cgi(spool => $spool, body => event());
	delivery_under_fault('the file cannot be closed', 503,
		'reason="close: Input', fault('close:error=EIO', '-P',
		"$spool/archive/" . staged($body)), spool => $spool, body => $body);
	my $worker = worker(spool => $spool, under => fault('syncfs:error=EIO'));
	is(fcgi_recv($_)->{status}, 503, 'syncfs fails: each of the group')
		for send_group($worker, event(), event());
	reap($worker);
	like(slurp($worker->{log}), qr/reason="syncfs: Input/,
		'syncfs fails: the log says why');
	$worker = worker(spool => $spool,
		under => fault('sync_file_range:error=EIO:when=2'));
	is(fcgi_recv($_)->{status}, 503, 'one file has no place: each of the group')
		for send_group($worker, event(), event());
	reap($worker);
	my @group = (event(), event());
	$worker = worker(spool => $spool);
	is(fcgi_recv($_)->{status}, 200, 'no fault: each of the group')
		for send_group($worker, @group);
	reap($worker);
	is_deeply([sort((content($spool, 'new'))[-2, -1])], [sort @group],
		'no fault: both are stored');
	Disk::unmount_disk({ at => $spool });
};

done_testing();
