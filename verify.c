/* SPDX-License-Identifier: ISC */
/*
 * Who sent it: keys, and whether one of them signed a body.
 *
 * Keys live in struct keys only, as HMAC states; every buffer that held one in
 * plain is wiped.  No branch and no index here depends on a key or on the
 * signature that was expected: all keys are tried, and compared in constant
 * time.
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

/* What a key from Protocol hardly begins or ends with; without a branch. */
static unsigned int
is_odd(char c)
{
	static const char odd[] = { ' ', '\t', '\r', '\n', '"', '\'' };
	unsigned int any = 0;
	size_t i;

	for (i = 0; i < sizeof(odd); i++)
		any |= (unsigned int)memeql_sec(&c, &odd[i], 1);
	return any;
}

const char *
keys_add(struct keys *keys, const char *key, size_t len)
{
	if (keys->n == KEYS_MAX)
		return "too many keys";
	if (keys->n == 0 || len < keys->shortest)
		keys->shortest = len;
	if (len > 0)
		keys->odd |= is_odd(key[0]) | is_odd(key[len - 1]);
	hmac_sha256_set_key(&keys->hmac[keys->n++], len, (const uint8_t *)key);
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
	return keys->n == 0 ? "has no key" : NULL;
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
