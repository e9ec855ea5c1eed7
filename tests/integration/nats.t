#!/usr/bin/perl
# protocol-hook-nats against a cluster of three nats-server processes: what was
# acknowledged to the sender is in the stream exactly once, whichever process is
# killed.
# DELIVERIES, in the environment, says how many are sent under the kills.
use strict;
use warnings;
use Cwd qw(abs_path);
use Digest::SHA qw(sha256_hex);
use IO::Socket::INET;
use POSIX qw(:sys_wait_h);
use Test::More;
use Time::HiRes qw(sleep time);
# Only processes are killed, so the spool may be in memory.
BEGIN { $ENV{TMPDIR} //= '/dev/shm' if -d '/dev/shm' && -w _ }
use Hook;
use Nats;

# exit() runs the END blocks, which clean up.
$SIG{$_} = sub { exit 1 } for qw(HUP INT TERM);

my $DELIVERIES = $ENV{DELIVERIES} // 6000;
my $FORWARDER = abs_path('build/protocol-hook-nats');
my $NGINX = (grep { -x } '/usr/sbin/nginx')[0];
plan skip_all => 'needs nats-server' if system('nats-server -v >/dev/null 2>&1');
plan skip_all => 'needs nginx' if !$NGINX;
plan skip_all => 'needs "make nats"' if !-x $FORWARDER;

my (%started, $nginx);

sub start {
	my ($log, $env, @command) = @_;
	open my $made, '>>', $log or die $!;
	my $pid = fork // die $!;
	if (!$pid) {
		open STDIN, '<', '/dev/null' or die $!;
		open STDOUT, '>', '/dev/null' or die $!;
		open STDERR, '>>', $log or die $!;
		@ENV{keys %$env} = values %$env;
		exec @command or POSIX::_exit(127);
	}
	$started{$pid} = 1;
	return $pid;
}

sub end {
	my ($pid, $signal, $seconds) = @_;
	kill $signal, $pid if $signal;
	wait_for(sub { waitpid($pid, WNOHANG) == $pid }, $seconds // 30) or return;
	delete $started{$pid};
	return $?;
}

END {
	my $status = $?;
	# Its workers would stay.
	kill 'TERM', $nginx and waitpid $nginx, 0 if delete $started{$nginx // 0};
	kill 'KILL', $_ for keys %started;
	waitpid $_, 0 for keys %started;
	$? = $status;
}

my $dir = scratch();
my $cluster = cluster_start($dir);
our $URL = cluster_url($cluster);

sub forward {
	my ($spool, $prefix, @options) = @_;
	return start("$spool/../forwarder", { NATS_URL => $URL }, $FORWARDER,
		@options, $spool, $prefix);
}

# The log of the forwarders of a spool.
sub said { return slurp("$_[0]/../forwarder") }

sub id { return $_[0]{headers} =~ /^Nats-Msg-Id: ([0-9a-f]{64})\r$/m ? $1 : '' }

sub subjects {
	my ($stream) = @_;
	my $info = api($cluster, "STREAM.INFO.$stream", { subjects_filter => '>' });
	return $info->{state}{subjects};
}

create_stream($cluster, 'one', max_msg_size => 100_000);

# Deliveries one at a time: bytes, id, subject, order.
my $spool = new_spool();
my $worker = worker(spool => $spool);
my @bodies = ($EXAMPLE, event(type => 'a..b. c'), event(type => 'group.deleted'),
	map { event(pad => $_) } 1 .. 1000);
post($worker, $_)->{status} == 200 or die 'not delivered' for @bodies[0 .. 499];
my $pid = forward($spool, 'one');
ok(wait_for(sub { !files($spool) }), 'what was there is forwarded');
post($worker, $_)->{status} == 200 or die 'not delivered'
	for @bodies[500 .. $#bodies];
ok(wait_for(sub { !files($spool) }), 'and what came then');
my @messages = stream_messages($cluster, 'one');
is_deeply([map { $_->{data} } @messages], \@bodies,
	'the stream has the bytes, in the order of arrival');
is_deeply([map { id($_) } @messages], [map { sha256_hex($_) } @bodies],
	'each with its digest as message id');
is_deeply(subjects('one'), { 'one.message.updated' => 1, 'one.group.deleted' => 1,
	'one.message.created' => 1000, 'one.a._.b._c' => 1 },
	'the subject is PREFIX.RESOURCE.ACTION');

# Messages larger than the server's max_payload, or than the stream allows.
# A file that is no delivery holds up nothing.
my $large = event(pad => 120_000);
my $larger = event(pad => 1_048_570 - length event());
post($worker, $_, params => {})->{status} == 200 or die 'not delivered'
	for $large, $larger;
POSIX::mkfifo("$spool/new/fifo", 0600) or die $!;
symlink 'nowhere', "$spool/new/link" or die $!;
open my $empty, '>', "$spool/new/empty" or die $!;
close $empty;
post($worker, my $small = event(), params => {})->{status} == 200
	or die 'not delivered';
ok(wait_for(sub { !files($spool) }), 'too large: the next is not held up');
ok(-p "$spool/failed/fifo" && -l "$spool/failed/link" &&
	-f "$spool/failed/empty", 'nor by what is no delivery');
unlink map { "$spool/failed/$_" } qw(fifo link empty);
is_deeply([content($spool, 'failed')], [$large, $larger],
	'what is too large is set aside');
like(said($spool), qr/too large for the $_: it is in failed/,
	'and the log says so') for qw(stream server);

# Another spool has the same delivery.
my $other = new_spool();
cgi(spool => $other, body => $EXAMPLE);
is(end(forward($other, 'one', '-1')), 0, '-1 ends when all is forwarded');
is(api($cluster, 'STREAM.INFO.one')->{state}{messages}, 1004,
	'a repeat from another receiver makes no second message');
is_deeply([files($other)], [], 'and is deleted');

# A message that no stream accepts waits.
is(cgi(spool => $other, body => my $late = event())->{status}, 200, 'delivered');
my $waiting = forward($other, 'two');
ok(wait_for(sub { said($other) =~ /no stream answers/ }),
	'no stream: the log says so');
is_deeply([content($other, 'new')], [$late], 'and the file waits');
create_stream($cluster, 'two', max_msgs => 1, discard => 'new');
ok(wait_for(sub { !files($other) }), 'until there is one');

# While the stream is full, files wait.
cgi(spool => $other, body => $late = event());
ok(wait_for(sub { said($other) =~ /refuses it \(10077\)/ }),
	'a full stream: the log says so');
is_deeply([content($other, 'new')], [$late], 'and the file waits');
api($cluster, 'STREAM.PURGE.two');
ok(wait_for(sub { !files($other) }), 'until there is room');
isnt(end(forward($other, 'two')), 0, 'a second forwarder for a spool: refused');
is(end($waiting, 'TERM', 4), 0, 'SIGTERM: ends');
is(end($pid, 'TERM', 4), 0, 'SIGTERM: the other, too');
reap($worker);

# A message that no stream accepts holds up those after it.
$other = new_spool();
create_stream($cluster, 'part', subjects => ['part.message.*']);
cgi(spool => $other, body => event(type => 'group.deleted'));
$pid = forward($other, 'part');
ok(wait_for(sub { said($other) =~ /no stream answers/ }),
	'no stream takes one of them');
cgi(spool => $other, body => event());
sleep 1.5;
is(api($cluster, 'STREAM.INFO.part')->{state}{messages}, 0, 'the next waits');
create_stream($cluster, 'rest', subjects => ['part.group.*']);
ok(wait_for(sub { !files($other) }), 'until there is one');
is(end($pid, 'TERM', 4), 0, 'SIGTERM');

# A stream that acknowledges nothing.
$other = new_spool();
create_stream($cluster, 'silent', no_ack => JSON::PP::true());
cgi(spool => $other, body => event());
$pid = forward($other, 'silent');
ok(wait_for(sub { said($other) =~ /no answer/ }),
	'no acknowledgement: the log says so');
is(scalar(() = files($other)), 1, 'the file waits');
api($cluster, 'STREAM.DELETE.silent');
ok(wait_for(sub { said($other) =~ /no stream answers/ }),
	'then another reason: the log says that, too');
end($pid, 'TERM');

# A file that can't be deleted is published once.
SKIP: {
	skip 'needs strace that may trace', 7 if no_strace();
	$other = new_spool();
	create_stream($cluster, 'again', duplicate_window => 100_000_000);
	cgi(spool => $other, body => event());
	my $fixed = sub { start("$other/../forwarder", { NATS_URL => $URL },
		'strace', '-D', '-f', '-o', '/dev/null', '-e',
		"inject=unlinkat:error=EROFS:when=$_[0]", $FORWARDER,
		@_[1 .. $#_], $other, 'again') };
	is(end($fixed->('1+', '-1')), 1 << 8, 'no file can be deleted: -1 fails');
	is(scalar(() = files($other)), 1, 'and it is left');
	sleep 0.2;
	$pid = $fixed->(1);
	ok(wait_for(sub { !files($other) }), 'one can not be deleted at once');
	is(end($pid, 'TERM'), 0, 'SIGTERM');
	is(api($cluster, 'STREAM.INFO.again')->{state}{messages}, 2,
		'each forwarder has published it once');
	cgi(spool => $other, body => $larger);
	mkdir "$other/failed";
	mkdir "$other/failed/$_" for my @names = files($other);
	is(end(forward($other, 'again', '-1')), 1 << 8,
		'one can not be set aside: -1 fails');
	is_deeply([files($other)], \@names, 'and it is left');
}

# The digests that some replica has.  nats-server 2.9 can lose what it has
# acknowledged: a replica that was restarted skips messages as repeats, and may
# become the leader.  Another replica has them.  What no replica has, the
# forwarder has lost.
sub of_all_replicas {
	my ($stream) = @_;
	my (%led, %has);
	while (keys %led < @{ $cluster->{servers} }) {
		my $name = leader($cluster, $stream)->{name};
		if (!$led{$name}++) {
			$has{id($_)} = 1 for stream_messages($cluster, $stream);
		}
		api($cluster, "STREAM.LEADER.STEPDOWN.$stream");
	}
	return \%has;
}

# Servers are killed or stopped while one forwarder runs.
$other = new_spool();
create_stream($cluster, 'lasting');
my @lasting = map { event(pad => 200_000) } 1 .. 500;
fill_spool($other, @lasting);
$pid = forward($other, 'lasting');
my $ports = sub { [said($other) =~ /connected to .*:(\d+)/g] };
for my $n (1 .. 4) {
	wait_for(sub { @{ $ports->() } == $n && files($other) < 500 - 75 * $n }, 60)
		or diag said($other);
	my ($server) = grep { $_->{port} == $ports->()->[-1] }
		@{ $cluster->{servers} };
	if ($n == 2) {
		kill 'STOP', $server->{pid};
		ok(wait_for(sub { @{ $ports->() } > $n }, 60),
			'a server stands still: another is taken');
		kill 'CONT', $server->{pid};
	} else {
		server_kill($server, 'KILL');
		server_start($server);
	}
}
ok(wait_for(sub { !files($other) }, 60), 'four servers went: all is forwarded')
	or diag said($other);
my ($kb) = slurp("/proc/$pid/status") =~ /VmHWM:\s+(\d+)/;
cmp_ok($kb, '<', 40_000, 'memory is bounded');
is(end($pid, 'TERM'), 0, 'SIGTERM');
my %lasted;
$lasted{sha256_hex($_->{data})}++ for stream_messages($cluster, 'lasting');
is(scalar(grep { $_ > 1 } values %lasted), 0, 'none is there twice');
my @lacks = grep { !$lasted{$_} } map { sha256_hex($_) } @lasting;
diag scalar(@lacks), ' lost by the stream' if @lacks;
my $has = @lacks ? of_all_replicas('lasting') : {};
is(scalar(grep { !$has->{$_} } @lacks), 0, 'some replica has each');
api($cluster, "STREAM.DELETE.$_") for qw(part rest again lasting);

# What the stream lost, the archive still has.
sub missing {
	my ($spool, $prefix) = @_;
	my $said;
	# There may be no leader yet.
	wait_for(sub {
		$said = `NATS_URL=$URL $FORWARDER -m $spool $prefix`;
		$? == 0;
	}, 60) or die "-m: $?";
	return split ' ', $said;
}

sub replay {
	my ($spool, @digests) = @_;
	local $ENV{PROTOCOL_HOOK_SPOOL} = $spool;
	system("'$PROGRAM' replay @digests 2>/dev/null") == 0 or die 'replay';
	return;
}

# The first is too large, and waits in failed/.
is_deeply([missing($spool, 'one')], [], '-m: nothing is missing');
create_stream($cluster, 'lossy', duplicate_window => 100_000_000);
my $third = new_spool();
is_deeply([missing($third, 'lossy')], [], '-m: an empty stream, no archive');
my @some = map { event() } 1 .. 5;
cgi(spool => $third, body => $_)->{status} == 200 or die 'not delivered' for @some;
is_deeply([missing($third, 'lossy')], [], '-m: what waits is not missing');
is(end(forward($third, 'lossy', '-1')), 0, 'forwarded');
api($cluster, 'STREAM.MSG.DELETE.lossy', { seq => $_ })->{success}
	or die 'not deleted' for 2, 4;
my @lost = sort map { sha256_hex($some[$_]) } 1, 3;
is_deeply([missing($third, 'lossy')], \@lost, '-m: what the stream lost');
sleep 0.5;
replay($third, missing($third, 'lossy'));
is(end(forward($third, 'lossy', '-1')), 0, 'replayed');
is_deeply([missing($third, 'lossy')], [], 'and it is there again');
is_deeply([sort map { $_->{data} } stream_messages($cluster, 'lossy')],
	[sort @some], 'once');
api($cluster, 'STREAM.PURGE.lossy', { keep => 1 });
is_deeply([missing($third, 'lossy')], [],
	'-m: what the stream kept no longer is not missing');
create_stream($cluster, 'queue', retention => 'interest');
like(`NATS_URL=$URL $FORWARDER -m $third queue 2>&1`,
	qr/deletes what was consumed/, '-m: not where that is so');
like(`NATS_URL=$URL $FORWARDER -m $third none 2>&1`, qr/no stream matches/,
	'-m: not without a stream');
api($cluster, "STREAM.DELETE.$_") for qw(lossy queue);

# The whole chain: clients, nginx, two receivers, two spools, two forwarders.
my @spools = (new_spool(), new_spool());
my @workers = map { worker(spool => $_) } @spools;
my $http = free_port();

sub nginx_start {
	open my $conf, '>', "$dir/nginx.conf" or die $!;
	print {$conf} <<END;
daemon off;
pid $dir/nginx.pid;
error_log $dir/nginx.log crit;
worker_processes 1;
events { }
http {
	access_log off;
	client_body_temp_path $dir/nginx-body;
	fastcgi_temp_path $dir/nginx-fastcgi;
	proxy_temp_path $dir/nginx-proxy;
	scgi_temp_path $dir/nginx-scgi;
	uwsgi_temp_path $dir/nginx-uwsgi;
	upstream receivers {
		server unix:$workers[0]{socket};
		server unix:$workers[1]{socket};
		keepalive 16;
	}
	server {
		listen 127.0.0.1:$http;
		location = /protocol-hook {
			fastcgi_pass receivers;
			fastcgi_keep_conn on;
			fastcgi_param REQUEST_METHOD \$request_method;
			fastcgi_param CONTENT_LENGTH \$content_length;
			fastcgi_param REMOTE_ADDR \$remote_addr;
		}
	}
}
END
	close $conf;
	# As root it would become a user that can't reach the sockets.
	my @user = $> == 0 ? ('-g', 'user root;') : ();
	my $pid = start("$dir/nginx.log", {}, $NGINX, '-c', "$dir/nginx.conf",
		'-e', "$dir/nginx.log", @user);
	wait_for(sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1',
		PeerPort => $http) }) or die slurp("$dir/nginx.log");
	return $pid;
}

# Sends its share, each delivery until it is acknowledged.  Writes a byte to
# FILE for each.
sub client {
	my ($bodies, $file) = @_;
	my $pid = fork // die $!;
	if ($pid) {
		$started{$pid} = 1;
		return $pid;
	}
	open my $progress, '>>', $file or die $!;
	local $SIG{PIPE} = 'IGNORE';
	my ($socket, $buf);
	for my $body (@$bodies) {
		while (1) {
			$socket //= IO::Socket::INET->new(PeerAddr =>
				'127.0.0.1', PeerPort => $http);
			if (!$socket) {
				sleep 0.05;
				next;
			}
			syswrite $socket, "POST /protocol-hook HTTP/1.1\r\n"
				. "Host: x\r\nContent-Length: " . length($body)
				. "\r\nx-protocol-signature: " . sign($body)
				. "\r\n\r\n$body";
			my $text = '';
			while (sysread $socket, $buf, 4096) {
				$text .= $buf;
				last if $text =~ /"status":"\w+".*\}\s*\z/s
					|| $text =~ /\r\n0\r\n\r\n\z/;
			}
			last if $text =~ m{^HTTP/1.1 200 .*"(stored|duplicate)"}s;
			undef $socket;
		}
		syswrite $progress, '.';
	}
	POSIX::_exit(0);
}

create_stream($cluster, 'hook');
$nginx = nginx_start();
my @all = map { event(pad => 400) } 1 .. $DELIVERIES;
my $progress = "$dir/progress";
my @forwarders = map { forward($_, 'hook') } @spools;
my $began = time;
my @clients;
for my $k (0 .. 3) {
	push @clients, client([@all[grep { $_ % 4 == $k } 0 .. $#all]], $progress);
}

my %kills = map { $_ => 0 } qw(forwarder leader follower all);
my @plan = ([0.10, 'leader'], [0.30, 'follower'], [0.50, 'all'],
	[0.70, 'leader'], [0.85, 'all']);
my @both;

sub kill_forwarder {
	my $which = int rand 2;
	end($forwarders[$which], 'KILL');
	$forwarders[$which] = forward($spools[$which], 'hook');
	$kills{forwarder}++;
	return;
}

while (1) {
	my $part = (-s $progress // 0) / $DELIVERIES;
	kill_forwarder();
	# The same delivery goes to both receivers.
	push @both, my $body = event();
	for (@workers) {
		my $got = post($_, $body);
		$got->{json}{status} eq 'stored' or die 'not stored';
	}
	if (@plan && $part >= $plan[0][0]) {
		my $what = (shift @plan)->[1];
		my @victims = @{ $cluster->{servers} };
		if ($what ne 'all') {
			my $leader = leader($cluster, 'hook');
			@victims = $what eq 'leader' ? $leader
				: (grep { $_ != $leader } @victims)[0];
		}
		server_kill($_, $what eq 'all' ? 'TERM' : 'KILL') for @victims;
		sleep 0.3;
		server_start($_) for @victims;
		$kills{$what}++;
		leader($cluster, 'hook', \&kill_forwarder);
	}
	last if $part >= 1 && !@plan;
	sleep rand 0.3;
}
is_deeply([map { end($_, undef, 300) } @clients], [0, 0, 0, 0],
	"$DELIVERIES deliveries acknowledged");
my $sent = time - $began;
ok(wait_for(sub { !files($spools[0]) && !files($spools[1]) }, 300),
	'all forwarded') or diag join ' ', map { scalar(() = files($_)) } @spools;
my $through = time - $began;
for my $try (1 .. 10) {
	my @missing = map { [missing($_, 'hook')] } @spools;
	last if !grep { @$_ } @missing;
	diag 'acknowledged, and then lost by the stream: ', join ' and ',
		map { scalar @$_ } @missing;
	$has = of_all_replicas('hook');
	is(scalar(grep { !$has->{$_} } map { @$_ } @missing), 0,
		'some replica has them');
	replay($spools[$_], @{ $missing[$_] }) for grep { @{ $missing[$_] } } 0, 1;
	wait_for(sub { !files($spools[0]) && !files($spools[1]) }, 60);
}
note join ', ', map { "$_ killed $kills{$_} times" } sort keys %kills;
note sprintf 'acknowledged after %.0f s, all in the stream after %.0f s', $sent,
	$through;
my %sent = map { sha256_hex($_) => 1 } @all, @both;
my (%got, $wrong);
for (stream_messages($cluster, 'hook')) {
	my $digest = sha256_hex($_->{data});
	$wrong++ if $digest ne id($_);
	$got{$digest}++;
}
note scalar(@both), ' were delivered to both receivers';
is(scalar(keys %got), scalar(keys %sent), 'as many messages as deliveries');
is(scalar(grep { !$got{$_} } keys %sent), 0, 'none is lost') or lost();
is(scalar(grep { $_ > 1 } values %got), 0, 'none is there twice');
is($wrong // 0, 0, 'byte for byte');
end($_, 'TERM') for @forwarders;
is(scalar(map { files($_, 'failed') } @spools), 0, 'none was set aside');

# What the servers report of the stream.
sub lost {
	diag JSON::PP->new->canonical->encode(api($cluster, 'STREAM.INFO.hook')
		// {});
	for my $server (@{ $cluster->{servers} }) {
		diag "$server->{name}: $_" for grep { /\[(?:WRN|ERR)\]/ }
			split /\n/, slurp("$dir/$server->{name}.log");
	}
	return;
}

# Messages a second that CODE puts into a new stream, N messages.  CODE may
# return a rate of its own, without its start-up.  Both connect to the stream's
# leader, as another server would have to pass everything on.
sub rate_of {
	my ($name, $n, $code) = @_;
	create_stream($cluster, $name);
	local $URL = 'nats://127.0.0.1:' . leader($cluster, $name)->{port};
	my $began = time;
	my $told = $code->();
	my $rate = $told || $n / (time - $began);
	is(api($cluster, "STREAM.INFO.$name")->{state}{messages}, $n,
		"$name: all in the stream");
	api($cluster, "STREAM.DELETE.$name");
	return $rate;
}

# The rate, against libnats's own asynchronous publishing from memory with the
# same window.
SKIP: {
	skip 'not under sanitizers', 1 if $ENV{ASAN_OPTIONS};
	my ($n, $rounds) = (20_000, $ENV{DELIVERIES} ? 7 : 3);
	my (@ratios, @rates);
	# The median, as the machine may have other work in some rounds.
	for (1 .. $rounds) {
		my $full = new_spool();
		fill_spool($full, map { event(pad => 400) } 1 .. $n);
		my %rate;
		$rate{memory} = rate_of('memory', $n, sub {
			my $told = `NATS_URL=$URL build/nats-memory $full/new memory 256`;
			$? == 0 or die 'nats-memory';
			return $told + 0;
		});
		$rate{spool} = rate_of('spool', $n, sub {
			waitpid my $pid = forward($full, 'spool', '-1', '-w', 256), 0;
			delete $started{$pid};
			return 0;
		});
		is(scalar(files($full)), 0, 'all forwarded');
		push @rates, sprintf '%.0f/%.0f', @rate{qw(spool memory)};
		push @ratios, $rate{spool} / $rate{memory};
	}
	# The rate is only reported: machines are noisy.
	diag sprintf "forwarder/from memory, a second: @rates; median %.2f",
		(sort { $a <=> $b } @ratios)[$rounds / 2];
}
end($nginx, 'QUIT');
reap($_) for @workers;

done_testing();
