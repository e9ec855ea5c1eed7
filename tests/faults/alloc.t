#!/usr/bin/perl
# Each allocation of a delivery fails, alone and together with all later ones,
# those of json-c and libfcgi included; and reads and writes that move a few
# bytes at a time.
use strict;
use warnings;
use Test::More;
use Hook;
use Faults;

$SIG{PIPE} = 'IGNORE';
my $shim = 'build/shim.so';	# no path for LD_PRELOAD may have a space

# With escapes, for which json-c allocates.
sub body {
	my ($body) = fresh_bodies(1);
	$body =~ s/"id":"i/"\\u0069d":"\\u0069/;
	return $body;
}
sub shimmed {
	my (%env) = @_;
	return ['env', "LD_PRELOAD=$shim", map { "$_=$env{$_}" } sort keys %env];
}

subtest 'CGI: an allocation that fails breaks no promise' => sub {
	my $count = scratch() . '/count';
	my $got = cgi(spool => new_spool(), body => body(),
		under => shimmed(SHIM_COUNT => $count));
	is($got->{status}, 200, 'the shim without a fault: status');
	my $n = 0 + slurp($count);
	cmp_ok($n, '>', 0, "$n allocations in a delivery");
	my @broken;
	for my $at (map { ($_, "$_+") } 1 .. $n) {
		my ($body, $spool) = (body(), new_spool());
		push @broken, map { "allocation $at: $_" } attempt([$body], $spool,
			sub { return cgi(spool => $spool, body => $body,
			under => shimmed(SHIM_ALLOC => $at)) });
	}
	is(join("\n", @broken), '', 'no promise is broken');
};

# libfcgi aborts the process if it gets no memory.  Then there must be no answer,
# or what it answers must be stored; and a retry must be stored.
subtest 'FastCGI: an allocation that fails breaks no promise' => sub {
	my $count = scratch() . '/count';
	my $worker = worker(spool => new_spool(),
		under => shimmed(SHIM_COUNT => $count));
	post($worker, body());
	reap($worker);
	my $n = 0 + slurp($count);
	my @broken;
	my ($lived, $died) = (0, 0);
	for my $at (map { ($_, "$_+") } 1 .. $n) {
		my ($body, $spool) = (body(), new_spool());
		push @broken, map { "allocation $at: $_" } attempt([$body], $spool,
			sub {
			$worker = worker(spool => $spool,
				under => shimmed(SHIM_ALLOC => $at));
			my $socket = fcgi_connect($worker);
			fcgi_send($socket, fcgi_request($body));
			my $got;
			wait_for(sub { $got = fcgi_recv($socket, 0.05) or
				waitpid($worker->{pid}, POSIX::WNOHANG()) });
			$got ? $lived++ : $died++;
			reap($worker, 'KILL');
			return $got // {} });
	}
	is(join("\n", @broken), '', "$n allocations: no promise is broken");
	diag("allocations: FastCGI workers that answered $lived, that ended $died");
};

subtest 'CGI: reads and writes of seven bytes at a time' => sub {
	my $spool = new_spool();
	my $body = event(pad => 3000);
	my $got = cgi(spool => $spool, body => $body,
		under => shimmed(SHIM_SHORT => 1));
	is($got->{status}, 200, 'status');
	like($got->{text}, qr/"\}\n\z/, 'the answer is whole');
	like($got->{log}, qr/\A$TS result=stored .*\n\z/, 'the log line is whole');
	is_deeply([content($spool, 'new')], [$body], 'the body is whole');
};

my $tally = tally();
diag("allocations: $tally->{runs} runs, $tally->{acknowledged} acknowledged, "
	. "$tally->{refused} not, $tally->{broken} broken");
done_testing();
