#!/usr/bin/perl
# replay of 100,000 deliveries while others arrive: each once, none lost, in
# their order; and when it is interrupted, the rest with the next run.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256_hex);
use POSIX ();
use Time::HiRes qw(time);
use Hook;

# What is flushed is not the matter here, see commands.t.
$ENV{TMPDIR} //= '/dev/shm' if -d -w '/dev/shm';
my $many = 100_000;
my $spool = new_spool();
my $day = '2026-01-02';
mkdir "$spool/$_" or die $! for 'new', 'rejected', 'archive', "archive/$day";
my %order;	# by inode
for my $i (1 .. $many) {
	my $body = event(id => "old$i");
	my $path = "$spool/archive/$day/" . sha256_hex($body);
	open my $fh, '>', $path or die $!;
	print {$fh} $body;
	close $fh or die $!;
	# Seconds apart, and not in the order in which they are made.
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

# Once each: what new/ has of the archive, in the order of names.
sub is_whole {
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
	is(scalar keys %seen, $many, "$name: none is lost");
	is("@twice[0 .. ($#twice > 3 ? 3 : $#twice)]", '', "$name: none twice");
	is(scalar(grep { !$new{$_} } @stored), 0,
		"$name: nor what was received meanwhile");
	is(scalar keys %new, scalar @stored, "$name: and no more");
	return @times;
}

my $err = scratch() . '/err';
# The day is to be kept, as it is replayed.
my $worker = worker(spool => $spool, env => { PROTOCOL_HOOK_KEEP_DAYS => 3650 });
my ($began, @stored, $took) = (time);
my $pid = replay($err);
until (waitpid($pid, POSIX::WNOHANG()) == $pid) {
	my $id = 'new' . @stored;
	my $got = post($worker, event(id => $id));
	push @stored, $id if $got && $got->{status} == 200;
	last if !$got || $got->{status} != 200;
}
is($?, 0, 'replay') or diag(slurp($err));
$took = time - $began;
like(slurp($err), qr/^replayed $many$/m, 'its count');
cmp_ok(scalar @stored, '>', 100, 'deliveries were received meanwhile');
my @times = is_whole('while receiving', @stored);
my $late = grep { $times[$_] < $times[$_ - 1] } 1 .. $#times;
is($late, 0, 'in the order in which they came first');
diag(sprintf '%d replayed in %.1f s, %.0f a second, %d received meanwhile',
	$many, $took, $many / $took, scalar @stored);

# Interrupted, and started again.
unlink map { "$spool/new/$_" } files($spool);
$pid = replay($err);
wait_for(sub { files($spool) > 1000 });
kill 'INT', $pid;
waitpid $pid, 0;
is($? >> 8, 1, 'interrupted');
my ($first) = slurp($err) =~ /^interrupted: replayed (\d+)/m;
is(scalar files($spool), $first, 'it says how many it did');
cmp_ok($first, '<', $many, 'which is not all');
$pid = replay($err);
waitpid $pid, 0;
is($?, 0, 'started again');
my $rest = $many - $first;
like(slurp($err), qr/^replayed $rest, still in new\/ $first$/m, 'the rest');
is_whole('after an interruption');
reap($worker);
done_testing();
