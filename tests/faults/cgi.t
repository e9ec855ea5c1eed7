#!/usr/bin/perl
# CGI: each system call of one delivery fails in turn, with each errno that it may
# give, once and from then on; and the process gets SIGKILL and SIGTERM at each.
# Faults.pm has the promise that must hold.
use strict;
use warnings;
use Test::More;
use Hook;
use Faults;

plan skip_all => 'needs strace that may trace' if !can_trace();

# It stops waiting after a second.
$Hook::PROGRAM = "$ENV{PWD}/build/quick/protocol-hook";
my $first = qr/^open\w*\(.*"\/", O_RDONLY/;	# the first call of main()
my $trace = scratch() . '/trace';
cgi(spool => new_spool(), body => event(),
	under => ['strace', '-o', $trace]);
my @calls = calls(slurp($trace), $first);
cmp_ok(scalar @calls, '>', 40, scalar(@calls) . ' calls in one delivery');

# Delivers under the fault INJECT; returns which promises are broken.
sub under_fault {
	my ($inject) = @_;
	my ($body) = fresh_bodies(1);
	my $spool = new_spool();
	return attempt([$body], $spool, sub {
		return cgi(spool => $spool, body => $body, under => ['strace',
			'-o', '/dev/null', '-e', "inject=$inject"]);
	});
}

my %by_name;
push @{ $by_name{$_->[0]} }, $_->[1] for @calls;
for my $name (sort keys %by_name) {
	my @broken;
	for my $n (@{ $by_name{$name} }) {
		for my $fault (faults($name, $n)) {
			push @broken, map { "$name:$fault: $_" }
				under_fault("$name:$fault");
		}
	}
	is(join("\n", @broken), '', "$name, " . @{ $by_name{$name} } . ' calls: no promise is broken');
}
my $tally = tally();
diag("faults in CGI: $tally->{runs} runs, $tally->{acknowledged} acknowledged, "
	. "$tally->{refused} not, $tally->{broken} broken");
cmp_ok($tally->{acknowledged}, '>', 0, 'some deliveries are acknowledged');
cmp_ok($tally->{refused}, '>', 0, 'some deliveries are refused');
done_testing();
