#!/usr/bin/perl
# File systems that are full, read-only, damaged or replaced: what cannot be
# stored is refused with a reason in the log, nothing acknowledged is lost, and
# when the file system is well again the same worker goes on.
use strict;
use warnings;
use Test::More;
use Disk;
use Hook;

plan skip_all => 'needs root and loop devices' if !can_mount();

# A worker for SPOOL, with what it has acknowledged; its first delivery succeeds.
sub begin {
	my ($spool) = @_;
	my $run = { spool => $spool, stored => [],
		worker => worker(spool => $spool, dir => scratch()) };
	deliver($run, 200, 'at first');
	return $run;
}

# A delivery is answered STATUS, and the log has REASON, a pattern.
sub deliver {
	my ($run, $status, $name, $reason) = @_;
	my $body = event(pad => 100);
	my $got = post($run->{worker}, $body) // { status => 'none' };
	is($got->{status}, $status, "$name: status $status");
	push @{ $run->{stored} }, $body if $got->{status} eq '200';
	ok(wait_for(sub { slurp($run->{worker}{log})
		=~ /status=$status .*reason=.*(?:$reason)/ }, 5),
		"$name: the log has '$reason'") if $reason;
	ok($got->{header}{'retry-after'}, "$name: Retry-After")
		if $status == 503;
	return;
}

sub all_are_stored {
	my ($run, $name) = @_;
	my @stored = @{ $run->{stored} };
	my %there = map { $_ => 1 } content($run->{spool}, 'new');
	is((grep { !$there{$_} } @stored), 0,
		"$name: all " . @stored . ' acknowledged ones are stored');
	is(scalar(keys %there), scalar(@stored), "$name: nothing else is");
	return;
}

# The status of a GET.
sub ready {
	my ($run) = @_;
	return post($run->{worker}, '', params => { REQUEST_METHOD => 'GET',
		CONTENT_LENGTH => undef })->{status};
}

# Fills the file system of DIR to its last byte.
sub fill {
	my ($dir) = @_;
	open my $fh, '>', "$dir/filler" or die $!;
	for my $size (65536, 1024, 1) {
		1 while defined syswrite $fh, 'x' x $size;
	}
	close $fh;
	return;
}

sub mount_tmpfs {
	my ($at, $options) = @_;
	Disk::run('mount', '-t', 'tmpfs', '-o', "mode=750$options", 'none', $at);
	$Disk::mounted{$at} = 1;
	return;
}

for my $own (0, 1) {
	my $whose = $own ? 'the spool\'s own file system' : 'a shared file system';
	subtest "no free block on $whose" => sub {
		my $disk = new_disk(type => 'ext4', size => 16,
			options => ['-m', 0, '-O', '^has_journal', '-I', 128]);
		chmod 0750, $disk->{at};
		my $spool = $own ? $disk->{at} : "$disk->{at}/spool";
		mkdir $spool, 0750;
		my $run = begin($spool);
		fill($disk->{at});
		deliver($run, 503, "full, delivery $_", 'No space left') for 1 .. 3;
		all_are_stored($run, 'full');
		unlink "$disk->{at}/filler";
		deliver($run, 200, 'no longer full');
		is(scalar(grep { /^\./ } map { s{.*/}{}r } glob
			"$spool/archive/*/.[0-9a-f]*"), 0,
			'no longer full: no hidden file is left');
		reap($run->{worker});
		unmount_disk($disk);
	};
}

subtest 'no free inode, and then a file system that becomes read-only' => sub {
	my $disk = new_disk(type => 'ext4', size => 16, options => ['-N', 64]);
	mkdir "$disk->{at}/spool", 0750;
	my $run = begin("$disk->{at}/spool");
	my $n = 0;
	while (1) {
		open my $fh, '>', "$disk->{at}/$n" or last;
		$n++;
	}
	deliver($run, 503, "no inode, delivery $_",
		'No space left|no free inode') for 1 .. 2;
	is(ready($run), 503, 'no inode: status of GET');
	unlink "$disk->{at}/$_" for 0 .. $n - 1;
	is(ready($run), 200, 'inodes again: status of GET');
	deliver($run, 200, 'inodes again');
	all_are_stored($run, 'inodes again');

	# After an error the kernel makes it read-only until it is mounted again.
	my ($loop) = Disk::run('losetup', '-j', $disk->{image}) =~ m{^/dev/(\w+)};
	Disk::run('mount', '-o', 'remount,errors=remount-ro', $disk->{at});
	open my $trigger, '>', "/sys/fs/ext4/$loop/trigger_fs_error" or die $!;
	syswrite $trigger, "a test\n";
	close $trigger;
	deliver($run, 503, 'read-only',
		'read-only|Input/output|Read-only|shut down');
	like(post($run->{worker}, $run->{stored}[0])->{text}, qr/duplicate|503/,
		'read-only: a duplicate is not answered as stored');
	reap($run->{worker});
	unmount_disk($disk);
	Disk::run('sh', '-c', "e2fsck -fy '$disk->{image}' || test \$? -lt 4");
	mount_disk($disk);
	$run->{worker} = worker(spool => $run->{spool}, dir => scratch());
	deliver($run, 200, 'repaired and mounted again');
	all_are_stored($run, 'repaired and mounted again');
	reap($run->{worker});
	unmount_disk($disk);
};

subtest 'directories of the spool that are removed, replaced or mounted over' => sub {
	my $run = begin(new_spool());
	my $spool = $run->{spool};
	for my $sub (qw(archive rejected new)) {
		rename "$spool/$sub", "$spool/old-$sub" or die $!;
		deliver($run, 200, "$sub/ is removed, and made again");
		symlink "old-$sub", "$spool/link" or die $!;
		rename "$spool/$sub", "$spool/new-$sub" or die $!;
		rename "$spool/link", "$spool/$sub" or die $!;
		deliver($run, 500, "$sub/ is a symbolic link",
			"$sub/ in the spool");
		unlink "$spool/$sub" or die $!;
		rename "$spool/old-$sub", "$spool/$sub" or die $!;
		is(system('cp', '-a', "$spool/new-$sub/.", "$spool/$sub/"), 0,
			"$sub/ gets what was in either");
		deliver($run, 200, "$sub/ is back");
	}
	mount_tmpfs("$spool/new", '');
	deliver($run, 500, 'something is mounted over new/',
		'new/ in the spool.*cross-device');
	unmount_disk({ at => "$spool/new" });
	deliver($run, 200, 'nothing is mounted over new/');
	all_are_stored($run, 'after all that');
	reap($run->{worker});
};

subtest 'a spool that is moved away and back, and one that is replaced' => sub {
	my $run = begin(new_spool());
	my $spool = $run->{spool};
	rename $spool, "$spool-away" or die $!;
	deliver($run, 500, 'moved away', 'spool directory');
	rename "$spool-away", $spool or die $!;
	deliver($run, 200, 'moved back');
	all_are_stored($run, 'moved back');
	# A confined worker cannot open another directory of that name.  It ends, so
	# that whatever runs it starts a new one on the same socket.
	rename $spool, "$spool-away" or die $!;
	mkdir $spool, 0750 or die $!;
	deliver($run, 500, 'replaced', 'Permission denied');
	my $worker = $run->{worker};
	is(reap($worker), 0, 'replaced: the worker ends with 0');
	$run->{stored} = [];
	$run->{worker} = worker(spool => $spool, listener => $worker->{listener},
		dir => scratch());
	$run->{worker}{socket} = $worker->{listener}->hostpath;
	deliver($run, 200, 'replaced: a new worker uses the new spool');
	all_are_stored($run, 'replaced');
	reap($run->{worker});
};

subtest 'a full tmpfs' => sub {
	my $at = scratch() . '/tmpfs';
	mkdir $at or die $!;
	mount_tmpfs($at, ',size=256k');
	my $run = begin($at);
	fill($at);
	deliver($run, 503, 'full', 'No space left');
	unlink "$at/filler";
	deliver($run, 200, 'no longer full');
	all_are_stored($run, 'no longer full');
	reap($run->{worker});
	unmount_disk({ at => $at });
};

subtest 'a file system that is read-only at the start' => sub {
	my $disk = new_disk(type => 'ext4', size => 16);
	mkdir "$disk->{at}/spool", 0750;
	Disk::run('mount', '-o', 'remount,ro', $disk->{at});
	my $run = { spool => "$disk->{at}/spool", stored => [],
		worker => worker(spool => "$disk->{at}/spool") };
	deliver($run, 500, 'read-only', 'Read-only file system');
	Disk::run('mount', '-o', 'remount,rw', $disk->{at});
	deliver($run, 200, 'writable');
	reap($run->{worker});
	unmount_disk($disk);
};

# The kernel finds the damage, drops data, and goes on.
for my $sub ('', '/spool') {
	my $whose = $sub eq '' ? 'the spool\'s own file system'
		: 'a shared file system';
	subtest "a damaged block bitmap on $whose" => sub {
		my $disk = new_disk(type => 'ext4', size => 64,
			options => ['-b', 4096]);
		my $spool = "$disk->{at}$sub";
		mkdir $spool, 0750;
		chmod 0750, $spool;
		cgi(spool => $spool, body => event());	# makes its directories
		my ($bitmap) = qx(dumpe2fs $disk->{image} 2>/dev/null)
			=~ /Block bitmap at (\d+)/;
		unmount_disk($disk);
		Disk::run('dd', 'if=/dev/urandom', "of=$disk->{image}", 'bs=4096',
			"seek=$bitmap", 'count=1', 'conv=notrunc', 'status=none');
		mount_disk($disk, 'errors=continue');
		my $worker = worker(spool => $spool, dir => scratch());
		my @bodies = map { event(pad => 5000) } 1 .. 6;
		my @got = map { fcgi_recv($_) } send_group($worker, @bodies[0 .. 3]);
		push @got, map { post($worker, $_) } @bodies[4, 5];
		reap($worker);
		unmount_disk($disk);
		mount_disk($disk);
		my %there = map { $_ => 1 } content($spool, 'new');
		is((grep { $got[$_]{status} eq '200' && !$there{ $bodies[$_] } }
			0 .. 5), 0, 'nothing acknowledged is lost');
		isnt($got[0]{status}, 200, 'the first is refused');
		unmount_disk($disk);
	};
}

subtest 'without /proc deliveries are stored' => sub {
	my $spool = new_spool();
	my $body = event();
	my $got = cgi(spool => $spool, body => $body, under => ['unshare', '-m',
		'sh', '-c', 'mount -t tmpfs none /proc && exec "$0"']);
	is($got->{status}, 200, 'status');
	is_deeply([content($spool, 'new')], [$body], 'the bytes');
};

done_testing();
