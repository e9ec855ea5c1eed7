/* SPDX-License-Identifier: ISC */
/*
 * replay: archived deliveries once more into new/, as fresh arrivals, in the
 * order in which they first came.
 *
 * First all that is wanted is listed, then it is linked; so what arrives
 * meanwhile is not replayed, and nothing is replayed twice.  Nor is what still
 * waits in new/: a run that was interrupted can be started again.
 *
 * What waits is known by the digest of its bytes.  Inode numbers would be
 * quicker, but a FUSE file system may give all files the same one, or each name
 * of a file another, and a link count of 1 to all.
 */
#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "hook.h"

#define BATCH		256	/* links that share a flush */
#define MANY		1000	/* worth a progress bar */
#define BAR		40
#define BODY_MAX	((size_t)1 << 30)
#define SIZES		65536	/* a power of 2 */
#define SECOND		INT64_C(1000000)
#ifdef __APPLE__
#define st_mtim		st_mtimespec
#endif

struct entry {
	int64_t when;		/* it came first, microseconds */
	uint8_t digest[DIGEST_SIZE];
	char day[DAY_SIZE];
};

/* What grows while directories are read. */
struct list {
	char *items;
	size_t n, room, size;
};

struct replay {
	const struct arguments *a;
	struct spool spool;
	int64_t since, before;	/* microseconds */
	struct list entries;	/* struct entry */
	struct list waiting;	/* digests of what new/ has */
	bool size[SIZES];	/* whether an entry has such a size, modulo */
	const char *listing;	/* new or archive, ... */
	char day[DAY_SIZE];	/* ... and which day of that, or "" */
	uint64_t done, waits, failed;
	size_t unflushed;
	bool broken;		/* nothing more can be linked */
	bool bar;
};

static volatile sig_atomic_t stop;

static void
on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

static int
list_add(struct list *l, const void *item)
{
	size_t room = l->room == 0 ? 1024 : 2 * l->room;
	char *items;

	if (l->n == l->room) {
		if ((items = realloc(l->items, room * l->size)) == NULL)
			return -1;
		l->items = items;
		l->room = room;
	}
	memcpy(l->items + l->n++ * l->size, item, l->size);
	return 0;
}

static int
by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, DIGEST_SIZE);
}

static int
by_digest(const void *a, const void *b)
{
	return memcmp(((const struct entry *)a)->digest,
	    ((const struct entry *)b)->digest, DIGEST_SIZE);
}

static int
by_time(const void *a, const void *b)
{
	int64_t x = ((const struct entry *)a)->when;
	int64_t y = ((const struct entry *)b)->when;

	return x != y ? (x > y) - (x < y) : by_digest(a, b);
}

/* Which */

/*
 * In nanoseconds, 64 bits would end in 2262; of what does not fit, the first or
 * the last there is.
 */
static int64_t
microseconds_of(time_t s, long ns)
{
	if (s <= INT64_MIN / SECOND)
		return INT64_MIN;
	if (s >= INT64_MAX / SECOND)
		return INT64_MAX - 1;
	return (int64_t)s * SECOND + ns / 1000;
}

/* YYYY-MM-DD[THH:MM[:SS]][Z], UTC, in seconds since 1970; 0 or -1. */
static int
read_time(time_t *out, const char *s)
{
	static const struct {
		const char *form;
		long len;
	} forms[] = {
		{ "%Y-%m-%d", 10 }, { "%Y-%m-%dT%H:%M", 16 },
		{ "%Y-%m-%dT%H:%M:%S", 19 },
	};
	const char *end;
	struct tm tm;
	int i, day;

	if (strspn(s, "0123456789") != 4)
		return -1;
	for (i = 0; i < 3; i++) {
		memset(&tm, 0, sizeof(tm));
		if ((end = strptime(s, forms[i].form, &tm)) == NULL ||
		    end - s != forms[i].len || end[*end == 'Z'] != '\0')
			continue;
		day = tm.tm_mday;
		*out = timegm(&tm);
		return tm.tm_mday == day ? 0 : -1;
	}
	return -1;
}

/* What all of them agree on; 0, or -1 and what is wrong was said. */
static int
read_times(struct replay *rp)
{
	const char *const *flag = rp->a->flag;
	time_t day, since, before;

	rp->since = INT64_MIN;
	rp->before = INT64_MAX;
	if (flag['d'] != NULL) {
		if (!spool_is_day(flag['d']) ||
		    read_time(&day, flag['d']) == -1) {
			warnx("-d %s is no day", flag['d']);
			return -1;
		}
		rp->since = microseconds_of(day, 0);
		rp->before = microseconds_of(day + SECONDS_A_DAY, 0);
	}
	if (flag['s'] != NULL && read_time(&since, flag['s']) == -1)
		warnx("-s %s is no time", flag['s']);
	else if (flag['b'] != NULL && read_time(&before, flag['b']) == -1)
		warnx("-b %s is no time", flag['b']);
	else {
		if (flag['s'] != NULL && microseconds_of(since, 0) > rp->since)
			rp->since = microseconds_of(since, 0);
		if (flag['b'] != NULL && microseconds_of(before, 0) < rp->before)
			rp->before = microseconds_of(before, 0);
		return 0;
	}
	return -1;
}

/* 0, or -1 and what is wrong was said. */
static int
read_selection(struct replay *rp)
{
	const char *const *flag = rp->a->flag;
	uint8_t digest[DIGEST_SIZE];
	char **d;

	if (read_times(rp) == -1)
		return -1;
	if (*rp->a->operand == NULL && !flag['a'] && !flag['d'] &&
	    !flag['s'] && !flag['b'] && !flag['t'] && !flag['i']) {
		warnx("say which, or -a for all");
		return -1;
	}
	for (d = rp->a->operand; *d != NULL; d++)
		if (signature_decode(digest, *d) == -1) {
			warnx("%s is no digest", *d);
			return -1;
		}
	return 0;
}

/* Whether the operands, if there are any, have this digest. */
static bool
is_named(const struct replay *rp, const char *hex)
{
	char **d;

	for (d = rp->a->operand; *d != NULL; d++)
		if (strcasecmp(*d, hex) == 0)
			return true;
	return d == rp->a->operand;
}

static bool
is_wanted(const struct replay *rp, const struct event *ev)
{
	const char *const *flag = rp->a->flag;

	return (!flag['t'] || fnmatch(flag['t'], ev->type, 0) == 0) &&
	    (!flag['i'] || strcmp(flag['i'], ev->id) == 0);
}

/* Listing */

/* All of the file NAME in DIR, which the caller frees; NULL with errno. */
static uint8_t *
read_file(int dir, const char *name, size_t *len)
{
	int error, fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	uint8_t *body;

	if (fd == -1)
		return NULL;
	body = read_whole(fd, BODY_MAX, len);
	error = errno;
	close(fd);
	errno = error;
	return body;
}

/* A size that no entry has needs no digest. */
static bool *
size_known(struct replay *rp, off_t size)
{
	return &rp->size[(uint64_t)size & (SIZES - 1)];
}

/*
 * Of a file that is gone, a reader has taken it.  One that may not be read is
 * not another name of an entry that may.
 */
static int
list_waiting(void *arg, int dir, const struct dirent *e)
{
	struct replay *rp = arg;
	uint8_t digest[DIGEST_SIZE], *body;
	struct stat st;
	size_t len;

	if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT ? 0 : -1;
	if (!S_ISREG(st.st_mode) || !*size_known(rp, st.st_size))
		return 0;
	if ((body = read_file(dir, e->d_name, &len)) == NULL)
		return errno == ENOENT || errno == EACCES ? 0 : -1;
	body_digest(digest, body, len);
	free(body);
	return list_add(&rp->waiting, digest);
}

static int
list_entry(void *arg, int dir, const struct dirent *e)
{
	struct replay *rp = arg;
	struct entry entry;
	struct stat st;

	if (signature_decode(entry.digest, e->d_name) == -1 ||
	    !is_named(rp, e->d_name))
		return 0;
	if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT ? 0 : -1;
	entry.when = microseconds_of(st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	if (entry.when < rp->since || entry.when >= rp->before)
		return 0;
	memcpy(entry.day, rp->day, DAY_SIZE);
	*size_known(rp, st.st_size) = true;
	return list_add(&rp->entries, &entry);
}

static int
list_day(void *arg, int dir, const struct dirent *e)
{
	struct replay *rp = arg;

	if (!spool_is_day(e->d_name))
		return 0;
	memcpy(rp->day, e->d_name, DAY_SIZE);
	if (dir_each(dir, e->d_name, list_entry, rp) == -1 && errno != ENOENT)
		return -1;
	return 0;
}

/*
 * The archive before new/: what had waited when it was listed and is not there
 * now, a reader has taken.
 */
static int
list_all(struct replay *rp)
{
	struct entry *e;
	size_t i, n = 0;

	rp->entries.size = sizeof(struct entry);
	rp->waiting.size = DIGEST_SIZE;
	rp->listing = "archive";
	if (dir_each(rp->spool.dir, rp->listing, list_day, rp) == -1)
		return -1;
	rp->listing = "new";
	rp->day[0] = '\0';
	if (dir_each(rp->spool.dir, rp->listing, list_waiting, rp) == -1)
		return -1;
	if (rp->waiting.n > 0)
		qsort(rp->waiting.items, rp->waiting.n, DIGEST_SIZE, by_bytes);
	if (rp->entries.n == 0)
		return 0;
	e = (struct entry *)(void *)rp->entries.items;
	qsort(e, rp->entries.n, sizeof(*e), by_digest);
	for (i = 1; i < rp->entries.n; i++)
		if (by_digest(&e[n], &e[i]) != 0)
			e[++n] = e[i];
	rp->entries.n = n + 1;
	qsort(e, rp->entries.n, sizeof(*e), by_time);
	return 0;
}

/* Replaying */

/* Bytes that could steer a terminal are not for it. */
static void
clean(char *s)
{
	for (; *s != '\0'; s++)
		if ((signed char)*s <= ' ' || *s == 0x7f)
			*s = '_';
}

static void
show(const struct entry *e, struct event *ev, const char *hex)
{
	time_t t = (time_t)(e->when / SECOND);
	char when[32];
	struct tm tm;

	clean(ev->type);
	clean(ev->id);
	gmtime_r(&t, &tm);	/* nanoseconds reach until 2262 */
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	printf("%s %-20s %-16s %s\n", when, ev->type, ev->id, hex);
}

/* What event it is: NULL, or why that can't be said. */
static const char *
read_entry(const struct replay *rp, const struct delivery *d, struct event *ev)
{
	char path[DAY_SIZE + DIGEST_HEX + 1];
	struct json_text text;
	const char *why;
	uint8_t *body;
	bool nomem = false;

	snprintf(path, sizeof(path), "%s/%s", d->day, d->hex);
	if ((body = read_file(rp->spool.archive, path, &text.n)) == NULL)
		return strerror(errno);
	text.s = body;
	why = event_read(ev, text, &nomem);
	free(body);
	return nomem ? strerror(ENOMEM) : why;
}

static int
flush(struct replay *rp)
{
	if (rp->unflushed > 0 && !rp->a->flag['n'] &&
	    spool_flush(&rp->spool) == -1) {
		warn("%s/new can't be flushed", rp->spool.path);
		rp->failed += rp->unflushed;
		return -1;
	}
	rp->done += rp->unflushed;
	rp->unflushed = 0;
	return 0;
}

static void
replay(struct replay *rp, const struct entry *e)
{
	struct delivery d = { .fd = -1 };
	struct event ev = { .known = -1 };
	const char *why;

	memcpy(d.day, e->day, DAY_SIZE);
	hex_digest(d.hex, e->digest);
	if ((why = read_entry(rp, &d, &ev)) != NULL)
		goto fail;
	if (!is_wanted(rp, &ev))
		return;
	if (rp->waiting.n > 0 && bsearch(e->digest, rp->waiting.items,
	    rp->waiting.n, DIGEST_SIZE, by_bytes) != NULL) {
		rp->waits++;
		return;
	}
	d.event = &ev;
	if (rp->a->flag['n'] != NULL)
		show(e, &ev, d.hex);
	else if (spool_replay(&rp->spool, &d) == -1) {
		rp->broken = errno != ENOENT && errno != EMLINK;
		why = strerror(errno);
		goto fail;
	}
	rp->unflushed++;
	return;
fail:
	warnx("%s/%s: %s", d.day, d.hex, why);
	rp->failed++;
}

static void
progress(const struct replay *rp, size_t i)
{
	int full = (int)(i * BAR / rp->entries.n);

	fprintf(stderr, "\r[%.*s%*s] %zu of %zu%s", full,
	    "########################################", BAR - full, "", i,
	    rp->entries.n,
	    i == rp->entries.n || stop || rp->broken ? "\n" : "");
}

static int
replay_all(struct replay *rp)
{
	const struct entry *e = (const void *)rp->entries.items;
	size_t i;

	for (i = 0; i < rp->entries.n && !stop && !rp->broken; i++) {
		replay(rp, &e[i]);
		if ((i + 1) % BATCH != 0)
			continue;
		if (flush(rp) == -1)
			return -1;
		if (rp->bar)
			progress(rp, i);
	}
	if (rp->bar)
		progress(rp, i);
	return flush(rp);
}

/* To show which, nothing is made and nothing need be writable. */
static int
open_spool(struct replay *rp, const struct config *cfg)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	struct spool *sp = &rp->spool;
	const char *why = NULL;

	errno = 0;
	spool_init(sp, cfg);
	if (rp->a->flag['n'] == NULL)
		why = spool_check(sp);
	else if ((sp->dir = open(sp->path, flags)) == -1 ||
	    (sp->archive = openat(sp->dir, "archive",
	    flags | O_NOFOLLOW)) == -1)
		why = "archive/ in the spool can't be opened";
	if (why == NULL)
		return 0;
	warnx("%s: %s%s%s", sp->path, why, errno != 0 ? ": " : "",
	    errno != 0 ? strerror(errno) : "");
	return -1;
}

int
command_replay(struct config *cfg, const struct arguments *a)
{
	static struct replay rp;
	int r;

	rp.a = a;
	if (read_selection(&rp) == -1)
		return EXIT_USAGE;
	if (open_spool(&rp, cfg) == -1)
		return 1;
	if (list_all(&rp) == -1) {
		warn("%s/%s/%s", cfg->spool, rp.listing, rp.day);
		return 1;
	}
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	rp.bar = rp.entries.n >= MANY && is_terminal(STDERR_FILENO) &&
	    a->flag['n'] == NULL;
	r = replay_all(&rp);
	fprintf(stderr, "%s%s%" PRIu64, stop ? "interrupted: " : "",
	    a->flag['n'] ? "would replay " : "replayed ", rp.done);
	if (rp.waits > 0)
		fprintf(stderr, ", still in new/ %" PRIu64, rp.waits);
	if (rp.failed > 0)
		fprintf(stderr, ", failed %" PRIu64, rp.failed);
	fprintf(stderr, "\n");
	free(rp.entries.items);
	free(rp.waiting.items);
	return r == -1 || stop || rp.failed > 0 || rp.done == 0;
}
