#!/usr/bin/perl
# examples/postgresql against a real server: each delivery becomes one row,
# whichever process is killed, at any time.
use strict;
use warnings;
use Cwd qw(abs_path);
use Digest::SHA qw(sha256_hex);
use POSIX qw(:sys_wait_h);
use Test::More;
use Time::HiRes qw(sleep time);
# Only processes are killed, so the spool may be in memory.
BEGIN { $ENV{TMPDIR} //= '/dev/shm' if -d '/dev/shm' && -w _ }
use Hook;

# exit() runs the END blocks, which clean up.
$SIG{$_} = sub { exit 1 } for qw(HUP INT TERM);

my ($bin) = sort { ($b =~ /(\d+)/)[0] <=> ($a =~ /(\d+)/)[0] }
	glob '/usr/lib/postgresql/*/bin';
plan skip_all => 'needs a PostgreSQL server' if !$bin;
my $dir = scratch();
chmod 0755, $dir;
my @as;
if ($> == 0) {
	# The server does not run as root.
	plan skip_all => 'needs setpriv' if system('command -v setpriv >/dev/null');
	@as = qw(setpriv --reuid=postgres --regid=postgres --clear-groups --);
	chown +(getpwnam 'postgres')[2, 3], $dir or die $!;
}
my $LOAD = abs_path('examples/postgresql/load');
$ENV{PGHOST} = $dir;
$ENV{PGUSER} = 'postgres';
$ENV{PGDATABASE} = 'postgres';
delete @ENV{qw(PGPORT PGSERVICE PGPASSWORD)};

system("cd / && @as $bin/initdb -D $dir/data -U postgres -A trust -E UTF8"
	. " --locale=C -N >$dir/initdb 2>&1") == 0 or die slurp("$dir/initdb");

# The server has no TCP, only a socket in a directory of its own.
sub server_start {
	my $pid = fork // die $!;
	if (!$pid) {
		chdir '/';
		open STDIN, '<', '/dev/null' or die $!;
		open STDOUT, '>>', "$dir/server.log" or die $!;
		open STDERR, '>&', \*STDOUT or die $!;
		exec @as, "$bin/postgres", '-D', "$dir/data", '-k', $dir, '-c',
			'listen_addresses=' or POSIX::_exit(127);
	}
	wait_for(sub { system("$bin/pg_isready -q") == 0 }, 60)
		or die slurp("$dir/server.log");
	return $pid;
}

my ($server, %loader) = server_start();

END {
	my $status = $?;
	kill 'KILL', -$_ for keys %loader;
	if ($server) {
		kill 'INT', $server;
		waitpid $server, 0;
	}
	$? = $status;
}

sub sql {
	my ($query) = @_;
	open my $psql, '-|', 'psql', '-XAtqc', $query or die $!;
	my $out = join '', <$psql>;
	chomp $out;
	return $out;
}

sub load_start {
	my ($spool, @options) = @_;
	my $pid = fork // die $!;
	if (!$pid) {
		setpgrp;
		open STDIN, '<', '/dev/null' or die $!;
		open STDERR, '>>', "$spool/../log" or die $!;
		exec 'sh', $LOAD, @options, $spool or POSIX::_exit(127);
	}
	$loader{$pid} = 1;
	return $pid;
}

sub load_wait {
	my ($pid) = @_;
	wait_for(sub { waitpid($pid, WNOHANG) == $pid }, 60) or return;
	delete $loader{$pid};
	return $?;
}

sub left {
	my @left = (files($_[0]), files($_[0], 'postgresql'));
	return @left;
}

is(system('psql', '-Xqf', 'examples/postgresql/schema.sql'), 0, 'the schema');

# Bodies that jsonb accepts, and some that RFC 8259 allows and jsonb does not.
my $spool = new_spool();
my $odd = '{"id":"odd","type":"message.created","payload":{"a":"\u0000"}}';
my $half = '{"id":"half","type":"message.created","payload":{"a":"\ud800"}}';
my $huge = '{"id":"huge","type":"message.created","payload":{"a":1e999999}}';
my $space = qq( \t\r\n{"id":"a\\tb\\\\","type":"group.deleted","payload":{}}\n\n);
for ($EXAMPLE, $odd, $half, $huge, $space) {
	is(cgi(spool => $spool, body => $_)->{status}, 200, 'delivered');
}
is(load_wait(load_start($spool, '-1')), 0, '-1 ends when all is loaded');
is_deeply([left($spool)], [], 'and deleted');
is(sql("select encode(body, 'hex') from webhook order by received"),
	join("\n", map { unpack 'H*', $_ } $EXAMPLE, $odd, $half, $huge, $space),
	'rows in order, byte for byte');
is(sql("select encode(digest, 'hex') from webhook order by received limit 1"),
	sha256_hex($EXAMPLE), 'the digest is the key');
is(sql('select event is null, type, id from webhook order by received'),
	join("\n", 'f|message.updated|a056V7R7NmNRjl70', 't|message.created|odd',
	't|message.created|half', 't|message.created|huge',
	"f|group.deleted|a\tb\\"), 'the event, where jsonb can hold it');
is(sql(q(select event -> 'payload' ->> 'message' from webhook where id = )
	. q('a056V7R7NmNRjl70')), 'I’m traveling with my dad. He’s at a meeting. '
	. 'I hate meetings.', 'as jsonb');
my $recent = sql(q(select count(*) from webhook where received between now() -
	interval '5 min' and now()));
is($recent, 5, 'the time of arrival');

# A repeat within a batch.
$spool = new_spool();
cgi(spool => $spool, body => $_) for event(), $EXAMPLE, event();
is(load_wait(load_start($spool, '-1')), 0, 'a repeat among others');
is(sql('select count(*) from webhook'), 7, 'makes no row, and stops none');
is_deeply([left($spool)], [], 'and is deleted');

# A type that is too long for an index, and hard to compress.
$spool = new_spool();
my $long = join '', map { chr 97 + rand 26 } 1 .. 6000;
cgi(spool => $spool, body => $_)->{status} == 200 or die 'not delivered'
	for event(), event(type => $long), event();
is(load_wait(load_start($spool, '-1')), 0, 'a long type');
is(sql('select type from webhook where length(type) > 100'),
	substr($long, 0, 200), 'is cut');
is(sql("select count(*) from webhook where event ->> 'type' = '$long'"), 1,
	'but in the event');

# Without a server files wait.
$spool = new_spool();
cgi(spool => $spool, body => event());
{
	local $ENV{PGHOST} = "$dir/nowhere";
	isnt(load_wait(load_start($spool, '-1')), 0, 'no server: -1 fails');
}
is(scalar(() = left($spool)), 1, 'and the file is kept');

# SIGTERM ends it.
my $pid = load_start($spool);
ok(wait_for(sub { !left($spool) }), 'the next one loads it');
kill 'TERM', $pid;
is(load_wait($pid), 0, 'SIGTERM: ends');

# Under load the loader is killed at random moments, alone or with psql; and the
# server's backends, or all of the server.
$spool = new_spool();
sql('truncate webhook');
my $worker = worker(spool => $spool);
my (%sent, %kills);
$pid = load_start($spool, '-b', 40, '-w', 1);
for my $round (1 .. 60) {
	for (1 .. 25) {
		my $body = event();
		post($worker, $body)->{status} == 200 or die 'not delivered';
		$sent{sha256_hex($body)} = 1;
	}
	sleep rand 0.2;
	if ($round % 20 == 0) {
		kill 'QUIT', $server;	# without a checkpoint: it recovers
		waitpid $server, 0;
		$server = server_start();
		$kills{server}++;
	} elsif ($round % 4 == 0) {
		sql('select pg_terminate_backend(pid) from pg_stat_activity '
			. q(where pid <> pg_backend_pid() and backend_type = )
			. q('client backend'));
		$kills{backend}++;
	} else {
		kill 'KILL', $round % 2 ? $pid : -$pid;
		load_wait($pid);
		$pid = load_start($spool, '-b', 40, '-w', 1);
		$kills{loader}++;
	}
}
reap($worker);
# A psql whose loader is dead keeps the lock for as long as it runs.
ok(wait_for(sub {
	if (waitpid($pid, WNOHANG) == $pid) {
		delete $loader{$pid};
		$pid = load_start($spool, '-w', 1);
	}
	!left($spool)
}, 120), 'killed 60 times: nothing stays in new/ or claimed')
	or diag scalar(() = left($spool)), ' left';
kill 'TERM', $pid;
load_wait($pid);
note join ', ', map { "$_ $kills{$_} times" } sort keys %kills;
my %row = map { $_ => 1 } split /\n/,
	sql("select encode(digest, 'hex') from webhook");
is(scalar(keys %row), 1500, '1,500 deliveries, 1,500 rows');
is(scalar(grep { !$row{$_} } keys %sent), 0, 'the same ones');
is(sql('select count(*) from webhook where digest <> sha256(body)'), 0,
	'byte for byte');

# The rate is only reported.
$spool = new_spool();
fill_spool($spool, map { event(pad => 400) } 1 .. 5000);
my $began = time;
load_wait(load_start($spool, '-1'));
diag sprintf 'load: %.0f deliveries a second, batches of 500',
	5000 / (time - $began);
is(sql('select count(*) from webhook'), 6500, 'all in the table');

done_testing();
