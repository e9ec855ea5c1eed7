#!/usr/bin/perl
# watch: a line for each arrival, with inotify and without.
use strict;
use warnings;
use Test::More;
use JSON::PP ();
use POSIX ();
use Hook;
use Commands;

my $probes = 0;

sub used_spool {
	my $spool = new_spool();
	deliver($spool, event());
	return $spool;
}

# Starts PROGRAM as watch of SPOOL, with ARGS; under => [what runs it], stdout =>
# a path.  Its output is in $dir/watched, and its messages in $dir/err.
sub start_watch {
	my ($spool, $program, $with, @args) = @_;
	my @under = @{ $with->{under} // [] };
	spew("$dir/$_") for 'watched', 'err';	# not those of the last
	my $pid = fork // die $!;
	return $pid if $pid;
	open STDOUT, '>', $with->{stdout} // "$dir/watched" or die $!;
	open STDERR, '>', "$dir/err" or die $!;
	%ENV = (PATH => $ENV{PATH}, PROTOCOL_HOOK_SPOOL => $spool);
	exec @under, $program, 'watch', @args or POSIX::_exit(127);
}
sub end_watch {
	for (@_) {
		kill 'TERM', $_;
		waitpid $_, 0;
	}
	return;
}
sub watched_has { return slurp("$dir/watched") =~ $_[0] }

# Delivers probes until watch prints one: it is ready.
sub watch_ready {
	my ($spool) = @_;
	return wait_for(sub {
		cgi(spool => $spool, body => event(id => 'probe' . ++$probes));
		return wait_for(sub { watched_has(qr/probe/) }, 0.1);
	});
}
# Starts it, and returns when it is ready.
sub watch {
	my ($spool, @args) = @_;
	my $pid = start_watch($spool, @args);
	watch_ready($spool);
	return $pid;
}
# Waits for the first line that PATTERN matches.
sub watched_line {
	my ($pattern) = @_;
	my $line;
	wait_for(sub {
		($line) = grep { $_ =~ $pattern } split /^/, slurp("$dir/watched");
		$line });
	return $line // 'nothing';
}
# A name in new/ that sorts after all present ones.
sub later_name {
	return POSIX::strftime('%Y1231T235959.999999Z.', gmtime) . $_[0] . '.json';
}

for (['inotify', $PROGRAM], map { ['polling', $_] } grep { -x }
	'build/poll/protocol-hook') {
	my ($how, $program) = @{$_};

	subtest "$how: each arrival is one line, in order" => sub {
		my $spool = used_spool();
		my $pid = watch($spool, $program);
		my $body = event(type => 'contact.updated', id => 'w');
		deliver($spool, $body);
		my $length = length $body;
		my ($at) = map { /T(..)(..)(..)\..*\.w\.json$/ ? "$1:$2:$3" : () }
			files($spool);
		like(watched_line(qr/contact/),
			qr/^$at contact\.updated +w +$length bytes\n\z/, 'the line');
		spew("$spool/new/foreign");
		deliver($spool, event(type => 'group.updated'));
		watched_line(qr/group/);
		kill 'STOP', $pid;
		deliver($spool, event(id => "burst-$_")) for 1 .. 5;
		kill 'CONT', $pid;
		watched_line(qr/burst-5/);
		is(join(' ', slurp("$dir/watched") =~ /burst-(\d)/g), '1 2 3 4 5',
			'several at a time');
		unlike(slurp("$dir/watched"), qr/\e|foreign/,
			'no colour in a file, and no foreign name');
		end_watch($pid);
	};

	subtest "$how: -o prints each body on one line" => sub {
		my $spool = used_spool();
		my $pid = watch($spool, $program, {}, '-o');
		deliver($spool,
			qq({"id":"w","type":"group.created",\n"payload":\r\n{}}\n));
		is(eval { JSON::PP::decode_json(watched_line(qr/group/))->{id} },
			'w', 'it is JSON');
		unlike(watched_line(qr/group/), qr/\r/, 'without a carriage return');
		# A consumer that puts a delivery back gives it a new name, too.
		spew("$spool/back", event(type => 'conversation.created'));
		rename "$spool/back", "$spool/new/" . later_name('a.a') or die $!;
		like(watched_line(qr/conversation/), qr/^\{/,
			'also of a file that is moved into new/');
		end_watch($pid);
	};

	subtest "$how: -o names what it cannot read" => sub {
		my $spool = used_spool();
		my $pid = watch($spool, $program, {}, '-o');
		mkdir "$spool/new/" . later_name('a.b') or die $!;
		ok(wait_for(sub { slurp("$dir/err") =~ /a\.b\.json: Is a dir/ }),
			'a directory');
		symlink "$dir/err", "$spool/new/" . later_name('c.d') or die $!;
		ok(wait_for(sub { slurp("$dir/err") =~ /c\.d\.json: Too many/ }),
			'a symbolic link, which is not followed');
		end_watch($pid);
	};

	subtest "$how: it ends when nobody can read its output" => sub {
		my $spool = used_spool();
		my $pid = start_watch($spool, $program, { stdout => '/dev/full' });
		ok(wait_for(sub { deliver($spool, event());
			waitpid($pid, POSIX::WNOHANG()) == $pid }), 'a full disk');
	};

	subtest "$how: it ends when new/ is moved away" => sub {
		my $spool = used_spool();
		my $pid = watch($spool, $program);
		rename "$spool/new", "$spool/old" or die $!;
		ok(wait_for(sub { waitpid($pid, POSIX::WNOHANG()) == $pid }),
			'it ends');
		like(slurp("$dir/err"), qr/new\/ is gone|new: No such/,
			'its message');
	};
}

subtest '-o closes what it cannot read' => sub {
	my $spool = used_spool();
	my $pid = watch($spool, $PROGRAM,
		{ under => [qw(prlimit --nofile=20)] }, '-o');
	mkdir "$spool/new/" . later_name("a.$_") or die $! for 10 .. 39;
	deliver($spool, event(type => 'attachment.created'));
	like(watched_line(qr/attachment/), qr/^\{/,
		'30 directories, 20 descriptors: it goes on');
	is(scalar(() = slurp("$dir/err") =~ /: Is a directory$/mg), 30,
		'30 directories, 20 descriptors: each is named');
	end_watch($pid);
};

# watch on a terminal: its process, and a function as on_terminal() returns it.
sub watch_on_terminal {
	my ($spool, $with, @args) = @_;
	return on_terminal({ PROTOCOL_HOOK_SPOOL => $spool, start => 1,
		%{$with} }, 'watch', @args);
}

subtest 'on a terminal it says what it waits for, and types have colours' => sub {
	plan skip_all => 'no terminal' if !terminal();
	my $spool = used_spool();
	my ($pid, $look) = watch_on_terminal($spool, {});
	ok(wait_for(sub { $look->(0.01) =~ /waiting for deliveries in \Q$spool/ }),
		'the first line');
	for (['message.created', 32], ['message.updated', 33],
		['message.deleted', 31], ['message.read', 35], ['a', 35],
		['.updated', 35]) {
		my ($type, $colour) = @{$_};
		deliver($spool, event(type => $type));
		ok(wait_for(sub { $look->(0.01) =~ / \e\[${colour}m\Q$type\E
			\ *\e\[0m\ /x }), "$type: colour $colour");
	}
	end_watch($pid);
	($pid, $look) = watch_on_terminal($spool, { NO_COLOR => '' });
	ok(wait_for(sub { deliver($spool, event());
		$look->(0.1) =~ /\e\[32m/ }), 'colours with an empty NO_COLOR');
	end_watch($pid);
};

subtest 'NO_COLOR and TERM=dumb: no colours' => sub {
	plan skip_all => 'no terminal' if !terminal();
	my $spool = used_spool();
	for my $with ([NO_COLOR => '1'], [TERM => 'dumb']) {
		my ($pid, $look) = watch_on_terminal($spool, { @{$with} });
		wait_for(sub { deliver($spool, event());
			$look->(0.1) =~ / bytes/ });
		unlike($look->(0), qr/\e/, "@{$with}");
		end_watch($pid);
	}
};

subtest '-o escapes what controls a terminal, only on a terminal' => sub {
	plan skip_all => 'no terminal' if !terminal();
	my $spool = used_spool();
	# C1 controls, DEL, and the characters that change the direction of text.
	my @controls = map { "\xc2" . chr } 0x80, 0x85, 0x9b, 0x9f;
	push @controls, "\x7f", "\xd8\x9c", map { "\xe2\x80" . chr } 0x8e, 0x8f,
		0xa8 .. 0xae;
	push @controls, map { "\xe2\x81" . chr } 0xa6 .. 0xa9;
	my $controls = join '-', @controls;
	my $escaped = join '-', map { sprintf '\\u%04x', ord }
		map { utf8::decode($_); $_ } @controls;
	my $harmless = "\xc3\xa9\xe2\x80\xa7\xf0\x9f\x98\x80\xc2\xa0";
	my $body = '{"id":"e","type":"contact.e","payload":'
		. qq({"t":"$controls","f":"$harmless"}});
	my ($pid, $look) = watch_on_terminal($spool, { TERM => 'dumb' }, '-o');
	my $to_file = watch($spool, $PROGRAM, {}, '-o');
	ok(wait_for(sub {
		cgi(spool => $spool, body => event(id => 'probe' . ++$probes));
		$look->(0.1) =~ /probe/ }), 'it is ready');
	deliver($spool, $body);
	# Not JSON: a reader may have put it there.
	spew("$spool/new/.x", "a\x9b31m\e[2J\tb\xe2\x80");
	rename "$spool/new/.x", "$spool/new/" . later_name('a.b') or die $!;
	ok(wait_for(sub { $look->(0.01) =~ /\ta?b/ }), 'all has come');
	my $seen = $look->(0);
	like($seen, qr/"t":"\Q$escaped\E","f":"\Q$harmless\E"/,
		'a terminal: JSON escapes for these characters and no others');
	like($seen, qr/^a\\ufffd31m\\u001b\[2J\tb\\ufffd\\ufffd\r$/m,
		'a terminal: bytes that are not JSON');
	is(watched_line(qr/contact\.e/), "$body\n", 'a file: the very bytes');
	end_watch($pid, $to_file);
};

subtest 'a spool that it cannot use: exit status 1 and the reason' => sub {
	my $none = new_spool() . '-none';
	my ($status, undef, $err) = run({ PROTOCOL_HOOK_SPOOL => $none }, 'watch');
	is($status, 1, 'it is missing: exit status');
	like($err, qr/^protocol-hook: \Q$none\E: .*: No such file/,
		'it is missing: the message');
	my $open = new_spool();
	chmod 0777, $open or die $!;
	($status, undef, $err) = run({ PROTOCOL_HOOK_SPOOL => $open }, 'watch');
	is($status, 1, 'others may write to it: exit status');
	is($err, "protocol-hook: $open: others may write to the spool directory\n",
		'others may write to it: the message');
};

subtest 'watch may be the first use of a spool' => sub {
	my $spool = new_spool();
	my $pid = start_watch($spool, $PROGRAM);
	ok(wait_for(sub { -d "$spool/new" || waitpid($pid, POSIX::WNOHANG()) })
		&& -d "$spool/new", 'it makes new/');
	ok(watch_ready($spool), 'it prints what arrives');
	end_watch($pid);
};

done_testing();
