#!/usr/bin/perl
# COUNT deliveries (a million) to workers that are ended and killed while a
# consumer races them, over days that go by: every acknowledged one is consumed
# once, and none twice unless its worker was killed before it could answer;
# memory stays flat; the archive is pruned.
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

# Delivers its share; what is not answered is sent again. Counts retries.
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

# Takes files out of new/ and counts each id.
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
	# One of the two goes, by turns gently and not.
	my $signal = $ends <= $kills ? 'TERM' : 'KILL';
	$signal eq 'TERM' ? $ends++ : $kills++;
	reap({ pids => [shift @{ $worker->{pids} }] }, $signal);
	my $more = worker(spool => $spool, stderr => '/dev/null',
		listener => $worker->{listener}, dir => scratch());
	push @{ $worker->{pids} }, $more->{pid};
	$worker->{pid} = $worker->{pids}[0];
	# Eight days go by for what has been archived.
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
is(scalar keys %seen, $sent, "each of $sent was consumed");
cmp_ok($twice, '<=', $again, "$twice came twice, $again were sent again");
cmp_ok($most, '<', 4096, "at most $most KB resident");
ok($ends > 0 && $kills > 0, "$ends workers ended, $kills killed");
my @days = files($spool, 'archive');
# What is left of an old day goes with the next deliveries.
for (1 .. $count) {
	last if @days <= 1;
	post($worker, event());
	@days = files($spool, 'archive');
}
is(scalar @days, 1, 'the archive was pruned');
reap($worker);
done_testing();
