#!/usr/bin/perl
# Usage, completion, sign and verify; and that argv is nobody's under a web server.
use strict;
use warnings;
use Test::More;
use Hook;
use Commands;

my ($status, $out, $err, $fh);
# Usage.
($status, $out, $err) = run({}, '--help');
is($status, 0, '--help');
my @lines = split /\n/, $out;
cmp_ok(scalar @lines, '<', 24, 'fits one screen');
is(scalar(grep { length > 80 } @lines), 0, 'and its width');
my @commands = $out =~ /^  (\w+) /mg;
is("@commands", 'check sign verify status replay watch', 'the commands');
for my $command (@commands) {
	($status, $out, $err) = run({}, $command, '-h');
	is($status, 0, "$command -h");
	like($out, qr/\Ausage: protocol-hook $command/, "$command -h: usage");
	is(scalar(grep { length > 80 } split /\n/, $out), 0,
		"$command -h: its width");
	($status, $out, $err) = run({}, $command, '-Z');
	is($status, 2, "$command -Z");
	is($out, '', "$command -Z: nothing on standard output");
	like($err, qr/^usage: protocol-hook $command/m, "$command -Z: usage");
}
for ([], ['nothing'], ['statu'], ['status', 'x'], ['verify'],
	['sign', 'a', 'b'], ['status', '-jp']) {
	($status, $out, $err) = run({}, @{$_});
	is($status, 2, "arguments '@{$_}'");
	is($out, '', "arguments '@{$_}': nothing on standard output");
}
($status, $out) = run({}, '-V');
is($status, 0, '-V');
like($out, qr/^protocol-hook \d+\.\d+\.\d+$/, 'version');

# What can't be written is an error; and what can't be read.
for (['-h'], ['-V'], ['status', '-h']) {
	($status, $out, $err) = run({ under => ['sh', '-c',
		'exec "$@" >/dev/full', 'sh'] }, @{$_});
	is($status, 1, "@{$_} to a full disk");
	like($err, qr/standard output: No space left/, 'says so');
}
($status, $out, $err) = run({}, 'sign', '/');
is($status, 1, 'sign of a directory');
like($err, qr{/: Is a directory}, 'says so');

# Descriptors 3 and on that are for somebody else, or none.
for (['$$', undef], ['$$', 'x'], ['$$', 0], ['$$', 1], ['x', 1], ['1', 1],
	[undef, 1]) {
	my ($pid, $fds) = @{$_};
	my $set = join ' ', $pid ? "LISTEN_PID=$pid" : (),
		defined $fds ? "LISTEN_FDS=$fds" : ();
	($status, $out, $err) = run({ under => ['sh', '-c',
		"$set exec \"\$@\" 3</dev/null", 'sh'] });
	is($status, 2, "$set: a command line without a command");
}

# Completion knows what usage knows.
for my $shell (qw(bash zsh)) {
	my $text = qx(sh scripts/completion $shell '$PROGRAM');
	is($?, 0, "completion for $shell");
	like($text, qr/\b$_\b/, "$shell: $_") for @commands;
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
			open $fh, '>', "$dir/complete" or die $!;
			print {$fh} $text, <<'END';
COMP_WORDS=(protocol-hook "$@") COMP_CWORD=$#
_protocol_hook x "${!#}" "${COMP_WORDS[$# - 1]}"
echo "${COMPREPLY[*]}"
END
			close $fh or die $!;
			open $fh, '-|', $shell, "$dir/complete", @words or die $!;
			is(join('', <$fh>), "$want\n", "$shell completes '@words'");
		}
	}
}

# A web server's arguments are nobody's commands.
my $spool = new_spool();
for (['status'], ['check'], ['-h'], ['--version']) {
	my $got = cgi(spool => $spool, body => event(), args => $_);
	is($got->{json}{status}, 'stored', "@{$_} from a web server");
}

# sign, verify
for my $body ('', $EXAMPLE, join('', map { chr } 0 .. 255), 'x' x 100000) {
	($status, $out) = run({ in => $body }, 'sign');
	is($status, 0, 'sign');
	is($out, sign($body) . "\n", 'the signature, as openssl makes it')
}
open $fh, '>', "$dir/event" or die $!;
print {$fh} $EXAMPLE;
close $fh or die $!;
($status, $out) = run({}, 'sign', "$dir/event");
is($out, sign($EXAMPLE) . "\n", 'sign FILE');
my %two = (PROTOCOL_HOOK_SECRET => 'the-new-one-0123456789',
	PROTOCOL_HOOK_SECRET_PREVIOUS => $KEY);
($status, $out) = run(\%two, 'sign', "$dir/event");
is($out, sign($EXAMPLE, 'the-new-one-0123456789') . "\n",
	'sign: with the current key');
is((run(\%two, 'verify', sign($EXAMPLE), "$dir/event"))[0], 0,
	'verify: the key before it');
is((run({}, 'verify', sign($EXAMPLE), "$dir/event"))[0], 0, 'verify FILE');
is((run({}, 'verify', uc sign($EXAMPLE), "$dir/event"))[0], 0, 'verify: case');
is((run({ in => $EXAMPLE }, 'verify', sign($EXAMPLE), @{$_}))[0], 0,
	"verify stdin @{$_}") for [], ['-'];
for ([sign("$EXAMPLE "), 'of other bytes'], [sign($EXAMPLE, 'other'), 'other key'],
	['', 'empty'], [substr(sign($EXAMPLE), 1), 'short'],
	[sign($EXAMPLE) . '0', 'long'], [' ' . sign($EXAMPLE), 'space']) {
	($status, $out, $err) = run({}, 'verify', $_->[0], "$dir/event");
	is($status, 1, "verify: $_->[1]");
	isnt($err, '', "verify: $_->[1]: a message");
}
for my $command (['sign'], ['verify', sign('')]) {
	($status, $out, $err) = run({ PROTOCOL_HOOK_SECRET => undef },
		@{$command});
	is($status, 1, "$command->[0] without a key");
	like($err, qr/PROTOCOL_HOOK_SECRET is not set/, 'says so');
	($status, $out, $err) = run({}, @{$command}, "$dir/none");
	is($status, 1, "$command->[0] of no file");
	like($err, qr/none: No such file/, 'says so');
}

done_testing();
