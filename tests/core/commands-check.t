#!/usr/bin/perl
# check: each thing that is wrong is one line, with its cure.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256_hex);
use POSIX ();
use Hook;
use Commands;

# The environment for SPOOL, with a key that is long enough.
sub environment {
	return (PROTOCOL_HOOK_SPOOL => $_[0], PROTOCOL_HOOK_SECRET => 'k' x 32);
}
# Here the receiver is whoever runs the test, also if that is root.
my @receiver = $> == 0 ? ('-u', 'root') : ();
# check of SPOOL, with more variables: exit status, output and messages.
sub check {
	my ($spool, $with) = @_;
	return run({ environment($spool), %{ $with // {} } }, 'check', @receiver);
}
# A spool that check has made.
sub checked_spool {
	my $spool = new_spool();
	check($spool);
	return $spool;
}

# check has one failure: its line matches LINE.  Returns the output.
sub fails {
	my ($spool, $name, $with, $line) = @_;
	my ($status, $out) = check($spool, $with);
	is($status, 1, "$name: exit status");
	my @fail = grep { /^FAIL/ } split /\n/, $out;
	is(scalar @fail, 1, "$name: one line fails") or diag($out);
	like($fail[0] // '', $line, "$name: what is wrong, and the cure");
	return $out;
}
# check has a note that begins as LINE, and succeeds.
sub notes {
	my ($spool, $name, $with, $line) = @_;
	my ($status, $out) = check($spool, $with);
	is($status, 0, "$name: exit status") or diag($out);
	like($out, qr/^note +$line/m, "$name: the note");
	return;
}
# The receiver answers 500 and logs REASON.
sub receiver_refuses {
	my ($spool, $name, $with, $reason) = @_;
	my $got = cgi(spool => $spool, body => event(), env => $with);
	is($got->{status}, 500, "the receiver: $name: status");
	like($got->{log}, qr/ reason="?$reason/, "the receiver: $name: the log");
	return;
}

# A secret file: its path, and variables for it.
sub key_file {
	my ($text, $mode) = @_;
	my $path = scratch() . '/key';
	put_keys($path, $text, $mode) if defined $text;
	return ($path, { PROTOCOL_HOOK_SECRET => undef,
		PROTOCOL_HOOK_SECRET_FILE => $path });
}
sub put_keys {
	my ($path, $text, $mode) = @_;
	unlink $path;
	spew($path, $text);
	chmod $mode // 0640, $path or die $!;
	return;
}

subtest 'nothing is wrong: every line is ok, and nothing is left in the spool' => sub {
	my $spool = new_spool();
	my ($status, $out, $err) = check($spool);
	is($status, 0, 'exit status') or diag($out);
	is($err, '', 'no message');
	unlike($out, qr/FAIL/, 'no line fails');
	is(scalar(grep { !/^(ok|note) +\S/ } split /\n/, $out), 0,
		'each line is ok or a note');
	like($out, qr/^ok +key +1, the shortest of 32 bytes; /m, 'the key');
	like($out, qr/^ok +test delivery /m, 'the test delivery');
	is(scalar files($spool, $_), 0, "nothing is left in $_/")
		for qw(new rejected);
	is(scalar(map { files($spool, "archive/$_") } files($spool, 'archive')), 0,
		'nothing is left in archive/');
	my $utc = qr/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/;
	like((check($spool))[1], qr/^ok +clock +$utc$/m, 'the clock');
};

subtest 'a wrong variable: the line has the word that is wrong' => sub {
	my $spool = checked_spool();
	for (['MAX_BODY', '1X', '"1X" is not a number of bytes from 1 to 1024M'],
		['MAX_BODY', '2G', '"2G" is not'], ['KEEP_DAYS', '', '"" is not'],
		['KEEP_DAYS', '-1', '"-1" is not a number of days from 0 to 3650'],
		['MIN_FREE', 'x', '"x" is not a number of bytes'],
		['EVENTS', 'message.*, mesage.* contact.*',
		'"mesage\.\*" is not an event that Protocol sends'],
		['EVENTS', ' , ', '"" is not'],
		['EVENTS', 'x' x 70, '"x{64}" is not'],
		['KEEP_DAYS', "7\e[2J\x{85}", '"7\?\[2J\?" is not'],
		['KEEP_DAYS', '7' x 300, '"7{64}..." is not'],
		['SECRET_FIEL', 'x', 'is not a variable of protocol-hook']) {
		fails($spool, "$_->[0]=$_->[1]", { "PROTOCOL_HOOK_$_->[0]" => $_->[1] },
			qr/PROTOCOL_HOOK_$_->[0] +$_->[2].*: correct or remove it$/);
	}
	fails($spool, 'SPOOL=', { PROTOCOL_HOOK_SPOOL => '' },
		qr/PROTOCOL_HOOK_SPOOL +"" is not the name of a directory: correct/);
	receiver_refuses($spool, 'KEEP_DAYS', { PROTOCOL_HOOK_KEEP_DAYS => '7d' },
		'PROTOCOL_HOOK_KEEP_DAYS .{1,2}7d.{1,2} is not a number of days');
	my ($long) = (check($spool, { 'PROTOCOL_HOOK_' . 'X' x 200 => 1 }))[1]
		=~ /^(FAIL .*)$/m;
	like($long, qr/PROTOCOL_HOOK_X{100,} is not a variable of.*: correct or (?#
		)remove/, 'a long unknown name');
};

subtest 'a spool that is missing, full or not a directory' => sub {
	my $spool = checked_spool();
	my $out = fails($spool, 'little free space',
		{ PROTOCOL_HOOK_MIN_FREE => '16777216G' },
		qr/space .*\Q$spool\E, \d+M.* free: below PROTOCOL_HOOK_MIN_FREE (?#
		)\(17179869184M\): remove files there/);
	my ($free) = $out =~ /, (\d+)M/;
	notes($spool, 'free space for some hours', { PROTOCOL_HOOK_MIN_FREE =>
		int($free * 0.8) . 'M' },
		'space .*get 503 below PROTOCOL_HOOK_MIN_FREE \(');
	fails("$spool-none", 'a missing spool', {}, $> == 0 ?
		qr/No such file or directory: install -d -m 2750 -o root -g root (?#
		)\Q$spool\E-none$/
		: qr/No such file or directory: protocol-hook check -u USER,/);
	fails($0, 'a file', {},
		qr/Not a directory: it is a file.*: let PROTOCOL_HOOK_SPOOL name/);
	fails('/x' x 2500, 'a path that is too long', {},
		qr/too long: the path is too long/);
	my $ring = scratch() . '/ring';
	symlink $ring, $ring or die $!;
	fails($ring, 'a link to itself', {},
		qr/let PROTOCOL_HOOK_SPOOL name a directory/);
};

subtest 'a clock that was set back' => sub {
	my $spool = checked_spool();
	utime 0, time + 3 * 86400, "$spool/new" or die $!;
	my $utc = qr/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/;
	fails($spool, 'new/ was changed later than now', {},
		qr/clock +it says $utc, .*$utc, later than now: set it/);
};

subtest 'a spool that others may write to, or with something else in it' => sub {
	my $spool = checked_spool();
	chmod 0757, $spool;
	fails($spool, 'the spool has mode 757', {},
		qr/others may write.*: chmod o-w \Q$spool\E$/);
	chmod 0750, $spool;
	chmod 0777, "$spool/archive";
	fails($spool, 'archive/ has mode 777', {},
		qr{archive/.*: chmod o-w \Q$spool\E/archive$});
	chmod 0770, "$spool/archive";
	rename "$spool/new", "$spool/away" or die $!;
	symlink 'away', "$spool/new" or die $!;
	fails($spool, 'new is a symbolic link', {}, qr{new/ .*: move \Q$spool\E/new (?#
		)away: it must be a directory and no link$});
	unlink "$spool/new";
	rename "$spool/away", "$spool/new" or die $!;
	rename "$spool/lock", "$spool/away" or die $!;
	mkdir "$spool/lock" or die $!;
	fails($spool, 'lock is a directory', {},
		qr/move \Q$spool\E\/lock away: it must be a file and no link$/);
};

subtest 'a day of the archive that is a file stops deliveries' => sub {
	my $spool = checked_spool();
	my $day = "$spool/archive/2099-01-01";
	spew($day);
	is(cgi(spool => $spool, body => event())->{status}, 503,
		'the receiver cannot look for duplicates');
	fails($spool, 'check', {},
		qr{archive/ +\Q$day\E, .*Not a directory: move it away});
	is((check($spool, { PROTOCOL_HOOK_KEEP_DAYS => 0 }))[0], 0,
		'check, if no duplicates are looked for: exit status');
};

# No cure may touch a directory with files of somebody else.
subtest 'a directory that is in use for something else is left alone' => sub {
	for my $mode (0755, 0757, 01777) {
		my $other = scratch();
		mkdir "$other/new" or die $!;
		mkdir "$other/home" or die $!;
		spew("$other/passwd");
		chmod $mode, $other;
		my $before = qx(find $other | sort);
		my $name = sprintf 'mode %o', $mode;
		fails($other, $name, {},
			qr/let PROTOCOL_HOOK_SPOOL name a directory of its own$/);
		is(qx(find $other | sort), $before, "$name: nothing is made in it");
		is((stat $other)[2] & 07777, $mode, "$name: its mode stays");
	}
};

# root could harm the real ones, so it gets others that are mounted over them.
subtest 'a directory of the system is never a spool' => sub {
	my @apart = $> == 0 ? ('unshare', '-m') : ();
	my @system = qw(/home /opt /srv /usr/local /var/tmp /etc/../home/);
	push @system, '/', '/etc' if !@apart;
	plan skip_all => 'root, and no namespaces'
		if @apart && system("@apart true 2>/dev/null") != 0;
	for my $system (@system) {
		my $like = $> == 0 ? "set -e; mount --make-rprivate /; mount -t tmpfs "
			. "-o mode=\$(stat -c %a $system) none $system; mkdir "
			. "$system/alice; " : '';
		my ($status, $out) = check($system, { under => [@apart, 'sh', '-c',
			"${like}a=\$(ls $system); r=0; \"\$@\" || r=\$?; " .
			"[ \"\$(ls $system)\" = \"\$a\" ] || echo changed; " .
			"exit \$r", 'sh'] });
		is($status, 1, "$system: exit status");
		like($out, qr/^FAIL +spool /m, "$system: the spool fails");
		unlike($out, qr/: (?:chmod|chown|install) /,
			"$system: no cure changes it");
		unlike($out, qr/^changed$/m, "$system: nothing is made in it");
	}
};

subtest 'a fresh spool, or one of which a part was removed, is accepted' => sub {
	for my $before (qw(lost+found .snapshot archive)) {
		my $fresh = new_spool();
		mkdir "$fresh/$before" or die $!;
		is((check($fresh))[0], 0, "a fresh one has $before");
	}
	my $used = checked_spool();
	system "rm -r $used/archive $used/rejected";
	spew("$used/README");
	is((check($used))[0], 0, 'a used one has a README, and no archive/');
};

subtest 'a cure can be typed whatever the spool\'s name' => sub {
	for my $name (q(it's a spool; touch x), '-rf', '$(id)') {
		my $odd = scratch() . "/$name";
		mkdir $odd or die $!;
		check($odd);
		chmod 0757, $odd;
		my ($cure) = (check($odd))[1] =~ /: (chmod o-w .*)$/m;
		is(system($cure // 'false'), 0, "$name: exit status of the cure");
		is((stat $odd)[2] & 07777, 0755, "$name: it is cured");
	}
};

subtest 'there is no key' => sub {
	my $spool = checked_spool();
	fails($spool, 'no variable', { PROTOCOL_HOOK_SECRET => undef },
		qr/key .*PROTOCOL_HOOK_SECRET is not set.*: set .*, and in this shell/);
	my ($path, $file) = key_file();
	fails($spool, 'no secret file', $file,
		qr/secret file +\Q$path\E is not there: put the key/);
	fails($spool, 'an empty name of the secret file',
		{ %{$file}, PROTOCOL_HOOK_SECRET_FILE => '' },
		qr/key +PROTOCOL_HOOK_SECRET_FILE is empty: it names no file: let it name/);
	($path, $file) = key_file("$KEY-and-more\nand-one-more-key\n");
	fails($spool, 'a key and a secret file',
		{ %{$file}, PROTOCOL_HOOK_SECRET => 'k' },
		qr/key .*can't be set together with a key itself: remove PROTOCOL_HOOK_SEC/);
};

# A file that cannot be meant so is refused by check and the receiver; a worker
# that is running keeps its keys.
subtest 'the content of a secret file is wrong' => sub {
	my $spool = checked_spool();
	for (['', 'has no key: put the key into the file, on a line'],
		["\n\r\n", 'has no key: put the key into the file, on a line'],
		[join('', map { "$KEY$_\n" } 1 .. 9),
		'has too many keys: 8 is the limit: remove old keys'],
		["$KEY\0", 'has a NUL byte: put only the key there'],
		['x' x 70000, 'is larger than 64K: put only the key'],
		["\xef\xbb\xbf$KEY\n", 'has a byte order mark before a key: put only'],
		["$KEY\r$KEY-2\r", 'has a line break in a key: put only the key'],
		["# of the hook\n$KEY\n", 'has a comment, which would be a key: put'],
		["PROTOCOL_HOOK_SECRET=$KEY\n", 'has the name of a variable before '
		. 'a key: put only .*without NAME=']) {
		my ($text, $line) = @{$_};
		my $what = $line =~ s/: .*//r;
		my ($path, $file) = key_file($text);
		my $name = "$what, " . length($text) . ' bytes';
		my $out = fails($spool, $name, $file,
			qr/key +PROTOCOL_HOOK_SECRET_FILE $line/);
		unlike($out, qr/chmod|chown/, "$name: the cure is not a command");
		receiver_refuses($spool, $name, $file,
			"PROTOCOL_HOOK_SECRET_FILE $what");
		put_keys($path, $KEY);
		my $worker = worker(spool => $spool, env => $file);
		is(post($worker, event())->{status}, 200,
			"$name: a worker with the right key");
		put_keys($path, $text);
		kill 'HUP', $worker->{pid};
		ok(wait_for(sub { slurp($worker->{log}) =~ /reload_failed/ }),
			"$name: SIGHUP does not load it");
		is(post($worker, event())->{status}, 200,
			"$name: the worker keeps the right key");
		reap($worker);
	}
};

subtest 'the content of a key variable is wrong' => sub {
	my $spool = checked_spool();
	for (["\xef\xbb\xbf$KEY", 'has a byte order mark'],
		["# comment\n$KEY", 'has a line break in a key'],
		['# comment', 'has a comment'],
		["PROTOCOL_HOOK_SECRET=$KEY", 'has the name of a variable']) {
		my ($key, $why) = @{$_};
		for my $name (qw(SECRET SECRET_PREVIOUS)) {
			my %with = (PROTOCOL_HOOK_SECRET => 'k' x 32,
				"PROTOCOL_HOOK_$name" => $key);
			fails($spool, "$name: $why", \%with,
				qr/key +PROTOCOL_HOOK_$name $why/);
			receiver_refuses($spool, "$name: $why", \%with,
				"PROTOCOL_HOOK_$name $why");
		}
	}
};

subtest 'a key that is unusual is noted, and used' => sub {
	my $spool = checked_spool();
	notes($spool, 'a short key', { PROTOCOL_HOOK_SECRET => 'short' },
		'key .*5 bytes');
	for (["\xe2\x80\x8b$KEY-long", 'not plain ASCII, or is invisible'],
		["$KEY-long\xc2\xa0", 'not plain ASCII'],
		["\xe2\x80\x9c$KEY-long\xe2\x80\x9d", 'not plain ASCII'],
		["\e[200~$KEY-long", 'not plain ASCII'],
		["$KEY-long\\n", 'a backslash with n or r'],
		["SECRET=$KEY-long", 'looks like NAME=value'],
		["#$KEY-long", 'begins with #'], ["$KEY and more", 'has white space'],
		["'$KEY-long'", 'a space or a quote']) {
		my ($key, $why) = @{$_};
		my ($path, $file) = key_file("k-of-more-than-16-bytes\n$key\n");
		notes($spool, "in a file: $why", $file, "key +number 2 .*$why");
		notes($spool, "in a variable: $why", { PROTOCOL_HOOK_SECRET => $key },
			"key +number 1 .*$why");
		is(cgi(spool => $spool, body => event(), env => $file)->{status}, 401,
			"in a file: $why: the receiver works");
	}
};

subtest 'a secret file that cannot be used, or that everybody may read' => sub {
	my $spool = checked_spool();
	my ($path, $file) = key_file("$KEY-and-more\nand-one-more-key\n");
	my $home = $path =~ s{/key$}{}r;
	my $named = sub { return { %{$file}, PROTOCOL_HOOK_SECRET_FILE => $_[0] } };
	my $out = fails($spool, 'a directory', $named->($home),
		qr/secret file +\Q$home\E is a directory: name the file that has the key$/);
	is(scalar(() = $out =~ /chmod|chown/g), 0, 'a directory: no cure changes it');
	POSIX::mkfifo("$home/fifo", 0644) or die $!;
	fails($spool, 'a FIFO', $named->("$home/fifo"), qr/secret file +\Q$home\E\/(?#
		)fifo is not a regular file: put the key into one/);
	fails($spool, 'a path that is too long', $named->('/x' x 2500),
		qr/secret file +(?:\/x){2500} can't be read/);
	chmod 0644, $path;
	fails($spool, 'mode 644', $file,
		qr/secret file .*every user may read .*: chmod o= \Q$path\E$/);
	put_keys($path, "# /etc/passwd, or another file that is not ours\n", 0644);
	$out = fails($spool, 'mode 644, and there are no keys in it', $file,
		qr/key .*has a comment/);
	unlike($out, qr/chmod/, 'mode 644, and there are no keys in it: no chmod');
};

subtest 'a secret file that is right' => sub {
	my $spool = checked_spool();
	my ($path, $file) = key_file("$KEY-and-more\nand-one-more-key\n");
	my ($status, $out) = check($spool, $file);
	is($status, 0, 'exit status');
	like($out, qr/^ok +key +2, the shortest of 16 bytes; /m, 'its keys');
	my $home = $path =~ s{/key$}{}r;
	($status, $out) = check($spool, { %{$file},
		PROTOCOL_HOOK_SECRET_FILE => 'key', under =>
		['sh', '-c', "cd $home && exec \"\$@\"", 'sh'] });
	is($status, 0, 'without a directory in its name: exit status') or diag($out);
};

# Runs the command of SPOOL, with ARGS, with no -u but in them.
sub run_on {
	my ($spool, @args) = @_;
	return run({ environment($spool) }, @args);
}
# A spool in a directory that everybody may enter, owned by UID and GID.
sub spool_of {
	my ($uid, $gid) = @_;
	my $home = scratch();
	chmod 0755, $home;
	mkdir "$home/spool", 0750 or die $!;
	chown $uid, $gid // $uid, "$home/spool" or die $!;
	return "$home/spool";
}
sub nobody { return (getpwnam 'nobody')[2, 3] }

subtest 'root checks as the spool\'s owner' => sub {
	plan skip_all => 'not root' if $> != 0;
	my ($uid, $gid) = nobody();
	my $spool = spool_of($uid, $gid);
	like((run_on($spool, 'check'))[1], qr/^ok +user +nobody /m, 'nobody');
	is((stat "$spool/new")[4], $uid, 'nobody: what is made is his');
	my $nameless = spool_of(4242);
	run_on($nameless, 'check');
	is((stat "$nameless/archive")[4], 4242,
		'a user without a name: what is made is his');
	system 'chown', '-R', '54321:54321', $spool;
	my ($status, $out) = run_on($spool, 'check');
	like($out, qr/^ok +user +54321 \(uid 54321\), /m,
		'a user without a name: the line');
	is($status, 0, 'a user without a name: exit status');
};

subtest 'check -u names the receiver\'s user' => sub {
	plan skip_all => 'not root' if $> != 0;
	my $spool = spool_of(nobody());
	like((run_on($spool, 'check', '-u', 'nobody'))[1], qr/^ok +user +nobody /m,
		'a user');
	my ($status, undef, $err) = run_on($spool, 'check', '-u', 'no-such-user');
	is($status, 1, 'an unknown user: exit status');
	like($err, qr/there is no user no-such-user/, 'an unknown user: the message');
};

subtest 'what the owner may not do fails, though root could' => sub {
	plan skip_all => 'not root' if $> != 0;
	my $spool = spool_of(nobody());
	run_on($spool, 'check');
	chmod 0550, "$spool/new";
	my ($status, $out) = run_on($spool, 'check');
	is($status, 1, 'new/ has mode 550: exit status');
	like($out, qr{^FAIL .*new/.*denied: chmod u\+rwx \Q$spool\E/new$}m,
		'new/ has mode 550: the cure');
	chmod 0770, "$spool/new";
	chmod 0500, "$spool/archive";
	like((run_on($spool, 'check'))[1],
		qr{^FAIL +archive/ .*denied: chmod u\+rwx \Q$spool\E/archive$}m,
		'archive/ has mode 500');
	chmod 0770, "$spool/archive";
	mkdir "$spool/archive/2099-01-01", 0700 or die $!;
	like((run_on($spool, 'check'))[1],
		qr{^FAIL +archive/ +\S+/2099-01-01, .*denied: chown -R nobody}m,
		'a day is root\'s');
	rmdir "$spool/archive/2099-01-01";
	my ($path, $file) = key_file("$KEY-and-more\n", 0600);
	chmod 0755, $path =~ s{/key$}{}r;
	like((run({ environment($spool), %{$file} }, 'check'))[1], qr{^FAIL +secret (?#
		)file .*can't be read by nobody: Permission denied: change}m,
		'the secret file is root\'s');
};

subtest 'root follows no link of the owner, and reads no more than he may' => sub {
	plan skip_all => 'not root' if $> != 0;
	my $spool = spool_of(nobody());
	run_on($spool, 'check');
	my ($day) = files($spool, 'archive');
	my $secret = $spool =~ s{/spool$}{/secret}r;
	spew($secret, event(id => 'stolen'));
	chmod 0600, $secret;
	symlink $secret, "$spool/archive/$day/" . sha256_hex('root only') or die $!;
	unlike((run_on($spool, 'replay', '-n', '-a'))[1], qr/stolen/,
		'replay: a symbolic link in the archive');
	chmod 0000, "$spool/archive/$day";
	my ($status, $out) = run_on($spool, 'status', '-j');
	is($status, 1, 'status: a day with mode 0: exit status');
	is($out, '', 'status: a day with mode 0: nothing is printed');
};

# Runs the cures of check until it succeeds: how many runs that took, or 0.
sub cure {
	my ($spool, @args) = @_;
	for my $tries (1 .. 8) {
		my ($status, $out) = run_on($spool, 'check', @args);
		return ($tries, $out) if $status == 0;
		# Runs nothing but commands that name this spool.
		my ($cure) = $out =~
			m{^FAIL .*: ((?:chmod|chown|install) [^;&|]* \Q$spool\E(?:/\S+)?)$}m
			or last;
		system($cure) == 0 or last;
	}
	return 0;
}

subtest 'the user of a missing spool is asked for, never guessed' => sub {
	plan skip_all => 'not root' if $> != 0;
	my ($uid) = nobody();
	my $spool = spool_of(0);
	rmdir $spool or die $!;
	my ($status, $out) = run_on($spool, 'check');
	is($status, 1, 'without -u: exit status');
	unlike($out, qr/-o root/, 'without -u: root is not guessed');
	like($out, qr/^FAIL +spool .*: protocol-hook check -u USER,/m,
		'without -u: the cure asks for it');
	(my $tries, $out) = cure($spool, '-u', 'nobody');
	is($tries, 2, 'with -u the cure makes the spool');
	is((stat $spool)[4], $uid, 'with -u it is that user\'s');
	like($out, qr/^ok +user +nobody .*: as -u says$/m, 'with -u: who it is');
	like((run_on($spool, 'check'))[1], qr/^ok +user +nobody .*: the spool's owner$/m,
		'after that, without -u: the owner');
};

subtest 'cures give the owner what is root\'s, and leave readers\' files alone' => sub {
	plan skip_all => 'not root' if $> != 0;
	my ($uid, $gid) = nobody();
	my $spool = spool_of($uid, $gid);
	run_on($spool, 'check');
	chown 0, 0, map { "$spool/$_" } qw(new archive lock);
	cmp_ok((cure($spool))[0], '>', 1, 'directories of root are cured');
	is((stat "$spool/$_")[4], $uid, "$_ is the owner's") for qw(new archive lock);
	mkdir "$spool/work" or die $!;
	chmod 0700, "$spool/work";
	chmod 0, "$spool/rejected", "$spool/lock", $spool;
	cmp_ok((cure($spool))[0], '>', 1, 'modes are cured');
	is((stat "$spool/work")[4], 0, 'a reader\'s directory is left alone');
};

subtest 'the user of a fresh spool that is root\'s is asked for' => sub {
	plan skip_all => 'not root' if $> != 0;
	my ($uid) = nobody();
	my $spool = spool_of(0);
	chmod 0755, $spool;
	my ($status, $out) = run_on($spool, 'check');
	is($status, 1, 'without -u: exit status');
	like($out, qr/^FAIL +user +.*no unit says whom.*check -u USER$/m,
		'without -u: the cure asks for it');
	is(scalar files($spool, '.'), 0, 'without -u: nothing is made in it');
	is((cure($spool, '-u', 'nobody'))[0], 2, 'with -u the cure changes its owner');
	is((stat "$spool/new")[4], $uid, 'with -u: all in it is that user\'s');
};

subtest 'check as another user than the owner: no cure takes the spool away' => sub {
	plan skip_all => 'not root' if $> != 0;
	my $spool = spool_of(nobody());
	run_on($spool, 'check');
	for my $user ('daemon', '4711') {
		my ($status, $out) = run_on($spool, 'check', '-u', $user);
		is($status, 1, "-u $user: exit status");
		like($out, qr/^note +user .*but the spool is nobody's: this holds/m,
			"-u $user: whose it is");
		like($out, qr/^FAIL .*denied: it is nobody's: as root, protocol/m,
			"-u $user: how to check for the owner");
		unlike($out, qr/: (?:chown|chmod|install) /, "-u $user: no cure");
	}
};

subtest 'check by another user than the owner changes nothing' => sub {
	my @other = as_other();
	plan skip_all => 'not root, or nobody else can run it' if $> != 0 || !@other;
	my $spool = spool_of(nobody());
	run_on($spool, 'check');
	my $check = sub { return run({ environment($spool), under => [@other] },
		'check') };
	for my $mode (02750, 02777 & ~2, 02755) {
		chmod $mode, $spool, map { "$spool/$_" } qw(new archive rejected);
		my $out = ($check->())[1];
		my $name = sprintf 'mode %o', $mode;
		like($out, qr/^note +user +54321 .*nobody's: this holds for 54321/m,
			"$name: for whom it holds");
		unlike($out, qr/: (?:chown|chmod|install) /, "$name: no cure");
	}
	system 'chgrp', '-R', '54321', $spool;
	system 'chmod', '-R', 'g+rwX', $spool;
	system "rm -r $spool/archive/*";
	my ($status, $out) = $check->();
	is($status, 0, 'one of its group, who may write: exit status');
	like($out, qr/^note +test delivery +left out/m,
		'one of its group: no test delivery');
	is(scalar files($spool, 'archive'), 0, 'one of its group: no day is made');
	rmdir "$spool/rejected";
	($status, $out) = $check->();
	like($out, qr/^note +spool +not opened/m,
		'a directory is missing: the spool is not opened');
	ok(!-e "$spool/rejected", 'a directory is missing: it is not made');
};

subtest 'check by a user without a name' => sub {
	my @other = as_other();
	plan skip_all => 'nobody else can run it' if !@other;
	my %with = (environment(checked_spool()), under => [@other]);
	like((run(\%with, 'check'))[1], qr/^note +user +54321 \(uid 54321\), group \?, /m,
		'the line');
	my ($status, undef, $err) = run(\%with, 'check', '-u', 'nobody');
	is($status, 1, '-u, which only root may use: exit status');
	like($err, qr/acting as uid \d+: /, '-u: the message');
};

subtest 'the receiver has no key if a key and a secret file are set' => sub {
	my ($path, $file) = key_file("$KEY-and-more\n");
	my $worker = worker(spool => new_spool(),
		env => { PROTOCOL_HOOK_SECRET_FILE => $path });
	is(post($worker, event())->{status}, 500, 'status');
	kill 'HUP', $worker->{pid};
	wait_for(sub { slurp($worker->{log}) =~ /reload/ });
	is(post($worker, event())->{status}, 500, 'status after SIGHUP');
	reap($worker);
};

my $UNKNOWN = qr/^$TS result=unknown_variable reason="PROTOCOL_HOOK_KEEPDAYS is not a (?#
	)variable of protocol-hook"\n/m;

subtest 'a worker logs an unknown variable once' => sub {
	my %misspelt = (spool => new_spool(), env => { PROTOCOL_HOOK_KEEPDAYS => 1 });
	my $worker = worker(%misspelt);
	ok(wait_for(sub { -e $worker->{log} && slurp($worker->{log}) =~ $UNKNOWN }),
		'before any request');
	is(post($worker, event())->{status}, 200, "delivery $_ is stored") for 1 .. 2;
	post($worker, '', params => { REQUEST_METHOD => 'GET' });
	reap($worker);
	is(scalar(() = slurp($worker->{log}) =~ /unknown_variable/g), 1, 'once');
	$worker = worker(%misspelt, no_stderr => 1);
	like(post($worker, event())->{err}, $UNKNOWN,
		'without standard error: to the web server');
	unlike(post($worker, event())->{err}, qr/unknown/,
		'without standard error: once');
	reap($worker);
};

subtest 'CGI logs an unknown variable if a person may look, not for each delivery' => sub {
	my $spool = new_spool();
	for (['GET', {}, 1], ['POST', {}, 0],
		['POST', { HTTP_X_PROTOCOL_SIGNATURE => 0 }, 0],
		['POST', { PROTOCOL_HOOK_MAX_BODY => 'x' }, 1]) {
		my ($method, $env, $n) = @{$_};
		my $got = cgi(spool => $spool, body => event(), env => {
			PROTOCOL_HOOK_KEEPDAYS => 1, REQUEST_METHOD => $method,
			%{$env} });
		is(scalar(() = $got->{log} =~ /$UNKNOWN/g), $n,
			"$method, status $got->{status}: lines");
	}
};

done_testing();
