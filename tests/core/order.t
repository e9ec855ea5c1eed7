#!/usr/bin/perl
# The order of the calls that make a delivery durable, seen by strace; without
# root, in the program that may be traced (Hook::traceable).
use strict;
use warnings;
use Test::More;
use Hook;

my $why = left_out('order') || no_strace();
plan skip_all => $why if $why;

my $CALLS = 'fdatasync,fsync,syncfs,sync_file_range,linkat,renameat,write,'
	. 'pwrite64,openat,unlinkat,writev';

# The calls on the spool and the answer, one word each.
sub order {
	my ($trace) = @_;
	my @order;
	for (split /\n/, $trace) {
		s/^\d+ +//;
		if (/^openat\(.*O_CREAT.*\) = \d/) { push @order, 'create' if !/"lock"/ }
		elsif (/^write\(\d+(?:<[^>]*>)?, ".*?Status: /) { push @order, 'answer' }
		elsif (/^write\(\d+(?:<[^>]*>)?, "ts=/) { push @order, 'log' }
		elsif (/^write\(\d+(?:<[^>]*>)?, "\{"?/) { push @order, 'write' }
		# When it is done: several threads may be at it.
		elsif (/^(?:<\.\.\. )?(fdatasync|syncfs)\b.* = 0$/) { push @order, $1 }
		elsif (/^fsync\(\d+<.*\/new>/) { push @order, 'fsync new' }
		elsif (/^fsync/) { push @order, 'fsync other' }
		elsif (/^linkat\(.*\/new>, /) { push @order, 'link new' }
		elsif (/^renameat\(.*archive>/) { push @order, 'rename' }
		elsif (/^unlinkat\(/) { push @order, 'remove' }
	}
	return @order;
}

sub traced {
	my (%with) = @_;
	my $file = scratch() . '/trace';
	my $got = cgi(%with, under => ['strace', '-y', '-s', '40', '-o', $file,
		'-e', "trace=$CALLS", map { ('-e', "inject=$_") }
		$with{inject} // ()]);
	return ($got, order(slurp($file)));
}

my $spool = new_spool();
my ($got, @order) = traced(spool => $spool,
	env => { REQUEST_METHOD => 'GET' });
is_deeply([grep { $_ !~ /^create|link|remove/ } @order], ['fsync other', 'log',
	'answer'], 'CGI: the directories that it makes are flushed');
($got, @order) = traced(spool => $spool, body => $EXAMPLE);
is($got->{status}, 200, 'CGI: stored');
is_deeply(\@order, ['create', 'write', 'fdatasync', 'link new', 'fsync new',
	'rename', 'log', 'answer'], 'CGI: data, name, answer, two flushes');
($got, @order) = traced(spool => $spool, body => $EXAMPLE);
is($got->{json}{status}, 'duplicate', 'CGI: a repeat');
is_deeply(\@order, ['log', 'answer'], 'CGI: a repeat flushes nothing');

# What is too old goes after the answer.
sub expired {
	my ($spool) = @_;
	for my $day ('2020-01-01', '2020-01-02') {
		mkdir "$spool/archive/$day" or die $!;
		next if $day eq '2020-01-02';
		open my $fh, '>', "$spool/archive/$day/" . 'a' x 64 or die $!;
	}
	my @t = gmtime(time - 86400);
	mkdir sprintf '%s/archive/%04d-%02d-%02d', $spool, $t[5] + 1900,
		$t[4] + 1, $t[3] or die $!;
	return;
}
expired($spool);
($got, @order) = traced(spool => $spool, body => event());
is(join(' ', grep { /answer|remove/ } @order), 'answer remove remove remove',
	'CGI: the answer, then the tidying');
($got, @order) = traced(spool => $spool, body => event(),
	inject => 'linkat:signal=SIGTERM');
is($got->{status}, 200, 'CGI: SIGTERM after the answer is settled');
is($got->{exit}, 0, '... does not end it');

# Eight requests that are there when the worker looks are one group.
$spool = new_spool();
my $trace = scratch() . '/trace';
my $worker = worker(spool => $spool, under => ['strace', '-f', '-y', '-s', '40',
	'-o', $trace, '-e', "trace=$CALLS", '-D']);
is(post($worker, event())->{status}, 200, 'FastCGI: ready');
is(fcgi_recv($_)->{status}, 200, 'FastCGI: stored')
	for send_group($worker, map { event() } 1 .. 8);
reap($worker);
@order = order(slurp($trace));
my ($last) = grep { $order[$_] eq 'fsync new' } 0 .. $#order;
splice @order, 0, $last + 1;	# the first one's
my %seen;
$seen{$_}++ for @order;
is($seen{'fsync new'}, 1, 'a group of 8 flushes the directory once');
is($seen{fdatasync}, 8, 'and each file');
my %threads = map { $_ => 1 } slurp($trace) =~ /^(\d+) +fdatasync\(/mg;
cmp_ok(scalar keys %threads, '>=', 4, 'in several threads');
my $names = join ' ', map { /link new|fsync new|fdatasync|answer/ ? $_ : () }
	@order;
like($names, qr/^(answer )?(fdatasync ){8}(link new ){8}fsync new( answer){8}$/,
	'all data, then all names, then the directory, then the answers');

# One that is no event in the group, and an old day.
$spool = new_spool();
cgi(spool => $spool, body => event());
expired($spool);
$worker = worker(spool => $spool, under => ['strace', '-f', '-y', '-s', '40',
	'-o', $trace, '-e', "trace=$CALLS", '-D']);
post($worker, '', params => { REQUEST_METHOD => 'PUT' });
is(join(' ', map { fcgi_recv($_)->{status} } send_group($worker, event(),
	'"no event"')), '200 422', 'a mixed group');
reap($worker);
@order = order(slurp($trace));
is(join(' ', grep { /fsync|answer/ } @order), 'answer fsync new fsync other '
	. 'answer answer', 'flushes new/ and rejected/, before the answers');
like(join(' ', grep { $_ ne 'log' } @order), qr/^answer remove remove remove /,
	'the old day goes after the answer');

done_testing();
