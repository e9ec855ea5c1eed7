#ifndef PORT_NETTLE4_HMAC_H
#define PORT_NETTLE4_HMAC_H
#include_next <nettle/hmac.h>
static inline void
hmac_sha256_digest_4(struct hmac_sha256_ctx *ctx, uint8_t *digest)
{
	hmac_sha256_digest(ctx, SHA256_DIGEST_SIZE, digest);
}
#undef hmac_sha256_digest
#define hmac_sha256_digest	hmac_sha256_digest_4
#endif
