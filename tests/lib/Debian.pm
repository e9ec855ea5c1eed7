# Debian systems for tests, from the mirror that apt uses here.
package Debian;
use strict;
use warnings;
use Exporter qw(import);
use Hook qw(slurp);
use Test::More;

our @EXPORT = qw(debian_base skip_without);

# The first mirror in apt's sources, of either format, or nothing.
sub mirror {
	for (grep { -e } glob('/etc/apt/sources.list.d/*.sources'),
		glob('/etc/apt/sources.list /etc/apt/sources.list.d/*.list')) {
		return $1 if slurp($_) =~ m{
			^(?:URIs:\s*|deb\s+(?:\[[^]]*\]\s+)?)
			([a-z+]+:\S*/debian)/?(?:\s|\z)}mx;
	}
	return;
}

# The proxies that apt uses here, as options for mmdebstrap; the new system keeps
# them.
sub proxies {
	return map { "--aptopt='$_'" } grep { /^Acquire::.*Proxy/ }
		split /\n/, qx(apt-config dump);
}

# Skips the whole test, as WHAT is missing; in CI it fails instead.
sub skip_without {
	my ($what) = @_;
	die "not without $what, and CI is set\n" if $ENV{CI};
	plan(skip_all => "needs $what");
}

# Makes the archive TAR of a minimal SUITE with PACKAGES, unless there is one that
# is younger than a week.
sub debian_base {
	my ($tar, $suite, @packages) = @_;
	return if -e $tar && -M $tar < 7;
	my $mirror = mirror() // skip_without("a mirror of Debian in apt's sources");
	my $new = $tar =~ s/\.tar\z/.new.tar/r;
	my $command = join ' ', 'mmdebstrap --quiet --variant=minbase',
		'--include=' . join(',', @packages), proxies(), $suite, $new,
		$mirror;
	my $said = qx($command 2>&1);
	if ($? != 0) {
		unlink $new;
		diag($said);
		skip_without("a mirror of Debian that answers");
	}
	rename $new, $tar or die $!;
	return;
}

1;
