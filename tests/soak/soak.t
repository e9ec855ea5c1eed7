#!/usr/bin/perl
# COUNT deliveries (a million) to workers that get SIGTERM and SIGKILL by turns,
# while a consumer removes what they store: each acknowledged delivery is consumed;
# it is consumed twice only if it was sent again; memory stays flat; old days of
# the archive are removed.
use strict;
use warnings;
use Test::More;
use POSIX ();
use Hook;

$SIG{PIPE} = 'IGNORE';
my $count = $ENV{COUNT} // 1_000_000;
my $clients = 4;
my $base = $ENV{SOAK_DIR} // scratch();
my $spool = "$base/spool";
mkdir $spool, 0750 or die "$spool: $!";
my $worker = worker(spool => $spool, count => 2, stderr => '/dev/null');
my $dir = scratch();

# Starts a client that delivers N bodies, and sends what is not answered 200 again.
# It writes the number of retries to FILE.
sub client {
	my ($n, $file) = @_;
	my $pid = fork // die $!;
	return $pid if $pid;
	my ($socket, $again) = (undef, 0);
	for my $i (1 .. $n) {
		my $body = event(id => "$$-$i", pad => int rand 900);
		while (1) {
			$socket //= fcgi_connect($worker);
			my $got = fcgi_send($socket,
				fcgi_request($body, keep => 1)) &&
				fcgi_recv($socket, 30);
			last if $got && ($got->{status} // '') eq '200';
			undef $socket;
			$again++;
		}
	}
	open my $out, '>', $file or die $!;
	print $out $again;
	close $out or die $!;
	POSIX::_exit(0);
}

# Removes the files in new/ and counts each id in SEEN; returns their number.
sub consume {
	my ($seen) = @_;
	my $n = 0;
	for my $name (files($spool)) {
		my ($id) = $name =~ /\.(\d+-\d+)\.json$/ or next;
		rename "$spool/new/$name", "$spool/claimed" or next;
		unlink "$spool/claimed";
		$seen->{$id}++;
		$n++;
	}
	return $n;
}

sub rss {
	my ($pid) = @_;
	my ($kb) = slurp("/proc/$pid/status") =~ /^VmRSS:\s+(\d+)/m;
	return $kb;
}

my @pids = map { client(int $count / $clients, "$dir/$_") } 1 .. $clients;
my ($consumed, $next, $ends, $kills, $most, %seen) = (0, 1000, 0, 0, 0);
my %running = map { $_ => 1 } @pids;
while (%running) {
	my $n = consume(\%seen) or select undef, undef, undef, 0.02;
	$consumed += $n;
	for (keys %running) {
		delete $running{$_} if waitpid($_, POSIX::WNOHANG()) == $_;
	}
	my $kb = rss($worker->{pid}) // 0;
	$most = $kb if $kb > $most;
	next if $consumed < $next;
	$next += $count / 20;
	# Ends one of the two workers, by turns with SIGTERM and SIGKILL.
	my $signal = $ends <= $kills ? 'TERM' : 'KILL';
	$signal eq 'TERM' ? $ends++ : $kills++;
	reap({ pids => [shift @{ $worker->{pids} }] }, $signal);
	my $more = worker(spool => $spool, stderr => '/dev/null',
		listener => $worker->{listener}, dir => scratch());
	push @{ $worker->{pids} }, $more->{pid};
	$worker->{pid} = $worker->{pids}[0];
	# Makes what was archived nine days old, once.
	my ($today) = sort { $b cmp $a } files($spool, 'archive');
	my @t = gmtime(time - 9 * 86400);
	my $old = sprintf '%04d-%02d-%02d', $t[5] + 1900, $t[4] + 1, $t[3];
	rename "$spool/archive/$today", "$spool/archive/$old"
		if $ends + $kills == 10;
}
consume(\%seen);
my $again = 0;
$again += slurp("$dir/$_") for 1 .. $clients;
my $sent = $clients * int $count / $clients;
my $twice = grep { $_ > 1 } values %seen;
is(scalar keys %seen, $sent, "each of $sent deliveries was consumed");
cmp_ok($twice, '<=', $again, "$twice were consumed twice, $again were sent again");
cmp_ok($most, '<', 4096, "at most $most KB resident");
ok($ends > 0 && $kills > 0, "$ends workers ended, $kills killed");
my @days = files($spool, 'archive');
# The next deliveries remove what is left of an old day.
for (1 .. $count) {
	last if @days <= 1;
	post($worker, event());
	@days = files($spool, 'archive');
}
is(scalar @days, 1, 'old days of the archive are removed');
reap($worker);
done_testing();
