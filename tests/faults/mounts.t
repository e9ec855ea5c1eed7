#!/usr/bin/perl
# Mounts on which a delivery can't be stored: GET says so, each delivery gets
# an error that names the mount, and nothing is lost.
use strict;
use warnings;
use Test::More;
use Disk;
use Hook;

plan skip_all => 'needs root and loop devices' if !can_mount();

sub get { return cgi(spool => $_[0], env => { REQUEST_METHOD => 'GET' }) }

sub bind_mount {
	my ($from, $to) = @_;
	system('mount', '--bind', $from, $to) == 0 or die "mount $to";
	$Disk::mounted{$to} = 1;
	return;
}

for my $sub (qw(new archive rejected)) {
	my $spool = new_spool();
	is(get($spool)->{status}, 200, 'ready');
	my $other = scratch();
	bind_mount($other, "$spool/$sub");
	for my $got (get($spool), cgi(spool => $spool, body => event())) {
		isnt($got->{status}, 200, "$sub/ is a bind mount: not 200");
		like($got->{log}, qr{reason="$sub/ in the spool is a mount of its own},
			'the log says why');
	}
	my $worker = worker(spool => $spool);
	isnt(post($worker, event())->{status}, 200, 'nor by FastCGI');
	reap($worker);
	unmount_disk({ at => "$spool/$sub" });
	is(cgi(spool => $spool, body => event())->{status}, 200,
		'without it all is well');
}

# The whole spool may be one.
my ($spool, $there) = (new_spool(), new_spool());
bind_mount($there, $spool);
is(get($spool)->{status}, 200, 'the spool is a bind mount: ready');
is(cgi(spool => $spool, body => event())->{status}, 200, 'and stores');
unmount_disk({ at => $spool });

done_testing();
