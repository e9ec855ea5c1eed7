#!/usr/bin/perl
# Under valgrind, for CGI and for FastCGI until SIGTERM: no memory is lost, none
# is read that was never written, and the memory in use does not grow with the
# number of requests; and valgrind reports the mutations leaks-*.
use strict;
use warnings;
use Test::More;
use Hook;

plan skip_all => 'needs valgrind' if system('valgrind --version >/dev/null 2>&1');

# valgrind opens its log before the sandbox forbids that.
my $log = scratch() . '/valgrind';
my @valgrind = ('valgrind', '--leak-check=full', '--show-leak-kinds=definite,'
	. 'indirect,possible', '--errors-for-leak-kinds=definite,indirect,possible',
	'--error-exitcode=99', "--log-file=$log");

# N bodies of each kind; json-c allocates memory for escapes.
sub bodies {
	my ($n) = @_;
	return map { (event(), event(id => "\\u00e9$n-$_"), "no event $n-$_",
		event(pad => 100000)) } 1 .. $n;
}

# Checks valgrind's log; returns how many bytes were in use at the end.
sub nothing_is_lost {
	my ($name) = @_;
	my $report = slurp($log);
	like($report, qr/ERROR SUMMARY: 0 errors/, "$name: no errors")
		or diag($report);
	unlike($report, qr/(?:definitely|indirectly|possibly) lost: [1-9]/,
		"$name: no memory is lost");
	my ($bytes) = $report =~ /still reachable: ([\d,]+)/;
	return $bytes // 0;
}

subtest 'CGI' => sub {
	my %name = ($EXAMPLE => 'the example');
	for my $body (bodies(1), $EXAMPLE) {
		my $name = $name{$body} // length($body) . ' bytes';
		my $got = cgi(spool => new_spool(), body => $body,
			under => \@valgrind);
		is($got->{exit}, 0, "$name: exit status");
		like($got->{status}, qr/^(200|422)$/, "$name: status");
		nothing_is_lost($name);
	}
	is(cgi(spool => new_spool(), env => { REQUEST_METHOD => 'GET' },
		under => \@valgrind)->{status}, 200, 'GET: status');
	nothing_is_lost('GET');
};

# A worker gets N bodies of each kind, also on connections that are kept or cut
# off.  Returns how many bytes were in use at its end.
sub serve {
	my ($n) = @_;
	my $worker = worker(spool => new_spool(), under => \@valgrind);
	my $bad = 0;
	for my $body (bodies($n)) {
		my $got = post($worker, $body);
		$bad++ if !$got || $got->{status} !~ /^(200|422)$/;
		my $socket = fcgi_connect($worker);
		fcgi_send($socket, fcgi_request($body, keep => 1));
		$bad++ if !fcgi_recv($socket);
		fcgi_send($socket, substr fcgi_request(event()), 0, -30);
	}
	is($bad, 0, "$n of each kind: all are answered");
	is(reap($worker), 0, "$n of each kind: exit status after SIGTERM");
	return nothing_is_lost("$n of each kind");
}

subtest 'FastCGI' => sub {
	my $few = serve(2);
	is(serve(20), $few, "$few bytes are in use, however many requests came");
};

for my $patch (glob 'tests/mutations/leaks-*.patch') {
	subtest "$patch: the leak is reported" => sub {
		my $dir = scratch();
		is(system('sh', 'tests/mutations/apply', $patch, $dir), 0,
			'it is planted');
		is(system("make -s -C $dir all"), 0, 'it is built');
		local $Hook::PROGRAM = "$dir/protocol-hook";
		my $got = cgi(spool => new_spool(), body => event(id => '\u00e9'),
			under => \@valgrind);
		is($got->{exit}, 99, 'valgrind has an error');
		like(slurp($log), qr/definitely lost: [1-9]/, 'memory is lost');
	};
}
done_testing();
