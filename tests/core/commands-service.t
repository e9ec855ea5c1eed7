#!/usr/bin/perl
# The commands in a shell without PROTOCOL_HOOK_ variables: they use the settings
# of the package's systemd unit, or say why they cannot.
use strict;
use warnings;
use Test::More;
use File::Path qw(make_path remove_tree);
use Hook;
use Commands;

# It looks for the system's files below root/ in the current directory.
$PROGRAM = "$ENV{PWD}/build/root/protocol-hook";
plan skip_all => "there is no $PROGRAM: make check" if !-x $PROGRAM;

my $SECRET = 'root/etc/protocol-hook/secret';
my $ENVIRONMENT = 'root/etc/protocol-hook/environment';
my $LONG_KEY = "$KEY-which-is-longer";
umask 022;	# as in a package, everybody may enter the directories
my @receiver = $> == 0 ? ('-u', 'root') : ();

sub put {
	my ($path, $text, $mode) = @_;
	unlink $path;
	spew($path, $text);
	chmod $mode // 0640, $path or die $!;
	return;
}
# A system of its own, without any file: where it is, and directories in it.
sub new_system {
	my $at = scratch();
	chmod 0755, $at;
	my $system = { at => $at, spool => new_spool(),
		etc => "$at/root/etc/protocol-hook",
		units => "$at/root/usr/lib/systemd/system" };
	make_path($system->{etc}, $system->{units});
	return $system;
}
sub put_environment {
	my ($system, $text) = @_;
	return put("$system->{etc}/environment", $text, 0644);
}
sub put_unit {
	my ($system, $text) = @_;
	return put("$system->{units}/protocol-hook.service", $text, 0644);
}
# A system as the package makes it: a key, and an environment file that names the
# spool.
sub packaged_system {
	my $system = new_system();
	put("$system->{etc}/secret", "$LONG_KEY\n");
	put_environment($system, "# comment\n; another\n\n"
		. "PROTOCOL_HOOK_SPOOL=$system->{spool}\nPROTOCOL_HOOK_MIN_FREE=0\n");
	return $system;
}

# Runs a command on SYSTEM with no PROTOCOL_HOOK_ variable but those in WITH; one
# that does not end, such as watch, is ended.
sub plain {
	my ($system, $with, @args) = @_;
	my @under = @{ $with->{under} // [] };
	return run({ PROTOCOL_HOOK_SECRET => undef,
		PROTOCOL_HOOK_MIN_FREE => undef, %{$with}, under => [@under, 'sh',
		'-c', "cd $system->{at} && exec timeout 20 \"\$@\"", 'sh'] }, @args);
}
# check as the receiver's user: exit status and output.
sub check {
	my ($system, $with) = @_;
	return plain($system, $with // {}, 'check', @receiver);
}
sub check_output { return (check(@_))[1] }

subtest 'without any file there is no key' => sub {
	my $system = new_system();
	is((plain($system, {}, 'sign'))[0], 1, 'sign: exit status');
	my $out = check_output($system);
	like($out, qr/^FAIL +key +PROTOCOL_HOOK_SECRET is not set/m,
		'check: there is no key');
	unlike($out, qr/^\S+ +environment/m, 'check: it used no file');
	put_unit($system, "[Service]\nUser=nobody\n");
	like(check_output($system), qr/^FAIL +key .*in this shell; or ask (?#
		)the service: systemctl start protocol-hook-check;/m,
		'check, with a unit: how to ask the service');
};

subtest 'each command uses the files of the unit' => sub {
	my $system = packaged_system();
	my $spool = $system->{spool};
	my ($status, $out) = check($system);
	is($status, 0, 'check: exit status') or diag($out);
	like($out, qr{^ok +environment +\Q$ENVIRONMENT\E and \Q$SECRET\E, as no (?#
		)PROTOCOL_HOOK_ variable is set in this shell$}m,
		'check: which files, and why');
	like($out, qr/^ok +PROTOCOL_HOOK_SPOOL +\Q$spool\E$/m, 'check: the spool');
	like($out, qr/^ok +secret file +\Q$SECRET\E, mode 640/m, 'check: the key');
	deliver($spool, event(id => 'seen'));
	is((plain($system, { in => 'x' }, 'sign'))[1], sign('x', $LONG_KEY) . "\n",
		'sign');
	is((plain($system, { in => 'x' }, 'verify', sign('x', $LONG_KEY)))[0], 0,
		'verify');
	like((plain($system, {}, 'status', '-j'))[1], qr/"archived_deliveries":1,/,
		'status');
	unlink map { "$spool/new/$_" } files($spool);
	like((plain($system, {}, 'replay', '-n', '-a'))[1], qr/ seen /, 'replay');
	SKIP: {
		skip 'no terminal', 1 if !terminal();
		my ($pid, $look) = on_terminal({ PROTOCOL_HOOK_SECRET => undef,
			PROTOCOL_HOOK_MIN_FREE => undef, start => 1, under => ['sh',
			'-c', "cd $system->{at} && exec \"\$@\"", 'sh'] }, 'watch');
		ok(wait_for(sub { $look->(0.1) =~
			m{waiting for deliveries in \Q$spool\E/new} }), 'watch');
		kill 'TERM', $pid;
		waitpid $pid, 0;
	}
};

subtest 'with one variable in the shell, no file is used' => sub {
	my $system = packaged_system();
	my $out = check_output($system, { PROTOCOL_HOOK_SPOOL => $system->{spool} });
	like($out, qr/^FAIL +key +PROTOCOL_HOOK_SECRET is not set/m,
		'check: there is no key');
	unlike($out, qr/^\S+ +environment/m, 'check: it used no file');
};

subtest 'the receiver never uses the files' => sub {
	my $system = packaged_system();
	my $got = cgi(spool => undef, env => { PROTOCOL_HOOK_SECRET => undef,
		PROTOCOL_HOOK_MIN_FREE => undef }, under => ['sh', '-c',
		"cd $system->{at} && exec \"\$@\"", 'sh']);
	like($got->{log}, qr/PROTOCOL_HOOK_SECRET is not set/, 'CGI: its log');
};

subtest 'the environment file is read as systemd reads it' => sub {
	my $system = packaged_system();
	my $keep = 'PROTOCOL_HOOK_KEEP_DAYS';
	for (["$keep=\"14\"", 14], ["$keep='14'", 14], ["\t $keep = 14 \r", 14],
		["$keep=14", 14], ["$keep=1\nOTHER=x\n$keep=14", 14],
		['OTHER=14', 7]) {
		my ($lines, $days) = @{$_};
		put_environment($system, "PROTOCOL_HOOK_SPOOL=$system->{spool}\n"
			. "PROTOCOL_HOOK_MIN_FREE=0\n$lines");
		my ($status, $out) = check($system);
		like($out, qr/^ok +$keep +$days$/m, "$lines: the value");
		is($status, 0, "$lines: exit status");
	}
	put_environment($system, "$keep=7 # days\n");
	like(check_output($system), qr/^FAIL +$keep +"7 # days" is not/m,
		'a comment after a value is part of the value');
};

subtest 'a line that systemd may read in another way is refused' => sub {
	my $system = packaged_system();
	my $keep = 'PROTOCOL_HOOK_KEEP_DAYS';
	for ([$keep, 'is not NAME=value'],
		["export $keep=14", 'does not begin with the name'],
		['=14', 'does not begin with the name'],
		["$keep=\"14", 'a quote or a backslash'],
		["$keep=1\"4\"", 'a quote or a backslash'],
		["$keep=\"1\"4", 'a quote or a backslash'],
		["$keep=1\\", 'a quote or a backslash'],
		['OTHER=1\\', 'a quote or a backslash']) {
		my ($line, $why) = @{$_};
		put_environment($system,
			"\nPROTOCOL_HOOK_SPOOL=$system->{spool}\n$line\n");
		my ($status, $out) = check($system);
		like($out, qr{^FAIL +environment +root/\S+: line 3 .*$why.*systemctl start}m,
			"$line: check: the line");
		is($status, 1, "$line: check: exit status");
		for my $command (['status'], ['replay', '-a'], ['watch'], ['sign']) {
			my ($failed, undef, $err) = plain($system, {}, @{$command});
			is($failed, 1, "$line: $command->[0]: exit status");
			like($err, qr{environment: line 3 },
				"$line: $command->[0]: the message");
		}
	}
};

subtest 'check reports what is wrong in the environment file' => sub {
	my $system = packaged_system();
	for (['a NUL byte', "A=1\0\n", qr/^FAIL +environment .*a NUL byte/m],
		['a misspelt name',
		"PROTOCOL_HOOK_SPOOL=$system->{spool}\nPROTOCOL_HOOK_KEEPDAYS=14\n",
		qr/^FAIL +PROTOCOL_HOOK_KEEPDAYS +is not a variable/m],
		['a key, beside the secret file', "PROTOCOL_HOOK_SECRET=$KEY\n",
		qr/^FAIL +key .*together with a key/m],
		['another secret file', "PROTOCOL_HOOK_SECRET_FILE=$system->{at}/other\n"
		. "PROTOCOL_HOOK_SPOOL=$system->{spool}\n",
		qr{^FAIL +secret file +\Q$system->{at}\E/other is not there}m]) {
		my ($name, $text, $line) = @{$_};
		put_environment($system, $text);
		like(check_output($system), $line, $name);
	}
	unlink "$system->{etc}/environment";
	mkdir "$system->{etc}/environment" or die $!;
	like(check_output($system),
		qr/^FAIL +environment .*Is a directory: correct it/m, 'a directory');
};

subtest 'another user, who may not read the files, is told whom to ask' => sub {
	my @other = as_other();
	plan skip_all => 'nobody else can run it' if !@other;
	my $system = packaged_system();
	put_environment($system, "PROTOCOL_HOOK_SPOOL=$system->{spool}\n");
	chmod 0600, "$system->{etc}/environment", "$system->{etc}/secret";
	for my $command ('status', 'sign') {
		my ($status, undef, $err) = plain($system, { under => [@other] },
			$command);
		is($status, 1, "$command: exit status");
		like($err, qr{etc/protocol-hook/environment: Permission denied},
			"$command: the message");
	}
	my $out = (plain($system, { under => [@other] }, 'check'))[1];
	like($out, qr/^FAIL +environment .*denied: correct it, or ask the service: /m,
		'check: the environment file');
	like($out, qr/^FAIL +secret file +\Q$SECRET\E can't be read by 54321: as (?#
		)root, protocol-hook check; or ask the service: systemctl start/m,
		'check: the secret file');
};

# A unit that runs as nobody, and to which systemd passes the secret, which only
# root may read; its spool does not exist.
my $UNIT = "[Unit]\nX=y\n[Service]\nUser=nobody\n"
	. "LoadCredential=secret:/etc/protocol-hook/secret\n";
sub system_of_nobody {
	my $system = new_system();
	$system->{spool} = "$system->{at}/spool";
	put_unit($system, $UNIT);
	put("$system->{etc}/secret", "$LONG_KEY\n", 0600);
	put_environment($system, "PROTOCOL_HOOK_SPOOL=$system->{spool}\n"
		. "PROTOCOL_HOOK_MIN_FREE=0\n");
	return $system;
}
# check as root, without -u.
sub check_as_root { return plain($_[0], {}, 'check') }
sub install_spool {
	my ($system) = @_;
	my $out = (check_as_root($system))[1];
	system(($out =~ /: (install .* \Q$system->{spool}\E)$/m)[0] // 'false');
	return;
}

subtest 'a missing spool is to be made for the user of the unit' => sub {
	plan skip_all => 'not root' if $> != 0;
	my $system = system_of_nobody();
	my $spool = $system->{spool};
	my ($status, $out) = check_as_root($system);
	like($out, qr/^ok +user +nobody .*: User= of protocol-hook.service$/m,
		'check acts as that user');
	like($out, qr/^FAIL .*: install -d -m 2750 -o nobody -g nogroup \Q$spool\E$/m,
		'the cure makes it for that user');
	install_spool($system);
	($status, $out) = check_as_root($system);
	is($status, 0, 'after the cure: exit status') or diag($out);
	is((stat "$spool/new")[4], (getpwnam 'nobody')[2],
		'after the cure: what is made is that user\'s');
};

subtest 'a secret that systemd passes to the unit need not be readable' => sub {
	plan skip_all => 'not root' if $> != 0;
	my $system = system_of_nobody();
	install_spool($system);
	like((check_as_root($system))[1], qr/^ok +secret file .*mode 600, uid 0/m,
		'with LoadCredential=');
	put_unit($system, "[Service]\nUser=nobody\n");
	like((check_as_root($system))[1],
		qr/^FAIL +secret file .*can't be read by nobody/m, 'without it');
};

subtest 'the owner of a spool counts more than the user of the unit' => sub {
	plan skip_all => 'not root' if $> != 0;
	my $system = system_of_nobody();
	my $spool = $system->{spool};
	install_spool($system);
	check_as_root($system);
	chown 1, 1, $spool, map { "$spool/$_" } qw(new archive rejected lock);
	remove_tree("$spool/archive", { keep_root => 1 });
	my ($status, $out) = check_as_root($system);
	like($out, qr/^note +user +daemon .*owner.* protocol-hook.service runs as nobody/m,
		'both are named');
	like($out, qr/^FAIL +secret file .*can't be read by daemon/m,
		'systemd passes no secret to the owner');
	# As systemctl edit makes it.
	my $drop_in = "$system->{at}/root/etc/systemd/system/protocol-hook.service.d";
	make_path($drop_in);
	put("$drop_in/override.conf", "[Service]\nUser=daemon\n", 0644);
	($status, $out) = check_as_root($system);
	is($status, 0, 'a drop-in that names the owner: exit status') or diag($out);
	remove_tree($spool);
	mkdir $spool, 0750 or die $!;
	($status, $out) = check_as_root($system);
	like($out, qr/^FAIL .*: if there is nothing else in it, chown daemon \Q$spool\E$/m,
		'a fresh spool of root: the cure gives it to the user of the unit');
	is(scalar files($spool, '.'), 0, 'a fresh spool of root: nothing is made');
};

done_testing();
