/* SPDX-License-Identifier: ISC */
/*
 * status: what is in the spool, counted in one pass over its directories.
 *
 * Nothing is kept per file, so a million of them need no more memory than one;
 * ages come from the names.  All is counted before anything is printed: a spool
 * that can't be read is an error, never an empty answer.
 */
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hook.h"

#define OTHER		EVENT_TYPES	/* index of "other" */
#define TYPES_MAX	(OTHER + 1 + 16)
#define DAYS_MAX	(2 * KEEP_DAYS_MAX)
#define DAYS_SHOWN	10

static struct {
	uint64_t waiting, foreign, rejected, archived, bytes;
	uint64_t oldest, last;		/* seconds since 1970, 0 for none */
	uint64_t free, size, inodes;
	char first[NAME_STAMP + 1], newest[NAME_STAMP + 1];
	struct {
		char name[EVENT_TEXT_MAX + 1];
		uint64_t n;
	} type[TYPES_MAX];
	struct day {
		char name[DAY_SIZE];
		uint64_t n, bytes;
	} day[DAYS_MAX];
	size_t types, days;
	char at[DAY_SIZE + 1];		/* the day that is counted, or "" */
} st;

/* For programs: -j and -p have these under the same names. */
static const struct {
	const char *name, *help;
	const uint64_t *value;
	bool maybe;		/* nothing is said where it is 0 */
} metrics[] = {
	{ "oldest_waiting_timestamp_seconds",
	    "Arrival of the oldest delivery in new/.", &st.oldest, true },
	{ "last_arrival_timestamp_seconds",
	    "Arrival of the newest delivery.", &st.last, true },
	{ "foreign_files", "Files in new/ that are no deliveries.",
	    &st.foreign, false },
	{ "rejected_bodies", "Authentic bodies that are no Protocol event.",
	    &st.rejected, false },
	{ "archived_deliveries", "Deliveries in archive/.",
	    &st.archived, false },
	{ "archived_bytes", "Bytes of the deliveries in archive/.",
	    &st.bytes, false },
	{ "spool_free_bytes", "Free space for the spool.", &st.free, false },
	{ "spool_size_bytes", "Space of the file system that the spool is on.",
	    &st.size, false },
	{ "spool_free_inodes", "Free inodes for the spool.",
	    &st.inodes, false },
};

#define METRICS		(sizeof(metrics) / sizeof(metrics[0]))

/* Counting */

static void
count_type(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < st.types; i++)
		if (strncmp(st.type[i].name, name, len) == 0 &&
		    st.type[i].name[len] == '\0')
			break;
	if (i == st.types && i < TYPES_MAX)
		memcpy(st.type[st.types++].name, name, len);
	st.type[i < TYPES_MAX ? i : OTHER].n++;
}

static int
count_waiting(void *arg, int dir, const struct dirent *e)
{
	const char *file = e->d_name;
	struct name n;

	(void)arg;
	(void)dir;
	if (!name_read(&n, file)) {
		st.foreign++;
		return 0;
	}
	st.waiting++;
	count_type(n.type, (size_t)n.type_len);
	if (st.first[0] == '\0' || strncmp(file, st.first, NAME_STAMP) < 0)
		memcpy(st.first, file, NAME_STAMP);
	if (strncmp(file, st.newest, NAME_STAMP) > 0)
		memcpy(st.newest, file, NAME_STAMP);
	return 0;
}

static int
count_rejected(void *arg, int dir, const struct dirent *e)
{
	(void)arg;
	(void)dir;
	(void)e;
	st.rejected++;
	return 0;
}

static int
count_archived(void *arg, int dir, const struct dirent *e)
{
	struct day *day = arg;
	uint8_t digest[DIGEST_SIZE];
	struct stat file;

	if (signature_decode(digest, e->d_name) == -1)
		return 0;
	/* It may be too old, and gone since it was listed. */
	if (fstatat(dir, e->d_name, &file, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT ? 0 : -1;
	day->n++;
	day->bytes += (uint64_t)file.st_size;
	if (file.st_mtime > 0 && (uint64_t)file.st_mtime > st.last)
		st.last = (uint64_t)file.st_mtime;
	return 0;
}

static int
count_day(void *arg, int dir, const struct dirent *e)
{
	struct day *day = &st.day[st.days];

	(void)arg;
	if (!spool_is_day(e->d_name) || st.days == DAYS_MAX)
		return 0;
	memset(day, 0, sizeof(*day));
	memcpy(day->name, e->d_name, DAY_SIZE);
	snprintf(st.at, sizeof(st.at), "/%s", day->name);
	if (dir_each(dir, e->d_name, count_archived, day) == -1)
		return errno == ENOENT ? 0 : -1;
	st.days++;
	st.archived += day->n;
	st.bytes += day->bytes;
	return 0;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct day *)a)->name,
	    ((const struct day *)b)->name);
}

static int
count_all(const char *path)
{
	static const char *const sub[] = { "new", "rejected", "archive" };
	static each_name *const each[] = {
		count_waiting, count_rejected, count_day
	};
	int top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statvfs vfs;
	size_t i;

	if (top == -1 || fstatvfs(top, &vfs) == -1) {
		warn("%s", path);
		return -1;
	}
	for (i = 0; i < EVENT_TYPES; i++)
		event_name(st.type[i].name, (unsigned int)i);
	memcpy(st.type[OTHER].name, "other", sizeof("other"));
	st.types = OTHER + 1;
	for (i = 0; i < 3; i++)
		if (dir_each(top, sub[i], each[i], NULL) == -1) {
			warn("%s/%s%s", path, sub[i], st.at);
			return -1;
		}
	close(top);
	qsort(st.day, st.days, sizeof(st.day[0]), by_name);
	st.free = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	st.size = (uint64_t)vfs.f_blocks * vfs.f_frsize;
	st.inodes = vfs.f_favail;
	if (st.waiting > 0) {
		st.oldest = (uint64_t)name_time(st.first);
		if ((uint64_t)name_time(st.newest) > st.last)
			st.last = (uint64_t)name_time(st.newest);
	}
	return 0;
}

/* Printing */

static const char *
size(char buf[32], uint64_t bytes)
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
age(char buf[32], uint64_t then)
{
	long long s = (long long)time(NULL) - (long long)then;

	if (s < 60)
		snprintf(buf, 32, "%llds", s > 0 ? s : 0);
	else if (s < 3600)
		snprintf(buf, 32, "%lldm %llds", s / 60, s % 60);
	else if (s < 86400)
		snprintf(buf, 32, "%lldh %lldm", s / 3600, s / 60 % 60);
	else
		snprintf(buf, 32, "%lldd %lldh", s / 86400, s / 3600 % 24);
	return buf;
}

static void
print_day(const struct day *day)
{
	char buf[32];

	printf("  %-10s  %9" PRIu64 "  %7s\n", day->name, day->n,
	    size(buf, day->bytes));
}

static void
print_table(const char *path)
{
	struct day older = { .name = "older" };
	char a[32], b[32];
	int width = 20;
	size_t i;

	printf("spool     %s, %s free of %s\n", path, size(a, st.free),
	    size(b, st.size));
	printf("arrival   %s%s\n", st.last == 0 ? "none yet" : age(a, st.last),
	    st.last == 0 ? "" : " ago");
	printf("waiting   %" PRIu64 "%s%s\n", st.waiting,
	    st.waiting == 0 ? "" : ", the oldest for ",
	    st.waiting == 0 ? "" : age(a, st.oldest));
	for (i = 0; i < st.types; i++)
		if (st.type[i].n > 0 && (int)strlen(st.type[i].name) > width)
			width = (int)strlen(st.type[i].name);
	for (i = 0; i < st.types; i++)
		if (st.type[i].n > 0)
			printf("  %-*s  %9" PRIu64 "\n", width,
			    st.type[i].name, st.type[i].n);
	if (st.foreign > 0)
		printf("foreign   %" PRIu64 ", which are no deliveries\n",
		    st.foreign);
	printf("rejected  %" PRIu64 "\narchived  %" PRIu64 ", %s\n",
	    st.rejected, st.archived, size(a, st.bytes));
	for (i = 0; i + DAYS_SHOWN < st.days; i++) {
		older.n += st.day[i].n;
		older.bytes += st.day[i].bytes;
	}
	if (older.n > 0)
		print_day(&older);
	for (; i < st.days; i++)
		print_day(&st.day[i]);
}

static void
print_json(void)
{
	size_t i, n = 0;

	printf("{\"waiting_deliveries\":{");
	for (i = 0; i < st.types; i++)
		if (st.type[i].n > 0)
			printf("%s\"%s\":%" PRIu64, n++ == 0 ? "" : ",",
			    st.type[i].name, st.type[i].n);
	printf("},\"archived\":{");
	for (i = 0; i < st.days; i++)
		printf("%s\"%s\":{\"deliveries\":%" PRIu64 ",\"bytes\":%"
		    PRIu64 "}", i == 0 ? "" : ",", st.day[i].name, st.day[i].n,
		    st.day[i].bytes);
	printf("}");
	for (i = 0; i < METRICS; i++)
		if (metrics[i].maybe && *metrics[i].value == 0)
			printf(",\"%s\":null", metrics[i].name);
		else
			printf(",\"%s\":%" PRIu64, metrics[i].name,
			    *metrics[i].value);
	printf("}\n");
}

#define METRIC		"protocol_hook_"
#define HEAD(name, help) \
	printf("# HELP " METRIC "%s %s\n# TYPE " METRIC "%s gauge\n", name, \
	    help, name)

static void
print_prometheus(void)
{
	static const char waiting[] = "waiting_deliveries";
	size_t i;

	HEAD(waiting, "Deliveries in new/, by event type.");
	for (i = 0; i < st.types; i++)
		printf(METRIC "%s{type=\"%s\"} %" PRIu64 "\n", waiting,
		    st.type[i].name, st.type[i].n);
	for (i = 0; i < METRICS; i++) {
		if (metrics[i].maybe && *metrics[i].value == 0)
			continue;
		HEAD(metrics[i].name, metrics[i].help);
		printf(METRIC "%s %" PRIu64 "\n", metrics[i].name,
		    *metrics[i].value);
	}
}

int
command_status(struct config *cfg, const struct arguments *a)
{
	if (a->flag['j'] != NULL && a->flag['p'] != NULL) {
		warnx("-j or -p, not both");
		return EXIT_USAGE;
	}
	if (count_all(cfg->spool) == -1)
		return 1;
	if (a->flag['j'] != NULL)
		print_json();
	else if (a->flag['p'] != NULL)
		print_prometheus();
	else
		print_table(cfg->spool);
	return 0;
}
