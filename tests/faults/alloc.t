#!/usr/bin/perl
# Every allocation of a delivery fails, once and from then on, json-c's and
# libfcgi's included; and reads and writes that move a few bytes at a time.
use strict;
use warnings;
use Test::More;
use Hook;
use Faults;

$SIG{PIPE} = 'IGNORE';
my $shim = 'build/shim.so';	# no path for LD_PRELOAD may have a space
# With escapes, so that json-c is needed.
sub body { my ($text) = fresh_bodies(1); $text =~ s/"id":"i/"\\u0069d":"\\u0069/;
	return $text }

sub shimmed {
	my (%env) = @_;
	return ('env', "LD_PRELOAD=$shim", map { "$_=$env{$_}" } sort keys %env);
}

# CGI.
my $count = scratch() . '/count';
my $got = cgi(spool => new_spool(), body => body(),
	under => [shimmed(SHIM_COUNT => $count)]);
is($got->{status}, 200, 'the shim alone does no harm');
my $n = 0 + slurp($count);
cmp_ok($n, '>', 0, "$n allocations in a CGI delivery");
my @broken;
for my $at (map { ($_, "$_+") } 1 .. $n) {
	my ($body, $spool) = (body(), new_spool());
	push @broken, map { "allocation $at: $_" } attempt([$body], $spool, sub {
		return cgi(spool => $spool, body => $body,
			under => [shimmed(SHIM_ALLOC => $at)]) });
}
is(join("\n", @broken), '', 'CGI');

# FastCGI: libfcgi aborts the process where it gets no memory.  What counts is
# that nothing is answered that is not stored, and that a retry is.
my $spool = new_spool();
my $worker = worker(spool => $spool, under => [shimmed(SHIM_COUNT => $count)]);
post($worker, body());
reap($worker);
$n = 0 + slurp($count);
@broken = ();
my ($lived, $died) = (0, 0);
for my $at (map { ($_, "$_+") } 1 .. $n) {
	my ($body, $spool) = (body(), new_spool());
	push @broken, map { "allocation $at: $_" } attempt([$body], $spool, sub {
		$worker = worker(spool => $spool,
			under => [shimmed(SHIM_ALLOC => $at)]);
		my $socket = fcgi_connect($worker);
		fcgi_send($socket, fcgi_request($body));
		my $got;
		wait_for(sub { $got = fcgi_recv($socket, 0.05) or
			waitpid($worker->{pid}, POSIX::WNOHANG()) });
		$got ? $lived++ : $died++;
		reap($worker, 'KILL');
		return $got // {} });
}
is(join("\n", @broken), '', "FastCGI, $n allocations");
diag("allocations: FastCGI workers that lived on $lived, that ended $died");

# Short reads and writes.
$spool = new_spool();
my $text = event(pad => 3000);
$got = cgi(spool => $spool, body => $text,
	under => [shimmed(SHIM_SHORT => 1)]);
is($got->{status}, 200, 'seven bytes at a time: stored');
like($got->{text}, qr/"\}\n\z/, 'and all of the answer comes');
like($got->{log}, qr/\A$TS result=stored .*\n\z/, 'and of the log line');
is_deeply([content($spool, 'new')], [$text], 'and the bytes');

my $tally = tally();
diag("allocations: $tally->{runs} runs, $tally->{acknowledged} acknowledged, "
	. "$tally->{refused} not, $tally->{broken} broken");
done_testing();
