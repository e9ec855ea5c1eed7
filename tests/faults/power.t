#!/usr/bin/perl
# The power fails under load, on real file systems: what was acknowledged is there
# afterwards, and whole.  The counterproof: if a kind of flush is left out,
# deliveries are lost.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256_hex);
use POSIX ();
use Time::HiRes qw(sleep);
use Disk;
use Hook;

plan skip_all => 'needs root and loop devices' if !can_mount();
$SIG{PIPE} = 'IGNORE';
my $cuts = $ENV{CUTS} // 24;
my $shim = 'build/shim.so';	# no path for LD_PRELOAD may have a space
my %sum;

# Starts a client that delivers until it is refused, or ONCE.  It writes the
# digest of each acknowledged delivery to FILE.
sub client {
	my ($worker, $file, $once) = @_;
	my $pid = fork // die $!;
	return $pid if $pid;
	open my $out, '>', $file or die $!;
	my $socket = fcgi_connect($worker);
	while (1) {
		my $body = event(pad => 100 + int rand 2000);
		fcgi_send($socket, fcgi_request($body, keep => 1)) or last;
		my $got = fcgi_recv($socket, 10) or last;
		last if ($got->{status} // '') ne '200';
		syswrite $out, sha256_hex($body) . "\n";
		last if $once;
	}
	POSIX::_exit(0);
}

# Cuts the power once, under load, or with UNDER after one delivery of each client,
# which no later flush can save.  Returns how many deliveries were acknowledged,
# how many of these are lost, and how many files are torn or there twice.
sub cut {
	my ($disk, $own, $clients, @under) = @_;
	my $spool = $own ? $disk->{at} : "$disk->{at}/spool";
	mkdir $spool, 0750;
	chmod 0750, $spool;
	my $worker = worker(spool => $spool, under => \@under);
	my $dir = scratch();
	my @pids = map { client($worker, "$dir/$_", @under > 0) } 1 .. $clients;
	wait_for(sub { -s "$dir/1" }) or die 'no delivery at all';
	sleep 0.05 + rand 0.3 if !@under;
	cut_power($disk);
	waitpid $_, 0 for @pids;
	reap($worker, 'KILL');
	unmount_disk($disk);
	mount_disk($disk);
	my @acknowledged = map { split /\n/, slurp("$dir/$_") } 1 .. $clients;
	my (%there, $torn);
	for (content($spool, 'new')) {
		$there{ sha256_hex($_) }++;
		$torn++ if !/\A\{"id".*"\}\}\z/s;
	}
	my $lost = grep { !$there{$_} } @acknowledged;
	my $twice = grep { $_ > 1 } values %there;
	return (scalar @acknowledged, $lost, ($torn // 0) + $twice);
}

# Cuts the power N times on the same disk; returns the sums.
sub cuts {
	my ($type, $own, $clients, $n, @under) = @_;
	my $disk = new_disk(type => $type);
	my ($acknowledged, $lost, $torn) = (0, 0, 0);
	for (1 .. $n) {
		my @got = cut($disk, $own, $clients, @under);
		$acknowledged += $got[0];
		$lost += $got[1];
		$torn += $got[2];
	}
	unmount_disk($disk);
	return ($acknowledged, $lost, $torn);
}

my @ways = map { my $type = $_; map { my $own = $_;
	map { [$type, $own, $_] } 1, 16 } 0, 1 } qw(ext4 xfs);
for my $way (@ways) {
	my ($type, $own, $clients) = @$way;
	my $n = POSIX::ceil($cuts / @ways);
	my ($acknowledged, $lost, $torn) = cuts($type, $own, $clients, $n);
	my $name = "$type, " . ($own ? 'a file system of its own' : 'shared')
		. ", $clients at a time, $n cuts";
	is($lost, 0, "$name: none of $acknowledged acknowledged is lost");
	is($torn, 0, "$name: none is torn or there twice");
	cmp_ok($acknowledged, '>', 0, "$name: some were acknowledged");
	$sum{cuts} += $n;
	$sum{acknowledged} += $acknowledged;
	$sum{lost} += $lost;
}
diag("power: $sum{cuts} cuts, $sum{acknowledged} acknowledged, "
	. "$sum{lost} lost");

# The counterproof.  syncfs is used only for more than one file; and as
# sync_file_range starts the writes before it, losses are rare without syncfs.
for (['fdatasync', 'ext4', 0], ['fdatasync', 'xfs', 0], ['fsync', 'ext4', 0],
	['fsync', 'xfs', 0], ['syncfs/sync_file_range', 'ext4', 1],
	['syncfs/sync_file_range', 'xfs', 1],
	['fsync', 'ext4', 1], ['fsync', 'xfs', 1]) {
	my ($flush, $type, $own) = @$_;
	my ($lost, $tries) = (0, 0);
	while (!$lost && $tries++ < 10) {
		my @got = cuts($type, $own, $flush =~ /^syncfs/ ? 16 : 1, 1, 'env',
			"LD_PRELOAD=$shim", "SHIM_NOFLUSH=/$flush/");
		$lost = $got[1] + $got[2];
	}
	cmp_ok($lost, '>', 0, "without $flush on $type"
		. ($own ? ' of its own' : '') . ": losses ($lost, cut $tries)");
}
done_testing();
