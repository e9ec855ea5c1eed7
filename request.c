/* SPDX-License-Identifier: ISC */
/*
 * request_evaluate() is the table of answers of protocol-hook(8), row by row.
 * What it decides, it decides before the body is stored; the spool's result
 * comes with request_apply_result().
 */
#include <sys/mman.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config.h"
#include "request.h"
#include "sandbox.h"
#include "util.h"

#define SMALL_BODY	(1 << 20)	/* bytes; larger ones are mapped */
#define DRAIN_MAX	(16 << 20)	/* bytes read of a refused body */
#define TIDY_EACH	2	/* expired files removed for each request ... */
#define TIDY_GROUP	8	/* ... and for each group */

struct receiver {
	struct config *cfg;
	struct spool *spool;
	struct failure fault;	/* why all requests get 500; or what is NULL */
	bool may_wait;
	uint8_t small_body[SMALL_BODY];	/* only what is used takes memory */
};

struct receiver *
receiver_new(struct config *cfg, bool may_wait)
{
	struct receiver *rv = calloc(1, sizeof(*rv));

	if (rv == NULL || (rv->spool = spool_new(cfg)) == NULL) {
		free(rv);
		return NULL;
	}
	rv->cfg = cfg;
	rv->may_wait = may_wait;
	return rv;
}

void
receiver_free(struct receiver *rv)
{
	spool_free(rv->spool);
	free(rv);
}

bool
receiver_refresh(struct receiver *rv)
{
	rv->fault.error = 0;
	if ((rv->fault.what = config_error(rv->cfg)) != NULL)
		return false;
	return spool_refresh(rv->spool, &rv->fault);
}

const char *
receiver_confine(struct receiver *rv, const char *secret_file)
{
	return sandbox_enter(spool_fd(rv->spool), rv->cfg->spool, secret_file);
}

bool
receiver_is_locked_out(const struct receiver *rv)
{
	return !spool_is_open(rv->spool) && rv->fault.error == EACCES &&
	    spool_replaced(rv->spool);
}

const char *
receiver_expiry_held(const struct receiver *rv)
{
	return spool_expiry_held(rv->spool);
}

void
receiver_commit(struct receiver *rv)
{
	spool_commit(rv->spool);
}

void
receiver_tidy(struct receiver *rv, size_t requests, bool once)
{
	spool_tidy(rv->spool, TIDY_EACH * (once ? 0 : requests) + TIDY_GROUP,
	    once);
}

/* Parameters */

/* Whether PARAM begins with NAME; sets *VALUE to what follows. */
static bool
match_param(const char *param, const char *name, const char **value)
{
	size_t n = strlen(name);

	if (strncmp(param, name, n) != 0)
		return false;
	*value = param + n;
	return true;
}

/* In one pass: FCGX_GetParam() would hide a repeated parameter. */
void
request_read_params(struct request *rq, char **params)
{
	const char *value;

	for (; *params != NULL; params++) {
		rq->has_headers |= match_param(*params, "HTTP_", &value);
		if (match_param(*params, "HTTP_X_PROTOCOL_SIGNATURE=",
		    &value)) {
			rq->signature_repeated = rq->signature != NULL;
			rq->signature = value;
		} else if (match_param(*params, "REQUEST_METHOD=", &value))
			rq->method = value;
		else if (match_param(*params, "CONTENT_LENGTH=", &value))
			rq->content_length = value;
		else if (match_param(*params, "HTTP_TRANSFER_ENCODING=",
		    &value))
			rq->transfer_encoding = value;
		else if (match_param(*params, "REMOTE_ADDR=", &value))
			rq->remote_addr = value;
	}
}

/* Evaluation */

/* Sets the outcome of a request that will not be stored. */
static void
refuse_request(struct request *rq, enum outcome outcome, const char *what,
    int error)
{
	char unread[4096];
	size_t n = 0;
	ssize_t r;

	rq->outcome = outcome;
	failure_set(&rq->failure, what, error);
	/* Some servers lose an answer that comes before the body is read. */
	while (n < DRAIN_MAX && !rq->cut && !rq->late &&
	    (r = rq->read(rq, unread, sizeof(unread))) > 0)
		n += (size_t)r;
}

enum length_kind {
	LENGTH_GIVEN,		/* body_left has it */
	LENGTH_UNTIL_END,	/* the body goes on to the end of file */
	LENGTH_NONE,
	LENGTH_INVALID
};

static bool
is_chunked(const struct request *rq)
{
	return rq->transfer_encoding != NULL &&
	    strcasecmp(rq->transfer_encoding, "chunked") == 0;
}

static enum length_kind
parse_length(struct request *rq)
{
	const char *s = rq->content_length;

	/* nginx passes an empty string where it does not know it yet. */
	if (s == NULL || *s == '\0') {
		if (!rq->body_has_end && !is_chunked(rq))
			return LENGTH_NONE;
		rq->body_left = UINT64_MAX;
		return LENGTH_UNTIL_END;
	}
	switch (number_parse(&rq->body_left, s, strlen(s))) {
	case 0:
		return LENGTH_GIVEN;
	case ERANGE:
		rq->body_left = UINT64_MAX;
		return LENGTH_GIVEN;
	default:
		rq->body_left = 0;
		return LENGTH_INVALID;
	}
}

/* Reads the body, SIZE bytes at most; false if the request was refused. */
static bool
read_body(struct request *rq, uint8_t *body, size_t size,
    enum length_kind kind)
{
	uint8_t more;
	ssize_t r = 1;

	while (rq->body_bytes < size && r > 0) {
		r = rq->read(rq, body + rq->body_bytes, size - rq->body_bytes);
		rq->body_bytes += r > 0 ? (size_t)r : 0;
	}
	/*
	 * Read to the end of file; otherwise libfcgi leaves the end record on
	 * the connection and reads it as the next request.
	 */
	if (r > 0)
		r = rq->read(rq, &more, 1);
	if (rq->late)
		refuse_request(rq, OUTCOME_TIMEOUT, NULL, 0);
	else if (r == -1)
		refuse_request(rq, OUTCOME_BAD_REQUEST,
		    "the body was cut off", 0);
	else if (r > 0 && kind == LENGTH_UNTIL_END)
		refuse_request(rq, OUTCOME_TOO_LARGE, NULL, 0);
	else if (r > 0)
		refuse_request(rq, OUTCOME_BAD_REQUEST,
		    "the body is longer than CONTENT_LENGTH", 0);
	else if (rq->body_bytes < size && kind == LENGTH_GIVEN)
		refuse_request(rq, OUTCOME_BAD_REQUEST,
		    "the body is shorter than CONTENT_LENGTH", 0);
	else if (rq->body_bytes == 0 && kind == LENGTH_UNTIL_END &&
	    !is_chunked(rq))
		refuse_request(rq, OUTCOME_NO_LENGTH, "there is no body either",
		    0);
	else
		return true;
	return false;
}

/* Returns NULL, or why the body is not known to be Protocol's. */
static const char *
verify_signature(struct receiver *rv, struct request *rq, const uint8_t *body)
{
	uint8_t signature[DIGEST_SIZE];

	if (rq->signature == NULL)
		return rq->has_headers ? "no signature" : "no signature: the "
		    "web server passed no header (HTTP_...) at all";
	if (rq->signature_repeated)
		return "more than one signature";
	if (signature_parse(signature, rq->signature) == -1)
		return "the signature is not 64 hex digits";
	rq->key = keys_verify(&rv->cfg->keys, signature, body, rq->body_bytes);
	return rq->key == 0 ? "the signature is wrong" : NULL;
}

static void
stage_body(struct receiver *rv, struct request *rq, const uint8_t *body)
{
	struct delivery *d = &rq->delivery;

	rq->has_delivery = true;
	d->event = rq->has_event ? &rq->event : NULL;
	spool_stage(rv->spool, d, body, rq->body_bytes, rv->may_wait);
	if (d->state != DELIVERY_COMMIT_FIRST)
		return;
	spool_commit(rv->spool);
	spool_stage(rv->spool, d, body, rq->body_bytes, false);
}

static void
evaluate_body(struct receiver *rv, struct request *rq, const uint8_t *body)
{
	const struct json_text text = { body, rq->body_bytes };
	bool nomem = false;
	const char *why;

	if ((why = verify_signature(rv, rq, body)) != NULL) {
		refuse_request(rq, OUTCOME_UNAUTHORIZED, why, 0);
		return;
	}
	/* From here on the body is known to be Protocol's. */
	why = event_parse(&rq->event, text, &nomem);
	if (nomem) {
		refuse_request(rq, OUTCOME_UNAVAILABLE, "read the event",
		    ENOMEM);
		return;
	}
	failure_set(&rq->failure, why, 0);
	rq->has_event = why == NULL;
	if (rq->has_event && !event_is_wanted(&rv->cfg->wanted, &rq->event))
		refuse_request(rq, OUTCOME_IGNORED, NULL, 0);
	else
		stage_body(rv, rq, body);
}

static void
evaluate_post(struct receiver *rv, struct request *rq, enum length_kind kind)
{
	size_t size = rv->cfg->max_body;
	uint8_t *body = rv->small_body;

	if (kind == LENGTH_GIVEN)
		size = (size_t)rq->body_left;
	if (size > SMALL_BODY) {
		body = mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (body == MAP_FAILED) {
			refuse_request(rq, OUTCOME_UNAVAILABLE, "memory",
			    errno);
			return;
		}
	}
	if (read_body(rq, body, size, kind))
		evaluate_body(rv, rq, body);
	if (body != rv->small_body)
		munmap(body, size);
}

/* GET: would a delivery be stored now? */
static void
evaluate_readiness(struct receiver *rv, struct request *rq)
{
	struct failure failure = { 0 };

	if (spool_refusal(rv->spool) != NULL)
		refuse_request(rq, OUTCOME_UNAVAILABLE,
		    spool_refusal(rv->spool), 0);
	else if (!spool_try_link(rv->spool, &failure))
		refuse_request(rq, OUTCOME_UNAVAILABLE, failure.what,
		    failure.error);
	else
		refuse_request(rq, OUTCOME_READY, NULL, 0);
}

void
request_evaluate(struct receiver *rv, struct request *rq)
{
	enum length_kind kind = parse_length(rq);
	const char *method = rq->method != NULL ? rq->method : "";

	if (rv->fault.what != NULL)
		refuse_request(rq, OUTCOME_MISCONFIGURED, rv->fault.what,
		    rv->fault.error);
	else if (rq->late)
		refuse_request(rq, OUTCOME_TIMEOUT, NULL, 0);
	else if (rq->buffer_error != 0)
		refuse_request(rq, OUTCOME_UNAVAILABLE, "collect the request",
		    rq->buffer_error);
	else if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
		evaluate_readiness(rv, rq);
	else if (strcmp(method, "POST") != 0)
		refuse_request(rq, OUTCOME_BAD_METHOD, rq->method != NULL ?
		    NULL : "the web server passed no REQUEST_METHOD", 0);
	else if (kind == LENGTH_NONE)
		refuse_request(rq, OUTCOME_NO_LENGTH, rq->content_length !=
		    NULL ? NULL : "the web server passed no CONTENT_LENGTH", 0);
	else if (kind == LENGTH_INVALID)
		refuse_request(rq, OUTCOME_BAD_REQUEST,
		    "CONTENT_LENGTH is not a number", 0);
	else if (kind == LENGTH_GIVEN && rq->body_left > rv->cfg->max_body)
		refuse_request(rq, OUTCOME_TOO_LARGE, NULL, 0);
	else
		evaluate_post(rv, rq, kind);
}

/* The spool's result */

bool
request_is_waiting(const struct request *rq)
{
	return rq->has_delivery && rq->delivery.state == DELIVERY_BUSY;
}

void
receiver_retry(struct receiver *rv, struct request *rq, bool last)
{
	spool_retry(rv->spool, &rq->delivery, last);
}

void
request_apply_result(struct request *rq)
{
	const struct delivery *d = &rq->delivery;

	if (!rq->has_delivery)
		return;
	if (d->failure.what != NULL)
		rq->failure = d->failure;
	if (d->state == DELIVERY_STORED || d->state == DELIVERY_DUPLICATE)
		rq->outcome = !rq->has_event ? OUTCOME_REJECTED :
		    d->state == DELIVERY_STORED ? OUTCOME_STORED :
		    OUTCOME_DUPLICATE;
	else
		rq->outcome = OUTCOME_UNAVAILABLE;
	if (d->state == DELIVERY_BUSY)
		failure_set(&rq->failure, "lock", EAGAIN);
}
