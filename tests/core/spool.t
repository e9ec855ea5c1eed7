#!/usr/bin/perl
# The spool beside other processes, operators and clocks: who holds whom up,
# what is taken for a spool, and what expires.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256 sha256_hex);
use Fcntl qw(F_SETLK F_WRLCK SEEK_SET);
use POSIX qw(mkfifo);
use Hook;

my $LATER = 'build/later/protocol-hook';
my ($got, $worker, $body);

sub day { my @t = gmtime(time - 86400 * shift);
	return sprintf '%04d-%02d-%02d', $t[5] + 1900, $t[4] + 1, $t[3] }

sub log_of { my ($worker) = @_; return slurp($worker->{log}) }

sub write_file {
	my ($path, $bytes) = @_;
	open my $file, '>', $path or die "$path: $!";
	print {$file} $bytes;
	close $file or die $!;
	return;
}

# The record lock of a process that is storing BODY, which stands still.
sub lock_body {
	my ($spool, $body) = @_;
	open my $lock, '>>', "$spool/lock" or die $!;
	my $start = unpack('Q>', sha256($body)) & ((1 << 62) - 1);
	fcntl $lock, F_SETLK, pack('s s x4 q q i x4', F_WRLCK, SEEK_SET, $start,
		1, 0) or die $!;
	return $lock;
}

sub archive {
	my ($spool, $day, $body) = @_;
	mkdir "$spool/archive/$day";
	write_file("$spool/archive/$day/" . sha256_hex($body), $body);
	return;
}

# A request whose body another process is storing, after the worker has looked.
sub send_busy {
	my ($worker, $body) = @_;
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, fcgi_request($body));
	is((post($worker, event()) // {})->{status}, 200,
		'another delivery is stored meanwhile') for 1 .. 2;
	return $socket;
}

subtest 'a repeat that another process holds delays nobody else' => sub {
	my $spool = new_spool();
	$worker = worker(spool => $spool);
	is(post($worker, event())->{status}, 200, 'it serves');
	$body = event();
	my $lock = lock_body($spool, $body);
	my $start = time;
	my @busy = map { send_busy($worker, $body) } 1 .. 3;
	cmp_ok(time - $start, '<=', 3, 'without waiting');
	archive($spool, day(0), $body);
	close $lock;
	is((fcgi_recv($_) // {})->{json}{status}, 'duplicate',
		'it is a duplicate when the other process has stored it')
		for @busy;
	is(cgi(spool => $spool, body => $body)->{json}{status}, 'duplicate',
		'and those that waited hold nobody up');

	$body = event();
	$lock = lock_body($spool, $body);
	my $socket = send_busy($worker, $body);
	close $lock;
	$got = fcgi_recv($socket) // {};
	is($got->{status}, 503, 'and 503 if that one failed');
	ok(wait_for(sub { log_of($worker) =~
		/reason="another process failed to store the same/ }),
		'which the log says');
	is(post($worker, $body)->{json}{status}, 'stored', 'a retry is stored');

	$body = '"signed, but not an event"';
	$lock = lock_body($spool, $body);
	$socket = send_busy($worker, $body);
	write_file("$spool/rejected/" . sha256_hex($body), $body);
	close $lock;
	is((fcgi_recv($socket) // {})->{status}, 422, 'what is no event, too');

	$lock = lock_body($spool, $body = event());
	my @more = map { fcgi_connect($worker) } 1 .. 70;
	fcgi_send($_, fcgi_request($body)) for @more;
	my $refused;
	ok(wait_for(sub { $refused = () = log_of($worker) =~
		/result=unavailable.* reason="lock: /g; $refused >= 6 }, 8),
		'more than 64 of them: the others get 503 at once');
	$socket = send_busy($worker, event());
	$start = time;
	kill 'TERM', $worker->{pid};
	is((grep { ($_ // {})->{status} eq '503' } map { fcgi_recv($_) } @more),
		70, 'SIGTERM answers those that wait');
	cmp_ok(time - $start, '<=', 4, 'before their time is over');
	is(reap($worker), 0, 'and ends the process');
};

subtest 'a repeat is one though room is short' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => $body = event());
	my @short = (env => { PROTOCOL_HOOK_MIN_FREE => '1000000G' });
	is(cgi(spool => $spool, body => event(), @short)->{status}, 503,
		'there is no room');
	is(cgi(spool => $spool, body => $body, @short)->{json}{status},
		'duplicate', 'and none is needed');
};

subtest 'room that is there again is seen' => sub {
	plan skip_all => no_strace() if no_strace();
	$worker = worker(spool => new_spool(), under =>
		fault('fstatfs:error=EIO:when=2'));
	is(post($worker, event())->{status}, 503, 'how much is not known');
	is(post($worker, event())->{status}, 200, 'it is again');
	reap($worker);
};

subtest 'the lock itself fails while a request waits for it' => sub {
	plan skip_all => no_strace() if no_strace();
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	$worker = worker(spool => $spool, under =>
		fault('fcntl:error=ENOLCK:when=3+', '-P', "$spool/lock"));
	my $lock = lock_body($spool, $body = event());
	my $start = time;
	is((post($worker, $body) // {})->{status}, 503, 'refused with 503');
	cmp_ok(time - $start, '<', 5, 'at once');
	reap($worker);
	like(log_of($worker), qr/reason="lock: No locks available"/, 'says why');
};

subtest 'the other process stands still for too long' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	$worker = worker(spool => $spool, under => [qw(prlimit --nofile=40)]);
	my $lock = lock_body($spool, $body = event());
	my $start = time;
	my $socket = send_busy($worker, $body);
	# It is older than the 5 seconds after which a silent one gives way.
	ok(!IO::Select->new($socket)->can_read(6), 'it waits');
	my @silent = map { fcgi_connect($worker) } 1 .. 20;
	is((post($worker, event()) // {})->{status}, 200, 'there is no slot left');
	close $_ for @silent;
	$got = fcgi_recv($socket) // {};
	is($got->{status}, 503, 'it gets 503');
	cmp_ok(time - $start, '>=', 9, 'after 10 seconds');
	is_deeply([grep { $_ eq $body } content($spool, 'new')], [],
		'nothing is stored');
	reap($worker);
};

subtest 'a repeat around midnight' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	$worker = worker(spool => $spool);
	post($worker, event());
	my $lock = lock_body($spool, $body = event());
	my $run = cgi(spool => $spool, body => $body, start => 1);
	my $socket = send_busy($worker, $body);
	# The first delivery of the day before took until after midnight.
	archive($spool, day(1), $body);
	close $lock;
	is((fcgi_recv($socket) // {})->{json}{status}, 'duplicate',
		'yesterday is searched though it was not there');
	is(Hook::cgi_done($run->{pid}, $run->{dir})->{json}{status}, 'duplicate',
		'by CGI, too');
	reap($worker);
};

subtest 'a clock that jumps ahead expires nothing' => sub {
	plan skip_all => "there is no $LATER: make check" if !-x $LATER;
	local $Hook::PROGRAM = $LATER;
	my $spool = new_spool();
	my @bodies = map { event() } 1 .. 5;
	for (0 .. $#bodies) {
		mkdir $_ for $spool, "$spool/archive";
		archive($spool, day($_), $bodies[$_]);
	}
	my $jump = sub { (env => { LATER => $_[0] * 86400 }) };
	for my $days (30, 3000) {
		cgi(spool => $spool, body => event(), $jump->($days)) for 1 .. 3;
		is(cgi(spool => $spool, body => $_)->{json}{status}, 'duplicate',
			"$days days ahead, and back: all are known")
			for @bodies;
		$worker = worker(spool => $spool, $jump->($days));
		is(post($worker, $bodies[4])->{json}{status}, 'duplicate',
			'even while it is ahead');
		post($worker, event()) for 1 .. 3;
		my $said = () = log_of($worker) =~ /result=expiry_held reason=/g;
		is($said, 1, 'the log says so once');
		reap($worker);
		rmdir $_ or system 'rm', '-r', $_
			for "$spool/archive/" . day(-$days);
	}
	cgi(spool => $spool, body => event(), $jump->($_)) for 20, 21;
	cgi(spool => $spool, body => event(), $jump->(21)) for 1 .. 3;
	is_deeply([files($spool, 'archive')], [day(-20), day(-21)],
		'on the second day it is believed');
	my $check = qx(PROTOCOL_HOOK_SPOOL=$spool LATER=@{[60 * 86400]} $LATER check);
	like($check, qr{^note +archive/ +nothing was archived after \d{4}-}m,
		'check says so, too');
};

subtest 'what cannot be removed stops no other day' => sub {
	for my $how ('CGI', 'FastCGI') {
		my $spool = new_spool();
		mkdir "$spool/$_" for 'archive', 'archive/' . day(1),
			'archive/2020-01-01',
			map { "archive/2020-01-01/stays-$_" } 1 .. 30;
		archive($spool, '2020-01-02', event()) for 1 .. 100;
		archive($spool, '2020-01-03', event()) for 1 .. 3;
		$worker = worker(spool => $spool) if $how eq 'FastCGI';
		$how eq 'CGI' ? cgi(spool => $spool, body => event()) :
			post($worker, event()) for 1 .. 20;
		is_deeply([files($spool, 'archive')], ['2020-01-01', day(1),
			day(0)], "$how: the days after it are gone");
		reap($worker) if $how eq 'FastCGI';
	}
};

# What runs the program so that calls fail, are late, or its last.
sub fault {
	my ($inject, @options) = @_;
	return ['strace', '-D', '-qq', '-o', '/dev/null', @options,
		map { ('-e', "inject=$_") } split ' ', $inject];
}

sub ready { return post($_[0], '', params => { REQUEST_METHOD => 'GET' }) // {} }

subtest 'nobody else takes a body before it is safe' => sub {
	plan skip_all => no_strace() if no_strace();
	for my $call ('fdatasync', 'fsync', 'renameat') {
		my $spool = new_spool();
		cgi(spool => $spool, body => my $old = event());
		$worker = worker(spool => $spool,
			under => fault("$call:delay_enter=500000"));
		ready($worker);
		# One is a repeat, which holds nothing until the commit.
		my @sockets = send_group($worker, $body = event(), $old);
		my $path = "$spool/archive/" . day(0) . '/.' . sha256_hex($body);
		ok(wait_for(sub { -e $path }), "a slow $call: it is written");
		is(cgi(spool => $spool, body => $body)->{json}{status},
			'duplicate', 'another process waits until it is stored');
		is(join(' ', map { (fcgi_recv($_) // {})->{json}{status} }
			@sockets), 'stored duplicate', 'by the first');
		is(scalar files($spool), 2, 'once');
		reap($worker);
	}
};

subtest 'what a process has stored is free for others' => sub {
	my $spool = new_spool();
	$worker = worker(spool => $spool);
	is(post($worker, $body = event())->{json}{status}, 'stored', 'stored');
	unlink glob "$spool/archive/*/*";
	is(cgi(spool => $spool, body => $body)->{json}{status}, 'stored',
		'another process need not wait for the first to end');
	reap($worker);
};

subtest 'what fails takes back what is its own, and in its order' => sub {
	plan skip_all => no_strace() if no_strace();
	my $spool = new_spool();
	$body = '"signed, but not an event"';
	is(cgi(spool => $spool, body => $body)->{status}, 422, 'kept');
	is(cgi(spool => $spool, body => $body,
		under => fault('fsync:error=EIO'))->{status}, 503,
		'the same once more, and the flush fails');
	is_deeply([content($spool, 'rejected')], [$body],
		'the older file is still in rejected/');
	for my $n (1, 2) {
		cgi(spool => $spool, body => $body = event(), under =>
			fault("fsync:error=EIO unlinkat:signal=KILL:when=$n"));
		is(cgi(spool => $spool, body => $body)->{status}, 200,
			"killed at step $n of taking back: a retry is taken");
		is((grep { $_ eq $body } content($spool, 'new')), 1, 'there is one file');
	}
	$spool = new_spool();
	is(cgi(spool => $spool, body => $body,
		under => fault('renameat:error=EIO'))->{status}, 503,
		'the last step fails');
	my @names = files($spool);
	is(scalar @names, 1, 'a reader may have it already: it stays');
	is(cgi(spool => $spool, body => $body)->{json}{status}, 'duplicate',
		'a retry finds it');
	is_deeply([files($spool)], \@names, 'where it was');
};

subtest 'a signal while the body is written' => sub {
	plan skip_all => no_strace() if no_strace();
	my $spool = new_spool();
	is(cgi(spool => $spool, body => $body = event(),
		under => fault('write:error=EINTR:when=1'))->{status}, 200, 'stored');
	is_deeply([content($spool, 'new')], [$body], 'all of it');
};

subtest 'new/ and rejected/ are flushed each for its own' => sub {
	plan skip_all => no_strace() if no_strace();
	for (['new', '503 422'], ['rejected', '200 503']) {
		my ($sub, $want) = @$_;
		my $spool = new_spool();
		cgi(spool => $spool, body => event());
		$worker = worker(spool => $spool,
			under => fault('fsync:error=EIO', '-P', "$spool/$sub"));
		ready($worker);
		is(join(' ', map { (fcgi_recv($_) // {})->{status} }
			send_group($worker, event(), '"no event"')), $want,
			"$sub/ can't be flushed");
		reap($worker);
	}
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	my $trace = scratch() . '/trace';
	$worker = worker(spool => $spool, under => [
		@{ fault('fsync:error=EIO:when=1', '-e', 'trace=fsync') },
		'-o', $trace]);
	ready($worker);
	is(join(' ', map { (fcgi_recv($_) // {})->{status} }
		send_group($worker, event(), '"no event"')), '503 422',
		'the first fails');
	reap($worker);
	like(slurp($trace), qr/ EIO .*\nfsync\(\d+\) += 0$/m,
		'and the second is flushed all the same');
};

subtest 'what is refused and undone leaves nothing open' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	my @few = qw(prlimit --nofile=40);
	$worker = worker(spool => $spool, under => \@few);
	is((grep { ready($worker)->{status} } 1 .. 60), 60,
		'GET, more often than there are descriptors');
	is((post($worker, event()) // {})->{status}, 200, 'a delivery is stored');
	reap($worker);
	SKIP: {
		skip no_strace(), 4 if no_strace();
		my $path = "$spool/archive/" . day(0) . '/.'
			. sha256_hex($body = event());
		$worker = worker(spool => $spool, under => [@few,
			@{ fault('write:error=ENOSPC', '-P', $path) }]);
		is((grep { ((post($worker, $body) // {})->{status} // 0) == 503 }
			1 .. 60), 60, 'a full disk');
		is((post($worker, event()) // {})->{status}, 200,
			'another delivery is stored');
		reap($worker);
		my $trace = scratch() . '/trace';
		is(cgi(spool => $spool, body => event(), under => [
			@{ fault('linkat:error=EIO', '-e', 'trace=close,linkat') },
			'-o', $trace])->{status}, 503, 'no link');
		unlike(slurp($trace), qr/^close.*EBADF/m, 'nothing is closed twice');
	}
};

subtest 'the list of days is no older than the archive' => sub {
	my $spool = new_spool();
	$worker = worker(spool => $spool);
	for my $ago (2 .. 6) {
		post($worker, event()) for 1 .. 3;
		archive($spool, day($ago), $body = event());
		is(post($worker, $body)->{json}{status}, 'duplicate',
			'a day that was made in the second of the look');
	}
	reap($worker);

	# It has looked once, when chmod makes it close the spool.
	mkdir +($spool = new_spool()) . '/archive';
	archive($spool, day(1), event());
	$worker = worker(spool => $spool);
	ok(wait_for(sub { -e "$spool/lock" }), 'it has started');
	chmod 0752, "$spool/new" or die $!;
	is(post($worker, event())->{status}, 500, 'others may write to new/');
	archive($spool, day(3), $body = event());
	chmod 0750, "$spool/new" or die $!;
	is(post($worker, $body)->{json}{status}, 'duplicate',
		'what came while the spool was closed is known');
	reap($worker);

	SKIP: {
		skip no_strace(), 3 if no_strace();
		cgi(spool => $spool = new_spool());
		archive($spool, day(2), $body = event());
		utime time - 60, time - 60, "$spool/archive";
		$worker = worker(spool => $spool, under =>
			fault('getdents64:error=EIO:when=5', '-P', "$spool/archive"));
		is(post($worker, $body)->{status}, 500, "it can't be listed");
		is(post($worker, $body)->{json}{status}, 'duplicate',
			'what was not listed is not taken for a list');
		is(scalar files($spool), 0, 'nothing is stored twice');
		reap($worker);
	}
};

subtest 'how long the archive is kept' => sub {
	my $spool = new_spool();
	mkdir "$spool/archive";
	my %body = map { $_ => event() } 1, 8, 9;
	archive($spool, day($_), $body{$_}) for keys %body;
	$worker = worker(spool => $spool);
	is(post($worker, $body{8})->{json}{status}, 'duplicate',
		'7 days before the last day');
	is(post($worker, $body{9})->{json}{status}, 'stored', 'not 8');
	reap($worker);
	is_deeply([files($spool, 'archive')], [map { day($_) } 8, 1, 0],
		'which goes');
	for my $ago (8, 9) {
		$spool = new_spool();
		mkdir "$spool/archive";
		archive($spool, day($ago), event());
		$worker = worker(spool => $spool);
		post($worker, event());
		reap($worker);
		my $said = () = log_of($worker) =~ /result=expiry_held/g;
		is($said, $ago > 8 ? 1 : 0, "the last delivery is $ago days old: the "
			. 'clock is ' . ($ago > 8 ? '' : 'not ') . 'in doubt');
	}
};

subtest 'what cannot be removed is not tried without end' => sub {
	plan skip_all => no_strace() if no_strace();
	my $spool = new_spool();
	mkdir "$spool/$_" for 'archive', 'archive/' . day(1),
		'archive/2020-01-01',
		map { "archive/2020-01-01/stays-$_" } 1 .. 200;
	my $trace = scratch() . '/trace';
	cgi(spool => $spool, body => event(), under => ['strace', '-o', $trace,
		'-e', 'trace=unlinkat']);
	my $tries = () = slurp($trace) =~ /"stays-/g;
	cmp_ok($tries, '>', 0, 'it is tried');
	cmp_ok($tries, '<=', 64, 'for 64 files of 200');
};

subtest 'what could not be removed is tried again' => sub {
	my $spool = new_spool();
	mkdir "$spool/$_" for 'archive', 'archive/' . day(1),
		'archive/2020-01-01', 'archive/2020-01-01/stays';
	$worker = worker(spool => $spool);
	post($worker, event()) for 1 .. 2;
	ok(-e "$spool/archive/2020-01-01", 'it stays');
	rmdir "$spool/archive/2020-01-01/stays" or die $!;
	mkdir "$spool/archive/" . day(2) or die $!;
	post($worker, event()) for 1 .. 2;
	reap($worker);
	ok(!-e "$spool/archive/2020-01-01",
		'until it can be removed, by the same process');
};

subtest 'a day that is older than the one that is emptied' => sub {
	my $spool = new_spool();
	mkdir "$spool/$_" for 'archive', 'archive/' . day(1);
	archive($spool, '2020-01-02', event()) for 1 .. 150;
	$worker = worker(spool => $spool);
	post($worker, event());
	archive($spool, '2020-01-01', event()) for 1 .. 5;
	post($worker, event());
	reap($worker);
	is_deeply([files($spool, 'archive')], ['2020-01-02', day(1), day(0)],
		'goes first');
};

subtest 'a large expired day is read once' => sub {
	plan skip_all => no_strace() if no_strace();
	my $spool = new_spool();
	mkdir "$spool/$_" for 'archive', 'archive/' . day(1);
	archive($spool, '2020-01-01', event()) for 1 .. 150;
	my $trace = scratch() . '/trace';
	$worker = worker(spool => $spool, under => ['strace', '-D', '-o', $trace,
		'-e', 'trace=openat']);
	post($worker, event()) for 1 .. 20;
	reap($worker);
	my $opened = () = slurp($trace) =~ /"2020-01-01"/g;
	is($opened, 1, 'by one process');
	ok(!-e "$spool/archive/2020-01-01", 'and is gone');
};

subtest 'what is not a spool stays as it is' => sub {
	for my $how ('CGI', 'FastCGI') {
		for my $name ('passwd', '.profile') {
			my $dir = new_spool();
			write_file("$dir/$name", 'x');
			$worker = worker(spool => $dir) if $how eq 'FastCGI';
			$got = $how eq 'CGI' ? cgi(spool => $dir, body => event()) :
				post($worker, event());
			reap($worker) if $how eq 'FastCGI';
			is($got->{status}, 500, "$how: 500 in a directory with $name");
			like($how eq 'CGI' ? $got->{log} : log_of($worker),
				qr/reason="the directory has other things in it, and is not a spool/,
				'the reason');
			opendir my $d, $dir or die $!;
			is_deeply([sort grep { !/^\.\.?$/ } readdir $d], [$name],
				'nothing was made in it');
		}
	}
	my $fifo = new_spool();
	mkfifo("$fifo/lock", 0600) or die $!;
	is(cgi(spool => $fifo, body => event())->{status}, 500,
		'a FIFO in the place of lock');
	SKIP: {
		skip 'needs another user than root', 2 if $> == 0 && !as_other();
		my $shared = new_spool();
		mkdir "$shared/kafka" or die $!;
		my @as = $> == 0 ? (under => [as_other()]) : ();
		is(cgi(spool => $shared, body => event())->{status}, 500,
			'a directory of root with others in it is not taken') if @as;
		chmod 0755, $shared =~ s{/spool$}{}r;
		system 'chown', '54321:54321', $shared if @as;
		is(cgi(spool => $shared, body => event(), @as)->{status}, 200,
			'one of the receiver is: consumers made them');
	}
	my $spool = new_spool();
	mkdir "$spool/lost+found" or die $!;
	is(cgi(spool => $spool, body => event())->{status}, 200,
		'the top of a new file system is taken');
	mkdir "$spool/mine" or die $!;
	rmdir "$spool/rejected" or die $!;
	is(cgi(spool => $spool, body => event())->{status}, 200,
		'a spool may have other things in it');
};

subtest 'modes that change under a running process' => sub {
	my $spool = new_spool();
	$worker = worker(spool => $spool);
	is(post($worker, event())->{status}, 200, 'it serves');
	for my $sub ('', qw(new archive rejected)) {
		my $mode = (stat "$spool/$sub")[2] & 07777;
		chmod $mode | 2, "$spool/$sub" or die $!;
		is(post($worker, event())->{status}, 500,
			"others may write to the spool's $sub: 500");
		chmod $mode, "$spool/$sub" or die $!;
		is(post($worker, event())->{status}, 200, 'and no more: 200');
	}
	reap($worker);
};

subtest 'a directory of the spool is replaced' => sub {
	my $spool = new_spool();
	$worker = worker(spool => $spool);
	for my $sub (qw(new archive rejected)) {
		post($worker, $_) for my @old = (event(), '"no event"');
		rename "$spool/$sub", "$spool/$sub.old" or die $!;
		is(post($worker, $body = event())->{json}{status}, 'stored',
			"$sub/ is another: stored");
		is((grep { $_ eq $body } content($spool, 'new')), 1,
			'where readers look');
		is(post($worker, $old[0])->{json}{status},
			$sub eq 'archive' ? 'stored' : 'duplicate', 'a repeat');
		post($worker, $body = '"no event" ');
		is((grep { $_ eq $body } content($spool, 'rejected')), 1,
			'no event');
	}
	reap($worker);
};

subtest 'a mode that changes while a group is gathered' => sub {
	plan skip_all => no_strace() if no_strace();
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	my $path = day(0) . '/.' . sha256_hex($body = event());
	$worker = worker(spool => $spool, under =>
		fault('openat:delay_exit=500000', '-P', $path));
	ready($worker);
	my @sockets = send_group($worker, $body, event());
	ok(wait_for(sub { -e "$spool/archive/$path" }), 'the first is written');
	chmod 0752, "$spool/new" or die $!;
	is(join(' ', map { (fcgi_recv($_) // {})->{status} } @sockets), '200 200',
		'the group ends as it began');
	is(post($worker, event())->{status}, 500, 'the next sees it');
	reap($worker);
};

subtest 'another spool is put in its place' => sub {
	my $spool = new_spool();
	$worker = worker(spool => $spool);
	is(post($worker, event())->{status}, 200, 'it serves');
	my $confined = log_of($worker) !~ / result=sandbox_off /;
	mkdir "$spool.new", 0750 or die $!;
	rename $spool, "$spool.old" or die $!;
	rename "$spool.new", $spool or die $!;
	$got = post($worker, $body = event()) // {};
	if ($confined) {
		is($got->{status}, 500, 'out of the reach of the sandbox: 500');
		ok(wait_for(sub { waitpid($worker->{pid}, POSIX::WNOHANG()) > 0 }),
			'and the process ends, for a new one');
		is($?, 0, 'with 0');
	} else {
		is($got->{status}, 200, 'not confined: 200');
		is_deeply([content($spool, 'new')], [$body], 'in the new one');
	}
	reap($worker);
};

subtest 'the spool is replaced while a day is emptied' => sub {
	plan skip_all => no_strace() if no_strace();
	my @spools = map { new_spool() } 1, 2;
	for my $i (0, 1) {
		mkdir "$spools[$i]/$_" for 'archive', 'archive/' . day(1);
		archive($spools[$i], '2020-01-01', event()) for 1 .. ($i ? 5 : 100);
	}
	$worker = worker(spool => $spools[0], under =>
		fault('landlock_create_ruleset:error=ENOSYS'));
	post($worker, event());
	rename $spools[0], "$spools[0].old" or die $!;
	rename $spools[1], $spools[0] or die $!;
	is(post($worker, event())->{status}, 200, 'not confined: 200');
	reap($worker);
	ok(!-e "$spools[0]/archive/2020-01-01", 'that of the new spool is gone');
	ok(-e "$spools[0].old/archive/2020-01-01", 'that of the old one is not');
};

subtest 'a way to the spool that is closed for a while' => sub {
	my @as = $> == 0 ? as_other() : ();
	plan skip_all => 'nobody else can run it' if $> == 0 && !@as;
	my $top = scratch();
	my $spool = "$top/way/spool";
	mkdir $_ for "$top/way", $spool;
	system 'chown', '54321:54321', $spool if @as;
	chmod 0755, $top, "$top/way";
	$worker = worker(spool => $spool, under => \@as);
	is(post($worker, event())->{status}, 200, 'it serves');
	chmod 0, "$top/way";
	$got = post($worker, event());
	is($got->{status}, 500, 'closed: 500');
	chmod 0755, "$top/way";
	$got = post($worker, event());
	is(($got // {})->{status}, 200, 'open again: the same process serves');
	is(reap($worker), 0, 'until it is told to stop');
};

subtest 'GET tries what a delivery does' => sub {
	my $spool = new_spool();
	my $ready = sub { cgi(spool => $spool,
		env => { REQUEST_METHOD => 'GET' }, @_) };
	is($ready->()->{status}, 200, 'ready');
	ok(!-e "$spool/lock.tmp" && !files($spool), 'nothing is left in new/');
	is_deeply([<$spool/new/.*try*>, <$spool/archive/*/.*try*>], [],
		'nor anywhere else');
	$worker = worker(spool => $spool);
	write_file("$spool/$_/.try-$worker->{pid}", 'x')
		for 'new', 'archive/' . day(0);
	is(ready($worker)->{status}, 200,
		'ready, whatever a process of the same number has left');
	reap($worker);
	SKIP: {
		skip no_strace(), 3 if no_strace();
		my $got = $ready->(under => ['strace', '-o', '/dev/null', '-e',
			'inject=linkat:error=EPERM']);
		is($got->{status}, 503, 'a file system without hard links: 503');
		like($got->{log}, qr{can't be linked into new/: Operation not permitted},
			'the log says why');
		is_deeply([<$spool/new/.*try*>, <$spool/archive/*/.*try*>], [],
			'nothing is left behind');
	}
	SKIP: {
		my $why = $> == 0 && !as_other() ? 'nobody else can run it' : '';
		skip $why, 2 if $why;
		chmod 0755, $spool =~ s{/spool$}{}r;
		system 'chown', '-R', '54321:54321', $spool if $> == 0;
		chmod 0600, "$spool/rejected";
		is($ready->($> == 0 ? (under => [as_other()]) : ())->{status}, 503,
			'rejected/ can not be entered: not ready');
		chmod 0750, "$spool/rejected";
		chmod 0500, "$spool/archive/" . day(0);
		is($ready->($> == 0 ? (under => [as_other()]) : ())->{status}, 503,
			"today's directory can't be written: not ready");
	}
};

done_testing();
