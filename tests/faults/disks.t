#!/usr/bin/perl
# Disks that are full, read-only, replaced: what can't be stored is refused with
# a reason in the log, nothing acknowledged is lost, and when the disk is well
# again the same worker goes on.
use strict;
use warnings;
use Test::More;
use Disk;
use Hook;

plan skip_all => 'needs root and loop devices' if !can_mount();

my ($worker, $spool);
my @stored;

sub deliver {
	my ($status, $name, $reason) = @_;
	my $body = event(pad => 100);
	my $got = post($worker, $body) // { status => 'none' };
	is($got->{status}, $status, "$name: $status");
	push @stored, $body if $got->{status} eq '200';
	ok(wait_for(sub { slurp($worker->{log})
		=~ /status=$status .*reason=.*(?:$reason)/ }, 5),
		"$name: the log says $reason") if $reason;
	ok($got->{header}{'retry-after'}, "$name: Retry-After")
		if $status == 503;
	return;
}

sub all_there {
	my ($name) = @_;
	my %there = map { $_ => 1 } content($spool, 'new');
	is((grep { !$there{$_} } @stored), 0, "$name: all of " . @stored
		. ' acknowledged are there');
	is(scalar(keys %there), scalar(@stored), "$name: and no others");
	return;
}

sub begin {
	($spool) = @_;
	@stored = ();
	$worker = worker(spool => $spool, dir => scratch());
	deliver(200, 'at first');
	return;
}

sub ready { return post($worker, '', params => { REQUEST_METHOD => 'GET',
	CONTENT_LENGTH => undef })->{status} }

sub fill {
	my ($dir) = @_;
	open my $fh, '>', "$dir/filler" or die $!;
	for my $size (65536, 1024, 1) {
		1 while defined syswrite $fh, 'x' x $size;
	}
	close $fh;
	return;
}

# Blocks.
for my $own (0, 1) {
	my $disk = new_disk(type => 'ext4', size => 16,
		options => ['-m', 0, '-O', '^has_journal', '-I', 128]);
	chmod 0750, $disk->{at};
	my $name = $own ? 'full, of its own' : 'full';
	my $dir = $own ? $disk->{at} : "$disk->{at}/spool";
	mkdir $dir, 0750;
	begin($dir);
	fill($disk->{at});
	deliver(503, $name, 'No space left') for 1 .. 3;
	all_there($name);
	unlink "$disk->{at}/filler";
	deliver(200, "$name, then free");
	is(scalar(grep { /^\./ } map { s{.*/}{}r } glob
		"$spool/archive/*/.[0-9a-f]*"), 0, "$name: nothing is left over");
	reap($worker);
	unmount_disk($disk);
}

# Inodes.
my $disk = new_disk(type => 'ext4', size => 16, options => ['-N', 64]);
mkdir "$disk->{at}/spool", 0750;
begin("$disk->{at}/spool");
my $n = 0;
while (1) {
	open my $fh, '>', "$disk->{at}/$n" or last;
	$n++;
}
deliver(503, 'no inode', 'No space left|no free inode') for 1 .. 2;
is(ready(), 503, 'no inode: GET says so');
unlink "$disk->{at}/$_" for 0 .. $n - 1;
is(ready(), 200, 'inodes again: GET says so');
deliver(200, 'inodes again');
all_there('no inode');

# An error makes the kernel go read-only; nothing less than a new mount helps.
my ($loop) = Disk::run('losetup', '-j', $disk->{image}) =~ m{^/dev/(\w+)};
Disk::run('mount', '-o', 'remount,errors=remount-ro', $disk->{at});
open my $trigger, '>', "/sys/fs/ext4/$loop/trigger_fs_error" or die $!;
syswrite $trigger, "a test\n";
close $trigger;
deliver(503, 'read-only', 'read-only|Input/output|Read-only|shut down');
like(post($worker, $stored[0])->{text}, qr/duplicate|503/,
	'read-only: a repeat is no new delivery');
reap($worker);
unmount_disk($disk);
Disk::run('sh', '-c', "e2fsck -fy '$disk->{image}' || test \$? -lt 4");
mount_disk($disk);
$worker = worker(spool => $spool, dir => scratch());
deliver(200, 'repaired and mounted again');
all_there('read-only');
reap($worker);
unmount_disk($disk);

# Directories that go and come.
begin(new_spool());
for my $sub (qw(archive rejected new)) {
	rename "$spool/$sub", "$spool/old-$sub" or die $!;
	deliver(200, "$sub/ removed: it is made again");
	symlink "old-$sub", "$spool/link" or die $!;
	rename "$spool/$sub", "$spool/new-$sub" or die $!;
	rename "$spool/link", "$spool/$sub" or die $!;
	deliver(500, "$sub/ is a symbolic link", "$sub/ in the spool");
	unlink "$spool/$sub" or die $!;
	rename "$spool/old-$sub", "$spool/$sub" or die $!;
	is(system('cp', '-a', "$spool/new-$sub/.", "$spool/$sub/"), 0,
		"$sub/ has again what was in either");
	deliver(200, "$sub/ is back");
}
# Something else is mounted over one of them.
Disk::run('mount', '-t', 'tmpfs', '-o', 'mode=750', 'none', "$spool/new");
$Disk::mounted{"$spool/new"} = 1;
deliver(500, 'new/ is mounted over', 'new/ in the spool.*cross-device');
unmount_disk({ at => "$spool/new" });
deliver(200, 'and no more');
all_there('sub-directories');
rename $spool, "$spool-away" or die $!;
deliver(500, 'the spool is removed', 'spool directory');
rename "$spool-away", $spool or die $!;
deliver(200, 'the same directory is back');
all_there('removed and back');

# Another directory by the same name: a confined worker can't reach it and ends,
# so that whoever runs it starts a new one, on the same socket.
rename $spool, "$spool-away" or die $!;
mkdir $spool, 0750 or die $!;
deliver(500, 'another directory', 'Permission denied');
is(reap($worker), 0, 'the confined worker ends');
@stored = ();
$worker = worker(spool => $spool, listener => $worker->{listener},
	dir => scratch());
$worker->{socket} = $worker->{listener}->hostpath;
deliver(200, 'a new worker takes over');
all_there('another directory');
reap($worker);

# tmpfs, and full.
my $tmpfs = scratch() . '/tmpfs';
mkdir $tmpfs or die $!;
Disk::run('mount', '-t', 'tmpfs', '-o', 'mode=750,size=256k', 'none', $tmpfs);
$Disk::mounted{$tmpfs} = 1;
begin($tmpfs);
fill($tmpfs);
deliver(503, 'tmpfs full', 'No space left');
unlink "$tmpfs/filler";
deliver(200, 'tmpfs free');
all_there('tmpfs');
reap($worker);
unmount_disk({ at => $tmpfs });

# Mounted read-only from the start.
$disk = new_disk(type => 'ext4', size => 16);
mkdir "$disk->{at}/spool", 0750;
Disk::run('mount', '-o', 'remount,ro', $disk->{at});
$worker = worker(spool => "$disk->{at}/spool");
@stored = ();
deliver(500, 'mounted read-only', 'Read-only file system');
Disk::run('mount', '-o', 'remount,rw', $disk->{at});
deliver(200, 'mounted writable');
reap($worker);
unmount_disk($disk);

# A block bitmap that is broken, where the kernel goes on all the same.
for my $sub ('', '/spool') {
	$disk = new_disk(type => 'ext4', size => 64, options => ['-b', 4096]);
	$spool = "$disk->{at}$sub";
	mkdir $spool, 0750;
	chmod 0750, $spool;
	cgi(spool => $spool, body => event());	# makes its directories
	my ($bitmap) = qx(dumpe2fs $disk->{image} 2>/dev/null)
		=~ /Block bitmap at (\d+)/;
	unmount_disk($disk);
	Disk::run('dd', 'if=/dev/urandom', "of=$disk->{image}", 'bs=4096',
		"seek=$bitmap", 'count=1', 'conv=notrunc', 'status=none');
	mount_disk($disk, 'errors=continue');
	$worker = worker(spool => $spool, dir => scratch());
	my @bodies = map { event(pad => 5000) } 1 .. 6;
	my @got = map { fcgi_recv($_) } send_group($worker, @bodies[0 .. 3]);
	push @got, map { post($worker, $_) } @bodies[4, 5];
	reap($worker);
	unmount_disk($disk);
	mount_disk($disk);
	my %there = map { $_ => 1 } content($spool, 'new');
	is((grep { $got[$_]{status} eq '200' && !$there{ $bodies[$_] } } 0 .. 5),
		0, "a broken bitmap: nothing acknowledged is lost ($sub)");
	isnt($got[0]{status}, 200, 'nor taken');
	unmount_disk($disk);
}

# No /proc.
$spool = new_spool();
my $body = event();
my $got = cgi(spool => $spool, body => $body, under => ['unshare', '-m', 'sh',
	'-c', 'mount -t tmpfs none /proc && exec "$0"']);
is($got->{status}, 200, 'without /proc: stored');
is_deeply([content($spool, 'new')], [$body], 'without /proc: bytes');

done_testing();
