#!/usr/bin/perl
# The commands under faults: what can't be done is told, with an exit status
# that says so, and never shown as done.
use strict;
use warnings;
use POSIX qw(strftime);
use Test::More;
use Digest::SHA qw(sha256_hex);
use POSIX ();
use Disk qw(can_mount);
use Hook;
use Commands;
use Faults qw(can_trace);

my $can_mount = can_mount();	# it may start the test anew
plan skip_all => 'needs strace that may trace' if !can_trace();
my $shim = 'build/shim.so';	# no path for LD_PRELOAD may have a space
my ($status, $out, $err, $fh);

# strace with OPTIONS and a fault; calls on certain paths only, with -P.
sub fault {
	my ($inject, @options) = @_;
	return (under => ['strace', '-qq', '-o', '/dev/null', @options, '-e',
		"inject=$inject"]);
}
sub shimmed { return (under => ['env', "LD_PRELOAD=$shim", @_]) }

my $spool = new_spool();
my %in = (PROTOCOL_HOOK_SPOOL => $spool, PROTOCOL_HOOK_SECRET => 'k' x 32);

# check, and its cures.
sub check {
	my ($name, $line, %with) = @_;
	($status, $out) = run({ %in, %with }, 'check',
		$> == 0 ? ('-u', 'root') : ());
	is($status, $line =~ /FAIL/ ? 1 : 0, "check: $name: exit status");
	like($out, qr/^$line/m, "check: $name");
	return;
}
for ([EROFS => 'mount it read-write; a systemd unit also needs it in Read'],
	[ENOSPC => 'remove files there'],
	[EDQUOT => "remove files there, or raise the user's quota"],
	[EIO => 'see dmesg'], [EMFILE => 'raise the limit of open files (ulimit'],
	[ENFILE => 'raise the limit of open files (sysctl'],
	[ENOMEM => 'free some memory'], [ESTALE => 'mount it again'],
	[EPERM => 'take away what makes it immutable: lsattr'],
	[EACCES => 'a security module forbids it']) {
	my ($errno, $cure) = @{$_};
	check("mkdir gives $errno", "FAIL +spool .*new/.*: \Q$cure",
		fault("mkdirat:error=$errno"));
}
check('all is well again', 'ok +test delivery ');
check('no locks', 'FAIL +test delivery .*lock.*locks and hard links',
	fault('fcntl:error=ENOLCK', '-P', "$spool/lock"));
for (qw(EMLINK EOPNOTSUPP ENOSYS)) {
	check("no hard links, $_", 'FAIL +test delivery .*link.*locks and hard links',
		fault("linkat:error=$_"));
}
# exFAT and vfat say this.
check('no hard links, EPERM', 'FAIL +test delivery .*link: .*permitted: put it '
	. 'where there are hard links', fault('linkat:error=EPERM'));
unlike($out, qr/chmod/, '... and no mode would help');
check('a lock that another process holds', 'FAIL +test delivery .*lock: .*: '
	. 'another process holds a lock', fault('fcntl:error=EAGAIN', '-P',
	"$spool/lock"));
check('no flush', 'FAIL +new/ .*flush: Input/output error: see dmesg',
	fault('fsync:error=EIO', '-P', "$spool/new"));
check('a secret file that is gone', 'FAIL +secret file .*dir/key is not there',
	PROTOCOL_HOOK_SECRET => undef,
	PROTOCOL_HOOK_SECRET_FILE => "$spool-dir/key");
like($out, qr/^note +sandbox +Landlock refuses$/m, '... nor its directory');
open $fh, '>', "$dir/clock" or die $!;
print {$fh} pack 'q', 1700000000;
close $fh or die $!;
check('an old clock', 'FAIL +clock +it says 2023-11-14T22:13:20Z, before 2025',
	shimmed("SHIM_CLOCK=$dir/clock"));

# The sandbox: that it is off is told.
for (['landlock_create_ruleset:error=ENOSYS', 'the kernel has no Landlock'],
	['landlock_create_ruleset:retval=1:when=1', 'Landlock .*allow links'],
	['landlock_create_ruleset:error=EMFILE:when=2', 'no Landlock ruleset'],
	['landlock_add_rule:error=EINVAL', 'Landlock refuses'],
	['landlock_restrict_self:error=E2BIG', 'Landlock refuses'],
	['prctl:error=EPERM:when=1', 'privileges can\'t be dropped'],
	['prctl:error=EPERM:when=2', 'privileges can\'t be dropped'],
	['prctl:error=EINVAL:when=3', 'the kernel has no seccomp .*Landlock is on'],
	['prlimit64:error=EPERM', 'privileges can\'t be dropped']) {
	check($_->[0], "note +sandbox +$_->[1]\$", fault($_->[0]));
}
run({ %in, under => ['strace', '-qq', '-o', "$dir/trace", '-e',
	'inject=landlock_create_ruleset:error=ENOSYS', '-e', 'trace=prctl,'
	. 'landlock_create_ruleset'] }, 'check');
like(slurp("$dir/trace"), qr/ENOSYS.*\nprctl\(PR_SET_SECCOMP, .* = 0$/m,
	'without Landlock calls are filtered all the same');
# Each version has its own size; a kernel that is older refuses it.
check("Landlock $_", 'ok +test delivery ',
	fault("landlock_create_ruleset:retval=$_:when=1")) for 2 .. 6;

SKIP: {
	skip 'not root', 15 if $> != 0;
	my ($uid) = (getpwnam 'nobody')[2];
	for my $call (qw(setgroups setgid setuid)) {
		($status, $out, $err) = run({ %in,
			fault("$call:error=EPERM", '-f') }, 'check', '-u', 'nobody');
		is($status, 1, "$call fails: exit status");
		is($out, '', "$call fails: nothing is looked at");
		like($err, qr/acting as uid $uid: /, "$call fails: said");
	}
	my $his = new_spool();
	chown 54321, 54321, $his;
	($status, $out, $err) = run({ %in, PROTOCOL_HOOK_SPOOL => $his,
		fault('setgroups:error=EPERM', '-f') }, 'check');
	is($status, 1, 'an owner without a name, and setgroups fails');
	like($err, qr/acting as uid 54321: /, 'said');
	skip 'may not mount', 4 if !$can_mount;
	check('a file system of its own', 'ok +spool .*a file system of its own$',
		mounted($spool));
	check('a part that is mounted', 'FAIL +spool .*: mount the whole spool',
		mounted("$spool/archive"));
}
sub mounted {
	return (under => ['unshare', '-m', 'sh', '-c', "mount -t tmpfs -o mode=750 "
		. "none $_[0] && exec \"\$@\"", 'sh']);
}

# The keys' file.
$out = "$dir/key";
open $fh, '>', $out or die $!;
print {$fh} "$KEY\n";
close $fh or die $!;
my %file = (PROTOCOL_HOOK_SECRET => undef, PROTOCOL_HOOK_SECRET_FILE => $out);
my @of = ('-P', $out);
for my $call ('read', 'newfstatat,fstat') {
	($status, undef, $err) = run({ %file, fault("$call:error=EIO", @of) }, 'sign');
	is($status, 1, "sign: $call of the keys fails");
	like($err, qr/PROTOCOL_HOOK_SECRET_FILE Input\/output error/, 'says so');
}
check('its keys can not be looked at', 'FAIL +secret file .*can\'t be read', %file,
	fault('newfstatat,stat:error=EIO', @of));
is((run({ %file, in => 'x', fault('read:error=EINTR:when=1', @of) }, 'sign'))[1],
	sign('x') . "\n", 'sign: a signal while the keys are read');
($status, $out) = run({ in => 'x', fault('read:error=EINTR:when=1', '-P',
	"$dir/in") }, 'sign');
is($out, sign('x') . "\n", 'sign: a signal while the body is read');

# status counts all or nothing.
$spool = new_spool();
%in = (PROTOCOL_HOOK_SPOOL => $spool);
my @bodies = map { event(type => "t$_") =~ s/"id":"i/"\\u0069d":"\\u0069/r }
	1 .. 40;
deliver($spool, $_) for @bodies;
my ($day) = files($spool, 'archive');
@of = ('-P', "$spool/archive/$day");
sub status_fails {
	my ($name, @fault) = @_;
	($status, $out, $err) = run({ %in, fault(@fault) }, 'status', '-j');
	is($status, 1, "status: $name: exit status");
	is($out, '', "status: $name: nothing is printed");
	isnt($err, '', "status: $name: said");
	return;
}
status_fails('statfs', 'fstatfs:error=EIO');
status_fails('listing a day', 'getdents64:error=EIO', @of);
status_fails('a file of a day', 'newfstatat:error=EIO:when=2', @of);
($status, $out) = run({ %in, fault('newfstatat:error=ENOENT:when=2', @of) },
	'status', '-j');
like($out, qr/"archived_deliveries":39,/, 'status: a file that has just gone');
($status, $out) = run({ %in, fault('getdents64:error=ENOENT', @of) },
	'status', '-j');
like($out, qr/"archived_deliveries":0,/, 'status: a day that has just gone');
($status, $out, $err) = run({ %in, fault('write:error=ENOSPC:when=1') },
	'status', '-p');
is($status, 1, 'status: a write fails, and the last does not');
like($err, qr/standard output/, 'says so');
# As somebody else, or a user's name is looked up, which is not ours to mend.
sub allocations {
	my ($name, $right, @args) = @_;
	my $failed = 0;
	my @other = as_other();
	system 'chown', '-R', '54321:54321', $spool if @other;
	chmod 0755, $spool =~ s{/spool$}{}r;
	for my $n (1 .. 40) {
		for my $at ($n, "$n+") {
			unlink map { "$spool/new/$_" } files($spool) if $name eq 'replay';
			my %shimmed = shimmed("SHIM_ALLOC=$at");
			unshift @{ $shimmed{under} }, @other;
			($status, $out, $err) = run({ %in, %shimmed }, @args);
			$failed++ if $status == 1;
			next if $status == 1 ? $err ne '' : $status == 0 && $right->();
			fail("$name: allocation $at: $status, $out, $err");
		}
	}
	cmp_ok($failed, '>', 1, "$name: allocations that fail are told");
	return;
}
SKIP: {
skip 'nobody else can run it', 2 if $> == 0 && !as_other();
allocations('status', sub { $out =~ /"archived_deliveries":40,.*\}\n\z/ },
	'status', '-j');
allocations('replay', sub { scalar files($spool) == 40 }, 'replay', '-a');
}
system 'chown', '-R', "$>", $spool;
# More days than it has room for.
mkdir "$spool/archive/" . strftime('%Y-%m-%d', gmtime $_ * 86400) or die $!
	for 1 .. 7300;
($status, $out) = run(\%in, 'status', '-j');
my $days = () = $out =~ /":\{"deliveries":/g;
is($days, 7300, 'status: a bounded number of days');
rmdir "$spool/archive/$_" for grep { $_ ne $day } files($spool, 'archive');

# replay.
sub replay {
	my ($name, $how, @fault) = @_;
	unlink map { "$spool/new/$_" } files($spool);
	($status, $out, $err) = run({ %in, fault(@fault) }, 'replay', '-a');
	is($status, $how =~ /^\^replayed/ ? 0 : 1, "replay: $name: exit status");
	like($err, qr/$how/, "replay: $name: said");
	my ($n) = $err =~ /replayed (\d+)/;
	cmp_ok(scalar files($spool), '>=', $n // 0, "replay: $name: what it says");
	return;
}
replay('interrupted', '^interrupted: replayed 3$', 'linkat:signal=SIGINT:when=3');
replay('ended', '^interrupted: replayed 3$', 'linkat:signal=SIGTERM:when=3');
replay('a link fails', 'error\nreplayed 1, failed 1$', 'linkat:error=EIO:when=2');
replay('one has too many', 'links\nreplayed 39, failed 1$',
	'linkat:error=EMLINK:when=2');
replay('a flush fails', 'be flushed.*\nreplayed 0, failed 40$', 'fsync:error=EIO');
replay('listing a day fails', 'archive/\S+: Input', 'getdents64:error=EIO', @of);
replay('listing new/ fails', 'new/: Input', 'getdents64:error=EIO', '-P',
	"$spool/new");
replay('a day has just gone', '(?<=replayed )0$', 'getdents64:error=ENOENT', @of);
replay('a file has just gone', '^replayed 39$', 'newfstatat:error=ENOENT:when=2',
	@of);
# Where inode numbers say nothing.
for my $how ('same', 'other') {
	unlink map { "$spool/new/$_" } files($spool);
	my %shimmed = shimmed("SHIM_INODE=$how");
	run({ %in, %shimmed }, 'replay', map { sha256_hex($_) } @bodies[0 .. 2]);
	for ('37, still in new/ 3', '0, still in new/ 40') {
		($status, undef, $err) = run({ %in, %shimmed }, 'replay', '-a');
		like($err, qr{^replayed $_$}m, "replay: inode numbers: $how: $_");
	}
}
# A file in new/ that is as long as a delivery, and can't be read.
for (['ENOENT', '^replayed 40$'], ['EACCES', '^replayed 40$'],
	['EIO', '/new/: Input/output error']) {
	my ($errno, $how) = @{$_};
	unlink map { "$spool/new/$_" } files($spool);
	open $fh, '>', "$spool/new/foreign" or die $!;
	print {$fh} $bodies[0] =~ s/./x/gr;
	close $fh or die $!;
	($status, undef, $err) = run({ %in, fault("openat:error=$errno", '-P',
		"$spool/new") }, 'replay', '-a');
	like($err, qr/$how/m, "replay: a file in new/ gives $errno");
}
for (1 .. 1050) {
	my $text = event();
	open $fh, '>', "$spool/archive/$day/" . sha256_hex($text) or die $!;
	print {$fh} $text;
	close $fh or die $!;
}
replay('the first of many flushes fails', 'replayed 0, failed 256$',
	'fsync:error=EIO:when=1');
SKIP: {
	skip 'no terminal', 1 if !terminal();
	unlink map { "$spool/new/$_" } files($spool);
	(undef, $out) = on_terminal({ %in, fault('linkat:signal=SIGINT:when=600') },
		'replay', '-a');
	like($out, qr/\r\[#{22} {18}\] 600 of 1090\r\ninterrupted: replayed 600\r/,
		'replay: interrupted, on a terminal');
}

# watch.
$spool = new_spool();
%in = (PROTOCOL_HOOK_SPOOL => $spool);
deliver($spool, event());
sub watch_fails {
	my ($name, $how, @under) = @_;
	($status, $out, $err) = run({ %in, @under }, 'watch');
	is($status, 1, "watch: $name: exit status");
	like($err, qr/$how/, "watch: $name: said");
	return;
}
watch_fails('no inotify', 'new: Too many open files',
	fault('inotify_init1:error=EMFILE'));
watch_fails('no watch', 'new: No space', fault('inotify_add_watch:error=ENOSPC'));
watch_fails('no event', 'inotify: Input/output error',
	fault('read:error=EIO', '-P', 'anon_inode:inotify'));
my $usual = $PROGRAM;
$PROGRAM = "$ENV{PWD}/build/poll/protocol-hook";
my %unread = fault('getdents64:error=EIO', '-P', "$spool/new");
watch_fails('listing new/ fails', 'new: Input/output error',
	under => ['timeout', 10, @{ $unread{under} }]);
$PROGRAM = $usual;
$spool = "$spool/" . 'x' x 200;
watch_fails('no memory', 'memory: Cannot allocate', shimmed('SHIM_ALLOC=1+'));
$spool =~ s{/x+$}{};

sub watching {
	my (@under) = @_;
	my $pid = fork // die $!;
	return $pid if $pid;
	open STDOUT, '>', "$dir/watched" or die $!;
	open STDERR, '>', "$dir/err" or die $!;
	%ENV = (PATH => $ENV{PATH}, %in);
	exec @under, $PROGRAM, 'watch' or POSIX::_exit(127);
}
sub seen {
	my ($pattern) = @_;
	return wait_for(sub { deliver($spool, event());
		slurp("$dir/watched") =~ $pattern });
}
my $pid = watching('strace', '-D', '-qq', '-o', '/dev/null', '-P', "$spool/new",
	'-e', 'inject=newfstatat:error=ENOENT');
ok(seen(qr/ taken$/m), 'watch: what a reader has already taken');
kill 'TERM', $pid;
waitpid $pid, 0;
SKIP: {
	my $most = slurp('/proc/sys/fs/inotify/max_queued_events');
	skip 'a long queue', 2 if $most > 50000;
	$pid = watching();
	ok(seen(qr/ bytes$/m), 'watch: ready');
	kill 'STOP', $pid;
	wait_for(sub { slurp("/proc/$pid/stat") =~ /\) T / });
	for (0 .. $most + 100) {
		open $fh, '>', "$spool/new/$_" or die $!;
	}
	kill 'CONT', $pid;
	ok(wait_for(sub { slurp("$dir/err") =~ /too many at once/ }),
		'watch: more than the kernel keeps are told');
	kill 'TERM', $pid;
	waitpid $pid, 0;
}

done_testing();
