/* SPDX-License-Identifier: ISC */
/*
 * A request that is complete when it is first looked at, as nearly all are,
 * stays in its socket, and libfcgi reads it there.  One that is not, or that
 * has other records around it, is collected in memory behind a descriptor, and
 * libfcgi reads that instead (fcgi_records.h says what it must not see).
 */
#include <sys/mman.h>
#include <sys/socket.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "connection.h"
#include "fcgi_values.h"
#include "util.h"

#define COLLECT_MAX	64	/* reads from one connection at a time */
#define MANAGEMENT_MAX	64	/* management records before a request */

int64_t
clock_ms(void)
{
	return clock_us() / 1000;
}

/* Whether recv(2) found nothing, but something may come. */
static bool
is_empty(ssize_t n)
{
	return n == -1 && (errno == EAGAIN || errno == EINTR);
}

/* A descriptor for a request in memory, or -1 with errno. */
static int
open_buffer(void)
{
#ifdef MFD_CLOEXEC
	return memfd_create("request", MFD_CLOEXEC);
#else
	char name[] = "/tmp/protocol-hook.XXXXXXXX";
	int fd = mkstemp(name);

	if (fd != -1)
		unlink(name);
	return fd;
#endif
}

/*
 * If the body can't be copied, its rest is only read: what came before is
 * enough to answer the request.
 */
static int
copy_to_buffer(void *arg, const void *p, size_t n, bool in_body)
{
	struct connection *c = arg;

	if (c->buffer_error != 0 || write_all(c->buffer_fd, p, n) == 0)
		return 0;
	c->buffer_error = errno;
	return in_body ? 0 : -1;
}

/* Fails if the server does not read the answer, or sends too many. */
static int
answer_management(void *arg, uint8_t type, const uint8_t *content, size_t n)
{
	struct connection *c = arg;
	uint8_t answer[FCGI_ANSWER_SIZE];
	size_t size = fcgi_values_answer(answer, type, content, n,
	    c->shared->most);

	if (size == 0)
		return 0;
	if (++c->managed > MANAGEMENT_MAX)
		return -1;
	return send(c->fd, answer, size, MSG_DONTWAIT) == (ssize_t)size ?
	    0 : -1;
}

/* Only management records have come: waits for a request, as before. */
static void
await_request(struct connection *c)
{
	close(c->buffer_fd);
	c->buffer_fd = -1;
	c->idle = c->kept;
}

/* Reads what has come from the socket, up to the end of the request. */
static enum progress
collect_request(struct connection *c)
{
	const struct fcgi_sink sink = { copy_to_buffer, answer_management, c };
	uint8_t *buf = c->shared->recv_buf;
	unsigned int i;
	ssize_t n = 0;

	for (i = 0; i < COLLECT_MAX; i++) {
		n = recv(c->fd, buf, sizeof(c->shared->recv_buf), 0);
		if (n <= 0)
			break;
		if (fcgi_records_feed(&c->records, buf, (size_t)n, &sink) == -1)
			return REQUEST_GONE;
		if (fcgi_records_complete(&c->records))
			return REQUEST_WHOLE;
	}
	if (i == COLLECT_MAX) {
		c->readable = true;	/* after the others */
		return REQUEST_PARTIAL;
	}
	c->closed_by_peer = !is_empty(n);
	if (c->closed_by_peer || c->timed_out)
		return fcgi_records_have_params(&c->records) ? REQUEST_WHOLE :
		    REQUEST_GONE;
	if (fcgi_records_are_idle(&c->records))
		await_request(c);
	return REQUEST_PARTIAL;
}

enum progress
connection_read(struct connection *c)
{
	struct fcgi_records peeked;
	uint8_t *buf = c->shared->recv_buf;
	ssize_t n;

	if (c->buffer_fd != -1)
		return collect_request(c);
	n = recv(c->fd, buf, sizeof(c->shared->recv_buf), MSG_PEEK);
	if (is_empty(n))
		return c->timed_out ? REQUEST_GONE : REQUEST_PARTIAL;
	fcgi_records_init(&peeked, c->shared->max_body);
	if (n <= 0 || fcgi_records_feed(&peeked, buf, (size_t)n, NULL) == -1)
		return REQUEST_GONE;
	if (fcgi_records_complete(&peeked) && fcgi_records_are_clean(&peeked))
		return REQUEST_WHOLE;
	if (c->idle)
		c->since_ms = clock_ms();
	c->idle = false;
	fcgi_records_init(&c->records, c->shared->max_body);
	c->buffer_fd = open_buffer();
	if (c->buffer_fd == -1 && connections_reclaim(c->all, c))
		c->buffer_fd = open_buffer();
	return c->buffer_fd != -1 ? collect_request(c) : REQUEST_GONE;
}

int
connection_input_fd(const struct connection *c)
{
	return c->buffer_fd != -1 ? c->buffer_fd : c->fd;
}

int
connection_output_fd(const struct connection *c)
{
	return c->fd;
}

void
connection_forget_input(struct connection *c)
{
	*(c->buffer_fd != -1 ? &c->buffer_fd : &c->fd) = -1;
}

void
connection_forget_output(struct connection *c)
{
	c->fd = -1;
}

bool
connection_timed_out(const struct connection *c)
{
	return c->timed_out;
}

int
connection_buffer_error(const struct connection *c)
{
	return c->buffer_error;
}

void
connection_keep(struct connection *c)
{
	if (c->closed_by_peer || c->timed_out) {
		connection_close(c);
		return;
	}
	if (c->buffer_fd != -1)
		close(c->buffer_fd);
	c->buffer_fd = -1;
	c->buffer_error = 0;
	c->managed = 0;
	c->in_use = false;
	c->idle = c->kept = true;
	c->since_ms = clock_ms();
}
