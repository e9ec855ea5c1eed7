#!/usr/bin/perl
# The Debian package, in a Debian of its own that is booted for it: see
# first-half-hour, which runs there.
use strict;
use warnings;
use Test::More;
use File::Temp qw(tempdir);
use Hook;

plan skip_all => 'needs root' if $> != 0;
for (qw(systemd-nspawn mmdebstrap dpkg-buildpackage lintian)) {
	plan skip_all => "needs $_" if system("command -v $_ >/dev/null") != 0;
}

my @packages = qw(systemd-sysv nginx-light lighttpd curl openssl e2fsprogs
	libfcgi0ldbl libjson-c5 libnettle8);
my ($base, $new) = qw(build/bookworm.tar build/new.tar);

sub sh {
	my ($command, $name) = @_;
	my $out = qx($command 2>&1);
	ok($? == 0, $name) or diag($out);
	return $? == 0;
}

# It is the same for every run, and takes the longest.
if (!-e $base || -M $base > 7) {
	my ($mirror) = map { /^URIs:\s*(\S+)/ ? $1 : /^deb (http\S+)/ ? $1 : () }
		map { split /\n/ } map { slurp($_) }
		grep { -e } '/etc/apt/sources.list.d/debian.sources',
		'/etc/apt/sources.list';
	my $include = join ',', @packages;
	sh("mmdebstrap --quiet --variant=minbase --include=$include bookworm "
		. "$new " . ($mirror // q()) . " && mv $new $base",
		'a minimal Debian 12') or BAIL_OUT('no Debian to try it in');
}

delete $ENV{$_} for qw(MAKEFLAGS MFLAGS MAKELEVEL);
sh('DEB_BUILD_OPTIONS=nocheck make deb', 'make deb, with lintian')
	or BAIL_OUT('no package');

my $dir = tempdir('hook-XXXXXXXX', CLEANUP => 1,
	DIR => -d -w '/dev/shm' ? '/dev/shm' : '/tmp');
my $root = "$dir/root";
mkdir $root or die $!;
sh("tar -xpf $base -C $root --numeric-owner", 'unpack it');
my ($deb) = glob 'build/deb/protocol-hook_*.deb';
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
