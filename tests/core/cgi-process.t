#!/usr/bin/perl
# The CGI entry point as a process: its arguments, streams, environment, signals
# and limits.
use strict;
use warnings;
use Test::More;
use Answers;
use Hook;
use Socket qw(AF_UNIX SOCK_STREAM);

subtest 'a CGI request ignores arguments' => sub {
	my $spool = new_spool();
	is_answer(cgi(spool => $spool, body => event(), args => [$_]), 200,
		'stored', $_) for qw(--help -V check replay);
};

subtest 'on a command line, flags are read and wrong usage exits 2' => sub {
	for ([['-h'], 0, qr/^usage: /],
		[['--version'], 0, qr/^protocol-hook \d/],
		[[], 2, qr/^$/], [['--nonsense'], 2, qr/^$/]) {
		my ($args, $exit, $out) = @$_;
		my $got = cgi(spool => new_spool(), args => $args, env => {
			REQUEST_METHOD => undef, GATEWAY_INTERFACE => undef });
		is($got->{exit}, $exit, "'@$args': exit status $exit");
		like($got->{text}, $out, "'@$args': standard output");
		is($got->{log} eq '', !$exit, "'@$args': standard error");
	}
};

subtest 'closed or shared streams never get into file or answer' => sub {
	my $body = event();
	for my $close ('2>&-', '2>&1', '2>/dev/null', '2>/dev/zero',
		'2</dev/zero', '<&- 2>&-') {
		my $spool = new_spool();
		my $got = cgi(spool => $spool, body => $body,
			under => ['sh', '-c', "exec \"\$0\" $close"]);
		my $stdin = $close !~ /<&/;
		is($got->{status}, $stdin ? 200 : 400, "with $close");
		is_deeply([content($spool, 'new')], $stdin ? [$body] : [],
			"with $close: the file has the body alone");
		unlike($got->{text}, qr/result=/,
			"with $close: the answer has no log line");
	}
	my $spool = new_spool();
	cgi(spool => $spool, body => $body,
		under => ['sh', '-c', 'exec "$0" >&-']);
	is_deeply([content($spool, 'new')], [$body],
		'without standard output the body is stored');
};

subtest 'standard input may be a socket, as with inetd' => sub {
	socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, 0 or die $!;
	syswrite $ours, my $body = event();
	is_answer(cgi(spool => new_spool(), body => $body, stdin => $theirs),
		200, 'stored', 'socket');
};

# Only root may look there; for other users this is a program that was built to
# allow it.
subtest '/proc/PID/environ does not show the keys' => sub {
	plan skip_all => 'needs /proc' if !-e '/proc/self/environ';
	plan skip_all => left_out('wiped') if left_out('wiped');
	my $spool = new_spool();
	my $body = event();
	pipe my $read, my $write or die $!;
	my $run = cgi(spool => $spool, body => $body, stdin => $read,
		start => 1, program => traceable(),
		env => { PROTOCOL_HOOK_SECRET_PREVIOUS => "$KEY-old" });
	close $read;
	ok(wait_for(sub { -e "$spool/lock" }), 'it waits for its body');
	my $environ = slurp("/proc/$run->{pid}/environ");
	ok($environ =~ /PROTOCOL_HOOK_SECRET=/ && $environ !~ /\Q$KEY\E/,
		'the variable is there, its value is not');
	syswrite $write, $body;
	close $write;
	is(Hook::cgi_done($run->{pid}, $run->{dir})->{status}, 200,
		'the request ends');
};

subtest 'a body that does not come gets 408' => sub {
	local $Hook::PROGRAM = 'build/quick/protocol-hook';
	pipe my $read, my $write or die $!;
	is(cgi(spool => new_spool(), body => event(), stdin => $read)
		->{status}, 408, 'status');
};

subtest 'a limit on file sizes gets 503 and leaves nothing' => sub {
	my $spool = new_spool();
	my @limit = (under => ['prlimit', '--fsize=9000']);
	is_answer(cgi(spool => $spool, body => event(pad => 20000), @limit),
		503, 'unavailable', 'a body over the limit');
	like(cgi(spool => $spool, body => event(pad => 20000), @limit)->{log},
		qr/ reason="[^"]*: File too large"$/, 'the log says why');
	is(scalar(map { files($spool, $_) } 'new', 'rejected'), 0,
		'nothing is left');
};

subtest 'a signal that was blocked at the start ends the program' => sub {
	my $spool = new_spool();
	pipe my $in, my $out or die $!;
	my $run = cgi(spool => $spool, body => event(), stdin => $in,
		start => 1, under => ['perl', '-MPOSIX', '-e',
		'sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTERM, SIGHUP));
		exec { $ARGV[0] } @ARGV']);
	my $file = "/proc/$run->{pid}/status";
	my $blocked = sub {
		return -e $file && slurp($file) =~ /^SigBlk:.*[1-9a-f]/m;
	};
	SKIP: {
		skip 'needs /proc', 1 if !-e "/proc/$$/status";
		ok(wait_for(sub { -e "$spool/lock" && !$blocked->() }, 5),
			'no signal stays blocked');
	}
	wait_for(sub { -e "$spool/lock" });
	kill 'TERM', $run->{pid};
	my $status;
	wait_for(sub { waitpid($run->{pid}, 1) > 0 and $status = $?, 1 }, 5);
	is($status, 15, 'SIGTERM ends it');
	kill 'KILL', $run->{pid};
};

done_testing();
