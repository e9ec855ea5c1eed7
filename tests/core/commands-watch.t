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

sub watch {
	my ($program, @args) = @_;
	my $pid = fork // die $!;
	if (!$pid) {
		open STDOUT, '>', "$dir/watched" or die $!;
		open STDERR, '>', "$dir/err" or die $!;
		%ENV = (PATH => $ENV{PATH}, %in);
		exec $program, 'watch', @args or POSIX::_exit(127);
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
	like(watched(qr/contact/),
		qr/^\d\d:\d\d:\d\d contact\.updated +$id +$length bytes\n\z/,
		"$name: one line");
	unlike(slurp("$dir/watched"), qr/\e/, "$name: no colour in a file");
	kill 'TERM', $pid;
	waitpid $pid, 0;
	$pid = watch($program, '-o');
	watch_ready();
	deliver($spool,
		qq({"id":"$id","type":"group.created",\n"payload":\r\n{}}\n));
	is(eval { JSON::PP::decode_json(watched(qr/group/))->{id} }, $id,
		"$name -o: JSON on one line");
	kill 'TERM', $pid;
	waitpid $pid, 0;
	unlink map { "$spool/new/$_" } files($spool);
}
is((run({ PROTOCOL_HOOK_SPOOL => "$spool-none" }, 'watch'))[0], 1,
	'watch: no spool');
my $pid = watch($PROGRAM);
watch_ready();
rename "$spool/new", "$spool/old" or die $!;
ok(wait_for(sub { waitpid($pid, POSIX::WNOHANG()) == $pid }),
	'watch ends when new/ is moved away');
like(slurp("$dir/err"), qr/new\/ is gone/, 'and says so');

# The first thing that is done with a spool.
$in{PROTOCOL_HOOK_SPOOL} = $spool = new_spool();
$pid = watch($PROGRAM);
ok(wait_for(sub { -d "$spool/new" || waitpid($pid, POSIX::WNOHANG()) })
	&& -d "$spool/new", 'watch of a spool that was never used makes new/');
ok(watch_ready(), 'and shows what arrives');
kill 'TERM', $pid;
waitpid $pid, 0;

done_testing();
