#!/usr/bin/perl
# The CGI door: every row of the table of answers, and every variable.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256_hex);
use POSIX ();
use Hook;
use Socket qw(AF_UNIX SOCK_STREAM);

my $NAME = qr/^\d{8}T\d{6}\.\d{6}Z\.message\.updated\.a056V7R7NmNRjl70\.json$/;

sub is_answer {
	my ($got, $status, $word, $name) = @_;
	is($got->{status}, $status, "$name: status");
	is($got->{exit}, 0, "$name: exit status");
	like($got->{first}, qr/^Status: $status [A-Z]/, "$name: Status first");
	my $key = $status == 200 ? 'application/json'
		: 'application/problem+json';
	is($got->{header}{'content-type'}, $key, "$name: type");
	is($got->{header}{'content-length'}, length $got->{body},
		"$name: length");
	is($got->{json}{status}, $status == 200 ? $word : $status,
		"$name: body");
	like($got->{log}, qr/\A$TS result=$word status=$status .*\n\z/,
		"$name: one log line");
	unlike($got->{text} . $got->{log}, qr/\Q$KEY\E/, "$name: no key");
	return;
}

# The main job.
my $spool = new_spool();
my $got = cgi(spool => $spool, body => $EXAMPLE,
	env => { REMOTE_ADDR => '192.0.2.1' });
is_answer($got, 200, 'stored', 'example');
is($got->{json}{id}, 'a056V7R7NmNRjl70', 'the id is in the answer');
my @new = files($spool);
is(scalar @new, 1, 'one file');
like($new[0], $NAME, 'its name');
is(slurp("$spool/new/$new[0]"), $EXAMPLE, 'its bytes');
like($got->{log}, qr/ type=message\.updated id=a056V7R7NmNRjl70 /, 'log: event');
like($got->{log}, qr/ file=\Q$new[0]\E /, 'log: file');
like($got->{log}, qr/ bytes=510 remote=192\.0\.2\.1 ms=\d+\.\d+$/, 'log: rest');
unlike($got->{log}, qr/traveling|${\ sign($EXAMPLE)}/, 'log: no body');
my ($day) = files($spool, 'archive');
like($day, qr/^\d{4}-\d\d-\d\d$/, 'archive day');
is((files($spool, "archive/$day"))[0], sha256_hex($EXAMPLE), 'archive name');
my @st = map { [stat] } "$spool/new/$new[0]",
	"$spool/archive/$day/" . sha256_hex($EXAMPLE);
is($st[0][1], $st[1][1], 'hard links of one file');
is($st[0][3], 2, 'and no third');

# A repeat.
$got = cgi(spool => $spool, body => $EXAMPLE);
is_answer($got, 200, 'duplicate', 'repeat');
is(scalar files($spool), 1, 'no second file');
unlink "$spool/new/$new[0]";
$got = cgi(spool => $spool, body => $EXAMPLE);
is_answer($got, 200, 'duplicate', 'repeat after it was consumed');
is(scalar files($spool), 0, 'it does not come back');
is_answer(cgi(spool => $spool, body => "$EXAMPLE "), 200, 'stored',
	'other bytes of the same id');

# Methods.
$spool = new_spool();
for my $method (qw(GET HEAD)) {
	$got = cgi(spool => $spool, env => { REQUEST_METHOD => $method,
		CONTENT_LENGTH => undef, HTTP_X_PROTOCOL_SIGNATURE => undef });
	is($got->{status}, 200, "$method: status");
	is($got->{body}, $method eq 'GET' ? qq({"status":"ready"}\n) : '',
		"$method: body");
	like($got->{log}, qr/^$TS result=ready status=200 /, "$method: log");
}
for my $method (qw(PUT DELETE PATCH OPTIONS post), '') {
	$got = cgi(spool => $spool, body => event(),
		env => { REQUEST_METHOD => $method });
	is_answer($got, 405, 'bad_method', "method '$method'");
	is($got->{header}{allow}, 'GET, HEAD, POST', "method '$method': Allow");
}

is(cgi(spool => $spool, env => { REQUEST_METHOD => undef })->{status}, 405,
	'no method at all');
is(cgi(spool => "$spool-none", env => { REQUEST_METHOD => $_ })->{status}, 500,
	"$_ where there is no spool") for qw(GET HEAD PUT);
$got = cgi(spool => $spool, env => { REQUEST_METHOD => 'GET',
	PROTOCOL_HOOK_MIN_FREE => '1000000G' });
is_answer($got, 503, 'unavailable', 'GET where room is short');

# Lengths.
for ([undef, 411, 'no_length'], ['', 411, 'no_length'],
	['x', 400, 'bad_request'], ['+5', 400, 'bad_request'],
	['-5', 400, 'bad_request'], [' 5', 400, 'bad_request'],
	['5 ', 400, 'bad_request'], ['0x5', 400, 'bad_request'],
	['5,5', 400, 'bad_request'], ['1e3', 400, 'bad_request'],
	['1048577', 413, 'too_large'], ['9' x 40, 413, 'too_large'],
	['500', 400, 'bad_request']) {
	my ($length, $status, $word) = @$_;
	my $name = 'length ' . ($length // 'absent');
	is_answer(cgi(spool => $spool, body => event(),
		env => { CONTENT_LENGTH => $length }), $status, $word, $name);
}
my $big = event(pad => 1 << 20);
is_answer(cgi(spool => $spool, body => $big), 413, 'too_large', 'too long');
is(scalar(map { files($spool, $_) } 'new', 'rejected'), 0,
	'nothing of that was kept');
my $fit = event();
$fit .= ' ' x ((1 << 20) - length $fit);
is_answer(cgi(spool => $spool, body => $fit), 200, 'stored', 'exactly 1M');
is((content($spool, 'new'))[0], $fit, '1M: bytes');
is_answer(cgi(spool => $spool, body => $fit . 'left over',
	env => { CONTENT_LENGTH => length $fit,
	HTTP_X_PROTOCOL_SIGNATURE => sign($fit) }), 200, 'duplicate',
	'never past CONTENT_LENGTH');

# Chunked, without a length.
for my $body (event(), $big, event(pad => 300000)) {
	my $long = length $body > 1 << 20;
	is_answer(cgi(spool => $spool, body => $body, env => {
		CONTENT_LENGTH => $long ? undef : '',
		HTTP_TRANSFER_ENCODING => $long ? 'chunked' : 'Chunked' }),
		$long ? (413, 'too_large') : (200, 'stored'),
		'chunked ' . length $body);
}

is_answer(cgi(spool => $spool, body => event(), env => {
	CONTENT_LENGTH => undef, HTTP_TRANSFER_ENCODING => 'gzip' }), 411,
	'no_length', 'an encoding that tells no length');
is_answer(cgi(spool => $spool, body => 'x' x (17 << 20)), 413, 'too_large',
	'more than is read of what is refused');
SKIP: {
	my $why = left_out('memory') || (defined $ENV{ASAN_OPTIONS} ?
		'a sanitizer needs more memory' : '');
	skip $why, 1 if $why;
	is_answer(cgi(spool => $spool, body => event(), under => ['prlimit',
		'--as=500000000'], env => { PROTOCOL_HOOK_MAX_BODY => '1024M',
		CONTENT_LENGTH => '', HTTP_TRANSFER_ENCODING => 'chunked' }),
		503, 'unavailable', 'no memory for the body');
}

# What is refused is read all the same: some servers lose the answer otherwise.
for ([REQUEST_METHOD => 'PUT', 405], [CONTENT_LENGTH => '9' x 9, 413],
	[PROTOCOL_HOOK_SECRET => '', 500]) {
	my ($name, $value, $status) = @$_;
	pipe my $read, my $write or die $!;
	my $pid = fork // die $!;
	if (!$pid) {
		close $read;
		$SIG{PIPE} = 'IGNORE';
		my $n = syswrite $write, $big;
		POSIX::_exit(defined $n && $n == length $big ? 0 : 1);
	}
	close $write;
	is(cgi(spool => $spool, body => $big, stdin => $read,
		env => { $name => $value })->{status}, $status, "$name: $status");
	close $read;
	waitpid $pid, 0;
	is($?, 0, '... after all of the body was read');
}

# Signatures: one and the same answer for all that is wrong.
$spool = new_spool();
my $body = event();
my $sig = sign($body);
my $flipped = $sig;
$flipped =~ tr/0-9a-f/1-9a-f0/;
my $first;
for ([undef, 'absent'], ['', 'empty'], [substr($sig, 1), 'short'],
	["${sig}0", 'long'], [" $sig", 'space'], ["$sig,$sig", 'joined'],
	["sha256=$sig", 'prefixed'], [$flipped, 'wrong'],
	[sign($body, 'other key'), 'of another key'],
	[sign("$body "), 'of another body'], ['g' x 64, 'no hex']) {
	my ($value, $name) = @$_;
	$got = cgi(spool => $spool, body => $body,
		env => { HTTP_X_PROTOCOL_SIGNATURE => $value });
	is_answer($got, 401, 'unauthorized', "signature $name");
	$first //= $got->{text};
	is($got->{text}, $first, "signature $name: the same answer");
}
is(scalar(map { files($spool, $_) } 'new', 'rejected'), 0,
	'nothing unproven was kept');
is_answer(cgi(spool => $spool, body => $body,
	env => { HTTP_X_PROTOCOL_SIGNATURE => uc $sig }), 200, 'stored',
	'upper case signature');

# Authentic, but no event.
my @no_event = ('', 'x', '[]', '{"id":"1","type":"a"}', "$body\0",
	join('', map { chr } 0 .. 255), '{"id":"1","type":"a","payload":{},}',
	'{"id":"a\u0000","type":"a","payload":{}}');
for my $i (0 .. $#no_event) {
	is_answer(cgi(spool => $spool, body => $no_event[$i]), 422, 'rejected',
		"no event $i");
	is(slurp("$spool/rejected/" . sha256_hex($no_event[$i])),
		$no_event[$i], "no event $i: bytes kept");
}
is_answer(cgi(spool => $spool, body => 'x'), 422, 'rejected', 'again');
is(scalar files($spool, 'rejected'), @no_event, 'and is kept once');
is(scalar files($spool), 1, 'none is in new/');

# Names.
$spool = new_spool();
for (	[event(id => '../../../etc/passwd'), 'message.created.' . '_' x 9 . 'etc_passwd'],
	[event(id => '.hidden', type => '..'), '..._hidden'],
	[event(id => 'é b'), 'message.created.___b'],
	[event(id => 'i' x 200, type => 't' x 200), 't' x 64 . '.' . 'i' x 64],
	[event(id => 'A[a{0:Z@z`9/-_', type => 'B.b'), 'B.b.A_a_0_Z_z_9_-_'],
	[event(id => 'a', type => 'call.started'), 'call.started.a']) {
	my ($text, $tail) = @$_;
	is_answer(cgi(spool => $spool, body => $text), 200, 'stored', $tail);
	is((grep { /Z\.\Q$tail\E\.json$/ } files($spool)), 1, "name $tail");
}
is((grep { /\// } files($spool)), 0, 'no name leaves new/');
like(cgi(spool => $spool, body => event(type => 'call.ended'))->{log},
	qr/ unknown=yes /, 'an unknown type is marked');
$got = cgi(spool => $spool, body => event(id => 'a\nresult=stored \u001b[2J'));
is(($got->{log} =~ tr/\n//), 1, 'no line break gets into the log');
unlike($got->{log}, qr/\e/, 'nor an escape');

# Variables.
sub variable {
	my ($name, $value, $status, $text) = @_;
	$got = cgi(spool => new_spool(), body => $text // event(),
		env => { "PROTOCOL_HOOK_$name" => $value });
	my $label = "$name=" . ($value // 'unset');
	is($got->{status}, $status, "$label: $status");
	if ($status == 500) {
		like($got->{log}, qr/result=misconfigured .*PROTOCOL_HOOK_$name/,
			"$label: the log names it");
		unlike($got->{text}, qr/PROTOCOL_HOOK/, "$label: no answer does");
	}
	return;
}
variable('SECRET', undef, 500);
variable('SECRET', '', 500);
variable('SECRET', 'another', 401);
variable('SECRET_PREVIOUS', 'another', 200);
variable('EVENTS', '*', 200);
variable('EVENTS', 'message.created', 200);
variable('EVENTS', 'message.create', 500);
variable('EVENTS', $_, 500) for '', 'x' x 200;
variable('MAX_BODY', $_, 200) for '1K', '1M', '1024', '1024M';
variable('MAX_BODY', '10', 413);
variable('MAX_BODY', $_, 500) for '', '0', '1k', '1G', '-1', '1KB', '1.5M',
	'1025M', '99999999999999999999', ' 1M';
variable('KEEP_DAYS', $_, 200) for '0', '1', '3650';
variable('KEEP_DAYS', $_, 500) for '', '-1', '3651', '7d';
variable('MIN_FREE', $_, 200) for '0', '1K', '1M';
variable('MIN_FREE', $_, 503) for '1000000G', '18446744073709551615';
variable('MIN_FREE', $_, 500) for '', 'x', '1T', '18446744073709551616';
variable('SPOOL', '', 500);
$got = cgi(spool => '/nonexistent/spool', body => event());
is_answer($got, 500, 'misconfigured', 'no spool');
like($got->{log}, qr/spool directory.*No such file/, 'the log says why');
unlike($got->{text}, qr/nonexistent/, 'the answer does not');

like(cgi(spool => $spool, env => { PROTOCOL_HOOK_KEEP_DAYS => 'x',
	PROTOCOL_HOOK_MIN_FREE => 'x' })->{log}, qr/_KEEP_DAYS (?!.*MIN_FREE)/,
	'of two that are wrong the first is named');

my $file = scratch() . '/keys';
for (["$KEY\n", 200], ["new\n$KEY\n", 200], ["$KEY\r\n", 200],
	["other\n", 401], ['', 500], ["\n\n", 500], ["a\0b\n", 500]) {
	my ($keys, $status) = @$_;
	open my $fh, '>', $file or die $!;
	print $fh $keys;
	close $fh;
	$got = cgi(spool => new_spool(), body => event(), env => {
		PROTOCOL_HOOK_SECRET => undef,
		PROTOCOL_HOOK_SECRET_FILE => $file });
	is($got->{status}, $status, 'SECRET_FILE of ' . length($keys));
}
like($got->{log}, qr/PROTOCOL_HOOK_SECRET_FILE has a NUL/, 'why');
like(cgi(spool => new_spool(), env => {
	PROTOCOL_HOOK_SECRET_FILE => $file })->{log},
	qr/PROTOCOL_HOOK_SECRET_FILE can't be set together/, 'both are an error');
unlike(cgi(spool => new_spool(), env => { PROTOCOL_HOOK_SECRET => undef,
	PROTOCOL_HOOK_SECRET_FILE => '/nonexistent/f' })->{log},
	qr/nonexistent/, 'no path in a log line');
like(cgi(spool => new_spool(), body => $body, env => {
	PROTOCOL_HOOK_SECRET => 'new',
	PROTOCOL_HOOK_SECRET_PREVIOUS => $KEY })->{log},
	qr/ key=2 /, 'the log tells that the previous key was used');

# Wanted events.
$spool = new_spool();
my %only = (PROTOCOL_HOOK_EVENTS => 'group.*, contact.created');
is_answer(cgi(spool => $spool, body => event(), env => \%only), 200, 'ignored',
	'not wanted');
is_answer(cgi(spool => $spool, body => event(type => 'group.deleted'),
	env => \%only), 200, 'stored', 'wanted');
is(scalar files($spool), 1, 'only what is wanted');
is_answer(cgi(spool => $spool, body => 'x', env => \%only), 422, 'rejected',
	'what is no event is kept all the same');

# No repeats are looked for.
$spool = new_spool();
is_answer(cgi(spool => $spool, body => $body,
	env => { PROTOCOL_HOOK_KEEP_DAYS => 0 }), 200, 'stored', 'KEEP_DAYS=0')
	for 1 .. 2;
is(scalar files($spool), 2, 'KEEP_DAYS=0: each is stored');
is(scalar(map { files($spool, "archive/$_") } files($spool, 'archive')), 0,
	'KEEP_DAYS=0: nothing is archived');
{
	my @t = gmtime(time - 86400);
	my $yesterday = sprintf '%04d-%02d-%02d', $t[5] + 1900, $t[4] + 1, $t[3];
	mkdir "$spool/archive/$yesterday" or die $!;
	cgi(spool => $spool, body => $body,
		env => { PROTOCOL_HOOK_KEEP_DAYS => 0 });
	ok(-d "$spool/archive/$yesterday",
		'KEEP_DAYS=0: yesterday stays, for what was killed before midnight');
}

# The archive.
$spool = new_spool();
cgi(spool => $spool, body => $body);
($day) = files($spool, 'archive');
sub day { my @t = gmtime(time - 86400 * shift);
	return sprintf '%04d-%02d-%02d', $t[5] + 1900, $t[4] + 1, $t[3] }
my $days_ago = 0;
for my $ago (1, 6, 7) {
	rename "$spool/archive/" . day($days_ago), "$spool/archive/" . day($ago)
		or die $!;
	$days_ago = $ago;
	is_answer(cgi(spool => $spool, body => $body), 200, 'duplicate',
		"a repeat after $ago days");
	rmdir "$spool/archive/" . day(0);
}
rename "$spool/archive/" . day(7), "$spool/archive/" . day(9);
is_answer(cgi(spool => $spool, body => $body), 200, 'duplicate',
	'after 9 days of which nothing is known but what the clock says');
mkdir "$spool/archive/" . day(1);
is_answer(cgi(spool => $spool, body => $body), 200, 'stored', 'after 9 days');
mkdir "$spool/archive/" . day(9);
for (1 .. 30) {
	open my $fh, '>', "$spool/archive/" . day(9) . "/$_" or die $!;
}
cgi(spool => $spool, body => event()) for 1 .. 10;
is_deeply([files($spool, 'archive')], [day(1), day(0)], 'old days go away');
my @kept = ('lost+found', 'abcdefghij', '1764315600', '2026-02-30',
	'0000-00-00', day(-1), day(1));
mkdir "$spool/archive/$_" for @kept, day(9), day(10), day(11);
open my $stray, '>', "$spool/archive/" . day(12) or die $!;
mkdir "$spool/archive/" . day(11) . '/deep' or die $!;
cgi(spool => $spool, body => event()) for 1 .. 4;
my @stuck = map { day($_) } 11, 12;
is_deeply([files($spool, 'archive')], [sort { $a cmp $b } day(0), @kept,
	@stuck], 'what is no such directory, or not empty, stays; others go');
rmdir "$spool/archive/" . day(11) . '/deep' or die $!;
cgi(spool => $spool, body => event());
is_deeply([files($spool, 'archive')], [sort { $a cmp $b } day(0), @kept,
	day(12)], '... until it is empty; what is no day stays');

# One process, which goes on after what it could not remove.
my $worker = worker(spool => $spool);
mkdir "$spool/archive/" . day(10) or die $!;
open $stray, '>', "$spool/archive/" . day(10) . "/$_" or die $! for 1 .. 9;
post($worker, event()) for 1 .. 4;
reap($worker);
is_deeply([files($spool, 'archive')], [sort { $a cmp $b } day(0), @kept,
	day(12)], 'FastCGI: the same');

# A spool that can't be trusted.
$spool = new_spool();
chmod 0777, $spool;
$got = cgi(spool => $spool, body => $body);
is_answer($got, 500, 'misconfigured', 'others may write');
chmod 0750, $spool;
cgi(spool => $spool);
for my $sub (qw(new archive rejected lock)) {
	chmod 0777, "$spool/$sub";
	$got = cgi(spool => $spool, body => $body);
	is_answer($got, 500, 'misconfigured', "others may write to $sub");
	like($got->{log}, qr{reason="others may write to $sub/? in the spool"$},
		'the reason names it, and no errno');
	chmod 0750, "$spool/$sub";
}
SKIP: {
	skip 'nobody else can run it', 2 if !as_other();
	chmod 0755, $spool =~ s{/spool$}{}r;
	system 'chown', '-R', '54321:54321', $spool;
	chmod 0550, "$spool/new";
	$got = cgi(spool => $spool, env => { REQUEST_METHOD => 'GET' },
		under => [as_other()]);
	is($got->{status}, 503, 'GET where new/ is read-only');
	like($got->{log}, qr/can't be linked into new\/: Permission/, 'why');
}
for my $sub (qw(new archive rejected lock)) {
	$spool = new_spool();
	my $elsewhere = scratch();
	symlink $elsewhere, "$spool/$sub" or die $!;
	is_answer(cgi(spool => $spool, body => $body), 500, 'misconfigured',
		"$sub is a symbolic link");
	is(scalar files($elsewhere, '.'), 0, "$sub: nothing went there");
}

# Modes.
for ([022, 0640, 0750], [007, 0660, 0770], [077, 0600, 0700],
	[0, 0660, 0770]) {
	my ($umask, $file_mode, $dir_mode) = @$_;
	$spool = new_spool();
	my $old = umask $umask;
	cgi(spool => $spool, body => $body);
	umask $old;
	my ($f) = files($spool);
	is((stat "$spool/new/$f")[2] & 07777, $file_mode,
		sprintf 'umask %03o: file', $umask);
	is((stat "$spool/$_")[2] & 07777, $dir_mode,
		sprintf 'umask %03o: %s', $umask, $_)
		for 'new', 'archive', 'rejected', 'archive/' . day(0);
}

# How it is started.
$spool = new_spool();
for my $arg (qw(--help -V check replay)) {
	is_answer(cgi(spool => $spool, body => event(), args => [$arg]), 200,
		'stored', "arguments are ignored: $arg");
}
for ([['-h'], 0, qr/^usage: /], [['--version'], 0, qr/^protocol-hook \d/],
	[[], 2, qr/^$/], [['--nonsense'], 2, qr/^$/]) {
	my ($args, $exit, $out) = @$_;
	$got = cgi(spool => $spool, args => $args, env => {
		REQUEST_METHOD => undef, GATEWAY_INTERFACE => undef });
	is($got->{exit}, $exit, "command line @$args: exit status $exit");
	like($got->{text}, $out, "command line @$args: standard output");
	is($got->{log} eq '', !$exit, "command line @$args: standard error");
}

# Streams that are closed or shared.
for my $close ('2>&-', '2>&1', '2>/dev/null', '2>/dev/zero', '2</dev/zero',
	'<&- 2>&-') {
	$spool = new_spool();
	$got = cgi(spool => $spool, body => $body,
		under => ['sh', '-c', "exec \"\$0\" $close"]);
	my $stdin = $close !~ /<&/;
	is($got->{status}, $stdin ? 200 : 400, "with $close");
	is_deeply([content($spool, 'new')], $stdin ? [$body] : [],
		"with $close: only the body is in the file");
	unlike($got->{text}, qr/result=/, "with $close: no log in the answer");
}

cgi(spool => $spool, body => $body, under => ['sh', '-c', 'exec "$0" >&-']);
is_deeply([content($spool, 'new')], [$body], 'stored without standard output');
socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, 0 or die $!;
syswrite $ours, $body = event();
is_answer(cgi(spool => $spool, body => $body, stdin => $theirs), 200, 'stored',
	'standard input is a socket, as with inetd');

# Keys are wiped from the block that /proc shows.  Only root may look there, so
# for any other user it is a program that was built to allow it.
SKIP: {
	skip 'needs /proc', 2 if !-e '/proc/self/environ';
	skip left_out('wiped'), 2 if left_out('wiped');
	$spool = new_spool();
	pipe my $read, my $write or die $!;
	my $run = cgi(spool => $spool, body => $body, stdin => $read, start => 1,
		program => traceable(),
		env => { PROTOCOL_HOOK_SECRET_PREVIOUS => "$KEY-old" });
	close $read;
	my $environ = '';
	ok(wait_for(sub { -e "$spool/lock" }), 'it waits for its body');
	$environ = slurp("/proc/$run->{pid}/environ");
	ok($environ =~ /PROTOCOL_HOOK_SECRET=/ && $environ !~ /\Q$KEY\E/,
		'/proc/PID/environ has no key');
	syswrite $write, $body;
	close $write;
	is(Hook::cgi_done($run->{pid}, $run->{dir})->{status}, 200, 'and ends');
}

# One body at the same time.
$spool = new_spool();
my @runs = map { cgi(spool => $spool, body => $body, start => 1) } 1 .. 16;
my @results = map { Hook::cgi_done($_->{pid}, $_->{dir}) } @runs;
is((grep { $_->{status} == 200 } @results), 16, '16 at once: all answered');
is((grep { $_->{json}{status} eq 'stored' } @results), 1, 'one stored it');
is(scalar files($spool), 1, '16 at once: one file');

# Log lines: what else a server's log, or the system's, would not have or show.
$got = cgi(spool => new_spool(), body => event(
	id => "a\xe2\x80\xaeb\xe2\x80\xa8\xc2\x9b2J\xef\xbb\xbf \xc3\xa9"));
like($got->{log}, qr/ id="a\\u202eb\\u2028\\u009b2J\\ufeff \xc3\xa9" /,
	'the log: no separators, no directions of writing');
like($got->{text}, qr/"id":"a\\u202eb\\u2028/, 'nor does the answer have them');
my ($when) = $got->{log} =~ /\Ats=(\S+) /;
my @utc = gmtime;
cmp_ok(substr($when // '', 0, 4), '==', $utc[5] + 1900, 'the log has the time');

# Signals: what a limit sends, and what was blocked by whoever started it.
$spool = new_spool();
is_answer(cgi(spool => $spool, body => event(pad => 20000),
	under => ['prlimit', '--fsize=9000']), 503, 'unavailable',
	'beyond a limit of the size of files');
like(cgi(spool => $spool, body => event(pad => 20000),
	under => ['prlimit', '--fsize=9000'])->{log},
	qr/ reason="[^"]*: File too large"$/, 'the log says which');
is(scalar(map { files($spool, $_) } 'new', 'rejected'), 0, 'nothing is left');
{
	my $spool = new_spool();
	pipe my $in, my $out or die $!;
	my $run = cgi(spool => $spool, body => $body, stdin => $in, start => 1,
		under => ['perl', '-MPOSIX', '-e', 'sigprocmask(SIG_BLOCK,
		POSIX::SigSet->new(SIGTERM, SIGHUP)); exec @ARGV']);
	my $blocked = sub { -e "/proc/$run->{pid}/status"
		and slurp("/proc/$run->{pid}/status") =~ /^SigBlk:.*[1-9a-f]/m };
	SKIP: {
		skip 'needs /proc', 1 if !-e "/proc/$$/status";
		ok(wait_for(sub { -e "$spool/lock" && !$blocked->() }, 5),
			'no signal stays blocked');
	}
	wait_for(sub { -e "$spool/lock" });
	kill 'TERM', $run->{pid};
	my $status;
	wait_for(sub { waitpid($run->{pid}, 1) > 0 and $status = $?, 1 }, 5);
	is($status, 15, 'what was blocked ends it');
	kill 'KILL', $run->{pid};
}

done_testing();
