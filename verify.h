/* SPDX-License-Identifier: ISC */
/*
 * Keys, signatures and digests.
 *
 *	keys_read_file(&keys, path)	or keys_add() for each
 *	signature_parse(signature, header)
 *	keys_verify(&keys, signature, body, len)
 *
 * Keys are kept as HMAC states only.  Nothing here branches on a key's bytes,
 * or on the signature that is expected.
 */
#ifndef VERIFY_H
#define VERIFY_H

#include <stddef.h>
#include <stdint.h>

#include <nettle/hmac.h>

#define DIGEST_SIZE	((size_t)SHA256_DIGEST_SIZE)	/* bytes */
#define DIGEST_HEX	(2 * DIGEST_SIZE)
#define KEYS_MAX	8	/* keys accepted at the same time */

/* What is odd in a key: keys_error() refuses the last five. */
#define ODD_EDGE	0x01	/* begins or ends with a space or a quote */
#define ODD_SPACE	0x02	/* has white space */
#define ODD_BYTE	0x04	/* has a byte that is not printable ASCII */
#define ODD_ESCAPE	0x08	/* has a backslash followed by n or r */
#define ODD_NAME	0x10	/* begins as NAME=value */
#define ODD_HASH	0x20	/* begins with # */
#define ODD_COMMENT	0x40	/* begins with # and has white space */
#define ODD_VARIABLE	0x80	/* begins as PROTOCOL_HOOK_NAME=value */
#define ODD_BREAK	0x100	/* has a line break before its end */
#define ODD_BOM		0x200	/* begins with a byte order mark */
#define ODD_BLANK	0x400	/* is all white space */

struct keys {
	unsigned int n;
	size_t shortest;	/* bytes of the shortest key */
	unsigned int odd[KEYS_MAX];	/* ODD_ bits of each key */
	struct hmac_sha256_ctx hmac[KEYS_MAX];
};

/* Returns NULL, or why the key was not taken.  The caller wipes KEY. */
const char *keys_add(struct keys *, const char *key, size_t len);
/* Returns NULL, or why one of the keys can't be meant as a key. */
const char *keys_error(const struct keys *);
/* One key a line, the current one first.  Returns NULL, or what is wrong. */
const char *keys_read_file(struct keys *, const char *path);

/* Exactly 64 hexadecimal digits of either case, NUL-terminated: 0 or -1. */
int signature_parse(uint8_t signature[DIGEST_SIZE], const char *text);
/*
 * Compares SIGNATURE with the HMAC-SHA256 (RFC 2104) of BODY under each key, in
 * constant time.  Returns 0 if none made it, 1 for the current key, 2 for the
 * one before, and so on.
 */
unsigned int keys_verify(struct keys *, const uint8_t signature[DIGEST_SIZE],
    const uint8_t *body, size_t len);
/* HMAC-SHA256 of BODY under the current key. */
void keys_sign(struct keys *, uint8_t signature[DIGEST_SIZE],
    const uint8_t *body, size_t len);

/* SHA-256 (FIPS 180-4) of BODY. */
void body_digest(uint8_t digest[DIGEST_SIZE], const uint8_t *body, size_t len);
/* A digest or signature in lower-case hexadecimal, NUL-terminated. */
void hex_format(char hex[DIGEST_HEX + 1], const uint8_t digest[DIGEST_SIZE]);

#endif
