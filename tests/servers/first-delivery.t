# What a new user does: the unchanged commands in the first comment of each
# set-up, on a system that never had protocol-hook.  That system is a mount,
# network and process namespace in which "make install" was run.
use strict;
use warnings;
use Hook;
use Servers;
use Servers::Setups;
use Test::More;

Servers::skip_unless_installed({ title => 'first delivery',
	needs => [qw(unshare busybox systemd-tmpfiles)] });

# The systemd units need a running systemd: see fastcgi-nginx-systemd.t.
my @names = grep { $_ ne 'fastcgi-nginx-systemd' } sort keys %SETUPS;
plan tests => 2 * @names + 10;

# Directories that the commands may change; the changes end with the namespace.
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
# Not reached without an overlay, because of sh -e.
${overlays}rm -rf /etc/protocol-hook /var/spool/protocol-hook
busybox ifconfig lo up
systemd-tmpfiles --create --prefix=/run >/dev/null 2>&1 || :
umask 022
make -s install
# examples/prepare reads the key from standard input.
printf '%s\\n' '$KEY' >/run/key
exec </run/key
set -x
END
}

# Runs COMMANDS, then SEND, in such a system.  Returns their output and the
# stored file.
sub run_in_fresh_system {
	my ($commands, $send) = @_;
	my $dir = scratch();
	Servers::make_file("$dir/script", script(@$commands) . <<"END");
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
	return (slurp("$dir/log"), slurp("$dir/stored"));
}

for my $name (@names) {
	SKIP: {
		my $setup = $SETUPS{$name};
		my @missing = grep { !Servers::find_needed($_) }
			@{ $setup->{needs} };
		skip("$name: needs @missing", 2) if @missing && !$ENV{CI};
		my @commands = Servers::commands(
			slurp($setup->{file}));
		my $send = pop @commands;
		my ($log, $stored) = run_in_fresh_system(\@commands, $send);
		like($log, qr/"status":"stored"/,
			"$name: the delivery is stored") or diag($log);
		is($stored, $EXAMPLE, "$name: the file is what was sent");
	}
}

# The commands in the README, which ends with curl and its output.
my ($section) = slurp('README.md') =~
	/^## Putting it under a web server\n(.*?)^## /ms;
my ($curl) = $section =~ /^`(curl [^`]*)` then says `\{"status":"ready"\}`/m;
my %bullets = $section =~
	/^- \*\*(\w+)\*\*[^\n]*\n.*?\n?\n((?: {6}[^\n]*\n)+)/msg;
is(join(' ', sort keys %bullets), 'Apache lighttpd nginx',
	'the README has commands for three servers');
for my $name (sort keys %bullets) {
	SKIP: {
		my @needs = $name eq 'nginx' ? qw(nginx spawn-fcgi) :
			$name eq 'Apache' ? 'apache2' : 'lighttpd';
		my @missing = grep { !Servers::find_needed($_) } @needs;
		skip("README, $name: needs @missing", 3)
			if @missing && !$ENV{CI};
		my ($log, $stored) = run_in_fresh_system(
			[split /\n/, $bullets{$name}], "$curl\n" .
			'PROTOCOL_HOOK_SECRET_FILE=/etc/protocol-hook/secret ' .
			'sh examples/send tests/data/example.json ' .
			'http://127.0.0.1:8080/protocol-hook');
		like($log, qr/"status":"ready"/,
			"README, $name: GET answers ready");
		like($log, qr/"status":"stored"/,
			"README, $name: the delivery is stored")
			or diag($log);
		is($stored, $EXAMPLE,
			"README, $name: the file is what was sent");
	}
}
