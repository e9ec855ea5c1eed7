# Scripts that start the program or a small server: if they can't, they fail,
# say why and leave running processes alone.  Servers::Cases checks that each
# set-up's commands can be run again, after a crash or by mistake; this file
# checks the scripts and options that no set-up uses.
use strict;
use warnings;
use Hook;
use Servers;
use Test::More;

Servers::skip_unless_installed({ title => 'start scripts',
	needs => [qw(spawn-fcgi setpriv)] });

my $s = { dir => scratch(), setup => {}, port => Servers::free_port(),
	extra_variables => { PROTOCOL_HOOK_MIN_FREE => 0 } };
Servers::make_system($s);
Servers::adapt_setups($s);
Servers::command($s, 'sh examples/prepare proxy') or BAIL_OUT('no spool');
my $run = "$s->{dir}/run/protocol-hook";

# Returns whether a command has succeeded, and its output.
sub run_command {
	my ($command) = @_;
	my $out = "$s->{dir}/printed";
	unlink $out;
	my $ok = Servers::command($s, "exec 2>&1; $command", $out);
	return ($ok, slurp($out));
}

# Whether a process answers requests at the socket.
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

subtest 'for an ordinary user the scripts say that root is needed' => sub {
	for my $script (qw(examples/spawn-fcgi/start examples/busybox/start),
		map { "tests/servers/setups/$_/start" }
		qw(multiwatch socket-activate civetweb)) {
		my ($ok, $said) = run_command('setpriv --reuid 54321 ' .
			"--clear-groups sh $script");
		ok(!$ok, "$script fails");
		like($said, qr/only root/, "$script says why");
	}
	ok(!-e "$run/pid", 'no pid file is written');
};

for my $log ('', "$s->{dir}/var/log/protocol-hook.log") {
	my $start = "sh examples/spawn-fcgi/start $log";
	subtest 'spawn-fcgi/start' . ($log && ' LOGFILE') => sub {
		ok((run_command($start))[0], 'the script succeeds');
		ok(serves(), 'the program answers');
		my $pid = pid();
		my ($ok, $said) = run_command($start);
		ok(!$ok, 'run again, it fails');
		like($said, qr/does it run already\? .*\b$pid$/m,
			'run again, it says why');
		is(pid(), $pid, 'the pid file is as it was');
		ok(serves(), 'the first process still answers');
		is_deeply([grep { !/^(?:pid|socket)$/ } files("$run/..",
			'protocol-hook')], [], 'no other file is left');
		end($pid, 'KILL');
		ok((run_command($start))[0], 'after a crash, it succeeds');
		isnt(pid(), $pid, 'after a crash, there is a new process');
		ok(serves(), 'the new process answers');
		like(slurp($log), qr/result=ready /,
			'the log file has its lines') if $log;
		$pid = pid();
		end($pid, 'TERM');
		my $program = "$s->{dir}/usr/local/bin/protocol-hook";
		rename $program, "$program.away" or die $!;
		ok(!(run_command($start))[0], 'without the program, it fails');
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
	ok(serves(), 'the program answers');
	my ($ok, $said) = run_command("timeout 5 $start");
	ok(!$ok, 'run again, it fails');
	like($said, qr/already in use/, 'run again, it says why');
	ok(Servers::alive($pid) && serves(), 'the first process still answers');
	end($pid, 'KILL');
	ok(!serves(), 'after a crash nothing answers');
	$pid = $begin->();
	ok(serves(), 'started again, the program answers');
	ok(end($pid, 'TERM'), 'the process ends on SIGTERM');
};

END {
	my $status = $?;
	kill 'KILL', Servers::processes($s) if $s;
	$? = $status;
}

done_testing();
