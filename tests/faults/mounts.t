#!/usr/bin/perl
# Mounts on which a delivery cannot be stored: GET and each delivery get an error
# whose log line names the mount, and nothing is lost.
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
	subtest "$sub/ as a bind mount is refused" => sub {
		my $spool = new_spool();
		is(get($spool)->{status}, 200, 'before: GET');
		my $other = scratch();
		bind_mount($other, "$spool/$sub");
		for (['GET', get($spool)],
			['a delivery', cgi(spool => $spool, body => event())]) {
			my ($name, $got) = @{$_};
			isnt($got->{status}, 200, "$name by CGI: status");
			like($got->{log},
				qr{reason="$sub/ in the spool is a mount of its own},
				"$name by CGI: the log says why");
		}
		my $worker = worker(spool => $spool);
		isnt(post($worker, event())->{status}, 200,
			'a delivery by FastCGI: status');
		reap($worker);
		unmount_disk({ at => "$spool/$sub" });
		is(cgi(spool => $spool, body => event())->{status}, 200,
			'after: a delivery is stored');
	};
}

subtest 'the whole spool may be a bind mount' => sub {
	my ($spool, $there) = (new_spool(), new_spool());
	bind_mount($there, $spool);
	is(get($spool)->{status}, 200, 'GET');
	is(cgi(spool => $spool, body => event())->{status}, 200,
		'a delivery is stored');
	unmount_disk({ at => $spool });
};

done_testing();
