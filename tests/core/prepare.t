#!/usr/bin/perl
# examples/prepare: a key that can't be one is refused before anything is done.
use strict;
use warnings;
use Test::More;
use Hook;

my $at = scratch();
my ($user) = (getpwuid $>)[0] // $>;
my $text = slurp('examples/prepare');
$text =~ s{/(var/spool|etc)/protocol-hook}{$at/$1/protocol-hook}g;
$text =~ s{chown "root:}{chown "$>:}g;
mkdir "$at/$_" or die $! for qw(etc var var/spool);
open my $fh, '>', "$at/prepare" or die $!;
print {$fh} $text;
close $fh or die $!;

# Its exit status and what it says; standard input is INPUT.
sub prepare {
	my ($input, @user) = @_;
	open my $in, '>:raw', "$at/in" or die $!;
	print {$in} $input;
	close $in or die $!;
	my $said = qx(sh $at/prepare @user <$at/in 2>&1);
	unlike($said, qr/\Q$KEY\E/, 'no key is shown');
	return ($? >> 8, $said);
}
sub left { return map { glob "$at/$_/*" } qw(etc var/spool) }

for (['', 'there is no key'], ["\n", 'the key is empty'],
	["\r\n", 'the key is empty'], ["\n$KEY\n", 'the key is empty'],
	[' ', 'a space or a quote'], ["$KEY-and-more \n", 'a space or a quote'],
	["\"$KEY-and-more\"\n", 'a space or a quote'],
	["'$KEY-and-more'\n", 'a space or a quote'],
	["\xef\xbb\xbf$KEY-and-more\n", 'not plain ASCII'],
	["$KEY-and-more\xe2\x80\x8b\n", 'not plain ASCII'],
	["\e[200~$KEY-and-more\n", 'not plain ASCII'],
	["$KEY-1\r$KEY-2\r", 'not plain ASCII'],
	["$KEY-and-more\\n\n", 'a backslash with n or r'],
	["# the key\n$KEY\n", 'begins with #'],
	["PROTOCOL_HOOK_SECRET=$KEY-and-more\n", 'a name before it']) {
	my ($status, $said) = prepare($_->[0], $user);
	is($status, 1, "$_->[1]: refused");
	like($said, qr/\Aprepare: .*\Q$_->[1]\E.*; nothing was done\n\z/,
		'... and said why');
	is(scalar left(), 0, '... nothing is made') or system "rm -r $at/etc/*";
}
is((prepare("$KEY\n"))[0], 2, 'without a user');

for (["$KEY-and-more\n", "$KEY-and-more\n"], ["$KEY-and-more", "$KEY-and-more\n"],
	["$KEY-and-more\r\n", "$KEY-and-more\n"], ["YWJjZGVmZ2hpamtsbW5v==\n"],
	["a b-c=d#e'f\"g-and-more\n"], ["back\\slash-and-more\n"]) {
	my ($status, $said) = prepare($_->[0], $user);
	is($status, 0, 'a key that can be one') or diag($said);
	is($said, '', '... without a word');
	is(slurp("$at/etc/protocol-hook/secret"), $_->[1] // $_->[0], '... is kept');
}
is((stat "$at/etc/protocol-hook/secret")[2] & 07777, 0640, 'its mode');
is((stat "$at/var/spool/protocol-hook")[2] & 07777, 02750, 'and the spool\'s');
like((prepare("short\n", $user))[1], qr/only 5 bytes: is it whole\?/,
	'a short one is noted');
done_testing();
