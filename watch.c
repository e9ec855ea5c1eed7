/* SPDX-License-Identifier: ISC */
/*
 * watch: one line for each delivery as it gets its name in new/.  Linux tells
 * of it (inotify); elsewhere we look twice a second.
 *
 * A file is a consumer's as soon as it is there, and may be gone again before
 * it was looked at.
 */
#include <sys/stat.h>

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hook.h"

#if defined(__linux__) && !defined(WATCH_POLL)
#include <sys/inotify.h>
#define INOTIFY
#endif

static struct {
	int dir;		/* new/ */
	bool json, colour;
	bool terminal;		/* standard output is one */
} w;

/*
 * Decodes the character at S, of at most N bytes (RFC 3629).  Returns its
 * length, or 0 if it is not a whole one.  It may be overlong, or a surrogate.
 */
static size_t
decode_utf8(uint32_t *c, const uint8_t *s, size_t n)
{
	size_t i, len = *s < 0x80 ? 1 : *s < 0xc2 ? 0 : *s < 0xe0 ? 2 :
	    *s < 0xf0 ? 3 : *s < 0xf5 ? 4 : 0;

	if (len == 0 || len > n)
		return 0;
	*c = len == 1 ? *s : *s & (0x7fU >> len);
	for (i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (s[i] & 0x3f);
	}
	return len;
}

/* Control characters, line ends of Unicode, and what turns text around. */
static bool
steers_terminal(uint32_t c)
{
	return (c < ' ' && c != '\t') || (c >= 0x7f && c <= 0x9f) ||
	    c == 0x061c || c == 0x200e || c == 0x200f ||
	    (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* In JSON they stand in strings only, where an escape means the same. */
static void
print_escaped(const uint8_t *s, size_t n)
{
	uint32_t c;
	size_t len;

	for (; n > 0; s += len, n -= len) {
		if ((len = decode_utf8(&c, s, n)) == 0) {
			len = 1;
			c = 0xfffd;	/* it is no character */
			printf("\\ufffd");
		} else if (steers_terminal(c))
			printf("\\u%04x", (unsigned int)c);
		else
			fwrite(s, 1, len, stdout);
	}
}

/* The bytes of an event on one line: a newline in JSON is only ever space. */
static void
show_json(const char *file)
{
	int fd = openat(w.dir, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	uint8_t *body = NULL;
	size_t i, n;

	if (fd == -1 || (body = read_whole(fd, (size_t)1 << 30, &n)) == NULL)
		warn("%s", file);
	else {
		for (i = 0; i < n; i++)
			if (body[i] == '\n' || body[i] == '\r')
				body[i] = ' ';
		if (w.terminal)
			print_escaped(body, n);
		else
			fwrite(body, 1, n, stdout);
		putchar('\n');
	}
	free(body);
	if (fd != -1)
		close(fd);
}

/* One colour for each action, and one for types that Protocol has not. */
static const char *
colour_of(const struct name *n)
{
	static const struct {
		const char *action, *colour;
	} colours[] = {
		{ ".created", "\033[32m" }, { ".updated", "\033[33m" },
		{ ".deleted", "\033[31m" }, { "", "\033[35m" },
	};
	int i, len;

	if (!w.colour)
		return "";
	for (i = 0; i < 3; i++) {
		len = (int)strlen(colours[i].action);
		if (n->type_len > len && strncmp(n->type + n->type_len - len,
		    colours[i].action, (size_t)len) == 0)
			break;
	}
	return colours[i].colour;
}

static int
show(const char *file)
{
	struct stat st;
	struct name n;

	if (!name_read(&n, file))
		return 0;
	if (w.json)
		show_json(file);
	else {
		if (fstatat(w.dir, file, &st, AT_SYMLINK_NOFOLLOW) == -1)
			st.st_size = -1;
		printf("%.2s:%.2s:%.2s %s%-20.*s%s %-16.*s", file + 9,
		    file + 11, file + 13, colour_of(&n), n.type_len, n.type,
		    w.colour ? "\033[0m" : "", n.id_len, n.id);
		if (st.st_size == -1)
			printf(" taken\n");
		else
			printf(" %lld bytes\n", (long long)st.st_size);
	}
	return fflush(stdout) == 0 ? 0 : -1;
}

#ifdef INOTIFY

static int
read_events(int fd)
{
	_Alignas(struct inotify_event) char buf[65536];
	const struct inotify_event *e;
	ssize_t n = read(fd, buf, sizeof(buf));
	char *p;

	if (n == -1) {
		warn("inotify");
		return -1;
	}
	for (p = buf; p < buf + n; p += sizeof(*e) + e->len) {
		e = (const struct inotify_event *)p;
		if (e->mask & IN_Q_OVERFLOW)
			warnx("too many at once: some are not shown");
		else if (e->mask & (IN_IGNORED | IN_MOVE_SELF | IN_UNMOUNT)) {
			warnx("new/ is gone: it was moved, or unmounted");
			return -1;
		} else if (show(e->name) == -1)
			return -1;
	}
	return 0;
}

static int
follow(const char *path)
{
	int fd = inotify_init1(IN_CLOEXEC);

	if (fd == -1 || inotify_add_watch(fd, path, IN_CREATE | IN_MOVED_TO |
	    IN_MOVE_SELF | IN_ONLYDIR) == -1) {
		warn("%s", path);
		return -1;
	}
	while (read_events(fd) == 0)
		;
	return -1;
}

#else

/* The first name after LAST, or, with FIRST not set, the last of all. */
static int
next_name(const char *path, const char *last, char next[256], bool first)
{
	DIR *d = opendir(path);
	struct dirent *e;
	struct name n;

	next[0] = '\0';
	if (d == NULL) {
		warn("%s", path);
		return -1;
	}
	while (errno = 0, (e = readdir(d)) != NULL) {
		/* Any other may come after all that ever will. */
		if (!name_read(&n, e->d_name) || strcmp(e->d_name, last) <= 0)
			continue;
		if (next[0] == '\0' ||
		    (strcmp(e->d_name, next) < 0) == first)
			snprintf(next, 256, "%s", e->d_name);
	}
	if (errno != 0) {
		warn("%s", path);
		closedir(d);
		return -1;
	}
	closedir(d);
	return next[0] != '\0';
}

static int
follow(const char *path)
{
	const struct timespec pause = { 0, 500000000L };
	char last[256], next[256];
	int r = next_name(path, "", last, false);

	while (r != -1) {
		while ((r = next_name(path, last, next, true)) == 1) {
			if (show(next) == -1)
				return -1;
			memcpy(last, next, sizeof(last));
		}
		nanosleep(&pause, NULL);
	}
	return -1;
}

#endif

/*
 * In a spool that was never used, what the receiver would make is made.  -1 if
 * that fails, and why was said.
 */
static int
open_new(const struct config *cfg, const char *path)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	struct spool sp;
	const char *why;
	int fd = open(path, flags);

	if (fd == -1 && errno == ENOENT) {
		spool_init(&sp, cfg);
		errno = 0;
		if ((why = spool_check(&sp)) != NULL) {
			warnx("%s: %s%s%s", cfg->spool, why, errno != 0 ?
			    ": " : "", errno != 0 ? strerror(errno) : "");
			return -1;
		}
		fd = open(path, flags);
	}
	if (fd == -1)
		warn("%s", path);
	return fd;
}

int
command_watch(struct config *cfg, const struct arguments *a)
{
	size_t size = strlen(cfg->spool) + sizeof("/new");
	const char *no_color = getenv("NO_COLOR");
	char *path = malloc(size);

	if (path == NULL) {
		warn("memory");
		return 1;
	}
	snprintf(path, size, "%s/new", cfg->spool);
	w.json = a->flag['o'] != NULL;
	w.terminal = isatty(STDOUT_FILENO);
	/* Empty, it is as if it were not set: no-color.org. */
	w.colour = !w.json && is_terminal(STDOUT_FILENO) &&
	    (no_color == NULL || *no_color == '\0');
	w.dir = open_new(cfg, path);
	if (w.dir != -1) {
		if (is_terminal(STDERR_FILENO))
			warnx("waiting for deliveries in %s", path);
		follow(path);
		close(w.dir);
	}
	free(path);
	return 1;
}
