#!/usr/bin/perl
# A test that is ended by a signal leaves no process and no file.
use strict;
use warnings;
use Test::More;
use Hook;

plan skip_all => 'needs /proc, or ps' if !-e '/proc/self/stat' &&
	system('ps -A -o pid= -o ppid= >/dev/null 2>&1') != 0;

# A test that is interrupted while it has a spool, workers, a program that
# waits for its body, and a command that has started another.  It prints their
# numbers.
my $TEST = <<'END';
use Hook;
$| = 1;
my $spool = new_spool();
my $worker = worker(spool => $spool, count => 2);
pipe my $read, my $write or die $!;
my $cgi = cgi(spool => $spool, body => ' ', stdin => $read, start => 1);
my $command = fork // die $!;
exec 'sh', '-c', 'sleep 1000 & echo $! >"$0"; wait', "$worker->{dir}/pid"
	or die $! if !$command;
wait_for(sub { -s "$worker->{dir}/pid" }) or die;
my ($slept) = slurp("$worker->{dir}/pid") =~ /(\d+)/;
print "@{ $worker->{pids} } $cgi->{pid} $command $slept\n";
if ($ARGV[0] eq 'PIPE') {
	print 'more' while 1;
}
waitpid $command, 0;
print "not interrupted\n";
END

# Starts COMMAND with its files in DIR; returns its process and its output.
sub start {
	my ($dir, @command) = @_;
	pipe my $read, my $write or die $!;
	my $pid = fork // die $!;
	if (!$pid) {
		close $read;
		$ENV{TMPDIR} = $dir;
		$SIG{$_} = 'DEFAULT' for qw(HUP INT TERM PIPE);
		open STDOUT, '>&', $write or die $!;
		open STDERR, '>', '/dev/null' or die $!;
		exec @command or POSIX::_exit(127);
	}
	return ($pid, $read);
}

# Names in DIR.
sub names_in {
	my ($dir) = @_;
	opendir my $d, $dir or die "$dir: $!";
	my @names = grep { !/^\.\.?$/ } readdir $d;
	return @names;
}

for my $signal (qw(HUP INT TERM PIPE)) {
	subtest "SIG$signal fails the test, and nothing is left" => sub {
		my $dir = scratch();
		my ($pid, $read) = start($dir, $^X, '-Itests/lib', '-e', $TEST,
			$signal);
		my @pids = split ' ', <$read> // '';
		is(scalar @pids, 5, 'it has begun');
		cmp_ok(scalar names_in($dir), '>', 0, 'it has files');
		close $read if $signal eq 'PIPE';
		kill $signal, $pid if $signal ne 'PIPE';
		waitpid $pid, 0;
		is($?, 1 << 8, 'exit status');
		my @left = @pids;
		wait_for(sub { @left = grep { Hook::runs($_) } @left; !@left },
			5);
		is("@left", '', 'no process is left');
		is(join(' ', names_in($dir)), '', 'no file is left');
		kill 'KILL', @left;
	};
}

subtest 'make check | head leaves nothing' => sub {
	my $dir = scratch();
	my ($pid, $read) = start($dir, 'prove', '-v', '-Itests/lib',
		'tests/core/cgi.t');
	scalar <$read> for 1 .. 3;
	close $read;
	waitpid $pid, 0;
	ok(wait_for(sub { !names_in($dir) }), 'no file is left')
		or diag(join ' ', names_in($dir));
};

done_testing();
