/* SPDX-License-Identifier: ISC */
/*
 * All connections: accepts them, waits for them, and reclaims the slot of the
 * one that has waited longest when there are too many.  connection.c reads one.
 */
#include <sys/resource.h>
#include <sys/socket.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"
#include "connections.h"
#include "log.h"
#include "peers.h"
#include "request.h"
#include "util.h"

#define SLOTS_MAX	4096
#define SLOT_FDS	2	/* its socket and its buffer */
#define OPEN_FDS	6	/* standard streams, listener, wake pipe */
#define OWN_FDS		16	/* the same with the spool and others */
#define FDS_WANTED	(OWN_FDS + SLOT_FDS * SLOTS_MAX + GROUP_MAX)
#define RECLAIM_MS	(REQUEST_SECONDS * 1000 / 12)	/* see find_oldest() */
#define FULL_MS		50	/* how often to look for a slot to reclaim */
#define LOG_AGAIN_MS	60000	/* between log lines about one problem */

struct connections {
	int listener, wake;
	struct connection_shared shared;
	struct peers peers;
	struct connection slots[SLOTS_MAX];
	struct pollfd fds[2 + SLOTS_MAX];
	size_t end;		/* slots from there on are free */
	size_t next;		/* slot to be looked at next */
	int64_t stop_ms;	/* when to give up, 0 before the stop */
	int64_t pause_ms;	/* until then nothing is accepted */
	int64_t logged_accept_ms, logged_peer_ms;
};

/* Start */

/* How many descriptors below END we have inherited. */
static rlim_t
count_inherited_fds(struct connections *cs, rlim_t end)
{
	const rlim_t most = sizeof(cs->fds) / sizeof(cs->fds[0]);
	rlim_t fd = 0, n = 0, part, i;

	for (; fd < end; fd += part) {
		part = end - fd < most ? end - fd : most;
		for (i = 0; i < part; i++)
			cs->fds[i] = (struct pollfd){ .fd = (int)(fd + i) };
		if (poll(cs->fds, (nfds_t)part, 0) == -1)
			break;
		for (i = 0; i < part; i++)
			n += (cs->fds[i].revents & POLLNVAL) == 0;
	}
	return n > OPEN_FDS ? n - OPEN_FDS : 0;
}

/* Raises LIMIT to AT_LEAST, as far as the hard limit allows. */
static void
raise_fd_limit(struct rlimit *limit, rlim_t at_least)
{
	if (limit->rlim_cur >= at_least)
		return;
	limit->rlim_cur = limit->rlim_max < at_least ? limit->rlim_max :
	    at_least;
	if (setrlimit(RLIMIT_NOFILE, limit) == -1)
		getrlimit(RLIMIT_NOFILE, limit);
}

/* As many slots as there are descriptors for; 0, or -1 with errno. */
static int
set_slots(struct connections *cs)
{
	struct rlimit limit;
	rlim_t inherited = 0;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		return -1;
	raise_fd_limit(&limit, FDS_WANTED);
	/* With a high limit, the inherited ones do not matter. */
	if (limit.rlim_cur < 2 * FDS_WANTED) {
		inherited = count_inherited_fds(cs, limit.rlim_cur);
		raise_fd_limit(&limit, FDS_WANTED + inherited);
	}
	cs->shared.most = SLOTS_MAX;
	if (limit.rlim_cur < FDS_WANTED + inherited)
		cs->shared.most = limit.rlim_cur <
		    inherited + OWN_FDS + 2 * SLOT_FDS ? 1 :
		    (size_t)(limit.rlim_cur - inherited - OWN_FDS) /
		    (SLOT_FDS + 1);
	return 0;
}

struct connections *
connections_new(int listener, int wake, const struct peers *peers,
    size_t max_body)
{
	struct connections *cs = calloc(1, sizeof(*cs));

	if (cs == NULL)
		return NULL;
	cs->listener = listener;
	cs->wake = wake;
	cs->peers = *peers;
	cs->shared.max_body = max_body;
	if (fcntl(listener, F_SETFL, O_NONBLOCK) == 0 && set_slots(cs) == 0)
		return cs;
	free(cs);
	return NULL;
}

void
connections_free(struct connections *cs)
{
	while (cs->end > 0)
		connection_close(&cs->slots[cs->end - 1]);
	free(cs);
}

/* Slots */

void
connection_close(struct connection *c)
{
	struct connections *cs = c->all;

	if (c->fd != -1)
		close(c->fd);
	if (c->buffer_fd != -1)
		close(c->buffer_fd);
	memset(c, 0, sizeof(*c));
	c->all = cs;
	c->shared = &cs->shared;
	c->fd = c->buffer_fd = -1;
	while (cs->end > 0 && cs->slots[cs->end - 1].fd == -1)
		cs->end--;
}

/*
 * Returns the connection, other than EXCEPT, that has waited longest for input.
 * NULL if all are active or were accepted less than RECLAIM_MS ago: in a burst,
 * servers connect some time before they send.
 */
static struct connection *
find_oldest(struct connections *cs, const struct connection *except)
{
	int64_t before = clock_ms() - RECLAIM_MS;
	struct connection *c, *oldest = NULL;
	size_t i;

	for (i = 0; i < cs->end; i++) {
		c = &cs->slots[i];
		if (c == except || c->fd == -1 || c->readable || c->in_use ||
		    c->since_ms > before)
			continue;
		before = c->since_ms;
		oldest = c;
	}
	return oldest;
}

/* A slot that is free or can be reclaimed; NULL if there is none now. */
static struct connection *
find_slot(struct connections *cs)
{
	struct connection *c;

	for (c = cs->slots; c < cs->slots + cs->end; c++)
		if (c->fd == -1)
			return c;
	if (cs->end == cs->shared.most)
		return find_oldest(cs, NULL);
	/* Initialized only now: most slots are never touched. */
	c->all = cs;
	c->shared = &cs->shared;
	c->fd = c->buffer_fd = -1;
	return c;
}

bool
connections_reclaim(struct connections *cs, const struct connection *except)
{
	struct connection *oldest;

	if ((errno != EMFILE && errno != ENFILE) ||
	    (oldest = find_oldest(cs, except)) == NULL)
		return false;
	connection_close(oldest);
	return true;
}

/* Accepting */

/* Logs what may happen often; *LAST_MS is when it was logged last. */
static void
log_rarely(int64_t *last_ms, const char *word, const char *reason)
{
	int64_t now = clock_ms();

	if (*last_ms == 0 || now - *last_ms >= LOG_AGAIN_MS) {
		log_event(word, reason);
		*last_ms = now;
	}
}

/*
 * macOS has no accept4(2).  Without SOCK_CLOEXEC is fine: this program never
 * calls exec.
 */
static int
accept_nonblocking(int listener, struct sockaddr_storage *from)
{
	socklen_t size = sizeof(*from);
#ifdef SOCK_NONBLOCK

	return accept4(listener, (struct sockaddr *)from, &size,
	    SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
	int fd = accept(listener, (struct sockaddr *)from, &size);

	if (fd != -1 && fcntl(fd, F_SETFL, O_NONBLOCK) == -1) {
		close(fd);
		return -1;
	}
	return fd;
#endif
}

/*
 * After a failure that lasts, waits a moment: the connection that was not
 * accepted stays readable, and poll(2) would return at once.
 */
static void
pause_accepting(struct connections *cs, int error)
{
	if (error == EAGAIN || error == EINTR || error == ECONNABORTED)
		return;
	cs->pause_ms = clock_ms() + FULL_MS;
	log_rarely(&cs->logged_accept_ms, "accept_failed", strerror(error));
}

/* Puts an accepted socket into a slot, which may have to be reclaimed. */
static void
add_connection(struct connections *cs, int fd)
{
	struct connection *c = find_slot(cs);

	if (c->fd != -1)
		connection_close(c);
	c->fd = fd;
	c->readable = true;
	c->since_ms = clock_ms();
	if (c == &cs->slots[cs->end])
		cs->end++;
}

static void
accept_connections(struct connections *cs)
{
	struct sockaddr_storage from = { 0 };
	size_t n;
	int fd;

	for (n = 0; n < GROUP_MAX && find_slot(cs) != NULL; n++) {
		fd = accept_nonblocking(cs->listener, &from);
		if (fd == -1 && connections_reclaim(cs, NULL))
			fd = accept_nonblocking(cs->listener, &from);
		if (fd == -1) {
			pause_accepting(cs, errno);
			return;
		}
		if (peers_allow(&cs->peers, &from)) {
			add_connection(cs, fd);
			continue;
		}
		close(fd);
		log_rarely(&cs->logged_peer_ms, "peer_refused", "a connection "
		    "from an address that is not in FCGI_WEB_SERVER_ADDRS");
	}
}

/* Waiting */

/*
 * Marks requests that have timed out.  Returns the milliseconds until the next
 * deadline, 0 if a connection is readable, -1 if there is no deadline.
 */
static int
find_deadline(struct connections *cs)
{
	int64_t now = clock_ms(), first = cs->stop_ms, deadline;
	struct connection *c;

	for (c = cs->slots; c < cs->slots + cs->end; c++) {
		if (c->readable)
			return 0;
		if (c->fd == -1 || c->idle || c->in_use)
			continue;
		deadline = c->since_ms + REQUEST_SECONDS * 1000;
		if (deadline <= now)
			c->timed_out = c->readable = true;
		if (first == 0 || deadline < first)
			first = deadline;
	}
	return first == 0 ? -1 : first <= now ? 0 : (int)(first - now);
}

/*
 * poll(2) on N descriptors for LEFT_US microseconds or, for -1, without limit.
 */
static int
poll_us(struct pollfd *fds, size_t n, int64_t left_us)
{
#if defined(__linux__) || defined(__FreeBSD__) || defined(__OpenBSD__)
	struct timespec ts = { 0 };

	if (left_us != -1) {
		ts.tv_sec = left_us / 1000000;
		ts.tv_nsec = (long)(left_us % 1000000 * 1000);
	}
	return ppoll(fds, n, left_us == -1 ? NULL : &ts, NULL);
#else
	/* In milliseconds, rounded up. */
	left_us = left_us == -1 ? -1 : left_us / 1000 + (left_us % 1000 > 0);
	return poll(fds, n, left_us < INT_MAX ? (int)left_us : INT_MAX);
#endif
}

/* Returns how many descriptors there are. */
static size_t
set_poll_fds(struct connections *cs, bool accepting)
{
	struct connection *c;
	size_t n = 2;

	cs->fds[0] = (struct pollfd){ .fd = cs->wake, .events = POLLIN };
	/* poll(2) ignores negative descriptors. */
	cs->fds[1] = (struct pollfd){ .events = POLLIN,
	    .fd = accepting ? cs->listener : -1 };
	for (c = cs->slots; c < cs->slots + cs->end; c++)
		cs->fds[n++] = (struct pollfd){ .events = POLLIN,
		    .fd = c->in_use ? -1 : c->fd };
	return n;
}

size_t
connections_wait(struct connections *cs, int64_t most_us)
{
	struct connection *c;
	size_t n, ready = 0;
	bool full = find_slot(cs) == NULL || clock_ms() < cs->pause_ms;
	int64_t left = find_deadline(cs);

	if (full && (left == -1 || left > FULL_MS))
		left = FULL_MS;
	if (left == -1 || (most_us != -1 && most_us < left * 1000))
		left = most_us;
	else
		left *= 1000;
	n = set_poll_fds(cs, cs->stop_ms == 0 && !full);
	if (poll_us(cs->fds, n, left) > 0) {
		for (c = cs->slots, n = 2; c < cs->slots + cs->end; c++)
			c->readable |= cs->fds[n++].revents != 0;
		if (cs->fds[1].revents != 0)
			accept_connections(cs);
	}
	for (c = cs->slots; c < cs->slots + cs->end; c++)
		ready += c->readable;
	return ready;
}

struct connection *
connections_next(struct connections *cs)
{
	struct connection *c;
	enum progress progress;
	size_t i, n = cs->end;

	for (i = 0; i < n; i++) {
		c = &cs->slots[cs->next++ % n];
		if (!c->readable)
			continue;
		c->readable = false;
		progress = connection_read(c);
		if (progress == REQUEST_PARTIAL)
			continue;
		if (progress == REQUEST_WHOLE && (c->buffer_fd == -1 ||
		    lseek(c->buffer_fd, 0, SEEK_SET) == 0)) {
			c->in_use = true;
			return c;
		}
		connection_close(c);
	}
	return NULL;
}

/* Stop */

void
connections_stop(struct connections *cs)
{
	if (cs->stop_ms == 0)
		cs->stop_ms = clock_ms() + CONNECTIONS_STOP_SECONDS * 1000;
}

bool
connections_busy(const struct connections *cs)
{
	const struct connection *c;

	if (cs->stop_ms != 0 && clock_ms() >= cs->stop_ms)
		return false;
	for (c = cs->slots; c < cs->slots + cs->end; c++)
		if (c->fd != -1 && !c->idle)
			return true;
	return false;
}
