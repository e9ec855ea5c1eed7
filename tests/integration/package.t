#!/usr/bin/perl
# Builds the Debian package, boots a Debian system for it, and runs
# first-half-hour there.
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

# Making it takes longest, so that later runs use it again.
debian_base($base, 'bookworm', @packages);

delete $ENV{$_} for qw(MAKEFLAGS MFLAGS MAKELEVEL);
sh('DEB_BUILD_OPTIONS=nocheck make deb', 'make deb, with lintian')
	or BAIL_OUT('no package');

my $dir = tempdir('hook-XXXXXXXX', CLEANUP => 1,
	DIR => -d -w '/dev/shm' ? '/dev/shm' : '/tmp');
my $root = "$dir/root";
mkdir $root or die $!;
sh("tar -xpf $base -C $root --numeric-owner", 'the system is unpacked');
my ($deb) = glob 'build/deb/protocol-hook_*.deb';
my ($install) = slurp('docs/operating.md') =~ /^    apt install (\S+) /m;
is(join(' ', glob $install), "./$deb", 'docs/operating.md has the path of the package');
sh("dpkg-deb -x $deb $dir/content", 'the package is unpacked');
is(join("\n", dead_links("$dir/content/usr/share/doc/protocol-hook")), '',
	'its documents have no dead link');
cmp_ok(scalar documents("$dir/content/usr/share/doc/protocol-hook"), '>', 3,
	'there are some documents');
mkdir "$root/package" or die $!;
sh("cp $deb $root/package/protocol-hook.deb && cp debian/tests/deliver "
	. "tests/integration/first-half-hour $root/package/", 'the package is copied there');
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
	. "systemctl --root=$root set-default multi-user.target", 'first-half-hour is to run at boot');
system("timeout -k 5 300 systemd-nspawn -q -D $root --boot --register=no "
	. "--keep-unit --private-network -M hook$$ </dev/null >$dir/console 2>&1");

# The results there become our results.
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
ok($plan, 'first-half-hour ran to its end') or diag(slurp("$dir/console"));
done_testing();
