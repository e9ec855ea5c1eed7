# What nk, nsc and a certificate authority make, by openssl: NATS's Ed25519 keys,
# the tokens that they sign, and certificates.
package Nats::Keys;
use strict;
use warnings;
use Exporter qw(import);
use Hook qw(slurp spew);
use JSON::PP ();
use MIME::Base64 qw(encode_base64url);

our @EXPORT = qw(nkey token creds authority certificate);

# The kinds' first bytes: what makes a key begin with O, A, U or S.
my %KIND = (operator => 14 << 3, account => 0, user => 20 << 3);
use constant SEED => 18 << 3;
# Before the 32 bytes of a private key, RFC 8410.
use constant PKCS8 => pack 'H*', '302e020100300506032b657004220420';

sub openssl {
	my @command = @_;
	return system('openssl', @command) == 0 || die "openssl @command\n";
}

# With the CRC-16 of XMODEM behind it, in base 32 without padding.
sub encode {
	my ($bytes) = @_;
	my $crc = 0;
	for my $byte (unpack 'C*', $bytes) {
		$crc ^= $byte << 8;
		$crc = $crc & 0x8000 ? ($crc << 1 ^ 0x1021) & 0xffff : $crc << 1
			for 1 .. 8;
	}
	my $bits = unpack 'B*', $bytes . pack 'v', $crc;
	$bits .= '0' while length($bits) % 5;
	return join '', map { ('A' .. 'Z', 2 .. 7)[oct "0b$_"] } $bits =~ /.{5}/g;
}

# A new key: { pem, public, seed }.
sub nkey {
	my ($dir, $kind) = @_;
	my $first = $KIND{$kind};
	my $pem = "$dir/$kind.pem";
	openssl('genpkey', '-algorithm', 'ed25519', '-out', $pem);
	openssl('pkey', '-in', $pem, '-outform', 'DER', '-out', "$pem.private");
	openssl('pkey', '-in', $pem, '-pubout', '-outform', 'DER', '-out',
		"$pem.public");
	my $private = slurp("$pem.private");
	index($private, PKCS8) == 0 or die 'no Ed25519 key';
	return { pem => $pem,
		public => encode(pack('C', $first) . substr slurp("$pem.public"), -32),
		seed => encode(pack('CC', SEED | $first >> 5, ($first & 31) << 3)
			. substr $private, -32) };
}

# What BY says of OF, as a token of NATS's, version 2.
sub token {
	my ($by, $of, $name, %claims) = @_;
	my $json = JSON::PP->new->canonical;
	my $text = join '.', map { encode_base64url($json->encode($_)) }
		{ typ => 'JWT', alg => 'ed25519-nkey' },
		{ jti => 'x', iat => time, iss => $by->{public},
			sub => $of->{public}, name => $name,
			nats => { version => 2, %claims } };
	spew("$by->{pem}.text", $text);
	openssl('pkeyutl', '-sign', '-rawin', '-inkey', $by->{pem}, '-in',
		"$by->{pem}.text", '-out', "$by->{pem}.signature");
	return "$text." . encode_base64url(slurp("$by->{pem}.signature"));
}

# A credentials file's text.
sub creds {
	my ($token, $key) = @_;
	return "-----BEGIN NATS USER JWT-----\n$token\n------END NATS USER JWT------\n"
		. "\n-----BEGIN USER NKEY SEED-----\n$key->{seed}\n"
		. "------END USER NKEY SEED------\n";
}

# A certificate authority in DIR: DIR/NAME.pem and DIR/NAME.key.
sub authority {
	my ($dir, $name) = @_;
	openssl(qw(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1
		-nodes -days 2), '-subj', "/CN=$name", '-keyout', "$dir/$name.key",
		'-out', "$dir/$name.pem");
	return;
}

# One for localhost that it signs: DIR/NAME.pem and DIR/NAME.key.
sub certificate {
	my ($dir, $authority, $name) = @_;
	openssl(qw(req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes),
		'-subj', "/CN=$name", '-keyout', "$dir/$name.key", '-out',
		"$dir/$name.csr");
	spew("$dir/$name.ext", "subjectAltName=DNS:localhost\n");
	openssl(qw(x509 -req -days 2 -CAcreateserial), '-in', "$dir/$name.csr",
		'-CA', "$dir/$authority.pem", '-CAkey', "$dir/$authority.key",
		'-extfile', "$dir/$name.ext", '-out', "$dir/$name.pem");
	return;
}

1;
