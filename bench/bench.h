/* SPDX-License-Identifier: ISC */
/*
 * Signed bodies for the benchmarks.  No two are alike; only the end differs:
 * the HMAC of what comes before is computed once, so that signing takes about a
 * microsecond a body, of whatever size.
 */
#ifndef BENCH_H
#define BENCH_H

#include <sys/types.h>
#include <sys/uio.h>

#include <stdint.h>
#include <time.h>

#include <nettle/hmac.h>

#define TAIL_SIZE	18	/* bytes: sixteen digits and "} */
#define SIGNATURE_SIZE	64	/* hex digits */

struct bodies {
	struct hmac_sha256_ctx begun;	/* after the head */
	char *head;
	size_t head_size, size;		/* of the head; of the body */
	uint64_t next;
};

struct body {
	char tail[TAIL_SIZE + 1];
	char signature[SIGNATURE_SIZE + 1];
};

/* Bodies of SIZE bytes, or of the smallest event if that is more. */
void bodies_init(struct bodies *, const char *key, size_t size);
/* Makes the next body: the head, then the tail. */
void bodies_next(struct bodies *, struct body *);

/* Microseconds, CLOCK_MONOTONIC. */
int64_t microseconds(void);
/* Sorts N numbers and prints their p50, p99, p99.9 and maximum, name=value. */
void percentiles_print(uint32_t *values, size_t n);
/* The number that an option has; exits if it is none. */
size_t option_number(const char *text);
void *allocate(size_t n);

#endif
