# What tests/servers/*.t found, as the tables of docs/servers.md.
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

# Those that were run, CGI first.
sub results {
	my @found = grep { -e Servers::RESULTS . "/$_.json" } sort keys %SETUPS;
	return map { JSON::PP::decode_json(slurp(Servers::RESULTS .
		"/$_.json")) } @found;
}

# Letters for reasons, in the order in which they are first met.
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
	$text .= row('', 'door', 'set-up', 'example') . row(('---') x 4);
	for (@numbers) {
		my $r = $results[$_ - 1];
		$text .= row($_, @$r{qw(door title)},
			"[$r->{example}](../examples/$r->{example})");
	}
	$text .= "\n" . row('what must come of it', @numbers) .
		row('---', (':-:') x @numbers);
	for my $i (0 .. $#CASES) {
		$text .= row($CASES[$i]{promise}, map {
			my $r = $_->{results}[$i];
			!$r->{ok} ? '**FAILS**' : $r->{reason}
				? $letter->{ $r->{reason} } : '+';
		} @results);
	}
	$text .= "\n`+`: as the contract says.  A letter: as this server does" .
		" it, which is tested, too:\n\n";
	$text .= "- **$letter->{$_}**: $_.\n" for @reasons;
	return $text;
}

# PAGE with the tables in their place.
sub update {
	my ($page, $tables) = @_;
	$page =~ s/\Q$BEGIN\E.*\Q$END\E/$BEGIN\n$tables\n$END/s
		or die "the page has no place for the tables\n";
	return $page;
}

sub write_page {
	my @results = results();
	die "not every set-up was run\n" if @results != keys %SETUPS;
	my $page = update(slurp($PAGE), matrix(@results));
	open my $fh, '>:raw', $PAGE or die "$PAGE: $!";
	print $fh $page;
	close $fh or die "$PAGE: $!";
}

1;
