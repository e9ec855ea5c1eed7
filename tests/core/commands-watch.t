#!/usr/bin/perl
# watch: a line for each arrival, with inotify and without.
use strict;
use warnings;
use Test::More;
use JSON::PP ();
use POSIX ();
use Hook;
use Commands;

my $spool = new_spool();
my %in = (PROTOCOL_HOOK_SPOOL => $spool);
deliver($spool, event());

my @under;

sub watch {
	my ($program, @args) = @_;
	my $pid = fork // die $!;
	if (!$pid) {
		open STDOUT, '>', "$dir/watched" or die $!;
		open STDERR, '>', "$dir/err" or die $!;
		%ENV = (PATH => $ENV{PATH}, %in);
		exec @under, $program, 'watch', @args or POSIX::_exit(127);
	}
	return $pid;
}

# It is ready when a probe is seen.
my $probes = 0;

sub watch_ready {
	return wait_for(sub {
		cgi(spool => $spool, body => event(id => 'probe' . ++$probes));
		select undef, undef, undef, 0.1;
		slurp("$dir/watched") =~ /probe/ });
}

# The beginning of a name that is later than all so far.
sub to_come { return POSIX::strftime('%Y1231T235959.999999Z.', gmtime) }

sub watch_to_full {
	my ($program) = @_;
	my $pid = fork // die $!;
	if (!$pid) {
		open STDOUT, '>', '/dev/full' or die $!;
		open STDERR, '>', '/dev/null' or die $!;
		%ENV = (PATH => $ENV{PATH}, %in);
		exec $program, 'watch' or POSIX::_exit(127);
	}
	return $pid;
}

# The first line that PATTERN matches.
sub watched {
	my ($pattern) = @_;
	my $line;
	wait_for(sub {
		($line) = grep { $_ =~ $pattern } split /^/, slurp("$dir/watched");
		$line });
	return $line // 'nothing';
}

for my $program ($PROGRAM, grep { -x } 'build/poll/protocol-hook') {
	my $name = $program eq $PROGRAM ? 'watch' : 'watch by polling';
	my $id = $program eq $PROGRAM ? 'w1' : 'w2';
	my $pid = watch($program);
	watch_ready();
	my $body = event(type => 'contact.updated', id => $id);
	deliver($spool, $body);
	my $length = length $body;
	my ($at) = map { /T(..)(..)(..)\..*\.$id\.json$/ ? "$1:$2:$3" : () }
		files($spool);
	like(watched(qr/contact/),
		qr/^$at contact\.updated +$id +$length bytes\n\z/,
		"$name: one line");
	open my $fh, '>', "$spool/new/foreign" or die $!;
	close $fh;
	deliver($spool, event(type => 'group.updated'));
	watched(qr/group/);
	kill 'STOP', $pid;
	deliver($spool, event(id => "$id-burst-$_")) for 1 .. 5;
	kill 'CONT', $pid;
	watched(qr/burst-5/);
	is(join(' ', slurp("$dir/watched") =~ /-burst-(\d)/g), '1 2 3 4 5',
		"$name: several at a time");
	unlike(slurp("$dir/watched"), qr/\e|foreign/,
		"$name: no colour in a file, and nothing foreign");
	kill 'TERM', $pid;
	waitpid $pid, 0;
	$pid = watch($program, '-o');
	watch_ready();
	deliver($spool,
		qq({"id":"$id","type":"group.created",\n"payload":\r\n{}}\n));
	is(eval { JSON::PP::decode_json(watched(qr/group/))->{id} }, $id,
		"$name -o: JSON on one line");
	unlike(watched(qr/group/), qr/\r/, "$name -o: whoever reads it");
	# What a consumer puts back has a new name, too.
	open $fh, '>', "$spool/back" or die $!;
	print {$fh} event(type => 'conversation.created');
	close $fh or die $!;
	rename "$spool/back", "$spool/new/" . to_come() . 'a.a.json' or die $!;
	like(watched(qr/conversation/), qr/^\{/,
		"$name -o: what is moved into new/");
	# Names of deliveries that are none.
	mkdir "$spool/new/" . to_come() . 'a.b.json' or die $!;
	ok(wait_for(sub { slurp("$dir/err") =~ /a\.b\.json: Is a dir/ }),
		"$name -o: what can't be read is told");
	symlink "$dir/err", "$spool/new/" . to_come() . 'c.d.json' or die $!;
	ok(wait_for(sub { slurp("$dir/err") =~ /c\.d\.json: Too many/ }),
		"$name -o: no link is followed");
	kill 'TERM', $pid;
	waitpid $pid, 0;
	rmdir $_ || unlink $_ for glob "$spool/new/*";
	# What nobody reads ends it.
	$pid = watch_to_full($program);
	ok(wait_for(sub { deliver($spool, event());
		waitpid($pid, POSIX::WNOHANG()) == $pid }), "$name to a full disk");
	unlink map { "$spool/new/$_" } files($spool);
	# And so does the end of new/.
	$pid = watch($program);
	watch_ready();
	rename "$spool/new", "$spool/old" or die $!;
	ok(wait_for(sub { waitpid($pid, POSIX::WNOHANG()) == $pid }),
		"$name ends when new/ is moved away");
	like(slurp("$dir/err"), qr/new\/ is gone|new: No such/, 'and says so');
	rename "$spool/old", "$spool/new" or die $!;
	unlink map { "$spool/new/$_" } files($spool);
}

# What can't be read is closed all the same.
{
	@under = qw(prlimit --nofile=20);
	my $pid = watch($PROGRAM, '-o');
	watch_ready();
	for my $n (10 .. 39) {
		mkdir "$spool/new/" . to_come() . "a.$n.json" or die $!;
	}
	deliver($spool, event(type => 'attachment.created'));
	like(watched(qr/attachment/), qr/^\{/, 'watch -o: more than it may open');
	my $said = () = slurp("$dir/err") =~ /: Is a directory$/mg;
	is($said, 30, 'each is told');
	kill 'TERM', $pid;
	waitpid $pid, 0;
	rmdir $_ || unlink $_ for glob "$spool/new/*";
	@under = ();
}

# On a terminal.
SKIP: {
	skip 'no terminal', 15 if !terminal();
	my ($pid, $look) = on_terminal({ %in, start => 1 }, 'watch');
	ok(wait_for(sub { $look->(0.01) =~ /waiting for deliveries in \Q$spool/ }),
		'on a terminal it says what it waits for');
	for (['message.created', 32], ['message.updated', 33],
		['message.deleted', 31], ['message.read', 35], ['a', 35],
		['.updated', 35]) {
		my ($type, $colour) = @{$_};
		deliver($spool, event(type => $type));
		ok(wait_for(sub { $look->(0.01) =~ / \e\[${colour}m\Q$type\E
			\ *\e\[0m\ /x }), "$type: colour $colour");
	}
	kill 'TERM', $pid;
	waitpid $pid, 0;
	($pid, $look) = on_terminal({ %in, start => 1, NO_COLOR => '' }, 'watch');
	ok(wait_for(sub { deliver($spool, event());
		$look->(0.1) =~ /\e\[32m/ }), 'an empty NO_COLOR is none');
	kill 'TERM', $pid;
	waitpid $pid, 0;
	# Nothing that steers it; but what is for a program has its bytes.
	my @steering = map { "\xc2" . chr } 0x80, 0x85, 0x9b, 0x9f;
	push @steering, "\x7f", "\xd8\x9c", map { "\xe2\x80" . chr } 0x8e, 0x8f,
		0xa8 .. 0xae;
	push @steering, map { "\xe2\x81" . chr } 0xa6 .. 0xa9;
	my $steering = join '-', @steering;
	my $escaped = join '-', map { sprintf '\\u%04x', ord }
		map { utf8::decode($_); $_ } @steering;
	my $fine = "\xc3\xa9\xe2\x80\xa7\xf0\x9f\x98\x80\xc2\xa0";
	my $body = qq({"id":"e","type":"contact.e","payload":{"t":"$steering","f":"$fine"}});
	($pid, $look) = on_terminal({ %in, start => 1, TERM => 'dumb' }, 'watch', '-o');
	my $other = watch($PROGRAM, '-o');
	watch_ready();
	ok(wait_for(sub {
		cgi(spool => $spool, body => event(id => 'probe' . ++$probes));
		$look->(0.1) =~ /probe/ }), 'ready');
	deliver($spool, $body);
	# What a reader may have put there.
	open my $fh, '>', "$spool/new/.x" or die $!;
	print {$fh} "a\x9b31m\e[2J\tb\xe2\x80" or die $!;
	close $fh or die $!;
	rename "$spool/new/.x", "$spool/new/" . to_come() . 'a.b.json' or die $!;
	ok(wait_for(sub { $look->(0.01) =~ /\ta?b/ }), 'all came');
	my $seen = $look->(0);
	like($seen, qr/"t":"\Q$escaped\E","f":"\Q$fine\E"/,
		'-o on a terminal escapes what steers it, and no more');
	like($seen, qr/^a\\ufffd31m\\u001b\[2J\tb\\ufffd\\ufffd\r$/m,
		'... and what is no JSON');
	is(watched(qr/contact\.e/), "$body\n", '-o elsewhere keeps the bytes');
	for ($pid, $other) {
		kill 'TERM', $_;
		waitpid $_, 0;
	}
	unlink map { "$spool/new/$_" } files($spool);
	for my $with ([NO_COLOR => '1'], [TERM => 'dumb']) {
		($pid, $look) = on_terminal({ %in, start => 1, @{$with} }, 'watch');
		wait_for(sub { deliver($spool, event());
			$look->(0.1) =~ / bytes/ });
		unlike($look->(0), qr/\e/, "@{$with}: no colour");
		kill 'TERM', $pid;
		waitpid $pid, 0;
	}
}
my ($status, undef, $err) = run({ PROTOCOL_HOOK_SPOOL => "$spool-none" },
	'watch');
is($status, 1, 'watch: no spool');
like($err, qr/^protocol-hook: \Q$spool\E-none: .*: No such file/, 'says so');
# One that is refused.
my $open = new_spool();
chmod 0777, $open or die $!;
($status, undef, $err) = run({ PROTOCOL_HOOK_SPOOL => $open }, 'watch');
is($status, 1, 'watch: a spool that others may write to');
is($err, "protocol-hook: $open: others may write to the spool directory\n",
	'gives the reason');
# The first thing that is done with a spool.
$in{PROTOCOL_HOOK_SPOOL} = $spool = new_spool();
my $pid = watch($PROGRAM);
ok(wait_for(sub { -d "$spool/new" || waitpid($pid, POSIX::WNOHANG()) })
	&& -d "$spool/new", 'watch of a spool that was never used makes new/');
ok(watch_ready(), 'and shows what arrives');
kill 'TERM', $pid;
waitpid $pid, 0;

done_testing();
