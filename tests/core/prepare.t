#!/usr/bin/perl
# examples/prepare makes a secret file and a spool; a text that can't be a key
# is refused before anything is made.
use strict;
use warnings;
use Test::More;
use Hook;

# A copy of the script that works below a directory of the test: its path.
sub prepare_copy {
	my $dir = scratch();
	my $text = slurp('examples/prepare');
	$text =~ s{/(var/spool|etc)/protocol-hook}{$dir/$1/protocol-hook}g;
	$text =~ s{chown "root:}{chown "$>:}g;
	mkdir "$dir/$_" or die $! for qw(etc var var/spool);
	spew("$dir/prepare", $text);
	return $dir;
}

# Runs the copy in DIR with INPUT on standard input: exit status and output.
sub prepare {
	my ($dir, $input, @args) = @_;
	spew("$dir/in", $input);
	my $output = qx(sh $dir/prepare @args <$dir/in 2>&1);
	unlike($output, qr/\Q$KEY\E/, 'the output has no key');
	return ($? >> 8, $output);
}

my $USER = (getpwuid $>)[0] // $>;

subtest 'what cannot be a key is refused, and nothing is made' => sub {
	for (['', 'there is no key'], ["\n", 'the key is empty'],
		["\r\n", 'the key is empty'], ["\n$KEY\n", 'the key is empty'],
		[' ', 'a space or a quote'],
		["$KEY-and-more \n", 'a space or a quote'],
		["\"$KEY-and-more\"\n", 'a space or a quote'],
		["'$KEY-and-more'\n", 'a space or a quote'],
		["\xef\xbb\xbf$KEY-and-more\n", 'not plain ASCII'],
		["$KEY-and-more\xe2\x80\x8b\n", 'not plain ASCII'],
		["\e[200~$KEY-and-more\n", 'not plain ASCII'],
		["$KEY-1\r$KEY-2\r", 'not plain ASCII'],
		["$KEY-and-more\\n\n", 'a backslash with n or r'],
		["# the key\n$KEY\n", 'begins with #'],
		["PROTOCOL_HOOK_SECRET=$KEY-and-more\n", 'a name before it']) {
		my ($input, $why) = @$_;
		my $dir = prepare_copy();
		my ($status, $output) = prepare($dir, $input, $USER);
		is($status, 1, "$why: exit status");
		like($output,
			qr/\Aprepare: .*\Q$why\E.*; nothing was done\n\z/,
			"$why: the output says so");
		is(scalar(map { glob "$dir/$_/*" } qw(etc var/spool)), 0,
			"$why: nothing was made");
	}
};

subtest 'without a user it is wrong usage' => sub {
	is((prepare(prepare_copy(), "$KEY\n"))[0], 2, 'exit status');
};

subtest 'a key is kept as it is, with one newline' => sub {
	for (["$KEY-and-more\n", "$KEY-and-more\n"],
		["$KEY-and-more", "$KEY-and-more\n"],
		["$KEY-and-more\r\n", "$KEY-and-more\n"],
		["YWJjZGVmZ2hpamtsbW5v==\n"],
		["a b-c=d#e'f\"g-and-more\n"], ["back\\slash-and-more\n"]) {
		my ($input, $kept) = @$_;
		my $dir = prepare_copy();
		my ($status, $output) = prepare($dir, $input, $USER);
		is($status, 0, 'exit status') or diag($output);
		is($output, '', 'no output');
		is(slurp("$dir/etc/protocol-hook/secret"), $kept // $input,
			'the secret file');
	}
};

subtest 'only the user and its group can read what is made' => sub {
	my $dir = prepare_copy();
	prepare($dir, "$KEY-and-more\n", $USER);
	is((stat "$dir/etc/protocol-hook/secret")[2] & 07777, 0640,
		'the mode of the secret file');
	is((stat "$dir/var/spool/protocol-hook")[2] & 07777, 02750,
		'the mode of the spool');
};

subtest 'a spool that another user has used is refused' => sub {
	plan skip_all => 'not root' if $> != 0;
	my $dir = prepare_copy();
	is((prepare($dir, "$KEY-and-more\n", $USER))[0], 0, 'made');
	chown 54321, 54321, "$dir/var/spool/protocol-hook" or die $!;
	my ($status, $output) = prepare($dir, "$KEY-another\n", 'nobody');
	is($status, 1, 'exit status');
	like($output, qr/ belongs to .*; nothing was done\n\z/, 'output');
	is(slurp("$dir/etc/protocol-hook/secret"), "$KEY-and-more\n",
		'the key stays');
};

subtest 'a short key is noted' => sub {
	like((prepare(prepare_copy(), "short\n", $USER))[1],
		qr/only 5 bytes: is it whole\?/, 'output');
};

done_testing();
