/* SPDX-License-Identifier: ISC */
/*
 * One request, from the web server's parameters to its outcome; knows nothing
 * of CGI or FastCGI.
 *
 *	rv = receiver_new(cfg, may_wait);
 *	for each group of requests:
 *		receiver_refresh(rv);
 *		request_read_params(rq, params);	each
 *		request_evaluate(rv, rq);		each
 *		receiver_commit(rv);
 *		request_apply_result(rq);		each
 *		now each outcome is final: answer and log
 *		receiver_tidy(rv, requests, once);
 *
 * Before request_read_params() the caller sets what is to know about the body
 * and began_us, and the rest to zero.  Until the signature is verified, only
 * the length of the body influences what happens.
 */
#ifndef REQUEST_H
#define REQUEST_H

#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "events.h"
#include "reply.h"
#include "spool/spool.h"

struct config;
struct receiver;

#define REQUEST_US	((int64_t)REQUEST_SECONDS * 1000000)
#ifndef REQUEST_SECONDS
#define REQUEST_SECONDS	60	/* for a request to arrive */
#endif

struct request {
	/* What the web server passed, or NULL. */
	const char *method, *content_length, *transfer_encoding;
	const char *signature, *remote_addr;
	bool signature_repeated;
	bool has_headers;		/* some HTTP_ parameter was passed */
	/* Reads some of the body: 0 at its end; -1, and cut or late is set. */
	ssize_t (*read)(struct request *, void *, size_t);
	uint64_t body_left;		/* bytes of the body to come */
	bool body_has_end;		/* which can be read without a length */
	int buffer_error;		/* errno: there was no room for it */
	bool cut;			/* the connection ended */
	bool late;			/* it did not arrive in time */
	int64_t began_us;		/* clock_us() */
	/* What became of it. */
	enum outcome outcome;
	struct failure failure;		/* for the log; what may be NULL */
	size_t body_bytes;
	unsigned int key;		/* that signed it, from 1; 0 for none */
	bool has_event;
	struct event event;
	bool has_delivery;		/* the spool decides the outcome */
	struct delivery delivery;
};

/*
 * With MAY_WAIT a request waits for another process that is storing the same
 * bytes; without it the request is left waiting, see request_is_waiting().
 * NULL with errno.
 */
struct receiver *receiver_new(struct config *, bool may_wait);
void receiver_free(struct receiver *);
/* Finds out whether requests can be accepted.  False if each will get 500. */
bool receiver_refresh(struct receiver *);
/*
 * Confines the process; SIGHUP will read the SECRET_FILE again unless it is
 * NULL.  Returns NULL, or what could not be confined.
 */
const char *receiver_confine(struct receiver *, const char *secret_file);
/* Whether the spool was replaced by one that a confined process can't open. */
bool receiver_is_locked_out(const struct receiver *);
/* See spool_expiry_held(). */
const char *receiver_expiry_held(const struct receiver *);

void request_read_params(struct request *, char **params);
/* A delivery is staged only; request_apply_result() sets its outcome. */
void request_evaluate(struct receiver *, struct request *);
void receiver_commit(struct receiver *);
/* Whether another process is storing the same bytes; see receiver_retry(). */
bool request_is_waiting(const struct request *);
/* Looks again at a request that is waiting, for the LAST time or not. */
void receiver_retry(struct receiver *, struct request *, bool last);
/* Makes the spool's result the outcome of the request. */
void request_apply_result(struct request *);
/* Removes expired files after a group of so many requests. */
void receiver_tidy(struct receiver *, size_t requests, bool once);

#endif
