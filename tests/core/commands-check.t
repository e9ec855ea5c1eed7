#!/usr/bin/perl
# check: each thing that breaks, in one line with its cure.
use strict;
use warnings;
use Test::More;
use Digest::SHA qw(sha256_hex);
use Hook;
use Commands;

my ($status, $out, $err, $fh);
my $spool = new_spool();
my %in = (PROTOCOL_HOOK_SPOOL => $spool, PROTOCOL_HOOK_SECRET => 'k' x 32);
($status, $out, $err) = run(\%in, 'check');
is($status, 0, 'check') or diag($out);
is($err, '', 'check: no error');
unlike($out, qr/FAIL/, 'nothing fails');
is(scalar(grep { !/^(ok|note) +\S/ } split /\n/, $out), 0, 'its lines');
like($out, qr/^ok +key +1, the shortest of 32 bytes; /m, 'the key');
like($out, qr/^ok +test delivery /m, 'the test delivery');
is(scalar files($spool, $_), 0, "nothing is left in $_/") for qw(new rejected);
is(scalar(map { files($spool, "archive/$_") } files($spool, 'archive')), 0,
	'nor in archive/');

# Each of these fails, in a line that names it and the cure.
sub fails {
	my ($name, $with, $line) = @_;
	($status, $out) = run({ %in, %{$with} }, 'check');
	is($status, 1, "check: $name: exit status");
	my @fail = grep { /^FAIL/ } split /\n/, $out;
	is(scalar @fail, 1, "check: $name: one line") or diag($out);
	like($fail[0] // '', $line, "check: $name: what, and the cure");
	return;
}
fails('no key', { PROTOCOL_HOOK_SECRET => undef },
	qr/key .*PROTOCOL_HOOK_SECRET is not set.*: set /);
for (['MAX_BODY', '1X'], ['KEEP_DAYS', '-1'], ['MIN_FREE', 'x'],
	['EVENTS', 'mesage.*'], ['SECRET_FIEL', 'x']) {
	fails($_->[0], { "PROTOCOL_HOOK_$_->[0]" => $_->[1] },
		qr/PROTOCOL_HOOK_$_->[0] .*: correct or remove it/);
}
fails('little room', { PROTOCOL_HOOK_MIN_FREE => '16777216G' },
	qr/space .*\Q$spool\E, .* below PROTOCOL_HOOK_MIN_FREE: remove files/);
fails('no spool', { PROTOCOL_HOOK_SPOOL => "$spool-none" },
	qr/spool .*No such file or directory: install -d .*\Q$spool\E-none$/);
(my $long) = (run({ %in, 'PROTOCOL_HOOK_' . 'X' x 200 => 1 }, 'check'))[1]
	=~ /^(FAIL .*)$/m;
like($long, qr/PROTOCOL_HOOK_X{100,} is no variable of.*: correct or remove/,
	'check: a long name, too');
utime 0, time + 3 * 86400, "$spool/new" or die $!;
fails('a clock that was put back', {}, qr/clock .*later than now: set it/);
utime 0, time, "$spool/new" or die $!;
chmod 0757, $spool;
fails('others may write', {}, qr/others may write.*: chmod -R o-w /);
chmod 0750, $spool;
rename "$spool/new", "$spool/away" or die $!;
symlink 'away', "$spool/new" or die $!;
fails('a link', {}, qr{new/ .*: move it away}) ;
unlink "$spool/new";
rename "$spool/away", "$spool/new" or die $!;
rename "$spool/lock", "$spool/away" or die $!;
mkdir "$spool/lock" or die $!;
fails('lock is a directory', {}, qr/lock .*: it must be a file and no link$/);
rmdir "$spool/lock";
rename "$spool/away", "$spool/lock" or die $!;
# Repeats can't be looked for in what is named as a day and is none.
my $none = "$spool/archive/2099-01-01";
open $fh, '>', $none or die $!;
is(cgi(spool => $spool, body => event())->{status}, 503, 'no day');
fails('no day', {},
	qr{archive/ +\Q$none\E, .*Not a directory: move it away});
is((run({ %in, PROTOCOL_HOOK_KEEP_DAYS => 0 }, 'check'))[0], 0,
	'where no repeats are looked for, none fails');
unlink $none;
my $secret = "$dir/key";
my %file = (PROTOCOL_HOOK_SECRET => undef,
	PROTOCOL_HOOK_SECRET_FILE => $secret);
($status, $out) = run({ %in, %file }, 'check');
like($out, qr/^FAIL +secret file +\Q$secret\E is not there: put the key/m,
	'check: no secret file');
open $fh, '>', $secret or die $!;
print {$fh} "$KEY-and-more\nand-one-more-key\n";
close $fh or die $!;
chmod 0644, $secret;
fails('a secret file for all', \%file,
	qr/secret file .*every user may read .*: chmod o= \Q$secret\E$/);
chmod 0640, $secret;
{
	my $path = '/x' x 2500;
	($status, $out) = run({ %in, %file, PROTOCOL_HOOK_SECRET_FILE => $path },
		'check');
	like($out, qr/^FAIL +secret file +\Q$path\E can't be read/m,
		'check: a secret file with too long a path');
}
($status, $out) = run({ %in, %file, PROTOCOL_HOOK_SECRET_FILE => 'key', under =>
	['sh', '-c', "cd $dir && exec \"\$@\"", 'sh'] }, 'check');
is($status, 0, 'check: a secret file without a directory in its name')
	or diag($out);
($status, $out) = run({ %in, %file, PROTOCOL_HOOK_SECRET => 'k' }, 'check');
like($out, qr/^FAIL +key .*can't be set together with a key/m,
	'check: two sources of keys');
($status, $out) = run({ %in, %file }, 'check');
is($status, 0, 'check: a secret file');
like($out, qr/^ok +key +2, the shortest of 16 bytes; /m, 'its keys');
like((run({ %in, PROTOCOL_HOOK_SECRET => 'short' }, 'check'))[1],
	qr/^note +key .*5 bytes/m, 'check: a short key');
like((run({ %in, PROTOCOL_HOOK_SECRET => 'k' x 30 . ' ' }, 'check'))[1],
	qr/^note +key .*a space or a quote/m, 'check: white space');
like((run({ %in, PROTOCOL_HOOK_SECRET => '"' . 'k' x 30 . '"' }, 'check'))[1],
	qr/^note +key .*a space or a quote/m, 'check: quotes');

# As somebody who is not root, nothing hides behind root's rights.
SKIP: {
	skip 'not root', 20 if $> != 0;
	my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
	my $home = scratch();
	chmod 0755, $home;
	my $his = "$home/spool";
	mkdir $his, 0750 or die $!;
	chown $uid, $gid, $his;
	my %his = (%in, PROTOCOL_HOOK_SPOOL => $his);
	($status, $out) = run(\%his, 'check');
	like($out, qr/^ok +user +nobody /m, 'root checks as the owner');
	my @st = stat "$his/new";
	is($st[4], $uid, 'what is made is his');
	my $nameless = "$home/nameless";
	mkdir $nameless, 0750 or die $!;
	chown 4242, 4242, $nameless;
	run({ %in, PROTOCOL_HOOK_SPOOL => $nameless }, 'check');
	is((stat "$nameless/archive")[4], 4242, 'nor is what root checks for a '
		. 'user without a name');
	chmod 0550, "$his/new";
	($status, $out) = run(\%his, 'check');
	is($status, 1, 'check: new/ read-only');
	like($out, qr{^FAIL +new/ .*Permission denied: chown}m, 'says so');
	chmod 0770, "$his/new";
	chmod 0500, "$his/archive";
	($status, $out) = run(\%his, 'check');
	like($out, qr{^FAIL +archive/ .*Permission denied: chown}m,
		'check: archive/ read-only');
	chmod 0770, "$his/archive";
	mkdir "$his/archive/2099-01-01", 0700 or die $!;
	($status, $out) = run(\%his, 'check');
	like($out, qr{^FAIL +archive/ +\S+/2099-01-01, .*denied: chown -R nobody}m,
		'check: a day of somebody else');
	rmdir "$his/archive/2099-01-01";
	chmod 0600, $secret;
	chmod 0755, $dir;
	($status, $out) = run({ %his, %file }, 'check');
	like($out, qr{^FAIL +secret file .*can't be read by nobody: change}m,
		'check: a secret file of somebody else');
	# Who he is, and who else there may be.
	chmod 0640, $secret;
	system 'chown', '-R', '54321:54321', $his;
	($status, $out) = run(\%his, 'check');
	like($out, qr/^ok +user +54321 \(uid 54321\), /m,
		'root acts as an owner without a name');
	is($status, 0, 'who can do all');
	system 'chown', '-R', "$uid:$gid", $his;
	($status, $out) = run(\%his, 'check', '-u', 'nobody');
	like($out, qr/^ok +user +nobody /m, 'check -u');
	($status, $out, $err) = run(\%his, 'check', '-u', 'no-such-user');
	is($status, 1, 'check -u of nobody that is known');
	like($err, qr/there is no user no-such-user/, 'says so');
	# root follows no link of the owner's.
	my $sha = sha256_hex('root only');
	my @days = files($his, 'archive');
	open $fh, '>', "$home/secret" or die $!;
	print {$fh} event(id => 'stolen');
	close $fh or die $!;
	chmod 0600, "$home/secret";
	symlink "$home/secret", "$his/archive/$days[0]/$sha" or die $!;
	($status, $out, $err) = run(\%his, 'replay', '-n', '-a');
	unlike($out, qr/stolen/, 'replay follows no link');
	chmod 0000, "$his/archive/$days[0]";
	($status, $out) = run(\%his, 'status', '-j');
	is($status, 1, 'status: a day that can not be read');
	is($out, '', 'prints nothing');
}


SKIP: {
	skip 'nobody else can run it', 3 if !as_other();
	my %with = (%in, under => [as_other()]);
	($status, $out) = run(\%with, 'check');
	like($out, qr/^ok +user +54321 \(uid 54321\), group \?, /m,
		'check: a user without a name');
	($status, $out, $err) = run(\%with, 'check', '-u', 'nobody');
	is($status, 1, 'check -u by one who may not');
	like($err, qr/acting as uid \d+: /, 'says so');
}

# With two sources of keys there is none, whatever is signalled.
my $worker = worker(spool => new_spool(),
	env => { PROTOCOL_HOOK_SECRET_FILE => $secret });
is(post($worker, event())->{status}, 500, 'both a key and a file of keys');
kill 'HUP', $worker->{pid};
wait_for(sub { slurp($worker->{log}) =~ /reload/ });
is(post($worker, event())->{status}, 500, '... also after SIGHUP');
reap($worker);

done_testing();
