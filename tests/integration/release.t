#!/usr/bin/perl
# A release: the archive is reproducible, also from the archive itself; all files
# name one version; make uninstall removes what make install has installed.
use strict;
use warnings;
use Test::More;
use Digest::SHA ();
use File::Basename qw(basename dirname);
use Hook;
use Links;

delete $ENV{$_} for qw(MAKEFLAGS MFLAGS MAKELEVEL);
plan skip_all => 'needs a git repository' if system('git rev-parse -q --verify '
	. 'HEAD >/dev/null 2>&1') != 0;
my $dir = scratch();

sub sh {
	my ($command) = @_;
	my $out = qx(( $command ) 2>&1);
	return ($? >> 8, $out);
}

# In different directories, at different times, with different locales and umasks.
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
is($sums[0], $sums[1], 'both archives have the same bytes');
{
	my ($tar) = glob "$dir/a/build/*.tar.gz";
	my ($status, $out) = sh("mkdir '$dir/an archive' && "
		. "tar -xzf $tar -C '$dir/an archive' --strip-components=1 && "
		. "cd '$dir/an archive' && touch README.md && chmod -R go= . && "
		. 'make -s -j2 && make -s dist');
	is($status, 0, 'make dist in the unpacked archive') or diag($out);
	is(slurp("$dir/an archive/build/" . basename($tar)), slurp($tar),
		'it has the same bytes');
}

my $clone = "$dir/a";
my ($status, $out) = sh("cd $clone && make -s check-release");
is($status, 0, 'check-release: all files name one version') or diag($out);
my ($version) = slurp("$clone/Makefile") =~ /^VERSION := (\S+)/m;
for my $file (qw(NEWS.md debian/changelog examples/rpm/protocol-hook.spec)) {
	sh("cd $clone && sed -i 's/\Q$version\E/9.9.9/' $file");
	($status, $out) = sh("cd $clone && make -s check-release");
	isnt($status, 0, "check-release: another version in $file fails");
	like($out, qr/$file says '9\.9\.9'/, 'check-release: it names the file');
	sh("cd $clone && git checkout -q $file");
}
sh("cd $clone && git tag v$version");
is((sh("cd $clone && make -s check-release"))[0], 0, 'check-release: with the tag of the version');
sh("cd $clone && git tag v9.9.9");
($status, $out) = sh("cd $clone && make -s check-release");
isnt($status, 0, 'check-release: with the tag of another version');

# Installing and uninstalling with all variables set.
my $knobs = "DESTDIR=$dir/root PREFIX=/usr UNITDIR=/usr/lib/systemd/system "
	. 'CGIDIR=/usr/lib/cgi-bin';
($status, $out) = sh("make -s install $knobs");
is($status, 0, 'make install') or diag($out);
my %there = map { s{^\Q$dir\E/root}{}r => 1 }
	split /\n/, qx(find $dir/root -type f);
ok($there{$_}, "make install: $_") for qw(/usr/bin/protocol-hook
	/usr/share/man/man1/protocol-hook.1 /usr/share/man/man8/protocol-hook.8
	/usr/share/man/man5/protocol-hook-spool.5
	/usr/share/bash-completion/completions/protocol-hook
	/usr/share/zsh/site-functions/_protocol-hook
	/usr/lib/systemd/system/protocol-hook.service
	/usr/lib/sysusers.d/protocol-hook.conf /usr/lib/cgi-bin/protocol-hook);
like(slurp("$dir/root/usr/lib/systemd/system/protocol-hook.service"),
	qr{^ExecStart=/usr/bin/protocol-hook$}m, 'make install: the unit names the program');
($status, $out) = sh("make -s uninstall $knobs");
is($status, 0, 'make uninstall') or diag($out);
is(qx(find $dir/root -type f), '', 'make uninstall: no file is left');

# Without variables.
($status, $out) = sh("make -s install DESTDIR='$dir/the root'");
is($status, 0, 'make install without knobs') or diag($out);
SKIP: {
	skip 'needs zsh', 3 if system('command -v zsh >/dev/null') != 0;
	my @looks = split /\n/, qx(zsh -f -c 'print -l \$fpath');
	my @found = grep { -e } map { "$dir/the root$_/_protocol-hook" } @looks;
	is(scalar @found, 1, 'zsh searches the directory of the completion');
	ok((grep { $_ eq '/usr/share/zsh/vendor-completions' } @looks),
		"zsh searches the directory of the package's completion");
	my $zsh = "fpath=('" . dirname($found[0] // '/none') . "' \$fpath); "
		. "autoload -U compinit; compinit -u -d '$dir/zcompdump'; "
		. 'print $_comps[protocol-hook]';
	open my $fh, '-|', 'zsh', '-f', '-c', $zsh or die $!;
	is(join('', <$fh>), "_protocol-hook\n", 'zsh uses the completion');
}

SKIP: {
	skip 'needs rpmbuild', 4 if system('command -v rpmbuild >/dev/null') != 0;
	($status, $out) = sh('make rpm');
	is($status, 0, 'make rpm') or diag($out);
	my ($rpm) = grep { !/debug/ } glob 'build/rpm/RPMS/*/*.rpm';
	like(qx(rpm -qlp $rpm 2>&1), qr{^/usr/bin/protocol-hook$}m,
		'make rpm: it has the program');
	sh("mkdir $dir/rpm && rpm2archive - <$rpm | tar -xzC $dir/rpm");
	is(join("\n", map { dead_links($_) }
		glob "$dir/rpm/usr/share/doc/protocol-hook*"), '',
		'make rpm: its documents have no dead link');
	like(qx(rpm2archive - <$rpm | tar -xzO --wildcards '*/protocol-hook.socket'),
		qr/^SocketGroup=nginx$/m, 'make rpm: the group of its socket exists there');
}
done_testing();
