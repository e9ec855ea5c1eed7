#!/usr/bin/perl
# What the CGI entry point does with the spool: how long the archive remembers,
# which directories it trusts, and the modes of what it makes.
use strict;
use warnings;
use Test::More;
use Answers;
use Hook;

# The arguments that make a run of the program keep no archive.
my @KEEP_NOTHING = (env => { PROTOCOL_HOOK_KEEP_DAYS => 0 });

subtest 'with KEEP_DAYS=0 nothing is archived or a duplicate' => sub {
	my $spool = new_spool();
	my $body = event();
	is_answer(cgi(spool => $spool, body => $body, @KEEP_NOTHING), 200,
		'stored', "delivery $_") for 1 .. 2;
	is(scalar files($spool), 2, 'each is stored');
	is(scalar(map { files($spool, "archive/$_") } files($spool, 'archive')),
		0, 'nothing is archived');
	mkdir "$spool/archive/" . days_ago(1) or die $!;
	cgi(spool => $spool, body => $body, @KEEP_NOTHING);
	ok(-d "$spool/archive/" . days_ago(1),
		'yesterday stays, for a process killed before midnight');
};

subtest 'a duplicate is recognised for KEEP_DAYS' => sub {
	my $spool = new_spool();
	my $body = event();
	cgi(spool => $spool, body => $body);
	my $last = 0;
	for my $ago (1, 6, 7) {
		rename "$spool/archive/" . days_ago($last),
			"$spool/archive/" . days_ago($ago) or die $!;
		$last = $ago;
		is_answer(cgi(spool => $spool, body => $body), 200,
			'duplicate', "after $ago days");
		rmdir "$spool/archive/" . days_ago(0);
	}
	rename "$spool/archive/" . days_ago(7), "$spool/archive/" . days_ago(9);
	is_answer(cgi(spool => $spool, body => $body), 200, 'duplicate',
		'after 9 days, if only the clock says that they have passed');
	mkdir "$spool/archive/" . days_ago(1);
	is_answer(cgi(spool => $spool, body => $body), 200, 'stored',
		'after 9 days');
};

subtest 'expired days are removed, and nothing else' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	mkdir "$spool/archive/" . days_ago($_) for 1, 9;
	spew("$spool/archive/" . days_ago(9) . "/$_", '') for 1 .. 30;
	cgi(spool => $spool, body => event()) for 1 .. 10;
	is_deeply([files($spool, 'archive')], [days_ago(1), days_ago(0)],
		'an expired day is removed');
	my @kept = ('lost+found', 'abcdefghij', '1764315600', '2026-02-30',
		'0000-00-00', days_ago(-1), days_ago(1));
	mkdir "$spool/archive/$_" for @kept,
		map { days_ago($_) } 9, 10, 11;
	spew("$spool/archive/" . days_ago(12), '');
	mkdir "$spool/archive/" . days_ago(11) . '/deep' or die $!;
	cgi(spool => $spool, body => event()) for 1 .. 4;
	is_deeply([files($spool, 'archive')], [sort { $a cmp $b } @kept,
		map { days_ago($_) } 0, 11, 12], 'other names, a file and a '
		. 'directory that is not empty stay');
	rmdir "$spool/archive/" . days_ago(11) . '/deep' or die $!;
	cgi(spool => $spool, body => event());
	is_deeply([files($spool, 'archive')], [sort { $a cmp $b } @kept,
		map { days_ago($_) } 0, 12],
		'the directory goes when it can be emptied');

	my $worker = worker(spool => $spool);
	mkdir "$spool/archive/" . days_ago(10) or die $!;
	spew("$spool/archive/" . days_ago(10) . "/$_", '') for 1 .. 9;
	post($worker, event()) for 1 .. 4;
	reap($worker);
	is_deeply([files($spool, 'archive')], [sort { $a cmp $b } @kept,
		map { days_ago($_) } 0, 12],
		'FastCGI: the same, past what cannot be removed');
};

subtest 'a spool to which others may write is refused' => sub {
	my $spool = new_spool();
	chmod 0777, $spool;
	is_answer(cgi(spool => $spool, body => event()), 500, 'misconfigured',
		'the spool');
	chmod 0750, $spool;
	cgi(spool => $spool);
	for my $sub (qw(new archive rejected lock)) {
		chmod 0777, "$spool/$sub";
		my $got = cgi(spool => $spool, body => event());
		is_answer($got, 500, 'misconfigured', $sub);
		like($got->{log},
			qr{reason="others may write to $sub/? in the spool"$},
			"$sub: the reason names it, without errno");
		chmod 0750, "$spool/$sub";
	}
};

subtest 'a directory that is a symbolic link is refused' => sub {
	for my $sub (qw(new archive rejected lock)) {
		my $spool = new_spool();
		my $elsewhere = scratch();
		symlink $elsewhere, "$spool/$sub" or die $!;
		is_answer(cgi(spool => $spool, body => event()), 500,
			'misconfigured', $sub);
		is(scalar files($elsewhere, '.'), 0,
			"$sub: nothing was written to where it leads");
	}
};

subtest 'GET sees that new/ is read-only' => sub {
	plan skip_all => 'nobody else can run it' if !as_other();
	my $spool = new_spool();
	cgi(spool => $spool);
	chmod 0755, $spool =~ s{/spool$}{}r;
	system 'chown', '-R', '54321:54321', $spool;
	chmod 0550, "$spool/new";
	my $got = cgi(spool => $spool, env => { REQUEST_METHOD => 'GET' },
		under => [as_other()]);
	is($got->{status}, 503, 'status');
	like($got->{log}, qr/can't be linked into new\/: Permission/,
		'the log says why');
};

subtest 'files and directories have modes that the umask narrows' => sub {
	for ([022, 0640, 0750], [007, 0660, 0770], [077, 0600, 0700],
		[0, 0660, 0770]) {
		my ($umask, $file_mode, $dir_mode) = @$_;
		my $spool = new_spool();
		my $old = umask $umask;
		cgi(spool => $spool, body => event());
		umask $old;
		my ($name) = files($spool);
		is((stat "$spool/new/$name")[2] & 07777, $file_mode,
			sprintf 'umask %03o: file', $umask);
		is((stat "$spool/$_")[2] & 07777, $dir_mode,
			sprintf 'umask %03o: %s', $umask, $_)
			for 'new', 'archive', 'rejected',
			'archive/' . days_ago(0);
	}
};

done_testing();
