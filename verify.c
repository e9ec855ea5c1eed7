/* SPDX-License-Identifier: ISC */
/*
 * Who sent it: keys, and whether one of them signed a body.
 *
 * Keys live in struct keys only, as HMAC states; every buffer that held one in
 * plain is wiped.  No branch and no index here depends on a key or on the
 * signature that was expected: all keys are tried, and compared in constant
 * time.  Only where a key begins and ends, and whether it can be meant as one,
 * is branched on, when keys are read.
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

#include "hook.h"

#define SECRET_FILE_MAX	65536

/* Nettle 4 took the length argument away. */
#if NETTLE_VERSION_MAJOR >= 4
#define DIGEST(name, ctx, out)	name##_digest(ctx, out)
#else
#define DIGEST(name, ctx, out)	name##_digest(ctx, DIGEST_SIZE, out)
#endif

/* Comparisons of bytes that give 0 or 1 without a branch. */
static unsigned int
is(unsigned int a, unsigned int b)
{
	return ((a ^ b) - 1) >> 31;
}

static unsigned int
is_within(unsigned int c, unsigned int first, unsigned int last)
{
	return 1 ^ ((c - first) >> 31 | (last - c) >> 31);
}

static unsigned int
is_space(unsigned int c)
{
	return is(c, ' ') | is(c, '\t');
}

static unsigned int
is_break(unsigned int c)
{
	return is(c, '\r') | is(c, '\n');
}

static unsigned int
is_edge(unsigned int c)
{
	return is_space(c) | is_break(c) | is(c, '"') | is(c, '\'');
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
		value |= equals & (1 ^ is(c, '='));
		equals |= name & is(c, '=') & (i > 0);
		name &= is_within(c | 0x20, 'a', 'z') | is(c, '_') |
		    is_within(c, '0', '9');
	}
	return value;
}

/* The ODD_ bits of a key.  Its length is no secret. */
static unsigned int
oddities(const char *key, size_t len)
{
	unsigned int c, escaped = 0, odd = 0, hash;
	size_t i;

	for (i = 0; i < len; i++) {
		c = (unsigned char)key[i];
		if (i == 0 || i == len - 1)
			odd |= ODD_EDGE * is_edge(c);
		else
			odd |= ODD_BREAK * is_break(c);
		odd |= ODD_SPACE * is_space(c);
		odd |= ODD_BYTE * (1 ^ is_within(c, ' ', '~'));
		odd |= ODD_ESCAPE * (escaped & (is(c, 'n') | is(c, 'r')));
		escaped = is(c, '\\');
	}
	hash = begins_with(key, len, "#");
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
	keys->odd[keys->n] = oddities(key, len);
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
	/* Whoever guesses the comment could sign with it. */
	if (odd & ODD_COMMENT)
		return "has a comment, which would be a key";
	return NULL;
}

static const char *
keys_read_lines(struct keys *keys, const char *s, size_t n)
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

static ssize_t
read_all(int fd, char *buf, size_t size)
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

	/* O_NONBLOCK: a FIFO put in its place must not hold us. */
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1)
		return strerror(errno);
	if (fstat(fd, &st) == -1)
		why = strerror(errno);
	else if (S_ISDIR(st.st_mode))
		why = "is a directory, not a file";
	else if (!S_ISREG(st.st_mode))
		why = "is not a regular file";
	else if ((n = read_all(fd, buf, sizeof(buf))) == -1)
		why = strerror(errno);
	else if (n > SECRET_FILE_MAX)
		why = "is larger than 64K";
	else
		why = keys_read_lines(keys, buf, (size_t)n);
	wipe(buf, sizeof(buf));
	close(fd);
	return why;
}

int
signature_decode(uint8_t signature[DIGEST_SIZE], const char *text)
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
		/* which = same ? i : which, without a branch */
		which ^= (which ^ i) & (unsigned int)-(int)same;
	}
	wipe(expected, sizeof(expected));
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
