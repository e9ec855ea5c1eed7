/* SPDX-License-Identifier: ISC */
/*
 * One connection, as connections.c and connection.c share it; others use
 * connections.h.
 */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "connections.h"
#include "fcgi_records.h"

/* What all connections have in common. */
struct connection_shared {
	uint64_t max_body;	/* bytes */
	size_t most;		/* connections at the same time */
	uint8_t recv_buf[65536];
};

struct connection {
	struct connections *all;
	struct connection_shared *shared;
	int fd;			/* -1: the slot is free */
	int buffer_fd;		/* buffers a request in pieces, or -1 */
	int buffer_error;	/* errno: the body could not be buffered */
	struct fcgi_records records;	/* of what is in the buffer */
	unsigned int managed;	/* management records since the last request */
	bool readable;		/* has unread input */
	bool in_use;		/* the caller's */
	bool kept;		/* has served a request */
	bool idle;		/* kept, and the next request has not begun */
	bool closed_by_peer, timed_out;
	int64_t since_ms;	/* accepted, or idle, or the request began */
};

enum progress { REQUEST_PARTIAL, REQUEST_WHOLE, REQUEST_GONE };

/* Reads what has come. */
enum progress connection_read(struct connection *);
/*
 * In connections.c: if a call has failed because no descriptor was left, closes
 * the connection, other than EXCEPT, that has waited longest.  Returns whether
 * the call can be made again.
 */
bool connections_reclaim(struct connections *, const struct connection *except);

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t clock_ms(void);

#endif
