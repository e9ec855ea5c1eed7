/* SPDX-License-Identifier: ISC */
/*
 * Which archived deliveries the flags and operands of replay select.
 */
#ifndef SELECTION_H
#define SELECTION_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "../events.h"
#include "command.h"

struct selection {
	int64_t since_us, before_us;	/* see selection_time_us() */
	const char *type, *id;		/* a pattern, a text; NULL for all */
	char **digests;			/* NULL at the end; none for all */
};

/* Returns false if something is wrong, and that was printed. */
bool selection_parse(struct selection *, const struct arguments *);

bool selection_has_digest(const struct selection *, const char *hex);
bool selection_has_time(const struct selection *, int64_t time_us);
bool selection_has_event(const struct selection *, const struct event *);

/* Microseconds since 1970; times out of range become the first or the last. */
int64_t selection_time_us(time_t s, long ns);

#endif
