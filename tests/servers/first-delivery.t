# What a new user does: the commands in each example's first lines, to the
# letter, on a system where nothing of it was before.  That is a mount, network
# and process namespace with what "make install" installs; it leaves nothing.
use strict;
use warnings;
use Hook;
use Servers;
use Servers::Setups;
use Test::More;

Servers::skip_unless_installed({ title => 'first delivery',
	needs => [qw(unshare busybox systemd-tmpfiles)] });

# Those of systemd need one that runs: see fastcgi-nginx-systemd.t.
my @names = grep { $_ ne 'fastcgi-nginx-systemd' } sort keys %SETUPS;
plan tests => 2 * @names;

# Written to, they are as they were afterwards.
my @DIRS = qw(etc usr/local var);

sub script {
	my (@commands) = @_;
	my $overlays = join '', map { my $name = tr{/}{-}r; <<"END" } @DIRS;
mkdir /run/$name.upper /run/$name.work
mount -t overlay -o lowerdir=/$_,upperdir=/run/$name.upper,\\
workdir=/run/$name.work overlay /$_
END
	return <<"END" . join '', map { "$_\n" } @commands;
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
${overlays}busybox ifconfig lo up
systemd-tmpfiles --create --prefix=/run >/dev/null 2>&1 || :
umask 022
make -s install
# The key comes where examples/prepare asks for it.
printf '%s\\n' '$KEY' >/run/key
exec </run/key
set -x
END
}

for my $name (@names) {
	SKIP: {
		my $setup = $SETUPS{$name};
		my @missing = grep { !Servers::find_needed($_) }
			@{ $setup->{needs} };
		skip("$name: there is no @missing", 2) if @missing && !$ENV{CI};
		my @commands = Servers::commands(
			slurp("examples/$setup->{example}"));
		my $send = pop @commands;
		my $dir = scratch();
		Servers::make_file("$dir/script", script(@commands) . <<"END");
# The server may take a moment.
set +x
until curl -s -o /run/ignored http://127.0.0.1:8080/; do sleep 0.1; done
$send
cat /var/spool/protocol-hook/new/*.json >&3
END
		my $pid = fork // die $!;
		if (!$pid) {
			$ENV{PATH} .= ':/usr/sbin:/sbin';
			open STDIN, '<', '/dev/null' or die $!;
			open STDOUT, '>', "$dir/log" or die $!;
			open STDERR, '>&', \*STDOUT or die $!;
			exec "exec timeout -s KILL 40 unshare -mnpf --mount-proc" .
				" --kill-child sh -e $dir/script 3>$dir/stored"
				or POSIX::_exit(127);
		}
		waitpid $pid, 0;
		my $log = slurp("$dir/log");
		like($log, qr/"status":"stored"/, "$name: stored") or diag($log);
		is(slurp("$dir/stored"), $EXAMPLE, "$name: as sent");
	}
}
