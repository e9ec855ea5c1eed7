#!/usr/bin/perl
# The commands: what each promises a person, by what it prints and leaves.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use POSIX ();
use Hook;

# What is flushed is not the matter here.
$ENV{TMPDIR} //= '/dev/shm' if -d -w '/dev/shm';

# Runs a command: its exit status, standard output and standard error.  The
# first argument is what the environment has beyond or instead of the usual.
my $dir = scratch();

sub run {
	my ($with, @args) = @_;
	my %env = (PATH => $ENV{PATH}, PROTOCOL_HOOK_SECRET => $KEY,
		PROTOCOL_HOOK_MIN_FREE => 0, %{$with});
	delete $env{$_} for grep { !defined $env{$_} } keys %env;
	my $in = delete $env{in} // '';
	open my $fh, '>:raw', "$dir/in" or die $!;
	print {$fh} $in;
	close $fh or die $!;
	my $pid = fork // die $!;
	if (!$pid) {
		open STDIN, '<', "$dir/in" or die $!;
		open STDOUT, '>', "$dir/out" or die $!;
		open STDERR, '>', "$dir/err" or die $!;
		%ENV = %env;
		exec $PROGRAM, @args or POSIX::_exit(127);
	}
	waitpid $pid, 0;
	die "signal " . ($? & 127) if $? & 127;
	my ($status, $out, $err) = ($? >> 8, slurp("$dir/out"), slurp("$dir/err"));
	unlike($out . $err, qr/\Q$KEY\E/, "@args: no key is shown");
	return ($status, $out, $err);
}

sub deliver {
	my ($spool, $body) = @_;
	my $got = cgi(spool => $spool, body => $body);
	is($got->{status}, 200, 'delivered') or diag($got->{log});
	return;
}

# Usage.
my ($status, $out, $err) = run({}, '--help');
is($status, 0, '--help');
my @lines = split /\n/, $out;
cmp_ok(scalar @lines, '<', 24, 'fits one screen');
is(scalar(grep { length > 80 } @lines), 0, 'and its width');
my @commands = $out =~ /^  (\w+) /mg;
is("@commands", 'check sign verify status replay watch', 'the commands');
for my $command (@commands) {
	($status, $out, $err) = run({}, $command, '-h');
	is($status, 0, "$command -h");
	like($out, qr/\Ausage: protocol-hook $command/, "$command -h: usage");
	($status, $out, $err) = run({}, $command, '-Z');
	is($status, 2, "$command -Z");
	is($out, '', "$command -Z: nothing on standard output");
	like($err, qr/^usage: protocol-hook $command/m, "$command -Z: usage");
}
for ([], ['nothing'], ['statu'], ['status', 'x'], ['verify'],
	['sign', 'a', 'b'], ['status', '-jp']) {
	($status, $out, $err) = run({}, @{$_});
	is($status, 2, "arguments '@{$_}'");
	is($out, '', "arguments '@{$_}': nothing on standard output");
}
($status, $out) = run({}, '-V');
is($status, 0, '-V');
like($out, qr/^protocol-hook \d+\.\d+\.\d+$/, 'version');

# Completion knows what usage knows.
for my $shell (qw(bash zsh)) {
	my $text = qx(sh scripts/completion $shell $PROGRAM);
	is($?, 0, "completion for $shell");
	like($text, qr/\b$_\b/, "$shell: $_") for @commands;
	like($text, qr/-j\b.*-p\b/s, "$shell: flags");
	next if !grep { -x "$_/$shell" } split /:/, $ENV{PATH};
	open my $fh, '|-', $shell, '-n' or die $!;
	print {$fh} $text;
	ok(close $fh, "$shell can read it");
}

# A web server's arguments are nobody's commands.
my $spool = new_spool();
for (['status'], ['check'], ['-h'], ['--version']) {
	my $got = cgi(spool => $spool, body => event(), args => $_);
	is($got->{json}{status}, 'stored', "@{$_} from a web server");
}

# sign, verify
for my $body ('', $EXAMPLE, join('', map { chr } 0 .. 255), 'x' x 100000) {
	($status, $out) = run({ in => $body }, 'sign');
	is($status, 0, 'sign');
	is($out, sign($body) . "\n", 'the signature, as openssl makes it')
}
open my $fh, '>', "$dir/event" or die $!;
print {$fh} $EXAMPLE;
close $fh or die $!;
($status, $out) = run({}, 'sign', "$dir/event");
is($out, sign($EXAMPLE) . "\n", 'sign FILE');
my %two = (PROTOCOL_HOOK_SECRET => 'the-new-one-0123456789',
	PROTOCOL_HOOK_SECRET_PREVIOUS => $KEY);
($status, $out) = run(\%two, 'sign', "$dir/event");
is($out, sign($EXAMPLE, 'the-new-one-0123456789') . "\n",
	'sign: with the current key');
is((run(\%two, 'verify', sign($EXAMPLE), "$dir/event"))[0], 0,
	'verify: the key before it');
is((run({}, 'verify', sign($EXAMPLE), "$dir/event"))[0], 0, 'verify FILE');
is((run({}, 'verify', uc sign($EXAMPLE), "$dir/event"))[0], 0, 'verify: case');
is((run({ in => $EXAMPLE }, 'verify', sign($EXAMPLE)))[0], 0, 'verify stdin');
for ([sign("$EXAMPLE "), 'of other bytes'], [sign($EXAMPLE, 'other'), 'other key'],
	['', 'empty'], [substr(sign($EXAMPLE), 1), 'short'],
	[sign($EXAMPLE) . '0', 'long'], [' ' . sign($EXAMPLE), 'space']) {
	($status, $out, $err) = run({}, 'verify', $_->[0], "$dir/event");
	is($status, 1, "verify: $_->[1]");
	isnt($err, '', "verify: $_->[1]: a message");
}
for my $command (['sign'], ['verify', sign('')]) {
	($status, $out, $err) = run({ PROTOCOL_HOOK_SECRET => undef },
		@{$command});
	is($status, 1, "$command->[0] without a key");
	like($err, qr/PROTOCOL_HOOK_SECRET is not set/, 'says so');
	($status, $out, $err) = run({}, @{$command}, "$dir/none");
	is($status, 1, "$command->[0] of no file");
	like($err, qr/none: No such file/, 'says so');
}

# status
$spool = new_spool();
my %in = (PROTOCOL_HOOK_SPOOL => $spool);
($status, $out, $err) = run(\%in, 'status');
is($status, 1, 'status of a spool that was never used');
is($out, '', '... prints nothing');
like($err, qr{\Q$spool\E/new: No such file}, '... but what is missing');
deliver($spool, event(type => 'message.created')) for 1 .. 3;
deliver($spool, event(type => 'group.deleted'));
deliver($spool, event(type => 'some.thing.new'));
cgi(spool => $spool, body => '[]');
open $fh, '>', "$spool/new/foreign" or die $!;
open $fh, '>', "$spool/new/.hidden" or die $!;
close $fh or die $!;
rename((glob "$spool/new/*.group.deleted.*")[0],
	"$spool/new/20200102T030405.000000Z.group.deleted.x.json");
my ($day) = files($spool, 'archive');
my $bytes = 0;
$bytes += -s "$spool/archive/$day/$_" for files($spool, "archive/$day");
($status, $out) = run(\%in, 'status', '-j');
is($status, 0, 'status -j');
my $json = JSON::PP::decode_json($out);
is_deeply($json->{waiting_deliveries}, { 'message.created' => 3,
	'group.deleted' => 1, 'some.thing.new' => 1 }, 'what waits, by type');
is($json->{oldest_waiting_timestamp_seconds}, 1577934245, 'the oldest');
cmp_ok(abs($json->{last_arrival_timestamp_seconds} - time), '<', 60,
	'the last arrival');
is($json->{rejected_bodies}, 1, 'rejected');
is($json->{foreign_files}, 1, 'foreign');
is_deeply($json->{archived}, { $day => { deliveries => 5, bytes => $bytes } },
	'the archive');
is($json->{archived_bytes}, $bytes, 'its bytes');
cmp_ok($json->{spool_free_bytes}, '<=', $json->{spool_size_bytes}, 'room');
($status, $out) = run(\%in, 'status');
is($status, 0, 'status');
like($out, qr/^waiting   5, the oldest for \d+d \d+h$/m, 'waiting');
like($out, qr/^  message\.created +3$/m, 'by type');
like($out, qr/^rejected  1$/m, 'rejected');
like($out, qr/^archived  5, \d+B\n  $day +5 +\d+B$/m, 'archived');
my %width = map { length() => 1 } grep { /^  \w+\.\w/ } split /\n/, $out;
is(scalar keys %width, 1, 'columns are in line');

# The text format: families with HELP and TYPE once, and all samples after it.
($status, $out) = run(\%in, 'status', '-p');
is($status, 0, 'status -p');
my (%help, %type, %sample, $family);
for (split /\n/, $out) {
	if (/^# HELP (\w+) \S.*\.$/) {
		ok(!$help{$1}++, "one HELP of $1");
		$family = $1;
	} elsif (/^# TYPE (\w+) gauge$/) {
		ok($1 eq $family && !$type{$1}++, "one TYPE of $1");
	} elsif (/^(protocol_hook_[a-z_]+)(\{type="[A-Za-z0-9_.-]+"\})? (\d+)$/) {
		ok($1 eq $family && $type{$1}, "$_: in its family");
		$sample{ $1 . ($2 // '') } = $3;
	} else {
		fail("a line of the format: $_");
	}
}
is(scalar(grep { /_total$/ } keys %type), 0, 'gauges do not end in _total');
is($sample{'protocol_hook_waiting_deliveries{type="message.created"}'}, 3,
	'waiting');
is($sample{'protocol_hook_waiting_deliveries{type="contact.created"}'}, 0,
	'a type of which none waits');
is($sample{protocol_hook_rejected_bodies}, 1, 'rejected');
is($sample{protocol_hook_oldest_waiting_timestamp_seconds}, 1577934245,
	'the oldest');

# Names that no delivery has must steer neither terminal nor metrics.
my $odd = new_spool();
deliver($odd, event());
open $fh, '>', "$odd/new/20200102T030405.000000Z.a\e[31m\"b.x.json" or die $!;
open $fh, '>', "$odd/new/20200102T030405.000000Z." . 'a' x 200 . '.x.json'
	or die $!;
open $fh, '>', "$odd/new/20200102T03040x.000000Z.a.x.json" or die $!;
close $fh or die $!;
($status, $out) = run({ PROTOCOL_HOOK_SPOOL => $odd }, 'status', $_)
	and unlike($out, qr/\e|aaaa/, "status $_: odd names") for qw(-j -p);
like($out, qr/^protocol_hook_foreign_files 3$/m, 'they are foreign');

# More types than are counted apart.
deliver($odd, event(type => "t$_")) for 1 .. 20;
($status, $out) = run({ PROTOCOL_HOOK_SPOOL => $odd }, 'status', '-j');
is(JSON::PP::decode_json($out)->{waiting_deliveries}{other}, 4, 'other types');

# Nothing that can't be read is counted as empty.
for my $sub (qw(new rejected archive)) {
	rename "$odd/$sub", "$odd/away" or die $!;
	for my $flag ([], ['-j'], ['-p']) {
		($status, $out, $err) = run({ PROTOCOL_HOOK_SPOOL => $odd },
			'status', @{$flag});
		is($status, 1, "status @{$flag} without $sub/");
		is($out, '', "status @{$flag} without $sub/: nothing printed");
	}
	rename "$odd/away", "$odd/$sub" or die $!;
}
is((run({ %in, PROTOCOL_HOOK_KEEP_DAYS => 'x' }, 'status'))[0], 1,
	'status under a wrong variable');

# replay
my $first = "$spool/new/20200102T030405.000000Z.group.deleted.x.json";
$spool = new_spool();
%in = (PROTOCOL_HOOK_SPOOL => $spool);
my @bodies = map { event(id => "r$_", type => $_ % 2 ? 'message.created'
	: 'contact.updated') } 1 .. 6;
my @when = map { 1767225600 + 3600 * $_ } 1 .. 6;	# 2026-01-01
deliver($spool, $_) for @bodies;
($day) = files($spool, 'archive');
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
replayed('none', [], '-i', 'r');
for (['-s', '2026-02-30'], ['-s', 'x'], ['-b', '2026-01-01T'],
	['-d', '2026-1-1'], ['-s', '2026-01-01T05:00x'], ['abc'], []) {
	($status, $out, $err) = run(\%in, 'replay', @{$_});
	is($status, 2, "replay @{$_}");
}

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
	skip 'needs strace', 2 if system('command -v strace >/dev/null') != 0;
	unlink map { "$spool/new/$_" } files($spool);
	my $trace = do {
		local %ENV = (PATH => $ENV{PATH}, %in);
		qx(strace -qq -y -e trace=linkat,fsync $PROGRAM replay -a 2>&1);
	};
	my @calls = map { /^(linkat|fsync).* = 0$/ ? $1 : () }
		split /\n/, $trace;
	is("@calls", 'linkat linkat linkat linkat linkat linkat fsync',
		'links, then a flush') or diag($trace);
	like($trace, qr{^fsync\(\d+<\Q$spool\E/new>\)}m, 'of new/');
}

# What is no delivery, or can't be read, is told.
open $fh, '>', "$spool/archive/$day/" . '0' x 64 or die $!;
close $fh or die $!;
($status, $out, $err) = run(\%in, 'replay', '0' x 64);
is($status, 1, 'replay of what is no event');
like($err, qr/failed 1/, 'says so');
unlink "$spool/archive/$day/" . '0' x 64;

# check
$spool = new_spool();
%in = (PROTOCOL_HOOK_SPOOL => $spool, PROTOCOL_HOOK_SECRET => 'k' x 32);
($status, $out, $err) = run(\%in, 'check');
is($status, 0, 'check') or diag($out);
is($err, '', 'check: no error');
unlike($out, qr/FAIL/, 'nothing fails');
is(scalar(grep { !/^(ok|note) +\S/ } split /\n/, $out), 0, 'its lines');
like($out, qr/^ok +key +1, the shortest of 32 bytes; /m, 'the key');
like($out, qr/^ok +test delivery /m, 'the test delivery');
is(scalar files($spool, $_), 0, "nothing is left in $_/") for qw(new rejected);
is(scalar(map { files($spool, "archive/$_") } files($spool, 'archive')), 0,
	'nor in archive/');

# Each of these fails, in a line that names it and the cure.
sub fails {
	my ($name, $with, $line) = @_;
	($status, $out) = run({ %in, %{$with} }, 'check');
	is($status, 1, "check: $name: exit status");
	my @fail = grep { /^FAIL/ } split /\n/, $out;
	is(scalar @fail, 1, "check: $name: one line") or diag($out);
	like($fail[0] // '', $line, "check: $name: what, and the cure");
	return;
}
fails('no key', { PROTOCOL_HOOK_SECRET => undef },
	qr/key .*PROTOCOL_HOOK_SECRET is not set.*: set /);
for (['MAX_BODY', '1X'], ['KEEP_DAYS', '-1'], ['MIN_FREE', 'x'],
	['EVENTS', 'mesage.*'], ['SECRET_FIEL', 'x']) {
	fails($_->[0], { "PROTOCOL_HOOK_$_->[0]" => $_->[1] },
		qr/PROTOCOL_HOOK_$_->[0] .*: correct or remove it/);
}
fails('little room', { PROTOCOL_HOOK_MIN_FREE => '16777216G' },
	qr/space .*\Q$spool\E, .* below PROTOCOL_HOOK_MIN_FREE: remove files/);
fails('no spool', { PROTOCOL_HOOK_SPOOL => "$spool-none" },
	qr/spool .*No such file or directory: install -d .*\Q$spool\E-none$/);
chmod 0757, $spool;
fails('others may write', {}, qr/others may write.*: chmod -R o-w /);
chmod 0750, $spool;
rename "$spool/new", "$spool/away" or die $!;
symlink 'away', "$spool/new" or die $!;
fails('a link', {}, qr{new/ .*: move it away}) ;
unlink "$spool/new";
rename "$spool/away", "$spool/new" or die $!;
my $secret = "$dir/key";
my %file = (PROTOCOL_HOOK_SECRET => undef,
	PROTOCOL_HOOK_SECRET_FILE => $secret);
($status, $out) = run({ %in, %file }, 'check');
like($out, qr/^FAIL +secret file +\Q$secret\E is not there: put the key/m,
	'check: no secret file');
open $fh, '>', $secret or die $!;
print {$fh} "$KEY-and-more\nand-one-more-key\n";
close $fh or die $!;
chmod 0644, $secret;
fails('a secret file for all', \%file,
	qr/secret file .*every user may read .*: chmod o= \Q$secret\E$/);
chmod 0640, $secret;
($status, $out) = run({ %in, %file, PROTOCOL_HOOK_SECRET => 'k' }, 'check');
like($out, qr/^FAIL +key .*can't be set together with a key/m,
	'check: two sources of keys');
($status, $out) = run({ %in, %file }, 'check');
is($status, 0, 'check: a secret file');
like($out, qr/^ok +key +2, the shortest of 16 bytes; /m, 'its keys');
like((run({ %in, PROTOCOL_HOOK_SECRET => 'short' }, 'check'))[1],
	qr/^note +key .*5 bytes/m, 'check: a short key');
like((run({ %in, PROTOCOL_HOOK_SECRET => 'k' x 30 . ' ' }, 'check'))[1],
	qr/^note +key .*a space or a quote/m, 'check: white space');
like((run({ %in, PROTOCOL_HOOK_SECRET => '"' . 'k' x 30 . '"' }, 'check'))[1],
	qr/^note +key .*a space or a quote/m, 'check: quotes');

# As somebody who is not root, nothing hides behind root's rights.
SKIP: {
	skip 'not root', 9 if $> != 0;
	my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
	my $home = scratch();
	chmod 0755, $home;
	my $his = "$home/spool";
	mkdir $his, 0750 or die $!;
	chown $uid, $gid, $his;
	my %his = (%in, PROTOCOL_HOOK_SPOOL => $his);
	($status, $out) = run(\%his, 'check');
	like($out, qr/^ok +user +nobody /m, 'root checks as the owner');
	my @st = stat "$his/new";
	is($st[4], $uid, 'what is made is his');
	chmod 0550, "$his/new";
	($status, $out) = run(\%his, 'check');
	is($status, 1, 'check: new/ read-only');
	like($out, qr{^FAIL +new/ .*Permission denied: chown}m, 'says so');
	chmod 0770, "$his/new";
	chmod 0500, "$his/archive";
	($status, $out) = run(\%his, 'check');
	like($out, qr{^FAIL +archive/ .*Permission denied: chown}m,
		'check: archive/ read-only');
	chmod 0770, "$his/archive";
	chmod 0600, $secret;
	chmod 0755, $dir;
	($status, $out) = run({ %his, %file }, 'check');
	like($out, qr{^FAIL +secret file .*can't be read by nobody: change}m,
		'check: a secret file of somebody else');
	# root follows no link of the owner's.
	my $sha = sha256_hex('root only');
	my @days = files($his, 'archive');
	open $fh, '>', "$home/secret" or die $!;
	print {$fh} event(id => 'stolen');
	close $fh or die $!;
	chmod 0600, "$home/secret";
	symlink "$home/secret", "$his/archive/$days[0]/$sha" or die $!;
	($status, $out, $err) = run(\%his, 'replay', '-n', '-a');
	unlike($out, qr/stolen/, 'replay follows no link');
	chmod 0000, "$his/archive/$days[0]";
	($status, $out) = run(\%his, 'status', '-j');
	is($status, 1, 'status: a day that can not be read');
	is($out, '', 'prints nothing');
}

# watch
$spool = new_spool();
%in = (PROTOCOL_HOOK_SPOOL => $spool);
deliver($spool, event());

sub watch {
	my ($program, @args) = @_;
	my $pid = fork // die $!;
	if (!$pid) {
		open STDOUT, '>', "$dir/watched" or die $!;
		open STDERR, '>', "$dir/err" or die $!;
		%ENV = (PATH => $ENV{PATH}, %in);
		exec $program, 'watch', @args or POSIX::_exit(127);
	}
	return $pid;
}

# It is ready when a probe is seen.
sub watch_ready {
	return wait_for(sub {
		cgi(spool => $spool, body => event(id => 'probe'));
		select undef, undef, undef, 0.1;
		slurp("$dir/watched") =~ /probe/ });
}

# The first line that PATTERN matches.
sub watched {
	my ($pattern) = @_;
	my $line;
	wait_for(sub {
		($line) = grep { $_ =~ $pattern } split /^/, slurp("$dir/watched");
		$line });
	return $line // 'nothing';
}

for my $program ($PROGRAM, grep { -x } 'build/poll/protocol-hook') {
	my $name = $program eq $PROGRAM ? 'watch' : 'watch by polling';
	my $id = $program eq $PROGRAM ? 'w1' : 'w2';
	my $pid = watch($program);
	watch_ready();
	my $body = event(type => 'contact.updated', id => $id);
	deliver($spool, $body);
	my $length = length $body;
	like(watched(qr/contact/),
		qr/^\d\d:\d\d:\d\d contact\.updated +$id +$length bytes\n\z/,
		"$name: one line");
	unlike(slurp("$dir/watched"), qr/\e/, "$name: no colour in a file");
	kill 'TERM', $pid;
	waitpid $pid, 0;
	$pid = watch($program, '-o');
	watch_ready();
	deliver($spool,
		qq({"id":"$id","type":"group.created",\n"payload":\r\n{}}\n));
	is(eval { JSON::PP::decode_json(watched(qr/group/))->{id} }, $id,
		"$name -o: JSON on one line");
	kill 'TERM', $pid;
	waitpid $pid, 0;
	unlink map { "$spool/new/$_" } files($spool);
}
is((run({ PROTOCOL_HOOK_SPOOL => "$spool-none" }, 'watch'))[0], 1,
	'watch: no spool');
my $pid = watch($PROGRAM);
watch_ready();
rename "$spool/new", "$spool/old" or die $!;
ok(wait_for(sub { waitpid($pid, POSIX::WNOHANG()) == $pid }),
	'watch ends when new/ is moved away');
like(slurp("$dir/err"), qr/new\/ is gone/, 'and says so');

# With two sources of keys there is none, whatever is signalled.
my $worker = worker(spool => new_spool(),
	env => { PROTOCOL_HOOK_SECRET_FILE => $secret });
is(post($worker, event())->{status}, 500, 'both a key and a file of keys');
kill 'HUP', $worker->{pid};
wait_for(sub { slurp($worker->{log}) =~ /reload/ });
is(post($worker, event())->{status}, 500, '... also after SIGHUP');
reap($worker);

done_testing();
