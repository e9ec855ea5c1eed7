/* SPDX-License-Identifier: ISC */
/*
 * Signed bodies for the benchmarks, no two alike.  What differs stands at the
 * end, so that the HMAC of all that comes before it is computed once, and a
 * sender costs a microsecond for each body, however long it is.
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
	struct hmac_sha256_ctx begun;	/* has seen the head */
	char *head;
	size_t head_size, size;		/* of the head, of a whole body */
	uint64_t next;
};

struct body {
	char tail[TAIL_SIZE + 1];
	char signature[SIGNATURE_SIZE + 1];
};

/* Bodies of SIZE bytes, or the least that an event can have. */
void bodies_init(struct bodies *, const char *key, size_t size);
/* The next one; head and tail are to be sent after each other. */
void bodies_next(struct bodies *, struct body *);

/* Microseconds, CLOCK_MONOTONIC. */
int64_t microseconds(void);
/* Sorts N numbers and prints name=value of their p50, p99, p99.9 and most. */
void percentiles_print(uint32_t *values, size_t n);
/* A number of an option, or the end of the program. */
size_t option_number(const char *text);
void *allocate(size_t n);

#endif
