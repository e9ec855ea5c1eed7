# Running a command of the program, and what the tests of them share.
package Commands;
use strict;
use warnings;
use Exporter qw(import);
use POSIX ();
use Test::More;
use Hook;

our @EXPORT = qw($dir run deliver);

# What is flushed is not the matter in these tests.
$ENV{TMPDIR} //= '/dev/shm' if -d -w '/dev/shm';

# Runs a command: its exit status, standard output and standard error.  The
# first argument is what the environment has beyond or instead of the usual;
# and in => what standard input has, under => [what runs it].
our $dir = scratch();

sub run {
	my ($with, @args) = @_;
	my %env = (PATH => $ENV{PATH}, PROTOCOL_HOOK_SECRET => $KEY,
		PROTOCOL_HOOK_MIN_FREE => 0, %{$with});
	delete $env{$_} for grep { !defined $env{$_} } keys %env;
	$env{$_} = $ENV{$_} for grep { /^(ASAN|UBSAN|LSAN)_/ } keys %ENV;
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
		exec @under, $PROGRAM, @args or POSIX::_exit(127);
	}
	waitpid $pid, 0;
	die "signal " . ($? & 127) if $? & 127;
	my ($status, $out, $err) = ($? >> 8, slurp("$dir/out"), slurp("$dir/err"));
	unlike($out . $err, qr/\Q$KEY\E/, "@args: no key is shown");
	return ($status, $out, $err);
}

sub deliver {
	my ($spool, $body) = @_;
	my $got = cgi(spool => $spool, body => $body);
	is($got->{status}, 200, 'delivered') or diag($got->{log});
	return;
}

1;
