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
		/result=unavailable.* reason="lock: /g; $refused >= 6 }),
		'more than 64 of them: the others get 503 at once');
	$socket = send_busy($worker, event());
	kill 'TERM', $worker->{pid};
	is((grep { ($_ // {})->{status} eq '503' } map { fcgi_recv($_) } @more),
		70, 'SIGTERM answers those that wait');
	is(reap($worker), 0, 'and ends the process');
};

subtest 'the other process stands still for too long' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	$worker = worker(spool => $spool);
	my $lock = lock_body($spool, $body = event());
	my $start = time;
	my $socket = send_busy($worker, $body);
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
	SKIP: {
		skip no_strace(), 2 if no_strace();
		my $got = $ready->(under => ['strace', '-o', '/dev/null', '-e',
			'inject=linkat:error=EPERM']);
		is($got->{status}, 503, 'a file system without hard links: 503');
		like($got->{log}, qr{can't be linked into new/: Operation not permitted},
			'the log says why');
	}
	SKIP: {
		my $why = $> == 0 && !as_other() ? 'nobody else can run it' : '';
		skip $why, 1 if $why;
		chmod 0755, $spool =~ s{/spool$}{}r;
		system 'chown', '-R', '54321:54321', $spool if $> == 0;
		chmod 0500, "$spool/archive/" . day(0);
		is($ready->($> == 0 ? (under => [as_other()]) : ())->{status}, 503,
			"today's directory can't be written: not ready");
	}
};

done_testing();
