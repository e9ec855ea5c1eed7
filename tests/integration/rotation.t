#!/usr/bin/perl
# A new key under load, as SECURITY.md says it: no delivery is refused.
use strict;
use warnings;
use Test::More;
use POSIX ();
use Time::HiRes qw(sleep);
use Hook;

my ($old, $new) = ('the-old-key-' . 'o' x 20, 'the-new-key-' . 'n' x 20);
my $dir = scratch();
my $spool = new_spool();

sub keys_are {
	open my $fh, '>', "$dir/secret.new" or die $!;
	print {$fh} map { "$_\n" } @_;
	close $fh or die $!;
	rename "$dir/secret.new", "$dir/secret" or die $!;
	return;
}

keys_are($old);
my $worker = worker(spool => $spool, count => 2, env => {
	PROTOCOL_HOOK_SECRET => undef,
	PROTOCOL_HOOK_SECRET_FILE => "$dir/secret" });

sub reload {
	my $n = () = slurp($worker->{log}) =~ /result=reloaded/g;
	kill 'HUP', @{ $worker->{pids} };
	return wait_for(sub {
		2 + $n == (() = slurp($worker->{log}) =~ /result=reloaded/g) });
}

sub status {
	my ($key, $id) = @_;
	my $body = event(id => $id);
	my $got = post($worker, $body, params => {
		HTTP_X_PROTOCOL_SIGNATURE => sign($body, $key) });
	return $got ? $got->{status} : 'none';
}

# Senders, who sign with the new key as soon as "sign-new" is there.
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
keys_are($new, $old);
ok(reload(), 'both keys are read');
is(status($old, 'both-old'), 200, 'the old key while both are set');
is(status($new, 'both-new'), 200, 'the new key while both are set');
sleep 0.5;
open my $fh, '>', "$dir/sign-new" or die $!;
close $fh or die $!;
sleep 0.5;
# Whoever looked for sign-new before it was there is done by now.
keys_are($new);
ok(reload(), 'the new key alone is read');
sleep 0.5;
open $fh, '>', "$dir/stop" or die $!;
close $fh or die $!;
waitpid $_, 0 for @senders;
is(status($old, 'after-old'), 401, 'the old key is refused after it');
is(status($new, 'after-new'), 200, 'the new key is not');

my ($sent, @refused) = (0);
for (map { split /\n/, slurp("$dir/sender$_") } 1 .. 4) {
	my ($status, $n) = split / /;
	$sent += $n;
	push @refused, $_ if $status != 200;
}
is("@refused", '', 'no delivery was refused');
cmp_ok($sent, '>', 100, 'under load');
is(scalar files($spool), $sent + 3, 'all are in the spool');
like(slurp($worker->{log}), qr/ key=2 /, 'the log tells who signs with the old');
diag("$sent deliveries while the key was changed");
reap($worker);
done_testing();
