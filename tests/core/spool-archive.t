#!/usr/bin/perl
# The archive: which days are searched for duplicates, and which expire.
use strict;
use warnings;
use Test::More;
use Hook;
use Spool;

my $SHIFTED = 'build/clock/protocol-hook';

subtest 'the archive keeps 7 days before its last day' => sub {
	my $spool = new_spool();
	my %body = map { $_ => event() } 1, 8, 9;
	archive($spool, days_ago($_), $body{$_}) for keys %body;
	my $worker = worker(spool => $spool);
	is(post($worker, $body{8})->{json}{status}, 'duplicate',
		'7 days before it');
	is(post($worker, $body{9})->{json}{status}, 'stored', '8 days');
	reap($worker);
	is_deeply([files($spool, 'archive')], [map { days_ago($_) } 8, 1, 0],
		'the day before these is removed');
};

subtest 'nothing expires if the last delivery is too old' => sub {
	for my $ago (8, 9) {
		my $spool = new_spool();
		archive($spool, days_ago($ago), event());
		my $worker = worker(spool => $spool);
		post($worker, event());
		reap($worker);
		is(count_logged($worker, qr/result=expiry_held/),
			$ago > 8 ? 1 : 0, "$ago days: the clock is "
			. ($ago > 8 ? '' : 'not ') . 'in doubt');
	}
};

subtest 'a day that another process makes is searched' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool);
	for my $ago (2 .. 6) {
		post($worker, event()) for 1 .. 3;
		archive($spool, days_ago($ago), my $body = event());
		is(post($worker, $body)->{json}{status}, 'duplicate',
			"$ago days ago, made in the second of the last look");
	}
	reap($worker);
};

subtest 'a day that is made while the spool is closed is searched' => sub {
	my $spool = new_spool();
	archive($spool, days_ago(1), event());
	my $worker = worker(spool => $spool);
	ok(wait_for(sub { -e "$spool/lock" }), 'it has looked once');
	chmod 0752, "$spool/new" or die $!;
	is(post_status($worker, event()), 500, 'others may write to new/');
	archive($spool, days_ago(3), my $body = event());
	chmod 0750, "$spool/new" or die $!;
	is(post($worker, $body)->{json}{status}, 'duplicate',
		'the day is known');
	reap($worker);
};

subtest 'an archive that could not be listed is listed again' => sub {
	plan skip_all => no_strace() if no_strace();
	my $spool = new_spool();
	cgi(spool => $spool);
	archive($spool, days_ago(2), my $body = event());
	utime time - 60, time - 60, "$spool/archive";
	my $worker = worker(spool => $spool, under =>
		fault('getdents64:error=EIO:when=5', '-P', "$spool/archive"));
	is(post_status($worker, $body), 500, 'it cannot be listed: 500');
	is(post($worker, $body)->{json}{status}, 'duplicate',
		'then the day is known');
	is(scalar files($spool), 0, 'nothing is stored twice');
	reap($worker);
};

subtest 'a clock that jumps ahead expires nothing' => sub {
	plan skip_all => "there is no $SHIFTED: make check" if !-x $SHIFTED;
	local $Hook::PROGRAM = $SHIFTED;
	my $spool = new_spool();
	my @bodies = map { event() } 1 .. 5;
	archive($spool, days_ago($_), $bodies[$_]) for 0 .. $#bodies;
	my $jump = sub { (env => { CLOCK_SHIFT => $_[0] * 86400 }) };
	for my $days (30, 3000) {
		cgi(spool => $spool, body => event(), $jump->($days))
			for 1 .. 3;
		is(cgi(spool => $spool, body => $_)->{json}{status},
			'duplicate', "$days days ahead, and back: all are known")
			for @bodies;
		my $worker = worker(spool => $spool, $jump->($days));
		is(post($worker, $bodies[4])->{json}{status}, 'duplicate',
			"$days days ahead: the oldest is known");
		post($worker, event()) for 1 .. 3;
		is(count_logged($worker, qr/result=expiry_held reason=/), 1,
			'the log says so once');
		reap($worker);
		rmdir $_ or system 'rm', '-r', $_
			for "$spool/archive/" . days_ago(-$days);
	}
	cgi(spool => $spool, body => event(), $jump->($_)) for 20, 21;
	cgi(spool => $spool, body => event(), $jump->(21)) for 1 .. 3;
	is_deeply([files($spool, 'archive')], [days_ago(-20), days_ago(-21)],
		'after deliveries on two days the clock is believed');
	local $ENV{CLOCK_SHIFT} = 60 * 86400;
	like(scalar qx(PROTOCOL_HOOK_SPOOL=$spool $SHIFTED check),
		qr{^note +archive/ +nothing was archived after \d{4}-}m,
		'check tells that expiry is held');
};

subtest 'a day that cannot be removed does not protect others' => sub {
	for my $how ('CGI', 'FastCGI') {
		my $spool = new_spool();
		mkdir "$spool/$_" for 'archive', 'archive/' . days_ago(1),
			'archive/2020-01-01',
			map { "archive/2020-01-01/stays-$_" } 1 .. 30;
		archive($spool, '2020-01-02', event()) for 1 .. 100;
		archive($spool, '2020-01-03', event()) for 1 .. 3;
		if ($how eq 'CGI') {
			cgi(spool => $spool, body => event()) for 1 .. 20;
		} else {
			my $worker = worker(spool => $spool);
			post($worker, event()) for 1 .. 20;
			reap($worker);
		}
		is_deeply([files($spool, 'archive')],
			['2020-01-01', days_ago(1), days_ago(0)],
			"$how: the days after it are gone");
	}
};

subtest 'one request tries to remove at most 64 files' => sub {
	plan skip_all => no_strace() if no_strace();
	my $spool = new_spool();
	mkdir "$spool/$_" for 'archive', 'archive/' . days_ago(1),
		'archive/2020-01-01',
		map { "archive/2020-01-01/stays-$_" } 1 .. 200;
	my $trace = scratch() . '/trace';
	cgi(spool => $spool, body => event(), under => ['strace', '-o', $trace,
		'-e', 'trace=unlinkat']);
	my $tries = () = slurp($trace) =~ /"stays-/g;
	cmp_ok($tries, '>', 0, 'some are tried');
	cmp_ok($tries, '<=', 64, '... of 200');
};

subtest 'a day that could not be removed is tried again' => sub {
	my $spool = new_spool();
	mkdir "$spool/$_" for 'archive', 'archive/' . days_ago(1),
		'archive/2020-01-01', 'archive/2020-01-01/stays';
	my $worker = worker(spool => $spool);
	post($worker, event()) for 1 .. 2;
	ok(-e "$spool/archive/2020-01-01", 'it stays');
	rmdir "$spool/archive/2020-01-01/stays" or die $!;
	mkdir "$spool/archive/" . days_ago(2) or die $!;
	post($worker, event()) for 1 .. 2;
	reap($worker);
	ok(!-e "$spool/archive/2020-01-01",
		'the same process removes it when it can');
};

subtest 'an older day that appears is emptied first' => sub {
	my $spool = new_spool();
	mkdir "$spool/$_" for 'archive', 'archive/' . days_ago(1);
	archive($spool, '2020-01-02', event()) for 1 .. 150;
	my $worker = worker(spool => $spool);
	post($worker, event());
	archive($spool, '2020-01-01', event()) for 1 .. 5;
	post($worker, event());
	reap($worker);
	is_deeply([files($spool, 'archive')],
		['2020-01-02', days_ago(1), days_ago(0)], 'it is gone');
};

subtest 'a large expired day is read once' => sub {
	plan skip_all => no_strace() if no_strace();
	my $spool = new_spool();
	mkdir "$spool/$_" for 'archive', 'archive/' . days_ago(1);
	archive($spool, '2020-01-01', event()) for 1 .. 150;
	my $trace = scratch() . '/trace';
	my $worker = worker(spool => $spool,
		under => ['strace', '-D', '-o', $trace, '-e', 'trace=openat']);
	post($worker, event()) for 1 .. 20;
	reap($worker);
	my $opened = () = slurp($trace) =~ /"2020-01-01"/g;
	is($opened, 1, 'it is opened once');
	ok(!-e "$spool/archive/2020-01-01", 'it is gone');
};

subtest 'a replaced spool is the one that is tidied' => sub {
	plan skip_all => no_strace() if no_strace();
	my @spools = map { new_spool() } 1, 2;
	for my $i (0, 1) {
		mkdir "$spools[$i]/$_" for 'archive', 'archive/' . days_ago(1);
		archive($spools[$i], '2020-01-01', event())
			for 1 .. ($i ? 5 : 100);
	}
	my $worker = worker(spool => $spools[0], under =>
		fault('landlock_create_ruleset:error=ENOSYS'));
	post($worker, event());
	rename $spools[0], "$spools[0].old" or die $!;
	rename $spools[1], $spools[0] or die $!;
	is(post_status($worker, event()), 200, 'not confined: 200');
	reap($worker);
	ok(!-e "$spools[0]/archive/2020-01-01",
		'the expired day of the new spool is gone');
	ok(-e "$spools[0].old/archive/2020-01-01",
		'that of the old one is not');
};

done_testing();
