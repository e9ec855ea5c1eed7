#!/usr/bin/perl
# The spool: which directories are taken for one, and what happens when its
# operator changes them under a running process.
use strict;
use warnings;
use Test::More;
use POSIX qw(mkfifo);
use Digest::SHA qw(sha256_hex);
use Hook;
use Spool;

subtest 'a directory that is in use for something else is left alone' => sub {
	for my $how ('CGI', 'FastCGI') {
		for my $name ('passwd', '.profile') {
			my $dir = new_spool();
			spew("$dir/$name", 'x');
			my ($status, $log);
			if ($how eq 'CGI') {
				my $got = cgi(spool => $dir, body => event());
				($status, $log) = @{$got}{qw(status log)};
			} else {
				my $worker = worker(spool => $dir);
				$status = post_status($worker, event());
				reap($worker);
				$log = log_of($worker);
			}
			is($status, 500, "$how, $name: 500");
			like($log, qr/reason="the[ ]directory[ ]has[ ]other
				[ ]things[ ]in[ ]it,[ ]and[ ]is[ ]not
				[ ]a[ ]spool/x,
				"$how, $name: the log says why");
			opendir my $d, $dir or die $!;
			is_deeply([sort grep { !/^\.\.?$/ } readdir $d],
				[$name], "$how, $name: nothing was made");
		}
	}
	my $fifo = new_spool();
	mkfifo("$fifo/lock", 0600) or die $!;
	is(cgi(spool => $fifo, body => event())->{status}, 500,
		'lock is a FIFO: 500');
};

subtest 'directories of consumers may be there before the spool' => sub {
	my $spool = new_spool();
	mkdir "$spool/$_" or die $! for qw(new cur tmp);
	is(cgi(spool => $spool, body => event())->{status}, 500,
		'others may not, as those of a Maildir');
	$spool = new_spool();
	mkdir "$spool/$_" or die $! for qw(work failed each kafka);
	is(cgi(spool => $spool, body => event())->{status}, 200,
		'known names');
};

subtest 'a file system and a spool may have other things in them' => sub {
	my $spool = new_spool();
	mkdir "$spool/lost+found" or die $!;
	is(cgi(spool => $spool, body => event())->{status}, 200,
		'the top of a new file system becomes a spool');
	mkdir "$spool/mine" or die $!;
	rmdir "$spool/rejected" or die $!;
	is(cgi(spool => $spool, body => event())->{status}, 200,
		'a spool stays one, with other things in it');
};

subtest 'a changed mode is seen at the next request' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool);
	is(post_status($worker, event()), 200, 'it serves');
	for my $sub ('', qw(new archive rejected)) {
		my $mode = (stat "$spool/$sub")[2] & 07777;
		chmod $mode | 2, "$spool/$sub" or die $!;
		is(post_status($worker, event()), 500,
			"others may write to spool/$sub: 500");
		chmod $mode, "$spool/$sub" or die $!;
		is(post_status($worker, event()), 200,
			'... and no longer: 200');
	}
	reap($worker);
};

subtest 'a replaced directory of the spool is used' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool);
	for my $sub (qw(new archive rejected)) {
		post($worker, $_) for my @old = (event(), '"no event"');
		rename "$spool/$sub", "$spool/$sub.old" or die $!;
		is(post($worker, my $body = event())->{json}{status}, 'stored',
			"$sub/ was replaced: an event is stored");
		is(count_in($spool, 'new', $body), 1, '... in the new one');
		is(post($worker, $old[0])->{json}{status},
			$sub eq 'archive' ? 'stored' : 'duplicate',
			'... an older one');
		post($worker, $body = '"no event" ');
		is(count_in($spool, 'rejected', $body), 1,
			'... what is not an event is in rejected/');
	}
	reap($worker);
};

subtest 'a replaced spool is used, or the process ends' => sub {
	my $spool = new_spool();
	my $worker = worker(spool => $spool);
	is(post_status($worker, event()), 200, 'it serves');
	my $confined = log_of($worker) !~ / result=sandbox_off /;
	mkdir "$spool.new", 0750 or die $!;
	rename $spool, "$spool.old" or die $!;
	rename "$spool.new", $spool or die $!;
	my $got = post($worker, my $body = event()) // {};
	if ($confined) {
		is($got->{status}, 500, 'the sandbox forbids it: 500');
		ok(wait_for(sub {
			waitpid($worker->{pid}, POSIX::WNOHANG()) > 0 }),
			'the process ends, so that a new one is started');
		is($?, 0, 'exit status');
	} else {
		is($got->{status}, 200, 'not confined: 200');
		is_deeply([content($spool, 'new')], [$body],
			'the new spool has it');
	}
	reap($worker);
};

subtest 'a spool that could not be reached is used again' => sub {
	my @as = $> == 0 ? as_other() : ();
	plan skip_all => 'nobody else can run it' if $> == 0 && !@as;
	my $top = scratch();
	my $spool = "$top/way/spool";
	mkdir $_ for "$top/way", $spool;
	system 'chown', '54321:54321', $spool if @as;
	chmod 0755, $top, "$top/way";
	my $worker = worker(spool => $spool, under => \@as);
	is(post_status($worker, event()), 200, 'it serves');
	chmod 0, "$top/way";
	is(post_status($worker, event()), 500, 'cannot be entered: 500');
	chmod 0755, "$top/way";
	is(post_status($worker, event()), 200, 'can be entered again: 200');
	is(reap($worker), 0, 'by the same process');
};

# Runs GET by CGI, as cgi().
sub cgi_get { return cgi(env => { REQUEST_METHOD => 'GET' }, @_) }

# The test files of GET that are left in the spool.
sub test_files {
	my ($spool) = @_;
	return [<$spool/new/.*try*>, <$spool/archive/*/.*try*>];
}

subtest 'GET tries what a delivery needs, and leaves nothing' => sub {
	my $spool = new_spool();
	is(cgi_get(spool => $spool)->{status}, 200, 'ready');
	ok(!-e "$spool/lock.tmp" && !files($spool), 'nothing is left in new/');
	is_deeply(test_files($spool), [], 'nor elsewhere');
	my $worker = worker(spool => $spool);
	spew("$spool/$_/.try-$worker->{pid}", 'x')
		for 'new', 'archive/' . days_ago(0);
	is(get_ready($worker)->{status}, 200,
		'ready, though an earlier process with its number left files');
	reap($worker);
};

subtest 'GET finds a file system without hard links' => sub {
	plan skip_all => no_strace() if no_strace();
	my $spool = new_spool();
	cgi_get(spool => $spool);
	my $got = cgi_get(spool => $spool,
		under => fault('linkat:error=EPERM'));
	is($got->{status}, 503, 'status');
	like($got->{log}, qr{can't[ ]be[ ]linked[ ]into[ ]new/:[ ]
		Operation[ ]not[ ]permitted}x, 'the log says why');
	is_deeply(test_files($spool), [], 'nothing is left');
};

subtest 'GET finds directories that cannot be entered or written' => sub {
	plan skip_all => 'nobody else can run it' if $> == 0 && !as_other();
	my $spool = new_spool();
	my @as = $> == 0 ? (under => [as_other()]) : ();
	cgi_get(spool => $spool);
	chmod 0755, $spool =~ s{/spool$}{}r;
	system 'chown', '-R', '54321:54321', $spool if @as;
	chmod 0600, "$spool/rejected";
	is(cgi_get(spool => $spool, @as)->{status}, 503, 'rejected/');
	chmod 0750, "$spool/rejected";
	chmod 0500, "$spool/archive/" . days_ago(0);
	is(cgi_get(spool => $spool, @as)->{status}, 503,
		'the directory of today in archive/');
};

subtest 'refused requests leave no descriptor open' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	my $worker = worker(spool => $spool,
		under => [qw(prlimit --nofile=40)]);
	is((grep { get_ready($worker)->{status} } 1 .. 60), 60,
		'GET, more often than there are descriptors');
	is(post_status($worker, event()), 200, 'then a delivery is stored');
	reap($worker);
};

subtest 'failed deliveries leave no descriptor open' => sub {
	plan skip_all => no_strace() if no_strace();
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	my $path = "$spool/archive/" . days_ago(0) . '/.'
		. sha256_hex(my $body = event());
	my $worker = worker(spool => $spool, under => [qw(prlimit --nofile=40),
		@{ fault('write:error=ENOSPC', '-P', $path) }]);
	is((grep { post_status($worker, $body) eq '503' } 1 .. 60), 60,
		'a full disk, more often than there are descriptors');
	is(post_status($worker, event()), 200, 'then a delivery is stored');
	reap($worker);
	my $trace = scratch() . '/trace';
	is(cgi(spool => $spool, body => event(), under => fault(
		'linkat:error=EIO', '-e', 'trace=close,linkat', '-o', $trace))
		->{status}, 503, 'a link that fails');
	unlike(slurp($trace), qr/^close.*EBADF/m, '... closes nothing twice');
};

done_testing();
