# Runs commands of the program; what their tests share.
package Commands;
use strict;
use warnings;
use Exporter qw(import);
use IO::Select;
use POSIX ();
use Test::More;
use Hook;

our @EXPORT = qw($dir run deliver terminal on_terminal);

# These tests do not depend on flushes, so spools may be in memory.
$ENV{TMPDIR} //= '/dev/shm' if -d -w '/dev/shm';

# A directory for the files of a test.
our $dir = scratch();

# Runs a command; returns its exit status, standard output and standard error.
# WITH has variables for the environment, or undef for one to be left out; in =>
# the bytes on standard input, under => [the command that runs it].  Asserts that
# it prints no key.
sub run {
	my ($with, @args) = @_;
	my %env = (PATH => $ENV{PATH}, PROTOCOL_HOOK_SECRET => $KEY,
		PROTOCOL_HOOK_MIN_FREE => 0, %{$with});
	delete $env{$_} for grep { !defined $env{$_} } keys %env;
	$env{$_} = $ENV{$_} for grep { /^(ASAN|UBSAN|LSAN)_|^(LC_ALL|LOCPATH)$/ }
		keys %ENV;
	my $in = delete $env{in} // '';
	my @under = @{ delete $env{under} // [] };
	open my $fh, '>:raw', "$dir/in" or die $!;
	print {$fh} $in;
	close $fh or die $!;
	my $pid = fork // die $!;
	if (!$pid) {
		open STDIN, '<', "$dir/in" or die $!;
		open STDOUT, '>', "$dir/out" or die $!;
		open STDERR, '>', "$dir/err" or die $!;
		%ENV = %env;
		my @command = (@under, $Hook::PROGRAM, @args);
		exec { $command[0] } @command or POSIX::_exit(127);
	}
	waitpid $pid, 0;
	die "signal " . ($? & 127) if $? & 127;
	my ($status, $out, $err) = ($? >> 8, slurp("$dir/out"), slurp("$dir/err"));
	unlike($out . $err, qr/\Q$KEY\E/, "@args: no key is shown");
	return ($status, $out, $err);
}

# Opens a pseudoterminal; returns its master side and the path of the other, or
# nothing if there is none.
sub terminal {
	open my $side, '+<', '/dev/ptmx' or return;
	my $n = pack 'i', 0;
	ioctl $side, 0x40045431, $n or return;	# TIOCSPTLCK
	ioctl $side, 0x80045430, $n or return;	# TIOCGPTN
	return ($side, '/dev/pts/' . unpack 'i', $n);
}

# Runs a command with its output on a terminal; returns its exit status and the
# output.  For start => 1 it returns at once, the process and a function: that
# waits up to SECONDS for more output and returns all so far.
sub on_terminal {
	my ($with, @args) = @_;
	my %env = (PATH => $ENV{PATH}, PROTOCOL_HOOK_SECRET => $KEY,
		PROTOCOL_HOOK_MIN_FREE => 0, TERM => 'xterm', %{$with});
	my ($start, $under) = delete @env{qw(start under)};
	delete $env{$_} for grep { !defined $env{$_} } keys %env;
	my ($side, $path) = terminal() or die 'no terminal';
	my $pid = fork // die $!;
	if (!$pid) {
		open STDOUT, '>', $path or die $!;
		open STDERR, '>', $path or die $!;
		%ENV = %env;
		my @command = (@{ $under // [] }, $Hook::PROGRAM, @args);
		exec { $command[0] } @command or POSIX::_exit(127);
	}
	my $seen = '';
	my $look = sub {
		my ($seconds) = @_;
		while (IO::Select->new($side)->can_read($seconds)) {
			sysread $side, $seen, 65536, length $seen or last;
		}
		return $seen;
	};
	return ($pid, $look) if $start;
	$look->(20);
	waitpid $pid, 0;
	return ($? >> 8, $seen);
}

# Stores BODY, as an assertion.
sub deliver {
	my ($spool, $body) = @_;
	my $got = cgi(spool => $spool, body => $body);
	is($got->{status}, 200, 'delivered') or diag($got->{log});
	return;
}

1;
