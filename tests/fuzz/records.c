/* SPDX-License-Identifier: ISC */
/*
 * fcgi_records.c: feeds the input at once, and in portions whose size is the
 * first byte.  Both give the same result and pass on the same bytes, which are
 * a clean request when they are fed again.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fcgi_records.h"
#include "fcgi_values.h"

#define COPY_MAX	(4 << 20)
#define MAX_BODY	300

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

struct copy {
	uint8_t *bytes;
	size_t n, managed;
};

static void
check(bool right)
{
	if (!right)
		abort();
}

static int
append_copy(void *arg, const void *p, size_t n, bool in_body)
{
	struct copy *c = arg;

	(void)in_body;
	check(n <= COPY_MAX - c->n);
	memcpy(c->bytes + c->n, p, n);
	c->n += n;
	return 0;
}

static int
answer_values(void *arg, uint8_t type, const uint8_t *content, size_t n)
{
	uint8_t answer[FCGI_ANSWER_SIZE];
	struct copy *c = arg;

	check(n <= FCGI_MANAGEMENT_MAX);
	c->managed += fcgi_values_answer(answer, type, content, n, 4096);
	return 0;
}

/* Feeds DATA in portions of PART bytes; returns 0 or -1. */
static int
feed_parts(struct fcgi_records *r, struct copy *c, const uint8_t *data,
    size_t size, size_t part)
{
	const struct fcgi_sink sink = { append_copy, answer_values, c };
	size_t n;

	fcgi_records_init(r, MAX_BODY);
	for (; size > 0; data += n, size -= n) {
		n = part < size ? part : size;
		if (fcgi_records_feed(r, data, n, &sink) == -1)
			return -1;
	}
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t once_bytes[COPY_MAX], parts_bytes[COPY_MAX],
	    again_bytes[COPY_MAX];
	struct copy once = { once_bytes, 0, 0 };
	struct copy parts = { parts_bytes, 0, 0 };
	struct copy again = { again_bytes, 0, 0 };
	struct fcgi_records r, s;
	int end;

	if (size < 2 || size > COPY_MAX / 2)
		return 0;
	end = feed_parts(&r, &once, data + 1, size - 1, size);
	check(feed_parts(&s, &parts, data + 1, size - 1, data[0] + 1u) == end);
	/* How much of an invalid record is passed on depends on portions. */
	if (end == -1)
		return 0;
	check(once.n == parts.n && once.managed == parts.managed &&
	    memcmp(once.bytes, parts.bytes, once.n) == 0);
	check(fcgi_records_complete(&r) == fcgi_records_complete(&s));
	if (!fcgi_records_complete(&r))
		return 0;
	check(feed_parts(&s, &again, once.bytes, once.n, once.n) == 0);
	check(fcgi_records_complete(&s) && fcgi_records_are_clean(&s));
	check(again.n == once.n &&
	    memcmp(again.bytes, once.bytes, once.n) == 0);
	return 0;
}
