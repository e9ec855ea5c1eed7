/* SPDX-License-Identifier: ISC */
/*
 * watch: prints each delivery when it gets its name in new/.  inotify(7) tells
 * when; on systems without it, new/ is read twice a second.
 *
 * Consumers take files at once, so a file may be gone before it is read.
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

#include "../config.h"
#include "../spool/spool.h"
#include "../util.h"
#include "command.h"

#if defined(__linux__) && !defined(WATCH_POLL)
#include <sys/inotify.h>
#define INOTIFY
#endif

struct watch {
	int dir;		/* new/ */
	bool json;		/* -o: print the event itself */
	bool colour;
	bool terminal;		/* standard output is one */
};

/*
 * Decodes the character at S, of at most N bytes (RFC 3629).  Returns its
 * length, or 0 if it is malformed; overlong forms and surrogates are accepted.
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

/* Control characters, line separators and bidirectional controls. */
static bool
steers_terminal(uint32_t c)
{
	return (c < ' ' && c != '\t') || (c >= 0x7f && c <= 0x9f) ||
	    c == 0x061c || c == 0x200e || c == 0x200f ||
	    (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/*
 * In JSON such characters occur only in strings, where an escape means the same
 * as the character.
 */
static void
print_escaped(const uint8_t *s, size_t n)
{
	uint32_t c;
	size_t len;

	for (; n > 0; s += len, n -= len) {
		if ((len = decode_utf8(&c, s, n)) == 0) {
			len = 1;
			printf("\\ufffd");
		} else if (steers_terminal(c))
			printf("\\u%04x", (unsigned int)c);
		else
			fwrite(s, 1, len, stdout);
	}
}

/* Prints an event on one line: a newline in JSON is always white space. */
static void
print_body(const struct watch *w, const char *file)
{
	int fd = openat(w->dir, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	uint8_t *body = NULL;
	size_t i, n;

	if (fd == -1 || (body = read_all(fd, BODY_MAX, &n)) == NULL)
		warn("%s", file);
	else {
		for (i = 0; i < n; i++)
			if (body[i] == '\n' || body[i] == '\r')
				body[i] = ' ';
		if (w->terminal)
			print_escaped(body, n);
		else
			fwrite(body, 1, n, stdout);
		putchar('\n');
	}
	free(body);
	if (fd != -1)
		close(fd);
}

/* A colour for each action, and one for types that are not Protocol's. */
static const char *
find_colour(const struct watch *w, const struct delivery_name *n)
{
	static const struct {
		const char *action, *colour;
	} colours[] = {
		{ ".created", "\033[32m" }, { ".updated", "\033[33m" },
		{ ".deleted", "\033[31m" }, { "", "\033[35m" },
	};
	int i, len;

	if (!w->colour)
		return "";
	for (i = 0; i < 3; i++) {
		len = (int)strlen(colours[i].action);
		if (n->type_len > len && strncmp(n->type + n->type_len - len,
		    colours[i].action, (size_t)len) == 0)
			break;
	}
	return colours[i].colour;
}

/* 0, or -1 if standard output fails. */
static int
print_delivery(const struct watch *w, const char *file)
{
	struct stat st;
	struct delivery_name n;

	if (!name_parse(&n, file))
		return 0;
	if (w->json)
		print_body(w, file);
	else {
		if (fstatat(w->dir, file, &st, AT_SYMLINK_NOFOLLOW) == -1)
			st.st_size = -1;
		printf("%.2s:%.2s:%.2s %s%-20.*s%s %-16.*s", file + 9,
		    file + 11, file + 13, find_colour(w, &n), n.type_len,
		    n.type, w->colour ? "\033[0m" : "", n.id_len, n.id);
		if (st.st_size == -1)
			printf(" taken\n");
		else
			printf(" %lld bytes\n", (long long)st.st_size);
	}
	return fflush(stdout) == 0 ? 0 : -1;
}

#ifdef INOTIFY

static int
read_inotify(const struct watch *w, int fd)
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
		} else if (print_delivery(w, e->name) == -1)
			return -1;
	}
	return 0;
}

/* Returns when it fails, and has printed why. */
static void
watch_directory(const struct watch *w, const char *path)
{
	int fd = inotify_init1(IN_CLOEXEC);

	if (fd == -1 || inotify_add_watch(fd, path, IN_CREATE | IN_MOVED_TO |
	    IN_MOVE_SELF | IN_ONLYDIR) == -1) {
		warn("%s", path);
		return;
	}
	while (read_inotify(w, fd) == 0)
		;
}

#else

/*
 * Finds the first delivery after LAST, or, with FIRST not set, the last of all.
 * 1 if there is one, else 0; -1 if that failed, and why was printed.
 */
static int
next_name(const char *path, const char *last, char next[256], bool first)
{
	DIR *d = opendir(path);
	struct dirent *e;
	struct delivery_name n;

	next[0] = '\0';
	if (d == NULL) {
		warn("%s", path);
		return -1;
	}
	while (errno = 0, (e = readdir(d)) != NULL) {
		/* A foreign name that sorts last would hide all to come. */
		if (!name_parse(&n, e->d_name) || strcmp(e->d_name, last) <= 0)
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

/* Returns when it fails, and has printed why. */
static void
watch_directory(const struct watch *w, const char *path)
{
	const struct timespec pause = { 0, 500000000L };
	char last[256], next[256];
	int r = next_name(path, "", last, false);

	while (r != -1) {
		while ((r = next_name(path, last, next, true)) == 1) {
			if (print_delivery(w, next) == -1)
				return;
			memcpy(last, next, sizeof(last));
		}
		nanosleep(&pause, NULL);
	}
}

#endif

/* Makes a spool, as the receiver would; prints why if that fails. */
static bool
make_spool(const struct config *cfg)
{
	struct failure failure = { "memory", ENOMEM };
	struct spool *spool = spool_new(cfg);
	bool made = spool != NULL && spool_refresh(spool, &failure);

	if (!made)
		command_warn_failure(cfg->spool, &failure);
	if (spool != NULL)
		spool_free(spool);
	return made;
}

/* Opens new/; -1 if that fails, and why was printed. */
static int
open_new(const struct config *cfg, const char *path)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = open(path, flags);

	if (fd == -1 && errno == ENOENT) {
		if (!make_spool(cfg))
			return -1;
		fd = open(path, flags);
	}
	if (fd == -1)
		warn("%s", path);
	return fd;
}

int
watch_main(struct config *cfg, const struct arguments *a)
{
	size_t size = strlen(cfg->spool) + sizeof("/new");
	const char *no_color = getenv("NO_COLOR");
	struct watch w = { .json = a->flag['o'] != NULL,
	    .terminal = isatty(STDOUT_FILENO) };
	char *path = malloc(size);

	if (path == NULL) {
		warn("memory");
		return 1;
	}
	snprintf(path, size, "%s/new", cfg->spool);
	/* no-color.org: if it is empty it counts as not set. */
	w.colour = !w.json && command_is_terminal(STDOUT_FILENO) &&
	    (no_color == NULL || *no_color == '\0');
	if ((w.dir = open_new(cfg, path)) != -1) {
		if (command_is_terminal(STDERR_FILENO))
			warnx("waiting for deliveries in %s", path);
		watch_directory(&w, path);
		close(w.dir);
	}
	free(path);
	return 1;
}
