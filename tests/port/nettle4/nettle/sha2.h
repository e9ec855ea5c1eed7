#ifndef PORT_NETTLE4_SHA2_H
#define PORT_NETTLE4_SHA2_H
/* Nettle 4's calls, without a length, from those of Nettle 3. */
#include_next <nettle/sha2.h>
static inline void
sha256_digest_4(struct sha256_ctx *ctx, uint8_t *digest)
{
	sha256_digest(ctx, SHA256_DIGEST_SIZE, digest);
}
#undef sha256_digest
#define sha256_digest	sha256_digest_4
#endif
