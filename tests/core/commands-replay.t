#!/usr/bin/perl
# replay: which deliveries it selects, once each, in the order of their arrival,
# and counted only after they were flushed.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256_hex);
use File::Temp ();
use POSIX ();
use Hook;
use Commands;

my @BODIES = map { event(id => "r$_", type => $_ % 2 ? 'message.created'
	: 'contact.updated') } 1 .. 6;
my @WHEN = map { 1767225600 + 3600 * $_ } 1 .. 6;	# 2026-01-01, 01:00 to 06:00
my @ALL = map { "r$_" } 1 .. 6;

sub empty_new {
	my ($spool) = @_;
	unlink map { "$spool/new/$_" } files($spool);
	return;
}
sub archived_path {
	my ($of, $i) = @_;
	return "$of->{archived}/" . sha256_hex($BODIES[$i]);
}
# A spool in which all BODIES have been archived at WHEN, and none waits.
sub spool_of_six {
	my $spool = new_spool();
	deliver($spool, $_) for @BODIES;
	my ($day) = files($spool, 'archive');
	my $of = { spool => $spool, archived => "$spool/archive/$day" };
	utime $WHEN[$_], $WHEN[$_], archived_path($of, $_) or die $! for 0 .. 5;
	empty_new($spool);
	return $of;
}
# Runs replay; returns exit status, output and messages.
sub replay {
	my ($of, @args) = @_;
	return run({ PROTOCOL_HOOK_SPOOL => $of->{spool} }, 'replay', @args);
}

# ARGS select the deliveries WANT, in that order.
sub selects {
	my ($of, $name, $want, @args) = @_;
	empty_new($of->{spool});
	my ($status, $out, $err) = replay($of, '-n', @args);
	is(scalar files($of->{spool}), 0, "$name: -n replays nothing");
	my @shown = $out =~ /^\S+Z \S+ +(r\d) +[0-9a-f]{64}$/mg;
	is("@shown", "@{$want}", "$name: -n lists them");
	($status, $out, $err) = replay($of, @args);
	is($status, @{$want} ? 0 : 1, "$name: exit status");
	is($out, '', "$name: nothing on standard output");
	my $n = @{$want};
	like($err, qr/^replayed $n$/m, "$name: their number");
	my @names = files($of->{spool});
	is(join(' ', map { /\.(r\d)\.json$/ } @names), "@{$want}",
		"$name: in new/, in the order of their arrival");
	my %body = map { /"id":"(r\d)"/ => $_ } @BODIES;
	is_deeply([content($of->{spool}, 'new')], [map { $body{$_} } @{$want}],
		"$name: their bytes");
	return @names;
}

subtest 'selects by day, time, type, id and digest' => sub {
	my $of = spool_of_six();
	my @names = selects($of, 'all', \@ALL, '-a');
	my $today = POSIX::strftime('%Y%m%dT', gmtime);
	like($names[0], qr/^$today/, 'all: their names have the present time');
	for (['a day', \@ALL, '-d', '2026-01-01'],
		['a day without any', [], '-d', '2026-01-02'],
		['since', ['r5', 'r6'], '-s', '2026-01-01T05:00'],
		['before', ['r1', 'r2', 'r3', 'r4'], '-b', '2026-01-01T05:00:00Z'],
		['between', ['r2', 'r3'], '-s', '2026-01-01T02:00:00', '-b',
		'2026-01-01T04:00'],
		['a type', ['r1', 'r3', 'r5'], '-t', 'message.*'],
		['an id', ['r4'], '-i', 'r4'],
		['the beginning of an id', [], '-i', 'r'],
		['digests', ['r2', 'r6'], map { sha256_hex($BODIES[$_]) } 5, 1],
		['a digest in upper case', ['r2'], uc sha256_hex($BODIES[1])],
		['type, time and digests', ['r5'], '-t', 'message.*', '-s',
		'2026-01-01T04:00', sha256_hex($BODIES[4]), sha256_hex($BODIES[2])],
		['a day, and since', ['r5', 'r6'], '-d', '2026-01-01', '-s',
		'2026-01-01T05:00'],
		['a day, and before', ['r1'], '-d', '2026-01-01', '-b',
		'2026-01-01T02:00']) {
		selects($of, @{$_});
	}
};

subtest 'selects by times that are far from now' => sub {
	my $of = spool_of_six();
	selects($of, 'before the year 1000', [], '-b', '1000-01-01');
	selects($of, 'before the end of 9999', \@ALL, '-b', '9999-12-31');
	selects($of, 'since the year 1', \@ALL, '-s', '0001-01-01');
	utime 15_000_000_000, 15_000_000_000, archived_path($of, 0) or die $!;
	selects($of, 'an arrival after 2262', [@ALL[1 .. 5], 'r1'], '-a');
};

subtest 'times that have no year of four digits are no obstacle' => sub {
	plan skip_all => 'no file system that has such times' if !-w '/dev/shm';
	my $spool = File::Temp::tempdir(DIR => '/dev/shm', CLEANUP => 1) . '/spool';
	mkdir $spool, 0750 or die $!;
	deliver($spool, $BODIES[0]);
	empty_new($spool);
	my ($path) = glob "$spool/archive/*/[0-9a-f]*";
	for my $time (1 << 60, -(1 << 60)) {
		utime $time, $time, $path or die $!;
		like((replay({ spool => $spool }, '-n', '-a'))[2],
			qr/^would replay 1$/m, "second $time");
	}
};

subtest 'wrong arguments exit with 2' => sub {
	my $of = spool_of_six();
	for (['-s', '2026-02-30'], ['-d', '2026-13-45'], ['-s', 'x'],
		['-b', '2026-01-01T'], ['-d', '2026-1-1'],
		['-s', '2026-01-01T05:00x'], ['-s', ' 2026-01-01'],
		['-s', '26-01-01'], ['-b', '2026-1-1'], ['abc'], []) {
		is((replay($of, @{$_}))[0], 2, "'@{$_}'");
	}
};

subtest 'arrivals at the same time are in the order of their digests' => sub {
	my $of = spool_of_six();
	my @tied = sort { sha256_hex($BODIES[$a]) cmp sha256_hex($BODIES[$b]) } 2, 3;
	utime $WHEN[3], $WHEN[3], archived_path($of, $_) or die $! for @tied;
	selects($of, 'two', [map { 'r' . ($_ + 1) } @tied],
		map { sha256_hex($BODIES[$_]) } 2, 3);
};

subtest 'what still waits is not replayed again' => sub {
	my $of = spool_of_six();
	replay($of, '-a');
	unlink "$of->{spool}/new/" . (files($of->{spool}))[2];
	my ($status, $out, $err) = replay($of, '-a');
	is($status, 0, 'exit status');
	like($err, qr/^replayed 1, still in new\/ 5$/m,
		'only the one that a reader has taken is replayed');
	is(scalar files($of->{spool}), 6, 'there are six');
	my %digest = map { sha256_hex($_) => 1 } content($of->{spool}, 'new');
	is(scalar keys %digest, 6, 'all are different');
};

subtest 'what is archived on two days is replayed once' => sub {
	my $of = spool_of_six();
	mkdir "$of->{spool}/archive/2026-01-01" or die $!;
	my $digest = sha256_hex($BODIES[0]);
	link "$of->{archived}/$digest",
		"$of->{spool}/archive/2026-01-01/$digest" or die $!;
	selects($of, 'its digest', ['r1'], $digest);
};

subtest 'a duplicate is still recognised after a replay' => sub {
	my $of = spool_of_six();
	replay($of, '-a');
	empty_new($of->{spool});
	is(cgi(spool => $of->{spool}, body => $BODIES[3])->{json}{status},
		'duplicate', 'the answer to the same body');
};

subtest 'deliveries are counted after new/ was flushed' => sub {
	plan skip_all => no_strace() if no_strace();
	my $of = spool_of_six();
	my $trace = do {
		local %ENV = (PATH => $ENV{PATH},
			PROTOCOL_HOOK_SPOOL => $of->{spool});
		my $program = traceable();
		qx(strace -qq -y -e trace=linkat,fsync "$program" replay -a 2>&1);
	};
	my @calls = map { /^(linkat|fsync).* = 0$/ ? $1 : () }
		split /\n/, $trace;
	is("@calls", 'linkat linkat linkat linkat linkat linkat fsync',
		'all links, then a flush') or diag($trace);
	like($trace, qr{^fsync\(\d+<\Q$of->{spool}\E/new>\)}m, 'it is new/');
};

subtest 'what arrives while replay lists is not replayed' => sub {
	plan skip_all => no_strace() if no_strace();
	my $of = spool_of_six();
	my $pid = fork // die $!;
	if (!$pid) {
		open STDERR, '>', "$dir/err" or die $!;
		%ENV = (PATH => $ENV{PATH}, PROTOCOL_HOOK_SPOOL => $of->{spool},
			PROTOCOL_HOOK_MIN_FREE => 0, PROTOCOL_HOOK_SECRET => $KEY);
		exec 'strace', '-D', '-qq', '-o', '/dev/null', '-P',
			"$of->{spool}/new", '-e',
			'inject=getdents64:signal=SIGSTOP:when=1', $PROGRAM,
			'replay', '-a' or POSIX::_exit(127);
	}
	# strace also stops it for a moment at each call; this stop lasts.
	my $stopped = 0;
	wait_for(sub { $stopped = slurp("/proc/$pid/stat") =~ /\) [Tt] /
		? $stopped + 1 : 0; $stopped == 30 });
	my $late = event(id => 'late');
	deliver($of->{spool}, $late);
	ok(wait_for(sub { kill 'CONT', $pid;
		waitpid($pid, POSIX::WNOHANG()) > 0 }), 'it ends');
	is((grep { $_ eq $late } content($of->{spool}, 'new')), 1,
		'it is in new/ once');
};

subtest 'an archived file that is no delivery fails and is named' => sub {
	my $of = spool_of_six();
	spew("$of->{archived}/" . '0' x 64);
	my ($status, $out, $err) = replay($of, '0' x 64);
	is($status, 1, 'not an event: exit status');
	like($err, qr/failed 1/, 'not an event: it is counted as failed');
	like($err, qr{/0{64}: not one JSON object$}m, 'not an event: the reason');
	spew("$dir/event", event());
	symlink "$dir/event", "$of->{archived}/" . '1' x 64 or die $!;
	is((replay($of, '-n', '1' x 64))[1], '', 'a symbolic link is not followed');
	mkdir "$of->{archived}/" . '2' x 64 or die $!;
	($status, $out, $err) = replay($of, '2' x 64);
	is($status, 1, 'a directory: exit status');
	like($err, qr/: Is a directory\n.*failed 1$/s, 'a directory: the message');
};

subtest 'each of more failing files than it may open is named' => sub {
	my $of = spool_of_six();
	mkdir "$of->{archived}/" . $_ x 32 or die $! for 10 .. 39;
	my (undef, undef, $err) = run({ PROTOCOL_HOOK_SPOOL => $of->{spool},
		under => [qw(prlimit --nofile=20)] }, 'replay',
		map { $_ x 32 } 10 .. 39);
	is(scalar(() = $err =~ /: Is a directory$/mg), 30,
		'30 directories, 20 descriptors');
};

subtest 'other files in the archive do not disturb' => sub {
	my $of = spool_of_six();
	mkdir "$of->{spool}/archive/lost+found" or die $!;
	spew("$of->{archived}/notes");
	my ($status, $out, $err) = replay($of, '-a');
	is($status, 0, 'exit status');
	like($err, qr/^replayed 6$/m, 'all deliveries are replayed');
};

subtest 'a spool that cannot be used is named, and nothing is made in it' => sub {
	my $of = spool_of_six();
	is((replay({ spool => "$of->{spool}-none" }, '-a'))[0], 1,
		'a missing spool: exit status');
	my $empty = new_spool();
	my ($status, $out, $err) = replay({ spool => $empty }, '-na');
	is($status, 1, '-n, never used: exit status');
	like($err, qr{^\S+ \Q$empty\E: archive/ .*: No such file},
		'-n, never used: the message');
	is(qx(ls -A $empty), '', '-n, never used: nothing is made');
	chmod 0757, $empty;
	like((replay({ spool => $empty }, '-a'))[2],
		qr/others may write to the spool directory$/m,
		'others may write: the message, without an errno');
	spew("$of->{spool}/archive/2026-01-03");
	like((replay($of, '-a'))[2],
		qr{\Q$of->{spool}\E/archive/2026-01-03: Not a directory},
		'a day that is a file: the message');
};

subtest 'root replays as the spool\'s owner' => sub {
	plan skip_all => 'not root' if $> != 0;
	my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
	my $of = spool_of_six();
	my $spool = $of->{spool};
	chmod 0755, $spool =~ s{/spool$}{}r;
	system 'chown', '-R', "$uid:$gid", $spool;
	chmod 0550, "$spool/new", $spool, "$spool/archive";
	my ($status, $out, $err) = replay($of, '-na');
	is($status, 0, '-n where the owner may not write: exit status');
	is(scalar(() = $out =~ /^/mg), 6, '-n lists all');
	($status, $out, $err) = replay($of, '-a');
	is($status, 1, 'without -n: exit status');
	is(scalar(() = $err =~ /denied/g), 1, 'without -n: one message');
	chmod 0440, $of->{archived};
	like((replay($of, '-na'))[2], qr{\Q$of->{archived}\E: Permission denied},
		'a day that the owner cannot search: the message');
};

subtest 'on a terminal no byte of an event controls it' => sub {
	plan skip_all => 'no terminal' if !terminal();
	my $spool = new_spool();
	deliver($spool, event(id => 'a\u001b[2Jb\u007fé ', type => 'a\u0007'));
	empty_new($spool);
	my (undef, $seen) = on_terminal({ PROTOCOL_HOOK_SPOOL => $spool }, 'replay',
		'-n', '-a');
	like($seen, qr/ a_ +a_\[2Jb____ +/, 'control characters are replaced');
};

subtest 'on a terminal a bar shows the progress' => sub {
	plan skip_all => 'no terminal' if !terminal();
	my $spool = new_spool();
	my %in = (PROTOCOL_HOOK_SPOOL => $spool);
	deliver($spool, event());
	empty_new($spool);
	my ($day) = files($spool, 'archive');
	for (1 .. 1050) {
		my $body = event();
		spew("$spool/archive/$day/" . sha256_hex($body), $body);
	}
	my ($status, $seen) = on_terminal(\%in, 'replay', '-a');
	is($status, 0, 'exit status');
	my @steps = $seen =~ /\r(\[#* *\]) (\d+) of 1051/g;
	cmp_ok(scalar @steps, '>=', 8, 'it grows');
	is((grep { length != 42 } @steps[grep { $_ % 2 == 0 } 0 .. $#steps]), 0,
		'its width stays the same');
	like($seen, qr/\r\[#{40}\] 1051 of 1051\r\nreplayed 1051\r\n\z/,
		'it ends full');
	for ([{ TERM => 'dumb' }, '-n', '-a'], [{ TERM => 'dumb' }, '-a'],
		[{ TERM => undef }, '-a'], [{}, '-n', '-a']) {
		my ($env, @args) = @{$_};
		my ($term) = map { $_ // 'unset' } exists $env->{TERM}
			? $env->{TERM} : 'xterm';
		empty_new($spool);
		(undef, $seen) = on_terminal({ %in, %{$env} }, 'replay', @args);
		unlike($seen, qr/\r\[/, "TERM $term, replay @args: no bar");
	}
};

done_testing();
