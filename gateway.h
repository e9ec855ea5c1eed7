/* SPDX-License-Identifier: ISC */
/*
 * The two entry points for web servers: cgi.c and fastcgi.c.
 */
#ifndef GATEWAY_H
#define GATEWAY_H

#include <stdbool.h>
#include <stdint.h>

struct config;
struct server;

/*
 * Answers one CGI request (RFC 3875), from the environment and standard input
 * to standard output.  Returns the exit status: 1 if the answer was not
 * written.
 */
int cgi_run(struct config *);
/*
 * Answers FastCGI requests from a listening socket until SIGTERM.  Returns the
 * exit status: 1 if that could not be set up.
 */
int fastcgi_run(struct config *, int listener);

/*
 * Parts of fastcgi_run(), exported for the fuzz target: one turn of the event
 * loop, which waits MOST_US microseconds at most or, for -1, without limit.
 * server_new() returns NULL and sets *WHY if that failed; it catches signals.
 */
struct server *server_new(struct config *, int listener, bool confine,
    const char **why);
void server_turn(struct server *, int64_t most_us);
bool server_is_busy(const struct server *);

#endif
