/* SPDX-License-Identifier: ISC */
/*
 * Where log lines go: to standard error or, through the FastCGI connection, to
 * the web server.
 *
 * Nothing here waits for whoever reads the log.  What standard error does not
 * take at once is kept and tried again.  When there is no room for a new line
 * it is dropped and counted, and the number is logged before the next line that
 * there is room for.  What was written in part goes on where it stopped, so
 * that no line is cut.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "hook.h"

#ifndef PIPE_BUF
#define PIPE_BUF	_POSIX_PIPE_BUF
#endif
#define GUARD_US	20000

static enum log_target target;
static bool is_socket, is_file;
static bool guarded;		/* an alarm interrupts a write that waits */
static char lines[16 * LOG_SIZE];
static size_t size;		/* bytes in it that are to be written */
static uint64_t dropped;	/* lines, since the last one in it */

/* Not if it was closed, or leads to /dev/null as under spawn-fcgi. */
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

/* Both may be one file, and the log must not get into the answer. */
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
on_alarm(int sig)
{
	(void)sig;
}

void
log_open(enum log_target to)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval other;
	struct stat st;

	target = to;
	if (to != LOG_STDERR || fstat(STDERR_FILENO, &st) == -1)
		return;
	is_socket = S_ISSOCK(st.st_mode);
	is_file = S_ISREG(st.st_mode);
	if (is_socket || is_file)
		return;
	/* An alarm that was set before we were started is to end us. */
	if (getitimer(ITIMER_REAL, &other) == 0 &&
	    other.it_value.tv_sec == 0 && other.it_value.tv_usec == 0)
		guarded = sigaction(SIGALRM, &sa, NULL) == 0;
}

/*
 * As write(), but with EAGAIN or EINTR where that would wait.  The description
 * that is open as standard error is often shared: O_NONBLOCK would be set for
 * others, too.
 */
static ssize_t
write_at_once(const char *p, size_t n)
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

/* Whole lines that a pipe takes without cutting or mixing them with others. */
static size_t
next_part(void)
{
	size_t n = size;

	if (n <= PIPE_BUF)
		return n;
	for (n = PIPE_BUF; n > 0 && lines[n - 1] != '\n'; n--)
		;
	return n > 0 ? n : PIPE_BUF;
}

/* Whether there is room for N bytes after the line about dropped ones. */
static bool
make_room(size_t n)
{
	char line[LOG_SIZE];
	size_t before = dropped > 0 ? reply_log_dropped(line, dropped) : 0;

	if (before + n > sizeof(lines) - size)
		return false;
	memcpy(lines + size, line, before);
	size += before;
	dropped = 0;
	return true;
}

static void
add_line(const char *line, size_t n)
{
	if (!make_room(n)) {
		log_flush();
		if (!make_room(n)) {
			dropped++;
			return;
		}
	}
	memcpy(lines + size, line, n);
	size += n;
}

void
log_request(const struct request *rq)
{
	char line[LOG_SIZE];

	if (target != LOG_NOWHERE)
		add_line(line, reply_log(line, rq));
}

void
log_note(const char *result, const char *why)
{
	char line[LOG_SIZE];

	if (target != LOG_NOWHERE)
		add_line(line, reply_log_note(line, result, why));
}

void
log_flush(void)
{
	ssize_t n;

	if (target != LOG_STDERR)
		return;
	make_room(0);
	while (size > 0) {
		n = write_at_once(lines, next_part());
		if (n <= 0)
			return;
		size -= (size_t)n;
		memmove(lines, lines + n, size);
		make_room(0);
	}
}

bool
log_waits(void)
{
	return target == LOG_STDERR && size > 0;
}

const char *
log_take(size_t *n)
{
	if (target != LOG_SERVER)
		return NULL;
	make_room(0);
	*n = size;
	size = 0;
	return lines;
}
