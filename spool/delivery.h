/* SPDX-License-Identifier: ISC */
/*
 * A delivery on its way into the spool: see spool_stage().
 */
#ifndef SPOOL_DELIVERY_H
#define SPOOL_DELIVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "../failure.h"
#include "../verify.h"
#include "name.h"

struct event;

enum delivery_state {
	DELIVERY_PENDING,	/* staged, to be committed */
	DELIVERY_STORED,
	DELIVERY_DUPLICATE,
	DELIVERY_COMMIT_FIRST,	/* the group is full, or has the same bytes */
	DELIVERY_BUSY,		/* another process is storing the same bytes */
	DELIVERY_FAILED		/* failure says why */
};

struct delivery {
	const struct event *event;	/* NULL: the body goes to rejected/ */
	enum delivery_state state;
	struct failure failure;
	uint8_t digest[DIGEST_SIZE];	/* SHA-256 of the body */
	char hex[DIGEST_HEX + 1];
	char name[NAME_SIZE];		/* in new/ or rejected/, or "" */
	/* For commit.c and flush.c alone. */
	char day[DAY_SIZE];		/* of the archive */
	int fd;				/* until it is flushed, or -1 */
	bool adopted;			/* a killed process has linked it */
};

#endif
