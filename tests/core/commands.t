#!/usr/bin/perl
# The command line: usage, completion, sign and verify; and a web server's
# arguments, which are never a command.
use strict;
use warnings;
use Test::More;
use Hook;
use Commands;

my @COMMANDS = qw(check sign verify status replay watch);

sub count_wide_lines { return scalar grep { length > 80 } split /\n/, $_[0] }

subtest 'the usage message fits one screen and names each command' => sub {
	my ($status, $out) = run({}, '--help');
	is($status, 0, '--help: exit status');
	my @lines = split /\n/, $out;
	cmp_ok(scalar @lines, '<', 24, '--help: number of lines');
	is(count_wide_lines($out), 0, '--help: no line is wider than 80 columns');
	is(join(' ', $out =~ /^  (\w+) /mg), "@COMMANDS", '--help: the commands');
	($status, $out) = run({}, '-V');
	is($status, 0, '-V: exit status');
	like($out, qr/^protocol-hook \d+\.\d+\.\d+$/, '-V: the version');
};

subtest 'each command has a usage message, also for unknown flags' => sub {
	for my $command (@COMMANDS) {
		my ($status, $out, $err) = run({}, $command, '-h');
		is($status, 0, "$command -h: exit status");
		like($out, qr/\Ausage: protocol-hook $command/,
			"$command -h: the message");
		is(count_wide_lines($out), 0, "$command -h: its width");
		($status, $out, $err) = run({}, $command, '-Z');
		is($status, 2, "$command -Z: exit status");
		is($out, '', "$command -Z: nothing on standard output");
		like($err, qr/^usage: protocol-hook $command/m,
			"$command -Z: the message");
	}
};

subtest 'wrong arguments exit with 2' => sub {
	for ([], ['nothing'], ['statu'], ['status', 'x'], ['verify'],
		['sign', 'a', 'b'], ['status', '-jp']) {
		my ($status, $out) = run({}, @{$_});
		is($status, 2, "'@{$_}': exit status");
		is($out, '', "'@{$_}': nothing on standard output");
	}
};

subtest 'output that cannot be written, and input that cannot be read, exit with 1' => sub {
	for (['-h'], ['-V'], ['status', '-h']) {
		my ($status, undef, $err) = run({ under => ['sh', '-c',
			'exec "$@" >/dev/full', 'sh'] }, @{$_});
		is($status, 1, "@{$_} to a full disk: exit status");
		like($err, qr/standard output: No space left/,
			"@{$_} to a full disk: the message");
	}
	my ($status, undef, $err) = run({}, 'sign', '/');
	is($status, 1, 'sign of a directory: exit status');
	like($err, qr{/: Is a directory}, 'sign of a directory: the message');
};

subtest 'LISTEN_PID and LISTEN_FDS that are not for us start no receiver' => sub {
	for (['$$', undef], ['$$', 'x'], ['$$', 0], ['$$', 1], ['x', 1], ['1', 1],
		[undef, 1]) {
		my ($pid, $fds) = @{$_};
		my $set = join ' ', $pid ? "LISTEN_PID=$pid" : (),
			defined $fds ? "LISTEN_FDS=$fds" : ();
		my ($status) = run({ under => ['sh', '-c',
			"$set exec \"\$@\" 3</dev/null", 'sh'] });
		is($status, 2, "$set: exit status of a command line without a command");
	}
};

subtest 'completion knows what the usage messages know' => sub {
	for my $shell (qw(bash zsh)) {
		my $text = qx(sh scripts/completion $shell '$PROGRAM');
		is($?, 0, "$shell: it is made");
		like($text, qr/\b$_\b/, "$shell: $_") for @COMMANDS;
		like($text, qr/-j\b.*-p\b/s, "$shell: flags");
		next if !grep { -x "$_/$shell" } split /:/, $ENV{PATH};
		open my $fh, '|-', $shell, '-n' or die $!;
		print {$fh} $text;
		ok(close $fh, "$shell can read it");
		next if $shell ne 'bash';
		SKIP: {
			skip 'needs /proc, for <()', 3 if !-e '/dev/fd/0';
			for (['status', 'st'], ['-j -p -h', 'status', ''],
				['', 'replay', '-d', '']) {
				my ($want, @words) = @{$_};
				spew("$dir/complete", $text . <<'END');
COMP_WORDS=(protocol-hook "$@") COMP_CWORD=$#
_protocol_hook x "${!#}" "${COMP_WORDS[$# - 1]}"
echo "${COMPREPLY[*]}"
END
				open $fh, '-|', $shell, "$dir/complete", @words or die $!;
				is(join('', <$fh>), "$want\n",
					"bash completes '@words'");
			}
		}
	}
};

subtest 'the arguments of a web server are never a command' => sub {
	my $spool = new_spool();
	for (['status'], ['check'], ['-h'], ['--version']) {
		my $got = cgi(spool => $spool, body => event(), args => $_);
		is($got->{json}{status}, 'stored', "@{$_}: the delivery is stored");
	}
};

subtest 'sign prints the HMAC-SHA256 of the bytes with the current key' => sub {
	for my $body ('', $EXAMPLE, join('', map { chr } 0 .. 255), 'x' x 100000) {
		my ($status, $out) = run({ in => $body }, 'sign');
		is($status, 0, length($body) . ' bytes: exit status');
		is($out, sign($body) . "\n", length($body) . ' bytes: signature');
	}
	my $event = spew("$dir/event", $EXAMPLE);
	is((run({}, 'sign', $event))[1], sign($EXAMPLE) . "\n", 'sign FILE');
	is((run({ PROTOCOL_HOOK_SECRET => 'the-new-one-0123456789',
		PROTOCOL_HOOK_SECRET_PREVIOUS => $KEY }, 'sign', $event))[1],
		sign($EXAMPLE, 'the-new-one-0123456789') . "\n", 'with two keys');
};

subtest 'verify accepts signatures of the current and the previous key' => sub {
	my $event = spew("$dir/event", $EXAMPLE);
	my $right = sign($EXAMPLE);
	is((run({ PROTOCOL_HOOK_SECRET => 'the-new-one-0123456789',
		PROTOCOL_HOOK_SECRET_PREVIOUS => $KEY }, 'verify', $right,
		$event))[0], 0, 'the previous key');
	is((run({}, 'verify', $right, $event))[0], 0, 'the current key');
	is((run({}, 'verify', uc $right, $event))[0], 0, 'in upper case');
	is((run({ in => $EXAMPLE }, 'verify', $right, @{$_}))[0], 0,
		"the body on standard input: '@{$_}'") for [], ['-'];
};

subtest 'verify refuses any other signature with a message' => sub {
	my $event = spew("$dir/event", $EXAMPLE);
	my $right = sign($EXAMPLE);
	for ([sign("$EXAMPLE "), 'of other bytes'],
		[sign($EXAMPLE, 'other'), 'with another key'], ['', 'empty'],
		[substr($right, 1), 'too short'], ["${right}0", 'too long'],
		[" $right", 'with a space before it']) {
		my ($signature, $name) = @{$_};
		my ($status, undef, $err) = run({}, 'verify', $signature, $event);
		is($status, 1, "$name: exit status");
		isnt($err, '', "$name: there is a message");
	}
};

subtest 'sign and verify without a key, or without the file' => sub {
	for my $command (['sign'], ['verify', sign('')]) {
		my ($status, undef, $err) = run({ PROTOCOL_HOOK_SECRET => undef },
			@{$command});
		is($status, 1, "$command->[0] without a key: exit status");
		like($err, qr/PROTOCOL_HOOK_SECRET is not set/,
			"$command->[0] without a key: the message");
		($status, undef, $err) = run({}, @{$command}, "$dir/none");
		is($status, 1, "$command->[0] of a missing file: exit status");
		like($err, qr/none: No such file/,
			"$command->[0] of a missing file: the message");
	}
};

done_testing();
