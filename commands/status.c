/* SPDX-License-Identifier: ISC */
/*
 * status: counts what is in the spool, in one pass over its directories.
 *
 * Nothing is kept for each file, so a million of them need no more memory than
 * one; ages come from the names.  All is counted before anything is printed: a
 * spool that can't be read is an error, never an empty answer.
 */
#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
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

#define OTHER		EVENT_TYPES	/* index of "other" */
#define TYPES_MAX	(OTHER + 1 + 16)	/* Protocol may add some */
#define DAYS_MAX	(2 * KEEP_DAYS_MAX)
#define DAYS_SHOWN	10

struct type_count {
	char name[EVENT_TEXT_MAX + 1];
	uint64_t n;
};

struct day_count {
	char name[DAY_SIZE];
	uint64_t n, bytes;
};

struct status {
	struct spool *spool;
	uint64_t waiting, foreign, rejected, archived, archived_bytes;
	uint64_t oldest_waiting, last_arrival;	/* since 1970, s; 0: none */
	char first_stamp[NAME_STAMP_LEN + 1], last_stamp[NAME_STAMP_LEN + 1];
	uint64_t free_bytes, size_bytes, free_inodes;
	struct type_count type[TYPES_MAX];
	struct day_count day[DAYS_MAX];
	size_t ntypes, ndays;
	const char *reading;	/* a directory of the spool, for errors */
	char reading_day[DAY_SIZE];	/* the day in that, or "" */
};

/* For programs: -j and -p have these under the same names. */
static const struct metric {
	const char *name, *help;
	size_t offset;		/* of its uint64_t in struct status */
	bool omit_zero;		/* 0 means that it is not known */
} metrics[] = {
	{ "oldest_waiting_timestamp_seconds",
	    "Arrival of the oldest delivery in new/.",
	    offsetof(struct status, oldest_waiting), true },
	{ "last_arrival_timestamp_seconds",
	    "Arrival of the newest delivery.",
	    offsetof(struct status, last_arrival), true },
	{ "foreign_files", "Files in new/ that are not deliveries.",
	    offsetof(struct status, foreign), false },
	{ "rejected_bodies", "Authentic bodies that are not a Protocol event.",
	    offsetof(struct status, rejected), false },
	{ "archived_deliveries", "Deliveries in archive/.",
	    offsetof(struct status, archived), false },
	{ "archived_bytes", "Bytes of the deliveries in archive/.",
	    offsetof(struct status, archived_bytes), false },
	{ "spool_free_bytes", "Free space for the spool.",
	    offsetof(struct status, free_bytes), false },
	{ "spool_size_bytes", "Space of the file system that the spool is on.",
	    offsetof(struct status, size_bytes), false },
	{ "spool_free_inodes", "Free inodes for the spool.",
	    offsetof(struct status, free_inodes), false },
};

#define METRICS_END	(metrics + sizeof(metrics) / sizeof(metrics[0]))

static uint64_t
metric_value(const struct status *st, const struct metric *m)
{
	uint64_t value;

	memcpy(&value, (const char *)st + m->offset, sizeof(value));
	return value;
}

/* Counting */

static void
count_event_type(struct status *st, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < st->ntypes; i++)
		if (strncmp(st->type[i].name, name, len) == 0 &&
		    st->type[i].name[len] == '\0')
			break;
	if (i == st->ntypes && i < TYPES_MAX)
		memcpy(st->type[st->ntypes++].name, name, len);
	st->type[i < TYPES_MAX ? i : OTHER].n++;
}

static int
count_waiting(void *arg, int dir, const struct dirent *e)
{
	struct status *st = arg;
	const char *file = e->d_name;
	struct delivery_name n;

	(void)dir;
	if (file[0] == '.')
		return 0;
	if (!name_parse(&n, file)) {
		st->foreign++;
		return 0;
	}
	st->waiting++;
	count_event_type(st, n.type, (size_t)n.type_len);
	if (st->first_stamp[0] == '\0' ||
	    strncmp(file, st->first_stamp, NAME_STAMP_LEN) < 0)
		memcpy(st->first_stamp, file, NAME_STAMP_LEN);
	if (strncmp(file, st->last_stamp, NAME_STAMP_LEN) > 0)
		memcpy(st->last_stamp, file, NAME_STAMP_LEN);
	return 0;
}

static int
count_rejected(void *arg, int dir, const struct dirent *e)
{
	struct status *st = arg;

	(void)dir;
	st->rejected += e->d_name[0] != '.';
	return 0;
}

static int
count_archived(void *arg, int dir, const struct dirent *e)
{
	struct status *st = arg;
	struct day_count *day = &st->day[st->ndays];
	uint8_t digest[DIGEST_SIZE];
	struct stat file;

	if (signature_parse(digest, e->d_name) == -1)
		return 0;
	/* It may have expired, and been removed since it was listed. */
	if (fstatat(dir, e->d_name, &file, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT ? 0 : -1;
	day->n++;
	day->bytes += (uint64_t)file.st_size;
	if (file.st_mtime > 0 && (uint64_t)file.st_mtime > st->last_arrival)
		st->last_arrival = (uint64_t)file.st_mtime;
	return 0;
}

static int
count_day(void *arg, int dir, const struct dirent *e)
{
	struct status *st = arg;
	struct day_count *day = &st->day[st->ndays];
	time_t t;

	(void)dir;
	if (!day_parse(&t, e->d_name) || st->ndays == DAYS_MAX)
		return 0;
	memset(day, 0, sizeof(*day));
	memcpy(day->name, e->d_name, DAY_SIZE);
	memcpy(st->reading_day, e->d_name, DAY_SIZE);
	if (spool_each_archived(st->spool, day->name, count_archived,
	    st) == -1)
		return errno == ENOENT ? 0 : -1;
	st->ndays++;
	st->archived += day->n;
	st->archived_bytes += day->bytes;
	return 0;
}

/* 0, or -1 with errno; st->reading and st->reading_day say where. */
static int
count_spool(struct status *st)
{
	struct spool_space space;

	st->reading = "new";
	if (spool_each_waiting(st->spool, count_waiting, st) == -1)
		return -1;
	st->reading = "rejected";
	if (spool_each_rejected(st->spool, count_rejected, st) == -1)
		return -1;
	st->reading = "archive";
	if (spool_each_day(st->spool, count_day, st) == -1)
		return -1;
	st->reading = "";
	st->reading_day[0] = '\0';
	if (spool_space(st->spool, &space) == -1)
		return -1;
	st->free_bytes = space.free_bytes;
	st->size_bytes = space.size_bytes;
	st->free_inodes = space.free_inodes;
	return 0;
}

/* Protocol's types and "other" come first, also if there are none of them. */
static void
name_types(struct status *st)
{
	size_t i;

	for (i = 0; i < EVENT_TYPES; i++)
		event_type_format(st->type[i].name, (unsigned int)i);
	memcpy(st->type[OTHER].name, "other", sizeof("other"));
	st->ntypes = OTHER + 1;
}

static int
compare_day_names(const void *a, const void *b)
{
	return strcmp(((const struct day_count *)a)->name,
	    ((const struct day_count *)b)->name);
}

static void
set_arrivals(struct status *st)
{
	uint64_t newest;

	if (st->waiting == 0)
		return;
	st->oldest_waiting = (uint64_t)name_time(st->first_stamp);
	newest = (uint64_t)name_time(st->last_stamp);
	if (newest > st->last_arrival)
		st->last_arrival = newest;
}

/* Returns false if that failed, and why was printed. */
static bool
count_all(struct status *st, const struct config *cfg)
{
	struct failure failure = { "memory", ENOMEM };

	if ((st->spool = spool_new(cfg)) == NULL ||
	    !spool_open_readonly(st->spool, &failure)) {
		command_warn_failure(cfg->spool, &failure);
		return false;
	}
	name_types(st);
	if (count_spool(st) == -1) {
		warn("%s/%s%s%s", cfg->spool, st->reading,
		    st->reading_day[0] != '\0' ? "/" : "", st->reading_day);
		return false;
	}
	qsort(st->day, st->ndays, sizeof(st->day[0]), compare_day_names);
	set_arrivals(st);
	return true;
}

/* Printing */

static const char *
format_size(char buf[32], uint64_t bytes)
{
	static const char units[] = "BKMGTPE";
	double n = (double)bytes;
	size_t i = 0;

	for (; n >= 1000; i++)		/* 64 bits are 16E */
		n /= 1024;
	snprintf(buf, 32, i > 0 && n < 99.95 ? "%.1f%c" : "%.0f%c", n,
	    units[i]);
	return buf;
}

static const char *
format_age(char buf[32], uint64_t then)
{
	long long s = (long long)time(NULL) - (long long)then;

	if (s < 60)
		snprintf(buf, 32, "%llds", s > 0 ? s : 0);
	else if (s < 3600)
		snprintf(buf, 32, "%lldm %llds", s / 60, s % 60);
	else if (s < SECONDS_PER_DAY)
		snprintf(buf, 32, "%lldh %lldm", s / 3600, s / 60 % 60);
	else
		snprintf(buf, 32, "%lldd %lldh", s / SECONDS_PER_DAY,
		    s / 3600 % 24);
	return buf;
}

static void
print_types(const struct status *st)
{
	int width = 20;
	size_t i;

	for (i = 0; i < st->ntypes; i++)
		if (st->type[i].n > 0 && (int)strlen(st->type[i].name) > width)
			width = (int)strlen(st->type[i].name);
	for (i = 0; i < st->ntypes; i++)
		if (st->type[i].n > 0)
			printf("  %-*s  %9" PRIu64 "\n", width,
			    st->type[i].name, st->type[i].n);
}

static void
print_day(const struct day_count *day)
{
	char buf[32];

	printf("  %-10s  %9" PRIu64 "  %7s\n", day->name, day->n,
	    format_size(buf, day->bytes));
}

/* The last days, each on its line, and the sum of those before. */
static void
print_days(const struct status *st)
{
	struct day_count older = { .name = "older" };
	size_t i;

	for (i = 0; i + DAYS_SHOWN < st->ndays; i++) {
		older.n += st->day[i].n;
		older.bytes += st->day[i].bytes;
	}
	if (older.n > 0)
		print_day(&older);
	for (; i < st->ndays; i++)
		print_day(&st->day[i]);
}

static void
print_table(const struct status *st, const char *path)
{
	char a[32], b[32];

	printf("spool     %s, %s free of %s\n", path,
	    format_size(a, st->free_bytes), format_size(b, st->size_bytes));
	if (st->last_arrival == 0)
		printf("arrival   none yet\n");
	else
		printf("arrival   %s ago\n", format_age(a, st->last_arrival));
	printf("waiting   %" PRIu64, st->waiting);
	if (st->waiting > 0)
		printf(", the oldest for %s",
		    format_age(a, st->oldest_waiting));
	putchar('\n');
	print_types(st);
	if (st->foreign > 0)
		printf("foreign   %" PRIu64 ", which are not deliveries\n",
		    st->foreign);
	printf("rejected  %" PRIu64 "\narchived  %" PRIu64 ", %s\n",
	    st->rejected, st->archived, format_size(a, st->archived_bytes));
	print_days(st);
}

static void
print_json(const struct status *st)
{
	const struct metric *m;
	size_t i, n = 0;

	printf("{\"waiting_deliveries\":{");
	for (i = 0; i < st->ntypes; i++)
		if (st->type[i].n > 0)
			printf("%s\"%s\":%" PRIu64, n++ == 0 ? "" : ",",
			    st->type[i].name, st->type[i].n);
	printf("},\"archived\":{");
	for (i = 0; i < st->ndays; i++)
		printf("%s\"%s\":{\"deliveries\":%" PRIu64 ",\"bytes\":%"
		    PRIu64 "}", i == 0 ? "" : ",", st->day[i].name,
		    st->day[i].n, st->day[i].bytes);
	printf("}");
	for (m = metrics; m < METRICS_END; m++)
		if (m->omit_zero && metric_value(st, m) == 0)
			printf(",\"%s\":null", m->name);
		else
			printf(",\"%s\":%" PRIu64, m->name,
			    metric_value(st, m));
	printf("}\n");
}

#define METRIC		"protocol_hook_"

/* The lines before a metric: Prometheus' text format, version 0.0.4. */
static void
print_metric_head(const char *name, const char *help)
{
	printf("# HELP " METRIC "%s %s\n# TYPE " METRIC "%s gauge\n", name,
	    help, name);
}

static void
print_prometheus(const struct status *st)
{
	static const char waiting[] = "waiting_deliveries";
	const struct metric *m;
	size_t i;

	print_metric_head(waiting, "Deliveries in new/, by event type.");
	for (i = 0; i < st->ntypes; i++)
		printf(METRIC "%s{type=\"%s\"} %" PRIu64 "\n", waiting,
		    st->type[i].name, st->type[i].n);
	for (m = metrics; m < METRICS_END; m++) {
		if (m->omit_zero && metric_value(st, m) == 0)
			continue;
		print_metric_head(m->name, m->help);
		printf(METRIC "%s %" PRIu64 "\n", m->name,
		    metric_value(st, m));
	}
}

int
status_main(struct config *cfg, const struct arguments *a)
{
	struct status *st;
	bool counted;

	if (a->flag['j'] != NULL && a->flag['p'] != NULL) {
		warnx("-j or -p, not both");
		return EXIT_USAGE;
	}
	if ((st = calloc(1, sizeof(*st))) == NULL) {
		warn("memory");
		return 1;
	}
	if ((counted = count_all(st, cfg))) {
		if (a->flag['j'] != NULL)
			print_json(st);
		else if (a->flag['p'] != NULL)
			print_prometheus(st);
		else
			print_table(st, cfg->spool);
	}
	if (st->spool != NULL)
		spool_free(st->spool);
	free(st);
	return counted ? 0 : 1;
}
