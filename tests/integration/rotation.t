#!/usr/bin/perl
# The key is changed under load, in the steps of SECURITY.md, and no delivery is
# refused; and the ways in which a new secret file is put in place.
use strict;
use warnings;
use Test::More;
use POSIX ();
use Time::HiRes qw(sleep);
use Hook;

my ($old, $new) = ('the-old-key-' . 'o' x 20, 'the-new-key-' . 'n' x 20);
my $dir = scratch();
my $spool = new_spool();

# Replaces the secret file.
sub put_keys {
	open my $fh, '>', "$dir/secret.new" or die $!;
	print {$fh} map { "$_\n" } @_;
	close $fh or die $!;
	rename "$dir/secret.new", "$dir/secret" or die $!;
	return;
}

put_keys($old);
my $worker = worker(spool => $spool, count => 2, env => {
	PROTOCOL_HOOK_SECRET => undef,
	PROTOCOL_HOOK_SECRET_FILE => "$dir/secret" });

# Sends SIGHUP; returns whether both workers have read the file.
sub reload {
	my $n = () = slurp($worker->{log}) =~ /result=reloaded/g;
	kill 'HUP', @{ $worker->{pids} };
	return wait_for(sub {
		2 + $n == (() = slurp($worker->{log}) =~ /result=reloaded/g) });
}

# The status of a delivery that is signed with KEY.
sub status {
	my ($key, $id) = @_;
	my $body = event(id => $id);
	my $got = post($worker, $body, params => {
		HTTP_X_PROTOCOL_SIGNATURE => sign($body, $key) });
	return $got ? $got->{status} : 'none';
}

# Senders, which sign with the new key once the file sign-new exists.
my @senders;
for my $sender (1 .. 4) {
	my $pid = fork // die $!;
	if (!$pid) {
		my ($n, %seen) = (0);
		until (-e "$dir/stop") {
			my $key = -e "$dir/sign-new" ? $new : $old;
			$seen{ status($key, 's' . $sender . '-' . $n++) }++;
		}
		open my $fh, '>', "$dir/sender$sender" or die $!;
		print {$fh} map { "$_ $seen{$_}\n" } sort keys %seen;
		close $fh or die $!;
		POSIX::_exit(0);
	}
	push @senders, $pid;
}
sleep 0.5;
put_keys($new, $old);
ok(reload(), 'both keys: they are read');
is(status($old, 'both-old'), 200, 'both keys: the old one is accepted');
is(status($new, 'both-new'), 200, 'both keys: the new one is accepted');
sleep 0.5;
open my $fh, '>', "$dir/sign-new" or die $!;
close $fh or die $!;
sleep 0.5;
# By now no delivery is under way that was signed with the old key.
put_keys($new);
ok(reload(), 'the new key alone: it is read');
sleep 0.5;
open $fh, '>', "$dir/stop" or die $!;
close $fh or die $!;
waitpid $_, 0 for @senders;
is(status($old, 'after-old'), 401, 'the new key alone: the old one is refused');
is(status($new, 'after-new'), 200, 'the new key alone: the new one is accepted');

my ($sent, @refused) = (0);
for (map { split /\n/, slurp("$dir/sender$_") } 1 .. 4) {
	my ($status, $n) = split / /;
	$sent += $n;
	push @refused, $_ if $status != 200;
}
is("@refused", '', 'under load: no delivery was refused');
cmp_ok($sent, '>', 100, 'under load: number of deliveries');
is(scalar files($spool), $sent + 3, 'under load: all are in the spool');
like(slurp($worker->{log}), qr/ key=2 /, 'the log tells which key signed');
diag("$sent deliveries while the key was changed");
reap($worker);

# How other programs put a new key in place.  If the sandbox allows to read it,
# SIGHUP does; otherwise the log says that a restart helps.

# Makes or replaces the symbolic link PATH, in one step.
sub link_to {
	my ($target, $path) = @_;
	symlink $target, "$path.tmp" or die $!;
	rename "$path.tmp", $path or die $!;
	return;
}

sub make_dirs { mkdir $_ or die "$_: $!" for @_; return }

# Whether the sandbox allows to read the new file, the path of the secret file, and
# a function that puts the N-th KEY in place.
my %layouts = (
	'a Kubernetes volume' => [1, 'key', sub {
		my ($at, $key, $n) = @_;
		make_dirs("$at/..$n");
		spew("$at/..$n/key", "$key\n");
		link_to("..$n", "$at/..data");
		link_to('..data/key', "$at/key") if $n == 1;
		system 'rm', '-r', "$at/..1" if $n == 2 }],
	'a link to another file of the directory' => [1, 'key', sub {
		my ($at, $key, $n) = @_;
		spew("$at/key$n", "$key\n");
		link_to("key$n", "$at/key") }],
	'generations, as of agenix and sops-nix' => [0, 'secrets/key', sub {
		my ($at, $key, $n) = @_;
		make_dirs("$at/secrets.d") if $n == 1;
		make_dirs("$at/secrets.d/$n");
		spew("$at/secrets.d/$n/key", "$key\n");
		link_to("$at/secrets.d/$n", "$at/secrets");
		system 'rm', '-r', "$at/secrets.d/1" if $n == 2 }],
	'a link into generations' => [0, 'etc/key', sub {
		my ($at, $key, $n) = @_;
		make_dirs("$at/etc", "$at/secrets.d") if $n == 1;
		make_dirs("$at/secrets.d/$n");
		spew("$at/secrets.d/$n/key", "$key\n");
		link_to("$at/secrets.d/$n/key", "$at/etc/key") }],
	'a directory that is replaced' => [0, 'keys/key', sub {
		my ($at, $key, $n) = @_;
		make_dirs("$at/keys.new");
		spew("$at/keys.new/key", "$key\n");
		rename "$at/keys", "$at/keys.old" or die $! if $n == 2;
		rename "$at/keys.new", "$at/keys" or die $! }],
);

# A worker whose secret file is PATH.
sub worker_of {
	my ($path, @with) = @_;
	return worker(spool => new_spool(), @with, env => {
		PROTOCOL_HOOK_SECRET => undef, PROTOCOL_HOOK_SECRET_FILE => $path });
}
# Sends SIGHUP to it; returns its log after that.
sub hangup {
	kill 'HUP', $worker->{pid};
	wait_for(sub { slurp($worker->{log}) =~ /result=reload/ });
	return slurp($worker->{log});
}

for my $name (sort keys %layouts) {
	my ($in_reach, $path, $place) = @{ $layouts{$name} };
	my $at = scratch();
	$place->($at, $old, 1);
	$worker = worker_of("$at/$path");
	is(status($old, 'l1'), 200, "$name: the old key is accepted");
	my $confined = slurp($worker->{log}) !~ /sandbox_off(?!.*Landlock is on)/;
	$place->($at, $new, 2);
	if ($in_reach || !$confined) {
		like(hangup(), qr/^$TS result=reloaded$/m, "$name: SIGHUP loads the new key");
	} else {
		like(hangup(), qr/^$TS\ result=reload_failed\ reason=".*sandbox
			.*restart\ the\ process"$/mx, "$name: SIGHUP fails, and the log says what helps");
		is(status($old, 'l2'), 200, "$name: the old key is still accepted");
		reap($worker);
		$worker = worker_of("$at/$path");
	}
	is(status($new, 'l3'), 200, "$name: then the new key is accepted");
	is(status($old, 'l4'), 401, "$name: then the old key is refused");
	reap($worker);
}

# If the mode of the file forbids to read it, the log does not blame the sandbox.
SKIP: {
	my @other = $> == 0 ? as_other() : ('env');
	skip 'nobody else can run it', 2 if !@other;
	my $at = scratch();
	spew("$at/key", "$old\n");
	$spool = new_spool();
	chown 54321, 54321, $at, "$at/key", $spool if $> == 0;
	chmod 0755, $at, $spool =~ s{/spool$}{}r;
	my $socket = scratch();
	chmod 0777, $socket;
	$worker = worker(spool => $spool, dir => $socket, under => \@other, env => {
		PROTOCOL_HOOK_SECRET => undef, PROTOCOL_HOOK_SECRET_FILE => "$at/key" });
	is(status($old, 'l5'), 200, 'as another user: the key is accepted');
	chmod 0, "$at/key";
	like(hangup(), qr/^$TS result=reload_failed reason=".*FILE Permission denied"$/m,
		'as another user: a secret file of mode 0');
	reap($worker);
}
done_testing();
