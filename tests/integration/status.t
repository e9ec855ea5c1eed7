#!/usr/bin/perl
# status of a million files takes seconds, and memory that does not grow with
# their number.
use strict;
use warnings;
use Test::More;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(time);
use Hook;

my $million = 1_000_000;
$ENV{TMPDIR} //= '/dev/shm' if -d -w '/dev/shm';
my $spool = new_spool();
mkdir "$spool/$_" or die $! for qw(new rejected archive);
my @types = qw(message.created message.updated contact.created group.deleted
	conversation.updated attachment.created);
my ($n, $made, $file, $stamp) = (0, 0, '');
while ($n < $million) {
	# File systems limit the number of links to a file.
	if ($n % 30000 == 0) {
		$file = "$spool/rejected/" . ++$made;
		open my $fh, '>', $file or die $!;
		close $fh or die $!;
	}
	$stamp = POSIX::strftime('%Y%m%dT%H%M%S',
		gmtime 1_790_000_000 + $n / 1000) if $n % 1000 == 0;
	my $name = sprintf '%s.%06dZ.%s.id%d.json', $stamp, $n % 1000 * 1000,
		$types[$n % @types], $n;
	link $file, "$spool/new/$name" or die $!;
	$n++;
}

my %env = (PATH => $ENV{PATH}, PROTOCOL_HOOK_SPOOL => $spool);
my $began = time;
# In 24 MB of address space there is no room for 8 bytes a file beside the
# libraries.
my $out = do {
	local %ENV = %env;
	qx(ulimit -v 24576; exec "$PROGRAM" status -j);
};
my $took = time - $began;
is($?, 0, 'it succeeds in 24 MB of address space');
my $waiting = JSON::PP::decode_json($out)->{waiting_deliveries};
my $sum = 0;
$sum += $_ for values %{$waiting};
is($sum, $million, 'it counts all');
is(scalar keys %{$waiting}, scalar @types, 'it counts by type');
is(JSON::PP::decode_json($out)->{oldest_waiting_timestamp_seconds},
	1_790_000_000, 'it finds the oldest');
cmp_ok($took, '<', 5, 'it takes less than 5 seconds');
diag(sprintf 'a million files in %.2f s', $took);
done_testing();
