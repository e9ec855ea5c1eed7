#!/usr/bin/perl
# Years after 2038, where time_t may have 32 bits, and files and free space of
# more than 4 GB.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use Time::Local qw(timegm);
use Hook;
use Commands;

my $clocked = 'build/clock/protocol-hook';
plan skip_all => "there is no $clocked: make check" if !-x $clocked;

# With the program's clock at that moment.
for (['2038-01-19', 3, 14, 8], ['2039-06-01', 12, 0, 0], ['2106-02-07', 6, 28, 16],
	['2399-12-31', 23, 0, 0]) {
	my ($day, @clock) = @{$_};
	subtest "deliveries and commands work on $day" => sub {
		in_year($day, @clock);
	};
}

sub in_year {
	my ($day, @clock) = @_;
	my ($year, $month, $mday) = split /-/, $day;
	my $then = timegm(reverse(@clock), $mday, $month - 1, $year);
	my %then = (CLOCK_SHIFT => $then - time);
	local $Hook::PROGRAM = $clocked;
	my $spool = new_spool();
	my $body = event();
	my $got = cgi(spool => $spool, body => $body, env => \%then);
	is($got->{status}, 200, 'a delivery is stored') or diag($got->{log});
	my ($name) = files($spool);
	my $stamp = sprintf '%s%s%sT%02d', $year, $month, $mday, $clock[0];
	like($name, qr/^$stamp\d{4}\.\d{6}Z\./, 'its name has the time');
	is_deeply([files($spool, 'archive')], [$day], 'it is archived on that day');
	my $state = sub {
		my ($bytes) = @_;
		return cgi(spool => $spool, body => $bytes, env => \%then)
			->{json}{status};
	};
	is($state->($body), 'duplicate', 'CGI recognises a duplicate');
	my $worker = worker(spool => $spool, env => \%then);
	is(post($worker, $body)->{json}{status}, 'duplicate',
		'FastCGI recognises a duplicate');
	is(post($worker, event())->{json}{status}, 'stored', 'FastCGI stores');
	reap($worker);

	my %in = (%then, PROTOCOL_HOOK_SPOOL => $spool);
	my ($status, $out) = run(\%in, 'status', '-j');
	my $json = JSON::PP::decode_json($out);
	for (qw(oldest_waiting last_arrival)) {
		my $is = $json->{"${_}_timestamp_seconds"};
		ok($is >= $then && $is < $then + 600, "status: $_")
			or diag($is);
	}
	($status, $out) = run(\%in, 'check');
	is($status, 0, 'check succeeds') or diag($out);
	my $archived = "$spool/archive/$day/" . sha256_hex($body);
	SKIP: {
		utime $then, $then, $archived;
		skip 'the file system has no such time', 2
			if (stat $archived)[9] != $then;
		unlink map { "$spool/new/$_" } files($spool);
		($status, $out) = run(\%in, 'replay', '-n', '-s', $day);
		like($out, qr/^\Q$day\ET\d\d:\d\d:\d\dZ message\.created /,
			'replay finds it by its time');
		($status, $out) = run(\%in, 'replay', '-n', '-s', "${day}T23:59:59");
		is($out, '', 'replay finds nothing after that');
	}

	$then{CLOCK_SHIFT} += 8 * 86400;
	is($state->($body), 'duplicate',
		'8 days later it is still kept, in case the clock is wrong');
	$state->(event());
	$then{CLOCK_SHIFT} += 86400;
	is($state->($body), 'stored', '9 days later it is no duplicate');
	$state->(event());
	ok(!-e $archived, '9 days later its day is removed');
	return;
}

subtest 'a file of 5 GB in the archive is counted' => sub {
	my $spool = new_spool();
	deliver($spool, event());
	my ($day) = files($spool, 'archive');
	my $size = 5_000_000_000;
	open my $fh, '>', "$spool/archive/$day/" . 'f' x 64 or die $!;
	SKIP: {
		skip 'the file system has no large files', 2
			if !truncate $fh, $size;	# it is a hole
		my ($status, $out) = run({ PROTOCOL_HOOK_SPOOL => $spool },
			'status', '-j');
		cmp_ok(JSON::PP::decode_json($out)->{archived_bytes}, '>', $size,
			'status counts its bytes');
		is(cgi(spool => $spool, body => event())->{status}, 200,
			'a delivery is stored beside it');
	}
};

subtest 'free space is compared beyond 4 GB' => sub {
	my $spool = new_spool();
	is(cgi(spool => $spool, body => event(), env => {
		PROTOCOL_HOOK_MIN_FREE => '4097M' })->{status},
		qx(df -Pk $spool) =~ /(\d+) +\d+% / && $1 > 4097 << 10 ? 200 : 503,
		'PROTOCOL_HOOK_MIN_FREE=4097M');
};

done_testing();
