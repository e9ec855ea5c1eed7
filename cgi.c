/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gateway.h"
#include "config.h"
#include "log.h"
#include "reply.h"
#include "request.h"
#include "signals.h"
#include "util.h"

extern char **environ;

/* Milliseconds until END_US; 0 if it is past. */
static int
ms_until(int64_t end_us)
{
	int64_t left_us = end_us - clock_us();

	return left_us > 0 ? (int)(left_us / 1000) : 0;
}

/* Never reads past CONTENT_LENGTH: some servers keep the pipe open. */
static ssize_t
read_stdin(struct request *rq, void *buf, size_t n)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	int left;
	ssize_t r;

	if (n > rq->body_left)
		n = (size_t)rq->body_left;
	if (n == 0)
		return 0;
	do {
		left = ms_until(rq->began_us + REQUEST_US);
		if (left == 0 || poll(&in, 1, left) == 0) {
			rq->late = true;
			return -1;
		}
		r = read(STDIN_FILENO, buf, n);
	} while (r == -1 && (errno == EINTR || errno == EAGAIN));
	if (r == -1)
		rq->cut = true;
	else if (rq->body_left != UINT64_MAX)
		rq->body_left -= (uint64_t)r;
	return r;
}

/*
 * Writes the answer with one write(2), as some servers turn a cut answer into a
 * 200; only a standard output that is non-blocking and full takes more.
 */
static int
write_answer(const char *p, size_t n)
{
	struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };
	int64_t end_us = clock_us() + REQUEST_US;
	int left;
	ssize_t w;

	while (n > 0) {
		left = ms_until(end_us);
		if (left == 0 || poll(&out, 1, left) == 0)
			return -1;
		w = write(STDOUT_FILENO, p, n);
		if (w == -1 && errno != EINTR && errno != EAGAIN)
			return -1;
		p += w > 0 ? w : 0;
		n -= w > 0 ? (size_t)w : 0;
	}
	return 0;
}

static void
log_outcome(const struct request *rq)
{
	/* Only for requests of people, not for each delivery. */
	if (rq->outcome == OUTCOME_READY ||
	    rq->outcome == OUTCOME_MISCONFIGURED)
		config_each_unknown(log_unknown_variable);
	log_request(rq);
	log_flush();
}

/* Sets the outcome, which is final. */
static void
serve_request(struct receiver *rv, struct request *rq)
{
	if (receiver_refresh(rv))
		receiver_confine(rv, NULL);
	request_evaluate(rv, rq);
	/*
	 * lighttpd terminates the program as soon as it has the answer, which
	 * must not stop what follows; so the log line also comes first.
	 */
	signal(SIGTERM, SIG_IGN);
	receiver_commit(rv);
	request_apply_result(rq);
}

int
cgi_run(struct config *cfg)
{
	struct request rq = { .read = read_stdin, .began_us = clock_us() };
	struct receiver *rv = receiver_new(cfg, true);
	char answer[ANSWER_SIZE];
	int status;

	signals_init();
	log_open(log_choose(true));
	request_read_params(&rq, environ);
	if (rv != NULL)
		serve_request(rv, &rq);
	else {
		rq.outcome = OUTCOME_UNAVAILABLE;
		failure_set(&rq.failure, "memory", ENOMEM);
	}
	log_outcome(&rq);
	status = write_answer(answer, reply_format(answer, &rq));
	if (rv != NULL) {
		receiver_tidy(rv, 1, true);
		receiver_free(rv);
	}
	log_flush();
	return status == 0 ? 0 : 1;
}
