/* SPDX-License-Identifier: ISC */
/* Signed bodies, times and options, for the programs of the benchmarks. */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nettle/version.h>

#include "bench.h"

#if NETTLE_VERSION_MAJOR >= 4
#define FINISH_HMAC(ctx, out)	hmac_sha256_digest(ctx, out)
#else
#define FINISH_HMAC(ctx, out)	hmac_sha256_digest(ctx, SHA256_DIGEST_SIZE, out)
#endif

static const char before[] = "{\"type\":\"message.created\",\"payload\":{"
    "\"id\":\"SIuAFUNKdSYHZF2w\",\"conversation_id\":\"xgQQXg3hrtjh7AvZ\","
    "\"contact\":{\"id\":\"WAz8eIbvDR60rouK\",\"username\":\"KevinMcCallister\","
    "\"created_at\":692233200},\"reactions\":[],\"attachments\":[],"
    "\"created_at\":692233200,\"message\":\"";
static const char after[] = "\"},\"id\":\"";

void
bodies_init(struct bodies *b, const char *key, size_t size)
{
	size_t least = sizeof(before) - 1 + sizeof(after) - 1 + TAIL_SIZE;
	size_t text = size > least ? size - least : 0;
	struct timespec ts;

	b->size = least + text;
	b->head_size = b->size - TAIL_SIZE;
	b->head = allocate(b->head_size);
	memcpy(b->head, before, sizeof(before) - 1);
	memset(b->head + sizeof(before) - 1, 'x', text);
	memcpy(b->head + sizeof(before) - 1 + text, after, sizeof(after) - 1);
	hmac_sha256_set_key(&b->begun, strlen(key), (const uint8_t *)key);
	hmac_sha256_update(&b->begun, b->head_size, (const uint8_t *)b->head);
	clock_gettime(CLOCK_REALTIME, &ts);
	b->next = ((uint64_t)ts.tv_sec << 30 | (uint64_t)ts.tv_nsec) << 12;
}

static void
hex(char *out, uint64_t n, size_t digits)
{
	for (; digits > 0; n >>= 4)
		out[--digits] = "0123456789abcdef"[n & 15];
}

void
bodies_next(struct bodies *b, struct body *body)
{
	struct hmac_sha256_ctx ctx = b->begun;
	uint8_t digest[SHA256_DIGEST_SIZE];
	size_t i;

	hex(body->tail, b->next++, 16);
	memcpy(body->tail + 16, "\"}", sizeof("\"}"));
	hmac_sha256_update(&ctx, TAIL_SIZE, (const uint8_t *)body->tail);
	FINISH_HMAC(&ctx, digest);
	for (i = 0; i < sizeof(digest); i++)
		hex(body->signature + 2 * i, digest[i], 2);
	body->signature[SIGNATURE_SIZE] = '\0';
}

int64_t
microseconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int
compare_latencies(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

void
percentiles_print(uint32_t *values, size_t n)
{
	if (n == 0) {
		printf(" p50=0 p99=0 p999=0 max=0");
		return;
	}
	qsort(values, n, sizeof(*values), compare_latencies);
	printf(" p50=%" PRIu32 " p99=%" PRIu32 " p999=%" PRIu32 " max=%" PRIu32,
	    values[n / 2], values[n * 99 / 100], values[n * 999 / 1000],
	    values[n - 1]);
}

size_t
option_number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end != '\0')
		errx(2, "%s is no number", text);
	return n;
}

void *
allocate(size_t n)
{
	void *p = calloc(n > 0 ? n : 1, 1);

	if (p == NULL)
		err(1, "memory");
	return p;
}
