<?php
// The reference page's sample for PHP.  Each line of standard input is a body,
// in hex, and a signature; each of standard output the signature that the body
// should have, and whether it is that.
$secret = getenv('SECRET');

while (($line = fgets(STDIN)) !== false) {
	[$hex, $signature] = explode(' ', rtrim($line, "\n"));
	$payload = hex2bin($hex);
	$expected = hash_hmac('sha256', $payload, $secret);
	echo $expected, hash_equals($expected, $signature) ? " yes\n" : " no\n";
}
