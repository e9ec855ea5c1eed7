# The program's log lines are in the file that the set-up names, and no line is
# lost when that file is rotated: by examples/logrotate, or as the web server's
# Debian package does it.
use strict;
use warnings;
use Hook;
use Servers;
use Servers::Client;
use Servers::Setups;
use Test::More;

my %ROTATED = (
	'cgi-busybox' => 'protocol-hook.log',
	'cgi-civetweb' => 'protocol-hook.log',
	'cgi-uwsgi' => 'protocol-hook.log',
	'fastcgi-caddy' => 'protocol-hook.log',
	'fastcgi-haproxy' => 'protocol-hook.log',
	'fastcgi-nginx-socket-activate' => 'protocol-hook.log',
	'fastcgi-h2o' => 'h2o/error.log',
);
my @NGINX = qw(cgi-nginx-fcgiwrap fastcgi-nginx fastcgi-nginx-keep-conn);

Servers::skip_unless_installed({ title => 'log files', needs => ['logrotate',
	map { @{ $SETUPS{$_}{needs} } } keys %ROTATED, @NGINX] });

# Delivers an event and waits for its line in FILE.  Returns the event's id.
sub deliver_logged {
	my ($s, $file) = @_;
	my $body = event();
	my ($id) = $body =~ /"id":"([^"]*)"/;
	my $socket = dial($s);
	transmit($socket, head($s, $body) . $body);
	is(outcome(receive($socket)), '200 stored', 'a delivery');
	ok(wait_for(sub { count_lines($s, $file, $id) == 1 }, 5),
		"its line is in $file");
	return $id;
}

# How many lines in FILE are about the stored event ID.
sub count_lines {
	my ($s, $file, $id) = @_;
	my $text = eval { slurp("$s->{dir}/var/log/$file") } // '';
	return scalar(() = $text =~ /result=stored [^\n]*id=\Q$id\E /g);
}

sub succeeds {
	my ($s, $command) = @_;
	return ok(Servers::command($s, $command), $command);
}

for my $name (sort keys %ROTATED) {
	my $file = $ROTATED{$name};
	subtest "$name: examples/logrotate rotates $file" => sub {
		my $s = Servers::start($name);
		my $first = deliver_logged($s, $file);
		my $config = 'examples/logrotate/protocol-hook';
		succeeds($s, "logrotate --debug --state state $config");
		is(count_lines($s, "$file.1", $first), 0,
			'--debug changes nothing');
		succeeds($s, "logrotate --force --state state $config");
		is(count_lines($s, "$file.1", $first), 1,
			'the line is in the rotated file');
		my $second = deliver_logged($s, $file);
		is(count_lines($s, "$file.1", $second), 0,
			'the next line is only in the new file');
		is(count_lines($s, $file, $first), 0, 'the first line is not');
		unlike(eval { slurp("$s->{dir}/var/log/$file") } // "",
			qr/\0/, 'the new file has no hole');
		is_deeply([Servers::stop($s)], [],
			'the set-up leaves no process');
	};
}

for my $name (@NGINX) {
	subtest "$name: the program's lines have a file of their own" => sub {
		my $s = Servers::start($name);
		my $file = 'nginx/protocol-hook.log';
		my $path = "$s->{dir}/var/log/$file";
		my $first = deliver_logged($s, $file);
		unlike(slurp("$s->{dir}/var/log/nginx/error.log"), qr/result=/,
			"nginx's error log has no line of the program");
		# What "invoke-rc.d nginx rotate" does.
		rename $path, "$path.1" or die $!;
		kill 'USR1', Servers::pid_of($s, 'nginx.pid');
		ok(wait_for(sub { -e $path }), 'nginx opens the file again');
		my $second = deliver_logged($s, $file);
		is(count_lines($s, "$file.1", $second), 0,
			'the next line is only in the new file');
		is_deeply([Servers::stop($s)], [],
			'the set-up leaves no process');
	};
}

subtest 'cgi-civetweb: deliveries are stored without its log file' => sub {
	my $s = Servers::start('cgi-civetweb');
	unlink "$s->{dir}/var/log/protocol-hook.log" or die $!;
	my $body = event();
	my $socket = dial($s);
	transmit($socket, head($s, $body) . $body);
	is(outcome(receive($socket)), '200 stored', 'a delivery');
	is_deeply([Servers::stop($s)], [], 'the set-up leaves no process');
};

done_testing();
