#!/usr/bin/perl
# What a release is made of: the same bytes twice, all places with one version,
# and an installation that goes without a trace.
use strict;
use warnings;
use Test::More;
use Digest::SHA ();
use Hook;

delete $ENV{$_} for qw(MAKEFLAGS MFLAGS MAKELEVEL);
plan skip_all => 'needs a git repository' if system('git rev-parse -q --verify '
	. 'HEAD >/dev/null 2>&1') != 0;
my $dir = scratch();

sub sh {
	my ($command) = @_;
	my $out = qx(( $command ) 2>&1);
	return ($? >> 8, $out);
}

# In different places, under different times, locales and masks.
my @sums;
for (['a', 'umask 022; export TZ=UTC LC_ALL=C'],
	['b/much-longer', 'umask 077; export TZ=Asia/Tokyo LC_ALL=C.UTF-8']) {
	my ($where, $with) = @{$_};
	my ($status, $out) = sh("$with; git clone -q . $dir/$where && "
		. "cd $dir/$where && make -s dist");
	is($status, 0, "make dist in $where") or diag($out);
	my ($tar) = glob "$dir/$where/build/*.tar.gz";
	push @sums, Digest::SHA->new(256)->addfile($tar)->hexdigest;
	sleep 1;
}
is($sums[0], $sums[1], 'the same bytes');

my $clone = "$dir/a";
my ($status, $out) = sh("cd $clone && make -s check-release");
is($status, 0, 'one version everywhere') or diag($out);
my ($version) = slurp("$clone/Makefile") =~ /^VERSION := (\S+)/m;
for my $file (qw(NEWS.md debian/changelog examples/rpm/protocol-hook.spec)) {
	sh("cd $clone && sed -i 's/\Q$version\E/9.9.9/' $file");
	($status, $out) = sh("cd $clone && make -s check-release");
	isnt($status, 0, "another one in $file");
	like($out, qr/$file says '9\.9\.9'/, 'is named');
	sh("cd $clone && git checkout -q $file");
}
sh("cd $clone && git tag v$version");
is((sh("cd $clone && make -s check-release"))[0], 0, 'its tag');
sh("cd $clone && git tag v9.9.9");
($status, $out) = sh("cd $clone && make -s check-release");
isnt($status, 0, 'the tag of another version');

# Installed, and removed.
my $knobs = "DESTDIR=$dir/root PREFIX=/usr UNITDIR=/usr/lib/systemd/system "
	. 'CGIDIR=/usr/lib/cgi-bin';
($status, $out) = sh("make -s install $knobs");
is($status, 0, 'make install') or diag($out);
my %there = map { s{^\Q$dir\E/root}{}r => 1 }
	split /\n/, qx(find $dir/root -type f);
ok($there{$_}, $_) for qw(/usr/bin/protocol-hook
	/usr/share/man/man1/protocol-hook.1 /usr/share/man/man8/protocol-hook.8
	/usr/share/man/man5/protocol-hook-spool.5
	/usr/share/bash-completion/completions/protocol-hook
	/usr/share/zsh/vendor-completions/_protocol-hook
	/usr/lib/systemd/system/protocol-hook.service
	/usr/lib/sysusers.d/protocol-hook.conf /usr/lib/cgi-bin/protocol-hook);
like(slurp("$dir/root/usr/lib/systemd/system/protocol-hook.service"),
	qr{^ExecStart=/usr/bin/protocol-hook$}m, 'the unit names the program');
($status, $out) = sh("make -s uninstall $knobs");
is($status, 0, 'make uninstall') or diag($out);
is(qx(find $dir/root -type f), '', 'nothing is left');

SKIP: {
	skip 'needs rpmbuild', 3 if system('command -v rpmbuild >/dev/null') != 0;
	($status, $out) = sh('make rpm');
	is($status, 0, 'make rpm') or diag($out);
	my ($rpm) = grep { !/debug/ } glob 'build/rpm/RPMS/*/*.rpm';
	like(qx(rpm -qlp $rpm 2>&1), qr{^/usr/bin/protocol-hook$}m,
		'it has the program');
	like(qx(rpm2archive - <$rpm | tar -xzO --wildcards '*/protocol-hook.socket'),
		qr/^SocketGroup=nginx$/m, 'and a group that is there');
}
done_testing();
