# Runs the list of cases (Servers::Cases) against a real web server, which is
# started with the unchanged commands of a set-up (Servers::Setups).  In copies
# of its files only paths, the port and users are replaced.
#
#	Servers::run('fastcgi-nginx');			a whole test file
#
#	my $s = Servers::start('fastcgi-nginx');	for other promises
#	Servers::stop($s);
package Servers;
use strict;
use warnings;
use Exporter qw(import);
use File::Basename qw(basename dirname);
use File::Copy qw(copy);
use File::Find ();
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use Hook;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Servers::Cases;
use Servers::Client;
use Servers::Setups;
use Test::More;

our @EXPORT_OK = qw(run start stop skip_unless_installed processes logs
	commands RESULTS);

use constant RESULTS => 'build/servers';

# Variables that are set in addition to those in the set-up.
my %EXTRA_VARIABLES = (PROTOCOL_HOOK_MIN_FREE => 0,
	PROTOCOL_HOOK_EVENTS => 'message.*');
# The server's user, and the user in place of protocol-hook: Debian's proxy has
# a group of its own, and nothing else uses it.
my $SERVER_USER = 'www-data';
my $OWN_USER = 'proxy';

# Files that may be replaced by the test's copies.
my @COPIED = qw(examples tests/servers/setups);

# The path of a program or file that a set-up needs, or undef.
sub find_needed {
	my ($what) = @_;
	return (grep { -e } $what)[0] if $what =~ m{^/};
	return (grep { -x } map { "$_/$what" } split(/:/, $ENV{PATH}),
		'/usr/sbin', '/sbin')[0];
}

# Skips the whole test if something that the set-up needs is missing; dies
# instead if CI is set.
sub skip_unless_installed {
	my ($setup) = @_;
	my @missing = grep { !find_needed($_) } 'curl', 'openssl',
		@{ $setup->{needs} };
	# The set-ups start as root and run servers as other users.
	push @missing, 'root' if $> != 0;
	return if !@missing;
	my $what = "$setup->{title}: needs @missing";
	die "$what, and CI is set\n" if $ENV{CI};
	plan(skip_all => $what);
}

# Returns TEXT, of a file of the set-up, with this test's paths, port and users.
sub adapt {
	my ($s, $text) = @_;
	my $own = $s->{setup}{own_user} // $OWN_USER;
	my $dirs = join '|', qw(usr/local etc/protocol-hook etc/systemd
		var/spool var/log run), $s->{setup}{var_www}
		? () : 'var/www';
	# Each line that sets the spool is followed by the extra variables.
	$text =~ s{^([^\n]*)PROTOCOL_HOOK_SPOOL([^\w/]+)/var/spool/protocol-hook
		([^\n]*\n)}{
		$& . join '', map { "$1$_$2$s->{extra_variables}{$_}$3" }
			sort keys %{ $s->{extra_variables} }
	}gmex;
	$text =~ s{(?<![\w.])(?<!\w-)/($dirs)\b}{$s->{dir}/$1}g;
	$text =~ s/\b8080\b/$s->{port}/g;
	$text =~ s/(?<=prepare |[uU]ser=|Group=|chown )protocol-hook\b/$own/g;
	$text =~ s/(?<=-o |-g |-u |-U )protocol-hook\b/$own/g;
	$text =~ s/(?<=UserGroup )protocol-hook protocol-hook/$own $own/g;
	if ($own eq 'nobody') {
		$text =~ s/-g nobody/-g nogroup/g;
		$text =~ s/UserGroup nobody nobody/UserGroup nobody nogroup/;
	}
	return $text;
}

# Copies the files of all set-ups into the test's directory, adapted.
sub adapt_setups {
	my ($s) = @_;
	my $adapt = sub {
		my $to = "$s->{dir}/$File::Find::name";
		return make_path($to) if -d;
		make_file($to, adapt($s, slurp($_)));
		chmod +(stat)[2] & 0777, $to;
	};
	File::Find::find({ wanted => $adapt, no_chdir => 1 }, @COPIED);
}

# What a new user types: the indented lines of the first comment in TEXT.
sub commands {
	my ($text) = @_;
	my ($lines) = $text =~ /^# To try it(?s:.*?)^#\n((?:#\t.*\n)+)/m
		or die 'the set-up has no commands';
	$lines =~ s/^#\t//gm;
	$lines =~ s/\\\n\s*//g;
	return split /\n/, $lines;
}

# Runs one of the commands, with the key on standard input for examples/prepare.
# Output is appended to OUT or to a log.  Returns whether it has succeeded.
sub command {
	my ($s, $command, $out) = @_;
	my $pid = fork // die $!;
	if (!$pid) {
		chdir $s->{dir} or die $!;
		umask 022;
		%ENV = (PATH => "$ENV{PATH}:/usr/sbin:/sbin", PWD => $s->{dir},
			HOME => $s->{dir});
		open STDIN, '<', "$s->{dir}/key" or die $!;
		open STDOUT, '>>', $out // "$s->{dir}/var/log/commands"
			or die $!;
		open STDERR, '>>', "$s->{dir}/var/log/commands" or die $!;
		exec 'sh', '-c', $command or POSIX::_exit(127);
	}
	waitpid $pid, 0;
	return $? == 0;
}

sub free_port {
	my $socket = IO::Socket::INET->new(Listen => 1,
		LocalAddr => '127.0.0.1') // die $!;
	return $socket->sockport;
}

my @started;

# Makes the directories and files of a fresh system with the packages.
sub make_system {
	my ($s) = @_;
	my $dir = $s->{dir};
	chmod 0755, $dir or die $!;
	my @owned = map { "$dir/$_" } qw(run/lighttpd var/log/lighttpd
		var/log/h2o);
	make_path(@owned, map { "$dir/$_" } qw(usr/local/bin usr/local/lib etc
		etc/systemd/system tests/data var/spool var/www/html
		var/log/nginx var/log/apache2 var/log/caddy));
	chown +(getpwnam $SERVER_USER)[2, 3], @owned;
	copy('tests/data/example.json', "$dir/tests/data/") or die $!;
	my $program = "$dir/usr/local/bin/protocol-hook";
	copy($PROGRAM, $s->{wrapper} ? "$program.real" : $program)
		or die "$PROGRAM: $!";
	make_file($program, $s->{wrapper} =~ s/PROGRAM/$program.real/gr)
		if $s->{wrapper};
	chmod 0755, glob "$program*";
	make_file("$dir/key", "$KEY\n");
	# Debian's packages of web servers have this page.
	make_file("$dir/var/www/html/index.html", "It works!\n");
}

sub make_file {
	my ($path, $text) = @_;
	open my $fh, '>:raw', $path or die "$path: $!";
	print $fh $text;
	close $fh or die "$path: $!";
}

# Starts a set-up, waits until it is ready.  %with: wrapper, a script in place
# of the program, in which PROGRAM is the program's path; extra_variables, in
# place of those above.  Returns a hash: dir, port, path, spool, start (the
# commands that started it), send (the command that delivers).
sub start {
	my ($name, %with) = @_;
	my $setup = $SETUPS{$name} // die "no set-up $name";
	my $s = { name => $name, setup => $setup, dir => $setup->{under}
		? tempdir('hook-XXXXXXXX', DIR => $setup->{under}, CLEANUP => 1)
		: scratch(),
		wrapper => $with{wrapper},
		extra_variables => $with{extra_variables} // \%EXTRA_VARIABLES,
		sent => {}, unclean => {} };
	$s->{spool} = "$s->{dir}/var/spool/protocol-hook";
	$s->{port} = free_port();
	make_system($s);
	adapt_setups($s);
	my @commands = commands(slurp("$s->{dir}/$setup->{file}"));
	$s->{commands} = @commands;
	$s->{send} = pop @commands;
	($s->{path}) = $s->{send} =~ m{http://[^/]+(/\S+)};
	$s->{start} = [@commands];
	push @started, $s;
	$setup->{before}->($s) if $setup->{before};
	for (@commands) {
		my $run = $setup->{in} ? $setup->{in}->($s, $_) : $_;
		command($s, $run) and next;
		diag(last_logs($s));
		die "failed: $_\n";
	}
	my $ready = sub { outcome(get($s)) eq '200 ready' };
	if (!wait_for($ready)) {
		diag(last_logs($s));
		die "not ready\n";
	}
	return $s;
}

# Starts the program again if it has died, as an administrator would, in a
# set-up in which nothing else does that.
sub start_receiver {
	my ($s) = @_;
	my ($file) = map { $_->[0] } @{ $s->{setup}{then} // [] } or return;
	my $pid = pid_of($s, $file);
	return if $pid && alive($pid);
	for (grep { m{spawn-fcgi|multiwatch/|socket-activate/} }
		@{ $s->{start} }) {
		command($s, $_) or die "failed: $_\n";
	}
}

sub get {
	my ($s) = @_;
	my $socket = dial($s) or return;
	transmit($socket, head($s, '', method => 'GET', signature => undef,
		length => undef));
	return receive($socket);
}

# The set-up's processes: those with its directory in arguments or environment.
sub processes {
	my ($s) = @_;
	my @found;
	for my $proc (glob '/proc/[0-9]*') {
		my $pid = basename($proc);
		next if $pid == $$;
		my $text = join '', map { eval { slurp("$proc/$_") } // '' }
			qw(cmdline environ);
		push @found, $pid if index($text, $s->{dir}) >= 0
			&& alive($pid);
	}
	return @found;
}

# False also for a zombie.
sub alive {
	my ($pid) = @_;
	my $stat = eval { slurp("/proc/$pid/stat") } // return 0;
	return $stat !~ /\) [ZX] /;
}

sub pid_of {
	my ($s, $file) = @_;
	my ($pid) = (eval { slurp("$s->{dir}/run/$file") } // '') =~ /(\d+)/;
	return $pid;
}

# Stops the set-up as its comment says.  Returns the processes that still run.
sub stop {
	my ($s) = @_;
	for my $step (@{ $s->{setup}{stop} }) {
		my ($file, $signal) = @$step;
		my $pid = pid_of($s, $file) // next;
		kill $signal, $pid;
		wait_for(sub { !alive($pid) })
			or diag("the process in $file does not stop");
	}
	$s->{setup}{after_stop}->($s) if $s->{setup}{after_stop};
	wait_for(sub { !processes($s) }, 10);
	return processes($s);
}

sub reload {
	my ($s) = @_;
	my $reload = $s->{setup}{reload};
	return $reload->($s) if ref $reload eq 'CODE';
	my ($file, $signal) = @$reload;
	kill $signal, pid_of($s, $file);
}

END {
	my $status = $?;
	kill 'KILL', processes($_) for @started;
	$? = $status;
}

# All that the server and the program have logged.
sub logs {
	my ($s) = @_;
	my $text = '';
	File::Find::find(sub { $text .= slurp($_) if -f }, "$s->{dir}/var/log");
	$text .= $s->{setup}{journal}->($s) if $s->{setup}{journal};
	return $text;
}

sub last_logs {
	my ($s) = @_;
	my @lines = split /\n/, logs($s);
	splice @lines, 0, -40 if @lines > 40;
	return join "\n", @lines;
}

sub run_case {
	my ($s, $case) = @_;
	local $SIG{ALRM} = sub { die "no result after 90 seconds\n" };
	alarm 90;
	my $got = eval { $case->{code}->($s) } // 'died: ' . ($@ || 'undef');
	alarm 0;
	chomp $got;
	return $got;
}

# Runs CASES.  Each result has what was expected, with the set-up's deviation,
# and what came.
sub check {
	my ($s, @cases) = @_;
	my @results;
	for my $case (@cases) {
		my $own = $s->{setup}{deviations}{ $case->{id} };
		my $expected = $own ? $own->[0] : $case->{expected};
		my $got = run_case($s, $case);
		push @results, { id => $case->{id}, promise => $case->{promise},
			got => $got, expected => "$expected",
			reason => $own && $own->[1], ok => ref $expected
			? $got =~ $expected : $got eq $expected };
	}
	return @results;
}

sub save {
	my ($name, $setup, @results) = @_;
	make_path(RESULTS);
	make_file(RESULTS . "/$name.json", JSON::PP->new->canonical->pretty
		->encode({ name => $name, title => $setup->{title},
		interface => $setup->{interface}, file => $setup->{file},
		results => \@results }));
}

# All of tests/servers/NAME.t.
sub run {
	my ($name) = @_;
	my $setup = $SETUPS{$name} // die "no set-up $name";
	unlink RESULTS . "/$name.json";
	skip_unless_installed($setup);
	plan(tests => @CASES + 1);
	my $s = start($name);
	cmp_ok($s->{commands}, '<=', 5,
		'at most five commands lead to the first delivery');
	my @results = check($s, @CASES);
	for (@results) {
		my $what = "$_->{id}: $_->{promise}";
		$what .= " (deviation: $_->{reason})" if $_->{reason};
		ok($_->{ok}, $what)
			or diag("     got: $_->{got}\n" .
				"expected: $_->{expected}");
	}
	save($name, $setup, @results);
	diag(last_logs($s)) if grep { !$_->{ok} } @results;
}

1;
