#!/usr/bin/perl
# The FastCGI entry point and signals: SIGTERM ends it after the requests that
# have begun, SIGHUP makes it read the secret file again.
use strict;
use warnings;
use Test::More;
use Answers;
use Hook;
use POSIX qw(mkfifo);
use Time::HiRes qw(time);

$SIG{PIPE} = 'IGNORE';

subtest 'a request that has begun before SIGTERM is answered' => sub {
	my $worker = worker(spool => new_spool());
	my $socket = fcgi_connect($worker);
	my $request = fcgi_request(event());
	fcgi_send($socket, substr $request, 0, -20, '');
	is(post_status($worker, event()), 200, 'its first part was read');
	kill 'TERM', $worker->{pid};
	# Until the signal is no longer pending.
	my $file = "/proc/$worker->{pid}/status";
	wait_for(sub { !-e "/proc/$$/status" || slurp($file)
		!~ /^(?:Sig|Shd)Pnd:.*[4-7c-f]...$/m });
	fcgi_send($socket, $request);
	is(fcgi_status($socket), 200, 'the rest comes after SIGTERM');
	reap_clean($worker);
};

subtest 'a slow client delays the end by 5 seconds at most' => sub {
	my $worker = worker(spool => new_spool());
	my $slow = fcgi_connect($worker);
	my $request = fcgi_request(event(pad => 1000));
	fcgi_send($slow, substr $request, 0, 100, '');
	is(post_status($worker, event()), 200, 'its first part was read');
	kill 'TERM', $worker->{pid};
	my $start = time;
	ok(wait_for(sub { fcgi_send($slow, substr $request, 0, 1, '');
		waitpid($worker->{pid}, POSIX::WNOHANG()) > 0 }, 15),
		'the process ends though bytes still come');
	cmp_ok(time - $start, '>=', 4, 'after 5 seconds');
	reap($worker);
};

for (['blocked', 'sigprocmask(SIG_BLOCK, POSIX::SigSet->new(1 .. 31))'],
	['ignored', '$SIG{$_} = "IGNORE" for qw(HUP TERM INT USR1)']) {
	my ($how, $code) = @$_;
	subtest "signals that were $how at the start still work" => sub {
		for my $signal (qw(TERM INT USR1 XCPU)) {
			my $worker = worker(spool => new_spool(), under => [
				'perl', '-MPOSIX', '-e',
				"$code; exec { \$ARGV[0] } \@ARGV"]);
			is(post_status($worker, event()), 200,
				"$signal: it serves");
			kill 'HUP', $worker->{pid};
			ok(wait_for(sub { log_of($worker)
				=~ /\bresult=reload_failed / }, 5),
				"$signal: SIGHUP is seen");
			kill $signal, $worker->{pid};
			my $status;
			wait_for(sub { waitpid($worker->{pid}, 1) > 0
				and $status = $?, 1 }, 5);
			is($status, 0, "$signal ends it");
			reap($worker, 'KILL');
		}
	};
}

# A secret file with KEYS.
sub secret_file {
	my ($keys) = @_;
	my $file = scratch() . '/keys';
	spew($file, $keys);
	return $file;
}

# A worker that reads its keys from FILE.
sub worker_with_file {
	my ($file, %with) = @_;
	return worker(spool => new_spool(), env => {
		PROTOCOL_HOOK_SECRET => undef,
		PROTOCOL_HOOK_SECRET_FILE => $file }, %with);
}

# The status of a delivery that is signed with KEY.
sub post_signed {
	my ($worker, $key) = @_;
	my $body = event();
	return post_status($worker, $body,
		params => { HTTP_X_PROTOCOL_SIGNATURE => sign($body, $key) });
}

# How often the keys were read again, or could not be.
sub count_reloads {
	my ($worker) = @_;
	return scalar(() = log_of($worker) =~ /^$TS result=reload/mg);
}

# Sends SIGHUP and waits for result=WORD in the log.
sub reload {
	my ($worker, $word) = @_;
	my $before = count_reloads($worker);
	kill 'HUP', $worker->{pid};
	ok(wait_for(sub { count_reloads($worker) > $before }),
		'SIGHUP is seen');
	like(log_of($worker), qr/^$TS result=$word.*\n\z/m, $word);
	return;
}

subtest 'SIGHUP, and nothing else, makes it read the keys again' => sub {
	my $file = secret_file("one\n");
	my $worker = worker_with_file($file);
	is(post_signed($worker, 'one'), 200, 'the first key');
	spew($file, "two\none\n");
	is(post_signed($worker, 'two'), 401, 'a new key before SIGHUP');
	reload($worker, 'reloaded');
	is(post_signed($worker, 'two'), 200, '... and after it');
	is(post_signed($worker, 'one'), 200, 'the first key is still there');
	spew($file, "two\n");
	reload($worker, 'reloaded');
	is(post_signed($worker, 'one'), 401, '... until it is removed');
	reap($worker);
};

subtest 'SIGHUP follows a symbolic link to the secret file' => sub {
	my $file = secret_file("two\n");
	my $link = scratch() . '/keys';
	symlink $file, $link or die $!;
	my $worker = worker_with_file($link);
	is(post_signed($worker, 'two'), 200, 'at the start');
	spew($link, "three\ntwo\n");
	reload($worker, 'reloaded');
	is(post_signed($worker, 'three'), 200, 'after SIGHUP');
	reap($worker);
};

subtest 'if the secret file is gone, SIGHUP leaves the keys' => sub {
	my $file = secret_file("two\n");
	my $worker = worker_with_file($file);
	is(post_signed($worker, 'two'), 200, 'it serves');
	unlink $file or die $!;
	reload($worker, 'reload_failed');
	is(post_signed($worker, 'two'), 200, 'the keys stay');
	unlike(log_of($worker), qr/\Q$file\E/, 'the path is not logged');
	reap($worker);
};

subtest 'without a secret file at the start, SIGHUP finds it later' => sub {
	my $file = secret_file('');
	unlink $file or die $!;
	my $worker = worker_with_file($file);
	is(post_signed($worker, 'two'), 500, 'there is none');
	spew($file, "two\n");
	reload($worker, 'reloaded');
	is(post_signed($worker, 'two'), 200, 'there is one');
	reap($worker);
};

subtest 'reading the keys leaves no descriptor open' => sub {
	my $file = secret_file("two\n");
	my $worker = worker_with_file($file,
		under => [qw(prlimit --nofile=40)]);
	is(post_signed($worker, 'two'), 200, 'it serves');
	unlink $file or die $!;
	mkfifo($file, 0600) or die $!;
	for my $n (1 .. 40) {
		kill 'HUP', $worker->{pid};
		wait_for(sub { $n == count_reloads($worker) });
	}
	unlink $file or die $!;
	spew($file, "two\n");
	reload($worker, 'reloaded');
	is(post_signed($worker, 'two'), 200,
		'after 40 times a file that cannot be used');
	reap($worker);
};

subtest 'a SIGHUP while the keys are read makes it read them again' => sub {
	plan skip_all => no_strace() if no_strace();
	my $file = secret_file("two\n");
	my $worker = worker_with_file($file, under => ['strace', '-D', '-qq',
		'-o', '/dev/null', '-P', $file, '-e',
		'inject=read:signal=SIGHUP:when=3']);
	is(post_signed($worker, 'two'), 200, 'it serves');
	kill 'HUP', $worker->{pid};
	ok(wait_for(sub { 2 == (() = log_of($worker)
		=~ /result=reloaded/g) }), 'they are read twice');
	reap($worker);
};

done_testing();
