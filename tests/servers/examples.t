# The lines that examples/nginx/fastcgi.conf has in a comment, to keep
# connections, are those that tests/servers/fastcgi-nginx-keep-conn.t proves.
use strict;
use warnings;
use Hook;
use Test::More tests => 1;

sub directives {
	my ($text) = @_;
	return join "\n", grep { length } map { s/^\s+|\s*#.*|\s+$//gr }
		split /\n/, $text;
}

my $example = slurp('examples/nginx/fastcgi.conf');
my ($in_location) = $example =~ /in the location use\n((?:\t#\t.*\n)+)/;
my ($block) = $example =~ /^(\t#upstream .*?^\t#\})/ms;
$example =~ s/\Q$block\E/$block =~ s{^\t#}{\t}gmr/e;
$example =~ s/^\t+fastcgi_pass unix.*\n/$in_location =~ s{#}{}gr/em;
is(directives($example),
	directives(slurp('tests/servers/setups/nginx/keep-conn.conf')),
	'with its comment on kept connections applied, nginx/fastcgi.conf is ' .
	'nginx/keep-conn.conf');
