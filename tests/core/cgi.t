#!/usr/bin/perl
# The CGI entry point: every row of the table of answers in protocol-hook(8).
use strict;
use warnings;
use Test::More;
use Answers;
use Digest::SHA qw(sha256_hex);
use Hook;
use POSIX ();

# Larger than PROTOCOL_HOOK_MAX_BODY, which is 1M by default.
my $TOO_LARGE = event(pad => 1 << 20);

subtest 'a whole delivery is stored under its name, once' => sub {
	my $spool = new_spool();
	my $got = cgi(spool => $spool, body => $EXAMPLE,
		env => { REMOTE_ADDR => '192.0.2.1' });
	is_answer($got, 200, 'stored', 'example');
	is($got->{json}{id}, 'a056V7R7NmNRjl70', 'the answer has the id');
	my @new = files($spool);
	is(scalar @new, 1, 'new/ has one file');
	like($new[0], qr/^\d{8}T\d{6}\.\d{6}Z
		\.message\.updated\.a056V7R7NmNRjl70\.json$/x, 'its name');
	is(slurp("$spool/new/$new[0]"), $EXAMPLE, 'its bytes');
	like($got->{log}, qr/ type=message\.updated id=a056V7R7NmNRjl70 /,
		'the log line has the event');
	like($got->{log}, qr/ file=\Q$new[0]\E /, '... and the file');
	like($got->{log}, qr/ bytes=510 remote=192\.0\.2\.1 ms=\d+\.\d+$/,
		'... and size, address and duration');
	unlike($got->{log}, qr/traveling|${\ sign($EXAMPLE)}/,
		'... but neither body nor signature');
	my ($day) = files($spool, 'archive');
	like($day, qr/^\d{4}-\d\d-\d\d$/, 'the archive has a day');
	my ($archived) = files($spool, "archive/$day");
	is($archived, sha256_hex($EXAMPLE), '... with the digest as name');
	my @st = map { [stat] } "$spool/new/$new[0]",
		"$spool/archive/$day/$archived";
	is($st[0][1], $st[1][1], 'both are links to one file');
	is($st[0][3], 2, '... which has no third link');
};

subtest 'the same bytes are a duplicate, also after they were consumed' => sub {
	my $spool = new_spool();
	cgi(spool => $spool, body => $EXAMPLE);
	my ($name) = files($spool);
	is_answer(cgi(spool => $spool, body => $EXAMPLE), 200, 'duplicate',
		'same bytes');
	is(scalar files($spool), 1, 'no second file');
	unlink "$spool/new/$name";
	is_answer(cgi(spool => $spool, body => $EXAMPLE), 200, 'duplicate',
		'after a consumer removed the file');
	is(scalar files($spool), 0, 'the file does not come back');
	is_answer(cgi(spool => $spool, body => "$EXAMPLE "), 200, 'stored',
		'other bytes with the same id');
};

subtest 'one body from 16 processes at once is stored by one' => sub {
	my $spool = new_spool();
	my $body = event();
	my @runs = map { cgi(spool => $spool, body => $body, start => 1) }
		1 .. 16;
	my @results = map { Hook::cgi_done($_->{pid}, $_->{dir}) } @runs;
	is((grep { $_->{status} == 200 } @results), 16, 'all are answered');
	is((grep { $_->{json}{status} eq 'stored' } @results), 1,
		'one stored it');
	is(scalar files($spool), 1, 'there is one file');
};

subtest 'GET and HEAD tell whether deliveries can be stored' => sub {
	my $spool = new_spool();
	for my $method (qw(GET HEAD)) {
		my $got = cgi(spool => $spool, env => {
			REQUEST_METHOD => $method, CONTENT_LENGTH => undef,
			HTTP_X_PROTOCOL_SIGNATURE => undef });
		is($got->{status}, 200, "$method: status");
		is($got->{body}, $method eq 'GET' ?
			qq({"status":"ready"}\n) : '', "$method: body");
		like($got->{log}, qr/^$TS result=ready status=200 /,
			"$method: log");
	}
	is(cgi(spool => "$spool-none", env => { REQUEST_METHOD => $_ })
		->{status}, 500, "$_ where there is no spool")
		for qw(GET HEAD PUT);
	is_answer(cgi(spool => $spool, env => { REQUEST_METHOD => 'GET',
		PROTOCOL_HOOK_MIN_FREE => '1000000G' }), 503, 'unavailable',
		'GET where space is short');
};

subtest 'methods other than GET, HEAD and POST get 405' => sub {
	my $spool = new_spool();
	for my $method (qw(PUT DELETE PATCH OPTIONS post), '') {
		my $got = cgi(spool => $spool, body => event(),
			env => { REQUEST_METHOD => $method });
		is_answer($got, 405, 'bad_method', "method '$method'");
		is($got->{header}{allow}, 'GET, HEAD, POST',
			"method '$method': Allow");
	}
	is(cgi(spool => $spool, env => { REQUEST_METHOD => undef })->{status},
		405, 'no method at all');
};

subtest 'CONTENT_LENGTH is a number, within the limit, and true' => sub {
	my $spool = new_spool();
	for ([undef, 411, 'no_length'], ['', 411, 'no_length'],
		['x', 400, 'bad_request'], ['+5', 400, 'bad_request'],
		['-5', 400, 'bad_request'], [' 5', 400, 'bad_request'],
		['5 ', 400, 'bad_request'], ['0x5', 400, 'bad_request'],
		['5,5', 400, 'bad_request'], ['1e3', 400, 'bad_request'],
		['1048577', 413, 'too_large'], ['9' x 40, 413, 'too_large'],
		['500', 400, 'bad_request']) {
		my ($length, $status, $word) = @$_;
		is_answer(cgi(spool => $spool, body => event(),
			env => { CONTENT_LENGTH => $length }), $status, $word,
			'length ' . ($length // 'absent'));
	}
	is_answer(cgi(spool => $spool, body => $TOO_LARGE), 413, 'too_large',
		'a body over the limit');
	is(scalar(map { files($spool, $_) } 'new', 'rejected'), 0,
		'nothing was kept of these');
};

subtest 'the body is read up to CONTENT_LENGTH and no further' => sub {
	my $spool = new_spool();
	my $body = event();
	$body .= ' ' x ((1 << 20) - length $body);
	is_answer(cgi(spool => $spool, body => $body), 200, 'stored',
		'exactly 1M');
	is((content($spool, 'new'))[0], $body, '... all of its bytes');
	is_answer(cgi(spool => $spool, body => $body . 'left over',
		env => { CONTENT_LENGTH => length $body,
		HTTP_X_PROTOCOL_SIGNATURE => sign($body) }), 200, 'duplicate',
		'bytes after it');
};

subtest 'a chunked body needs no length, but has the same limit' => sub {
	my $spool = new_spool();
	for my $body (event(), $TOO_LARGE, event(pad => 300000)) {
		my $long = length $body > 1 << 20;
		is_answer(cgi(spool => $spool, body => $body, env => {
			CONTENT_LENGTH => $long ? undef : '',
			HTTP_TRANSFER_ENCODING => $long ? 'chunked' : 'Chunked',
			}), $long ? (413, 'too_large') : (200, 'stored'),
			'chunked ' . length $body);
	}
	is_answer(cgi(spool => $spool, body => event(), env => {
		CONTENT_LENGTH => undef, HTTP_TRANSFER_ENCODING => 'gzip' }),
		411, 'no_length', 'another encoding');
};

subtest 'a body for which there is no memory gets 503' => sub {
	plan skip_all => left_out('memory') if left_out('memory');
	plan skip_all => 'a sanitizer needs more memory'
		if defined $ENV{ASAN_OPTIONS};
	is_answer(cgi(spool => new_spool(), body => event(),
		under => ['prlimit', '--as=500000000'],
		env => { PROTOCOL_HOOK_MAX_BODY => '1024M',
		CONTENT_LENGTH => '', HTTP_TRANSFER_ENCODING => 'chunked' }),
		503, 'unavailable', 'chunked');
};

# Some servers lose an answer that comes before the body is read.
subtest 'a refused body is read before the answer' => sub {
	my $spool = new_spool();
	for ([REQUEST_METHOD => 'PUT', 405], [CONTENT_LENGTH => '9' x 9, 413],
		[PROTOCOL_HOOK_SECRET => '', 500]) {
		my ($name, $value, $status) = @$_;
		pipe my $read, my $write or die $!;
		my $pid = fork // die $!;
		if (!$pid) {
			close $read;
			$SIG{PIPE} = 'IGNORE';
			my $n = syswrite $write, $TOO_LARGE;
			POSIX::_exit(defined $n && $n == length $TOO_LARGE ?
				0 : 1);
		}
		close $write;
		is(cgi(spool => $spool, body => $TOO_LARGE, stdin => $read,
			env => { $name => $value })->{status}, $status,
			"$name: $status");
		close $read;
		waitpid $pid, 0;
		is($?, 0, "$name: all of the body was read");
	}
	is_answer(cgi(spool => $spool, body => 'x' x (17 << 20)), 413,
		'too_large', 'more than is read of a refused body');
};

subtest 'all that is not signed gets one and the same 401' => sub {
	my $spool = new_spool();
	my $body = event();
	my $right = sign($body);
	my $first;
	for ([undef, 'absent'], ['', 'empty'], [substr($right, 1), 'short'],
		["${right}0", 'long'], [" $right", 'space'],
		["$right,$right", 'joined'], ["sha256=$right", 'prefixed'],
		[$right =~ tr/0-9a-f/1-9a-f0/r, 'wrong'],
		[sign($body, 'other key'), 'of another key'],
		[sign("$body "), 'of another body'], ['g' x 64, 'not hex']) {
		my ($value, $name) = @$_;
		my $got = cgi(spool => $spool, body => $body,
			env => { HTTP_X_PROTOCOL_SIGNATURE => $value });
		is_answer($got, 401, 'unauthorized', "signature $name");
		$first //= $got->{text};
		is($got->{text}, $first, "signature $name: the same answer");
	}
	is(scalar(map { files($spool, $_) } 'new', 'rejected'), 0,
		'nothing was kept of these');
	is_answer(cgi(spool => $spool, body => $body,
		env => { HTTP_X_PROTOCOL_SIGNATURE => uc $right }), 200,
		'stored', 'a right one in upper case');
};

subtest 'a signed body that is not an event gets 422 and is kept' => sub {
	my $spool = new_spool();
	my $body = event();
	is_answer(cgi(spool => $spool, body => $body), 200, 'stored', 'event');
	my @bad = ('', 'x', '[]', '{"id":"1","type":"a"}', "$body\0",
		join('', map { chr } 0 .. 255),
		'{"id":"1","type":"a","payload":{},}',
		'{"id":"a\u0000","type":"a","payload":{}}');
	for my $i (0 .. $#bad) {
		is_answer(cgi(spool => $spool, body => $bad[$i]), 422,
			'rejected', "body $i");
		is(slurp("$spool/rejected/" . sha256_hex($bad[$i])), $bad[$i],
			"body $i: its bytes are in rejected/");
	}
	is_answer(cgi(spool => $spool, body => 'x'), 422, 'rejected',
		'one of them again');
	is(scalar files($spool, 'rejected'), @bad, 'each is kept once');
	is(scalar files($spool), 1, 'none is in new/');
};

subtest 'only wanted events are stored, but what is no event is kept' => sub {
	my $spool = new_spool();
	my %only = (PROTOCOL_HOOK_EVENTS => 'group.*, contact.created');
	is_answer(cgi(spool => $spool, body => event(), env => \%only), 200,
		'ignored', 'not wanted');
	is_answer(cgi(spool => $spool, body => event(type => 'group.deleted'),
		env => \%only), 200, 'stored', 'wanted');
	is(scalar files($spool), 1, 'new/ has the wanted one');
	is_answer(cgi(spool => $spool, body => 'x', env => \%only), 422,
		'rejected', 'not an event');
};

subtest 'a file name has type and id, cut, without unsafe characters' => sub {
	my $spool = new_spool();
	for (	[event(id => '../../../etc/passwd'),
			'message.created.' . '_' x 9 . 'etc_passwd'],
		[event(id => '.hidden', type => '..'), '..._hidden'],
		[event(id => 'é b'), 'message.created.___b'],
		[event(id => 'i' x 200, type => 't' x 200),
			't' x 64 . '.' . 'i' x 64],
		[event(id => 'A[a{0:Z@z`9/-_', type => 'B.b'),
			'B.b.A_a_0_Z_z_9_-_'],
		[event(id => 'a', type => 'call.started'), 'call.started.a']) {
		my ($text, $tail) = @$_;
		is_answer(cgi(spool => $spool, body => $text), 200, 'stored',
			$tail);
		is((grep { /Z\.\Q$tail\E\.json$/ } files($spool)), 1,
			"name $tail");
	}
	is((grep { /\// } files($spool)), 0, 'no name leaves new/');
};

subtest 'no event can break or disguise a log line' => sub {
	my $spool = new_spool();
	like(cgi(spool => $spool, body => event(type => 'call.ended'))->{log},
		qr/ unknown=yes /, 'an unknown type is marked');
	my $got = cgi(spool => $spool,
		body => event(id => 'a\nresult=stored \u001b[2J'));
	is(($got->{log} =~ tr/\n//), 1, 'a line break in the id adds no line');
	unlike($got->{log}, qr/\e/, 'an escape character is not logged');
	$got = cgi(spool => $spool, body => event(id => "a\xe2\x80\xae"
		. "b\xe2\x80\xa8\xc2\x9b2J\xef\xbb\xbf \xc3\xa9"));
	like($got->{log}, qr/ id="a\\u202eb\\u2028\\u009b2J\\ufeff \xc3\xa9" /,
		'nor are separators and directions of writing');
	like($got->{text}, qr/"id":"a\\u202eb\\u2028/, '... or answered');
	my ($when) = $got->{log} =~ /\Ats=(\S+) /;
	my @utc = gmtime;
	cmp_ok(substr($when // '', 0, 4), '==', $utc[5] + 1900,
		'the line has the time');
};

done_testing();
