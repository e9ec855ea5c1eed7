#!/usr/bin/perl
# The Debian package, in a Debian of its own that is booted for it: see
# first-half-hour, which runs there.
use strict;
use warnings;
use Test::More;
use File::Temp qw(tempdir);
use Debian;
use Hook;
use Links;

skip_without('root') if $> != 0;
for (qw(systemd-nspawn mmdebstrap dpkg-buildpackage lintian)) {
	skip_without($_) if system("command -v $_ >/dev/null") != 0;
}

my @packages = qw(systemd-sysv nginx-light lighttpd curl openssl e2fsprogs
	libfcgi0ldbl libjson-c5 libnettle8);
my $base = 'build/bookworm.tar';

sub sh {
	my ($command, $name) = @_;
	my $out = qx($command 2>&1);
	ok($? == 0, $name) or diag($out);
	return $? == 0;
}

# It is the same for every run, and takes the longest.
debian_base($base, 'bookworm', @packages);

delete $ENV{$_} for qw(MAKEFLAGS MFLAGS MAKELEVEL);
sh('DEB_BUILD_OPTIONS=nocheck make deb', 'make deb, with lintian')
	or BAIL_OUT('no package');

my $dir = tempdir('hook-XXXXXXXX', CLEANUP => 1,
	DIR => -d -w '/dev/shm' ? '/dev/shm' : '/tmp');
my $root = "$dir/root";
mkdir $root or die $!;
sh("tar -xpf $base -C $root --numeric-owner", 'unpack it');
my ($deb) = glob 'build/deb/protocol-hook_*.deb';
my ($install) = slurp('docs/operating.md') =~ /^    apt install (\S+) /m;
is(join(' ', glob $install), "./$deb", 'docs/operating.md knows where it is');
sh("dpkg-deb -x $deb $dir/content", 'its content');
is(join("\n", dead_links("$dir/content/usr/share/doc/protocol-hook")), '',
	'no link of its documents leads nowhere');
cmp_ok(scalar documents("$dir/content/usr/share/doc/protocol-hook"), '>', 3,
	'of which there are some');
mkdir "$root/package" or die $!;
sh("cp $deb $root/package/protocol-hook.deb && cp debian/tests/deliver "
	. "tests/integration/first-half-hour $root/package/", 'the package');
unlink glob "$root/etc/systemd/system/multi-user.target.wants/{nginx,lighttpd}*";
open my $fh, '>', "$root/etc/systemd/system/trial.service" or die $!;
print {$fh} <<'END';
[Unit]
After=multi-user.target
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
ExecStart=/bin/sh /package/first-half-hour
StandardOutput=truncate:/package/tap
StandardError=journal
TimeoutStartSec=240
[Install]
WantedBy=default.target
END
close $fh or die $!;
sh("systemctl --root=$root enable trial.service && "
	. "systemctl --root=$root set-default multi-user.target", 'what to run');
system("timeout -k 5 300 systemd-nspawn -q -D $root --boot --register=no "
	. "--keep-unit --private-network -M hook$$ </dev/null >$dir/console 2>&1");

# Its TAP is ours.
my $tap = -e "$root/package/tap" ? slurp("$root/package/tap") : '';
my $plan;
for (split /\n/, $tap) {
	if (/^(not )?ok \d+ - (.*)/) {
		ok(!$1, "there: $2");
	} elsif (/^1\.\.(\d+)/) {
		$plan = $1;
	} else {
		diag($_);
	}
}
ok($plan, 'it ran to its end') or diag(slurp("$dir/console"));
done_testing();
