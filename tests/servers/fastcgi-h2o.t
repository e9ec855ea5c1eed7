use strict;
use warnings;
use Servers;

Servers::run('fastcgi-h2o');
