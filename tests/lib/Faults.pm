# Deliveries under a fault, and the promises that must hold then:
# - what is answered 2xx is whole in new/;
# - new/ never has a torn or foreign file;
# - after the fault a retry succeeds, and there is exactly one file of it.
package Faults;
use strict;
use warnings;
use Exporter qw(import);
use Hook;

our @EXPORT = qw(faults errnos calls attempt tally can_trace fresh_bodies);

my %errnos = (
	openat => [qw(ENOENT EACCES EMFILE ENOSPC EDQUOT EIO EROFS ENOMEM EEXIST)],
	open => [qw(EACCES EMFILE EIO)],
	write => [qw(ENOSPC EIO EDQUOT EINTR EPIPE)],
	read => [qw(EIO EINTR EAGAIN)],
	recvfrom => [qw(EINTR ECONNRESET ENOMEM)],
	fdatasync => [qw(EIO ENOSPC EDQUOT EINTR)],
	fsync => [qw(EIO ENOSPC EDQUOT EINVAL)],
	syncfs => [qw(EIO ENOSPC)],
	linkat => [qw(ENOSPC EIO EDQUOT EMLINK EEXIST EROFS ENOENT)],
	renameat => [qw(ENOSPC EIO EROFS ENOENT)],
	unlinkat => [qw(EIO EROFS ENOENT)],
	mkdirat => [qw(ENOSPC EIO EROFS EMLINK)],
	close => [qw(EIO EINTR ENOSPC)],
	fcntl => [qw(EAGAIN ENOLCK EDEADLK EINTR)],
	newfstatat => [qw(EIO ENOENT EACCES)],
	fstat => [qw(EIO)],
	fstatfs => [qw(EIO)],
	getdents64 => [qw(EIO)],
	mmap => [qw(ENOMEM)],
	brk => [qw(ENOMEM)],
	accept4 => [qw(EINTR ECONNABORTED EMFILE ENOBUFS)],
	ppoll => [qw(EINTR ENOMEM)],
	poll => [qw(EINTR ENOMEM)],
	statfs => [qw(EIO)],
	memfd_create => [qw(EMFILE ENOMEM)],
);

sub errnos { return @{ $errnos{$_[0]} // ['EIO'] } }

# What may happen to the N-th call of NAME, in strace's words: each errno, once; an
# errno from then on; SIGKILL and SIGTERM.
sub faults {
	my ($name, $n) = @_;
	my @errnos = errnos($name);
	my ($lasting) = grep { !/^(EINTR|EAGAIN)$/ } @errnos;
	return ((map { "error=$_:when=$n" } @errnos),
		"error=$lasting:when=$n+", "signal=SIGKILL:when=$n",
		"signal=SIGTERM:when=$n");
}

sub can_trace {
	return !no_strace();
}

# The system calls in TRACE from main() on: ([name, N], ...), for the N-th call of
# that name.  MARKER is a pattern for the first of them.
sub calls {
	my ($trace, $marker) = @_;
	my (%seen, @calls, $on);
	for (split /\n/, $trace) {
		s/^\d+ +//;
		last if /^--- SIGTERM/;
		my ($name) = /^(\w+)\(/ or next;
		$seen{$name}++;
		$on ||= /$marker/;
		next if !$on || $name =~ /^(exit|exit_group|rt_sig\w+|execve|futex)$/;
		push @calls, [$name, $seen{$name}];
	}
	return @calls;
}

sub fresh_bodies { my ($n) = @_; return map { event(pad => 50) } 1 .. $n }

our %tally;
sub tally { return \%tally }

sub describe { my ($got) = @_; return $got ? $got->{status} // 'none' : 'none' }

# Runs CODE, which delivers BODIES to SPOOL under a fault and returns the answers;
# then checks the promises.  Returns a list of what is broken.
sub attempt {
	my ($bodies, $spool, $code) = @_;
	my @answers = $code->();
	my @broken;
	$tally{runs}++;
	my %in;
	$in{$_}++ for content($spool, 'new');
	my %mine = map { $_ => 1 } @$bodies;
	push @broken, 'a torn or foreign file' if grep { !$mine{$_} } keys %in;
	for my $i (0 .. $#$bodies) {
		my $ok = ($answers[$i]{status} // '') =~ /^2/;
		$tally{$ok ? 'acknowledged' : 'refused'}++;
		push @broken, 'answered ' . $answers[$i]{status} . ', not there'
			if $ok && !$in{$bodies->[$i]};
	}
	for my $body (@$bodies) {
		my $got = cgi(spool => $spool, body => $body);
		push @broken, 'a retry gets ' . describe($got)
			if ($got->{status} // '') ne '200';
	}
	my %after;
	$after{$_}++ for content($spool, 'new');
	for my $body (@$bodies) {
		my $n = $after{$body} // 0;
		push @broken, "$n files after the retry" if $n != 1;
	}
	$tally{broken} += @broken ? 1 : 0;
	return @broken;
}

1;
