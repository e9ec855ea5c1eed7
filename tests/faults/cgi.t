#!/usr/bin/perl
# CGI: every system call of one delivery fails in turn with every errno that it
# may give, once and from then on; the process is killed and told to end at each.
use strict;
use warnings;
use Test::More;
use Hook;
use Faults;

plan skip_all => 'needs strace that may trace' if !can_trace();

# Late after a second, for what waits.
$Hook::PROGRAM = "$ENV{PWD}/build/quick/protocol-hook";
my $first = qr/^open\w*\(.*"\/", O_RDONLY/;	# main's first call
my $trace = scratch() . '/trace';
cgi(spool => new_spool(), body => event(),
	under => ['strace', '-o', $trace]);
my @calls = calls(slurp($trace), $first);
cmp_ok(scalar @calls, '>', 40, scalar(@calls) . ' calls in one delivery');

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
	is(join("\n", @broken), '', "$name, " . @{ $by_name{$name} } . ' times');
}
my $tally = tally();
diag("faults in CGI: $tally->{runs} runs, $tally->{acknowledged} acknowledged, "
	. "$tally->{refused} not, $tally->{broken} broken");
cmp_ok($tally->{acknowledged}, '>', 0, 'some faults do no harm');
cmp_ok($tally->{refused}, '>', 0, 'some are seen');
done_testing();
