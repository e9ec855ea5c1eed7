#!/usr/bin/perl
# The commands in a shell without variables: they use what the package's unit
# uses, or say why not.
use strict;
use warnings;
use Test::More;
use File::Path qw(make_path remove_tree);
use Hook;
use Commands;

$PROGRAM = "$ENV{PWD}/build/root/protocol-hook";
plan skip_all => "there is no $PROGRAM: make check" if !-x $PROGRAM;

my ($status, $out, $err, $fh);
my $at = scratch();		# what it takes for the system is $at/root
my $etc = "$at/root/etc/protocol-hook";
my $secret = 'root/etc/protocol-hook/secret';
my $units = "$at/root/usr/lib/systemd/system";
my $spool = new_spool();
make_path($etc, $units);
chmod 0755, $at;
my @receiver = $> == 0 ? ('-u', 'root') : ();

# A command with no PROTOCOL_HOOK_ variable but those given; watch may not end.
sub plain {
	my ($with, @args) = @_;
	my @under = @{ delete $with->{under} // [] };
	return run({ PROTOCOL_HOOK_SECRET => undef,
		PROTOCOL_HOOK_MIN_FREE => undef, %{$with}, under => [@under, 'sh',
		'-c', "cd $at && exec timeout 20 \"\$@\"", 'sh'] }, @args);
}
sub put {
	my ($path, $text, $mode) = @_;
	unlink $path;
	open my $file, '>:raw', $path or die "$path: $!";
	print {$file} $text;
	close $file or die $!;
	chmod $mode // 0640, $path or die $!;
	return;
}
sub environment { return put("$etc/environment", $_[0], 0644) }

# Nothing is there.
($status, $out) = plain({}, 'sign');
is($status, 1, 'without any file there is no key');
like($out = (plain({}, 'check', @receiver))[1],
	qr/^FAIL +key +PROTOCOL_HOOK_SECRET is not set/m, '... says check');
unlike($out, qr/^\S+ +environment/m, '... and takes none');
put("$units/protocol-hook.service", "[Service]\nUser=nobody\n");
like((plain({}, 'check', @receiver))[1], qr/^FAIL +key .*in this shell; or ask (?#
	)the service: systemctl start protocol-hook-check;/m,
	'... and where there is a unit, whom to ask');
unlink "$units/protocol-hook.service";

# What the unit uses.
put("$etc/secret", "$KEY-which-is-longer\n");
environment("# comment\n; another\n\nPROTOCOL_HOOK_SPOOL=$spool\n" .
	"PROTOCOL_HOOK_MIN_FREE=0\n");
($status, $out) = plain({}, 'check', @receiver);
is($status, 0, 'check takes both') or diag($out);
like($out, qr{^ok +environment +root/etc/protocol-hook/environment and (?#
	)\Q$secret\E, as no PROTOCOL_HOOK_ variable is set in this shell$}m,
	'... says so');
like($out, qr/^ok +PROTOCOL_HOOK_SPOOL +\Q$spool\E$/m, '... the spool of the unit');
like($out, qr/^ok +secret file +\Q$secret\E, mode 640/m, '... and its key');
deliver($spool, event(id => 'seen'));
($status, $out) = plain({ in => 'x' }, 'sign');
is($out, sign('x', "$KEY-which-is-longer") . "\n", 'sign, too');
is((plain({ in => 'x' }, 'verify', sign('x', "$KEY-which-is-longer")))[0], 0,
	'verify, too');
like((plain({}, 'status', '-j'))[1], qr/"archived_deliveries":1,/, 'status, too');
unlink map { "$spool/new/$_" } files($spool);
like((plain({}, 'replay', '-n', '-a'))[1], qr/ seen /, 'replay, too');
my ($pid, $look);
SKIP: {
	skip 'no terminal', 1 if !terminal();
	($pid, $look) = on_terminal({ PROTOCOL_HOOK_SECRET => undef,
		PROTOCOL_HOOK_MIN_FREE => undef, start => 1,
		under => ['sh', '-c', "cd $at && exec \"\$@\"", 'sh'] }, 'watch');
	ok(wait_for(sub { $look->(0.1) =~
		m{waiting for deliveries in \Q$spool\E/new} }), 'watch, too');
	kill 'TERM', $pid;
	waitpid $pid, 0;
}

# One variable in the shell, and none of it is used.
($status, $out) = plain({ PROTOCOL_HOOK_SPOOL => $spool }, 'check', @receiver);
like($out, qr/^FAIL +key +PROTOCOL_HOOK_SECRET is not set/m,
	'what is set in the shell is all that counts');
unlike($out, qr/^\S+ +environment/m, '... no file does');
# Nor by the receiver, ever.
my $got = cgi(spool => undef, env => { PROTOCOL_HOOK_SECRET => undef,
	PROTOCOL_HOOK_MIN_FREE => undef }, under => ['sh', '-c',
	"cd $at && exec \"\$@\"", 'sh']);
like($got->{log}, qr/PROTOCOL_HOOK_SECRET is not set/, 'a receiver takes none');

# As systemd reads it: later lines count, and names of others do not matter.
for (['PROTOCOL_HOOK_KEEP_DAYS="14"', 14], ["PROTOCOL_HOOK_KEEP_DAYS='14'", 14],
	["\t PROTOCOL_HOOK_KEEP_DAYS = 14 \r", 14], ['PROTOCOL_HOOK_KEEP_DAYS=14', 14],
	["PROTOCOL_HOOK_KEEP_DAYS=1\nOTHER=x\nPROTOCOL_HOOK_KEEP_DAYS=14", 14],
	['OTHER=14', 7]) {
	environment("PROTOCOL_HOOK_SPOOL=$spool\nPROTOCOL_HOOK_MIN_FREE=0\n$_->[0]");
	($status, $out) = plain({}, 'check', @receiver);
	like($out, qr/^ok +PROTOCOL_HOOK_KEEP_DAYS +$_->[1]$/m, "environment: $_->[0]");
	is($status, 0, '... nothing fails');
}
for (['PROTOCOL_HOOK_KEEP_DAYS', 'is not NAME=value'],
	['export PROTOCOL_HOOK_KEEP_DAYS=14', 'does not begin with the name'],
	['=14', 'does not begin with the name'],
	['PROTOCOL_HOOK_KEEP_DAYS="14', 'a quote or a backslash'],
	['PROTOCOL_HOOK_KEEP_DAYS=1"4"', 'a quote or a backslash'],
	['PROTOCOL_HOOK_KEEP_DAYS="1"4', 'a quote or a backslash'],
	['PROTOCOL_HOOK_KEEP_DAYS=1\\', 'a quote or a backslash'],
	['OTHER=1\\', 'a quote or a backslash']) {
	environment("\nPROTOCOL_HOOK_SPOOL=$spool\n$_->[0]\n");
	($status, $out) = plain({}, 'check', @receiver);
	like($out, qr{^FAIL +environment +root/\S+: line 3 .*$_->[1].*systemctl start}m,
		"environment: $_->[0]: refused");
	is($status, 1, '... fails');
	for my $command (['status'], ['replay', '-a'], ['watch'], ['sign']) {
		($status, $out, $err) = plain({}, @{$command});
		is($status, 1, "... $command->[0] guesses nothing");
		like($err, qr{environment: line 3 }, '... and says why');
	}
}
environment("PROTOCOL_HOOK_KEEP_DAYS=7 # days\n");
like((plain({}, 'check', @receiver))[1],
	qr/^FAIL +PROTOCOL_HOOK_KEEP_DAYS +"7 # days" is not/m,
	'environment: a comment behind a value is part of it, as for systemd');
environment("A=1\0\n");
like((plain({}, 'check', @receiver))[1], qr/^FAIL +environment .*a NUL byte/m,
	'environment: a NUL byte');
environment("PROTOCOL_HOOK_SPOOL=$spool\nPROTOCOL_HOOK_KEEPDAYS=14\n");
like((plain({}, 'check', @receiver))[1],
	qr/^FAIL +PROTOCOL_HOOK_KEEPDAYS +is not a variable/m,
	'environment: a name that is misspelt');
environment("PROTOCOL_HOOK_SECRET=$KEY\n");
like((plain({}, 'check', @receiver))[1], qr/^FAIL +key .*together with a key/m,
	'environment: a key beside the file');
environment("PROTOCOL_HOOK_SECRET_FILE=$at/other\nPROTOCOL_HOOK_SPOOL=$spool\n");
like((plain({}, 'check', @receiver))[1],
	qr{^FAIL +secret file +\Q$at\E/other is not there}m,
	'environment: another file, as the unit would take it');
unlink "$etc/environment";
mkdir "$etc/environment" or die $!;
like((plain({}, 'check', @receiver))[1],
	qr/^FAIL +environment .*Is a directory: correct it/m,
	'environment: a directory');
rmdir "$etc/environment";

# As another: what can't be read is said, with whom to ask.
SKIP: {
	skip 'nobody else can run it', 6 if !as_other();
	environment("PROTOCOL_HOOK_SPOOL=$spool\n");
	chmod 0600, "$etc/environment", "$etc/secret";
	for my $command (['status'], ['sign']) {
		($status, $out, $err) = plain({ under => [as_other()] }, @{$command});
		is($status, 1, "$command->[0]: what can't be read");
		like($err, qr{etc/protocol-hook/environment: Permission denied},
			'... is not guessed at');
	}
	($status, $out) = plain({ under => [as_other()] }, 'check');
	like($out, qr/^FAIL +environment .*denied: correct it, or ask the service: /m,
		'check: nor does check');
	like($out, qr/^FAIL +secret file +\Q$secret\E can't be read by 54321: as root,(?#
		) protocol-hook check; or ask the service: systemctl start/m,
		'... nor the key');
}

# The unit's user, where no spool tells; and the key, which root hands to it.
SKIP: {
	skip 'not root', 20 if $> != 0;
	my $nobody = (getpwnam 'nobody')[2];
	my $unit = "[Unit]\nX=y\n[Service]\nUser=nobody\n"
		. "LoadCredential=secret:/etc/protocol-hook/secret\n";
	my $his = "$at/his";
	put("$units/protocol-hook.service", $unit, 0644);
	put("$etc/secret", "$KEY-which-is-longer\n", 0600);
	environment("PROTOCOL_HOOK_SPOOL=$his\nPROTOCOL_HOOK_MIN_FREE=0\n");
	($status, $out) = plain({}, 'check');
	like($out, qr/^ok +user +nobody .*: User= of protocol-hook.service$/m,
		'a missing spool: as the user of the unit');
	like($out, qr/^FAIL .*: install -d -m 2750 -o nobody -g nogroup \Q$his\E$/m,
		'... whose it is to be');
	system(($out =~ /: (install .* \Q$his\E)$/m)[0] // 'false');
	($status, $out) = plain({}, 'check');
	is($status, 0, 'the cure cures') or diag($out);
	is((stat "$his/new")[4], $nobody, '... what is made is his');
	like($out, qr/^ok +secret file .*mode 600, uid 0/m,
		'a key that systemd reads for the unit');
	# Where it does not, the user must be able to.
	put("$units/protocol-hook.service", "[Service]\nUser=nobody\n", 0644);
	($status, $out) = plain({}, 'check');
	like($out, qr/^FAIL +secret file .*can't be read by nobody/m,
		'... and one that it does not');
	put("$units/protocol-hook.service", $unit, 0644);
	# A spool of another user's is that one's, whatever the unit says.
	chown 1, 1, $his, map { "$his/$_" } qw(new archive rejected lock);
	remove_tree("$his/archive", { keep_root => 1 });
	($status, $out) = plain({}, 'check');
	like($out, qr/^note +user +daemon .*owner.* protocol-hook.service runs as nobody/m,
		'the owner before the unit, and both are said');
	like($out, qr/^FAIL +secret file .*can't be read by daemon/m,
		'... who gets no key from systemd');
	# systemctl edit
	make_path("$at/root/etc/systemd/system/protocol-hook.service.d");
	put("$at/root/etc/systemd/system/protocol-hook.service.d/override.conf",
		"[Service]\nUser=daemon\n", 0644);
	($status, $out) = plain({}, 'check');
	is($status, 0, 'a drop-in names another user') or diag($out);
	# A spool that is root's, and fresh.
	remove_tree($his);
	mkdir $his, 0750 or die $!;
	($status, $out) = plain({}, 'check');
	like($out, qr/^FAIL .*: if there is nothing else in it, chown daemon \Q$his\E$/m,
		'a fresh spool that is root\'s: as the user of the unit');
	is(scalar files($his, '.'), 0, '... nothing is made in it');
}

done_testing();
