#!/usr/bin/perl
# replay: what is chosen, once each, in order, flushed.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256_hex);
use POSIX ();
use Hook;
use Commands;

my ($status, $out, $err, $fh);
my $spool = new_spool();
my %in = (PROTOCOL_HOOK_SPOOL => $spool);
my @bodies = map { event(id => "r$_", type => $_ % 2 ? 'message.created'
	: 'contact.updated') } 1 .. 6;
my @when = map { 1767225600 + 3600 * $_ } 1 .. 6;	# 2026-01-01
deliver($spool, $_) for @bodies;
my ($day) = files($spool, 'archive');
for (0 .. 5) {
	my $path = "$spool/archive/$day/" . sha256_hex($bodies[$_]);
	utime $when[$_], $when[$_], $path or die $!;
}

sub replayed {
	my ($name, $want, @args) = @_;
	unlink map { "$spool/new/$_" } files($spool);
	($status, $out, $err) = run(\%in, 'replay', '-n', @args);
	is(scalar files($spool), 0, "$name: -n does nothing");
	my @shown = $out =~ /^\S+Z \S+ +(r\d) +[0-9a-f]{64}$/mg;
	is("@shown", "@{$want}", "$name: -n shows it");
	($status, $out, $err) = run(\%in, 'replay', @args);
	is($status, @{$want} ? 0 : 1, "$name: exit status");
	is($out, '', "$name: nothing on standard output");
	my $n = @{$want};
	like($err, qr/^replayed $n$/m, "$name: count");
	my @names = files($spool);
	is(join(' ', map { /\.(r\d)\.json$/ } @names), "@{$want}",
		"$name: in new/, in their order");
	my %body = map { /"id":"(r\d)"/ => $_ } @bodies;
	is_deeply([content($spool, 'new')], [map { $body{$_} } @{$want}],
		"$name: their bytes");
	return @names;
}

my @all = map { "r$_" } 1 .. 6;
my @names = replayed('all', \@all, '-a');
my $today = POSIX::strftime('%Y%m%dT', gmtime);
like($names[0], qr/^$today/, 'names of the present');
replayed('a day', \@all, '-d', '2026-01-01');
replayed('another day', [], '-d', '2026-01-02');
replayed('since', ['r5', 'r6'], '-s', '2026-01-01T05:00');
replayed('before', ['r1', 'r2', 'r3', 'r4'], '-b', '2026-01-01T05:00:00Z');
replayed('between', ['r2', 'r3'], '-s', '2026-01-01T02:00:00', '-b',
	'2026-01-01T04:00');
replayed('a type', ['r1', 'r3', 'r5'], '-t', 'message.*');
replayed('an id', ['r4'], '-i', 'r4');
replayed('digests', ['r2', 'r6'], map { sha256_hex($bodies[$_]) } 5, 1);
replayed('all that was said', ['r5'], '-t', 'message.*', '-s',
	'2026-01-01T04:00', sha256_hex($bodies[4]), sha256_hex($bodies[2]));
replayed('digests in upper case', ['r2'], uc sha256_hex($bodies[1]));
replayed('a day, and since', ['r5', 'r6'], '-d', '2026-01-01', '-s',
	'2026-01-01T05:00');
replayed('a day, and before', ['r1'], '-d', '2026-01-01', '-b',
	'2026-01-01T02:00');
replayed('before all days', [], '-b', '1000-01-01');
replayed('before the end of days', \@all, '-b', '9999-12-31');
replayed('since the beginning', \@all, '-s', '0001-01-01');
replayed('none', [], '-i', 'r');
my $far = "$spool/archive/$day/" . sha256_hex($bodies[0]);
utime 15_000_000_000, 15_000_000_000, $far or die $!;
replayed('after 2262', [@all[1 .. 5], 'r1'], '-a');
utime $when[0], $when[0], $far or die $!;
SKIP: {
	skip 'no file system for times without end', 2 if !-w '/dev/shm';
	my $endless = File::Temp::tempdir(DIR => '/dev/shm', CLEANUP => 1)
		. '/spool';
	mkdir $endless, 0750 or die $!;
	deliver($endless, $bodies[0]);
	unlink map { "$endless/new/$_" } files($endless);
	my ($path) = glob "$endless/archive/*/[0-9a-f]*";
	for my $time (1 << 60, -(1 << 60)) {
		utime $time, $time, $path or die $!;
		($status, $out, $err) = run({ PROTOCOL_HOOK_SPOOL => $endless },
			'replay', '-n', '-a');
		like($err, qr/^would replay 1$/m, "a file of second $time");
	}
}
for (['-s', '2026-02-30'], ['-d', '2026-13-45'],
	['-s', 'x'], ['-b', '2026-01-01T'],
	['-d', '2026-1-1'], ['-s', '2026-01-01T05:00x'], ['-s', ' 2026-01-01'],
	['-s', '26-01-01'], ['-b', '2026-1-1'], ['abc'], []) {
	($status, $out, $err) = run(\%in, 'replay', @{$_});
	is($status, 2, "replay @{$_}");
}

# Of the same time, in the order of their digests.
my @tied = sort { sha256_hex($bodies[$a]) cmp sha256_hex($bodies[$b]) } 2, 3;
utime $when[3], $when[3], "$spool/archive/$day/" . sha256_hex($bodies[$_])
	or die $! for @tied;
replayed('two of one time', [map { 'r' . ($_ + 1) } @tied],
	map { sha256_hex($bodies[$_]) } 2, 3);
utime $when[2], $when[2], "$spool/archive/$day/" . sha256_hex($bodies[2])
	or die $!;

# Twice, while the first still waits; and after a reader took one.
unlink map { "$spool/new/$_" } files($spool);
run(\%in, 'replay', '-a');
unlink "$spool/new/" . (files($spool))[2];
($status, $out, $err) = run(\%in, 'replay', '-a');
is($status, 0, 'replay again');
like($err, qr/^replayed 1, still in new\/ 5$/m, 'only what is not there');
is(scalar files($spool), 6, 'six');
my %digest = map { sha256_hex($_) => 1 } content($spool, 'new');
is(scalar keys %digest, 6, 'all different');

# The same bytes in two days of the archive.
mkdir "$spool/archive/2026-01-01" or die $!;
my $twice = sha256_hex($bodies[0]);
link "$spool/archive/$day/$twice", "$spool/archive/2026-01-01/$twice" or die $!;
replayed('what is in two days', ['r1'], $twice);

# The digest stays: a repeat is still one.
unlink map { "$spool/new/$_" } files($spool);
run(\%in, 'replay', '-a');
unlink map { "$spool/new/$_" } files($spool);
my $got = cgi(spool => $spool, body => $bodies[3]);
is($got->{json}{status}, 'duplicate', 'a repeat after a replay is a duplicate');

# It counts what is flushed: after the last link comes a flush of new/.
SKIP: {
	skip no_strace(), 2 if no_strace();
	unlink map { "$spool/new/$_" } files($spool);
	my $trace = do {
		local %ENV = (PATH => $ENV{PATH}, %in);
		my $program = traceable();
		qx(strace -qq -y -e trace=linkat,fsync "$program" replay -a 2>&1);
	};
	my @calls = map { /^(linkat|fsync).* = 0$/ ? $1 : () }
		split /\n/, $trace;
	is("@calls", 'linkat linkat linkat linkat linkat linkat fsync',
		'links, then a flush') or diag($trace);
	like($trace, qr{^fsync\(\d+<\Q$spool\E/new>\)}m, 'of new/');
}

# What arrives while it lists is not replayed.
SKIP: {
	skip no_strace(), 1 if no_strace();
	unlink map { "$spool/new/$_" } files($spool);
	my $pid = fork // die $!;
	if (!$pid) {
		open STDERR, '>', "$dir/err" or die $!;
		%ENV = (PATH => $ENV{PATH}, %in, PROTOCOL_HOOK_MIN_FREE => 0,
			PROTOCOL_HOOK_SECRET => $KEY);
		exec 'strace', '-D', '-qq', '-o', '/dev/null', '-P', "$spool/new",
			'-e', 'inject=getdents64:signal=SIGSTOP:when=1', $PROGRAM,
			'replay', '-a' or POSIX::_exit(127);
	}
	wait_for(sub { slurp("/proc/$pid/stat") =~ /\) [Tt] / });
	my $late = event(id => 'late');
	deliver($spool, $late);
	kill 'CONT', $pid;
	waitpid $pid, 0;
	is((grep { $_ eq $late } content($spool, 'new')), 1,
		'what arrives meanwhile is not replayed');
	unlink "$spool/archive/$_/" . sha256_hex($late)
		for files($spool, 'archive');
}

# What is no delivery, or can't be read, is told.
open $fh, '>', "$spool/archive/$day/" . '0' x 64 or die $!;
close $fh or die $!;
($status, $out, $err) = run(\%in, 'replay', '0' x 64);
is($status, 1, 'replay of what is no event');
like($err, qr/failed 1/, 'says so');
like($err, qr{/0{64}: not one JSON object$}m, 'and why');
unlink "$spool/archive/$day/" . '0' x 64;
open $fh, '>', "$dir/event" or die $!;
print {$fh} event();
close $fh or die $!;
symlink "$dir/event", "$spool/archive/$day/" . '1' x 64 or die $!;
($status, $out, $err) = run(\%in, 'replay', '-n', '1' x 64);
is($out, '', 'no link in the archive is followed');

unlink "$spool/archive/$day/" . '1' x 64;

# What else may lie in the archive.
mkdir "$spool/archive/$day/" . '2' x 64 or die $!;
($status, $out, $err) = run(\%in, 'replay', '2' x 64);
is($status, 1, 'replay of a directory');
like($err, qr/: Is a directory\n.*failed 1$/s, 'says so');
rmdir "$spool/archive/$day/" . '2' x 64;
mkdir "$spool/archive/$day/" . $_ x 32 or die $! for 10 .. 39;
($status, $out, $err) = run({ %in, under => [qw(prlimit --nofile=20)] },
	'replay', map { $_ x 32 } 10 .. 39);
is(scalar(() = $err =~ /: Is a directory$/mg), 30, 'replay of more than it may '
	. 'open: each is told');
rmdir "$spool/archive/$day/" . $_ x 32 for 10 .. 39;
unlink map { "$spool/new/$_" } files($spool);
mkdir "$spool/archive/lost+found" or die $!;
open $fh, '>', "$spool/archive/$day/notes" or die $!;
close $fh or die $!;
($status, $out, $err) = run(\%in, 'replay', '-a');
is($status, 0, 'beside what is none of its own');
like($err, qr/^replayed 6$/m, 'all are replayed');
is((run({ PROTOCOL_HOOK_SPOOL => "$spool-none" }, 'replay', '-a'))[0], 1,
	'no spool');

# -n makes nothing; what can't be used is named.
my $empty = new_spool();
($status, $out, $err) = run({ PROTOCOL_HOOK_SPOOL => $empty }, 'replay', '-na');
is($status, 1, 'replay -n of a spool that was never used');
like($err, qr{^\S+ \Q$empty\E: archive/ .*: No such file}, 'says so');
is(qx(ls -A $empty), '', 'makes nothing');
chmod 0757, $empty;
($status, $out, $err) = run({ PROTOCOL_HOOK_SPOOL => $empty }, 'replay', '-a');
like($err, qr/others may write to the spool directory$/m, 'and no errno');
open $fh, '>', "$spool/archive/2026-01-03" or die $!;
($status, $out, $err) = run(\%in, 'replay', '-a');
like($err, qr{\Q$spool\E/archive/2026-01-03: Not a directory}, 'a day that '
	. 'is none');
SKIP: {
	skip 'not root', 5 if $> != 0;
	my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
	my $home = scratch();
	chmod 0755, $home;
	my %his = (PROTOCOL_HOOK_SPOOL => "$home/spool");
	mkdir "$home/spool", 0750 or die $!;
	deliver("$home/spool", $_) for @bodies;
	system 'chown', '-R', "$uid:$gid", "$home/spool";
	unlink map { "$home/spool/new/$_" } files("$home/spool");
	chmod 0550, "$home/spool/new", "$home/spool", "$home/spool/archive";
	($status, $out) = run(\%his, 'replay', '-na');
	is($status, 0, '-n where nothing may be written');
	is(scalar(() = $out =~ /^/mg), 6, 'shows all');
	($status, $out, $err) = run(\%his, 'replay', '-a');
	is($status, 1, 'but no more than that');
	is(scalar(() = $err =~ /denied/g), 1, 'which is said once');
	($day) = files("$home/spool", 'archive');
	chmod 0440, "$home/spool/archive/$day";
	($status, $out, $err) = run(\%his, 'replay', '-na');
	like($err, qr{/archive/$day: Permission denied}, 'what can not be looked at');
}

# A terminal is for people: nothing steers it, and they see how far it is.
SKIP: {
	skip 'no terminal', 8 if !terminal();
	$spool = new_spool();
	%in = (PROTOCOL_HOOK_SPOOL => $spool);
	deliver($spool, event(id => 'a\u001b[2Jb\u007fé ', type => 'a\u0007'));
	unlink map { "$spool/new/$_" } files($spool);
	my (undef, $seen) = on_terminal(\%in, 'replay', '-n', '-a');
	like($seen, qr/ a_ +a_\[2Jb____ +/, 'no control character');
	($day) = files($spool, 'archive');
	for (1 .. 1050) {
		my $text = event();
		open $fh, '>', "$spool/archive/$day/" . sha256_hex($text)
			or die $!;
		print {$fh} $text;
		close $fh or die $!;
	}
	($status, $seen) = on_terminal(\%in, 'replay', '-a');
	is($status, 0, 'a thousand');
	my @steps = $seen =~ /\r(\[#* *\]) (\d+) of 1051/g;
	cmp_ok(scalar @steps, '>=', 8, 'a bar grows');
	is((grep { length != 42 } @steps[grep { $_ % 2 == 0 } 0 .. $#steps]), 0,
		'and has its place');
	like($seen, qr/\r\[#{40}\] 1051 of 1051\r\nreplayed 1051\r\n\z/,
		'up to its end');
	unlink map { "$spool/new/$_" } files($spool);
	for (['-n', '-a'], ['-a']) {
		(undef, $seen) = on_terminal({ %in, TERM => 'dumb' }, 'replay',
			@{$_});
		unlike($seen, qr/\r\[/, "no bar: replay @{$_}, or TERM=dumb");
	}
	unlink map { "$spool/new/$_" } files($spool);
	(undef, $seen) = on_terminal({ %in, TERM => undef }, 'replay', '-a');
	unlike($seen, qr/\r\[/, 'no bar: no TERM');
	unlink map { "$spool/new/$_" } files($spool);
	(undef, $seen) = on_terminal(\%in, 'replay', '-n', '-a');
	unlike($seen, qr/\r\[/, 'no bar: replay -n');
}

done_testing();
