# The matrix can fail: a program that answers its body before its Status line
# is found out.
use strict;
use warnings;
use Servers;
use Servers::Cases;
use Servers::Setups;
use Test::More;

Servers::skip_unless_installed($SETUPS{'cgi-lighttpd'});
plan tests => 4;

# Everything but GET, which tells that the server is up, is answered so.
my $s = Servers::start('cgi-lighttpd', wrapper => "#!/bin/sh\n" . <<'END');
[ "$REQUEST_METHOD" != GET ] || exec PROGRAM
answer=$(PROGRAM)
printf '%s\n' "$answer" | sed '1,/^.$/d'
printf '%s\n' "$answer" | sed '/^.$/q'
END
my @cases = grep { $_->{id} =~ /^(?:get|stored|repeat|ignored|put|unsigned|wrong|
	malformed|query|rejected|bytes|http-1.0)$/x } @CASES;
my %result = map { $_->{id} => $_ } Servers::check($s, @cases);
my @failed = grep { !$result{$_}{ok} } sort keys %result;

ok($result{get}{ok}, 'the server is up');
ok(!$result{stored}{ok}, "a stored delivery fails: $result{stored}{got}");
ok(!$result{wrong}{ok}, "a refused one, too: $result{wrong}{got}");
is(@failed, @cases - 1, 'and all but the first') or diag("only @failed");
