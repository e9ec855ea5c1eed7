# For all benchmarks: file systems that vanish with the process, a web server,
# processes that are ended at exit, statistics.
package Bench;
use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use IO::Socket::UNIX;
use POSIX qw(:sys_wait_h);
use Socket qw(SOCK_STREAM);
use Time::HiRes qw(sleep time);

our @EXPORT = qw($TOP $BUILD $KEY $PORT alone file_system start stop_all
	stop fcgi nginx median load_run tool file_count machine slurp spit
	say_on empty wait_until environment);

our $TOP = abs_path(dirname(__FILE__) . '/..');
our $BUILD = "$TOP/build/bench";
our $KEY = 'bench-key';
our $PORT = 20000 + $$ % 10000;	# and the next, for servers of their own
our $scratch;
my ($owner, @mounted, %running);

sub slurp { open my $f, '<', $_[0] or die "$_[0]: $!"; local $/; return <$f> // '' }
sub spit { open my $f, '>', $_[0] or die "$_[0]: $!"; print $f $_[1]; close $f or die $! }
sub say_on { printf STDERR "%s\n", "@_" }

# In a mount namespace of our own, which takes its mounts with it at any exit.
sub alone {
	die "bench: needs root, to mount file systems\n" if $> != 0;
	exec 'unshare', '-m', '--propagation', 'private', 'env', 'BENCH_ALONE=1',
		$^X, $0, @_ if !$ENV{BENCH_ALONE};
	# In memory, as writing a log to a disk waits for flushes of other programs.
	$scratch = tempdir('hook-bench-XXXXXXXX', DIR => '/dev/shm');
	$owner = $$;
	$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);
	$SIG{PIPE} = 'IGNORE';
	share();
}

# On a machine that others use: with BENCH_SHARES all processes of the benchmark
# have one weight together (any other process has 1024), so that sixteen
# processes of a receiver get no more of the processor than one.
my $group = "/sys/fs/cgroup/cpu/hook-bench-$$";

sub share {
	return if !$ENV{BENCH_SHARES};
	mkdir $group or die "bench: $group: $!\n";
	spit("$group/cpu.shares", $ENV{BENCH_SHARES});
	spit("$group/cgroup.procs", $$);
}

END {
	if (defined $owner && $owner == $$) {
		local $?;
		stop_all();
		system 'umount', '-l', $_ for reverse @mounted;
		remove_tree($scratch);
		if ($ENV{BENCH_SHARES}) {
			spit("$group/../cgroup.procs", $$);
			rmdir $group;
		}
	}
}

# Mounts a new file system of MB megabytes: tmpfs, or ext4 or xfs on an image
# whose blocks are written first.  The image's name is removed after mounting.
# BENCH_IMAGES: the directory of the image.  In memory, a flush costs only the
# call.
sub file_system {
	my ($kind, $mb) = @_;
	my $at = "$scratch/$kind";
	mkdir $at or die $!;
	if ($kind eq 'tmpfs') {
		run('mount', '-t', 'tmpfs', '-o', "mode=0750,size=${mb}m", 'bench', $at);
	} else {
		my $image = ($ENV{BENCH_IMAGES} // '/var/tmp') . "/hook-bench-$$-$kind";
		run('dd', 'if=/dev/zero', "of=$image", 'bs=1M', "count=$mb",
			'conv=fsync', 'status=none');
		run($kind eq 'ext4' ? ('mkfs.ext4', '-q', '-i', '4096', '-E',
			'nodiscard,lazy_itable_init=0,lazy_journal_init=0', $image)
			: ('mkfs.xfs', '-q', '-K', $image));
		my $loop = qx(losetup --find --show --direct-io=on $image 2>/dev/null ||
			losetup --find --show $image);
		chomp $loop;
		die "bench: no loop device\n" if !$loop;
		run('mount', '-t', $kind, '-o', 'nodiscard', $loop, $at);
		run('losetup', '--detach', $loop);	# when it is unmounted
		unlink $image;
	}
	push @mounted, $at;
	chmod 0750, $at;
	return $at;
}

sub run { system(@_) == 0 or die "bench: @_ failed\n" }

# Removes what is in a directory, and waits until that is on the disk.
sub empty {
	my ($dir) = @_;
	opendir my $d, $dir or die "$dir: $!";
	remove_tree("$dir/$_") for grep { !/^(\.\.?|lost\+found)$/ } readdir $d;
	unlink "$dir/lock";
	run('sync', '-f', $dir);
}

# Starts COMMAND in a process group of its own.
sub start {
	my ($env, $stdin, @command) = @_;
	my $pid = fork // die $!;
	if (!$pid) {
		setpgrp;
		$ENV{$_} = $env->{$_} for keys %$env;
		open STDIN, '<&', $stdin if $stdin;
		open STDIN, '<', '/dev/null' if !$stdin;
		open STDOUT, '>>', "$scratch/log";
		open STDERR, '>>', "$scratch/log";
		exec @command or POSIX::_exit(127);
	}
	$running{$pid} = 1;
	return $pid;
}

sub stop {
	for my $pid (@_) {
		next if !delete $running{$pid};
		kill 'TERM', -$pid;
		my $end = time + 5;
		sleep 0.005 while waitpid($pid, WNOHANG) == 0 && time < $end;
		kill 'KILL', -$pid;
		waitpid $pid, 0;
	}
}

sub stop_all { stop(keys %running) }

# N processes on one listening socket, as spawn-fcgi starts them.
sub fcgi {
	my ($socket, $n, $env, @command) = @_;
	unlink $socket;
	my $listener = IO::Socket::UNIX->new(Type => SOCK_STREAM,
		Local => $socket, Listen => 4096) or die "$socket: $!";
	return map { start($env, $listener, @command) } 1 .. $n;
}

# One nginx for all: ROUTES is path => { socket, keep }.
sub nginx {
	my (%route) = @_;
	my ($upstreams, $locations) = ('', '');
	for my $name (sort keys %route) {
		my $r = $route{$name};
		my $keep = $r->{keep} ? 'keepalive 128; keepalive_requests 10000000;' : '';
		$upstreams .= "upstream $name { server unix:$r->{socket}; $keep }\n";
		my $on = $r->{keep} ? 'fastcgi_keep_conn on;' : '';
		my $script = $r->{script} ?
			"fastcgi_param SCRIPT_FILENAME $r->{script};" : '';
		$locations .= "location = /$name { fastcgi_pass $name; $on $script
			fastcgi_param REQUEST_METHOD \$request_method;
			fastcgi_param CONTENT_LENGTH \$content_length;
			fastcgi_param REMOTE_ADDR \$remote_addr; }\n";
	}
	spit("$scratch/nginx.conf", <<"CONF");
user root;
daemon off;
pid $scratch/nginx.pid;
error_log $scratch/nginx.log crit;
worker_processes auto;
worker_rlimit_nofile 65536;
events { worker_connections 20000; }
http {
	access_log off;
	client_body_temp_path $scratch/nginx-body;
	fastcgi_temp_path $scratch/nginx-fastcgi;
	proxy_temp_path $scratch/nginx-proxy;
	uwsgi_temp_path $scratch/nginx-uwsgi;
	scgi_temp_path $scratch/nginx-scgi;
	client_max_body_size 2m;
	client_body_buffer_size 1100k;
	keepalive_requests 10000000;
	$upstreams
	server {
		listen 127.0.0.1:$PORT backlog=4096;
		$locations
	}
}
CONF
	return start({}, undef, 'nginx', '-p', $scratch, '-c',
		"$scratch/nginx.conf");
}

# Runs one of our tools; returns the name=value that it prints, as a hash.
sub tool {
	my (@command) = @_;
	open my $out, '-|', @command or die $!;
	my $line = <$out> // '';
	close $out;
	die "bench: @command failed\n" if $?;
	return { map { /^([a-z0-9_]+)=([0-9.]+)$/ ? ($1, $2) : () } split ' ', $line };
}

sub load_run {
	my ($port, $path, @options) = @_;
	return tool("$BUILD/load", '-k', $KEY, '-p', $path, @options, $port);
}

sub wait_until {
	my ($code, $what) = @_;
	my $end = time + 15;
	until ($code->()) {
		die "bench: $what does not start:\n" . slurp("$scratch/log")
			if time > $end;
		sleep 0.02;
	}
}

sub file_count {
	my ($dir) = @_;
	opendir my $d, $dir or return 0;
	return scalar grep { !/^\./ } readdir $d;
}

sub median {
	my @v = sort { $a <=> $b } @_;
	return undef if !@v;
	return @v % 2 ? $v[$#v / 2] : ($v[$#v / 2] + $v[@v / 2]) / 2;
}

# Describes the machine, in Markdown.
sub machine {
	my ($cpu) = slurp('/proc/cpuinfo') =~ /^model name\s*: (.*)$/m;
	my ($kb) = slurp('/proc/meminfo') =~ /^MemTotal:\s+(\d+)/m;
	my $cores = () = slurp('/proc/cpuinfo') =~ /^processor/mg;
	my $kernel = (POSIX::uname())[2];
	my @packages = split /\n/, qx(dpkg-query -W -f '\${Package} \${Version}\\n' \\
		nginx nginx-light libfcgi0ldbl libnettle8 php8.2-fpm nodejs python3 \\
		python3-flask gunicorn webhook 2>/dev/null);
	my $packages = join ', ', grep { / \S/ } @packages;
	my $commit = qx(git -C $TOP rev-parse --short HEAD 2>/dev/null);
	chomp $commit;
	return sprintf "%s, commit %s. %s, %d cores, %.0f GB of memory, " .
		"Linux %s%s. %s. Load average before: %s.\n",
		POSIX::strftime('%Y-%m-%d', gmtime), $commit,
		$cpu // 'unknown processor', $cores, ($kb // 0) / 1e6, $kernel,
		slurp('/proc/cpuinfo') =~ /hypervisor/ ? ' in a virtual machine' : '',
		$packages, (split ' ', slurp('/proc/loadavg'))[0];
}

# The environment of a receiver whose spool is DIR.
sub environment {
	my ($dir) = @_;
	return { PROTOCOL_HOOK_SECRET => $KEY, PROTOCOL_HOOK_SPOOL => $dir,
		PROTOCOL_HOOK_MAX_BODY => '2M', HOOK_KEY => $KEY,
		HOOK_SPOOL => $dir, HOOK_PORT => $PORT + 1, PATH => $ENV{PATH},
		PYTHONDONTWRITEBYTECODE => 1, PYTHONPATH => "$TOP/bench/peers" };
}

1;
