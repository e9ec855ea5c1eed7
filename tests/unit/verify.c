/* SPDX-License-Identifier: ISC */
/*
 * verify.c: signatures are HMAC-SHA256 as in RFC 4231, each bit of them counts,
 * and malformed ones are refused; keys that can't be meant as keys are refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "util.h"
#include "verify.h"

#define SIGNED_WHAT	"Hi There"
#define SIGNATURE \
	"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"

static const char key1[20] = { 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b,
    0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b,
    0x0b };

static unsigned int
verify(struct keys *keys, const char *signature, const char *body, size_t n)
{
	uint8_t bytes[DIGEST_SIZE];

	if (signature_parse(bytes, signature) == -1)
		return 0;
	return keys_verify(keys, bytes, (const uint8_t *)body, n);
}

static void
signatures_are_those_of_rfc_4231(void **state)
{
	/* RFC 4231, sections 4.2 to 4.4, 4.7 and 4.8; 4.6 truncates. */
	char aa[131], dd[50];
	const struct {
		const char *key;
		size_t key_size;
		const char *data;
		size_t size;
		const char *signature;
	} v[] = {
		{ key1, 20, SIGNED_WHAT, 8, SIGNATURE },
		{ "Jefe", 4, "what do ya want for nothing?", 28,
		    "5bdcc146bf60754e6a042426089575c7"
		    "5a003f089d2739839dec58b964ec3843" },
		{ aa, 20, dd, 50,
		    "773ea91e36800e46854db8ebd09181a7"
		    "2959098b3ef8c122d9635514ced565fe" },
		{ aa, 131, "Test Using Larger Than Block-Size Key - Hash Key "
		    "First", 54,
		    "60e431591ee0b67f0d8a26aacbf5b77f"
		    "8e0bc6213728c5140546040f0ee37f54" },
		{ aa, 131, "This is a test using a larger than block-size key "
		    "and a larger than block-size data. The key needs to be "
		    "hashed before being used by the HMAC algorithm.", 152,
		    "9b09ffa71b942fcb27635fbcd5b0e944"
		    "bfdc63644f0713938a7f51535c3a35e2" },
	};
	struct keys keys;
	size_t i;

	/* The signature of no bytes with a key of no bytes. */
	static const char none[] =
	    "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad";

	(void)state;
	memset(&keys, 0, sizeof(keys));
	assert_null(keys_add(&keys, "", 0));
	assert_int_equal(1, verify(&keys, none, "", 0));
	memset(aa, 0xaa, sizeof(aa));
	memset(dd, 0xdd, sizeof(dd));
	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		memset(&keys, 0, sizeof(keys));
		assert_null(keys_add(&keys, v[i].key, v[i].key_size));
		assert_int_equal(1, verify(&keys, v[i].signature, v[i].data,
		    v[i].size));
		/* A key can be used again. */
		assert_int_equal(1, verify(&keys, v[i].signature, v[i].data,
		    v[i].size));
		assert_int_equal(0, verify(&keys, v[i].signature, v[i].data,
		    v[i].size - 1));
	}
}

static void
every_bit_of_a_signature_counts(void **state)
{
	uint8_t signature[DIGEST_SIZE];
	struct keys keys = { 0 };
	size_t bit;

	(void)state;
	keys_add(&keys, key1, sizeof(key1));
	assert_int_equal(0, signature_parse(signature, SIGNATURE));
	for (bit = 0; bit < 8 * DIGEST_SIZE; bit++) {
		signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(0, keys_verify(&keys, signature,
		    (const uint8_t *)SIGNED_WHAT, 8));
		signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(1, keys_verify(&keys, signature,
	    (const uint8_t *)SIGNED_WHAT, 8));
}

static void
a_signature_is_64_hex_digits_of_either_case(void **state)
{
	static const char bad[] = { ' ', '\t', '\n', 'g', 'G', '-', '/', ':',
	    '@', '`', '\x7f', '\x80', '\xff' };
	char text[DIGEST_HEX + 2] = SIGNATURE;
	uint8_t a[DIGEST_SIZE], b[DIGEST_SIZE];
	size_t i, k;

	(void)state;
	assert_int_equal(0, signature_parse(a, text));
	for (i = 0; i < DIGEST_HEX; i++)
		if (text[i] >= 'a')
			text[i] = (char)(text[i] - 'a' + 'A');
	assert_int_equal(0, signature_parse(b, text));
	assert_memory_equal(a, b, DIGEST_SIZE);
	for (i = 0; i < DIGEST_HEX; i++)
		for (k = 0; k < sizeof(bad); k++) {
			strcpy(text, SIGNATURE);
			text[i] = bad[k];
			assert_int_equal(-1, signature_parse(b, text));
		}
	for (i = 0; i < DIGEST_HEX; i++) {
		strcpy(text, SIGNATURE);
		text[i] = '\0';
		assert_int_equal(-1, signature_parse(b, text));
	}
	assert_int_equal(-1, signature_parse(b, SIGNATURE "0"));
	assert_int_equal(-1, signature_parse(b, " " SIGNATURE));
	assert_int_equal(-1, signature_parse(b, SIGNATURE " "));
}

static void
each_key_is_tried(void **state)
{
	struct keys keys = { 0 };
	unsigned int i;

	(void)state;
	for (i = 1; i < KEYS_MAX; i++)
		assert_null(keys_add(&keys, "other", 5));
	assert_int_equal(0, verify(&keys, SIGNATURE, SIGNED_WHAT, 8));
	assert_null(keys_add(&keys, key1, sizeof(key1)));
	assert_int_equal(KEYS_MAX, verify(&keys, SIGNATURE, SIGNED_WHAT, 8));
	assert_non_null(keys_add(&keys, "one more", 8));
	keys.n = 0;
	assert_int_equal(0, verify(&keys, SIGNATURE, SIGNED_WHAT, 8));
}

static const char *
read_keys(struct keys *keys, const char *content, size_t n)
{
	char path[] = "hook-unit-XXXXXX";
	const char *why;
	int fd = mkstemp(path);

	assert_int_not_equal(-1, fd);
	assert_int_equal(0, write_all(fd, content, n));
	close(fd);
	memset(keys, 0, sizeof(*keys));
	why = keys_read_file(keys, path);
	unlink(path);
	return why;
}

static void
a_secret_file_has_one_key_on_each_line(void **state)
{
	static char big[70000];
	struct keys keys;

	(void)state;
	assert_null(read_keys(&keys, "Jefe", 4));
	assert_int_equal(1, keys.n);
	assert_null(read_keys(&keys, "new\n\nJefe\r\n", 11));
	assert_int_equal(2, keys.n);
	assert_int_equal(2, verify(&keys,
	    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
	    "what do ya want for nothing?", 28));
	assert_non_null(read_keys(&keys, "", 0));
	assert_non_null(read_keys(&keys, "\n\r\n\n", 4));
	assert_non_null(read_keys(&keys, "a\0b\n", 4));
	assert_non_null(read_keys(&keys, "1\n2\n3\n4\n5\n6\n7\n8\n9\n", 18));
	memset(big, 'k', sizeof(big));
	assert_non_null(read_keys(&keys, big, sizeof(big)));
	assert_non_null(read_keys(&keys, big, 65537));
	assert_null(read_keys(&keys, big, 65536));
	assert_int_equal(65536, keys.shortest);
	assert_null(read_keys(&keys, "three\na\ntwo\n", 12));
	assert_int_equal(1, keys.shortest);
	memset(&keys, 0, sizeof(keys));
	assert_non_null(keys_read_file(&keys, "/nonexistent"));
	assert_non_null(keys_read_file(&keys, "/"));
	assert_non_null(keys_read_file(&keys, "/dev/zero"));
}

static const char *
read_key(struct keys *keys, const char *line)
{
	return read_keys(keys, line, strlen(line));
}

static void
what_cannot_be_a_key_is_refused(void **state)
{
	static const char *const wrong[] = {
		"\xef\xbb\xbf" "a-key-after-a-byte-order-mark\n",
		"the-first\n\xef\xbb\xbf" "a-file-that-was-appended\n",
		"carriage-return\ralone\r",
		"# the webhook's key\na-key-below-a-comment\n",
		"a-key-above\n#\ta comment\n",
		"PROTOCOL_HOOK_SECRET=a-key-with-its-name\n",
		"PROTOCOL_HOOK_SECRET_PREVIOUS=x",
	};
	static const char *const right[] = {
		"#a-key", "key#with hash", "a-key\r\n", "YWJjZA==", "YWJjZGU=",
		"PROTOCOL_HOOK_", "PROTOCOL_HOOK_==", "NAME=value",
		"\xef\xbb", "\xef", "#", "=", "\r", "\r\r", "a\r\r\n",
	};
	struct keys keys;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_non_null(read_key(&keys, wrong[i]));
	for (i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		const char *why = read_key(&keys, right[i]);

		/* A carriage return alone is an empty line. */
		if (strcmp(right[i], "\r") != 0)
			assert_null(why);
	}
}

static void
unusual_characters_of_a_key_are_reported(void **state)
{
	static const struct {
		const char *key;
		unsigned int odd;
	} v[] = {
		{ "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP", 0 },
		{ "!#$%&()*+,-./:;<=>?@[\\]^_`{|}~", 0 },
		{ "YWJjZA==", 0 },
		{ "", 0 },
		{ " a", ODD_EDGE | ODD_SPACE },
		{ "a ", ODD_EDGE | ODD_SPACE },
		{ "a\t", ODD_EDGE | ODD_SPACE | ODD_BYTE },
		{ "\"a", ODD_EDGE },
		{ "a'", ODD_EDGE },
		{ "a\n", ODD_EDGE | ODD_BYTE },
		{ "a b", ODD_SPACE },
		{ "a\nb", ODD_BREAK | ODD_BYTE },
		{ "a\rb", ODD_BREAK | ODD_BYTE },
		{ "a\177b", ODD_BYTE },
		{ "a\001b", ODD_BYTE },
		{ "\xe2\x80\x8b" "a", ODD_BYTE },	/* U+200B */
		{ "a\xc2\xa0", ODD_BYTE },		/* U+00A0 */
		{ "\xe2\x80\x9c" "a\xe2\x80\x9d", ODD_BYTE },
		{ "\xef\xbb\xbf" "a", ODD_BOM | ODD_BYTE },
		{ "a\\n", ODD_ESCAPE },
		{ "a\\r\\n", ODD_ESCAPE },
		{ "a\\b", 0 },
		{ "NAME=a", ODD_NAME },
		{ "my_key1==a", ODD_NAME },
		{ "=a", 0 },
		{ "NAME=", 0 },
		{ "a-b=c", 0 },
		{ "PROTOCOL_HOOK_SECRET=a", ODD_NAME | ODD_VARIABLE },
		{ "PROTOCOL_HOOK_SECRET", 0 },
		{ "#a", ODD_HASH },
		{ "# a", ODD_HASH | ODD_COMMENT | ODD_SPACE },
		{ "a #", ODD_SPACE },
		{ " ", ODD_EDGE | ODD_SPACE | ODD_BLANK },
		{ "   ", ODD_EDGE | ODD_SPACE | ODD_BLANK },
	};
	struct keys keys;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		memset(&keys, 0, sizeof(keys));
		keys_add(&keys, v[i].key, strlen(v[i].key));
		assert_int_equal(v[i].odd, keys.odd[0]);
		assert_int_equal((v[i].odd & (ODD_COMMENT | ODD_VARIABLE |
		    ODD_BREAK | ODD_BOM | ODD_BLANK)) != 0, keys_error(&keys) != NULL);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signatures_are_those_of_rfc_4231),
		cmocka_unit_test(every_bit_of_a_signature_counts),
		cmocka_unit_test(a_signature_is_64_hex_digits_of_either_case),
		cmocka_unit_test(each_key_is_tried),
		cmocka_unit_test(a_secret_file_has_one_key_on_each_line),
		cmocka_unit_test(what_cannot_be_a_key_is_refused),
		cmocka_unit_test(unusual_characters_of_a_key_are_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
