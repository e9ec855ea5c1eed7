#!/usr/bin/perl
# protocol-hook-nats logs in to a server: TLS, certificates of both sides,
# passwords, tokens, credentials files.  Nothing leaves the spool before the
# login succeeds, and the log has no secret.
use strict;
use warnings;
use Cwd qw(abs_path);
use IO::Socket::INET;
use POSIX qw(:sys_wait_h);
use Test::More;
BEGIN { $ENV{TMPDIR} //= '/dev/shm' if -d '/dev/shm' && -w _ }
use Hook;
use Nats;
use Nats::Keys;

# exit() runs the END blocks, which clean up.
$SIG{$_} = sub { exit 1 } for qw(HUP INT TERM);

my $FORWARDER = abs_path('build/protocol-hook-nats');
plan skip_all => 'needs nats-server' if system('nats-server -v >/dev/null 2>&1');
plan skip_all => 'needs openssl' if system('openssl version >/dev/null 2>&1');
plan skip_all => 'needs "make nats"' if !-x $FORWARDER;

my $CANARY = 'canary-6fd1';
my $dir = scratch();
# The messages of openssl go to a file.
open STDERR, '>>', "$dir/openssl" or die $!;

my %running;
END {
	my $status = $?;
	kill 'KILL', $_ for keys %running;
	waitpid $_, 0 for keys %running;
	$? = $status;
}

# Starts a server with LINES in its configuration and a stream for x.>.  Returns
# its address.
sub serve {
	my ($name, $lines) = @_;
	my $port = free_port();
	my $server = { conf => spew("$dir/$name.conf", "listen: "
		. "127.0.0.1:$port\nlog_file: $dir/$name.log\n$lines") };
	server_start($server);
	wait_for(sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1',
		PeerPort => $port) }) or die slurp("$dir/$name.log");
	return ($server, "localhost:$port");
}

# Runs a forwarder with %env until its log has WHAT; returns the log.
sub says {
	my ($what, $spool, %env) = @_;
	my $log = scratch() . '/log';
	spew($log, '');
	my $pid = fork // die $!;
	if (!$pid) {
		open STDIN, '<', '/dev/null' or die $!;
		open STDERR, '>>', $log or die $!;
		delete @ENV{grep { /^NATS_/ } keys %ENV};
		@ENV{keys %env} = values %env;
		exec $FORWARDER, $spool, 'x' or POSIX::_exit(127);
	}
	$running{$pid} = 1;
	my $said = wait_for(sub { slurp($log) =~ $what }, 30);
	kill 'TERM', $pid;
	waitpid $pid, 0;
	delete $running{$pid};
	my $text = slurp($log);
	unlike($text, qr/\Q$CANARY\E|\bS[UA][A-Z2-7]{56}/, 'no secret in the log');
	diag $text if !$said;
	return $said;
}

# A server without a stream: the answer shows that it was reached.
my $in = qr/no stream answers/;
# libnats ends if it reads the reason before the server closes the connection.
my $out = qr/refused for good|not yet connected/;

sub let_in {
	my ($what, $spool, %env) = @_;
	ok(says($in, $spool, %env), "$what: let in");
	return;
}

sub kept_out {
	my ($what, $spool, %env) = @_;
	ok(says($out, $spool, %env), "$what: not let in");
	return;
}

my $spool = new_spool();
cgi(spool => $spool, body => $EXAMPLE)->{status} == 200 or die 'not delivered';
authority($dir, $_) for qw(ca other);
certificate($dir, 'ca', $_) for qw(server client);
certificate($dir, 'other', 'stranger');

sub tls { return "tls { cert_file: $dir/server.pem, key_file: $dir/server.key $_[0] }\n" }
my %ca = (NATS_CA => "$dir/ca.pem");

# TLS and a password.
my ($server, $at) = serve('password', tls('')
	. "authorization { user: hook, password: $CANARY }\n");
my %env = (NATS_URL => "tls://$at", %ca, NATS_USER => 'hook',
	NATS_PASSWORD => $CANARY);
let_in('TLS and a password', $spool, %env);
let_in('the same in the URL', $spool, %ca,
	NATS_URL => "tls://hook:$CANARY\@$at");
kept_out('a wrong password', $spool, %env, NATS_PASSWORD => "no-$CANARY");
kept_out('no password', $spool, NATS_URL => "tls://$at", %ca);
kept_out('a server of somebody else', $spool, %env,
	NATS_CA => "$dir/other.pem");
(my $number = $at) =~ s/localhost/127.0.0.1/;
kept_out('a server with another name', $spool, %env,
	NATS_URL => "tls://$number");
server_kill($server, 'KILL');

# A login that may not publish.
($server, $at) = serve('denied', "authorization { users = [ { user: hook, "
	. "password: $CANARY, permissions: { publish: { deny: \"x.>\" } } } ] }\n");
ok(says(qr/the server says: .*Permissions Violation/, $spool, NATS_URL =>
	"nats://$at", NATS_USER => 'hook', NATS_PASSWORD => $CANARY),
	'not allowed to publish: the log says so');
server_kill($server, 'KILL');

# A token instead of a name and a password.
($server, $at) = serve('token', "authorization { token: $CANARY }\n");
let_in('a token', $spool, NATS_URL => "nats://$at", NATS_USER => $CANARY);
kept_out('a wrong token', $spool, NATS_URL => "nats://$at",
	NATS_USER => 'no');
server_kill($server, 'KILL');

# The client's own certificate.
($server, $at) = serve('certificate', tls(", ca_file: $dir/ca.pem, verify: true"));
%env = (NATS_URL => "tls://$at", %ca);
my %own = map { $_ => { NATS_CERT => "$dir/$_.pem", NATS_KEY => "$dir/$_.key" } }
	qw(client stranger);
let_in('a certificate', $spool, %env, %{ $own{client} });
kept_out('no certificate', $spool, %env);
kept_out('a certificate of somebody else', $spool, %env, %{ $own{stranger} });
server_kill($server, 'KILL');

# A credentials file: an operator vouches for an account, and that for a user.
my %key = map { $_ => nkey($dir, $_) } qw(operator account user);
my $operator = token($key{operator}, $key{operator}, 'o', type => 'operator');
my $account = token($key{operator}, $key{account}, 'a', type => 'account',
	limits => { map { $_ => -1 } qw(subs data payload imports exports conn
		leaf) });
my $user = token($key{account}, $key{user}, 'u', type => 'user',
	map { $_ => -1 } qw(subs data payload));
($server, $at) = serve('creds', "operator: $operator\nresolver: MEMORY\n"
	. "resolver_preload: { $key{account}{public}: $account }\n");
%env = (NATS_URL => "nats://$at");
let_in('credentials', $spool, %env,
	NATS_CREDS => spew("$dir/creds", creds($user, $key{user})));
kept_out('credentials with another key', $spool, %env, NATS_CREDS =>
	spew("$dir/bad", creds($user, nkey(scratch(), 'user'))));
kept_out('no credentials', $spool, %env);
server_kill($server, 'KILL');

is_deeply([content($spool, 'new')], [$EXAMPLE], 'the file waits');
done_testing();
