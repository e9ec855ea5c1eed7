/* SPDX-License-Identifier: ISC */
/*
 * FastCGI connections: waits for many at once, and returns one only when all of
 * its request has arrived, so that libfcgi, which blocks, never waits.
 * A slow or silent client costs a slot, never the loop.
 *
 *	cs = connections_new(listener, wake, peers, max_body);
 *	connections_wait(cs, us);
 *	while ((c = connections_next(cs)) != NULL)
 *		read connection_input_fd(c), write connection_output_fd(c)
 *		connection_keep(c) or connection_close(c)
 *
 * A connection that connections_next() has returned is the caller's until then.
 */
#ifndef CONNECTIONS_H
#define CONNECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct connection;
struct connections;
struct peers;

#define CONNECTIONS_STOP_SECONDS	5

/*
 * Accepts from LISTENER, which becomes non-blocking, what PEERS allow; WAKE
 * becomes readable when a signal comes; MAX_BODY is in bytes.  NULL with errno.
 */
struct connections *connections_new(int listener, int wake,
    const struct peers *peers, size_t max_body);
/* Closes all connections, but not the listener. */
void connections_free(struct connections *);
/*
 * Waits until there is something to do, MOST_US microseconds or, for -1,
 * without limit; returns how many connections are to be looked at.
 */
size_t connections_wait(struct connections *, int64_t most_us);
/* The next connection with a whole request, or NULL. */
struct connection *connections_next(struct connections *);
/*
 * Accepts no more; requests that have begun get CONNECTIONS_STOP_SECONDS to
 * arrive.
 */
void connections_stop(struct connections *);
/* Whether a request has begun to arrive, and still may. */
bool connections_busy(const struct connections *);

/* The descriptor that has the request: a copy in memory, or the socket. */
int connection_input_fd(const struct connection *);
/* The socket. */
int connection_output_fd(const struct connection *);
/* libfcgi has closed one of these descriptors. */
void connection_forget_input(struct connection *);
void connection_forget_output(struct connection *);
/* Whether the rest of the request did not arrive in time. */
bool connection_timed_out(const struct connection *);
/* 0, or the errno with which buffering the body failed: it is incomplete. */
int connection_buffer_error(const struct connection *);
/*
 * Keeps the connection open for the next request; closes it if the peer has
 * closed it, or it has timed out.
 */
void connection_keep(struct connection *);
void connection_close(struct connection *);

#endif
