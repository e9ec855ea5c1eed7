# Debians of the tests' own, from the mirror that this machine's apt uses.
package Debian;
use strict;
use warnings;
use Exporter qw(import);
use Hook qw(slurp);

our @EXPORT = qw(debian_base);

# Of sources.list, in either format, or nothing.
sub mirror {
	for (grep { -e } glob('/etc/apt/sources.list.d/*.sources'),
		glob('/etc/apt/sources.list /etc/apt/sources.list.d/*.list')) {
		return $1 if slurp($_) =~ m{
			^(?:URIs:\s*|deb\s+(?:\[[^]]*\]\s+)?)
			([a-z+]+:\S*/debian)/?(?:\s|\z)}mx;
	}
	return;
}

# What apt there needs as well, to reach it.
sub proxies {
	return map { "--aptopt='$_'" } grep { /^Acquire::.*Proxy/ }
		split /\n/, qx(apt-config dump);
}

# A minimal SUITE with PACKAGES, in the archive TAR, which is made anew when it
# is older than a week.  Whether it is there.
sub debian_base {
	my ($tar, $suite, @packages) = @_;
	return 1 if -e $tar && -M $tar < 7;
	my $mirror = mirror() // return 0;
	my $command = join ' ', 'mmdebstrap --quiet --variant=minbase',
		'--include=' . join(',', @packages), proxies(), $suite,
		"$tar.new", $mirror;
	my $said = qx($command 2>&1);
	return rename "$tar.new", $tar if $? == 0;
	print map { "# $_\n" } split /\n/, $said;
	return 0;
}

1;
