#!/usr/bin/perl
# Faults of single calls at the two doors that no plain delivery comes by: a
# request in pieces, a leftover, midnight, a spool on a file system of its own.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256 sha256_hex);
use Fcntl qw(F_SETLK F_WRLCK);
use Disk qw(can_mount);
use Hook;
use Faults qw(can_trace);

my $can_mount = can_mount();	# it may start the test anew
plan skip_all => 'needs strace that may trace' if !can_trace();
$SIG{PIPE} = 'IGNORE';
my $shim = 'build/shim.so';	# no path for LD_PRELOAD may have a space
my ($worker, $got);

sub fault {
	my ($inject, @options) = @_;
	return ['strace', '-D', '-qq', '-o', '/dev/null', @options,
		map { ('-e', "inject=$_") } split ' ', $inject];
}
sub shimmed { return ['env', "LD_PRELOAD=$shim", @_] }

# A clock that the program and we share.
my $clock = scratch() . '/clock';
my @CLOCK = ('-E', "LD_PRELOAD=$shim", '-E', "SHIM_CLOCK=$clock");
sub set_clock {
	open my $fh, '+>', "$clock.new" or die $!;
	print {$fh} pack 'q', $_[0];
	close $fh or die $!;
	if (-e $clock) {	# in place, as it is mapped
		open $fh, '+<', $clock or die $!;
		syswrite $fh, pack 'q', $_[0];
		return;
	}
	rename "$clock.new", $clock or die $!;
	return;
}
sub day { my @t = gmtime $_[0];
	return sprintf '%04d-%02d-%02d', $t[5] + 1900, $t[4] + 1, $t[3] }
my $MIDNIGHT = 1795564800;	# of 2026-11-25

# FastCGI: a request that comes in pieces can't be kept.
for my $fault ('memfd_create:error=EMFILE:when=1', 'write:error=ENOSPC:when=1',
	'write:error=ENOSPC:when=2', 'lseek:error=EIO:when=1') {
	my $spool = new_spool();
	$worker = worker(spool => $spool, under => fault($fault));
	my $request = fcgi_request(my $body = event());
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, substr $request, 0, 20);
	is(post($worker, event())->{status}, 200, "$fault: another is served");
	fcgi_send($socket, substr $request, 20);
	is(fcgi_recv($socket), undef, "$fault: closed");
	is((grep { $_ eq $body } content($spool, 'new')), 0, "$fault: not kept");
	is(post($worker, $body)->{status}, 200, "$fault: taken again");
	reap($worker);
}

# One that sends as fast as it is read does not keep the others out.
{
	my $spool = new_spool();
	$worker = worker(spool => $spool, under => fault(
		'recvfrom:delay_enter=3000'), env => {
		PROTOCOL_HOOK_MAX_BODY => '64M' });
	my $body = event(pad => 8 << 20);
	my $socket = fcgi_connect($worker);
	my $pid = fork // die $!;
	if (!$pid) {
		fcgi_send($socket, fcgi_request($body));
		POSIX::_exit(0);
	}
	is(post($worker, event())->{status}, 200, 'served beside 8M');
	is((fcgi_recv($socket, 60) // {})->{status}, 200, '8M');
	waitpid $pid, 0;
	is((grep { $_ eq $body } content($spool, 'new')), 1, '8M: bytes');
	reap($worker);
}

# What ends a worker at its start, and what ends a connection.
for my $fault ('pipe,pipe2:error=EMFILE', 'prlimit64:error=EPERM',
	map { "fcntl:error=EINVAL:when=$_" } 2 .. 6) {
	$worker = worker(spool => new_spool(), under => fault($fault));
	ok(wait_for(sub { waitpid($worker->{pid}, POSIX::WNOHANG()) > 0 }),
		"$fault at its start: it ends");
	is($? >> 8, 1, "$fault at its start: exit status");
	reap($worker, 'KILL');
	like(slurp($worker->{log}), qr/ result=start_failed reason="\w/,
		"$fault: said");
}
for (['EINTR', 200], ['EAGAIN', 200], ['ECONNRESET', 0]) {
	my ($errno, $status) = @{$_};
	$worker = worker(spool => new_spool(),
		under => fault("recvfrom:error=$errno:when=1"));
	my $text = event();
	$got = post($worker, $text);
	is($got ? $got->{status} : 0, $status, "recv gives $errno");
	is(post($worker, $text)->{status}, 200, '... and it lives on');
	reap($worker);
}

# Without a sandbox it works, and says so.
$worker = worker(spool => new_spool(),
	under => fault('landlock_create_ruleset:error=ENOSYS'));
is(post($worker, event())->{status}, 200, 'without Landlock');
ok(wait_for(sub { slurp($worker->{log})
	=~ /^$TS result=sandbox_off reason="the kernel has no/m }),
	'without Landlock: said');
reap($worker);

# A group waits for as many as there were; one has repeats and equal bodies.
{
	my $spool = new_spool();
	$worker = worker(spool => $spool, under => shimmed('SHIM_SLOW=1'));
	my @bodies = (event(), event());
	post($worker, $bodies[0]);
	for my $round (1 .. 5) {
		my @sockets = send_group($worker, @bodies[0, 1], $bodies[1],
			event());
		is(join(' ', sort map { fcgi_recv($_)->{json}{status} } @sockets),
			$round == 1 ? 'duplicate duplicate stored stored'
			: 'duplicate duplicate duplicate stored', 'a mixed group');
		@sockets = map { fcgi_connect($worker) } 1 .. 3;
		fcgi_send($_, fcgi_request(event())) for @sockets;
		is(fcgi_recv($_)->{status}, 200, 'one of some') for @sockets;
	}
	reap($worker);
}

# CGI: the body takes too long, though it never stops.
{
	local $Hook::PROGRAM = "$ENV{PWD}/build/quick/protocol-hook";
	pipe my $read, my $write or die $!;
	my $body = event(pad => 60000) . ' ' x 30000;
	my $pid = fork // die $!;
	if (!$pid) {
		syswrite $write, $body;
		POSIX::_exit(0);
	}
	close $write;
	$got = cgi(spool => new_spool(), body => $body, stdin => $read, under =>
		fault('read:delay_exit=1100000', '-P', (readlink
		'/proc/self/fd/' . fileno $read)));
	close $read;
	is($got->{status}, 408, 'a body that takes too long');
	waitpid $pid, 0;
}
for my $errno ('EINTR', 'EAGAIN') {
	pipe my $read, my $write or die $!;
	syswrite $write, my $body = event();
	$got = cgi(spool => new_spool(), body => $body, stdin => $read, under =>
		fault("read:error=$errno:when=1", '-P', (readlink
		'/proc/self/fd/' . fileno $read)));
	is($got->{status}, 200, "a read of the body gives $errno");
}
for (1, 2) {
	$got = cgi(spool => new_spool(), body => event(), under => ['sh', '-c',
		'exec "$@" 2>/dev/null', 'sh', @{ fault(
		"newfstatat,fstat,stat:error=EIO:when=$_", '-P', '/dev/null') }]);
	is($got->{status}, 200, "/dev/null can not be looked at: $_");
}

# The spool.  Bodies under a fault; then what the answers are, and that a retry
# is stored, or known, and there is one file.
sub refused {
	my ($name, $status, $reason, $under, %with) = @_;
	my $spool = $with{spool} // new_spool();
	my $body = $with{body} // event();
	$got = cgi(spool => $spool, body => $body, under => $under);
	like($got->{status}, qr/^$status$/, "$name: $status") or diag($got->{log});
	like($got->{log}, qr/$reason/, "$name: why");
	$got = cgi(spool => $spool, body => $body);
	is($got->{status}, $with{retry} // 200, "$name: a retry");
	my @kept = content($spool, $with{retry} ? 'rejected' : 'new');
	is((grep { $_ eq $body } @kept), 1, "$name: there is one file");
	return;
}
sub used_spool {
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	return $spool;
}
my $today = day(time);
my $body = event();
my $staged = "$today/." . sha256_hex($body);
refused('another made new/ meanwhile', 200, 'result=stored',
	fault('openat:error=ENOENT:when=1', '-P', 'new'), spool => used_spool());
refused('another made the day meanwhile', 200, 'result=stored',
	fault('openat:error=ENOENT:when=1', '-P', $staged), body => $body,
	spool => used_spool());
refused('a file in its way', 503, 'reason="open: ',
	fault('openat:error=EEXIST', '-P', $staged), body => $body);
refused('... that can not be looked at', 503, 'reason="open: Input/output',
	fault('openat:error=EEXIST newfstatat:error=EIO', '-P', $staged),
	body => $body);
refused('no free name', 503, 'reason="link: File exists',
	fault('linkat:error=EEXIST'));
my $spool = used_spool();
refused('a lock that is taken', 200, 'result=stored',
	fault('fcntl:error=EACCES:when=1..3', '-P', "$spool/lock"),
	spool => $spool);
{
	open my $lock, '>>', "$spool/lock" or die $!;
	my $whole = pack 's s x4 q q i x4', F_WRLCK, 0, 0, 0, 0;
	fcntl $lock, F_SETLK, $whole or die $!;
	$got = cgi(spool => $spool, body => event(),
		under => fault('clock_nanosleep,nanosleep:retval=0'));
	is($got->{status}, 503, '... for too long');
	like($got->{log}, qr/reason="lock: Resource temp/, '... is told');
	close $lock;
}
for my $fault ('linkat:error=EIO', 'fsync:error=EIO') {
	$spool = used_spool();
	refused("what is no event: $fault", 503, 'Input/output error',
		fault($fault), spool => $spool, body => "[] $fault", retry => 422);
}
refused("shim: $_->[0]", $_->[1], $_->[2], shimmed("SHIM_FS=$_->[0]"))
	for ['ro', 503, 'the spool is read-only'],
	['uncounted', 200, 'result=stored'];

# Old days stay where there is no memory to list them.
for my $n (1 .. 4) {
	$spool = used_spool();
	mkdir "$spool/archive/$_" or die $!
		for '2026-01-01', day(time - 86400);
	refused("allocation $n beside an old day", '(?:200|500)', 'result=',
		shimmed("SHIM_ALLOC=$n"), spool => $spool);
	ok(!-d "$spool/archive/2026-01-01", '... which goes in the end');
}

# More days than there can be.
$spool = used_spool();
mkdir "$spool/archive/" . day(time + $_ * 86400) or die $! for 2 .. 3700;
refused('3700 days of the future', 200, 'result=stored', [], spool => $spool);

# Leftovers of a process that was killed: linked into new/, and not.
for my $linked (0, 1) {
	$spool = used_spool();
	for my $path ("$spool/archive/$staged") {
		open my $fh, '>', $path or die $!;
		print {$fh} $linked ? $body : 'torn';
		close $fh or die $!;
		link $path, "$spool/new/20261124T000000.000000Z.a.b.json" or die $!
			if $linked;
	}
	refused('a leftover, and no flush', 503, 'Input/output error',
		fault('fsync:error=EIO'), spool => $spool, body => $body);
	is(scalar files($spool), 2, 'a leftover: one file of it');
}
# One in a group, with another.
{
	$spool = used_spool();
	my $path = "$spool/archive/$staged";
	open my $fh, '>', $path or die $!;
	print {$fh} $body;
	close $fh or die $!;
	link $path, "$spool/new/20261124T000000.000000Z.a.b.json" or die $!;
	$worker = worker(spool => $spool);
	is(join(' ', map { fcgi_recv($_)->{json}{status} }
		send_group($worker, $body, event())),
		'duplicate stored', 'a leftover in a group');
	is(scalar files($spool), 3, 'one file of it');
	reap($worker);
}

# After midnight one is looked for in the day before.
for my $fault ('', 'newfstatat:error=EIO') {
	set_clock($MIDNIGHT - 60);
	$spool = new_spool();
	my $first = cgi(spool => $spool, body => $body,
		under => ['env', "LD_PRELOAD=$shim", "SHIM_CLOCK=$clock"]);
	is($first->{json}{status}, 'stored', 'before midnight');
	my $yesterday = day($MIDNIGHT - 60);
	my $path = "$spool/archive/$yesterday/";
	my $hex = sha256_hex($body);
	rename $path . $hex, "$path.$hex" or die $!;
	set_clock($MIDNIGHT + 60);
	$got = cgi(spool => $spool, body => $body, under => ['strace', '-qq', '-o',
		'/dev/null', @CLOCK, '-P', "$yesterday/.$hex", '-e',
		$fault ? "inject=$fault" : 'trace=newfstatat']);
	is($got->{status}, $fault ? 503 : 200, "after midnight $fault");
	like($got->{log}, $fault ? qr/look for a leftover: Input/
		: qr/^$TS result=duplicate/, "after midnight $fault: how");
	ok(-e ($fault ? "$path.$hex" : $path . $hex),
		"after midnight $fault: where it is");
	is(scalar files($spool), 1, "after midnight $fault: one file");
}

# Midnight comes while a body does.
for my $fault ('', 'getdents64:error=EIO:when=5+') {
	set_clock($MIDNIGHT - 1);
	$spool = used_spool();
	my ($now) = files($spool, 'archive');
	rename "$spool/archive/$now", "$spool/archive/" . day($MIDNIGHT - 1)
		or die $!;
	pipe my $read, my $write or die $!;
	unlink "$spool/lock";
	my $run = cgi(spool => $spool, body => $body, stdin => $read, start => 1,
		under => ['strace', '-qq', '-o', '/dev/null', @CLOCK, '-P',
		"$spool/archive", '-e', $fault ? "inject=$fault"
		: 'trace=getdents64']);
	close $read;
	ok(wait_for(sub { -e "$spool/lock" }), 'it waits for its body');
	select undef, undef, undef, 0.2;	# the list comes after the lock
	set_clock($MIDNIGHT + 1);
	syswrite $write, $body;
	close $write;
	$got = Hook::cgi_done($run->{pid}, $run->{dir});
	is($got->{status}, $fault ? 503 : 200, "midnight meanwhile $fault");
	is(-e "$spool/archive/" . day($MIDNIGHT + 1) . '/' . sha256_hex($body)
		? 1 : 0, $fault ? 0 : 1, "midnight meanwhile $fault: its day");
}

# Midnight comes while another process stores the same bytes.
sub clocked { return worker(spool => $_[0],
	under => ['env', "LD_PRELOAD=$shim", "SHIM_CLOCK=$clock"]) }
{
	set_clock($MIDNIGHT - 1);
	$spool = new_spool();
	$worker = clocked($spool);
	is(post($worker, event())->{status}, 200, 'before midnight');
	open my $lock, '>>', "$spool/lock" or die $!;
	my $start = unpack('Q>', sha256($body)) & ((1 << 62) - 1);
	fcntl $lock, F_SETLK, pack('s s x4 q q i x4', F_WRLCK, 0, $start, 1, 0)
		or die $!;
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, fcgi_request($body));
	post($worker, event()) for 1, 2;	# it has looked at that, too
	set_clock($MIDNIGHT + 1);
	my $path = "$spool/archive/" . day($MIDNIGHT + 1);
	mkdir $path or die $!;
	open my $fh, '>', "$path/" . sha256_hex($body) or die $!;
	close $lock;
	is((fcgi_recv($socket) // {})->{json}{status}, 'duplicate',
		'after it: the new day is searched, too');
	reap($worker);
}

# ... or was killed while it did, before.
{
	set_clock($MIDNIGHT - 60);
	$spool = new_spool();
	$worker = clocked($spool);
	is(post($worker, $body)->{json}{status}, 'stored', 'before midnight');
	my $path = "$spool/archive/" . day($MIDNIGHT - 60) . '/';
	my $hex = sha256_hex($body);
	rename $path . $hex, "$path.$hex" or die $!;
	set_clock($MIDNIGHT + 60);
	is(post($worker, $body)->{json}{status}, 'duplicate',
		'a process that saw midnight looks for it in the day before');
	is(scalar files($spool), 1, 'one file');
	reap($worker);
}

# A process that was started while the clock was wrong.
{
	set_clock($MIDNIGHT + 31 * 86400);
	$spool = new_spool();
	my @days = sort { $a cmp $b } map { day($MIDNIGHT + $_ * 86400) }
		-3, -2, 30;
	mkdir $_ or die $! for map { "$spool/$_" } 'archive',
		map { "archive/$_" } @days;
	$worker = clocked($spool);
	my $junk = fcgi_connect($worker);
	fcgi_send($junk, 'junk' x 4);
	fcgi_recv($junk);	# it is closed once the process has started
	set_clock($MIDNIGHT);
	post($worker, event());
	reap($worker);
	is_deeply([files($spool, 'archive')], [@days[0, 1], day($MIDNIGHT),
		$days[2]], 'a clock that was ahead at the start expires nothing');
}

# All names are taken that it tries: none of them is its own.
{
	set_clock($MIDNIGHT + 200);
	$spool = used_spool();
	my $other = (content($spool, 'new'))[0];
	my ($file) = files($spool);
	my @taken = map { sprintf '20261125T000320.%06dZ.message.created.taken.json',
		$_ } 0 .. 999;
	link "$spool/new/$file", "$spool/new/$_" or die $! for @taken;
	$got = cgi(spool => $spool, body => event(id => 'taken'),
		under => ['env', "LD_PRELOAD=$shim", "SHIM_CLOCK=$clock"]);
	like($got->{log}, qr/status=503 .*reason="link: File exists"/, 'no name');
	is_deeply([files($spool)], [sort { $a cmp $b } $file, @taken],
		'the files of others stay');
}

# Names grow even if the clock does not; and one that is put back is believed.
set_clock($MIDNIGHT + 100);
$spool = new_spool();
$worker = clocked($spool);
my @order = map { my $text = event(); post($worker, $text); $text } 1 .. 3;
is_deeply([content($spool, 'new')], \@order, 'a clock that stands still');
like((files($spool))[2], qr/^20261125T000140\.000002Z/, 'how');
set_clock($MIDNIGHT + 50);
post($worker, event());
like((files($spool))[0], qr/^20261125T000050\.000000Z/, 'one that is put back');
# A list of days is trusted once it is older than the directory.
set_clock(time + 10);
for (1 .. 3) {
	post($worker, my $text = event());
	is(post($worker, $text)->{json}{status}, 'duplicate', 'a listed archive');
}
reap($worker);

# What fails in a group leaves nothing open.
{
	my $spool = new_spool();
	my $open = sub { my @fds = glob "/proc/$worker->{pid}/fd/*"; @fds };
	$worker = worker(spool => $spool, under => fault('close:error=EIO', '-P',
		"$spool/archive/$staged"));
	is(join(' ', map { fcgi_recv($_)->{status} }
		send_group($worker, $body, event())), '503 200',
		'one of a group can not be closed');
	reap($worker);
	$worker = worker(spool => $spool, under => fault('fdatasync:error=EIO'));
	post($worker, event());
	my $before = $open->();
	is(post($worker, event())->{status}, 503, 'no flush') for 1 .. 3;
	# A connection may be closed a moment later.
	ok(wait_for(sub { $open->() <= $before }), 'no descriptor is lost');
	reap($worker);
}

# A file system of its own.
SKIP: {
	skip 'may not mount', 12 if !$can_mount;
	$spool = new_spool();
	Disk::run('mount', '-t', 'tmpfs', '-o', 'mode=750', 'none', $spool);
	$Disk::mounted{$spool} = 1;
	cgi(spool => $spool, body => event());
	refused('the file can not be closed', 503, 'reason="close: Input',
		fault('close:error=EIO', '-P', "$spool/archive/$staged"),
		spool => $spool, body => $body);
	$worker = worker(spool => $spool, under => fault('syncfs:error=EIO'));
	is(fcgi_recv($_)->{status}, 503, 'no flush of all')
		for send_group($worker, event(), event());
	reap($worker);
	like(slurp($worker->{log}), qr/reason="syncfs: Input/, 'the log says so');
	$worker = worker(spool => $spool,
		under => fault('sync_file_range:error=EIO:when=2'));
	is(fcgi_recv($_)->{status}, 503, 'no place for one')
		for send_group($worker, event(), event());
	reap($worker);
	my @group = (event(), event());
	$worker = worker(spool => $spool);
	is(fcgi_recv($_)->{status}, 200, 'stored') for send_group($worker, @group);
	reap($worker);
	is_deeply([sort((content($spool, 'new'))[-2, -1])], [sort @group], 'both');
	Disk::unmount_disk({ at => $spool });
}

done_testing();
