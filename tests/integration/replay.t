#!/usr/bin/perl
# replay of 100,000 deliveries while others arrive: each is replayed once, in the
# order of arrival; and after an interruption the next run replays the rest.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256_hex);
use POSIX ();
use Time::HiRes qw(time);
use Hook;

# This test does not depend on flushes, so the spool may be in memory.
$ENV{TMPDIR} //= '/dev/shm' if -d -w '/dev/shm';
my $many = 100_000;
my $spool = new_spool();
my $day = '2026-01-02';
mkdir "$spool/$_" or die $! for 'new', 'rejected', 'archive', "archive/$day";
my %order;	# the time of arrival, by inode
for my $i (1 .. $many) {
	my $body = event(id => "old$i");
	my $path = "$spool/archive/$day/" . sha256_hex($body);
	open my $fh, '>', $path or die $!;
	print {$fh} $body;
	close $fh or die $!;
	# The order of arrival is not the order in which they are made here.
	my $when = 1767312000 + $i * 7919 % 86400;
	utime $when, $when, $path or die $!;
	$order{ (stat $path)[1] } = $when;
}

sub replay {
	my ($err) = @_;
	my $pid = fork // die $!;
	if (!$pid) {
		%ENV = (PATH => $ENV{PATH}, PROTOCOL_HOOK_SPOOL => $spool);
		open STDERR, '>', $err or die $!;
		exec $PROGRAM, 'replay', '-d', $day or POSIX::_exit(127);
	}
	return $pid;
}

# new/ has each archived delivery once, and STORED, the ids of others, and nothing
# else.  Returns the times of arrival of the former, in the order of names.
sub check_new {
	my ($name, @stored) = @_;
	my (%seen, @twice, @times, %new);
	for my $file (files($spool)) {
		my $inode = (stat "$spool/new/$file")[1];
		if (defined $order{$inode}) {
			push @twice, $file if $seen{$inode}++;
			push @times, $order{$inode};
		} else {
			my ($id) = $file =~ /\.([^.]+)\.json$/;
			push @twice, $file if $new{$id}++;
		}
	}
	is(scalar keys %seen, $many, "$name: all are replayed");
	is("@twice[0 .. ($#twice > 3 ? 3 : $#twice)]", '', "$name: none is there twice");
	is(scalar(grep { !$new{$_} } @stored), 0,
		"$name: what arrived meanwhile is there");
	is(scalar keys %new, scalar @stored, "$name: nothing else is there");
	return @times;
}

my $err = scratch() . '/err';
# The receiver must not remove the day as too old.
my $worker = worker(spool => $spool, env => { PROTOCOL_HOOK_KEEP_DAYS => 3650 });
my ($began, @stored, $took) = (time);
my $pid = replay($err);
until (waitpid($pid, POSIX::WNOHANG()) == $pid) {
	my $id = 'new' . @stored;
	my $got = post($worker, event(id => $id));
	push @stored, $id if $got && $got->{status} == 200;
	last if !$got || $got->{status} != 200;
}
is($?, 0, 'while deliveries arrive: exit status') or diag(slurp($err));
$took = time - $began;
like(slurp($err), qr/^replayed $many$/m, 'while deliveries arrive: the number it prints');
cmp_ok(scalar @stored, '>', 100, 'while deliveries arrive: there were some');
my @times = check_new('while deliveries arrive', @stored);
my $late = grep { $times[$_] < $times[$_ - 1] } 1 .. $#times;
is($late, 0, 'while deliveries arrive: names are in the order of arrival');
diag(sprintf '%d replayed in %.1f s, %.0f a second, %d received meanwhile',
	$many, $took, $many / $took, scalar @stored);

# Interrupted, and run again.
unlink map { "$spool/new/$_" } files($spool);
$pid = replay($err);
wait_for(sub { files($spool) > 1000 });
kill 'INT', $pid;
waitpid $pid, 0;
is($? >> 8, 1, 'interrupted: exit status');
my ($first) = slurp($err) =~ /^interrupted: replayed (\d+)/m;
is(scalar files($spool), $first, 'interrupted: it prints how many it replayed');
cmp_ok($first, '<', $many, 'interrupted: not all were');
$pid = replay($err);
waitpid $pid, 0;
is($?, 0, 'run again: exit status');
my $rest = $many - $first;
like(slurp($err), qr/^replayed $rest, still in new\/ $first$/m, 'run again: it replays the rest');
check_new('run again');
reap($worker);
done_testing();
