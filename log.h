/* SPDX-License-Identifier: ISC */
/*
 * Log lines, in logfmt: to standard error or, through the FastCGI connection,
 * to the web server.  No line contains a key, a signature, a path or a body.
 *
 * Nothing here waits for whoever reads the log.  What standard error does not
 * take at once is kept and tried again.  When there is no room for a new line
 * it is dropped and counted, and the count is logged before the next line.
 *
 *	log_open(log_choose(cgi));
 *	log_request(rq) or log_event(word, reason)	any number
 *	log_flush();					to standard error
 *	log_take(&n);					to the web server
 *
 * A process has one standard error, so there is one log.
 */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "request.h"

#define LOG_LINE_SIZE	2048	/* bytes, enough for every line */

enum log_target { LOG_SERVER, LOG_STDERR, LOG_NOWHERE };

/* Where lines should go, given what standard error is. */
enum log_target log_choose(bool cgi);
/* Sends lines there.  Installs a handler for SIGALRM. */
void log_open(enum log_target);
void log_request(const struct request *);
/* For what is not a request; REASON may be NULL. */
void log_event(const char *word, const char *reason);
/* A variable that the program does not have; see config_each_unknown(). */
void log_unknown_variable(const char *name, const char *value,
    const char *why);
/* Writes what standard error accepts without blocking; keeps the rest. */
void log_flush(void);
/* Whether log_flush() has left something, and is to be called again. */
bool log_has_unwritten(void);
/*
 * The N bytes of lines for the web server, valid until the next call; NULL if
 * they go elsewhere.
 */
const char *log_take(size_t *n);

/* Format one line with its newline; return its length.  For log.c and tests. */
size_t log_format_request(char line[LOG_LINE_SIZE], const struct request *);
size_t log_format_event(char line[LOG_LINE_SIZE], const char *word,
    const char *reason);

#endif
