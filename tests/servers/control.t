# The cases can fail: they detect a program that sends the body before the
# Status line, and a server that answers 200 without running the program.
use strict;
use warnings;
use Hook;
use IO::Socket::INET;
use POSIX ();
use Servers;
use Servers::Cases;
use Servers::Setups;
use Test::More;

Servers::skip_unless_installed($SETUPS{'cgi-lighttpd'});
plan tests => 6;

# GET is answered correctly, so that the server counts as ready.
my $s = Servers::start('cgi-lighttpd', wrapper => "#!/bin/sh\n" . <<'END');
[ "$REQUEST_METHOD" != GET ] || exec PROGRAM
answer=$(PROGRAM)
printf '%s\n' "$answer" | sed '1,/^.$/d'
printf '%s\n' "$answer" | sed '/^.$/q'
END
my @cases = grep { $_->{id} =~ /^(?:get|stored|repeat|ignored|put|unsigned|
	wrong|malformed|query|rejected|bytes|http-1.0)$/x } @CASES;
my %result = map { $_->{id} => $_ } Servers::check($s, @cases);
my @failed = grep { !$result{$_}{ok} } sort keys %result;

ok($result{get}{ok}, 'GET is answered correctly');
ok(!$result{stored}{ok}, "the case 'stored' fails: $result{stored}{got}");
ok(!$result{wrong}{ok}, "the case 'wrong' fails: $result{wrong}{got}");
is(@failed, @cases - 1, 'all cases but GET fail') or diag("only @failed");

# Starts a server that answers 200 to everything.
sub always_200 {
	my ($listener) = @_;
	my $pid = fork // die $!;
	return $pid if $pid;
	while (my $socket = $listener->accept) {
		my $head = '';
		sysread $socket, $head, 4096, length $head or last
			until $head =~ /\r\n\r\n/;
		print $socket "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
		shutdown $socket, 1;
		1 while sysread $socket, $head, 4096;
	}
	POSIX::_exit(0);
}

my $listener = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1')
	// die $!;
my $pid = always_200($listener);
@$s{qw(port setup)} = ($listener->sockport, { recovery => 0 });
for my $id ('other-places', 'down') {
	my ($case) = grep { $_->{id} eq $id } @CASES;
	local $SIG{ALRM} = sub { die "it took too long\n" };
	my ($result) = Servers::check($s, $case);
	like($result->{got}, qr/POST: 200 by the server, 0 files/,
		"a server that always answers 200 fails '$id'");
}
kill 'KILL', $pid;
waitpid $pid, 0;
