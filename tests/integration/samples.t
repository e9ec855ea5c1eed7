# The three code samples of Protocol's reference page, run by node, python3 and
# php: what they sign is stored through a real web server; and they and
# protocol-hook agree on what was tampered with.
use strict;
use warnings;
use utf8;
use Hook;
use JSON::PP ();
use Servers;
use Servers::Client;
use Servers::Setups;
use Test::More;

my %RUN = (node => 'sample.js', python3 => 'sample.py', php => 'sample.php');
my $SETUP = 'fastcgi-nginx';
my $TEXT = 'Zoë’s "größter" Weihnachtsbaum 🎄 — мир, 平和, ' . "\x{feff}\x{2028}";

my %PAYLOAD = (
	contact => { username => 'zoë', display_name => $TEXT,
		phone_number => '1-800-759-3000', created_at => 692233200 },
	conversation => { contact_id => 'ü', is_pinned => JSON::PP::true,
		group_id => undef, created_at => 692233200 },
	message => { message => $TEXT, reactions => ['❤'], attachments => [],
		contact => { username => 'Кевин' }, created_at => 692233200 },
	group => { name => $TEXT, description => undef, contacts => [] },
	attachment => { filename => "$TEXT.jpg", file_type => 'image/jpeg',
		file_size => 9007199254740993 },
);

# An event of each of the 15 types, with ids of its own for each LANGUAGE.
sub events {
	my ($language) = @_;
	my @events;
	for my $resource (sort keys %PAYLOAD) {
		for my $action (qw(created updated deleted)) {
			my $id = "$language-$resource-$action";
			push @events, { type => "$resource.$action", id => $id,
				payload => { id => "p$id",
				%{ $PAYLOAD{$resource} } } };
		}
	}
	return map { JSON::PP->new->utf8->canonical->encode($_) } @events;
}

# Runs the sample of LANGUAGE for LINES, each [body, signature]; returns for each
# the signature that it computes, and its verdict: yes or no.
sub sample {
	my ($language, @lines) = @_;
	my $in = scratch() . '/in';
	Servers::make_file($in, join '', map {
		unpack('H*', $_->[0]) . " $_->[1]\n" } @lines);
	local $ENV{SECRET} = $KEY;
	my $path = "tests/integration/samples/$RUN{$language}";
	return map { [split] } qx($language $path < $in);
}

sub deliver {
	my ($s, $body, $signature) = @_;
	my $socket = dial($s) or return 'no connection';
	transmit($socket, head($s, $body, signature => $signature) . $body);
	return outcome(receive($socket));
}

sub tampered {
	my ($body, $signature) = @_;
	my $flipped = $signature;
	$flipped =~ tr/0-9a-f/1-9a-f0/;
	return (
		'another id' => [$body =~ s/"id":"/"id":"x/r, $signature],
		'a newline added' => ["$body\n", $signature],
		'cut off' => [substr($body, 0, -1), $signature],
		'another key' => [$body, sign($body, 'another')],
		'another signature' => [$body, $flipped],
		'half a signature' => [$body, substr $signature, 0, 32],
		'no signature' => [$body, ''],
		'no body' => ['', $signature],
	);
}

Servers::skip_unless_installed({ title => 'samples',
	needs => [keys %RUN, @{ $SETUPS{$SETUP}{needs} }] });
my $s = Servers::start($SETUP,
	extra_variables => { PROTOCOL_HOOK_MIN_FREE => 0 });

for my $language (sort keys %RUN) {
	my @bodies = events($language);
	my @signed = sample($language, map { [$_, ''] } @bodies);
	for my $i (0 .. $#bodies) {
		my ($type) = $bodies[$i] =~ /"type":"([a-z.]+)"/;
		is(deliver($s, $bodies[$i], $signed[$i][0]), '200 stored',
			"$language: $type is stored");
	}
	my @there = grep { /\.$language-[a-z-]+\.json$/ } files($s->{spool});
	is_deeply([sort map { slurp("$s->{spool}/new/$_") } @there],
		[sort @bodies], "$language: the stored bytes are those that were sent");

	my ($body, $signature) = ($bodies[6], $signed[6][0]);
	my %tampered = (tampered($body, $signature),
		'as it was' => [$body, $signature]);
	my @names = sort keys %tampered;
	my @said = sample($language, @tampered{@names});
	for my $i (0 .. $#names) {
		my $got = deliver($s, @{ $tampered{ $names[$i] } });
		my $ours = { '401 Unauthorized' => 'no',
			'200 duplicate' => 'yes' }->{$got} // $got;
		is($ours, $said[$i][1], "$language: $names[$i]: both say '$ours'");
	}
}
is(scalar files($s->{spool}), 45, 'nothing else is in the spool');
Servers::stop($s);
done_testing();
