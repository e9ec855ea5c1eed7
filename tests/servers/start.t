# The scripts of examples/ that start the program or a small server: they refuse
# where they can't, say why, and leave what runs as it is.  That they can be run
# again after a crash, or by mistake, is among the cases of each set-up; here is
# what has no set-up.
use strict;
use warnings;
use Hook;
use Servers;
use Test::More;

Servers::skip_unless_installed({ title => 'start scripts',
	needs => [qw(spawn-fcgi setpriv)] });

my $s = { dir => scratch(), setup => {}, port => Servers::free_port(),
	besides => { PROTOCOL_HOOK_MIN_FREE => 0 } };
Servers::make_system($s);
Servers::adapt_examples($s);
Servers::command($s, 'sh examples/prepare proxy') or BAIL_OUT('no spool');
my $run = "$s->{dir}/run/protocol-hook";

# What a command prints, and its exit status.
sub run_command {
	my ($command) = @_;
	my $out = "$s->{dir}/printed";
	unlink $out;
	my $ok = Servers::command($s, "exec 2>&1; $command", $out);
	return ($ok, slurp($out));
}

# Whether a process takes requests at the socket.
sub serves {
	my $answer = eval { post({ socket => "$run/socket" }, '',
		params => { REQUEST_METHOD => 'GET' }) } or return 0;
	return $answer->{text} =~ /"ready"/ ? 1 : 0;
}

sub pid { return (eval { slurp("$run/pid") } // '') =~ /(\d+)/ ? $1 : 0 }

sub end {
	my ($pid, $signal) = @_;
	kill $signal, $pid;
	return wait_for(sub { !Servers::alive($pid) });
}

subtest 'as an ordinary user they say that root is needed' => sub {
	for my $script (qw(spawn-fcgi/start multiwatch/start systemd/activate
		busybox/start civetweb/start)) {
		my ($ok, $said) = run_command('setpriv --reuid 54321 ' .
			"--clear-groups sh examples/$script");
		ok(!$ok, "$script fails");
		like($said, qr/only root/, 'and says why');
	}
	ok(!-e "$run/pid", 'and there is no pid file');
};

for my $log ('', "$s->{dir}/var/log/protocol-hook.log") {
	my $start = "sh examples/spawn-fcgi/start $log";
	subtest 'spawn-fcgi/start' . ($log && ' LOGFILE') => sub {
		ok((run_command($start))[0], 'starts');
		ok(serves(), 'serves');
		my $pid = pid();
		my ($ok, $said) = run_command($start);
		ok(!$ok, 'a second one fails');
		like($said, qr/does it run already\? .*\b$pid$/m, 'says why');
		is(pid(), $pid, 'the pid file is as it was');
		ok(serves(), 'the first still serves');
		is_deeply([grep { !/^(?:pid|socket)$/ } files("$run/..",
			'protocol-hook')], [], 'nothing else is left');
		end($pid, 'KILL');
		ok((run_command($start))[0], 'starts after a crash');
		isnt(pid(), $pid, 'with another process');
		ok(serves(), 'which serves');
		like(slurp($log), qr/result=ready /, 'and logs') if $log;
		$pid = pid();
		end($pid, 'TERM');
		my $program = "$s->{dir}/usr/local/bin/protocol-hook";
		rename $program, "$program.away" or die $!;
		ok(!(run_command($start))[0], 'without the program: fails');
		rename "$program.away", $program or die $!;
		is(pid(), $pid, 'the pid file is as it was');
	};
}

subtest 'runit/protocol-hook/run' => sub {
	my $start = 'sh examples/runit/protocol-hook/run';
	my $begin = sub {
		my ($ok, $pid) = run_command("$start >/dev/null & echo \$!");
		wait_for(\&serves);
		return $pid + 0;
	};
	my $pid = $begin->();
	ok(serves(), 'serves');
	my ($ok, $said) = run_command("timeout 5 $start");
	ok(!$ok, 'a second one fails');
	like($said, qr/already in use/, 'says why');
	ok(Servers::alive($pid) && serves(), 'the first still serves');
	end($pid, 'KILL');
	ok(!serves(), 'a crash');
	$pid = $begin->();
	ok(serves(), 'serves after a crash');
	ok(end($pid, 'TERM'), 'the process ends on SIGTERM');
};

END {
	my $status = $?;
	kill 'KILL', Servers::processes($s) if $s;
	$? = $status;
}

done_testing();
