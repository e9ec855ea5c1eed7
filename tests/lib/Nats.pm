# Three nats-server processes on the loopback interface, and enough of NATS's
# text protocol to ask them what is in a stream.
package Nats;
use strict;
use warnings;
use Exporter qw(import);
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use MIME::Base64 qw(decode_base64);
use POSIX ();
use Time::HiRes qw(sleep time);
use Hook qw(slurp wait_for);

our @EXPORT = qw(cluster_start server_start server_kill cluster_url nats api
	create_stream leader stream_messages free_port);

my %running;

# Nobody listens there just now, and no connection gets it as its own port, which
# would keep a server from coming back.
sub free_port {
	for (1 .. 100) {
		my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
			LocalPort => 10_000 + int rand 20_000, Listen => 1);
		return $socket->sockport if $socket;
	}
	die 'no port';
}

# lines => more of the configuration, for all servers.
sub cluster_start {
	my ($dir, %with) = @_;
	my @servers = map { { name => "n$_", port => free_port(),
		route => free_port() } } 1 .. ($with{servers} // 3);
	my $cluster = { dir => $dir, servers => \@servers };
	my $routes = join ', ', map { "nats://127.0.0.1:$_->{route}" } @servers;
	for (@servers) {
		$_->{conf} = "$dir/$_->{name}.conf";
		open my $conf, '>', $_->{conf} or die $!;
		print {$conf} <<END;
server_name: $_->{name}
listen: 127.0.0.1:$_->{port}
log_file: $dir/$_->{name}.log
jetstream { store_dir: $dir/$_->{name}, max_mem: 64M, max_file: 4G }
cluster {
	name: hooks
	listen: 127.0.0.1:$_->{route}
	routes: [ $routes ]
}
END
		print {$conf} $with{lines} // '';
		close $conf;
	}
	server_start($_) for @servers;
	return $cluster;
}

sub server_start {
	my ($server) = @_;
	my $pid = fork // die $!;
	if (!$pid) {
		open STDIN, '<', '/dev/null' or die $!;
		open STDOUT, '>', '/dev/null' or die $!;
		open STDERR, '>', '/dev/null' or die $!;
		exec 'nats-server', '-c', $server->{conf}
			or POSIX::_exit(127);
	}
	$server->{pid} = $pid;
	$running{$pid} = $$;
	return;
}

sub server_kill {
	my ($server, $signal) = @_;
	kill $signal, $server->{pid};
	waitpid $server->{pid}, 0;
	delete $running{ delete $server->{pid} };
	return;
}

END {
	my $status = $?;
	# Not in a child that somebody ended.
	my @mine = grep { $running{$_} == $$ } keys %running;
	kill 'KILL', @mine;
	waitpid $_, 0 for @mine;
	$? = $status;
}

sub cluster_url {
	my ($cluster) = @_;
	return join ',', map { "nats://127.0.0.1:$_->{port}" }
		@{ $cluster->{servers} };
}

# A connection to any server that takes it, or undef.
sub nats {
	my ($cluster) = @_;
	for my $server (@{ $cluster->{servers} }) {
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
			PeerPort => $server->{port}, Timeout => 2) or next;
		my $nats = { socket => $socket, buf => '',
			inbox => "_INBOX.t$$." . int rand 1e9 };
		print {$socket} 'CONNECT {"verbose":false,"headers":true,'
			. '"no_responders":true,"lang":"perl","version":"0"}'
			. "\r\nSUB $nats->{inbox} 1\r\n";
		return $nats;
	}
	return;
}

# The next message: { headers, data }; undef after SECONDS.
sub message {
	my ($nats, $seconds) = @_;
	my $end = time + $seconds;
	my $select = IO::Select->new($nats->{socket});
	while (1) {
		while ($nats->{buf} =~ /\A([^\r\n]*)\r\n/) {
			my ($line, $at) = ($1, $+[0]);
			if ($line =~ /^(H?)MSG \S+ \S+ (?:\S+ )??(?:(\d+) )?(\d+)$/) {
				my ($head, $size) = ($1 ? $2 : 0, $3);
				last if length $nats->{buf} < $at + $size + 2;
				my $bytes = substr $nats->{buf}, $at, $size;
				substr $nats->{buf}, 0, $at + $size + 2, '';
				return { headers => substr($bytes, 0, $head),
					data => substr $bytes, $head };
			}
			substr $nats->{buf}, 0, $at, '';
			print { $nats->{socket} } "PONG\r\n" if $line eq 'PING';
		}
		my $left = $end - time;
		return if $left <= 0 || !$select->can_read($left);
		return if !sysread $nats->{socket}, $nats->{buf}, 1 << 18,
			length $nats->{buf};
	}
}

sub request {
	my ($nats, $subject, $data) = @_;
	local $SIG{PIPE} = 'IGNORE';
	print { $nats->{socket} } sprintf "PUB %s %s %d\r\n%s\r\n", $subject,
		$nats->{inbox}, length $data, $data;
	$nats->{socket}->flush;
	return;
}

# One call of JetStream's; undef if nobody answers.
sub api {
	my ($cluster, $call, $data) = @_;
	my $nats = nats($cluster) or return;
	request($nats, "\$JS.API.$call", $data ? JSON::PP::encode_json($data) : '');
	my $message = message($nats, 1) or return;
	return if $message->{headers} =~ / 503/;
	return JSON::PP::decode_json($message->{data});
}

sub create_stream {
	my ($cluster, $name, %with) = @_;
	my $made;
	wait_for(sub {
		$made = api($cluster, "STREAM.CREATE.$name", { name => $name,
			subjects => ["$name.>"], storage => 'file',
			num_replicas => scalar @{ $cluster->{servers} },
			duplicate_window => 1200 * 1_000_000_000, %with });
		$made && $made->{config};
	}, 60) or die 'no stream: ' . JSON::PP::encode_json($made // {});
	return;
}

# The server that leads a stream now; CODE is called while there is none.
sub leader {
	my ($cluster, $name, $code) = @_;
	my $found;
	wait_for(sub {
		$code->() if $code;
		my $info = api($cluster, "STREAM.INFO.$name");
		my $leader = $info->{cluster}{leader} // '';
		($found) = grep { $_->{name} eq $leader && $_->{pid} }
			@{ $cluster->{servers} };
		$found;
	}, 60) or die 'no leader';
	return $found;
}

# All messages of a stream, in order: [ { headers, data } ].  Each is asked for
# by its number, many at a time but no more than some megabytes.
sub stream_messages {
	my ($cluster, $name) = @_;
	my $info = api($cluster, "STREAM.INFO.$name") // die 'no stream';
	my ($next, $last, $bytes, $n) = @{ $info->{state} }{qw(first_seq
		last_seq bytes messages)};
	my $most = int 4e6 * ($n || 1) / ($bytes || 1);
	$most = 500 if $most > 500;
	my ($tries, @messages) = (0);
	while ($next <= $last) {
		my $nats = nats($cluster) // die 'no server';
		my $end = $next + $most < $last ? $next + $most : $last;
		request($nats, "\$JS.API.STREAM.MSG.GET.$name", qq({"seq":$_}))
			for $next .. $end;
		my ($away, @part) = (0);
		for ($next .. $end) {
			my $got = message($nats, 20) // die 'no answer';
			# JSON::PP takes a minute for some megabytes of base64.
			my ($seq) = $got->{data} =~ /"seq":(\d+)/;
			my %message = $got->{data} =~
				m{"(hdrs|data)":"([A-Za-z0-9+/=]*)"}g;
			if (!defined $message{data}) {
				my $json = JSON::PP::decode_json($got->{data});
				my $error = $json->{error}{err_code} // 0;
				# 10008: its leader is being elected; 10037: no
				# message has that number.
				$away ||= $error == 10008;
				die $got->{data} if $error != 10037 && !$away;
				next;
			}
			push @part, { seq => $seq, headers =>
				decode_base64($message{hdrs} // ''),
				data => decode_base64($message{data}) };
		}
		if ($away) {
			die 'no leader' if ++$tries > 100;
			select undef, undef, undef, 0.2;
			next;
		}
		# Answers may come in another order than questions.
		push @messages, sort { $a->{seq} <=> $b->{seq} } @part;
		$next = $end + 1;
	}
	return @messages;
}

1;
