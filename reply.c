/* SPDX-License-Identifier: ISC */
/*
 * What is said about a request, to the sender and to the operator: the only
 * place that writes an answer or a log line.  The answer never has a key, an
 * expected signature, a path or the body in it; nor has the log line.
 */
#include <stdio.h>
#include <string.h>

#include "hook.h"

#define DETAIL_401	"The signature is missing or wrong."

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

static void
add_bytes(struct text *t, const char *s, size_t n)
{
	if (n > t->size - t->n)
		n = t->size - t->n;
	memcpy(t->s + t->n, s, n);
	t->n += n;
}

static void
add(struct text *t, const char *s)
{
	add_bytes(t, s, strlen(s));
}

/* In decimal, with zeros before it up to WIDTH digits. */
static void
add_number(struct text *t, uint64_t n, size_t width)
{
	char digits[20];
	size_t i = sizeof(digits);

	do
		digits[--i] = (char)('0' + n % 10);
	while ((n /= 10) > 0 || sizeof(digits) - i < width);
	add_bytes(t, digits + i, sizeof(digits) - i);
}

/* RFC 8259, 7. */
static void
add_escaped(struct text *t, unsigned int c)
{
	static const char hex[] = "0123456789abcdef";
	const char escape[] = { '\\', 'u', hex[c >> 12 & 15], hex[c >> 8 & 15],
	    hex[c >> 4 & 15], hex[c & 15] };

	add_bytes(t, escape, sizeof(escape));
}

/*
 * The first character of the UTF-8 text S, below U+10000, and its LENGTH in
 * bytes; what is longer or no UTF-8 counts as a byte.
 */
static unsigned int
decode(const char *s, size_t *length)
{
	const unsigned char *p = (const unsigned char *)s;

	*length = 1;
	if ((p[0] & 0xe0) == 0xc0 && (p[1] & 0xc0) == 0x80) {
		*length = 2;
		return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
	}
	if ((p[0] & 0xf0) == 0xe0 && (p[1] & 0xc0) == 0x80 &&
	    (p[2] & 0xc0) == 0x80) {
		*length = 3;
		return (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 |
		    (p[2] & 0x3fu);
	}
	return p[0] < 0x80 ? p[0] : 'x';
}

/*
 * Whether C could start a line, steer a terminal, or show a text in another
 * order than it has: controls, the separators of lines and paragraphs, and what
 * changes the direction of writing.  A byte order mark can't be seen.
 */
static bool
is_escaped(unsigned int c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c ||
	    c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
	    (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

/* A JSON string, which logfmt readers take, too. */
static void
add_string(struct text *t, const char *s)
{
	unsigned int c;
	size_t n;

	add(t, "\"");
	for (; *s != '\0'; s += n) {
		if (t->size - t->n < sizeof("\\u0000\""))
			break;
		c = decode(s, &n);
		if (n == 1 && (c == '"' || c == '\\'))
			add(t, "\\");
		if (is_escaped(c))
			add_escaped(t, c);
		else
			add_bytes(t, s, n);
	}
	add(t, "\"");
}

static void
add_body(struct text *t, const struct request *rq)
{
	const char *word = outcomes[rq->outcome].word;

	if (outcomes[rq->outcome].detail == NULL) {
		add(t, "{\"status\":\"");
		add(t, word);
		add(t, "\"");
		if (rq->has_event) {
			add(t, ",\"id\":");
			add_string(t, rq->event.id);
		}
		add(t, "}\n");
	} else {
		add(t, "{\"title\":\"");
		add(t, outcomes[rq->outcome].phrase);
		add(t, "\",\"status\":");
		add_number(t, outcomes[rq->outcome].status, 1);
		add(t, ",\"detail\":\"");
		add(t, outcomes[rq->outcome].detail);
		add(t, "\"}\n");
	}
}

size_t
reply_answer(char answer[ANSWER_SIZE], const struct request *rq)
{
	char body_text[ANSWER_SIZE / 2];
	struct text body = { body_text, 0, sizeof(body_text) };
	struct text t = { answer, 0, ANSWER_SIZE };

	add_body(&body, rq);
	/* Status first: some servers look for it in the first bytes only. */
	add(&t, "Status: ");
	add_number(&t, outcomes[rq->outcome].status, 1);
	add(&t, " ");
	add(&t, outcomes[rq->outcome].phrase);
	add(&t, "\r\nContent-Type: application/");
	add(&t, outcomes[rq->outcome].detail == NULL ? "json" : "problem+json");
	add(&t, "\r\n");
	add(&t, outcomes[rq->outcome].header);
	add(&t, "Cache-Control: no-store\r\nContent-Length: ");
	add_number(&t, body.n, 1);
	add(&t, "\r\n\r\n");
	if (rq->method == NULL || strcmp(rq->method, "HEAD") != 0)
		add_bytes(&t, body.s, body.n);
	return t.n;
}

/* VALUE bare where logfmt allows it, else quoted. */
static void
add_value(struct text *t, const char *key, const char *value)
{
	const unsigned char *p = (const unsigned char *)value;

	add(t, " ");
	add(t, key);
	add(t, "=");
	while (*p > ' ' && *p < 0x7f && *p != '"' && *p != '=' && *p != '\\')
		p++;
	if (*p == '\0' && *value != '\0')
		add(t, value);
	else
		add_string(t, value);
}

/* An address has no other bytes, and is no longer: RFC 3875, 4.1.8. */
static void
add_remote(struct text *t, const char *s)
{
	char remote[64];
	size_t i;

	for (i = 0; i < sizeof(remote) - 1 && s[i] != '\0'; i++)
		remote[i] = s[i] > ' ' && s[i] < 0x7f ? s[i] : '?';
	remote[i] = '\0';
	add_value(t, "remote", remote);
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

/* RFC 3339, UTC: not every log adds a time of its own. */
static void
add_time(struct text *t)
{
	struct timespec now;
	struct date date;
	uint64_t s;

	clock_gettime(CLOCK_REALTIME, &now);
	s = now.tv_sec > 0 ? (uint64_t)now.tv_sec : 0;
	date_utc(&date, now.tv_sec);
	add(t, "ts=");
	add_number(t, date.year, 4);
	add(t, "-");
	add_number(t, date.month, 2);
	add(t, "-");
	add_number(t, date.day, 2);
	add(t, "T");
	add_number(t, s / 3600 % 24, 2);
	add(t, ":");
	add_number(t, s / 60 % 60, 2);
	add(t, ":");
	add_number(t, s % 60, 2);
	add(t, ".");
	add_number(t, (uint64_t)now.tv_nsec / 1000000, 3);
	add(t, "Z ");
}

size_t
reply_log(char line[LOG_SIZE], const struct request *rq)
{
	struct text t = { line, 0, LOG_SIZE - 1 };
	uint64_t us;

	add_time(&t);
	add(&t, "result=");
	add(&t, outcomes[rq->outcome].word);
	add(&t, " status=");
	add_number(&t, outcomes[rq->outcome].status, 1);
	if (rq->has_event) {
		add_value(&t, "type", rq->event.type);
		add_value(&t, "id", rq->event.id);
		if (rq->event.known == -1)
			add(&t, " unknown=yes");
	}
	if (rq->delivery.name[0] != '\0' && (rq->outcome == OUTCOME_STORED ||
	    rq->outcome == OUTCOME_REJECTED))
		add_value(&t, "file", rq->delivery.name);
	add(&t, " bytes=");
	add_number(&t, rq->bytes, 1);
	if (rq->key > 1) {
		add(&t, " key=");
		add_number(&t, rq->key, 1);
	}
	if (rq->remote != NULL)
		add_remote(&t, rq->remote);
	us = (uint64_t)(microseconds() - rq->began);
	add(&t, " ms=");
	add_number(&t, us / 1000, 1);
	add(&t, ".");
	add_number(&t, us % 1000, 3);
	add_reason(&t, rq);
	line[t.n++] = '\n';
	return t.n;
}

size_t
reply_log_dropped(char line[LOG_SIZE], uint64_t n)
{
	struct text t = { line, 0, LOG_SIZE - 1 };

	add_time(&t);
	add(&t, "result=log_dropped count=");
	add_number(&t, n, 1);
	line[t.n++] = '\n';
	return t.n;
}

size_t
reply_log_note(char line[LOG_SIZE], const char *result, const char *why)
{
	struct text t = { line, 0, LOG_SIZE - 1 };

	add_time(&t);
	add(&t, "result=");
	add(&t, result);
	if (why != NULL)
		add_value(&t, "reason", why);
	line[t.n++] = '\n';
	return t.n;
}
