#!/usr/bin/perl
# check: each thing that breaks, in one line with its cure.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256_hex);
use POSIX ();
use Hook;
use Commands;

my ($status, $out, $err, $fh);
my $spool = new_spool();
my %in = (PROTOCOL_HOOK_SPOOL => $spool, PROTOCOL_HOOK_SECRET => 'k' x 32);
# Here the receiver is whoever runs the test, also if that is root.
my @receiver = $> == 0 ? ('-u', 'root') : ();
sub check { return run($_[0], 'check', @receiver) }
($status, $out, $err) = check(\%in);
is($status, 0, 'check') or diag($out);
is($err, '', 'check: no error');
unlike($out, qr/FAIL/, 'nothing fails');
is(scalar(grep { !/^(ok|note) +\S/ } split /\n/, $out), 0, 'its lines');
like($out, qr/^ok +key +1, the shortest of 32 bytes; /m, 'the key');
like($out, qr/^ok +test delivery /m, 'the test delivery');
is(scalar files($spool, $_), 0, "nothing is left in $_/") for qw(new rejected);
is(scalar(map { files($spool, "archive/$_") } files($spool, 'archive')), 0,
	'nor in archive/');

# Each of these fails, in one line that says what is wrong and names the cure.
sub fails {
	my ($name, $with, $line) = @_;
	($status, $out) = check({ %in, %{$with} });
	is($status, 1, "check: $name: exit status");
	my @fail = grep { /^FAIL/ } split /\n/, $out;
	is(scalar @fail, 1, "check: $name: one line") or diag($out);
	like($fail[0] // '', $line, "check: $name: what, and the cure");
	return;
}
# What is only to be looked at.
sub noted {
	my ($name, $with, $line) = @_;
	($status, $out) = check({ %in, %{$with} });
	is($status, 0, "check: $name: exit status") or diag($out);
	like($out, qr/^note +$line/m, "check: $name: noted");
	return;
}
# As the receiver is started: its status for a delivery, and its reason.
sub refused {
	my ($name, $with, $reason) = @_;
	my $body = event();
	my $got = cgi(spool => $spool, body => $body, env => $with);
	is($got->{status}, 500, "the receiver: $name");
	like($got->{log}, qr/ reason="?$reason/, "the receiver: $name: why");
	return;
}

# Variables, with the word that is wrong.
for (['MAX_BODY', '1X', '"1X" is not a number of bytes from 1 to 1024M'],
	['MAX_BODY', '2G', '"2G" is not'], ['KEEP_DAYS', '', '"" is not'],
	['KEEP_DAYS', '-1', '"-1" is not a number of days from 0 to 3650'],
	['MIN_FREE', 'x', '"x" is not a number of bytes'],
	['EVENTS', 'message.*, mesage.* contact.*',
	'"mesage\.\*" is not an event that Protocol sends'],
	['EVENTS', ' , ', '"" is not'], ['EVENTS', 'x' x 70, '"x{64}" is not'],
	['KEEP_DAYS', "7\e[2J\x{85}", '"7\?\[2J\?" is not'],
	['KEEP_DAYS', '7' x 300, '"7{64}..." is not'],
	['SECRET_FIEL', 'x', 'is not a variable of protocol-hook']) {
	fails("$_->[0]=$_->[1]", { "PROTOCOL_HOOK_$_->[0]" => $_->[1] },
		qr/PROTOCOL_HOOK_$_->[0] +$_->[2].*: correct or remove it$/);
}
fails('no spool is named', { PROTOCOL_HOOK_SPOOL => '' },
	qr/PROTOCOL_HOOK_SPOOL +"" is not the name of a directory: correct/);
refused('KEEP_DAYS', { PROTOCOL_HOOK_KEEP_DAYS => '7d' },
	'PROTOCOL_HOOK_KEEP_DAYS .{1,2}7d.{1,2} is not a number of days');
(my $long) = (check({ %in, 'PROTOCOL_HOOK_' . 'X' x 200 => 1 }))[1]
	=~ /^(FAIL .*)$/m;
like($long, qr/PROTOCOL_HOOK_X{100,} is not a variable of.*: correct or remove/,
	'check: a long name, too');

# The spool.
fails('little room', { PROTOCOL_HOOK_MIN_FREE => '16777216G' },
	qr/space .*\Q$spool\E, \d+M.* free: below PROTOCOL_HOOK_MIN_FREE (?#
	)\(17179869184M\): remove files there/);
{
	my ($free) = $out =~ /, (\d+)M/;
	noted('room for some hours', { PROTOCOL_HOOK_MIN_FREE => int($free
		* 0.8) . 'M' }, 'space .*get 503 below PROTOCOL_HOOK_MIN_FREE \(');
}
fails('no spool', { PROTOCOL_HOOK_SPOOL => "$spool-none" }, $> == 0 ?
	qr/No such file or directory: install -d -m 2750 -o root -g root \Q$spool\E-none$/
	: qr/No such file or directory: protocol-hook check -u USER,/);
fails('a file', { PROTOCOL_HOOK_SPOOL => $0 },
	qr/Not a directory: it is a file.*: let PROTOCOL_HOOK_SPOOL name/);
fails('a path that is too long', { PROTOCOL_HOOK_SPOOL => '/x' x 2500 },
	qr/too long: the path is too long/);
{
	my $ring = scratch() . '/ring';
	symlink $ring, $ring or die $!;
	fails('a ring of links', { PROTOCOL_HOOK_SPOOL => $ring },
		qr/let PROTOCOL_HOOK_SPOOL name a directory/);
}
my $utc = qr/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/;
like((check(\%in))[1], qr/^ok +clock +$utc$/m, 'check: the clock, readable');
utime 0, time + 3 * 86400, "$spool/new" or die $!;
fails('a clock that was put back', {},
	qr/clock +it says $utc, .*$utc, later than now: set it/);
utime 0, time, "$spool/new" or die $!;
chmod 0757, $spool;
fails('others may write', {}, qr/others may write.*: chmod o-w \Q$spool\E$/);
chmod 0750, $spool;
chmod 0777, "$spool/archive";
fails('others may write below', {},
	qr{archive/.*: chmod o-w \Q$spool\E/archive$});
chmod 0770, "$spool/archive";
rename "$spool/new", "$spool/away" or die $!;
symlink 'away', "$spool/new" or die $!;
fails('a link', {},
	qr{new/ .*: move \Q$spool\E/new away: it must be a directory and no link$});
unlink "$spool/new";
rename "$spool/away", "$spool/new" or die $!;
rename "$spool/lock", "$spool/away" or die $!;
mkdir "$spool/lock" or die $!;
fails('lock is a directory', {},
	qr/move \Q$spool\E\/lock away: it must be a file and no link$/);
rmdir "$spool/lock";
rename "$spool/away", "$spool/lock" or die $!;
# Repeats can't be looked for in what is named as a day and is none.
my $none = "$spool/archive/2099-01-01";
open $fh, '>', $none or die $!;
is(cgi(spool => $spool, body => event())->{status}, 503, 'no day');
fails('no day', {},
	qr{archive/ +\Q$none\E, .*Not a directory: move it away});
is((check({ %in, PROTOCOL_HOOK_KEEP_DAYS => 0 }))[0], 0,
	'where no repeats are looked for, none fails');
unlink $none;

# Directories that are in use for something else: nothing is made there, and no
# cure would do anything to them.
for my $mode (0755, 0757, 01777) {
	my $other = scratch();
	mkdir "$other/new" or die $!;
	mkdir "$other/home" or die $!;
	open $fh, '>', "$other/passwd" or die $!;
	chmod $mode, $other;
	my $before = qx(find $other | sort);
	fails(sprintf('a directory in use, mode %o', $mode),
		{ PROTOCOL_HOOK_SPOOL => $other },
		qr/let PROTOCOL_HOOK_SPOOL name a directory of its own$/);
	is(qx(find $other | sort), $before, '... nothing is made in it');
	is((stat $other)[2] & 07777, $mode, '... nor changed');
}
# The system's own; for root, who could do it harm, in what only looks like them.
my @inside = $> == 0 ? ('unshare', '-m') : ();
SKIP: {
	my @system = qw(/home /opt /srv /usr/local /var/tmp /etc/../home/);
	push @system, '/', '/etc' if !@inside;
	skip 'root, and no namespaces', 4 * @system
		if @inside && system("@inside true 2>/dev/null") != 0;
	for my $system (@system) {
		my $like = $> == 0 ? "set -e; mount --make-rprivate /; mount -t tmpfs "
			. "-o mode=\$(stat -c %a $system) none $system; mkdir "
			. "$system/alice; " : '';
		($status, $out) = check({ %in, PROTOCOL_HOOK_SPOOL => $system,
			under => [@inside, 'sh', '-c', "$like\"\$@\"; r=\$?; "
			. "ls $system; exit \$r", 'sh'] });
		is($status, 1, "check: $system is no spool");
		like($out, qr/^FAIL +spool /m, '... says so');
		unlike($out, qr/: (?:chmod|chown|install) /,
			'... and no cure changes it');
		unlike($out, qr/^(?:new|archive|rejected)$/m,
			'... nothing is made in it');
	}
}
# What is there before the receiver's first start.
for my $before (qw(lost+found .snapshot archive)) {
	my $fresh = new_spool();
	mkdir "$fresh/$before" or die $!;
	is((check({ %in, PROTOCOL_HOOK_SPOOL => $fresh }))[0], 0,
		"check: a spool with $before alone is a fresh one");
}
# What was one, though somebody has removed a part and put other things there.
{
	my $used = new_spool();
	check({ %in, PROTOCOL_HOOK_SPOOL => $used });
	system "rm -r $used/archive $used/rejected";
	open $fh, '>', "$used/README" or die $!;
	is((check({ %in, PROTOCOL_HOOK_SPOOL => $used }))[0], 0,
		'check: a spool of which a part is gone is one');
}
for my $name (q(it's a spool; touch x), '-rf', '$(id)') {
	my $odd = scratch() . "/$name";
	mkdir $odd or die $!;
	check({ %in, PROTOCOL_HOOK_SPOOL => $odd });
	chmod 0757, $odd;
	($status, $out) = check({ %in, PROTOCOL_HOOK_SPOOL => $odd });
	my ($cure) = $out =~ /: (chmod o-w .*)$/m;
	is(system($cure // 'false'), 0, "$name: the cure can be typed");
	is((stat $odd)[2] & 07777, 0755, '... and cures');
}

# Keys: what is wrong with them, and the cure; what can't be meant is refused by
# the receiver, too.
fails('no key', { PROTOCOL_HOOK_SECRET => undef },
	qr/key .*PROTOCOL_HOOK_SECRET is not set.*: set .*, and in this shell/);
my $secret = "$dir/key";
my %file = (PROTOCOL_HOOK_SECRET => undef,
	PROTOCOL_HOOK_SECRET_FILE => $secret);
sub key_file {
	my ($text, $mode) = @_;
	unlink $secret;
	open my $file, '>:raw', $secret or die $!;
	print {$file} $text;
	close $file or die $!;
	chmod $mode // 0640, $secret or die $!;
	return;
}
fails('no secret file', \%file,
	qr/secret file +\Q$secret\E is not there: put the key/);
for (['', 'has no key: put the key into the file, on a line'],
	["\n\r\n", 'has no key: put the key into the file, on a line'],
	[join('', map { "$KEY$_\n" } 1 .. 9),
	'has too many keys: 8 is the limit: remove old keys'],
	["$KEY\0", 'has a NUL byte: put only the key there'],
	['x' x 70000, 'is larger than 64K: put only the key'],
	["\xef\xbb\xbf$KEY\n", 'has a byte order mark before a key: put only'],
	["$KEY\r$KEY-2\r", 'has a line break in a key: put only the key'],
	["# of the hook\n$KEY\n", 'has a comment, which would be a key: put'],
	["PROTOCOL_HOOK_SECRET=$KEY\n",
	'has the name of a variable before a key: put only .*without NAME=']) {
	my ($text, $line) = @{$_};
	key_file($text);
	fails('a file of ' . length($text) . ' bytes', \%file,
		qr/key +PROTOCOL_HOOK_SECRET_FILE $line/);
	unlike($out, qr/chmod|chown/, '... without a command');
	refused($line, \%file, 'PROTOCOL_HOOK_SECRET_FILE ' . $line =~ s/: .*//r);
	# A running one keeps the keys that it has.
	key_file($KEY);
	my $worker = worker(spool => $spool, env => \%file);
	is(post($worker, event())->{status}, 200, 'a key that is right');
	key_file($text);
	kill 'HUP', $worker->{pid};
	ok(wait_for(sub { slurp($worker->{log}) =~ /reload_failed/ }),
		'... is kept on SIGHUP');
	is(post($worker, event())->{status}, 200, '... and goes on');
	reap($worker);
}
for (["\xef\xbb\xbf$KEY", 'has a byte order mark'],
	["# comment\n$KEY", 'has a line break in a key'],
	['# comment', 'has a comment'],
	["PROTOCOL_HOOK_SECRET=$KEY", 'has the name of a variable']) {
	for my $name (qw(SECRET SECRET_PREVIOUS)) {
		my %with = (PROTOCOL_HOOK_SECRET => 'k' x 32,
			"PROTOCOL_HOOK_$name" => $_->[0]);
		fails("$name: $_->[1]", \%with, qr/key +PROTOCOL_HOOK_$name $_->[1]/);
		refused("$name: $_->[1]", \%with, "PROTOCOL_HOOK_$name $_->[1]");
	}
}
for (["\xe2\x80\x8b$KEY-long", 'not plain ASCII, or is invisible'],
	["$KEY-long\xc2\xa0", 'not plain ASCII'],
	["\xe2\x80\x9c$KEY-long\xe2\x80\x9d", 'not plain ASCII'],
	["\e[200~$KEY-long", 'not plain ASCII'],
	["$KEY-long\\n", 'a backslash with n or r'],
	["SECRET=$KEY-long", 'looks like NAME=value'],
	["#$KEY-long", 'begins with #'], ["$KEY and more", 'has white space'],
	["'$KEY-long'", 'a space or a quote']) {
	key_file("k-of-more-than-16-bytes\n$_->[0]\n");
	noted("a file: $_->[1]", \%file, "key +number 2 .*$_->[1]");
	noted("a variable: $_->[1]", { PROTOCOL_HOOK_SECRET => $_->[0] },
		"key +number 1 .*$_->[1]");
	is(cgi(spool => $spool, body => event(), env => \%file)->{status}, 401,
		'... but is a key like others');
}
fails('a directory as key file', { %file, PROTOCOL_HOOK_SECRET_FILE => $dir },
	qr/secret file +\Q$dir\E is a directory: name the file that has the key$/);
is(scalar(() = $out =~ /chmod|chown/g), 0, 'no cure changes it');
POSIX::mkfifo("$dir/fifo", 0644) or die $!;
fails('a FIFO as key file', { %file, PROTOCOL_HOOK_SECRET_FILE => "$dir/fifo" },
	qr/secret file +\Q$dir\E\/fifo is not a regular file: put the key into one/);
fails('an empty name of a key file', { %file, PROTOCOL_HOOK_SECRET_FILE => '' },
	qr/key +PROTOCOL_HOOK_SECRET_FILE is empty: it names no file: let it name/);
key_file("$KEY-and-more\nand-one-more-key\n", 0644);
fails('a secret file for all', \%file,
	qr/secret file .*every user may read .*: chmod o= \Q$secret\E$/);
key_file("# /etc/passwd, or another file that is not ours\n", 0644);
fails('a file that has no keys', \%file, qr/key .*has a comment/);
unlike($out, qr/chmod/, 'its mode is left alone');
fails('a secret file with too long a path', { %file,
	PROTOCOL_HOOK_SECRET_FILE => '/x' x 2500 },
	qr/secret file +(?:\/x){2500} can't be read/);
key_file("$KEY-and-more\nand-one-more-key\n");
($status, $out) = check({ %in, %file, PROTOCOL_HOOK_SECRET_FILE => 'key', under =>
	['sh', '-c', "cd $dir && exec \"\$@\"", 'sh'] });
is($status, 0, 'check: a secret file without a directory in its name')
	or diag($out);
fails('two sources of keys', { %file, PROTOCOL_HOOK_SECRET => 'k' },
	qr/key .*can't be set together with a key itself: remove PROTOCOL_HOOK_SEC/);
($status, $out) = check({ %in, %file });
is($status, 0, 'check: a secret file');
like($out, qr/^ok +key +2, the shortest of 16 bytes; /m, 'its keys');
noted('a short key', { PROTOCOL_HOOK_SECRET => 'short' }, 'key .*5 bytes');

# As somebody who is not root, nothing hides behind root's rights.
SKIP: {
	skip 'not root', 20 if $> != 0;
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
	my $nameless = "$home/nameless";
	mkdir $nameless, 0750 or die $!;
	chown 4242, 4242, $nameless;
	run({ %in, PROTOCOL_HOOK_SPOOL => $nameless }, 'check');
	is((stat "$nameless/archive")[4], 4242, 'nor is what root checks for a '
		. 'user without a name');
	chmod 0550, "$his/new";
	($status, $out) = run(\%his, 'check');
	is($status, 1, 'check: new/ read-only');
	like($out, qr{^FAIL .*new/.*denied: chmod u\+rwx \Q$his\E/new$}m, 'says so');
	chmod 0770, "$his/new";
	chmod 0500, "$his/archive";
	($status, $out) = run(\%his, 'check');
	like($out, qr{^FAIL +archive/ .*denied: chmod u\+rwx \Q$his\E/archive$}m,
		'check: archive/ read-only');
	chmod 0770, "$his/archive";
	mkdir "$his/archive/2099-01-01", 0700 or die $!;
	($status, $out) = run(\%his, 'check');
	like($out, qr{^FAIL +archive/ +\S+/2099-01-01, .*denied: chown -R nobody}m,
		'check: a day of somebody else');
	rmdir "$his/archive/2099-01-01";
	chmod 0600, $secret;
	chmod 0755, $dir;
	($status, $out) = run({ %his, %file }, 'check');
	like($out, qr{^FAIL +secret file .*can't be read by nobody: Permission denied: change}m,
		'check: a secret file of somebody else');
	# Who he is, and who else there may be.
	chmod 0640, $secret;
	system 'chown', '-R', '54321:54321', $his;
	($status, $out) = run(\%his, 'check');
	like($out, qr/^ok +user +54321 \(uid 54321\), /m,
		'root acts as an owner without a name');
	is($status, 0, 'who can do all');
	system 'chown', '-R', "$uid:$gid", $his;
	($status, $out) = run(\%his, 'check', '-u', 'nobody');
	like($out, qr/^ok +user +nobody /m, 'check -u');
	($status, $out, $err) = run(\%his, 'check', '-u', 'no-such-user');
	is($status, 1, 'check -u of nobody that is known');
	like($err, qr/there is no user no-such-user/, 'says so');
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


# Whom the receiver runs as: told, or the owner, but never guessed; and nothing
# is done that would take a spool from its owner.
sub cure {
	my ($with, @args) = @_;
	for my $tries (1 .. 8) {
		($status, $out) = run($with, 'check', @args);
		return $tries if $status == 0;
		# Nothing but what names this spool is run.
		my $path = quotemeta $with->{PROTOCOL_HOOK_SPOOL};
		my ($cure) = $out =~
			m{^FAIL .*: ((?:chmod|chown|install) [^;&|]* $path(?:/\S+)?)$}m
			or last;
		system($cure) == 0 or last;
	}
	return 0;
}
SKIP: {
	skip 'not root', 35 if $> != 0;
	my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
	my $home = scratch();
	chmod 0755, $home;
	my $his = "$home/his";
	my %his = (%in, PROTOCOL_HOOK_SPOOL => $his);
	($status, $out) = run(\%his, 'check');
	is($status, 1, 'no spool, and nobody to ask');
	unlike($out, qr/-o root/, '... root is not guessed');
	like($out, qr/^FAIL +spool .*: protocol-hook check -u USER,/m,
		'... but asked for');
	is(cure(\%his, '-u', 'nobody'), 2, 'with -u the cure makes it');
	is((stat $his)[4], $uid, '... for that user');
	like($out, qr/^ok +user +nobody .*: as -u says$/m, '... who is told');
	($status, $out) = run(\%his, 'check');
	like($out, qr/^ok +user +nobody .*: the spool's owner$/m,
		'without -u it is the owner');
	chown 0, 0, map { "$his/$_" } qw(new archive lock);
	cmp_ok(cure(\%his), '>', 1, 'what is root\'s in it is given to the owner');
	is((stat "$his/$_")[4], $uid, "... $_") for qw(new archive lock);
	mkdir "$his/work" or die $!;
	chmod 0700, "$his/work";
	chmod 0, "$his/rejected", "$his/lock", $his;
	cmp_ok(cure(\%his), '>', 1, 'modes are cured');
	is((stat "$his/work")[4], 0, '... and what is a reader\'s is left alone');

	my $mine = "$home/fresh";
	mkdir $mine, 0755 or die $!;
	($status, $out) = run({ %in, PROTOCOL_HOOK_SPOOL => $mine }, 'check');
	is($status, 1, 'a fresh spool that is root\'s');
	like($out, qr/^FAIL +user +.*no unit says whom.*check -u USER$/m,
		'... whom it is for is asked');
	is(scalar files($mine, '.'), 0, '... and nothing made in it');
	is(cure({ %in, PROTOCOL_HOOK_SPOOL => $mine }, '-u', 'nobody'), 2,
		'... with -u the cure gives it to that user');
	is((stat "$mine/new")[4], $uid, '... and all in it is his');

	# Somebody else.
	for my $args (['-u', 'daemon'], ['-u', '4711']) {
		($status, $out) = run(\%his, 'check', @{$args});
		is($status, 1, "check @{$args}, who can't use it");
		like($out, qr/^note +user .*but the spool is nobody's: this holds/m,
			'... says whose it is');
		like($out, qr/^FAIL .*denied: it is nobody's: as root, protocol/m,
			'... and how to check for him');
		unlike($out, qr/: (?:chown|chmod|install) /, '... nothing else');
	}
	skip 'nobody else can run it', 10 if !as_other();
	for my $mode (02750, 02777 & ~2, 02755) {
		chmod $mode, $his, map { "$his/$_" } qw(new archive rejected);
		($status, $out) = run({ %his, under => [as_other()] }, 'check');
		like($out, qr/^note +user +54321 .*nobody's: this holds for 54321/m,
			sprintf 'mode %o: run by somebody else', $mode);
		unlike($out, qr/: (?:chown|chmod|install) /, '... no cure');
	}
	# ... in whose group it is, so that he could.
	system 'chgrp', '-R', '54321', $his;
	system 'chmod', '-R', 'g+rwX', $his;
	system "rm -r $his/archive/*";
	($status, $out) = run({ %his, under => [as_other()] }, 'check');
	is($status, 0, 'one who could write in it');
	like($out, qr/^note +test delivery +left out/m, '... does not');
	is(scalar files($his, 'archive'), 0, '... and makes no day of his own');
	rmdir "$his/rejected";
	($status, $out) = run({ %his, under => [as_other()] }, 'check');
	like($out, qr/^note +spool +not opened/m, 'nor what is missing');
	ok(!-e "$his/rejected", '... in the spool');
}

SKIP: {
	skip 'nobody else can run it', 3 if !as_other();
	my %with = (%in, under => [as_other()]);
	($status, $out) = run(\%with, 'check');
	like($out, qr/^note +user +54321 \(uid 54321\), group \?, /m,
		'check: a user without a name');
	($status, $out, $err) = run(\%with, 'check', '-u', 'nobody');
	is($status, 1, 'check -u by one who may not');
	like($err, qr/acting as uid \d+: /, 'says so');
}

# With two sources of keys there is none, whatever is signalled.
my $worker = worker(spool => new_spool(),
	env => { PROTOCOL_HOOK_SECRET_FILE => $secret });
is(post($worker, event())->{status}, 500, 'both a key and a file of keys');
kill 'HUP', $worker->{pid};
wait_for(sub { slurp($worker->{log}) =~ /reload/ });
is(post($worker, event())->{status}, 500, '... also after SIGHUP');
reap($worker);

# A name that is misspelt is logged: once by a process, and in CGI where somebody
# looks, but not with each delivery.
my $unknown = qr/^$TS result=unknown_variable reason="PROTOCOL_HOOK_KEEPDAYS is not a (?#
	)variable of protocol-hook"\n/m;
my %misspelt = (spool => new_spool(), env => { PROTOCOL_HOOK_KEEPDAYS => 1 });
$worker = worker(%misspelt);
ok(wait_for(sub { -e $worker->{log} && slurp($worker->{log}) =~ $unknown }),
	'a misspelt variable is logged before any request');
is(post($worker, event())->{status}, 200, '... deliveries are taken')
	for 1 .. 2;
post($worker, '', params => { REQUEST_METHOD => 'GET' });
reap($worker);
is(scalar(() = slurp($worker->{log}) =~ /unknown_variable/g), 1, '... once');
$worker = worker(%misspelt, no_stderr => 1);
like(post($worker, event())->{err}, $unknown,
	'... to the web server where nobody reads standard error');
unlike(post($worker, event())->{err}, qr/unknown/, '... once');
reap($worker);
for (['GET', {}, 1], ['POST', {}, 0], ['POST', { HTTP_X_PROTOCOL_SIGNATURE => 0 },
	0], ['POST', { PROTOCOL_HOOK_MAX_BODY => 'x' }, 1]) {
	my ($method, $env, $n) = @{$_};
	my $got = cgi(spool => $misspelt{spool}, body => event(), env => {
		%{ $misspelt{env} }, REQUEST_METHOD => $method, %{$env} });
	is(scalar(() = $got->{log} =~ /$unknown/g), $n,
		"CGI: $method, $got->{status}: logged $n times");
}

done_testing();
