# Helpers for tests of the spool: other processes, faults, and an archive.
package Spool;
use strict;
use warnings;
use Digest::SHA qw(sha256 sha256_hex);
use Exporter qw(import);
use Fcntl qw(F_SETLK F_WRLCK SEEK_SET);
use Hook;
use Test::More;

our @EXPORT = qw(lock_body archive send_busy fault get_ready get_json count_in
	count_logged);

# Takes the lock that a process holds while it stores BODY; close() releases it.
sub lock_body {
	my ($spool, $body) = @_;
	open my $lock, '>>', "$spool/lock" or die $!;
	my $start = unpack('Q>', sha256($body)) & ((1 << 62) - 1);
	fcntl $lock, F_SETLK, pack('s s x4 q q i x4', F_WRLCK, SEEK_SET, $start,
		1, 0) or die $!;
	return $lock;
}

# Adds BODY to the archive, as if it had been stored on DAY.
sub archive {
	my ($spool, $day, $body) = @_;
	mkdir "$spool/$_" for 'archive', "archive/$day";
	spew("$spool/archive/$day/" . sha256_hex($body), $body);
	return;
}

# Sends BODY, which another process is storing, and returns the socket after two
# other deliveries: by then the worker has tried to store it.
sub send_busy {
	my ($worker, $body) = @_;
	my $socket = fcgi_connect($worker);
	fcgi_send($socket, fcgi_request($body));
	is(post_status($worker, event()), 200,
		'another delivery is stored meanwhile') for 1 .. 2;
	return $socket;
}

# The command that runs the program with strace's INJECT, a list of faults
# separated by spaces; a later -o in OPTIONS replaces the trace's file.
sub fault {
	my ($inject, @options) = @_;
	return ['strace', '-D', '-qq', '-o', '/dev/null', @options,
		map { ('-e', "inject=$_") } split ' ', $inject];
}

# The answer of GET.
sub get_ready {
	my ($worker) = @_;
	return post($worker, '', params => { REQUEST_METHOD => 'GET' }) // {};
}

# What an answer on SOCKET says of the delivery, or 'none'.
sub get_json {
	my ($socket) = @_;
	my $got = fcgi_recv($socket) // {};
	return $got->{json}{status} // 'none';
}

# How many files in the directory SUB of the spool have these bytes.
sub count_in {
	my ($spool, $sub, $body) = @_;
	return scalar grep { $_ eq $body } content($spool, $sub);
}

# How often the worker's log matches PATTERN.
sub count_logged {
	my ($worker, $pattern) = @_;
	my @matches = log_of($worker) =~ /$pattern/g;
	return scalar @matches;
}

1;
