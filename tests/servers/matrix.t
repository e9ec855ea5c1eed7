# The tables of docs/servers.md agree with the results that the tests of all
# set-ups have saved.  "make servers-matrix" writes them.
use strict;
use warnings;
use Hook;
use Servers::Matrix;
use Servers::Setups;
use Test::More;

my @results = results();
my $missing = keys(%SETUPS) - @results;
plan skip_all => "$missing set-ups have no result" if $missing && !$ENV{CI};
plan tests => 3;
my $tables = matrix(@results);
diag($tables);

is($missing, 0, 'every set-up has a result');
cmp_ok(scalar @results, '>=', 16, 'at least 16 set-ups');
my $page = slurp($Servers::Matrix::PAGE);
is($page, update($page, $tables), 'docs/servers.md has these tables');
