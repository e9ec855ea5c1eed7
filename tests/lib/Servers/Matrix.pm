# The tables of docs/servers.md, from the results that tests/servers/*.t have
# saved.
package Servers::Matrix;
use strict;
use warnings;
use Exporter qw(import);
use Hook;
use JSON::PP ();
use Servers;
use Servers::Cases;
use Servers::Setups;

our @EXPORT = qw(results matrix update write_page);

our $PAGE = 'docs/servers.md';
my ($BEGIN, $END) = ("<!-- from the tests: begin -->\n",
	"<!-- from the tests: end -->\n");

# The saved results of the set-ups, CGI first.
sub results {
	my @found = grep { -e Servers::RESULTS . "/$_.json" } sort keys %SETUPS;
	return map { JSON::PP::decode_json(slurp(Servers::RESULTS .
		"/$_.json")) } @found;
}

# A letter for each reason of a deviation, in the order of the table.
sub letters {
	my (@results) = @_;
	my (%letter, @reasons);
	for my $i (0 .. $#CASES) {
		for (map { $_->{results}[$i] } @results) {
			next if !$_->{reason} || $letter{ $_->{reason} };
			$letter{ $_->{reason} } = chr(ord('a') + @reasons);
			push @reasons, $_->{reason};
		}
	}
	return (\%letter, @reasons);
}

sub row { return '| ' . join(' | ', @_) . " |\n" }

sub matrix {
	my (@results) = @_;
	my ($letter, @reasons) = letters(@results);
	my @numbers = 1 .. @results;
	my $text = sprintf "%d set-ups, %d cases each.\n\n", scalar @results,
		scalar @CASES;
	$text .= row('', 'interface', 'set-up', 'file') . row(('---') x 4);
	for (@numbers) {
		my $r = $results[$_ - 1];
		my $name = $r->{file} =~ s{^tests/servers/}{}r;
		$text .= row($_, @$r{qw(interface title)},
			"[$name](../$r->{file})");
	}
	$text .= "\n" . row('promise', @numbers) .
		row('---', (':-:') x @numbers);
	for my $i (0 .. $#CASES) {
		$text .= row($CASES[$i]{promise}, map {
			my $r = $_->{results}[$i];
			!$r->{ok} ? '**FAILS**' : $r->{reason}
				? $letter->{ $r->{reason} } : '+';
		} @results);
	}
	$text .= "\n`+`: as protocol-hook(8) promises. A letter: the server " .
		"deviates, and the test expects that:\n\n";
	$text .= "- **$letter->{$_}**: $_.\n" for @reasons;
	return $text;
}

# Returns the text of the page with TABLES in place of its own.
sub update {
	my ($page, $tables) = @_;
	$page =~ s/\Q$BEGIN\E.*\Q$END\E/$BEGIN\n$tables\n$END/s
		or die "$PAGE lacks the comments around the tables\n";
	return $page;
}

sub write_page {
	my @results = results();
	die "not every set-up has a result\n" if @results != keys %SETUPS;
	my $page = update(slurp($PAGE), matrix(@results));
	open my $fh, '>:raw', $PAGE or die "$PAGE: $!";
	print $fh $page;
	close $fh or die "$PAGE: $!";
}

1;
