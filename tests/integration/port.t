#!/usr/bin/perl
# The quick part of make check-port: make names everything that is missing, and
# libraries that are too old; the branches for other systems and for Nettle 4
# compile, and store deliveries; builds are reproducible in other directories, at
# other times, with other locales and umasks.
use strict;
use warnings;
use Test::More;
use Digest::SHA ();
use Hook;

delete $ENV{$_} for qw(MAKEFLAGS MFLAGS MAKELEVEL);
my $dir = scratch();

sub sh {
	my ($command) = @_;
	my $out = qx(( $command ) 2>&1);
	return ($? >> 8, $out);
}

# Old libraries.
is(system("sh scripts/copy $dir/old"), 0, 'the tree is copied');
mkdir "$dir/pc" or die $!;
for (['fcgi', '2.4.1', '2.4.2'], ['nettle', '3.3', '3.4'],
	['json-c', '0.13.1', '0.15']) {
	my ($library, $old, $needed) = @{$_};
	open my $fh, '>', "$dir/pc/$library.pc" or die $!;
	print {$fh} "Name: x\nDescription: x\nVersion: $old\n";
	close $fh or die $!;
	my ($status, $out) =
		sh("PKG_CONFIG_PATH=$dir/pc make -s -C $dir/old");
	isnt($status, 0, "$library $old is refused");
	like($out, qr/^protocol-hook needs \Q$library\E >= \Q$needed\E; here is \Q$old\E$/m,
		"$library $old: the message");
	unlink "$dir/pc/$library.pc";
}

# A bare system, without compiler, pkg-config and libraries.
{
	mkdir "$dir/bare" or die $!;
	for my $tool (qw(sh awk cat cmp echo env grep make mkdir rm sed)) {
		my ($path) = grep { -x } map { "$_/$tool" } split /:/, $ENV{PATH};
		symlink $path, "$dir/bare/$tool" or die "$tool: $!";
	}
	my $bare = "PATH='$dir/bare' make -s -C $dir/old";
	my $needs = join '', map { "protocol-hook needs $_\n" } 'a C compiler (cc)',
		'pkg-config', 'fcgi >= 2.4.2', 'nettle >= 3.4', 'json-c >= 0.15';
	my ($status, $out) = sh($bare);
	isnt($status, 0, 'a bare system: make fails');
	is($out =~ s/^make: .*\n//mgr, $needs, 'a bare system: make names everything that is missing, and no more');
	symlink '/bin/false', "$dir/bare/$_" or die $! for qw(apt-get dpkg-query);
	($status, $out) = sh($bare);
	is($out =~ s/^make: .*\n//mgr, $needs . 'As root: apt-get install gcc '
		. "libc6-dev pkg-config libfcgi-dev nettle-dev libjson-c-dev\n",
		"a bare system with apt-get: make also names Debian's packages");
}

# Other systems, by their macros and headers; and the calls that they lack, which
# must not compile.
for (['OpenBSD', '-U__linux__ -D__OpenBSD__', 'openbsd bsd',
		'return memfd_create("", 0);', 'return syncfs(0);'],
	['FreeBSD', '-U__linux__ -D__FreeBSD__', 'freebsd bsd',
		'return sync_file_range(0, 0, 0, 0);'],
	['macOS', '-U__linux__ -D__APPLE__', 'macos bsd',
		'return accept4(0, NULL, NULL, 0);', 'return fdatasync(0);',
		'return ppoll(NULL, 0, NULL, NULL);',
		'struct stat st; return fstat(0, &st) + (int)st.st_mtim.tv_sec;'],
	['any other Unix', '-U__linux__', 'other bsd',
		'return ppoll(NULL, 0, NULL, NULL);'],
	['Nettle 4', '', 'nettle4',
		'sha256_digest(NULL, 32, NULL); return 0;']) {
	my ($name, $macros, $stubs, @not) = @{$_};
	my $flags = join ' ', $macros,
		map { "-isystem tests/port/$_" } split ' ', $stubs;
	my $copy = "$dir/$name";
	$copy =~ s/ /-/g;
	is(system("sh scripts/copy $copy"), 0, "$name: the tree is copied");
	my ($status, $out) = sh("make -s -j2 -C $copy CFLAGS='-O0 -Werror' "
		. "CPPFLAGS='$flags' all");
	is($status, 0, "$name: it compiles") or diag($out);
	local $Hook::PROGRAM = "$copy/protocol-hook";
	my $spool = new_spool();
	my $body = event();
	is(cgi(spool => $spool, body => $body)->{status}, 200,
		"$name: CGI stores");
	my $worker = worker(spool => $spool);
	is((post($worker, $body) // {})->{json}{status}, 'duplicate',
		"$name: FastCGI recognises a duplicate");
	my $large = event(pad => 300_000);
	is((post($worker, $large) // {})->{json}{status}, 'stored',
		"$name: FastCGI stores a body in many parts");
	reap($worker);
	for my $line ('return 0;', @not) {
		open my $fh, '>', "$copy/not.c" or die $!;
		print {$fh} map({ "#include <$_>\n" } qw(sys/mman.h
			sys/socket.h sys/stat.h fcntl.h poll.h unistd.h
			nettle/sha2.h)),
			"int main(void);\nint main(void) { $line }\n";
		close $fh or die $!;
		($status) = sh("cd $copy && cc -D_GNU_SOURCE $flags "
			. '-fsyntax-only not.c');
		is(!$status, $line eq 'return 0;', "$name: $line "
			. ($status ? 'does not compile' : 'compiles'));
	}
}

# Reproducible builds.
my @sums;
for (['a', 'umask 022; export TZ=UTC LC_ALL=C'], ['b/much/longer',
	'umask 077; export TZ=Asia/Tokyo LC_ALL=C.UTF-8']) {
	my ($where, $with) = @{$_};
	my ($status, $out) = sh("$with; mkdir -p $dir/$where && sh scripts/copy "
		. "$dir/$where && ln -s $where $dir/link-" . length($where)
		. " && cd $dir/link-" . length($where) . ' && make -s -j2');
	is($status, 0, "built in $where") or diag($out);
	push @sums, Digest::SHA->new(256)
		->addfile("$dir/$where/protocol-hook")->hexdigest;
	sh("$with; make -s -C $dir/$where install "
		. "DESTDIR=$dir/$where/root");
	is(sprintf('%03o', (stat "$dir/$where/root/usr/local/bin/$_")[2] & 0777),
		'755', "$where: installed for all: $_") for '.', 'protocol-hook';
}
is($sums[0], $sums[1], 'the program has the same bytes');

SKIP: {
	skip 'needs a git repository', 1
		if system('git rev-parse -q --verify HEAD >/dev/null 2>&1') != 0;
	@sums = ();
	for my $mask ('0000', '0077') {
		sh("git clone -q . $dir/clone-$mask && cd $dir/clone-$mask && "
			. "git config tar.umask $mask && make -s dist");
		push @sums, map { Digest::SHA->new(256)->addfile($_)->hexdigest }
			glob "$dir/clone-$mask/build/*.tar.gz";
	}
	is($sums[0] // 'none', $sums[1], 'the archive has the same bytes with any umask');
}
done_testing();
