#!/usr/bin/perl
# valgrind, for CGI and for FastCGI until SIGTERM: no byte is lost, none is read
# that was never written, and what the process holds does not grow.
use strict;
use warnings;
use Test::More;
use Hook;

plan skip_all => 'needs valgrind' if system('valgrind --version >/dev/null 2>&1');

my $log = scratch() . '/valgrind';
# The log is opened before the sandbox closes.
my @valgrind = ('valgrind', '--leak-check=full', '--show-leak-kinds=definite,'
	. 'indirect,possible', '--errors-for-leak-kinds=definite,indirect,possible',
	'--error-exitcode=99', "--log-file=$log");

# Bodies of every kind; escapes are what makes json-c allocate.
sub bodies {
	my ($n) = @_;
	return map { (event(), event(id => "\\u00e9$n-$_"), "no event $n-$_",
		event(pad => 100000)) } 1 .. $n;
}

sub clean {
	my ($name) = @_;
	my $said = slurp($log);
	like($said, qr/ERROR SUMMARY: 0 errors/, "$name: no errors") or diag($said);
	unlike($said, qr/(?:definitely|indirectly|possibly) lost: [1-9]/,
		"$name: nothing is lost");
	my ($held) = $said =~ /still reachable: ([\d,]+)/;
	return $held // 0;
}

for my $body (bodies(1), $EXAMPLE) {
	my $got = cgi(spool => new_spool(), body => $body, under => \@valgrind);
	is($got->{exit}, 0, 'CGI: exit status');
	like($got->{status}, qr/^(200|422)$/, 'CGI: answered');
	clean('CGI');
}
is(cgi(spool => new_spool(), env => { REQUEST_METHOD => 'GET' },
	under => \@valgrind)->{status}, 200, 'CGI: GET');
clean('CGI: GET');

# A worker that takes N of each, some on kept connections or cut off.
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
	is($bad, 0, "FastCGI: $n of each kind answered");
	is(reap($worker), 0, 'FastCGI: SIGTERM ends it with 0');
	return clean("FastCGI: $n of each kind");
}
my $few = serve(2);
is(serve(20), $few, "FastCGI: $few bytes are held, however many come");

for my $patch (glob 'tests/plants/leaks-*.patch') {
	my $dir = scratch();
	is(system('sh', 'tests/plants/plant', $patch, $dir), 0, "$patch: planted");
	is(system("make -s -C $dir all"), 0, "$patch: built");
	local $Hook::PROGRAM = "$dir/protocol-hook";
	is(cgi(spool => new_spool(), body => event(id => '\u00e9'),
		under => \@valgrind)->{exit}, 99, "$patch: found");
	like(slurp($log), qr/definitely lost: [1-9]/, "$patch: and shown");
}
done_testing();
