#!/usr/bin/perl
# What goes wrong on other machines only, if at all: years after 2038, where
# time_t has 32 bits, and files and disks of more than 4 GB.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use Time::Local qw(timegm);
use Hook;
use Commands;

my $later = 'build/later/protocol-hook';
plan skip_all => "there is no $later: make check" if !-x $later;

my ($status, $out);

# Each of them as the program's now.
for (['2038-01-19', 3, 14, 8], ['2039-06-01', 12, 0, 0], ['2106-02-07', 6, 28, 16],
	['2399-12-31', 23, 0, 0]) {
	my ($day, @clock) = @{$_};
	my ($year, $month, $mday) = split /-/, $day;
	my $then = timegm(reverse(@clock), $mday, $month - 1, $year);
	my %then = (LATER => $then - time);
	local $Hook::PROGRAM = $later;
	my $spool = new_spool();
	my $body = event();
	my $got = cgi(spool => $spool, body => $body, env => \%then);
	is($got->{status}, 200, "$day: stored") or diag($got->{log});
	my ($name) = files($spool);
	my $stamp = sprintf '%s%s%sT%02d', $year, $month, $mday, $clock[0];
	like($name, qr/^$stamp\d{4}\.\d{6}Z\./, "$day: its name");
	is_deeply([files($spool, 'archive')], [$day], "$day: its day");
	is(cgi(spool => $spool, body => $body, env => \%then)->{json}{status},
		'duplicate', "$day: a repeat is known");
	my $worker = worker(spool => $spool, env => \%then);
	is(post($worker, $body)->{json}{status}, 'duplicate',
		"$day: by FastCGI, too");
	is(post($worker, event())->{json}{status}, 'stored',
		"$day: FastCGI stores");
	reap($worker);

	my %in = (%then, PROTOCOL_HOOK_SPOOL => $spool);
	($status, $out) = run(\%in, 'status', '-j');
	my $json = JSON::PP::decode_json($out);
	for (qw(oldest_waiting last_arrival)) {
		my $is = $json->{"${_}_timestamp_seconds"};
		ok($is >= $then && $is < $then + 600, "$day: status: $_")
			or diag($is);
	}
	($status, $out) = run(\%in, 'check');
	is($status, 0, "$day: check") or diag($out);
	my ($archived) = map { "$spool/archive/$day/$_" } sha256_hex($body);
	SKIP: {
		utime $then, $then, $archived;
		skip 'the file system knows no such time', 2
			if (stat $archived)[9] != $then;
		unlink map { "$spool/new/$_" } files($spool);
		($status, $out) = run(\%in, 'replay', '-n', '-s', $day);
		like($out, qr/^\Q$day\ET\d\d:\d\d:\d\dZ message\.created /,
			"$day: replay knows when it came");
		($status, $out) = run(\%in, 'replay', '-n', '-s', "${day}T23:59:59");
		is($out, '', "$day: and when not");
	}
	$then{LATER} += 8 * 86400;
	is(cgi(spool => $spool, body => $body, env => \%then)->{json}{status},
		'duplicate', "$day: still known 8 days later, in case the clock is wrong");
	cgi(spool => $spool, body => event(), env => \%then);
	$then{LATER} += 86400;
	is(cgi(spool => $spool, body => $body, env => \%then)->{json}{status},
		'stored', "$day: not known after 9 days");
	cgi(spool => $spool, body => event(), env => \%then);
	ok(!-e $archived, "$day: its day has gone by then");
}

# More than 32 bits can count; nothing but holes.
my $spool = new_spool();
my %in = (PROTOCOL_HOOK_SPOOL => $spool);
deliver($spool, event());
my ($day) = files($spool, 'archive');
my $digest = 'f' x 64;
my $size = 5_000_000_000;
open my $fh, '>', "$spool/archive/$day/$digest" or die $!;
SKIP: {
	skip 'the file system has no large files', 2 if !truncate $fh, $size;
	($status, $out) = run(\%in, 'status', '-j');
	cmp_ok(JSON::PP::decode_json($out)->{archived_bytes}, '>', $size,
		'a file of 5 GB is counted');
	is(cgi(spool => $spool, body => event())->{status}, 200,
		'deliveries go on beside it');
}
close $fh;
is(cgi(spool => $spool, body => event(), env => {
	PROTOCOL_HOOK_MIN_FREE => '4097M' })->{status},
	qx(df -Pk $spool) =~ /(\d+) +\d+% / && $1 > 4097 << 10 ? 200 : 503,
	'free space is compared beyond 4 GB');

done_testing();
