# File systems in image files, for tests: makes, mounts and unmounts them, and cuts
# them off as a power failure does.  All are unmounted when the test ends.
package Disk;
use strict;
use warnings;
use File::Temp ();
use Exporter qw(import);
use Hook qw(scratch wait_for);

our @EXPORT = qw(can_mount new_disk mount_disk unmount_disk cut_power);

our %mounted;

# Whether the test may mount.  If so, it is started again in a mount namespace of
# its own: a copy of a mount in another namespace would keep the disk in use.
sub can_mount {
	return 0 if $> != 0 || !-e '/dev/loop-control';
	return 1 if $ENV{DISK_APART};
	File::Temp::cleanup();	# exec runs no END block
	exec 'unshare', '-m', '--propagation', 'private', 'env', 'DISK_APART=1',
		'PERL5LIB=' . join(':', @INC), $^X, $0 or die "unshare: $!";
}

sub run {
	my @command = @_;
	my $pid = open my $out, '-|' or do {
		open STDERR, '>&', \*STDOUT or die $!;
		exec @command or POSIX::_exit(127);
	};
	my $text = do { local $/; <$out> };
	close $out or die "@command: $text";
	return $text;
}

# Makes and mounts a file system: type => ext4 or xfs, size => MB, options => [for
# mkfs].
sub new_disk {
	my (%with) = @_;
	my $dir = scratch();
	my $disk = { image => "$dir/image", at => "$dir/mount", dir => $dir };
	mkdir $disk->{at} or die $!;
	open my $fh, '>', $disk->{image} or die $!;
	truncate $fh, ($with{size} // 400) << 20 or die $!;
	close $fh;
	run("mkfs.$with{type}", '-q', @{ $with{options} // [] },
		$disk->{image});
	mount_disk($disk);
	return $disk;
}

sub mount_disk {
	my ($disk, @options) = @_;
	run('mount', '-o', join(',', 'loop', @options), $disk->{image},
		$disk->{at});
	$mounted{ $disk->{at} } = 1;
	return;
}

sub unmount_disk {
	my ($disk) = @_;
	run('umount', $disk->{at});
	delete $mounted{ $disk->{at} };
	# If it were mounted again before that, the kernel would go on with the
	# file system that it has, even if that was shut down.
	!defined $disk->{image} ||
		wait_for(sub { run('losetup', '-j', $disk->{image}) eq '' })
		or die "$disk->{at} is still in use";
	return;
}

# Loses everything that was not flushed, the buffers of the file system's log
# included.
sub cut_power {
	my ($disk) = @_;
	run('xfs_io', '-x', '-c', 'shutdown', $disk->{at});
	return;
}

END {
	my $status = $?;
	system 'umount', '-l', $_ for keys %mounted;
	$? = $status;
}

1;
