/* SPDX-License-Identifier: ISC */
/*
 * replay: links archived deliveries into new/ again, as fresh arrivals, in the
 * order in which they first came.
 *
 * All that is selected is listed before the first is linked, so that deliveries
 * which arrive meanwhile are not replayed, and none is replayed twice.  Neither
 * are those that still wait in new/, so that a run that was interrupted can be
 * started again.
 *
 * Those that wait are recognised by the digest of their bytes.  Inode numbers
 * would be quicker, but on FUSE file systems all files may have the same one,
 * or each name of a file its own, and all link counts may be 1.
 */
#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../config.h"
#include "../events.h"
#include "../spool/contents.h"
#include "../spool/spool.h"
#include "../util.h"
#include "../verify.h"
#include "command.h"
#include "selection.h"

#define BATCH		256	/* links that share a flush */
#define MANY		1000	/* deliveries that are worth a progress bar */
#define BAR_WIDTH	40	/* columns */
#define SIZES		65536	/* a power of 2 */
#define SECOND_US	1000000
#ifdef __APPLE__
#define st_mtim		st_mtimespec
#endif

struct entry {
	int64_t arrival_us;	/* its first, since 1970 */
	uint8_t digest[DIGEST_SIZE];
	char day[DAY_SIZE];
};

/* An array that grows while directories are read. */
struct list {
	char *items;
	size_t n, capacity;	/* items */
	size_t size;		/* bytes of an item */
};

struct replay {
	struct selection selection;
	bool only_show;		/* -n */
	struct spool *spool;
	const char *path;	/* of the spool */
	struct list entries;	/* struct entry: what is to be replayed */
	struct list waiting;	/* digests of what is in new/ */
	bool has_size[SIZES];	/* sizes of the entries, modulo SIZES */
	const char *listing;	/* the directory that is read: new or archive */
	char day[DAY_SIZE];	/* and which day of it, or "" */
	uint64_t replayed, still_waiting, failed;
	size_t unflushed;	/* links since the last flush */
	bool broken;		/* nothing more can be linked */
	bool show_progress;
};

/* Set by a signal, for the one replay of the process. */
static volatile sig_atomic_t stop_requested;

static void
request_stop(int sig)
{
	(void)sig;
	stop_requested = 1;
}

static int
list_append(struct list *l, const void *item)
{
	size_t capacity = l->capacity == 0 ? 1024 : 2 * l->capacity;
	char *items;

	if (l->n == l->capacity) {
		if ((items = realloc(l->items, capacity * l->size)) == NULL)
			return -1;
		l->items = items;
		l->capacity = capacity;
	}
	memcpy(l->items + l->n++ * l->size, item, l->size);
	return 0;
}

static int
compare_digest_bytes(const void *a, const void *b)
{
	return memcmp(a, b, DIGEST_SIZE);
}

static int
compare_entry_digests(const void *a, const void *b)
{
	return memcmp(((const struct entry *)a)->digest,
	    ((const struct entry *)b)->digest, DIGEST_SIZE);
}

static int
compare_entry_arrivals(const void *a, const void *b)
{
	int64_t x = ((const struct entry *)a)->arrival_us;
	int64_t y = ((const struct entry *)b)->arrival_us;

	return x != y ? (x > y) - (x < y) : compare_entry_digests(a, b);
}

/* Listing */

/* Reads all of FD, and closes it; the caller frees.  NULL with errno. */
static uint8_t *
read_and_close(int fd, size_t *len)
{
	uint8_t *body;
	int error;

	if (fd == -1)
		return NULL;
	body = read_all(fd, BODY_MAX, len);
	error = errno;
	close(fd);
	errno = error;
	return body;
}

/* A waiting file whose size no entry has need not be read. */
static bool *
find_size_flag(struct replay *rp, off_t size)
{
	return &rp->has_size[(uint64_t)size & (SIZES - 1)];
}

/*
 * A file that is gone was taken by a consumer.  One that we may not read is not
 * an entry of the archive, which we may.
 */
static int
list_waiting(void *arg, int dir, const struct dirent *e)
{
	struct replay *rp = arg;
	uint8_t digest[DIGEST_SIZE], *body;
	struct stat st;
	size_t len;

	if (e->d_name[0] == '.')
		return 0;
	if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT ? 0 : -1;
	if (!S_ISREG(st.st_mode) || !*find_size_flag(rp, st.st_size))
		return 0;
	body = read_and_close(spool_open_waiting(rp->spool, e->d_name), &len);
	if (body == NULL)
		return errno == ENOENT || errno == EACCES ? 0 : -1;
	body_digest(digest, body, len);
	free(body);
	return list_append(&rp->waiting, digest);
}

static int
list_entry(void *arg, int dir, const struct dirent *e)
{
	struct replay *rp = arg;
	struct entry entry;
	struct stat st;

	if (signature_parse(entry.digest, e->d_name) == -1 ||
	    !selection_has_digest(&rp->selection, e->d_name))
		return 0;
	if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT ? 0 : -1;
	entry.arrival_us = selection_time_us(st.st_mtim.tv_sec,
	    st.st_mtim.tv_nsec);
	if (!selection_has_time(&rp->selection, entry.arrival_us))
		return 0;
	memcpy(entry.day, rp->day, DAY_SIZE);
	*find_size_flag(rp, st.st_size) = true;
	return list_append(&rp->entries, &entry);
}

static int
list_entries_of_day(void *arg, int dir, const struct dirent *e)
{
	struct replay *rp = arg;
	time_t t;

	(void)dir;
	if (!day_parse(&t, e->d_name))
		return 0;
	memcpy(rp->day, e->d_name, DAY_SIZE);
	if (spool_each_archived(rp->spool, rp->day, list_entry, rp) == -1 &&
	    errno != ENOENT)
		return -1;
	return 0;
}

/*
 * Reads the archive before new/, so that a delivery that a consumer takes
 * meanwhile is replayed.
 */
static int
list_all(struct replay *rp)
{
	struct entry *e;
	size_t i, n = 0;

	rp->entries.size = sizeof(struct entry);
	rp->waiting.size = DIGEST_SIZE;
	rp->listing = "archive";
	if (spool_each_day(rp->spool, list_entries_of_day, rp) == -1)
		return -1;
	rp->listing = "new";
	rp->day[0] = '\0';
	if (spool_each_waiting(rp->spool, list_waiting, rp) == -1)
		return -1;
	if (rp->waiting.n > 0)
		qsort(rp->waiting.items, rp->waiting.n, DIGEST_SIZE,
		    compare_digest_bytes);
	if (rp->entries.n == 0)
		return 0;
	e = (struct entry *)(void *)rp->entries.items;
	qsort(e, rp->entries.n, sizeof(*e), compare_entry_digests);
	for (i = 1; i < rp->entries.n; i++)
		if (compare_entry_digests(&e[n], &e[i]) != 0)
			e[++n] = e[i];
	rp->entries.n = n + 1;
	qsort(e, rp->entries.n, sizeof(*e), compare_entry_arrivals);
	return 0;
}

/* Replaying */

/* Replaces bytes that could steer a terminal. */
static void
replace_unprintable(char *s)
{
	for (; *s != '\0'; s++)
		if ((signed char)*s <= ' ' || *s == 0x7f)
			*s = '_';
}

static void
print_entry(const struct entry *e, struct event *ev, const char *hex)
{
	char arrival[COMMAND_TIME_SIZE];

	replace_unprintable(ev->type);
	replace_unprintable(ev->id);
	command_format_time(arrival, (time_t)(e->arrival_us / SECOND_US));
	printf("%s %-20s %-16s %s\n", arrival, ev->type, ev->id, hex);
}

/* Parses the event of an entry.  NULL, or why that can't be done. */
static const char *
parse_entry(const struct replay *rp, const struct entry *e, const char *hex,
    struct event *ev)
{
	struct json_text text;
	const char *why;
	uint8_t *body;
	bool nomem = false;

	body = read_and_close(spool_open_archived(rp->spool, e->day, hex),
	    &text.n);
	if (body == NULL)
		return strerror(errno);
	text.s = body;
	why = event_parse(ev, text, &nomem);
	free(body);
	return nomem ? strerror(ENOMEM) : why;
}

static int
flush_batch(struct replay *rp)
{
	if (rp->unflushed > 0 && !rp->only_show &&
	    spool_flush_new(rp->spool) == -1) {
		warn("%s/new can't be flushed", rp->path);
		rp->failed += rp->unflushed;
		return -1;
	}
	rp->replayed += rp->unflushed;
	rp->unflushed = 0;
	return 0;
}

static bool
is_waiting(const struct replay *rp, const struct entry *e)
{
	return rp->waiting.n > 0 && bsearch(e->digest, rp->waiting.items,
	    rp->waiting.n, DIGEST_SIZE, compare_digest_bytes) != NULL;
}

/* NULL, or why it failed. */
static const char *
replay_entry(struct replay *rp, const struct entry *e, const char *hex)
{
	struct event ev = { .known = -1 };
	const char *why;

	if ((why = parse_entry(rp, e, hex, &ev)) != NULL)
		return why;
	if (!selection_has_event(&rp->selection, &ev))
		return NULL;
	if (is_waiting(rp, e)) {
		rp->still_waiting++;
		return NULL;
	}
	if (rp->only_show)
		print_entry(e, &ev, hex);
	else if (spool_replay(rp->spool, e->day, hex, &ev) == -1) {
		rp->broken = errno != ENOENT && errno != EMLINK;
		return strerror(errno);
	}
	rp->unflushed++;
	return NULL;
}

static void
print_progress(const struct replay *rp, size_t i)
{
	int full = (int)(i * BAR_WIDTH / rp->entries.n);

	fprintf(stderr, "\r[%.*s%*s] %zu of %zu%s", full,
	    "########################################", BAR_WIDTH - full, "", i,
	    rp->entries.n,
	    i == rp->entries.n || stop_requested || rp->broken ? "\n" : "");
}

static int
replay_all(struct replay *rp)
{
	const struct entry *e = (const void *)rp->entries.items;
	char hex[DIGEST_HEX + 1];
	const char *why;
	size_t i;

	for (i = 0; i < rp->entries.n && !stop_requested && !rp->broken; i++) {
		hex_format(hex, e[i].digest);
		if ((why = replay_entry(rp, &e[i], hex)) != NULL) {
			warnx("%s/%s: %s", e[i].day, hex, why);
			rp->failed++;
		}
		if ((i + 1) % BATCH != 0)
			continue;
		if (flush_batch(rp) == -1)
			return -1;
		if (rp->show_progress)
			print_progress(rp, i);
	}
	if (rp->show_progress)
		print_progress(rp, i);
	return flush_batch(rp);
}

/* With -n nothing is made, and nothing need be writable. */
static bool
open_spool(struct replay *rp, const struct config *cfg)
{
	struct failure failure = { "memory", ENOMEM };

	rp->path = cfg->spool;
	if ((rp->spool = spool_new(cfg)) != NULL && (rp->only_show ?
	    spool_open_readonly(rp->spool, &failure) :
	    spool_refresh(rp->spool, &failure)))
		return true;
	command_warn_failure(cfg->spool, &failure);
	return false;
}

static void
print_summary(const struct replay *rp)
{
	fprintf(stderr, "%s%s%" PRIu64, stop_requested ? "interrupted: " : "",
	    rp->only_show ? "would replay " : "replayed ", rp->replayed);
	if (rp->still_waiting > 0)
		fprintf(stderr, ", still in new/ %" PRIu64, rp->still_waiting);
	if (rp->failed > 0)
		fprintf(stderr, ", failed %" PRIu64, rp->failed);
	fprintf(stderr, "\n");
}

static void
warn_unlisted(const struct replay *rp)
{
	if (rp->day[0] != '\0' || errno != ENOENT)
		warn("%s/%s/%s", rp->path, rp->listing, rp->day);
	else
		warn("%s: %s/ in the spool can't be read", rp->path,
		    rp->listing);
}

/* Returns the exit status. */
static int
list_and_replay(struct replay *rp)
{
	int r;

	if (list_all(rp) == -1) {
		warn_unlisted(rp);
		return 1;
	}
	signal(SIGINT, request_stop);
	signal(SIGTERM, request_stop);
	rp->show_progress = !rp->only_show && rp->entries.n >= MANY &&
	    command_is_terminal(STDERR_FILENO);
	r = replay_all(rp);
	print_summary(rp);
	return r == -1 || stop_requested || rp->failed > 0 ||
	    rp->replayed == 0;
}

int
replay_main(struct config *cfg, const struct arguments *a)
{
	struct replay rp = { .only_show = a->flag['n'] != NULL };
	int status = 1;

	if (!selection_parse(&rp.selection, a))
		return EXIT_USAGE;
	if (open_spool(&rp, cfg))
		status = list_and_replay(&rp);
	if (rp.spool != NULL)
		spool_free(rp.spool);
	free(rp.entries.items);
	free(rp.waiting.items);
	return status;
}
