use strict;
use warnings;
use Servers;

Servers::run('fastcgi-lighttpd-cgi-fcgi');
