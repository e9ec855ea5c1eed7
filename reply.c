/* SPDX-License-Identifier: ISC */
#include <string.h>

#include "reply.h"
#include "request.h"
#include "text.h"

static const struct {
	unsigned int status;
	const char *phrase;	/* RFC 9110, 15 */
	const char *word;	/* in the log, and in the answer of a success */
	const char *detail;	/* in the answer of an error */
	const char *header;
} outcomes[] = {
	[OUTCOME_READY] = { 200, "OK", "ready", NULL, "" },
	[OUTCOME_STORED] = { 200, "OK", "stored", NULL, "" },
	[OUTCOME_DUPLICATE] = { 200, "OK", "duplicate", NULL, "" },
	[OUTCOME_IGNORED] = { 200, "OK", "ignored", NULL, "" },
	[OUTCOME_BAD_REQUEST] = { 400, "Bad Request", "bad_request",
	    "The body is not as long as announced, or the length is not a "
	    "number.", "" },
	[OUTCOME_UNAUTHORIZED] = { 401, "Unauthorized", "unauthorized",
	    "The signature is missing or wrong.", "" },
	[OUTCOME_BAD_METHOD] = { 405, "Method Not Allowed", "bad_method",
	    "Webhooks are delivered with POST.",
	    "Allow: GET, HEAD, POST\r\n" },
	[OUTCOME_TIMEOUT] = { 408, "Request Timeout", "timeout",
	    "The request took too long to arrive.", "" },
	[OUTCOME_NO_LENGTH] = { 411, "Length Required", "no_length",
	    "A Content-Length is needed.", "" },
	[OUTCOME_TOO_LARGE] = { 413, "Content Too Large", "too_large",
	    "The body is longer than this receiver accepts.", "" },
	[OUTCOME_REJECTED] = { 422, "Unprocessable Content", "rejected",
	    "The body is not a Protocol event.", "" },
	[OUTCOME_MISCONFIGURED] = { 500, "Internal Server Error",
	    "misconfigured", "The receiver is not set up; its log says why.",
	    "" },
	[OUTCOME_UNAVAILABLE] = { 503, "Service Unavailable", "unavailable",
	    "Deliveries can't be stored now; send them again.",
	    "Retry-After: 30\r\n" },
};

unsigned int
reply_status(enum outcome outcome)
{
	return outcomes[outcome].status;
}

const char *
reply_word(enum outcome outcome)
{
	return outcomes[outcome].word;
}

static void
add_success(struct text *t, const struct request *rq)
{
	text_add(t, "{\"status\":\"");
	text_add(t, outcomes[rq->outcome].word);
	text_add(t, "\"");
	if (rq->has_event) {
		text_add(t, ",\"id\":");
		text_add_json(t, rq->event.id);
	}
	text_add(t, "}\n");
}

/* RFC 9457 */
static void
add_problem(struct text *t, const struct request *rq)
{
	text_add(t, "{\"title\":\"");
	text_add(t, outcomes[rq->outcome].phrase);
	text_add(t, "\",\"status\":");
	text_add_number(t, outcomes[rq->outcome].status, 1);
	text_add(t, ",\"detail\":\"");
	text_add(t, outcomes[rq->outcome].detail);
	text_add(t, "\"}\n");
}

size_t
reply_format(char answer[ANSWER_SIZE], const struct request *rq)
{
	char body_text[ANSWER_SIZE / 2];
	struct text body = { body_text, 0, sizeof(body_text) };
	struct text t = { answer, 0, ANSWER_SIZE };
	bool success = outcomes[rq->outcome].detail == NULL;

	(success ? add_success : add_problem)(&body, rq);
	/* Status first: some servers look for it in the first bytes only. */
	text_add(&t, "Status: ");
	text_add_number(&t, outcomes[rq->outcome].status, 1);
	text_add(&t, " ");
	text_add(&t, outcomes[rq->outcome].phrase);
	text_add(&t, "\r\nContent-Type: application/");
	text_add(&t, success ? "json" : "problem+json");
	text_add(&t, "\r\n");
	text_add(&t, outcomes[rq->outcome].header);
	text_add(&t, "Cache-Control: no-store\r\nContent-Length: ");
	text_add_number(&t, body.n, 1);
	text_add(&t, "\r\n\r\n");
	if (rq->method == NULL || strcmp(rq->method, "HEAD") != 0)
		text_add_bytes(&t, body.s, body.n);
	return t.n;
}
