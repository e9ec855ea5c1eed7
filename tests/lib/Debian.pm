# Debians of the tests' own, from the mirror that this machine's apt uses.
package Debian;
use strict;
use warnings;
use Exporter qw(import);
use Hook qw(slurp);
use Test::More;

our @EXPORT = qw(debian_base skip_without);

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

# What apt there needs as well, to reach it; it keeps these.
sub proxies {
	return map { "--aptopt='$_'" } grep { /^Acquire::.*Proxy/ }
		split /\n/, qx(apt-config dump);
}

# Skips the whole test for want of WHAT; but nothing is skipped in CI.
sub skip_without {
	my ($what) = @_;
	die "not without $what, and CI is set\n" if $ENV{CI};
	plan(skip_all => "needs $what");
}

# A minimal SUITE with PACKAGES, in the archive TAR, which is made anew when it
# is older than a week.
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
