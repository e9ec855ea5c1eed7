#!/usr/bin/perl
# A single system call or allocation of a command fails: the command says what
# it could not do, its exit status says so, and it shows nothing as done that
# was not done.
use strict;
use warnings;
use POSIX qw(strftime);
use Test::More;
use Digest::SHA qw(sha256_hex);
use Disk qw(can_mount);
use Hook;
use Commands;
use Faults qw(can_trace);

my $can_mount = can_mount();	# it may start this test again
plan skip_all => 'needs strace that may trace' if !can_trace();
my $shim = 'build/shim.so';	# no path for LD_PRELOAD may have a space

# For run(): strace with OPTIONS and a fault, in strace's words.
sub fault {
	my ($inject, @options) = @_;
	return (under => ['strace', '-qq', '-o', '/dev/null', @options, '-e',
		"inject=$inject"]);
}
sub shimmed { return (under => ['env', "LD_PRELOAD=$shim", @_]) }
# A file system in memory is mounted there, which only the command sees.
sub mounted {
	return (under => ['unshare', '-m', 'sh', '-c', "mount -t tmpfs -o mode=750 "
		. "none $_[0] && exec \"\$@\"", 'sh']);
}

sub key_file {
	my $path = scratch() . '/key';
	spew($path, "$KEY\n");
	return ($path, PROTOCOL_HOOK_SECRET => undef,
		PROTOCOL_HOOK_SECRET_FILE => $path);
}
sub empty_new {
	my ($spool) = @_;
	unlink map { "$spool/new/$_" } files($spool);
	return;
}

# The environment for a spool, and the spool.
sub spool_for_check {
	my $spool = new_spool();
	return ($spool, PROTOCOL_HOOK_SPOOL => $spool,
		PROTOCOL_HOOK_SECRET => 'k' x 32);
}
my @receiver = $> == 0 ? ('-u', 'root') : ();

# check prints a line that begins as LINE, a pattern, and its exit status fits.
# Returns its output.
sub check_prints {
	my ($name, $line, %with) = @_;
	my ($status, $out) = run(\%with, 'check', @receiver);
	is($status, $line =~ /FAIL/ ? 1 : 0, "$name: exit status");
	like($out, qr/^$line/m, "$name: the line");
	return $out;
}

# A spool with 40 archived deliveries of different types, which also wait; one
# of their days; the bodies; and the environment for it.  Escapes in the bodies
# make json-c allocate.
sub spool_of_40 {
	my $spool = new_spool();
	my @bodies = map {
		event(type => "t$_") =~ s/"id":"i/"\\u0069d":"\\u0069/r } 1 .. 40;
	is((grep { cgi(spool => $spool, body => $_)->{status} == 200 } @bodies), 40,
		'40 deliveries are stored');
	my ($day) = files($spool, 'archive');
	return { spool => $spool, bodies => \@bodies, day => $day,
		archived => "$spool/archive/$day",
		env => { PROTOCOL_HOOK_SPOOL => $spool } };
}

subtest 'check: a spool that cannot be made: the cure for each error' => sub {
	my ($spool, %in) = spool_for_check();
	for ([EROFS => 'mount it read-write; a systemd unit also needs it in Read'],
		[ENOSPC => 'remove files there'],
		[EDQUOT => "remove files there, or raise the user's quota"],
		[EIO => 'see dmesg'],
		[EMFILE => 'raise the limit of open files (ulimit'],
		[ENFILE => 'raise the limit of open files (sysctl'],
		[ENOMEM => 'free some memory'], [ESTALE => 'mount it again'],
		[EPERM => 'take away what makes it immutable: lsattr'],
		[EACCES => 'a security module forbids it']) {
		my ($errno, $cure) = @{$_};
		check_prints("mkdir gives $errno", "FAIL +spool .*new/.*: \Q$cure",
			%in, fault("mkdirat:error=$errno"));
	}
	check_prints('no fault', 'ok +test delivery ', %in);
};

subtest 'check: a file system without locks, hard links or flushes' => sub {
	my ($spool, %in) = spool_for_check();
	check_prints('no fault', 'ok +test delivery ', %in);
	check_prints('no locks', 'FAIL +test delivery .*lock.*locks and hard links',
		%in, fault('fcntl:error=ENOLCK', '-P', "$spool/lock"));
	for (qw(EMLINK EOPNOTSUPP ENOSYS)) {
		check_prints("no hard links, $_",
			'FAIL +test delivery .*link.*locks and hard links',
			%in, fault("linkat:error=$_"));
	}
	# This is the errno of exFAT and vfat.
	my $out = check_prints('no hard links, EPERM', 'FAIL +test delivery .*link: '
		. '.*permitted: put it where there are hard links', %in,
		fault('linkat:error=EPERM'));
	unlike($out, qr/chmod/, 'no hard links, EPERM: no mode is suggested');
	check_prints('another process holds the lock', 'FAIL +test delivery .*lock: '
		. '.*: another process holds a lock', %in,
		fault('fcntl:error=EAGAIN', '-P', "$spool/lock"));
	check_prints('no flush', 'FAIL +new/ .*flush: Input/output error: see dmesg',
		%in, fault('fsync:error=EIO', '-P', "$spool/new"));
};

subtest 'check: the clock, and a secret file that is missing' => sub {
	my ($spool, %in) = spool_for_check();
	my $out = check_prints('a missing secret file',
		'FAIL +secret file .*dir/key is not there', %in,
		PROTOCOL_HOOK_SECRET => undef,
		PROTOCOL_HOOK_SECRET_FILE => "$spool-dir/key");
	like($out, qr/^note +sandbox +Landlock refuses$/m,
		'a missing directory of the secret file: the sandbox');
	spew("$dir/clock", pack 'q', 1700000000);
	check_prints('a clock that is behind',
		'FAIL +clock +it says 2023-11-14T22:13:20Z, before 2025', %in,
		shimmed("SHIM_CLOCK=$dir/clock"));
};

subtest 'check: a note says that the sandbox is off, and why' => sub {
	my ($spool, %in) = spool_for_check();
	for (['landlock_create_ruleset:error=ENOSYS', 'the kernel has no Landlock'],
		['landlock_create_ruleset:retval=1:when=1', 'Landlock .*allow links'],
		['landlock_create_ruleset:error=EMFILE:when=2', 'no Landlock ruleset'],
		['landlock_add_rule:error=EINVAL', 'Landlock refuses'],
		['landlock_restrict_self:error=E2BIG', 'Landlock refuses'],
		['prctl:error=EPERM:when=1', 'privileges can\'t be dropped'],
		['prctl:error=EPERM:when=2', 'privileges can\'t be dropped'],
		['prctl:error=EINVAL:when=3',
		'the kernel has no seccomp .*Landlock is on'],
		['prlimit64:error=EPERM', 'privileges can\'t be dropped']) {
		my ($fault, $why) = @{$_};
		check_prints($fault, "note +sandbox +$why\$", %in, fault($fault));
	}
	run({ %in, under => ['strace', '-qq', '-o', "$dir/trace", '-e',
		'inject=landlock_create_ruleset:error=ENOSYS', '-e',
		'trace=prctl,landlock_create_ruleset'] }, 'check');
	like(slurp("$dir/trace"), qr/ENOSYS.*\nprctl\(PR_SET_SECCOMP, .* = 0$/m,
		'without Landlock, system calls are filtered all the same');
	# Each version has its own size, and a kernel refuses one that is newer.
	check_prints("Landlock version $_", 'ok +test delivery ', %in,
		fault("landlock_create_ruleset:retval=$_:when=1")) for 2 .. 6;
};

subtest 'check: if root cannot become the user, nothing is checked' => sub {
	plan skip_all => 'not root' if $> != 0;
	my ($spool, %in) = spool_for_check();
	my ($uid) = (getpwnam 'nobody')[2];
	for my $call (qw(setgroups setgid setuid)) {
		my ($status, $out, $err) = run({ %in,
			fault("$call:error=EPERM", '-f') }, 'check', '-u', 'nobody');
		is($status, 1, "$call fails: exit status");
		is($out, '', "$call fails: nothing is printed");
		like($err, qr/acting as uid $uid: /, "$call fails: the message");
	}
	chown 54321, 54321, $spool;
	my ($status, $out, $err) = run({ %in,
		fault('setgroups:error=EPERM', '-f') }, 'check');
	is($status, 1, 'an owner without a name, setgroups fails: exit status');
	like($err, qr/acting as uid 54321: /,
		'an owner without a name, setgroups fails: the message');
};

subtest 'check: mounted file systems' => sub {
	plan skip_all => 'may not mount' if $> != 0 || !$can_mount;
	my ($spool, %in) = spool_for_check();
	check_prints('no fault', 'ok +test delivery ', %in);
	check_prints('the spool is one', 'ok +spool .*a file system of its own$',
		%in, mounted($spool));
	check_prints('a directory in the spool is one',
		'FAIL +spool .*: mount the whole spool', %in,
		mounted("$spool/archive"));
};

subtest 'sign, check: a secret file that cannot be read' => sub {
	my ($path, %file) = key_file();
	my @of = ('-P', $path);
	for my $call ('read', 'newfstatat,fstat') {
		my ($status, undef, $err) = run({ %file,
			fault("$call:error=EIO", @of) }, 'sign');
		is($status, 1, "sign: $call fails: exit status");
		like($err, qr/PROTOCOL_HOOK_SECRET_FILE Input\/output error/,
			"sign: $call fails: the message");
	}
	my ($spool, %in) = spool_for_check();
	check_prints('check: the file cannot be examined',
		'FAIL +secret file .*can\'t be read', %in, %file,
		fault('newfstatat,stat:error=EIO', @of));
};

subtest 'sign: an interrupted read is repeated' => sub {
	my ($path, %file) = key_file();
	is((run({ %file, in => 'x', fault('read:error=EINTR:when=1', '-P', $path) },
		'sign'))[1], sign('x') . "\n", 'of the secret file');
	is((run({ in => 'x', fault('read:error=EINTR:when=1', '-P', "$dir/in") },
		'sign'))[1], sign('x') . "\n", 'of the body');
};

subtest 'status: prints nothing if it cannot count everything' => sub {
	my $of = spool_of_40();
	my @day = ('-P', $of->{archived});
	for (['the free space', 'fstatfs:error=EIO'],
		['the list of a day', 'getdents64:error=EIO', @day],
		['a file of a day', 'newfstatat:error=EIO:when=2', @day]) {
		my ($name, @fault) = @{$_};
		my ($status, $out, $err) = run({ %{ $of->{env} }, fault(@fault) },
			'status', '-j');
		is($status, 1, "$name: exit status");
		is($out, '', "$name: nothing is printed");
		isnt($err, '', "$name: there is a message");
	}
	my ($status, undef, $err) = run({ %{ $of->{env} },
		fault('write:error=ENOSPC:when=1') }, 'status', '-p');
	is($status, 1, 'the first write fails, and the last does not: exit status');
	like($err, qr/standard output/,
		'the first write fails, and the last does not: the message');
};

subtest 'status: what is removed while it counts is not counted' => sub {
	my $of = spool_of_40();
	my @day = ('-P', $of->{archived});
	for (['a file', 'newfstatat:error=ENOENT:when=2', 39],
		['a day', 'getdents64:error=ENOENT', 0]) {
		my ($name, $fault, $n) = @{$_};
		my ($status, $out) = run({ %{ $of->{env} }, fault($fault, @day) },
			'status', '-j');
		like($out, qr/"archived_deliveries":$n,/, $name);
	}
};

subtest 'status: the number of days in its output is bounded' => sub {
	my $of = spool_of_40();
	mkdir "$of->{spool}/archive/" . strftime('%Y-%m-%d', gmtime $_ * 86400)
		or die $! for 1 .. 7300;
	my ($status, $out) = run($of->{env}, 'status', '-j');
	my $days = () = $out =~ /":\{"deliveries":/g;
	is($days, 7300, '7,301 days in the archive');
};

# Runs a command, as another user, with each of its first 40 allocations failing,
# and with that one and all later ones: it exits with 1 and has a message, or
# with 0 and RIGHT is true.  Looking up a user's name also allocates, and libc
# handles that failure: another user than root needs no name.
sub fail_each_allocation {
	my ($name, $of, $right, @args) = @_;
	my $failed = 0;
	my @other = as_other();
	system 'chown', '-R', '54321:54321', $of->{spool} if @other;
	chmod 0755, $of->{spool} =~ s{/spool$}{}r;
	for my $n (1 .. 40) {
		for my $at ($n, "$n+") {
			empty_new($of->{spool}) if $name eq 'replay';
			my %shimmed = shimmed("SHIM_ALLOC=$at");
			unshift @{ $shimmed{under} }, @other;
			my ($status, $out, $err) = run({ %{ $of->{env} }, %shimmed },
				@args);
			$failed++ if $status == 1;
			next if $status == 1 ? $err ne ''
				: $status == 0 && $right->($out);
			fail("allocation $at: $status, $out, $err");
		}
	}
	cmp_ok($failed, '>', 1, 'some allocations made it fail');
	return;
}

subtest 'status: an allocation that fails is never a wrong count' => sub {
	plan skip_all => 'nobody else can run it' if $> == 0 && !as_other();
	fail_each_allocation('status', spool_of_40(), sub {
		$_[0] =~ /"archived_deliveries":40,.*\}\n\z/ }, 'status', '-j');
};

subtest 'replay: an allocation that fails never leaves a delivery out' => sub {
	plan skip_all => 'nobody else can run it' if $> == 0 && !as_other();
	my $of = spool_of_40();
	fail_each_allocation('replay', $of,
		sub { scalar files($of->{spool}) == 40 }, 'replay', '-a');
};

# Runs replay of all under a fault; standard error matches HOW.
sub replay_under_fault {
	my ($of, $name, $how, @fault) = @_;
	empty_new($of->{spool});
	my ($status, $out, $err) = run({ %{ $of->{env} }, fault(@fault) }, 'replay',
		'-a');
	is($status, $how =~ /^\^replayed/ ? 0 : 1, "$name: exit status");
	like($err, qr/$how/, "$name: standard error");
	my ($n) = $err =~ /replayed (\d+)/;
	cmp_ok(scalar files($of->{spool}), '>=', $n // 0,
		"$name: what is said to be replayed is in new/");
	return;
}

subtest 'replay: what failed or was interrupted is not counted as replayed' => sub {
	my $of = spool_of_40();
	my @day = ('-P', $of->{archived});
	for (['SIGINT', '^interrupted: replayed 3$', 'linkat:signal=SIGINT:when=3'],
		['SIGTERM', '^interrupted: replayed 3$',
		'linkat:signal=SIGTERM:when=3'],
		['a link fails', 'error\nreplayed 1, failed 1$',
		'linkat:error=EIO:when=2'],
		['a file has too many links', 'links\nreplayed 39, failed 1$',
		'linkat:error=EMLINK:when=2'],
		['the flush fails', 'be flushed.*\nreplayed 0, failed 40$',
		'fsync:error=EIO'],
		['a day cannot be listed', 'archive/\S+: Input',
		'getdents64:error=EIO', @day],
		['new/ cannot be listed', 'new/: Input', 'getdents64:error=EIO', '-P',
		"$of->{spool}/new"],
		['a day has just been removed', '(?<=replayed )0$',
		'getdents64:error=ENOENT', @day],
		['a file has just been removed', '^replayed 39$',
		'newfstatat:error=ENOENT:when=2', @day]) {
		replay_under_fault($of, @{$_});
	}
};

sub archive_more {
	my ($of, $n) = @_;
	for (1 .. $n) {
		my $body = event();
		spew("$of->{archived}/" . sha256_hex($body), $body);
	}
	return;
}

subtest 'replay: many deliveries, in groups of 256' => sub {
	my $of = spool_of_40();
	archive_more($of, 1050);
	replay_under_fault($of, 'the first of several flushes fails',
		'replayed 0, failed 256$', 'fsync:error=EIO:when=1');
	SKIP: {
		skip 'no terminal', 1 if !terminal();
		empty_new($of->{spool});
		my (undef, $out) = on_terminal({ %{ $of->{env} },
			fault('linkat:signal=SIGINT:when=600') }, 'replay', '-a');
		like($out, qr/\r\[#{22} {18}\] 600 of 1090\r\ninterrupted: (?#
			)replayed 600\r/, 'SIGINT, on a terminal: the last bar');
	}
};

subtest 'replay: what still waits is recognised without inode numbers' => sub {
	my $of = spool_of_40();
	for my $how ('same', 'other') {
		empty_new($of->{spool});
		my %env = (%{ $of->{env} }, shimmed("SHIM_INODE=$how"));
		run(\%env, 'replay', map { sha256_hex($_) } @{ $of->{bodies} }[0 .. 2]);
		for ('37, still in new/ 3', '0, still in new/ 40') {
			my (undef, undef, $err) = run(\%env, 'replay', '-a');
			like($err, qr{^replayed $_$}m, "inode numbers: $how: $_");
		}
	}
};

subtest 'replay: a file in new/ of a delivery\'s size that cannot be read' => sub {
	my $of = spool_of_40();
	for (['ENOENT', '^replayed 40$'], ['EACCES', '^replayed 40$'],
		['EIO', '/new/: Input/output error']) {
		my ($errno, $how) = @{$_};
		empty_new($of->{spool});
		spew("$of->{spool}/new/foreign", $of->{bodies}[0] =~ s/./x/gr);
		my (undef, undef, $err) = run({ %{ $of->{env} },
			fault("openat:error=$errno", '-P', "$of->{spool}/new") },
			'replay', '-a');
		like($err, qr/$how/m, "open gives $errno");
	}
};

subtest 'watch: ends with 1 and says why if it cannot watch' => sub {
	my $spool = new_spool();
	deliver($spool, event());
	my $fails = sub {
		my ($name, $how, %with) = @_;
		my ($status, $out, $err) = run({ PROTOCOL_HOOK_SPOOL => $spool,
			%with }, 'watch');
		is($status, 1, "$name: exit status");
		like($err, qr/$how/, "$name: the message");
	};
	$fails->('no inotify', 'new: Too many open files',
		fault('inotify_init1:error=EMFILE'));
	$fails->('no watch', 'new: No space', fault('inotify_add_watch:error=ENOSPC'));
	$fails->('no event can be read', 'inotify: Input/output error',
		fault('read:error=EIO', '-P', 'anon_inode:inotify'));
	$fails->('no memory', 'memory: Cannot allocate',
		PROTOCOL_HOOK_SPOOL => "$spool/" . 'x' x 200,
		shimmed('SHIM_ALLOC=1+'));
	local $Hook::PROGRAM = "$ENV{PWD}/build/poll/protocol-hook";
	my %unread = fault('getdents64:error=EIO', '-P', "$spool/new");
	$fails->('without inotify, new/ cannot be listed', 'new: Input/output error',
		under => ['timeout', 10, @{ $unread{under} }]);
};

# watch in the background.
sub start_watch {
	my ($spool, @under) = @_;
	my $pid = fork // die $!;
	return $pid if $pid;
	open STDOUT, '>', "$dir/watched" or die $!;
	open STDERR, '>', "$dir/err" or die $!;
	%ENV = (PATH => $ENV{PATH}, PROTOCOL_HOOK_SPOOL => $spool);
	exec @under, $PROGRAM, 'watch' or POSIX::_exit(127);
}
sub end_watch {
	my ($pid) = @_;
	kill 'TERM', $pid;
	waitpid $pid, 0;
	return;
}
# Delivers until watch has printed a line that PATTERN matches.
sub watch_prints {
	my ($spool, $pattern) = @_;
	return wait_for(sub { deliver($spool, event());
		slurp("$dir/watched") =~ $pattern });
}

subtest 'watch: a delivery that a reader has already taken' => sub {
	my $spool = new_spool();
	deliver($spool, event());
	my $pid = start_watch($spool, 'strace', '-D', '-qq', '-o', '/dev/null',
		'-P', "$spool/new", '-e', 'inject=newfstatat:error=ENOENT');
	ok(watch_prints($spool, qr/ taken$/m), 'its line says so');
	end_watch($pid);
};

subtest 'watch: more arrivals than the kernel queues' => sub {
	my $most = slurp('/proc/sys/fs/inotify/max_queued_events');
	plan skip_all => 'the queue is long' if $most > 50000;
	my $spool = new_spool();
	deliver($spool, event());
	my $pid = start_watch($spool);
	ok(watch_prints($spool, qr/ bytes$/m), 'it watches');
	kill 'STOP', $pid;
	wait_for(sub { slurp("/proc/$pid/stat") =~ /\) T / });
	spew("$spool/new/$_", '') for 0 .. $most + 100;
	kill 'CONT', $pid;
	ok(wait_for(sub { slurp("$dir/err") =~ /too many at once/ }),
		'it says that it has missed some');
	end_watch($pid);
};

done_testing();
