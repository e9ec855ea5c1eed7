/* SPDX-License-Identifier: ISC */
/*
 * Signatures are verified in constant time.  To be run under valgrind, whose
 * memcheck reports each branch and each memory access that depends on undefined
 * bytes: so keys and HMAC states, which are secret, are declared undefined, and
 * only the result, which the sender may know, is declared defined.
 */
#include <stdio.h>
#include <string.h>

#include <valgrind/memcheck.h>

#include "verify.h"

#define BODY	"{\"id\":\"1\",\"type\":\"message.created\",\"payload\":{}}"

static unsigned int
answer(struct keys *keys, const uint8_t signature[DIGEST_SIZE])
{
	unsigned int which, undefined;

	which = keys_verify(keys, signature, (const uint8_t *)BODY,
	    sizeof(BODY) - 1);
	/* Otherwise memcheck has watched nothing. */
	VALGRIND_GET_VBITS(&which, &undefined, sizeof(which));
	if (undefined == 0)
		printf("it was not secret\n");
	VALGRIND_MAKE_MEM_DEFINED(&which, sizeof(which));
	return which;
}

/* Signs BODY with KEY.  The signature is not secret. */
static void
sign(uint8_t signature[DIGEST_SIZE], const char *key, size_t len)
{
	struct hmac_sha256_ctx ctx;

	hmac_sha256_set_key(&ctx, len, (const uint8_t *)key);
	hmac_sha256_update(&ctx, sizeof(BODY) - 1, (const uint8_t *)BODY);
	hmac_sha256_digest(&ctx, DIGEST_SIZE, signature);
	VALGRIND_MAKE_MEM_DEFINED(signature, DIGEST_SIZE);
}

/* Declares the HMAC states secret; the length of a key is not. */
static void
hide(struct keys *keys)
{
	struct hmac_sha256_ctx *h;

	for (h = keys->hmac; h < keys->hmac + keys->n; h++) {
		VALGRIND_MAKE_MEM_UNDEFINED(h->outer.state,
		    sizeof(h->outer.state));
		VALGRIND_MAKE_MEM_UNDEFINED(h->inner.state,
		    sizeof(h->inner.state));
		VALGRIND_MAKE_MEM_UNDEFINED(h->state.state,
		    sizeof(h->state.state));
	}
}

static void
try_key(size_t len)
{
	char key[200], other[] = "the key before it";
	uint8_t signature[DIGEST_SIZE];
	struct keys keys = { 0 };
	unsigned int undefined = 0;
	size_t i;

	memset(key, 'k', sizeof(key));
	sign(signature, key, len);
	VALGRIND_MAKE_MEM_UNDEFINED(key, len);
	keys_add(&keys, key, len);
	keys_add(&keys, other, sizeof(other) - 1);
	/* Whether a text can be meant as a key is not secret. */
	VALGRIND_GET_VBITS(&keys.odd[0], &undefined, sizeof(keys.odd[0]));
	if (RUNNING_ON_VALGRIND && undefined == 0)
		printf("what was read was not secret\n");
	VALGRIND_MAKE_MEM_DEFINED(keys.odd, sizeof(keys.odd));
	hide(&keys);
	printf("right: %u\n", answer(&keys, signature));
	for (i = 0; i < DIGEST_SIZE; i += DIGEST_SIZE - 1) {
		signature[i] ^= 1;
		printf("wrong: %u\n", answer(&keys, signature));
		signature[i] ^= 1;
	}
}

int
main(void)
{
	/* Keys longer than a block of SHA-256, 64 bytes, are hashed. */
	try_key(15);
	try_key(64);
	try_key(200);
	return RUNNING_ON_VALGRIND ? 0 : 1;
}
