/* SPDX-License-Identifier: ISC */
/*
 * The answer to a request, as a CGI response (RFC 3875, section 6).  It
 * contains no key, no expected signature, no path and no body.
 */
#ifndef REPLY_H
#define REPLY_H

#include <stddef.h>

struct request;

/*
 * The rows of the table of answers in protocol-hook(8).  request_evaluate()
 * chooses one; reply.c has the status and the text of each.
 */
enum outcome {
	OUTCOME_READY,
	OUTCOME_STORED,
	OUTCOME_DUPLICATE,
	OUTCOME_IGNORED,
	OUTCOME_BAD_REQUEST,
	OUTCOME_UNAUTHORIZED,
	OUTCOME_BAD_METHOD,
	OUTCOME_TIMEOUT,
	OUTCOME_NO_LENGTH,
	OUTCOME_TOO_LARGE,
	OUTCOME_REJECTED,
	OUTCOME_MISCONFIGURED,
	OUTCOME_UNAVAILABLE
};

#define ANSWER_SIZE	2048	/* bytes, enough for every answer */

/* Returns the length in bytes; the answer is not NUL-terminated. */
size_t reply_format(char answer[ANSWER_SIZE], const struct request *);
/* The HTTP status of an outcome, and its word, as in the log. */
unsigned int reply_status(enum outcome);
const char *reply_word(enum outcome);

#endif
