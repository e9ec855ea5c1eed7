# Links of the Markdown documents below a directory.
package Links;
use strict;
use warnings;
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Find ();
use Hook qw(slurp);

our @EXPORT = qw(documents dead_links);

sub documents {
	my ($dir) = @_;
	my @found;
	File::Find::find({ no_chdir => 1, wanted => sub {
		return $File::Find::prune = 1 if m{/(?:build|demo|\.git)\z};
		push @found, $_ if /\.md\z/ && -f;
	} }, $dir);
	@found = sort @found;
	return @found;
}

# As GitHub and others make them of headings.
sub anchors {
	my ($path) = @_;
	return map { s/[^\w\- ]//gr =~ tr/ /-/r } map { lc }
		slurp($path) =~ /^#+ (.*)$/mg;
}

# "DOCUMENT: TARGET" for each that leads nowhere.
sub dead_links {
	my ($dir) = @_;
	my @dead;
	for my $document (documents($dir)) {
		for (slurp($document) =~ /\]\(([^)\s]+)\)/g) {
			my ($file, $anchor) = /^([^#]*)#?(.*)/;
			next if $file =~ /^\w+:/;
			my $to = $file eq '' ? $document
				: dirname($document) . "/$file";
			push @dead, "$document: $_" if !-e $to || $anchor ne ''
				&& !grep { $_ eq $anchor } anchors($to);
		}
	}
	return @dead;
}

1;
