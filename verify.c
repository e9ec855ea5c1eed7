/* SPDX-License-Identifier: ISC */
/*
 * Keys live in struct keys only, as HMAC states; every buffer that has held one
 * as plain text is wiped.  No branch and no index here depends on a key's
 * bytes, or on the signature that is expected: all keys are tried, and compared
 * in constant time.  Branches depend only on where a key begins and ends, and,
 * when keys are read, on whether it can be meant as one.
 */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <nettle/base16.h>
#include <nettle/memops.h>
#include <nettle/sha2.h>
#include <nettle/version.h>

#include "util.h"
#include "verify.h"

#define SECRET_FILE_MAX	65536

/* Nettle 4 has no length argument. */
#if NETTLE_VERSION_MAJOR >= 4
#define DIGEST(name, ctx, out)	name##_digest(ctx, out)
#else
#define DIGEST(name, ctx, out)	name##_digest(ctx, DIGEST_SIZE, out)
#endif

/* Compares without a branch: 1 if they are equal, else 0. */
static unsigned int
is_equal(unsigned int a, unsigned int b)
{
	return ((a ^ b) - 1) >> 31;
}

static unsigned int
is_within(unsigned int c, unsigned int first, unsigned int last)
{
	return 1 ^ ((c - first) >> 31 | (last - c) >> 31);
}

static unsigned int
is_white_space(unsigned int c)
{
	return is_equal(c, ' ') | is_equal(c, '\t');
}

static unsigned int
is_line_break(unsigned int c)
{
	return is_equal(c, '\r') | is_equal(c, '\n');
}

static unsigned int
is_odd_edge(unsigned int c)
{
	return is_white_space(c) | is_line_break(c) | is_equal(c, '"') |
	    is_equal(c, '\'');
}

static unsigned int
begins_with(const char *key, size_t len, const char *with)
{
	size_t n = strlen(with);

	return len >= n ? (unsigned int)memeql_sec(key, with, n) : 0;
}

/* Whether it is NAME=value; "=" alone may end a key in base64. */
static unsigned int
is_assignment(const char *key, size_t len)
{
	unsigned int c, name = 1, equals = 0, value = 0;
	size_t i;

	for (i = 0; i < len; i++) {
		c = (unsigned char)key[i];
		value |= equals & (1 ^ is_equal(c, '='));
		equals |= name & is_equal(c, '=') & (i > 0);
		name &= is_within(c | 0x20, 'a', 'z') | is_equal(c, '_') |
		    is_within(c, '0', '9');
	}
	return value;
}

/* The ODD_ bits of a key.  Its length is not a secret. */
static unsigned int
find_oddities(const char *key, size_t len)
{
	unsigned int c, escaped = 0, odd = 0, hash, blank = len > 0;
	size_t i;

	for (i = 0; i < len; i++) {
		c = (unsigned char)key[i];
		if (i == 0 || i == len - 1)
			odd |= ODD_EDGE * is_odd_edge(c);
		else
			odd |= ODD_BREAK * is_line_break(c);
		odd |= ODD_SPACE * is_white_space(c);
		blank &= is_white_space(c);
		odd |= ODD_BYTE * (1 ^ is_within(c, ' ', '~'));
		odd |= ODD_ESCAPE * (escaped & (is_equal(c, 'n') |
		    is_equal(c, 'r')));
		escaped = is_equal(c, '\\');
	}
	hash = begins_with(key, len, "#");
	odd |= ODD_BLANK * blank;
	odd |= ODD_NAME * is_assignment(key, len);
	odd |= ODD_HASH * hash;
	odd |= ODD_COMMENT * (hash & (odd / ODD_SPACE));
	odd |= ODD_VARIABLE * (begins_with(key, len, "PROTOCOL_HOOK_") &
	    (odd / ODD_NAME));
	return odd | ODD_BOM * begins_with(key, len, "\xef\xbb\xbf");
}

const char *
keys_add(struct keys *keys, const char *key, size_t len)
{
	if (keys->n == KEYS_MAX)
		return "has too many keys: 8 is the limit";
	if (keys->n == 0 || len < keys->shortest)
		keys->shortest = len;
	keys->odd[keys->n] = find_oddities(key, len);
	hmac_sha256_set_key(&keys->hmac[keys->n++], len, (const uint8_t *)key);
	return NULL;
}

const char *
keys_error(const struct keys *keys)
{
	unsigned int i, odd = 0;

	for (i = 0; i < keys->n; i++)
		odd |= keys->odd[i];
	if (odd & ODD_BOM)
		return "has a byte order mark before a key";
	if (odd & ODD_BREAK)
		return "has a line break in a key";
	if (odd & ODD_VARIABLE)
		return "has the name of a variable before a key";
	if (odd & ODD_BLANK)
		return "has a key that is only white space";
	/* Somebody who guesses the comment could sign with it. */
	if (odd & ODD_COMMENT)
		return "has a comment, which would be a key";
	return NULL;
}

static const char *
parse_key_lines(struct keys *keys, const char *s, size_t n)
{
	const char *end, *why;
	size_t len, line;

	for (; n > 0; s += line, n -= line) {
		end = memchr(s, '\n', n);
		len = end != NULL ? (size_t)(end - s) : n;
		line = end != NULL ? len + 1 : len;
		if (len > 0 && s[len - 1] == '\r')
			len--;
		if (memchr(s, '\0', len) != NULL)
			return "has a NUL byte";
		if (len > 0 && (why = keys_add(keys, s, len)) != NULL)
			return why;
	}
	return keys->n == 0 ? "has no key" : keys_error(keys);
}

/* Reads up to SIZE bytes; no copy of a key may stay on the heap. */
static ssize_t
read_into(int fd, char *buf, size_t size)
{
	size_t n = 0;
	ssize_t r;

	while (n < size) {
		r = read(fd, buf + n, size - n);
		if (r == -1 && errno == EINTR)
			continue;
		if (r == -1)
			return -1;
		if (r == 0)
			break;
		n += (size_t)r;
	}
	return (ssize_t)n;
}

const char *
keys_read_file(struct keys *keys, const char *path)
{
	char buf[SECRET_FILE_MAX + 1];
	const char *why;
	struct stat st;
	ssize_t n;
	int fd;

	/* O_NONBLOCK: opening a FIFO must not wait. */
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1)
		return strerror(errno);
	if (fstat(fd, &st) == -1)
		why = strerror(errno);
	else if (S_ISDIR(st.st_mode))
		why = "is a directory, not a file";
	else if (!S_ISREG(st.st_mode))
		why = "is not a regular file";
	else if ((n = read_into(fd, buf, sizeof(buf))) == -1)
		why = strerror(errno);
	else if (n > SECRET_FILE_MAX)
		why = "is larger than 64K";
	else
		why = parse_key_lines(keys, buf, (size_t)n);
	memory_wipe(buf, sizeof(buf));
	close(fd);
	return why;
}

int
signature_parse(uint8_t signature[DIGEST_SIZE], const char *text)
{
	struct base16_decode_ctx ctx;
	size_t len = DIGEST_SIZE;
	int ok;

	/* base16_decode would skip white space: count the digits first. */
	if (strlen(text) != DIGEST_HEX ||
	    strspn(text, "0123456789abcdefABCDEF") != DIGEST_HEX)
		return -1;
	base16_decode_init(&ctx);
	ok = base16_decode_update(&ctx, &len, signature, DIGEST_HEX, text);
	return (ok & base16_decode_final(&ctx)) - 1;
}

unsigned int
keys_verify(struct keys *keys, const uint8_t signature[DIGEST_SIZE],
    const uint8_t *body, size_t len)
{
	uint8_t expected[DIGEST_SIZE];
	unsigned int i, same, which = 0;

	for (i = keys->n; i > 0; i--) {
		hmac_sha256_update(&keys->hmac[i - 1], len, body);
		DIGEST(hmac_sha256, &keys->hmac[i - 1], expected);
		same = (unsigned int)memeql_sec(expected, signature,
		    DIGEST_SIZE);
		/* Without a branch: which = same ? i : which */
		which ^= (which ^ i) & (unsigned int)-(int)same;
	}
	memory_wipe(expected, sizeof(expected));
	return which;
}

void
keys_sign(struct keys *keys, uint8_t signature[DIGEST_SIZE],
    const uint8_t *body, size_t len)
{
	hmac_sha256_update(&keys->hmac[0], len, body);
	DIGEST(hmac_sha256, &keys->hmac[0], signature);
}

void
body_digest(uint8_t digest[DIGEST_SIZE], const uint8_t *body, size_t len)
{
	struct sha256_ctx ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, len, body);
	DIGEST(sha256, &ctx, digest);
}

void
hex_format(char hex[DIGEST_HEX + 1], const uint8_t digest[DIGEST_SIZE])
{
	base16_encode_update(hex, DIGEST_SIZE, digest);
	hex[DIGEST_HEX] = '\0';
}
