/* SPDX-License-Identifier: ISC */
/*
 * load: sends signed deliveries over HTTP on CONNECTIONS connections.  Each
 * sends its next delivery when the one before is answered (a closed loop).
 *
 *	load [-1] [-c CONNECTIONS] [-n MOST] [-t SECONDS] [-s BODY_SIZE]
 *	    [-k KEY] [-p PATH] PORT
 *
 * -1: a new connection for each delivery.  With -n and -c of the same number,
 * all of them come at once.
 * Prints one line: counts by status, deliveries a second, and latencies in
 * microseconds.
 */
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define ANSWER_MAX	8192
#define EVENTS		256
#define PATIENCE	60000	/* milliseconds without any event */

struct client {
	int fd;
	bool open, busy, writable;
	struct body body;
	char head[512];
	size_t head_size, sent;
	char answer[ANSWER_MAX + 1];
	size_t got;
	int64_t since;
};

static struct bodies bodies;
static struct client *clients;
static size_t nclients = 16, most = SIZE_MAX, started, done, failed, active;
static bool once;
static const char *path = "/";
static struct sockaddr_in address;
static uint32_t *latencies;
static size_t room;
static size_t statuses[600];
static int64_t began, last, deadline = INT64_MAX;
static int ep;

static bool start_client(struct client *);

static void
disconnect(struct client *c)
{
	close(c->fd);
	c->open = false;
}

static bool
connect_client(struct client *c)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET,
	    .data.ptr = c };
	int on = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (c->fd == -1)
		return false;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->open = true;
	c->writable = false;
	if ((connect(c->fd, (struct sockaddr *)&address, sizeof(address)) ==
	    -1 && errno != EINPROGRESS) ||
	    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev) == -1) {
		disconnect(c);
		return false;
	}
	return true;
}

static void
finish_delivery(struct client *c, bool ok)
{
	int64_t now = microseconds();

	c->busy = false;
	active--;
	last = now;
	if (ok) {
		if (done == room) {
			room = room == 0 ? 1 << 16 : 2 * room;
			latencies = realloc(latencies,
			    room * sizeof(*latencies));
			if (latencies == NULL)
				err(1, "memory");
		}
		latencies[done++] = (uint32_t)(now - c->since);
	} else
		failed++;
	if ((!ok || once) && c->open)
		disconnect(c);
	if (started < most && now < deadline)
		start_client(c);
}

static void
transmit(struct client *c)
{
	size_t total = c->head_size + bodies.size, skip = c->sent;
	struct iovec v[3] = { { c->head, c->head_size },
	    { bodies.head, bodies.head_size }, { c->body.tail, TAIL_SIZE } };
	struct iovec *first = v;
	ssize_t n;

	while (c->sent < total) {
		for (; skip >= first->iov_len; first++)
			skip -= first->iov_len;
		first->iov_base = (char *)first->iov_base + skip;
		first->iov_len -= skip;
		n = writev(c->fd, first, (int)(v + 3 - first));
		if (n == -1 && errno == EAGAIN)
			return;
		/* An answer may have come before it closed. */
		if (n == -1)
			return;
		c->sent += (size_t)n;
		skip = (size_t)n;
	}
}

static bool
start_client(struct client *c)
{
	started++;
	active++;
	c->busy = true;
	c->sent = c->got = 0;
	bodies_next(&bodies, &c->body);
	c->head_size = (size_t)snprintf(c->head, sizeof(c->head),
	    "POST %s HTTP/1.1\r\nHost: localhost\r\n"
	    "Content-Type: application/json\r\nContent-Length: %zu\r\n"
	    "X-Protocol-Signature: %s\r\n%s\r\n", path, bodies.size,
	    c->body.signature, once ? "Connection: close\r\n" : "");
	c->since = microseconds();
	if (!c->open && !connect_client(c)) {
		c->busy = false;
		active--;
		failed++;
		return false;
	}
	if (c->writable)
		transmit(c);
	return true;
}

/*
 * Returns the status if the answer is complete, else 0.  Sets whether the
 * server closes the connection after it.
 */
static int
whole(struct client *c, bool eof, bool *close_it)
{
	char *head_end, *p;
	size_t head, length;
	int status;

	c->answer[c->got] = '\0';
	if ((head_end = strstr(c->answer, "\r\n\r\n")) == NULL ||
	    sscanf(c->answer, "HTTP/1.%*d %3d", &status) != 1)
		return 0;
	head = (size_t)(head_end - c->answer) + 4;
	*head_end = '\0';
	*close_it = strcasestr(c->answer, "\nConnection: close") != NULL;
	p = strcasestr(c->answer, "\nContent-Length:");
	length = p != NULL ? strtoul(p + 16, NULL, 10) : 0;
	if (p == NULL && strcasestr(c->answer, "chunked") != NULL)
		eof |= c->got - head >= 5 &&
		    memcmp(c->answer + c->got - 5, "0\r\n\r\n", 5) == 0;
	else if (p != NULL)
		eof = c->got - head >= length;
	*head_end = '\r';
	return eof ? status : 0;
}

static void
read_answer(struct client *c)
{
	bool close_it = false;
	ssize_t n;
	int status;

	for (;;) {
		n = read(c->fd, c->answer + c->got, ANSWER_MAX - c->got);
		if (n == -1 && errno == EAGAIN)
			return;
		if (n > 0)
			c->got += (size_t)n;
		if (!c->busy) {
			if (n <= 0)
				disconnect(c);
			return;
		}
		if ((status = whole(c, n <= 0, &close_it)) != 0) {
			statuses[status >= 0 && status < 600 ? status : 0]++;
			if (close_it || n <= 0)
				disconnect(c);
			finish_delivery(c, true);
			return;
		}
		if (n <= 0 || c->got == ANSWER_MAX) {
			finish_delivery(c, false);
			return;
		}
		if (n < 512)
			return;	/* epoll will report more */
	}
}

static void
run(void)
{
	struct epoll_event evs[EVENTS];
	struct client *c;
	size_t i;
	int n;

	began = last = microseconds();
	for (i = 0; i < nclients && started < most; i++)
		start_client(&clients[i]);
	while (active > 0) {
		n = epoll_wait(ep, evs, EVENTS, PATIENCE);
		if (n == 0) {
			failed += active;
			break;
		}
		for (i = 0; n > 0 && i < (size_t)n; i++) {
			c = evs[i].data.ptr;
			if (!c->open)
				continue;
			if ((evs[i].events & EPOLLOUT) != 0) {
				c->writable = true;
				if (c->busy)
					transmit(c);
			}
			if ((evs[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			    != 0)
				read_answer(c);
		}
	}
}

static void
print(void)
{
	double seconds = (double)(last - began) / 1e6;
	size_t i;

	printf("rate=%.1f seconds=%.3f answered=%zu failed=%zu",
	    seconds > 0 ? (double)done / seconds : 0, seconds, done, failed);
	percentiles_print(latencies, done);
	for (i = 0; i < 600; i++)
		if (statuses[i] > 0)
			printf(" status_%zu=%zu", i, statuses[i]);
	printf("\n");
}

int
main(int argc, char **argv)
{
	struct rlimit limit;
	const char *key = "bench-key";
	size_t size = 600;
	int opt;
	double seconds = 0;

	while ((opt = getopt(argc, argv, "1c:n:t:s:k:p:")) != -1)
		switch (opt) {
		case '1': once = true; break;
		case 'c': nclients = option_number(optarg); break;
		case 'n': most = option_number(optarg); break;
		case 't': seconds = strtod(optarg, NULL); break;
		case 's': size = option_number(optarg); break;
		case 'k': key = optarg; break;
		case 'p': path = optarg; break;
		default: return 2;
		}
	if (optind != argc - 1 || (seconds <= 0 && most == SIZE_MAX))
		errx(2, "usage: load -t SECONDS | -n MOST [...] PORT");
	address.sin_family = AF_INET;
	address.sin_port = htons((uint16_t)option_number(argv[optind]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	bodies_init(&bodies, key, size);
	clients = allocate(nclients * sizeof(*clients));
	if ((ep = epoll_create1(0)) == -1)
		err(1, "epoll_create1");
	if (seconds > 0)
		deadline = microseconds() + (int64_t)(seconds * 1e6);
	run();
	print();
	return 0;
}
