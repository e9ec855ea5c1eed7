#!/usr/bin/perl
# Runs newcomer in fresh minimal Debian systems: the first commands of the README,
# and make deb, in the unpacked archive of make dist.  On Debian 12 a user with
# sudo runs them first, in a path with a space, and then root; on 13 root comes
# first.  The second finds everything installed, and no apt-get.  Each system has
# namespaces and a tmpfs of its own, which end with it.
use strict;
use warnings;
use Test::More;
use Cwd qw(abs_path);
use Debian;
use Hook;

my %FIRST = (bookworm => 'user', trixie => 'root');

skip_without('root') if $> != 0;
for (qw(mmdebstrap unshare)) {
	skip_without($_) if system("command -v $_ >/dev/null") != 0;
}
mkdir 'build';
debian_base("build/fresh-$_.tar", $_, qw(make sudo)) for sort keys %FIRST;
like(slurp('README.md'), qr/^    $_(?: .*)?$/m, "README.md names $_")
	for 'make demo', 'make check';
delete $ENV{$_} for qw(MAKEFLAGS MFLAGS MAKELEVEL);
is(system('make -s dist >/dev/null'), 0, 'make dist');
my ($version) = slurp('Makefile') =~ /^VERSION := (\S+)/m;
my $name = "protocol-hook-$version";

# Starts newcomer in SUITE; returns its process and the file of its output.
sub start {
	my ($suite) = @_;
	my $dir = scratch();
	mkdir "$dir/root" or die $!;
	my $tar = abs_path("build/fresh-$suite.tar");
	my $log = "$dir/tap";
	# The mounts exist only in its namespace, and end with it.
	my $script = <<"END";
	mount -t tmpfs -o mode=755 fresh $dir/root
	tar -xpf $tar -C $dir/root --numeric-owner
	mkdir -p $dir/root/dev/pts $dir/root/dev/shm $dir/root/new
	chmod 1777 $dir/root/dev/shm
	mount -t proc proc $dir/root/proc
	mount -t devpts -o ptmxmode=666 devpts $dir/root/dev/pts
	cp -L /etc/resolv.conf /etc/hosts $dir/root/etc/
	cp build/$name.tar.gz tests/integration/newcomer $dir/root/new/
	exec chroot $dir/root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
	    sh /new/newcomer $FIRST{$suite} $name
END
	my $pid = fork // die $!;
	if (!$pid) {
		open STDIN, '<', '/dev/null' or die $!;
		open STDOUT, '>', $log or die $!;
		open STDERR, '>&', \*STDOUT or die $!;
		exec qw(unshare --mount --propagation private --pid --fork
			--kill-child sh -ec), $script or POSIX::_exit(127);
	}
	return { suite => $suite, pid => $pid, log => $log };
}

for my $run (map { start($_) } sort keys %FIRST) {
	waitpid $run->{pid}, 0;
	if ($? >> 8 == 77 && !$ENV{CI}) {
		SKIP: { skip "$run->{suite}: no mirror answers", 1 }
		next;
	}
	is($? >> 8, 0, "$run->{suite}: newcomer exits with 0");
	my $tap = slurp($run->{log});
	my ($plan) = $tap =~ /^1\.\.(\d+)$/m;
	my $n = 0;
	for (split /\n/, $tap) {
		if (/^(not )?ok \d+ - (.*)/) {
			ok(!$1, "$run->{suite}: $2");
			$n++;
		} elsif (!/^1\.\./) {
			diag("$run->{suite}: $_");
		}
	}
	is($n, $plan, "$run->{suite}: all planned tests ran");
}
done_testing();
