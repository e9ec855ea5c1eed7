/* SPDX-License-Identifier: ISC */
/*
 * FastCGI connections: many are waited for at once, and a request is handed on
 * only when all of it is here, so that libfcgi, which blocks, never waits.  A
 * slow or silent client costs a slot, never the loop.
 *
 * A request that is whole when it is first looked at (nearly all are) stays in
 * its socket, and libfcgi reads it there.  One that is not, or that has records
 * of something else around it, is collected in memory behind a descriptor, and
 * libfcgi reads that instead.  It never sees a management record, as its answer
 * to FCGI_GET_VALUES overruns a buffer of 64 bytes; nor a parameter that is
 * longer than what came, as it believes the length and ends the process if there
 * is no memory for that; nor a record out of its order, which it may answer into
 * what it reads from.
 */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <fastcgi.h>

#include "hook.h"

#define SLOTS_MAX	4096
#define SLOT_FDS	2	/* its socket, and what it holds */
#define OPEN_FDS	6	/* standard streams, listener, signals' pipe */
#define OWN_FDS		16	/* ... and spool, and so on */
#define DESCRIPTORS	(OWN_FDS + SLOT_FDS * SLOTS_MAX + GROUP_MAX)
#define LOOK_SIZE	65536
#define OTHERS_MAX	(1 << 20)	/* bytes, parameters above all */
#define GIVE_WAY_MS	(REQUEST_SECONDS * 1000 / 12)	/* see find_slot() */
#define FULL_MS		50	/* until it is seen whether one may */
#define TELL_MS		60000	/* between two notes of the same trouble */
#define STOP_SECONDS	5
#define COLLECT_MAX	64	/* reads from one connection at a time */

static struct connection slots[SLOTS_MAX];
static struct pollfd fds[2 + SLOTS_MAX];
static size_t nslots, top, cursor;	/* slots from top on are free */
static int listen_fd, wake_fd;
static int64_t stop_at;		/* milliseconds, 0 while we go on */
static int64_t pause_until;	/* milliseconds, when accept() had failed */
static uint64_t body_limit;
static uint8_t look[LOOK_SIZE];

static int64_t
milliseconds(void)
{
	return microseconds() / 1000;
}

/*
 * A header is complete: how much follows, and is it ours?  0, or -1 if it has no
 * place there, or its request is given up.
 */
static int
record_begins(struct records *r)
{
	const FCGI_Header *h = (const FCGI_Header *)r->header;
	int id = h->requestIdB1 << 8 | h->requestIdB0;
	size_t content = (size_t)(h->contentLengthB1 << 8 | h->contentLengthB0);

	r->padding = h->paddingLength;
	r->rest = content + r->padding;
	r->keep = id != 0 && id == r->id;
	if (r->keep && h->type != (r->params ? FCGI_STDIN : FCGI_PARAMS))
		return -1;
	if (id != 0 && r->id == 0 && h->type == FCGI_BEGIN_REQUEST) {
		r->id = id;
		r->keep = true;
	}
	/* libfcgi takes the padding of these for what follows them. */
	r->mixed |= !r->keep || (r->padding > 0 &&
	    (h->type == FCGI_BEGIN_REQUEST || content == 0));
	if (r->keep && h->type == FCGI_STDIN) {
		/* One record more than is allowed is enough to refuse it. */
		r->keep = content == 0 || r->body <= body_limit;
		r->body += content;
	} else if (r->keep)
		r->others += r->rest;
	return r->others > OTHERS_MAX ? -1 : 0;
}

/*
 * N bytes of name-value pairs: FastCGI specification, 3.4.  0, or -1 if one is
 * longer than all may be.
 */
static int
pairs_read(struct pairs *s, const uint8_t *p, size_t n)
{
	size_t part;

	while (n > 0) {
		part = s->rest < n ? s->rest : n;
		p += part;
		n -= part;
		s->rest -= part;
		if (n == 0)
			break;
		if (s->octets == 0) {
			s->octets = (*p & 0x80) != 0 ? 4 : 1;
			s->length = *p & 0x7f;
		} else
			s->length = s->length << 8 | *p;
		p++;
		n--;
		if (--s->octets > 0)
			continue;
		s->sum += s->length;
		if (s->sum > OTHERS_MAX)
			return -1;
		if (s->named) {
			s->rest = s->sum;
			s->sum = 0;
		}
		s->named = !s->named;
	}
	return 0;
}

/*
 * Copies N bytes of the request.  0; also where that fails in its body, of which
 * the rest is then only read: what came before is enough to answer it.
 */
static int
hold(struct records *r, int held, const void *p, size_t n)
{
	if (held == -1 || r->error != 0 || write_all(held, p, n) == 0)
		return 0;
	r->error = errno;
	return r->params ? 0 : -1;
}

/* A copy of the header, of a record without padding. */
static int
hold_header(struct records *r, int held)
{
	FCGI_Header h = *(const FCGI_Header *)r->header;

	h.paddingLength = 0;
	return hold(r, held, &h, FCGI_HEADER_LEN);
}

/* PART bytes at P, content or padding, of the record under way. */
static int
record_goes_on(struct records *r, const uint8_t *p, size_t part, int held)
{
	const FCGI_Header *h = (const FCGI_Header *)r->header;
	size_t content = r->rest - r->padding;

	if (content > part)
		content = part;
	if (content > 0 && r->keep && h->type == FCGI_PARAMS &&
	    pairs_read(&r->pairs, p, content) == -1)
		return -1;
	if (content > 0 && r->keep && hold(r, held, p, content) == -1)
		return -1;
	r->rest -= part;
	if (r->rest < r->padding)
		r->padding = r->rest;
	return 0;
}

static int
record_ends(struct records *r)
{
	const FCGI_Header *h = (const FCGI_Header *)r->header;

	r->have = 0;
	if (r->keep && (h->contentLengthB1 | h->contentLengthB0) == 0) {
		r->params |= h->type == FCGI_PARAMS;
		r->whole |= h->type == FCGI_STDIN;
	}
	return r->params && (r->pairs.rest > 0 || r->pairs.octets > 0 ||
	    r->pairs.named) ? -1 : 0;
}

/*
 * Reads N bytes of records and, unless HELD is -1, copies the request's own
 * there.  0, or -1 if this is not FastCGI or can't be copied.
 */
static int
records_read(struct records *r, const uint8_t *p, size_t n, int held)
{
	size_t part;

	while (n > 0 && !r->whole) {
		if (r->have < FCGI_HEADER_LEN) {
			r->header[r->have++] = *p++;
			n--;
			if (r->have < FCGI_HEADER_LEN)
				continue;
			if (r->header[0] != FCGI_VERSION_1)
				return -1;
			if (record_begins(r) == -1)
				return -1;
			if (r->keep && hold_header(r, held) == -1)
				return -1;
		}
		part = r->rest < n ? r->rest : n;
		if (record_goes_on(r, p, part, held) == -1 ||
		    (r->rest == 0 && record_ends(r) == -1))
			return -1;
		p += part;
		n -= part;
	}
	return 0;
}

/* A descriptor for a request in memory. */
static int
open_held(void)
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

/* How many descriptors below END are open that are none of ours. */
static rlim_t
count_inherited(rlim_t end)
{
	const rlim_t most = sizeof(fds) / sizeof(fds[0]);
	rlim_t fd = 0, n = 0, part, i;

	for (; fd < end; fd += part) {
		part = end - fd < most ? end - fd : most;
		for (i = 0; i < part; i++)
			fds[i] = (struct pollfd){ .fd = (int)(fd + i) };
		if (poll(fds, (nfds_t)part, 0) == -1)
			break;
		for (i = 0; i < part; i++)
			n += (fds[i].revents & POLLNVAL) == 0;
	}
	return n > OPEN_FDS ? n - OPEN_FDS : 0;
}

/* LIMIT is raised to AT_LEAST if it may be. */
static void
raise_limit(struct rlimit *limit, rlim_t at_least)
{
	if (limit->rlim_cur >= at_least)
		return;
	limit->rlim_cur = limit->rlim_max < at_least ? limit->rlim_max :
	    at_least;
	if (setrlimit(RLIMIT_NOFILE, limit) == -1)
		getrlimit(RLIMIT_NOFILE, limit);
}

int
connections_open(int listener, int wake, size_t max_body)
{
	struct rlimit limit;
	rlim_t inherited = 0;

	listen_fd = listener;
	wake_fd = wake;
	body_limit = max_body;
	if (fcntl(listener, F_SETFL, O_NONBLOCK) == -1 ||
	    getrlimit(RLIMIT_NOFILE, &limit) == -1)
		return -1;
	raise_limit(&limit, DESCRIPTORS);
	/* Nobody leaves us as many as make a high limit low. */
	if (limit.rlim_cur < 2 * DESCRIPTORS) {
		inherited = count_inherited(limit.rlim_cur);
		raise_limit(&limit, DESCRIPTORS + inherited);
	}
	nslots = SLOTS_MAX;
	if (limit.rlim_cur < DESCRIPTORS + inherited)
		nslots = limit.rlim_cur < inherited + OWN_FDS + 2 * SLOT_FDS ?
		    1 : (size_t)(limit.rlim_cur - inherited - OWN_FDS) /
		    (SLOT_FDS + 1);
	return 0;
}

static void
end(struct connection *c)
{
	if (c->fd != -1)
		close(c->fd);
	if (c->held != -1)
		close(c->held);
	memset(c, 0, sizeof(*c));
	c->fd = c->held = -1;
	while (top > 0 && slots[top - 1].fd == -1)
		top--;
}

/*
 * The connection, other than BUT, that has been waiting longest; NULL if all
 * have something to do, or had hardly the time to say what: in a burst a server
 * connects some time before it sends.
 */
static struct connection *
find_oldest(const struct connection *but)
{
	int64_t before = milliseconds() - GIVE_WAY_MS;
	struct connection *c, *oldest = NULL;

	for (c = slots; c < slots + top; c++)
		if (c != but && c->fd != -1 && !c->ready && !c->taken &&
		    c->since <= before) {
			before = c->since;
			oldest = c;
		}
	return oldest;
}

/* A slot that is free or can be made so; NULL if there is none now. */
static struct connection *
find_slot(void)
{
	struct connection *c;

	for (c = slots; c < slots + top; c++)
		if (c->fd == -1)
			return c;
	if (top == nslots)
		return find_oldest(NULL);
	c->fd = c->held = -1;	/* not before: most are never touched */
	return c;
}

/*
 * After a call that failed with errno for want of descriptors: whether one that
 * waited, other than BUT, was closed, so that the call can be made again.
 */
static bool
give_way(const struct connection *but)
{
	struct connection *oldest;

	if ((errno != EMFILE && errno != ENFILE) ||
	    (oldest = find_oldest(but)) == NULL)
		return false;
	end(oldest);
	return true;
}

/* macOS has no accept4; nothing here is ever executed in our place. */
static int
accept_one(void)
{
#ifdef SOCK_NONBLOCK
	return accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
	int fd = accept(listen_fd, NULL, NULL);

	if (fd != -1 && fcntl(fd, F_SETFL, O_NONBLOCK) == -1) {
		close(fd);
		return -1;
	}
	return fd;
#endif
}

/*
 * With ERROR there is nothing to be done but to wait: who is not accepted stays
 * readable, and poll() would return at once.
 */
static void
pause_accepting(int error)
{
	static int64_t told;
	int64_t now = milliseconds();

	if (error == EAGAIN || error == EINTR || error == ECONNABORTED)
		return;
	pause_until = now + FULL_MS;
	if (told == 0 || now - told >= TELL_MS) {
		log_note("accept_failed", strerror(error));
		told = now;
	}
}

static void
accept_some(void)
{
	struct connection *c;
	size_t n;
	int fd;

	for (n = 0; n < GROUP_MAX && find_slot() != NULL; n++) {
		fd = accept_one();
		if (fd == -1 && give_way(NULL))
			fd = accept_one();
		if (fd == -1) {
			pause_accepting(errno);
			return;
		}
		c = find_slot();
		if (c->fd != -1)
			end(c);
		c->fd = fd;
		c->ready = true;
		c->since = milliseconds();
		if (c == &slots[top])
			top++;
	}
}

/* Milliseconds until something is to be done; -1 if only others know. */
static int
time_left(void)
{
	int64_t now = milliseconds(), first = stop_at, end_of;
	struct connection *c;

	for (c = slots; c < slots + top; c++) {
		if (c->ready)
			return 0;
		if (c->fd == -1 || c->idle || c->taken)
			continue;
		end_of = c->since + REQUEST_SECONDS * 1000;
		if (end_of <= now)
			c->late = c->ready = true;
		if (first == 0 || end_of < first)
			first = end_of;
	}
	return first == 0 ? -1 : first <= now ? 0 : (int)(first - now);
}

/* On N of fds, LEFT microseconds or, for -1, without limit. */
static int
wait_for(size_t n, int64_t left)
{
#if defined(__linux__) || defined(__FreeBSD__) || defined(__OpenBSD__)
	struct timespec ts = { 0 };

	if (left != -1) {
		ts.tv_sec = left / 1000000;
		ts.tv_nsec = (long)(left % 1000000 * 1000);
	}
	return ppoll(fds, n, left == -1 ? NULL : &ts, NULL);
#else
	/* Elsewhere in milliseconds, rounded up. */
	left = left == -1 ? -1 : left / 1000 + (left % 1000 > 0);
	return poll(fds, n, left < INT_MAX ? (int)left : INT_MAX);
#endif
}

size_t
connections_wait(int64_t most)
{
	struct connection *c;
	size_t n = 2, ready = 0;
	bool full = find_slot() == NULL || milliseconds() < pause_until;
	int64_t left = time_left();

	if (full && (left == -1 || left > FULL_MS))
		left = FULL_MS;
	if (left == -1 || (most != -1 && most < left * 1000))
		left = most;
	else
		left *= 1000;

	fds[0] = (struct pollfd){ .fd = wake_fd, .events = POLLIN };
	fds[1] = (struct pollfd){ .events = POLLIN,
	    .fd = stop_at != 0 || full ? -1 : listen_fd };
	/* A free slot's descriptor is -1, which poll passes over. */
	for (c = slots; c < slots + top; c++)
		fds[n++] = (struct pollfd){ .fd = c->taken ? -1 : c->fd,
		    .events = POLLIN };
	if (wait_for(n, left) > 0) {
		for (c = slots, n = 2; c < slots + top; c++)
			c->ready |= fds[n++].revents != 0;
		if (fds[1].revents != 0)
			accept_some();
	}
	for (c = slots; c < slots + top; c++)
		ready += c->ready;
	return ready;
}

enum progress { WAITING, WHOLE, GONE };

/* Whether nothing was there that recv() could have returned, but may come. */
static bool
is_empty(ssize_t n)
{
	return n == -1 && (errno == EAGAIN || errno == EINTR);
}

/* Takes what has come from the socket, up to the end of the request. */
static enum progress
collect(struct connection *c)
{
	unsigned int i;
	ssize_t n;

	for (i = 0; i < COLLECT_MAX; i++) {
		n = recv(c->fd, look, sizeof(look), 0);
		if (n <= 0)
			break;
		if (records_read(&c->records, look, (size_t)n, c->held) == -1)
			return GONE;
		if (c->records.whole)
			return WHOLE;
	}
	if (i == COLLECT_MAX) {
		c->ready = true;	/* others first */
		return WAITING;
	}
	c->cut = !is_empty(n);
	if (!c->cut && !c->late)
		return WAITING;
	/* It can be answered if we know what was asked. */
	return c->records.params ? WHOLE : GONE;
}

static enum progress
look_at(struct connection *c)
{
	struct records r = { 0 };
	ssize_t n;

	if (c->held != -1)
		return collect(c);
	n = recv(c->fd, look, sizeof(look), MSG_PEEK);
	if (is_empty(n))
		return c->late ? GONE : WAITING;
	if (n <= 0 || records_read(&r, look, (size_t)n, -1) == -1)
		return GONE;
	if (r.whole && !r.mixed)
		return WHOLE;
	if (c->idle)
		c->since = milliseconds();
	c->idle = false;
	c->held = open_held();
	if (c->held == -1 && give_way(c))
		c->held = open_held();
	return c->held != -1 ? collect(c) : GONE;
}

struct connection *
connections_next(void)
{
	struct connection *c;
	enum progress progress;
	size_t i, n = top;

	for (i = 0; i < n; i++) {
		c = &slots[cursor++ % n];
		if (!c->ready)
			continue;
		c->ready = false;
		progress = look_at(c);
		if (progress == WAITING)
			continue;
		if (progress == WHOLE && (c->held == -1 ||
		    lseek(c->held, 0, SEEK_SET) == 0)) {
			c->taken = true;
			return c;
		}
		end(c);
	}
	return NULL;
}

void
connection_done(struct connection *c, bool keep)
{
	if (!keep || c->cut || c->late) {
		end(c);
		return;
	}
	if (c->held != -1)
		close(c->held);
	c->held = -1;
	memset(&c->records, 0, sizeof(c->records));
	c->taken = false;
	c->idle = true;
	c->since = milliseconds();
}

void
connections_stop(void)
{
	if (stop_at == 0)
		stop_at = milliseconds() + STOP_SECONDS * 1000;
}

bool
connections_busy(void)
{
	struct connection *c;

	if (stop_at != 0 && milliseconds() >= stop_at)
		return false;
	for (c = slots; c < slots + top; c++)
		if (c->fd != -1 && !c->idle)
			return true;
	return false;
}
