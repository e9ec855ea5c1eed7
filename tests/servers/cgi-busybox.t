use strict;
use warnings;
use Servers;

Servers::run('cgi-busybox');
