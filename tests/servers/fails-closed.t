# Servers that don't pass the signature to CGI programs, as they pass only the
# headers that they know: nothing is ever stored under them.  docs/servers.md
# lists them.
use strict;
use warnings;
use File::Copy qw(copy);
use Hook;
use Servers;
use Servers::Client;
use Test::More;

my %COMMAND = (
	'mini-httpd' =>
		'mini_httpd -D -h 127.0.0.1 -p PORT -d DIR -c cgi-bin/*',
	'Python\'s CGIHTTPRequestHandler' =>
		'python3 -m http.server --cgi -b 127.0.0.1 -d DIR PORT',
	'webfs' => 'webfsd -F -4 -i 127.0.0.1 -p PORT -r DIR -x /cgi-bin',
);
my %EXPECTED = (
	# The server may close the connection before the answer is sent.
	'mini-httpd' => qr/^(?:401 Unauthorized|no answer)$/,
	# The server answers 200 before it runs the program.
	'Python\'s CGIHTTPRequestHandler' => qr/^200 by the server$/,
	'webfs' => qr/^501 by the server$/,	# it does not support POST
);

sub skip_unless {
	my ($name) = @_;
	my ($program) = $COMMAND{$name} =~ /^(\S+)/;
	return if Servers::find_needed($program);
	die "$name: needs $program, and CI is set\n" if $ENV{CI};
	skip("$name: needs $program", 2);
}

# Makes a document root: a CGI script sets the variables and runs the program.
sub make_root {
	my $dir = scratch();
	chmod 0755, $dir;
	mkdir "$dir/$_" for qw(cgi-bin spool);
	copy($PROGRAM, "$dir/program") or die $!;
	Servers::make_file("$dir/cgi-bin/hook", "#!/bin/sh\n" . <<"END");
PROTOCOL_HOOK_SECRET=$KEY PROTOCOL_HOOK_SPOOL=$dir/spool \\
PROTOCOL_HOOK_MIN_FREE=0 exec $dir/program
END
	chmod 0755, "$dir/program", "$dir/cgi-bin/hook";
	# If root starts it, Python's server runs CGI programs as nobody.
	chmod 0770, "$dir/spool";
	chown +(getpwnam 'nobody')[2, 3], "$dir/spool" if $> == 0;
	return $dir;
}

sub start {
	my ($command, $dir) = @_;
	my $pid = fork // die $!;
	if (!$pid) {
		$ENV{PATH} .= ':/usr/sbin:/sbin';
		open STDIN, '<', '/dev/null' or die $!;
		open STDOUT, '>', "$dir/log" or die $!;
		open STDERR, '>&', \*STDOUT or die $!;
		exec split ' ', $command or POSIX::_exit(127);
	}
	return $pid;
}

plan tests => 2 * keys %COMMAND;

for my $name (sort keys %COMMAND) {
	SKIP: {
		skip_unless($name);
		my $dir = make_root();
		my $s = { port => Servers::free_port(),
			path => '/cgi-bin/hook' };
		my $command = $COMMAND{$name} =~ s/DIR/$dir/gr
			=~ s/PORT/$s->{port}/r;
		my $pid = start($command, $dir);
		my $socket;
		wait_for(sub { $socket = dial($s) });
		my $body = event();
		transmit($socket, head($s, $body) . $body) if $socket;
		my $got = outcome($socket && receive($socket));
		kill 'TERM', $pid;
		waitpid $pid, 0;
		like($got, $EXPECTED{$name}, "$name: $got")
			or diag(slurp("$dir/log"));
		is_deeply([files("$dir/spool")], [],
			"$name: nothing is stored");
	}
}
