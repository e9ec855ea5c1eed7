#!/usr/bin/perl
# A group whose files several threads flush: the flush of each fails in turn,
# and there is no thread to be had.
use strict;
use warnings;
use Test::More;
use Hook;
use Faults;

my $SIZE = 12;	# some threads have one file, some two
my $shim = 'build/shim.so';	# no path for LD_PRELOAD may have a space

# Delivers BODIES as one group to a worker under UNDER; their answers.
sub deliver {
	my ($spool, $under, @bodies) = @_;
	my $worker = worker(spool => $spool, under => $under);
	my @got = map { fcgi_recv($_) // {} } send_group($worker, @bodies);
	reap($worker);
	return @got;
}

sub shimmed { return ['env', "LD_PRELOAD=$shim", @_] }

for my $n (1 .. $SIZE) {
	my ($spool, @bodies) = (new_spool(), fresh_bodies($SIZE));
	my @got;
	is(join("\n", attempt(\@bodies, $spool, sub {
		return @got = deliver($spool, shimmed("SHIM_FDATASYNC=$n"),
			@bodies);
	})), '', "flush $n fails: the promise holds");
	my %status;
	$status{$_->{status} // 'none'}++ for @got;
	is_deeply(\%status, { 200 => $SIZE - 1, 503 => 1 },
		'one is asked for again, the others are stored');
}
my ($spool, @bodies) = (new_spool(), fresh_bodies($SIZE));
my @got = deliver($spool, shimmed('SHIM_NOTHREAD=1'), @bodies);
is((grep { ($_->{status} // '') eq '200' } @got), $SIZE, 'without threads');
is_deeply([sort(content($spool, 'new'))], [sort @bodies], 'all are there');
SKIP: {
	skip no_strace(), 1 if no_strace();
	my $trace = scratch() . '/trace';
	deliver(new_spool(), ['strace', '-D', '-o', $trace, '-e',
		'trace=fdatasync', '-E', "LD_PRELOAD=$shim", '-E',
		'SHIM_NOTHREAD=1'], fresh_bodies($SIZE));
	my $flushed = () = slurp($trace) =~ /^fdatasync\(.* = 0$/mg;
	is($flushed, $SIZE, 'and flushed');
}

# Flushes that cost nothing: no threads, but each file's flush.
for my $n (1 .. 4) {
	my ($spool, @bodies) = (new_spool(), fresh_bodies($SIZE));
	my $worker = worker(spool => $spool, under => shimmed(
		'SHIM_NOFLUSH=/fdatasync/', 'SHIM_FDATASYNC=' . (3 + 3 * $n)));
	post($worker, event()) for 1 .. 3;
	is((grep { ($_->{status} // '') eq '503' } map { fcgi_recv($_) // {} }
		send_group($worker, @bodies)), 1, 'quick flushes: one fails');
	reap($worker);
}

# strace counts the calls of each thread apart.
SKIP: {
	skip 'needs strace that may trace', 1 if !can_trace();
	my @got = deliver(new_spool(), ['strace', '-D', '-o', '/dev/null', '-e',
		'inject=sync_file_range:error=EIO:when=5'], @bodies);
	is((grep { ($_->{status} // '') eq '503' } @got), $SIZE,
		'one has no place: all are asked for again');
	for my $fault (map({ ("fdatasync:error=EIO:when=$_",
		"fdatasync:signal=SIGKILL:when=$_",
		"fdatasync:signal=SIGTERM:when=$_") } 1, 2),
		map({ "clone3:error=EAGAIN:when=$_" } 1, 2, 3),
		'fdatasync:delay_enter=300000:when=2') {
		my ($spool, @bodies) = (new_spool(), fresh_bodies($SIZE));
		is(join("\n", attempt(\@bodies, $spool, sub {
			return deliver($spool, ['strace', '-f', '-D', '-o',
				'/dev/null', '-e', "inject=$fault"], @bodies);
		})), '', $fault);
	}
}
done_testing();
