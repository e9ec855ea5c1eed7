#!/usr/bin/perl
# status: what it counts, in its three forms, and what it refuses to count.
use strict;
use warnings;
use Test::More;
use JSON::PP ();
use Hook;
use Commands;

my ($status, $out, $err, $fh);
my $spool = new_spool();
my %in = (PROTOCOL_HOOK_SPOOL => $spool);
($status, $out, $err) = run(\%in, 'status');
is($status, 1, 'status of a spool that was never used');
is($out, '', '... prints nothing');
like($err, qr{\Q$spool\E/new: No such file}, '... but what is missing');
deliver($spool, event(type => 'message.created')) for 1 .. 3;
deliver($spool, event(type => 'group.deleted'));
deliver($spool, event(type => 'some.thing.new'));
cgi(spool => $spool, body => '[]');
open $fh, '>', "$spool/new/foreign" or die $!;
open $fh, '>', "$spool/new/.hidden" or die $!;
close $fh or die $!;
rename((glob "$spool/new/*.group.deleted.*")[0],
	"$spool/new/20200102T030405.000000Z.group.deleted.x.json");
my ($day) = files($spool, 'archive');
my $bytes = 0;
$bytes += -s "$spool/archive/$day/$_" for files($spool, "archive/$day");
($status, $out) = run(\%in, 'status', '-j');
is($status, 0, 'status -j');
my $json = JSON::PP::decode_json($out);
is_deeply($json->{waiting_deliveries}, { 'message.created' => 3,
	'group.deleted' => 1, 'some.thing.new' => 1 }, 'what waits, by type');
is($json->{oldest_waiting_timestamp_seconds}, 1577934245, 'the oldest');
cmp_ok(abs($json->{last_arrival_timestamp_seconds} - time), '<', 60,
	'the last arrival');
is($json->{rejected_bodies}, 1, 'rejected');
is($json->{foreign_files}, 1, 'foreign');
is_deeply($json->{archived}, { $day => { deliveries => 5, bytes => $bytes } },
	'the archive');
is($json->{archived_bytes}, $bytes, 'its bytes');
cmp_ok($json->{spool_free_bytes}, '<=', $json->{spool_size_bytes}, 'room');
SKIP: {
	my $at;
	my ($avail, $free, $size) = (0, 0, 0);
	for ('/tmp', '/var/tmp') {
		$at = $_;
		($avail, $free, $size) = qx(stat -f -c '%a %f %S' $at 2>&1)
			=~ /^(\d+) (\d+) (\d+)$/;
		last if ($free // 0) > 2 * 65536 + ($avail // 0);
	}
	skip 'no file system that keeps room for root', 1
		if ($free // 0) <= 2 * 65536 + ($avail // 0);
	my $top = File::Temp::tempdir(DIR => $at, CLEANUP => 1);
	mkdir "$top/$_" or die $! for qw(new rejected archive);
	my $told = JSON::PP::decode_json((run({ PROTOCOL_HOOK_SPOOL => $top },
		'status', '-j'))[1])->{spool_free_bytes};
	cmp_ok(abs($told - $avail * $size), '<', 65536 * $size,
		'room is what those who are not root have');
}
($status, $out) = run(\%in, 'status');
is($status, 0, 'status');
like($out, qr/^waiting   5, the oldest for \d+d \d+h$/m, 'waiting');
like($out, qr/^  message\.created +3$/m, 'by type');
like($out, qr/^rejected  1$/m, 'rejected');
like($out, qr/^archived  5, \d+B\n  $day +5 +\d+B$/m, 'archived');
my %width = map { length() => 1 } grep { /^  \w+\.\w/ } split /\n/, $out;
is(scalar keys %width, 1, 'columns are in line');

# A spool that is empty, one whose archive is too, ages, sizes, many days.
{
	my $other = new_spool();
	my %of = (PROTOCOL_HOOK_SPOOL => $other);
	cgi(spool => $other, env => { REQUEST_METHOD => 'GET' });
	($status, $out) = run(\%of, 'status');
	like($out, qr/^arrival   none yet\nwaiting   0\nrejected  0\narchived  0, /m,
		'nothing yet');
	like((run(\%of, 'status', '-j'))[1], qr/"last_arrival_\w+":null/,
		'nothing yet, in JSON');
	unlike((run(\%of, 'status', '-p'))[1], qr/last_arrival/,
		'nothing yet, as metrics');
	cgi(spool => $other, body => event(type => 't' x 40),
		env => { PROTOCOL_HOOK_KEEP_DAYS => 0 });
	like((run(\%of, 'status'))[1],
		qr/^arrival   \ds ago\nwaiting   1, .* \d+s\n  t{40} +1\n/m,
		'what is not archived is seen, too');
	($day) = files($spool, 'archive');
	for ([600, '10m \d+s'], [7260, '2h 1m'], [36060, '10h 1m'],
		[86460, '1d 0h'], [-600, '0s']) {
		my ($ago, $age) = @{$_};
		my @t = gmtime(time - $ago);
		rename((glob "$other/new/*")[0], sprintf
			'%s/new/%04d%02d%02dT%02d%02d%02d.000000Z.a.x.json', $other,
			$t[5] + 1900, $t[4] + 1, @t[3, 2, 1, 0]) or die $!;
		like((run(\%of, 'status'))[1], qr/^waiting   1, the oldest for $age$/m,
			"an age: $age");
	}
	for my $n (1 .. 12) {
		my $path = sprintf '%s/archive/2026-01-%02d', $other, $n;
		mkdir $path or die $!;
		next if $n == 2;
		open $fh, '>', "$path/" . 'a' x 64 or die $!;
		truncate $fh, 1 << (2 * $n + 8) or die $!;
		close $fh or die $!;
	}
	mkdir "$other/archive/lost+found" or die $!;
	utime 0, 0, "$other/archive/2026-01-05/" . 'a' x 64 or die $!;
	($status, $out) = run(\%of, 'status');
	my @days = $out =~ /^  (older|2026-\S+) +(\d+) +(\S+)$/mg;
	is("@days[0 .. 5]", 'older 2 17.0K 2026-01-04 1 64.0K', 'older days are one');
	is("@days[-6 .. -4]", '2026-01-12 1 4.0G', 'the last');
	is(scalar @days, 33, 'eleven lines');
	like($out, qr/^archived  11, 5\.3G$/m, 'their sum');
	like((run(\%of, 'status', '-j'))[1], qr/"2026-01-02":\{"deliveries":0,/,
		'all days, in JSON');
}

# The text format: families with HELP and TYPE once, and all samples after it.
($status, $out) = run(\%in, 'status', '-p');
is($status, 0, 'status -p');
my (%help, %type, %sample, $family);
for (split /\n/, $out) {
	if (/^# HELP (\w+) \S.*\.$/) {
		ok(!$help{$1}++, "one HELP of $1");
		$family = $1;
	} elsif (/^# TYPE (\w+) gauge$/) {
		ok($1 eq $family && !$type{$1}++, "one TYPE of $1");
	} elsif (/^(protocol_hook_[a-z_]+)(\{type="[A-Za-z0-9_.-]+"\})? (\d+)$/) {
		ok($1 eq $family && $type{$1}, "$_: in its family");
		$sample{ $1 . ($2 // '') } = $3;
	} else {
		fail("a line of the format: $_");
	}
}
is(scalar(grep { /_total$/ } keys %type), 0, 'gauges do not end in _total');
is($sample{'protocol_hook_waiting_deliveries{type="message.created"}'}, 3,
	'waiting');
is($sample{'protocol_hook_waiting_deliveries{type="contact.created"}'}, 0,
	'a type of which none waits');
is($sample{protocol_hook_rejected_bodies}, 1, 'rejected');
is($sample{protocol_hook_oldest_waiting_timestamp_seconds}, 1577934245,
	'the oldest');

# Names that no delivery has must steer neither terminal nor metrics.
my $odd = new_spool();
deliver($odd, event());
open $fh, '>', "$odd/new/20200102T030405.000000Z.a\e[31m\"b.x.json" or die $!;
open $fh, '>', "$odd/new/20200102T030405.000000Z." . 'a' x 200 . '.x.json'
	or die $!;
open $fh, '>', "$odd/new/20200102T03040x.000000Z.a.x.json" or die $!;
open $fh, '>', "$odd/new/00010101T000000.000000Z.a.x.json" or die $!;
close $fh or die $!;
($status, $out) = run({ PROTOCOL_HOOK_SPOOL => $odd }, 'status', $_)
	and unlike($out, qr/\e|aaaa/, "status $_: odd names") for qw(-j -p);
like($out, qr/^protocol_hook_foreign_files 4$/m, 'they are foreign');

# More types than are counted apart.
deliver($odd, event(type => "t$_")) for 1 .. 20;
($status, $out) = run({ PROTOCOL_HOOK_SPOOL => $odd }, 'status', '-j');
is(JSON::PP::decode_json($out)->{waiting_deliveries}{other}, 4, 'other types');
($status, $out) = run({ PROTOCOL_HOOK_SPOOL => $odd }, 'status', '-p');
my $types = () = $out =~ /^protocol_hook_waiting_deliveries\{/mg;
is($types, 32, 'and no more than 32 lines of them');

# The last arrival is known from new/ or the archive, whichever is later.
{
	my $other = new_spool();
	my %of = (PROTOCOL_HOOK_SPOOL => $other);
	deliver($other, event());
	my $last = sub { JSON::PP::decode_json((run(\%of, 'status', '-j'))[1])
		->{last_arrival_timestamp_seconds} };
	rename((glob "$other/new/*")[0],
		"$other/new/20200102T030405.000000Z.a.x.json") or die $!;
	cmp_ok(abs($last->() - time), '<', 60, 'one that waits is older');
	unlink glob "$other/new/*";
	cmp_ok(abs($last->() - time), '<', 60, 'none waits');
}

# A type of that very name is one of them.
deliver($odd, event(type => 'other'));
($status, $out) = run({ PROTOCOL_HOOK_SPOOL => $odd }, 'status', '-p');
is(join(' ', $out =~ /type="other"\} (\d+)/g), '5', 'other, once');

# Only deliveries are counted in the archive; what is no day is named.
$day = "$odd/archive/" . (files($odd, 'archive'))[0];
my $before = (run({ PROTOCOL_HOOK_SPOOL => $odd }, 'status', '-j'))[1];
open $fh, '>', "$day/README" or die $!;
utime 4102444800, 4102444800, "$day/README" or die $!;
mkdir "$day/sub" or die $!;
$out = (run({ PROTOCOL_HOOK_SPOOL => $odd }, 'status', '-j'))[1];
s/,"spool_free.*//s for $before, $out;
is($out, $before, 'what is no digest is not counted');
rename $day, "$day-away" or die $!;
open $fh, '>', $day or die $!;
like((run({ PROTOCOL_HOOK_SPOOL => $odd }, 'status'))[2],
	qr/\Q$day\E: Not a directory$/m, 'a day that is none is named');
unlink $day;
rename "$day-away", $day or die $!;

# Nothing that can't be read is counted as empty.
for my $sub (qw(new rejected archive)) {
	rename "$odd/$sub", "$odd/away" or die $!;
	for my $flag ([], ['-j'], ['-p']) {
		($status, $out, $err) = run({ PROTOCOL_HOOK_SPOOL => $odd },
			'status', @{$flag});
		is($status, 1, "status @{$flag} without $sub/");
		is($out, '', "status @{$flag} without $sub/: nothing printed");
	}
	rename "$odd/away", "$odd/$sub" or die $!;
}
is((run({ PROTOCOL_HOOK_SPOOL => "$odd-none" }, 'status'))[0], 1,
	'status of no spool');
is((run({ %in, PROTOCOL_HOOK_KEEP_DAYS => 'x' }, 'status'))[0], 1,
	'status under a wrong variable');

done_testing();
