#!/usr/bin/perl
# examples/consume handles each delivery, whichever process is killed at any
# time.
use strict;
use warnings;
use Cwd qw(abs_path);
use POSIX qw(:sys_wait_h);
use Test::More;
use Time::HiRes qw(sleep time);
# Only processes are killed, so the spool may be in memory.
BEGIN { $ENV{TMPDIR} //= '/dev/shm' if -d '/dev/shm' && -w _ }
use Hook;

# exit() runs the END blocks, which clean up.
$SIG{$_} = sub { exit 1 } for qw(HUP INT TERM);

my $EACH = abs_path('examples/consume/each');
my $DISPATCH = abs_path('examples/consume/dispatch');
my $ON = abs_path('examples/consume/on.d');
my %running;

# Starts examples/consume/each in a process group of its own, with [options], a
# spool and a command.
sub each_start {
	my ($options, $spool, @command) = @_;
	my $pid = fork // die $!;
	if (!$pid) {
		setpgrp;
		open STDIN, '<', '/dev/null' or die $!;
		open STDERR, '>>', "$spool/../log" or die $!;
		exec 'sh', $EACH, @$options, $spool, @command
			or POSIX::_exit(127);
	}
	$running{$pid} = 1;
	return $pid;
}

sub each_wait {
	my ($pid, $seconds) = @_;
	wait_for(sub { waitpid($pid, WNOHANG) == $pid }, $seconds) or return;
	delete $running{$pid};
	return $?;
}

sub each_end {
	my ($pid) = @_;
	kill 'TERM', $pid;
	return each_wait($pid);
}

END {
	my $status = $?;
	kill 'KILL', -$_ for keys %running;
	waitpid $_, 0 for keys %running;
	$? = $status;
}

sub claimed { return map { "$_/" . (files($_[0], "each/$_"))[0] }
	grep { files($_[0], "each/$_") } files($_[0], 'each') }

# Delivers events by the program; returns their bodies.
sub deliver {
	my ($spool, $n, %with) = @_;
	my $worker = worker(spool => $spool);
	my @bodies = map { event(%with) } 1 .. $n;
	for (@bodies) {
		post($worker, $_)->{status} == 200 or die 'not delivered';
	}
	reap($worker);
	return @bodies;
}

sub lines { return -e $_[0] ? split /\n/, slurp($_[0]) : () }
sub count { return scalar(() = lines($_[0])) }

# One delivery: the command gets each byte.
my $spool = new_spool();
my $out = "$spool/../out";
is(cgi(spool => $spool, body => $EXAMPLE)->{status}, 200, 'delivered');
my ($name) = files($spool);
my $pid = each_start(['-1'], $spool, 'sh', '-c',
	'cat >"$0" && echo "$EVENT_NAME $EVENT_TYPE $EVENT_ID $EVENT_TRY" >"$0.env"
	cmp "$0" "$EVENT_FILE"', $out);
is(each_wait($pid), 0, '-1 ends when nothing is left');
is(slurp($out), $EXAMPLE, 'the event is on standard input, byte for byte');
is(slurp("$out.env"), "$name message.updated a056V7R7NmNRjl70 1\n",
	'name, type and id are in the environment');
is_deeply([files($spool), claimed($spool)], [], 'and then it is deleted');

# One copy keeps the order, of what waited when it began and of what comes later.
$spool = new_spool();
$out = "$spool/../out";
my @bodies = deliver($spool, 30);
$pid = each_start([], $spool, 'sh', '-c', 'cat >>"$0"; echo >>"$0"', $out);
ok(wait_for(sub { count($out) == 30 }, 60), 'what was there is handled');
push @bodies, deliver($spool, 30);
ok(wait_for(sub { count($out) == 60 }, 60), 'and what came then');
is_deeply([lines($out)], \@bodies, 'one copy keeps the order');
my $began = time;
is(each_end($pid), 0, 'SIGTERM while it waits: ends');
cmp_ok(time - $began, '<', 1.5, 'at once');

# Failing commands.
$spool = new_spool();
$out = "$spool/../out";
@bodies = deliver($spool, 3);
my @names = files($spool);
$pid = each_start(['-1', '-n', 3], $spool, 'perl', '-MTime::HiRes=time', '-e',
	'open F, ">>", $ARGV[0]; print F "$ENV{EVENT_ID} $ENV{EVENT_TRY} ", time,
	"\n"; exit($ENV{EVENT_NAME} eq $ARGV[1] ? 7 : $ENV{EVENT_NAME} eq $ARGV[2]
	? 65 : $ENV{EVENT_TRY} < 2)', $out, $names[0], $names[1]);
is(each_wait($pid, 30), 0, 'failing commands: it goes on');
my @tries = map { [split] } lines($out);
is_deeply([map { $_->[1] } @tries], [1, 2, 3, 1, 1, 2],
	'three tries, then given up; one with exit status 65; two and done');
my @pause = map { $tries[$_]->[2] - $tries[$_ - 1]->[2] } 1, 2;
ok($pause[0] >= 1 && $pause[1] >= 2 && $pause[1] < 5, 'pauses grow')
	or diag "@pause";
is_deeply([files($spool, 'failed')], [@names[0, 1]], 'two are in failed/');
is_deeply([content($spool, 'failed')], [@bodies[0, 1]], 'as they came');
is_deeply([files($spool), claimed($spool)], [], 'nothing is elsewhere');

# Several copies share the files.
$spool = new_spool();
$out = "$spool/../out";
@bodies = deliver($spool, 45);
my @copies = map { each_start(['-1'], $spool, 'sh', '-c',
	'sleep 0.02; read -r line; echo "$PPID $line" >>"$0"', $out) } 1 .. 3;
is_deeply([map { each_wait($_, 60) } @copies], [0, 0, 0], 'three copies end');
my %by;
$by{(split ' ')[0]}++ for lines($out);
is_deeply([sort map { s/^\d+ //r } lines($out)], [sort @bodies],
	'three copies: each delivery handled once');
is(scalar(keys %by), 3, 'every copy had some');

# SIGTERM while a command runs, and during a pause.
$spool = new_spool();
$out = "$spool/../out";
@bodies = deliver($spool, 2);
my $gate = "$spool/../gate";
$pid = each_start([], $spool, 'sh', '-c',
	'echo begun >>"$0"; while [ ! -e "$1" ]; do sleep 0.02; done
	echo ended >>"$0"', $out, $gate);
ok(wait_for(sub { count($out) == 1 }), 'a command runs');
kill 'TERM', $pid;
ok(!each_wait($pid, 0.3), 'SIGTERM: waits for the running command');
open my $touch, '>', $gate or die $!;
is(each_wait($pid), 0, 'and ends then');
is_deeply([lines($out)], ['begun', 'ended'], 'the command was not cut off');
is_deeply([content($spool, 'new')], [$bodies[1]],
	'what it had handled is deleted, the next waits');
$pid = each_start(['-p', 60], $spool, 'sh', '-c', 'exit 1');
ok(wait_for(sub { grep { /again in 60/ } lines("$spool/../log") }), 'it pauses');
$began = time;
is(each_end($pid), 0, 'SIGTERM in a pause: ends');
cmp_ok(time - $began, '<', 1.5, 'at once');
like((claimed($spool))[0], qr/\.1$/, 'the claim is kept, with its try');
$pid = each_start(['-1'], $spool, 'sh', '-c', 'cat "$EVENT_FILE" >"$0"
	echo " $EVENT_TRY" >>"$0"', $out);
is(each_wait($pid), 0, 'the next one');
is(slurp($out), "$bodies[1] 2\n", 'goes on with it');

# It is killed, but its command is not: no other copy runs a command meanwhile.
$spool = new_spool();
$out = "$spool/../out";
unlink $gate;
$gate = "$spool/../gate";
@bodies = deliver($spool, 1);
my @hold = ('sh', '-c', 'echo "begun $EVENT_TRY" >>"$0"
	while [ ! -e "$1" ]; do sleep 0.02; done; echo ended >>"$0"', $out, $gate);
$pid = each_start([], $spool, @hold);
ok(wait_for(sub { count($out) == 1 }), 'a command runs');
kill 'KILL', $pid;
each_wait($pid);
$pid = each_start(['-w', 1], $spool, @hold);
sleep 1.2;
is_deeply([lines($out)], ['begun 1'], 'killed: no second command beside it');
open $touch, '>', $gate or die $!;
ok(wait_for(sub { count($out) == 4 }), 'but when it has ended');
is_deeply([lines($out)], ['begun 1', 'ended', 'begun 2', 'ended'],
	'the delivery is handled');
each_end($pid);
is_deeply([files($spool), claimed($spool), files($spool, 'failed')], [],
	'nothing is left');

# Three copies are killed 200 times at random moments, with or without their
# commands, while deliveries come in.
$spool = new_spool();
$out = "$spool/../done";
mkdir $out or die $!;
my @command = ('sh', '-c', 'cat >"$0/.$$" &&
	mv "$0/.$$" "$0/$EVENT_NAME.$$"', $out);
my $start = sub { each_start(['-n', 1000, '-w', 1], $spool, @command) };
@copies = map { $start->() } 1 .. 3;
my $worker = worker(spool => $spool);
my ($kills, %sent) = (0);
while ($kills < 200) {
	for (1 .. 2) {
		my $body = event();
		post($worker, $body)->{status} == 200 or die 'not delivered';
		$sent{$body} = 1;
	}
	sleep rand 0.05;
	my $which = int rand 3;
	kill 'KILL', rand() < 0.5 ? $copies[$which] : -$copies[$which];
	each_wait($copies[$which]);
	$kills++;
	$copies[$which] = $start->();
}
reap($worker);
ok(wait_for(sub { !files($spool) && !claimed($spool) }, 120),
	'killed 200 times: nothing stays in new/ or claimed')
	or diag scalar(() = files($spool)), ' in new/, ', join "\n", claimed($spool);
each_end($_) for @copies;
my (%done, $torn);
for (content($spool, '../done')) {
	$torn++ if !$sent{$_};
	$done{$_}++;
}
is(scalar(keys %sent), 400, '400 deliveries');
is(scalar(grep { !$done{$_} } keys %sent), 0, 'all of them handled');
is($torn // 0, 0, 'whole, byte for byte');
is_deeply([files($spool, 'failed')], [], 'none given up');
my $again = 0;
$again += $_ - 1 for values %done;
cmp_ok($again, '<=', 200, 'and no more than one twice for each kill');
note "$again handled twice";

# Without inotifywait it looks every two seconds.
$spool = new_spool();
$out = "$spool/../out";
my $bin = scratch();
for my $tool (qw(sh cat mv rm mkdir sleep flock sed)) {
	my ($path) = grep { -x } map { "$_/$tool" } split /:/, $ENV{PATH};
	symlink $path, "$bin/$tool" or die $!;
}
{
	local $ENV{PATH} = $bin;
	$pid = each_start([], $spool, 'sh', '-c', 'cat >"$0"', $out);
}
sleep 0.3;
@bodies = deliver($spool, 1);
ok(wait_for(sub { -s $out && !claimed($spool) }, 5), 'without inotifywait');
is(slurp($out), $bodies[0], 'handled as well');
each_end($pid);

# mv is killed after it has renamed the file: the file is claimed.
$spool = new_spool();
$out = "$spool/../out";
open my $mv, '>', "$spool/../mv" or die $!;
print {$mv} qq(#!/bin/sh\nPATH=\${PATH#*:}\nmv "\$@" && kill -KILL \$\$\n);
close $mv;
chmod 0755, "$spool/../mv";
@bodies = deliver($spool, 2);
{
	local $ENV{PATH} = abs_path("$spool/..") . ":$ENV{PATH}";
	$pid = each_start(['-1'], $spool, 'sh', '-c', 'cat >>"$0"', $out);
	each_wait($pid);
}
is(slurp($out), join('', @bodies), 'mv is killed: all is handled');
is_deeply([files($spool), claimed($spool)], [], 'and nothing is left');

# A directory with a program for each type.
SKIP: {
	skip 'needs jq and sqlite3', 7 if grep { system("command -v $_ >/dev/null") }
		qw(jq sqlite3);
	$spool = new_spool();
	my $dir = abs_path("$spool/..");
	my ($body) = deliver($spool, 1, pad => 20);
	deliver($spool, 1, type => 'group.deleted', id => 'g1');
	deliver($spool, 1, type => '..', id => 'up');
	open my $sendmail, '>', "$dir/sendmail" or die $!;
	print {$sendmail} qq(#!/bin/sh\necho "\$*" >"$dir/mail"; cat >>"$dir/mail"\n);
	close $sendmail;
	chmod 0755, "$dir/sendmail";
	local %ENV = (%ENV, PATH => "$dir:$ENV{PATH}", EVENTS_TSV => "$dir/tsv",
		EVENTS_DB => "$dir/db");
	$pid = each_start(['-1'], $spool, 'sh', $DISPATCH, $ON);
	is(each_wait($pid), 0, 'dispatch');
	my ($id) = $body =~ /"id":"([^"]+)/;
	is(slurp("$dir/tsv"), "message.created\t$id\tp$id\n", 'jq: a line');
	is(`sqlite3 $dir/db 'select event from message'`, "$body\n",
		'sqlite3: the event, byte for byte');
	like(slurp("$dir/mail"), qr/^-oi -t\nTo: root\nSubject: message.created $id\n/,
		'mail: to whom and what');
	like(slurp("$dir/mail"), qr/\n\nx{20}\n\z/, 'mail: the message');
	is_deeply([map { /Z\.(.*)/ } files($spool, 'failed')],
		['group.deleted.g1.json', '...up.json'],
		'a type without a directory is not dropped');
	is_deeply([files($spool), claimed($spool)], [], 'nothing is left');
}

done_testing();
