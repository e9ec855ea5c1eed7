#!/usr/bin/perl
# The order of the system calls that make a delivery durable, as strace sees it.
# For users other than root, strace runs a build that may be traced.
use strict;
use warnings;
use Test::More;
use Hook;

my $why = left_out('order') || no_strace();
plan skip_all => $why if $why;

my $CALLS = 'fdatasync,fsync,syncfs,sync_file_range,linkat,renameat,write,'
	. 'pwrite64,openat,unlinkat,writev';

# What a line of a trace is, by the first pattern that matches.
my $WRITE = qr/^write\(\d+(?:<[^>]*>)?, /;
my @WORDS = (
	[qr/^openat\(.*"lock"/ => undef],
	[qr/^openat\(.*O_CREAT.*\) = \d/ => 'create'],
	[qr/$WRITE".*?Status: / => 'answer'],
	[qr/$WRITE"ts=/ => 'log'],
	[qr/$WRITE"\{"?/ => 'write'],
	# When they return: calls of several threads may overlap.
	[qr/^(?:<\.\.\. )?fdatasync\b.* = 0$/ => 'fdatasync'],
	[qr/^(?:<\.\.\. )?syncfs\b.* = 0$/ => 'syncfs'],
	[qr/^fsync\(\d+<.*\/new>/ => 'fsync new'],
	[qr/^fsync/ => 'fsync other'],
	[qr/^linkat\(.*\/new>, / => 'link new'],
	[qr/^renameat\(.*archive>/ => 'rename'],
	[qr/^unlinkat\(/ => 'remove'],
);

# The calls of TRACE on the spool, the log and the answer: a word each.
sub order {
	my ($trace) = @_;
	my @order;
	for my $line (split /\n/, $trace =~ s/^\d+ +//mgr) {
		my ($is) = grep { $line =~ $_->[0] } @WORDS;
		push @order, $is->[1] if $is && defined $is->[1];
	}
	return @order;
}

# The words of LIST that match PATTERN, in one string.
sub only {
	my ($pattern, @list) = @_;
	return join ' ', grep { /$pattern/ } @list;
}

# Runs cgi() under strace: its answer, and order().
sub trace_cgi {
	my (%with) = @_;
	my $file = scratch() . '/trace';
	my $got = cgi(%with, under => ['strace', '-y', '-s', '40', '-o', $file,
		'-e', "trace=$CALLS", map { ('-e', "inject=$_") }
		$with{inject} // ()]);
	return ($got, order(slurp($file)));
}

# A worker under strace, which writes to the file TRACE.
sub trace_worker {
	my ($spool, $trace) = @_;
	return worker(spool => $spool, under => ['strace', '-f', '-y', '-s',
		'40', '-o', $trace, '-e', "trace=$CALLS", '-D']);
}

# A spool with two expired days, one of which has a file, and with yesterday's.
sub spool_with_expired_days {
	my $spool = new_spool();
	cgi(spool => $spool, body => event());
	mkdir "$spool/archive/$_" or die $!
		for '2020-01-01', '2020-01-02', days_ago(1);
	spew("$spool/archive/2020-01-01/" . 'a' x 64, '');
	return $spool;
}

subtest 'CGI: new directories are flushed before the answer' => sub {
	my (undef, @order) = trace_cgi(spool => new_spool(),
		env => { REQUEST_METHOD => 'GET' });
	is_deeply([grep { $_ !~ /^create|link|remove/ } @order],
		['fsync other', 'log', 'answer'], 'order');
};

subtest 'CGI: data and name are flushed before the answer' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, env => { REQUEST_METHOD => 'GET' });
	my ($got, @order) = trace_cgi(spool => $spool, body => $EXAMPLE);
	is($got->{status}, 200, 'stored');
	is_deeply(\@order, ['create', 'write', 'fdatasync', 'link new',
		'fsync new', 'rename', 'log', 'answer'], 'order');
	($got, @order) = trace_cgi(spool => $spool, body => $EXAMPLE);
	is($got->{json}{status}, 'duplicate', 'the same again');
	is_deeply(\@order, ['log', 'answer'], 'a duplicate flushes nothing');
};

subtest 'CGI: expired files are removed after the answer' => sub {
	my ($got, @order) = trace_cgi(spool => spool_with_expired_days(),
		body => event());
	is(only('answer|remove', @order), 'answer remove remove remove',
		'order');
};

subtest 'CGI: SIGTERM during the commit does not prevent the answer' => sub {
	my ($got) = trace_cgi(spool => new_spool(), body => event(),
		inject => 'linkat:signal=SIGTERM');
	is($got->{status}, 200, 'status');
	is($got->{exit}, 0, 'exit status');
};

subtest 'FastCGI: eight requests at once are one group' => sub {
	my $trace = scratch() . '/trace';
	my $worker = trace_worker(new_spool(), $trace);
	is(post_status($worker, event()), 200, 'ready');
	is(fcgi_status($_), 200, 'stored')
		for send_group($worker, map { event() } 1 .. 8);
	reap($worker);
	my @order = order(slurp($trace));
	my ($first) = grep { $order[$_] eq 'fsync new' } 0 .. $#order;
	splice @order, 0, $first + 1;	# those of the request before
	is((grep { $_ eq 'fsync new' } @order), 1, 'new/ is flushed once');
	is((grep { $_ eq 'fdatasync' } @order), 8, '... and each file');
	my %threads = map { $_ => 1 }
		slurp($trace) =~ /^(\d+) +fdatasync\(/mg;
	cmp_ok(scalar keys %threads, '>=', 4, '... by several threads');
	like(only('link new|fsync new|fdatasync|answer', @order),
		qr/^(answer )?(fdatasync ){8}(link new ){8}fsync new( answer){8}$/,
		'all data, then all names, then the directory, then answers');
};

subtest 'FastCGI: new/ and rejected/ are flushed before the answers' => sub {
	my $trace = scratch() . '/trace';
	my $worker = trace_worker(spool_with_expired_days(), $trace);
	post($worker, '', params => { REQUEST_METHOD => 'PUT' });
	is(join(' ', map { fcgi_status($_) } send_group($worker, event(),
		'"no event"')), '200 422', 'an event, and one that is not');
	reap($worker);
	my @order = order(slurp($trace));
	is(only('fsync|answer', @order),
		'answer fsync new fsync other answer answer', 'order');
	like(only('^(?!log$)', @order), qr/^answer remove remove remove /,
		'expired files are removed after the answer');
};

done_testing();
