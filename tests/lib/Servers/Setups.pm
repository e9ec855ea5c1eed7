# The set-ups of web servers: the file of each, the programs that it needs, how
# it is stopped and reloaded, and the cases in which the server itself deviates
# from protocol-hook(8), with the reason.
#
# Set-ups that users copy are in examples/.  Those that only prove that the
# program runs under any web server are in tests/servers/setups/.
package Servers::Setups;
use strict;
use warnings;
use Exporter qw(import);
use Hook;
use Servers::Systemd;

our @EXPORT = qw(%SETUPS);

my $SETUP_FILES = 'tests/servers/setups';
my $MODULES = '/usr/lib/apache2/modules';

# Deviations by case: the expected result, and the reason.  None of them accepts
# a delivery that is not signed or loses one that was acknowledged.

my %ONE_VARIABLE = (underscore => ['401 Unauthorized, 0 files',
	'both headers become the same CGI variable, and the server does not ' .
	'drop the one with underscores: refused']);
my %EMPTY_BODY = ('no-length' => ['422 Unprocessable Content',
	'the server passes a length of 0: an empty body, which is signed ' .
	'correctly here, but is not an event']);
sub pid_file {
	my ($what, $why) = @_;
	return ('started-twice' => ["200 stored, 1 file, $what", $why]);
}
my %LIGHTTPD = (%ONE_VARIABLE, pid_file('none in lighttpd.pid', 'a second ' .
	'server, which cannot start, removes the pid file of the first'),
	'no-length' => ['411 by the server',
	'the server answers without running the program']);
my %NO_CHUNKS = map { $_ => ['401 Unauthorized, 0 files',
	'the server passes the body with its chunk headers, which is not ' .
	'what was signed'] } qw(chunked chunked-1M chunked-large);
my %NO_CONTINUE = (expect => ['nothing, 200 stored, 1 file',
	'the server sends no 100, so clients send the body after a moment']);
my %NOT_KEPT = ('in-turn' => ['401 Unauthorized, no answer, ' .
	'413 Content Too Large, no answer, 405 Method Not Allowed, no answer',
	'the server closes each connection without announcing it: clients ' .
	'connect again']);
sub last_counts {
	my ($why) = @_;
	return (twice => ['200 stored, 1 file', $why],
		'twice-wrong' => ['401 Unauthorized, 0 files; ' .
		'200 stored, 1 file', $why]);
}
my %NO_RELOAD = (reload => ['it has none',
	'the server can only be stopped and started']);
my $OVERWRITTEN = 'a second server, which cannot start, writes its own ' .
	'process into the pid file';
my %CADDY = (%EMPTY_BODY, pid_file('another in caddy.pid', $OVERWRITTEN),
	underscore => [
	qr/^(?:200 stored, 1 file|401 Unauthorized, 0 files)$/,
	'both headers become the same CGI variable, and either of them may ' .
	'arrive: stored or refused'],
	map { $_ => ['400 Bad Request, 0 files',
	'Caddy 2.6 gives -1 for the length'] }
	qw(chunked chunked-1M chunked-large));
my %HAPROXY = map { $_ => ['400 by the server, 0 files',
	'HAProxy accepts a body without a length only if it fits into its ' .
	'buffer of 16 KB'] } qw(chunked-1M chunked-large);
my $ITS_OWN = ['401 by the server, Allow: nothing',
	'CivetWeb handles PUT and DELETE itself'];
my %CIVETWEB = (last_counts('the wrapper is a shell script, and a shell ' .
	'keeps only the last of a repeated variable'),
	put => $ITS_OWN, delete => $ITS_OWN,
	'in-turn' => ['401 Unauthorized, no answer, 413 Content Too Large, ' .
	'no answer, 401 by the server, 200 stored',
	"$NOT_KEPT{'in-turn'}[1]; CivetWeb handles PUT itself"],
	headers => ['a Status header', 'CivetWeb passes the Status header on']);

# Processes are stopped and reloaded by a signal to the process in a pid file,
# below run/.  This one belongs to the program if spawn-fcgi or a script in its
# place has started it.
my @SPAWNED = ['protocol-hook/pid', 'TERM'];
my $NGINX = { pid => 'nginx.pid', stop => 'QUIT', reload => 'HUP' };
my $LIGHTTPD = { pid => 'lighttpd.pid', stop => 'INT', reload => 'USR1' };
my $APACHE = { pid => 'protocol-hook-apache.pid', stop => 'WINCH',
	reload => 'USR1' };
my $UWSGI = { pid => 'uwsgi.pid', stop => 'INT', reload => 'HUP' };

# A set-up in FILE, which needs the programs and files in NEEDS.  %with:
# then		pid files and signals of processes to stop after the server
# reload	code that reloads the server, or undef if it can't be reloaded
# deviations	see above
# under		directory for the files of the test, instead of /tmp
# var_www	the test has a /var/www of its own, so the path stays as it is
# own_user	the user in place of protocol-hook
# before, in	code that runs before the commands; that changes a command
# after_stop	code that runs after the processes are stopped
# journal	code that returns log lines that are in no file
sub setup {
	my ($interface, $title, $file, $server, $needs, %with) = @_;
	my $pid = $server->{pid};
	return { title => $title, interface => $interface, file => $file,
		needs => $needs, stop => [[$pid, $server->{stop}],
		@{ $with{then} // [] }], reload => [$pid, $server->{reload}],
		deviations => {}, %with };
}

our %SETUPS = (
	'cgi-apache-prefork' => setup('CGI', 'Apache, mod_cgi (prefork)',
		"$SETUP_FILES/apache/cgi.conf", $APACHE, ['apache2']),
	'cgi-apache-event' => setup('CGI', 'Apache, mod_cgid (event)',
		'examples/apache/cgid.conf', $APACHE, ['apache2']),
	'cgi-apache-suexec' => setup('CGI', 'Apache, suexec',
		"$SETUP_FILES/apache/suexec.conf", $APACHE,
		['apache2', '/usr/lib/apache2/suexec', 'unshare'],
		var_www => 1, own_user => 'nobody', in => \&with_own_var_www),
	'cgi-lighttpd' => setup('CGI', 'lighttpd, mod_cgi',
		'examples/lighttpd/cgi.conf', $LIGHTTPD, ['lighttpd'],
		deviations => { %LIGHTTPD }),
	'cgi-uwsgi' => setup('CGI', 'uWSGI, cgi plugin',
		"$SETUP_FILES/uwsgi/cgi.ini", $UWSGI,
		['uwsgi', '/usr/lib/uwsgi/plugins/cgi_plugin.so'],
		deviations => { %ONE_VARIABLE, %NO_CHUNKS, %NO_CONTINUE,
			%NOT_KEPT, pid_file('another in uwsgi.pid',
			$OVERWRITTEN) }),
	'cgi-busybox' => setup('CGI', 'BusyBox httpd', 'examples/busybox/start',
		{ pid => 'protocol-hook.pid', stop => 'TERM' }, ['busybox'],
		reload => undef,
		deviations => { %NO_RELOAD, %ONE_VARIABLE, %NO_CHUNKS,
			%NO_CONTINUE, %NOT_KEPT, last_counts('of a repeated ' .
			'header only the last arrives') }),
	'cgi-nginx-fcgiwrap' => setup('CGI', 'nginx, fcgiwrap',
		"$SETUP_FILES/nginx/fcgiwrap.conf", $NGINX,
		[qw(nginx spawn-fcgi fcgiwrap)],
		then => [['fcgiwrap.pid', '-TERM']]),
	'cgi-civetweb' => setup('CGI', 'CivetWeb',
		"$SETUP_FILES/civetweb/start",
		{ pid => 'civetweb.pid', stop => 'TERM' }, ['civetweb'],
		reload => undef,
		deviations => { %NO_RELOAD, %ONE_VARIABLE, %CIVETWEB }),
	'fastcgi-haproxy' => setup('FastCGI', 'HAProxy',
		'examples/haproxy/haproxy.cfg',
		{ pid => 'haproxy.pid', stop => 'USR1' },
		[qw(haproxy spawn-fcgi)], then => [@SPAWNED],
		reload => \&reload_haproxy,
		deviations => { %EMPTY_BODY, %HAPROXY }),
	'fastcgi-nginx' => setup('FastCGI', 'nginx, spawn-fcgi',
		'examples/nginx/fastcgi.conf', $NGINX, [qw(nginx spawn-fcgi)],
		then => [@SPAWNED]),
	'fastcgi-nginx-keep-conn' => setup('FastCGI',
		'nginx, fastcgi_keep_conn on',
		"$SETUP_FILES/nginx/keep-conn.conf", $NGINX,
		[qw(nginx spawn-fcgi)], then => [@SPAWNED]),
	'fastcgi-nginx-multiwatch' => setup('FastCGI',
		'nginx, multiwatch (4 processes)',
		"$SETUP_FILES/multiwatch/start", $NGINX,
		[qw(nginx spawn-fcgi multiwatch)], then => [@SPAWNED]),
	'fastcgi-nginx-socket-activate' => setup('FastCGI',
		'nginx, systemd-socket-activate',
		"$SETUP_FILES/socket-activate/start", $NGINX,
		[qw(nginx systemd-socket-activate)],
		then => [@SPAWNED]),
	'fastcgi-nginx-systemd' => setup('FastCGI', 'nginx, systemd units',
		'examples/systemd/protocol-hook.socket', $NGINX,
		[qw(nginx /lib/systemd/systemd unshare nsenter)],
		under => '/srv',	# the unit has PrivateTmp=
		before => \&Servers::Systemd::boot,
		in => \&Servers::Systemd::command,
		journal => \&Servers::Systemd::journal,
		reload => \&Servers::Systemd::reload,
		after_stop => \&Servers::Systemd::stop),
	'fastcgi-lighttpd' => setup('FastCGI', 'lighttpd, mod_fastcgi',
		'examples/lighttpd/fastcgi.conf', $LIGHTTPD, ['lighttpd'],
		deviations => { %LIGHTTPD }),
	'fastcgi-lighttpd-socket' => setup('FastCGI',
		'lighttpd, spawn-fcgi', 'examples/lighttpd/socket.conf',
		$LIGHTTPD, [qw(lighttpd spawn-fcgi)], then => [@SPAWNED],
		deviations => { %LIGHTTPD }),
	'fastcgi-lighttpd-cgi-fcgi' => setup('FastCGI',
		'lighttpd, cgi-fcgi',
		"$SETUP_FILES/cgi-fcgi/lighttpd.conf", $LIGHTTPD,
		[qw(lighttpd cgi-fcgi)], after_stop => \&stop_program,
		deviations => { %LIGHTTPD }),
	'fastcgi-apache-fcgid' => setup('FastCGI', 'Apache, mod_fcgid',
		"$SETUP_FILES/apache/fcgid.conf", { %$APACHE, stop => 'TERM' },
		['apache2', "$MODULES/mod_fcgid.so"],
		deviations => { %EMPTY_BODY }),
	'fastcgi-apache-proxy' => setup('FastCGI', 'Apache, mod_proxy_fcgi',
		'examples/apache/proxy-fcgi.conf', $APACHE,
		[qw(apache2 spawn-fcgi)],
		then => [@SPAWNED]),
	'fastcgi-caddy' => setup('FastCGI', 'Caddy',
		'examples/caddy/Caddyfile',
		{ pid => 'caddy.pid', stop => 'TERM' },
		[qw(caddy spawn-fcgi)], then => [@SPAWNED],
		reload => \&reload_caddy,
		deviations => { %CADDY }),
	'fastcgi-h2o' => setup('FastCGI', 'h2o',
		"$SETUP_FILES/h2o/h2o.conf",
		{ pid => 'h2o.pid', stop => 'TERM' }, [qw(h2o spawn-fcgi)],
		then => [@SPAWNED], reload => undef,
		deviations => { %NO_RELOAD, %ONE_VARIABLE }),
);

# suexec runs only programs below /var/www.  So Apache runs in a mount namespace
# with the test's own /var/www, and its own place for suexec's log.
sub with_own_var_www {
	my ($s, $command) = @_;
	my $dir = $s->{dir};
	return "unshare -m sh -c 'mount --bind $dir/var/www /var/www && " .
		"mount --bind $dir/var/log/apache2 /var/log/apache2 && " .
		"$command'";
}

# Waits until the reload is complete: before that, the master process may miss
# another signal.
sub reload_haproxy {
	my ($s) = @_;
	my $master = Servers::pid_of($s, 'haproxy.pid');
	my $workers = sub {
		split ' ', slurp("/proc/$master/task/$master/children") };
	my %before = map { $_ => 1 } $workers->();
	kill 'USR2', $master;
	wait_for(sub { my @now = $workers->(); @now && !grep { $before{$_} }
		@now }) or die "the reload does not end\n";
	return;
}

sub reload_caddy {
	my ($s) = @_;
	Servers::command($s, 'caddy reload --config examples/caddy/Caddyfile ' .
		"--address unix/$s->{dir}/run/caddy-admin.socket --force");
}

# cgi-fcgi writes no pid file for the program that it starts.
sub stop_program {
	my ($s) = @_;
	kill 'TERM', Servers::processes($s);
}

1;
