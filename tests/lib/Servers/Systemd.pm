# A real systemd, as the first process of its own namespaces.  It runs the units
# of examples/systemd and the journal, nothing else.
package Servers::Systemd;
use strict;
use warnings;
use File::Copy qw(copy);
use File::Path qw(make_path);
use Hook;
use POSIX ();

my $UNITS = '/lib/systemd/system';
my @SOCKETS = qw(systemd-journald.socket systemd-journald-dev-log.socket);

sub make_units {
	my ($dir) = @_;
	make_path("$dir/units/sockets.target.wants");
	copy("$UNITS/$_", "$dir/units/") or die "$_: $!"
		for qw(sysinit.target basic.target sockets.target
		shutdown.target systemd-journald.service), @SOCKETS;
	symlink "../$_", "$dir/units/sockets.target.wants/$_" for @SOCKETS;
	make_path("$dir/var/log/journal");
}

# Installs the units as "make install" does, with a drop-in for the test's own
# variables.
sub install_units {
	my ($s) = @_;
	my $to = "$s->{dir}/etc/systemd/system";
	copy("$s->{dir}/examples/systemd/$_", "$to/") or die "$_: $!"
		for qw(protocol-hook.socket protocol-hook.service
		protocol-hook-retry.service);
	make_path("$to/protocol-hook.service.d");
	my %env = (%{ $s->{extra_variables} },
		PROTOCOL_HOOK_SPOOL => $s->{spool});
	Servers::make_file("$to/protocol-hook.service.d/test.conf",
		"[Service]\n" . join '', map { "Environment=$_=$env{$_}\n" }
		sort keys %env);
}

sub boot {
	my ($s) = @_;
	my $dir = $s->{dir};
	make_units($dir);
	install_units($s);
	my $script = <<"END";
	mount --make-rprivate /
	mount -t tmpfs tmpfs /run
	mount --bind $dir/etc/systemd/system /etc/systemd/system
	mount --bind $dir/units $UNITS
	mount --bind $dir/var/log/journal /var/log/journal
	umount -R /sys/fs/cgroup
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	mount --make-rshared /
	export container=private
	exec /lib/systemd/systemd --unit=basic.target --log-target=null
END
	my $pid = fork // die $!;
	if (!$pid) {
		open STDIN, '<', '/dev/null' or die $!;
		open STDOUT, '>>', "$dir/var/log/boot" or die $!;
		open STDERR, '>&', \*STDOUT or die $!;
		exec qw(unshare -mpfC --mount-proc --kill-child sh -ec), $script
			or POSIX::_exit(127);
	}
	$s->{unshare} = $pid;
	wait_for(sub { systemctl($s, 'is-system-running') =~ /^running/ })
		or die "systemd has not started\n";
}

sub inside {
	my ($s, $command) = @_;
	# systemd is the only child of unshare.
	my ($pid) = split ' ', eval { slurp(
		"/proc/$s->{unshare}/task/$s->{unshare}/children") } // '';
	return $pid ? "nsenter -t $pid -m -p $command" : 'false';
}

sub systemctl {
	my ($s, $what) = @_;
	my $command = inside($s, "systemctl $what");
	return scalar qx(timeout 20 $command 2>&1);
}

sub journal {
	my ($s) = @_;
	return '' if !$s->{unshare};
	my $command = inside($s, 'journalctl -u protocol-hook -o cat');
	return scalar qx(timeout 20 $command 2>&1);
}

# Changes a command so that systemctl talks to this systemd.
sub command {
	my ($s, $command) = @_;
	return $command =~ /^systemctl/ ? inside($s, $command) : $command;
}

# Reloads nginx and restarts the program.  Meanwhile deliveries wait in the
# socket.
sub reload {
	my ($s) = @_;
	kill 'HUP', Servers::pid_of($s, 'nginx.pid');
	systemctl($s, 'restart protocol-hook');
}

sub stop {
	my ($s) = @_;
	systemctl($s, 'stop protocol-hook.socket protocol-hook');
	open my $fh, '>', "$s->{dir}/var/log/journal.txt" or die $!;
	print $fh journal($s);
	close $fh or die $!;
	# With --kill-child this also ends systemd.
	kill 'KILL', $s->{unshare};
	waitpid delete $s->{unshare}, 0;
}

1;
