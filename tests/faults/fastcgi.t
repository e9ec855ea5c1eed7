#!/usr/bin/perl
# FastCGI: the faults of cgi.t, for a single delivery and for a group of three;
# and the worker serves the next request, unless it was still starting.
use strict;
use warnings;
use Test::More;
use Hook;
use Faults;

plan skip_all => 'needs strace that may trace' if !can_trace();
$SIG{PIPE} = 'IGNORE';
$Hook::PROGRAM = "$ENV{PWD}/build/quick/protocol-hook";

my $first = qr/^open\w*\(.*"\/", O_RDONLY/;	# the first call of main()

# Delivers BODIES as one group; returns the answers.
sub deliver {
	my ($worker, $bodies) = @_;
	return map { answer_of($worker, $_) } send_group($worker, @$bodies);
}

# The answer, or {} if there is none: the connection of a worker that has died
# before it accepted it stays open, as we hold the listener.
sub answer_of {
	my ($worker, $socket) = @_;
	for (1 .. 20) {
		my $got = fcgi_recv($socket, 0.1);
		return $got if $got;
		return {} if IO::Select->new($socket)->can_read(0)
			|| !alive($worker);
	}
	return {};
}

my %dead;
sub alive {
	my ($worker) = @_;
	my $pid = $worker->{pid};
	$dead{$pid} = 1 if !$dead{$pid}
		&& waitpid($pid, POSIX::WNOHANG()) == $pid;
	return !$dead{$pid};
}

sub traced_worker {
	my ($spool, $trace, @options) = @_;
	return worker(spool => $spool, under => ['strace', '-D', '-o', $trace,
		@options]);
}

for my $size (1, 3) {
	my $trace = scratch() . '/trace';
	my $worker = traced_worker(new_spool(), $trace);
	deliver($worker, [fresh_bodies($size)]);
	reap($worker);
	my @calls = calls(slurp($trace), $first);
	cmp_ok(scalar @calls, '>', 50, "$size in a group: " . @calls . ' calls');
	my (%broken, %count, $serving);
	for (@calls) {
		my ($name, $n) = @$_;
		$serving ||= $name =~ /^p?poll$/;
		$count{$name}++;
		# The start is the same for each size.
		next if $size > 1 && !$serving;
		for my $fault (faults($name, $n)) {
			my $inject = "$name:$fault";
			my $spool = new_spool();
			my @bodies = fresh_bodies($size);
			my @why = attempt(\@bodies, $spool, sub {
				$worker = traced_worker($spool, '/dev/null',
					'-e', "inject=$inject");
				my @got = deliver($worker, \@bodies);
				return @got;
			});
			# EACCES means that the spool was replaced: the worker ends,
			# so that a new one is started.
			if ($serving && $fault =~ /^error=(?!EACCES)\w+:when=\d+$/) {
				my ($more) = fresh_bodies(1);
				my ($got) = deliver($worker, [$more]);
				push @why, 'the worker does not serve the next request'
					if ($got->{status} // '') ne '200';
			}
			reap($worker, 'KILL');
			push @{ $broken{$name} }, map { "$inject: $_" } @why;
		}
	}
	ok($serving, "$size in a group: the trace has its event loop");
	is(join("\n", @{ $broken{$_} // [] }), '',
		"$size in a group: $_, $count{$_} calls: no promise is broken") for sort keys %count;
}
my $tally = tally();
diag("faults in FastCGI: $tally->{runs} runs, $tally->{acknowledged} "
	. "acknowledged, $tally->{refused} not, $tally->{broken} broken");
cmp_ok($tally->{acknowledged}, '>', 0, 'some deliveries are acknowledged');
cmp_ok($tally->{refused}, '>', 0, 'some deliveries are refused');
done_testing();
