#!/usr/bin/perl
# A group whose files are flushed by several threads: the flush of each fails in
# turn, and no thread can be started.
use strict;
use warnings;
use Test::More;
use Hook;
use Faults;

my $SIZE = 12;	# some threads have one file, some two
my $shim = 'build/shim.so';	# no path for LD_PRELOAD may have a space

# Delivers BODIES as one group to a worker under UNDER; returns the answers.
sub deliver {
	my ($spool, $under, @bodies) = @_;
	my $worker = worker(spool => $spool, under => $under);
	my @got = map { fcgi_recv($_) // {} } send_group($worker, @bodies);
	reap($worker);
	return @got;
}
sub count_status {
	my ($status, @got) = @_;
	return scalar grep { ($_->{status} // '') eq $status } @got;
}
sub shimmed { return ['env', "LD_PRELOAD=$shim", @_] }

subtest 'a flush that fails concerns one delivery' => sub {
	for my $n (1 .. $SIZE) {
		my ($spool, @bodies) = (new_spool(), fresh_bodies($SIZE));
		my @got;
		is(join("\n", attempt(\@bodies, $spool, sub {
			return @got = deliver($spool,
				shimmed("SHIM_FDATASYNC=$n"), @bodies);
		})), '', "flush $n fails: no promise is broken");
		my %status;
		$status{$_->{status} // 'none'}++ for @got;
		is_deeply(\%status, { 200 => $SIZE - 1, 503 => 1 },
			"flush $n fails: one is refused, the others are stored");
	}
};

subtest 'without threads all are flushed and stored' => sub {
	my ($spool, @bodies) = (new_spool(), fresh_bodies($SIZE));
	my @got = deliver($spool, shimmed('SHIM_NOTHREAD=1'), @bodies);
	is(count_status(200, @got), $SIZE, 'all are answered 200');
	is_deeply([sort(content($spool, 'new'))], [sort @bodies],
		'all are stored');
	SKIP: {
		skip no_strace(), 1 if no_strace();
		my $trace = scratch() . '/trace';
		deliver(new_spool(), ['strace', '-D', '-o', $trace, '-e',
			'trace=fdatasync', '-E', "LD_PRELOAD=$shim", '-E',
			'SHIM_NOTHREAD=1'], fresh_bodies($SIZE));
		my $flushed = () = slurp($trace) =~ /^fdatasync\(.* = 0$/mg;
		is($flushed, $SIZE, 'all are flushed');
	}
};

# After three fast flushes no thread is started; the fault comes in a group that
# follows them.
subtest 'flushes that are faster than threads: each file is still flushed' => sub {
	for my $n (1 .. 4) {
		my ($spool, @bodies) = (new_spool(), fresh_bodies($SIZE));
		my $worker = worker(spool => $spool, under => shimmed(
			'SHIM_NOFLUSH=/fdatasync/',
			'SHIM_FDATASYNC=' . (3 + 3 * $n)));
		post($worker, event()) for 1 .. 3;
		is(count_status(503, map { fcgi_recv($_) // {} }
			send_group($worker, @bodies)), 1,
			'flush ' . 3 * $n . ' of the group fails: one is refused');
		reap($worker);
	}
};

subtest 'a file without place on the disk: the whole group is refused' => sub {
	plan skip_all => 'needs strace that may trace' if !can_trace();
	my @got = deliver(new_spool(), ['strace', '-D', '-o', '/dev/null', '-e',
		'inject=sync_file_range:error=EIO:when=5'], fresh_bodies($SIZE));
	is(count_status(503, @got), $SIZE, 'all are answered 503');
};

# strace counts the calls of each thread apart.
subtest 'no promise is broken by a fault in a thread' => sub {
	plan skip_all => 'needs strace that may trace' if !can_trace();
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
};
done_testing();
