use strict;
use warnings;
use Servers;

Servers::run('fastcgi-nginx-socket-activate');
