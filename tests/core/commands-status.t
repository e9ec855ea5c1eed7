#!/usr/bin/perl
# status: what it counts, its three formats, and what it refuses to count.
use strict;
use warnings;
use Test::More;
use File::Temp ();
use JSON::PP ();
use Hook;
use Commands;

# Runs status of SPOOL; returns exit status, output and messages.
sub status {
	my ($spool, @flags) = @_;
	return run({ PROTOCOL_HOOK_SPOOL => $spool }, 'status', @flags);
}
sub status_text { return (status(@_))[1] }
sub status_json { return JSON::PP::decode_json(status_text($_[0], '-j')) }
# A spool after its first request, which stored nothing.
sub unused_spool {
	my $spool = new_spool();
	cgi(spool => $spool, env => { REQUEST_METHOD => 'GET' });
	return $spool;
}
# A name in new/, and its time in seconds since 1970.
my ($OLD, $OLD_SECONDS) = ('20200102T030405.000000Z', 1577934245);
sub rename_waiting {
	my ($spool, $pattern, $name) = @_;
	rename((glob "$spool/new/$pattern")[0], "$spool/new/$name") or die $!;
	return;
}

# Five deliveries of three types, one of them old; a rejected body; a foreign and
# a hidden file.
sub mixed_spool {
	my $spool = new_spool();
	deliver($spool, event(type => 'message.created')) for 1 .. 3;
	deliver($spool, event(type => 'group.deleted'));
	deliver($spool, event(type => 'some.thing.new'));
	cgi(spool => $spool, body => '[]');
	spew("$spool/new/$_") for 'foreign', '.hidden';
	rename_waiting($spool, '*.group.deleted.*', "$OLD.group.deleted.x.json");
	my ($day) = files($spool, 'archive');
	return ($spool, $day);
}

subtest 'a spool that was never used is an error' => sub {
	my $spool = new_spool();
	my ($status, $out, $err) = status($spool);
	is($status, 1, 'exit status');
	is($out, '', 'nothing is printed');
	like($err, qr{\Q$spool\E/new: No such file}, 'the message names what is missing');
	is((status("$spool-none"))[0], 1, 'so is a spool that does not exist');
	is((run({ PROTOCOL_HOOK_SPOOL => unused_spool(),
		PROTOCOL_HOOK_KEEP_DAYS => 'x' }, 'status'))[0], 1,
		'so is a wrong variable');
};

subtest 'JSON has all counts' => sub {
	my ($spool, $day) = mixed_spool();
	my $bytes = 0;
	$bytes += -s "$spool/archive/$day/$_" for files($spool, "archive/$day");
	is((status($spool, '-j'))[0], 0, 'exit status');
	my $json = status_json($spool);
	is_deeply($json->{waiting_deliveries}, { 'message.created' => 3,
		'group.deleted' => 1, 'some.thing.new' => 1 }, 'waiting, by type');
	is($json->{oldest_waiting_timestamp_seconds}, $OLD_SECONDS, 'the oldest');
	cmp_ok(abs($json->{last_arrival_timestamp_seconds} - time), '<', 60,
		'the last arrival');
	is($json->{rejected_bodies}, 1, 'rejected bodies');
	is($json->{foreign_files}, 1, 'foreign files');
	is_deeply($json->{archived}, { $day => { deliveries => 5,
		bytes => $bytes } }, 'archived, by day');
	is($json->{archived_bytes}, $bytes, 'archived bytes');
	cmp_ok($json->{spool_free_bytes}, '<=', $json->{spool_size_bytes},
		'free and total space');
};

subtest 'free space is what users other than root have' => sub {
	my $at;
	my ($avail, $free, $size) = (0, 0, 0);
	for ('/tmp', '/var/tmp') {
		$at = $_;
		($avail, $free, $size) = qx(stat -f -c '%a %f %S' $at 2>&1)
			=~ /^(\d+) (\d+) (\d+)$/;
		last if ($free // 0) > 2 * 65536 + ($avail // 0);
	}
	plan skip_all => 'no file system that reserves space for root'
		if ($free // 0) <= 2 * 65536 + ($avail // 0);
	my $spool = File::Temp::tempdir(DIR => $at, CLEANUP => 1);
	mkdir "$spool/$_" or die $! for qw(new rejected archive);
	cmp_ok(abs(status_json($spool)->{spool_free_bytes} - $avail * $size), '<',
		65536 * $size, 'nearly the number of stat -f');
};

subtest 'the text for people has all counts' => sub {
	my ($spool, $day) = mixed_spool();
	my ($status, $out) = status($spool);
	is($status, 0, 'exit status');
	like($out, qr/^waiting   5, the oldest for \d+d \d+h$/m, 'waiting');
	like($out, qr/^  message\.created +3$/m, 'waiting, by type');
	like($out, qr/^rejected  1$/m, 'rejected');
	like($out, qr/^archived  5, \d+B\n  $day +5 +\d+B$/m, 'archived');
	my %width = map { length() => 1 } grep { /^  \w+\.\w/ } split /\n/, $out;
	is(scalar keys %width, 1, 'columns are aligned');
};

subtest 'an empty spool has no last arrival' => sub {
	my $spool = unused_spool();
	like(status_text($spool),
		qr/^arrival   none yet\nwaiting   0\nrejected  0\narchived  0, /m,
		'text');
	like(status_text($spool, '-j'), qr/"last_arrival_\w+":null/, 'JSON');
	unlike(status_text($spool, '-p'), qr/last_arrival/, 'metrics');
};

subtest 'a delivery that is not archived is counted' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => event(type => 't' x 40),
		env => { PROTOCOL_HOOK_KEEP_DAYS => 0 });
	like(status_text($spool),
		qr/^arrival   \ds ago\nwaiting   1, .* \d+s\n  t{40} +1\n/m, 'text');
};

subtest 'ages have two units' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	for ([600, '10m \d+s'], [7260, '2h 1m'], [36060, '10h 1m'],
		[86460, '1d 0h'], [-600, '0s']) {
		my ($ago, $age) = @{$_};
		my @t = gmtime(time - $ago);
		rename_waiting($spool, '*', sprintf
			'%04d%02d%02dT%02d%02d%02d.000000Z.a.x.json', $t[5] + 1900,
			$t[4] + 1, @t[3, 2, 1, 0]);
		like(status_text($spool), qr/^waiting   1, the oldest for $age$/m,
			"$ago seconds: $age");
	}
};

subtest 'text has the last days of the archive, and JSON has all' => sub {
	my $spool = unused_spool();
	for my $n (1 .. 12) {
		my $path = sprintf '%s/archive/2026-01-%02d', $spool, $n;
		mkdir $path or die $!;
		next if $n == 2;
		open my $fh, '>', "$path/" . 'a' x 64 or die $!;
		truncate $fh, 1 << (2 * $n + 8) or die $!;
		close $fh or die $!;
	}
	mkdir "$spool/archive/lost+found" or die $!;
	utime 0, 0, "$spool/archive/2026-01-05/" . 'a' x 64 or die $!;
	my $out = status_text($spool);
	my @days = $out =~ /^  (older|2026-\S+) +(\d+) +(\S+)$/mg;
	is("@days[0 .. 5]", 'older 2 17.0K 2026-01-04 1 64.0K',
		'older days are summed up');
	is("@days[-6 .. -4]", '2026-01-12 1 4.0G', 'the last day before today');
	is(scalar @days, 3 * 11, 'older days, nine days and today: eleven lines');
	like($out, qr/^archived  11, 5\.3G$/m, 'the sum of all days');
	like(status_text($spool, '-j'), qr/"2026-01-02":\{"deliveries":0,/,
		'JSON has an empty day, too');
};

subtest 'metrics: each family has HELP, TYPE and samples in one block' => sub {
	my ($spool) = mixed_spool();
	my ($status, $out) = status($spool, '-p');
	is($status, 0, 'exit status');
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
	is(scalar(grep { /_total$/ } keys %type), 0,
		'no gauge has a name that ends in _total');
	is($sample{'protocol_hook_waiting_deliveries{type="message.created"}'}, 3,
		'waiting');
	is($sample{'protocol_hook_waiting_deliveries{type="contact.created"}'}, 0,
		'a type of which none waits');
	is($sample{protocol_hook_rejected_bodies}, 1, 'rejected');
	is($sample{protocol_hook_oldest_waiting_timestamp_seconds}, $OLD_SECONDS,
		'the oldest');
};

subtest 'a foreign name reaches neither the terminal nor the metrics' => sub {
	my $spool = new_spool();
	deliver($spool, event());
	spew("$spool/new/$_") for "$OLD.a\e[31m\"b.x.json",
		"$OLD." . 'a' x 200 . '.x.json', '20200102T03040x.000000Z.a.x.json',
		'00010101T000000.000000Z.a.x.json';
	for ('-j', '-p') {
		unlike(status_text($spool, $_), qr/\e|aaaa/, "status $_");
	}
	like(status_text($spool, '-p'), qr/^protocol_hook_foreign_files 4$/m,
		'they are counted as foreign');
};

subtest 'types beyond the 32nd are counted together as "other"' => sub {
	my $spool = new_spool();
	deliver($spool, event());
	deliver($spool, event(type => "t$_")) for 1 .. 20;
	is(status_json($spool)->{waiting_deliveries}{other}, 4, 'JSON');
	my $types = () = status_text($spool, '-p')
		=~ /^protocol_hook_waiting_deliveries\{/mg;
	is($types, 32, 'metrics: number of samples');
	deliver($spool, event(type => 'other'));
	is(join(' ', status_text($spool, '-p') =~ /type="other"\} (\d+)/g), '5',
		'metrics: a type whose name is "other" makes no second sample');
};

subtest 'the last arrival is the latest in new/ and the archive' => sub {
	my $spool = new_spool();
	deliver($spool, event());
	my $age = sub { abs(status_json($spool)->{last_arrival_timestamp_seconds}
		- time) };
	rename_waiting($spool, '*', "$OLD.a.x.json");
	cmp_ok($age->(), '<', 60, 'the one that waits is older');
	unlink glob "$spool/new/*";
	cmp_ok($age->(), '<', 60, 'none waits');
};

subtest 'only deliveries are counted in the archive' => sub {
	my $spool = new_spool();
	deliver($spool, event());
	my $day = "$spool/archive/" . (files($spool, 'archive'))[0];
	my $before = status_text($spool, '-j');
	spew("$day/README");
	utime 4102444800, 4102444800, "$day/README" or die $!;
	mkdir "$day/sub" or die $!;
	my $after = status_text($spool, '-j');
	s/,"spool_free.*//s for $before, $after;
	is($after, $before, 'a file and a directory that are no digests');
};

subtest 'what cannot be read is an error, never a count of zero' => sub {
	my $spool = new_spool();
	deliver($spool, event());
	my $day = "$spool/archive/" . (files($spool, 'archive'))[0];
	rename $day, "$day-away" or die $!;
	spew($day);
	like((status($spool))[2], qr/\Q$day\E: Not a directory$/m,
		'a day that is a file');
	unlink $day;
	rename "$day-away", $day or die $!;
	for my $sub (qw(new rejected archive)) {
		rename "$spool/$sub", "$spool/away" or die $!;
		for my $flag ([], ['-j'], ['-p']) {
			my ($status, $out) = status($spool, @{$flag});
			is($status, 1, "status @{$flag} without $sub/: exit status");
			is($out, '', "status @{$flag} without $sub/: nothing printed");
		}
		rename "$spool/away", "$spool/$sub" or die $!;
	}
};

done_testing();
