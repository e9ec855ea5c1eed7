#!/usr/bin/perl
# The environment: a variable with an invalid value gets 500, and the log names
# it; the answer names neither variable nor path.
use strict;
use warnings;
use Test::More;
use Answers;
use Hook;

# Delivers BODY, or any event, with the variable NAME set to VALUE.
sub variable {
	my ($name, $value, $status, $body) = @_;
	my $got = cgi(spool => new_spool(), body => $body // event(),
		env => { "PROTOCOL_HOOK_$name" => $value });
	my $label = "$name=" . ($value // 'unset');
	is($got->{status}, $status, "$label: $status");
	if ($status == 500) {
		like($got->{log},
			qr/result=misconfigured .*PROTOCOL_HOOK_$name/,
			"$label: the log names it");
		unlike($got->{text}, qr/PROTOCOL_HOOK/,
			"$label: the answer does not");
	}
	return;
}

subtest 'SECRET and SECRET_PREVIOUS' => sub {
	variable('SECRET', undef, 500);
	variable('SECRET', '', 500);
	variable('SECRET', 'another', 401);
	variable('SECRET_PREVIOUS', 'another', 200);
	like(cgi(spool => new_spool(), body => event(), env => {
		PROTOCOL_HOOK_SECRET => 'new',
		PROTOCOL_HOOK_SECRET_PREVIOUS => $KEY })->{log},
		qr/ key=2 /, 'the log tells that the previous key was used');
};

subtest 'EVENTS' => sub {
	variable('EVENTS', '*', 200);
	variable('EVENTS', 'message.created', 200);
	variable('EVENTS', 'message.create', 500);
	variable('EVENTS', $_, 500) for '', 'x' x 200;
};

subtest 'MAX_BODY' => sub {
	variable('MAX_BODY', $_, 200) for '1K', '1M', '1024', '1024M';
	variable('MAX_BODY', '10', 413);
	variable('MAX_BODY', $_, 500) for '', '0', '1k', '1G', '-1', '1KB',
		'1.5M', '1025M', '99999999999999999999', ' 1M';
};

subtest 'KEEP_DAYS' => sub {
	variable('KEEP_DAYS', $_, 200) for '0', '1', '3650';
	variable('KEEP_DAYS', $_, 500) for '', '-1', '3651', '7d';
};

subtest 'MIN_FREE' => sub {
	variable('MIN_FREE', $_, 200) for '0', '1K', '1M';
	variable('MIN_FREE', $_, 503) for '1000000G', '18446744073709551615';
	variable('MIN_FREE', $_, 500) for '', 'x', '1T',
		'18446744073709551616';
};

subtest 'SPOOL' => sub {
	variable('SPOOL', '', 500);
	my $got = cgi(spool => '/nonexistent/spool', body => event());
	is_answer($got, 500, 'misconfigured', 'no spool');
	like($got->{log}, qr/spool directory.*No such file/,
		'the log says why');
	unlike($got->{text}, qr/nonexistent/, 'the answer does not');
};

subtest 'the first of two invalid variables is named' => sub {
	like(cgi(spool => new_spool(), env => { PROTOCOL_HOOK_KEEP_DAYS => 'x',
		PROTOCOL_HOOK_MIN_FREE => 'x' })->{log},
		qr/_KEEP_DAYS (?!.*MIN_FREE)/, 'KEEP_DAYS');
};

subtest 'SECRET_FILE has a key a line' => sub {
	my $file = scratch() . '/keys';
	my $got;
	for (["$KEY\n", 200], ["new\n$KEY\n", 200], ["$KEY\r\n", 200],
		["other\n", 401], ['', 500], ["\n\n", 500], ["a\0b\n", 500]) {
		my ($keys, $status) = @$_;
		spew($file, $keys);
		$got = cgi(spool => new_spool(), body => event(), env => {
			PROTOCOL_HOOK_SECRET => undef,
			PROTOCOL_HOOK_SECRET_FILE => $file });
		is($got->{status}, $status, 'a file of ' . length($keys)
			. " bytes: $status");
	}
	like($got->{log}, qr/PROTOCOL_HOOK_SECRET_FILE has a NUL/,
		'the log says what is wrong with the last');
};

subtest 'SECRET_FILE excludes SECRET, and its path is not logged' => sub {
	my $file = scratch() . '/keys';
	spew($file, "a\0b\n");
	like(cgi(spool => new_spool(), env => {
		PROTOCOL_HOOK_SECRET_FILE => $file })->{log},
		qr/PROTOCOL_HOOK_SECRET_FILE can't be set together/, 'both');
	unlike(cgi(spool => new_spool(), env => {
		PROTOCOL_HOOK_SECRET => undef,
		PROTOCOL_HOOK_SECRET_FILE => '/nonexistent/f' })->{log},
		qr/nonexistent/, 'no path');
};

done_testing();
