/* SPDX-License-Identifier: ISC */
/*
 * What is said about a request, to the sender and to the operator: the only
 * place that writes an answer or a log line.  The answer never has a key, an
 * expected signature, a path or the body in it; nor has the log line.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hook.h"

#define DETAIL_401	"The signature is missing or wrong."

static const struct {
	int status;
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
	    "The body is not as long as announced, or the length is no "
	    "number.", "" },
	[OUTCOME_UNAUTHORIZED] = { 401, "Unauthorized", "unauthorized",
	    DETAIL_401, "" },
	[OUTCOME_BAD_METHOD] = { 405, "Method Not Allowed", "bad_method",
	    "Webhooks are delivered with POST.",
	    "Allow: GET, HEAD, POST\r\n" },
	[OUTCOME_TIMEOUT] = { 408, "Request Timeout", "timeout",
	    "The request took too long to arrive.", "" },
	[OUTCOME_NO_LENGTH] = { 411, "Length Required", "no_length",
	    "A Content-Length is needed.", "" },
	[OUTCOME_TOO_LARGE] = { 413, "Content Too Large", "too_large",
	    "The body is longer than this receiver takes.", "" },
	[OUTCOME_REJECTED] = { 422, "Unprocessable Content", "rejected",
	    "The body is no Protocol event.", "" },
	[OUTCOME_MISCONFIGURED] = { 500, "Internal Server Error",
	    "misconfigured", "The receiver is not set up; its log says why.",
	    "" },
	[OUTCOME_UNAVAILABLE] = { 503, "Service Unavailable", "unavailable",
	    "Deliveries can't be stored now; send them again.",
	    "Retry-After: 30\r\n" },
};

/* A bounded text; what does not fit is cut. */
struct text {
	char *s;
	size_t n, size;
};

__attribute__((format(printf, 2, 3)))
static void
add(struct text *t, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(t->s + t->n, t->size - t->n, format, ap);
	va_end(ap);
	if (n > 0)
		t->n += (size_t)n < t->size - t->n ? (size_t)n :
		    t->size - t->n - 1;
}

/*
 * A JSON string, which is what logfmt readers take, too.  Every byte that could
 * end it, start a line or steer a terminal is escaped.
 */
static void
add_string(struct text *t, const char *s)
{
	unsigned char c;

	add(t, "\"");
	for (; (c = (unsigned char)*s) != '\0'; s++) {
		if (t->size - t->n < sizeof("\\u0000\""))
			break;
		if (c == '"' || c == '\\')
			t->s[t->n++] = '\\';
		if (c < 0x20 || c == 0x7f)
			add(t, "\\u%04x", c);
		else if (c == 0xc2 && (s[1] & 0xe0) == 0x80)	/* C1 */
			add(t, "\\u%04x", (unsigned char)*++s);
		else
			t->s[t->n++] = (char)c;
	}
	add(t, "\"");
}

static void
add_body(struct text *t, const struct request *rq)
{
	const char *word = outcomes[rq->outcome].word;

	if (outcomes[rq->outcome].detail == NULL) {
		add(t, "{\"status\":\"%s\"", word);
		if (rq->has_event) {
			add(t, ",\"id\":");
			add_string(t, rq->event.id);
		}
		add(t, "}\n");
	} else
		add(t, "{\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\"}\n",
		    outcomes[rq->outcome].phrase, outcomes[rq->outcome].status,
		    outcomes[rq->outcome].detail);
}

size_t
reply_answer(char answer[ANSWER_SIZE], const struct request *rq)
{
	char body_text[ANSWER_SIZE / 2];
	struct text body = { body_text, 0, sizeof(body_text) };
	struct text t = { answer, 0, ANSWER_SIZE };

	add_body(&body, rq);
	/* Status first: some servers look for it in the first bytes only. */
	add(&t, "Status: %d %s\r\nContent-Type: application/%s\r\n%s"
	    "Cache-Control: no-store\r\nContent-Length: %zu\r\n\r\n",
	    outcomes[rq->outcome].status, outcomes[rq->outcome].phrase,
	    outcomes[rq->outcome].detail == NULL ? "json" : "problem+json",
	    outcomes[rq->outcome].header, body.n);
	if (rq->method == NULL || strcmp(rq->method, "HEAD") != 0)
		add(&t, "%s", body_text);
	return t.n;
}

/* VALUE bare where logfmt allows it, else quoted. */
static void
add_value(struct text *t, const char *key, const char *value)
{
	const unsigned char *p = (const unsigned char *)value;

	add(t, " %s=", key);
	while (*p > ' ' && *p < 0x7f && strchr("\"=\\", *p) == NULL)
		p++;
	if (*p == '\0' && *value != '\0')
		add(t, "%s", value);
	else
		add_string(t, value);
}

static void
add_reason(struct text *t, const struct request *rq)
{
	char reason[256];

	if (rq->reason == NULL)
		return;
	if (rq->error == 0)
		snprintf(reason, sizeof(reason), "%s", rq->reason);
	else
		snprintf(reason, sizeof(reason), "%s: %s", rq->reason,
		    strerror(rq->error));
	add_value(t, "reason", reason);
}

size_t
reply_log(char line[LOG_SIZE], const struct request *rq)
{
	struct text t = { line, 0, LOG_SIZE - 1 };

	add(&t, "result=%s status=%d", outcomes[rq->outcome].word,
	    outcomes[rq->outcome].status);
	if (rq->has_event) {
		add_value(&t, "type", rq->event.type);
		add_value(&t, "id", rq->event.id);
		if (rq->event.known == -1)
			add(&t, " unknown=yes");
	}
	if (rq->delivery.name[0] != '\0' && (rq->outcome == OUTCOME_STORED ||
	    rq->outcome == OUTCOME_REJECTED))
		add_value(&t, "file", rq->delivery.name);
	add(&t, " bytes=%zu", rq->bytes);
	if (rq->key > 1)
		add(&t, " key=%u", rq->key);
	if (rq->remote != NULL)
		add_value(&t, "remote", rq->remote);
	add(&t, " ms=%.3f", milliseconds_since(&rq->began));
	add_reason(&t, rq);
	line[t.n++] = '\n';
	return t.n;
}

size_t
reply_log_note(char line[LOG_SIZE], const char *result, const char *why)
{
	struct text t = { line, 0, LOG_SIZE - 1 };

	add(&t, "result=%s", result);
	if (why != NULL)
		add_value(&t, "reason", why);
	line[t.n++] = '\n';
	return t.n;
}
