/* SPDX-License-Identifier: ISC */
/*
 * Lines are kept in unwritten[] until standard error takes them.  A line that
 * was written in part continues where it stopped, so that no line is cut.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "reply.h"
#include "text.h"
#include "util.h"

#ifndef PIPE_BUF
#define PIPE_BUF	_POSIX_PIPE_BUF
#endif
#define GUARD_US	20000	/* until a write that waits is interrupted */

static enum log_target target;
static bool is_socket, is_file;	/* what standard error is */
static bool guarded;		/* an alarm interrupts a write that waits */
static char unwritten[16 * LOG_LINE_SIZE];
static size_t unwritten_bytes;
static uint64_t dropped;	/* lines, since the last one in it */

/* Lines */

/* An address (RFC 3875, section 4.1.8) has no other bytes, and is no longer. */
static void
add_remote_addr(struct text *t, const char *s)
{
	char remote[64];
	size_t i;

	for (i = 0; i < sizeof(remote) - 1 && s[i] != '\0'; i++)
		remote[i] = s[i] > ' ' && s[i] < 0x7f ? s[i] : '?';
	remote[i] = '\0';
	text_add_pair(t, "remote", remote);
}

static void
add_failure(struct text *t, const struct failure *failure)
{
	char reason[256];

	if (failure->what == NULL)
		return;
	snprintf(reason, sizeof(reason), "%s%s%s", failure->what,
	    failure->error != 0 ? ": " : "",
	    failure->error != 0 ? strerror(failure->error) : "");
	text_add_pair(t, "reason", reason);
}

/* Always, as not every log adds a time of its own. */
static void
add_timestamp(struct text *t)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	text_add(t, "ts=");
	text_add_time(t, (int64_t)now.tv_sec,
	    (unsigned int)(now.tv_nsec / 1000000));
	text_add(t, " result=");
}

static void
add_event(struct text *t, const struct request *rq)
{
	text_add_pair(t, "type", rq->event.type);
	text_add_pair(t, "id", rq->event.id);
	if (rq->event.known == -1)
		text_add(t, " unknown=yes");
}

static void
add_duration(struct text *t, uint64_t us)
{
	text_add(t, " ms=");
	text_add_number(t, us / 1000, 1);
	text_add(t, ".");
	text_add_number(t, us % 1000, 3);
}

size_t
log_format_request(char line[LOG_LINE_SIZE], const struct request *rq)
{
	struct text t = { line, 0, LOG_LINE_SIZE - 1 };

	add_timestamp(&t);
	text_add(&t, reply_word(rq->outcome));
	text_add(&t, " status=");
	text_add_number(&t, reply_status(rq->outcome), 1);
	if (rq->has_event)
		add_event(&t, rq);
	if (rq->delivery.name[0] != '\0' && (rq->outcome == OUTCOME_STORED ||
	    rq->outcome == OUTCOME_REJECTED))
		text_add_pair(&t, "file", rq->delivery.name);
	text_add(&t, " bytes=");
	text_add_number(&t, rq->body_bytes, 1);
	if (rq->key > 1) {
		text_add(&t, " key=");
		text_add_number(&t, rq->key, 1);
	}
	if (rq->remote_addr != NULL)
		add_remote_addr(&t, rq->remote_addr);
	add_duration(&t, (uint64_t)(clock_us() - rq->began_us));
	add_failure(&t, &rq->failure);
	line[t.n++] = '\n';
	return t.n;
}

size_t
log_format_event(char line[LOG_LINE_SIZE], const char *word,
    const char *reason)
{
	struct text t = { line, 0, LOG_LINE_SIZE - 1 };

	add_timestamp(&t);
	text_add(&t, word);
	if (reason != NULL)
		text_add_pair(&t, "reason", reason);
	line[t.n++] = '\n';
	return t.n;
}

static size_t
format_dropped(char line[LOG_LINE_SIZE], uint64_t count)
{
	struct text t = { line, 0, LOG_LINE_SIZE - 1 };

	add_timestamp(&t);
	text_add(&t, "log_dropped count=");
	text_add_number(&t, count, 1);
	line[t.n++] = '\n';
	return t.n;
}

/* Where they go */

/* False if it was closed, or is /dev/null as under spawn-fcgi. */
static bool
stderr_is_read(void)
{
	struct stat err, null;

	if (fstat(STDERR_FILENO, &err) == -1 ||
	    (fcntl(STDERR_FILENO, F_GETFL) & O_ACCMODE) == O_RDONLY)
		return false;
	return !S_ISCHR(err.st_mode) || stat("/dev/null", &null) == -1 ||
	    err.st_rdev != null.st_rdev;
}

/* If they are the same, log lines would end up in the answer. */
static bool
stderr_is_stdout(void)
{
	struct stat out, err;

	return fstat(STDOUT_FILENO, &out) == -1 ||
	    fstat(STDERR_FILENO, &err) == -1 ||
	    (out.st_dev == err.st_dev && out.st_ino == err.st_ino);
}

enum log_target
log_choose(bool cgi)
{
	if (cgi)
		return stderr_is_read() && !stderr_is_stdout() ? LOG_STDERR :
		    LOG_NOWHERE;
	return stderr_is_read() ? LOG_STDERR : LOG_SERVER;
}

static void
interrupt_write(int sig)
{
	(void)sig;
}

void
log_open(enum log_target to)
{
	struct sigaction sa = { .sa_handler = interrupt_write };
	struct itimerval other;
	struct stat st;

	target = to;
	if (to != LOG_STDERR || fstat(STDERR_FILENO, &st) == -1)
		return;
	is_socket = S_ISSOCK(st.st_mode);
	is_file = S_ISREG(st.st_mode);
	if (is_socket || is_file)
		return;
	/* An alarm that was set before we were started is meant to end us. */
	if (getitimer(ITIMER_REAL, &other) == 0 &&
	    other.it_value.tv_sec == 0 && other.it_value.tv_usec == 0)
		guarded = sigaction(SIGALRM, &sa, NULL) == 0;
}

/*
 * Like write(2), but fails with EAGAIN or EINTR if it would wait.  O_NONBLOCK
 * can't be used: other processes share the open file description.
 */
static ssize_t
write_without_waiting(const char *p, size_t n)
{
	static const struct itimerval off;
	const struct itimerval soon = { { 0, GUARD_US }, { 0, GUARD_US } };
	struct pollfd out = { .fd = STDERR_FILENO, .events = POLLOUT };
	ssize_t written;
	int error;

	if (is_socket)
		return send(STDERR_FILENO, p, n, MSG_DONTWAIT);
	if (is_file)
		return write(STDERR_FILENO, p, n);
	if (poll(&out, 1, 0) != 1) {
		errno = EAGAIN;
		return -1;
	}
	/*
	 * A pipe that is writable takes PIPE_BUF bytes, unless another process
	 * fills it just now; and a terminal may take less.
	 */
	if (guarded)
		setitimer(ITIMER_REAL, &soon, NULL);
	written = write(STDERR_FILENO, p, n);
	error = errno;
	if (guarded)
		setitimer(ITIMER_REAL, &off, NULL);
	errno = error;
	return written;
}

/* Bytes of whole lines that a pipe takes without mixing them with others'. */
static size_t
next_write_size(void)
{
	size_t n = unwritten_bytes;

	if (n <= PIPE_BUF)
		return n;
	for (n = PIPE_BUF; n > 0 && unwritten[n - 1] != '\n'; n--)
		;
	return n > 0 ? n : PIPE_BUF;
}

/*
 * Makes room for N bytes after the line about dropped ones; false if it can't.
 */
static bool
make_log_room(size_t n)
{
	char line[LOG_LINE_SIZE];
	size_t before = dropped > 0 ? format_dropped(line, dropped) : 0;

	if (before + n > sizeof(unwritten) - unwritten_bytes)
		return false;
	memcpy(unwritten + unwritten_bytes, line, before);
	unwritten_bytes += before;
	dropped = 0;
	return true;
}

static void
add_log_line(const char *line, size_t n)
{
	if (!make_log_room(n)) {
		log_flush();
		if (!make_log_room(n)) {
			dropped++;
			return;
		}
	}
	memcpy(unwritten + unwritten_bytes, line, n);
	unwritten_bytes += n;
}

void
log_request(const struct request *rq)
{
	char line[LOG_LINE_SIZE];
	size_t n;

	if (target == LOG_NOWHERE)
		return;
	n = log_format_request(line, rq);
	add_log_line(line, n);
}

void
log_event(const char *word, const char *reason)
{
	char line[LOG_LINE_SIZE];
	size_t n;

	if (target == LOG_NOWHERE)
		return;
	n = log_format_event(line, word, reason);
	add_log_line(line, n);
}

void
log_unknown_variable(const char *name, const char *value, const char *why)
{
	char reason[256];

	(void)value;
	snprintf(reason, sizeof(reason), "%s %s", name, why);
	log_event("unknown_variable", reason);
}

void
log_flush(void)
{
	ssize_t n;

	if (target != LOG_STDERR)
		return;
	make_log_room(0);
	while (unwritten_bytes > 0) {
		n = write_without_waiting(unwritten, next_write_size());
		if (n <= 0)
			return;
		unwritten_bytes -= (size_t)n;
		memmove(unwritten, unwritten + n, unwritten_bytes);
		make_log_room(0);
	}
}

bool
log_has_unwritten(void)
{
	return target == LOG_STDERR && unwritten_bytes > 0;
}

const char *
log_take(size_t *n)
{
	if (target != LOG_SERVER)
		return NULL;
	make_log_room(0);
	*n = unwritten_bytes;
	unwritten_bytes = 0;
	return unwritten;
}
