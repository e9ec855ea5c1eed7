# Assertions on answers of the CGI entry point, and on log lines.
package Answers;
use strict;
use warnings;
use Exporter qw(import);
use Test::More;
use Hook;

our @EXPORT = qw(is_answer reap_clean);

# GOT, from cgi(), has STATUS with a body of the documented type, and exactly
# one log line, with result=WORD; neither shows the key.
sub is_answer {
	my ($got, $status, $word, $name) = @_;
	is($got->{status}, $status, "$name: status");
	is($got->{exit}, 0, "$name: exit status");
	like($got->{first}, qr/^Status: $status [A-Z]/, "$name: Status first");
	my $type = $status == 200 ? 'application/json'
		: 'application/problem+json';
	is($got->{header}{'content-type'}, $type, "$name: type");
	is($got->{header}{'content-length'}, length $got->{body},
		"$name: length");
	is($got->{json}{status}, $status == 200 ? $word : $status,
		"$name: body");
	like($got->{log}, qr/\A$TS result=$word status=$status .*\n\z/,
		"$name: one log line");
	unlike($got->{text} . $got->{log}, qr/\Q$KEY\E/, "$name: no key");
	return;
}

# Ends WORKER with SIGTERM; its log has whole lines, and neither key nor body,
# if bodies have no text but what event() pads them with.
sub reap_clean {
	my ($worker) = @_;
	is(reap($worker), 0, 'SIGTERM: exit status');
	my $log = log_of($worker);
	unlike($log, qr/\Q$KEY\E/, 'the log has no key');
	unlike($log, qr/xxxxxxxxxxxx/, '... and no body');
	is((grep { !/^$TS result=\w+ status=\d{3} .*ms=[\d.]+( reason=.*)?$/ }
		grep { !/^$TS result=sandbox_off / } split /\n/, $log), 0,
		'... but lines of the documented form');
	return;
}

1;
