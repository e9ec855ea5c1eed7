/* SPDX-License-Identifier: ISC */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../util.h"
#include "archive.h"

#define TIDY_FAILED_MAX	64	/* failures after which a day is given up */
#define TIDY_LARGE	(256 * 1024)	/* bytes of a directory that is large */
#define TIDY_SHARE_MAX	64

static char *
append_text(char *p, const char *text)
{
	size_t n = strlen(text);

	memcpy(p, text, n + 1);
	return p + n;
}

void
archive_path(char path[ARCHIVE_PATH_SIZE], const char *day, const char *hex)
{
	append_text(append_text(append_text(path, day), "/"), hex);
}

void
archive_staged_path(char path[ARCHIVE_PATH_SIZE], const char *day,
    const char *hex)
{
	append_text(append_text(append_text(path, day), "/."), hex);
}

void
archive_init(struct archive *a, unsigned int keep_days)
{
	memset(a, 0, sizeof(*a));
	a->keep_days = keep_days;
	a->dir = -1;
}

/* Stops emptying a day. */
static void
close_tidied_day(struct archive *a)
{
	if (a->tidied != NULL)
		closedir(a->tidied);
	a->tidied = NULL;
	a->tidy_failed = 0;
}

void
archive_close(struct archive *a)
{
	close_tidied_day(a);
	if (a->dir != -1)
		close(a->dir);
	a->dir = -1;
	a->listed = 0;
}

/* Which days there are */

/* Day names sort as dates do. */
static int
note_newest_day(void *arg, int dir, const struct dirent *e)
{
	struct archive *a = arg;
	time_t t;

	(void)dir;
	if (day_parse(&t, e->d_name) && strcmp(e->d_name, a->today) < 0 &&
	    strcmp(e->d_name, a->newest) > 0)
		memcpy(a->newest, e->d_name, DAY_SIZE);
	return 0;
}

/*
 * Adds a day to those that are searched for duplicates, or notes it as the one
 * to be removed next.  Today and yesterday are always searched, so they are in
 * the list already, whether or not their directories exist: another process may
 * make them after we have looked.
 */
static int
list_day(void *arg, int dir, const struct dirent *e)
{
	struct archive *a = arg;
	const char *day = e->d_name;
	time_t t;

	(void)dir;
	if (!day_parse(&t, day) || strcmp(day, a->today) == 0 ||
	    strcmp(day, a->yesterday) == 0)
		return 0;
	if (strcmp(day, a->oldest) < 0) {
		if (strcmp(day, a->undeletable) > 0 && (a->expired[0] == '\0' ||
		    strcmp(day, a->expired) < 0))
			memcpy(a->expired, day, DAY_SIZE);
	} else if (a->ndays < sizeof(a->day) / sizeof(a->day[0]))
		memcpy(a->day[a->ndays++], day, DAY_SIZE);
	return 0;
}

/*
 * Sets the oldest day that is kept.  It is counted from the newest day before
 * today that something was archived on, not from today: a clock that jumps far
 * ahead, and back again after a delivery, must not expire the whole archive.
 * So a day goes when the clock was past its time on two different days.
 */
static int
set_oldest_day(struct archive *a)
{
	time_t t;

	a->newest[0] = '\0';
	if (dir_each(a->dir, ".", note_newest_day, a) == -1)
		return -1;
	if (day_parse(&t, a->newest))
		day_format(a->oldest, t - (time_t)a->keep_days *
		    SECONDS_PER_DAY);
	else
		memcpy(a->oldest, a->yesterday, DAY_SIZE);
	return 0;
}

/* 0, or -1 with errno: then nothing expires, and the list is made anew. */
static int
list_days(struct archive *a)
{
	a->ndays = 2;
	memcpy(a->day[0], a->today, DAY_SIZE);
	memcpy(a->day[1], a->yesterday, DAY_SIZE);
	a->expired[0] = '\0';
	if (set_oldest_day(a) == 0 && dir_each(a->dir, ".", list_day, a) == 0)
		return 0;
	a->expired[0] = '\0';
	a->listed = 0;
	return -1;
}

int
archive_refresh(struct archive *a, time_t changed)
{
	a->now = time(NULL);
	/*
	 * Another process may make a day's directory in the very second in
	 * which we list them: a list is good only if it is younger than that.
	 */
	if (a->listed / SECONDS_PER_DAY == a->now / SECONDS_PER_DAY &&
	    a->changed == changed && a->listed > changed + 1)
		return 0;
	day_format(a->today, a->now);
	day_format(a->yesterday, a->now - SECONDS_PER_DAY);
	a->undeletable[0] = '\0';
	a->changed = changed;
	a->listed = a->now;
	return list_days(a);
}

int
archive_refresh_after_midnight(struct archive *a)
{
	return time(NULL) / SECONDS_PER_DAY == a->now / SECONDS_PER_DAY ? 0 :
	    archive_refresh(a, 0);
}

int
archive_has(const struct archive *a, const char *hex)
{
	char path[ARCHIVE_PATH_SIZE];
	struct stat st;
	size_t i;

	for (i = 0; i < a->ndays; i++) {
		archive_path(path, a->day[i], hex);
		if (fstatat(a->dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
			return 1;
		if (errno != ENOENT)
			return -1;
	}
	return 0;
}

/* Expiry */

const char *
archive_expiry_held(const struct archive *a)
{
	char oldest[DAY_SIZE];

	day_format(oldest, a->now - ((time_t)a->keep_days + 1) *
	    SECONDS_PER_DAY);
	return a->newest[0] != '\0' && strcmp(a->newest, oldest) < 0 ?
	    a->newest : NULL;
}

/*
 * In CGI each process would read the expired day from its beginning.  A
 * directory that has had a million files stays as large when they are gone
 * (ext4), and reading it takes longer than a delivery.  So only some processes
 * go on with a large one, and do the others' share.
 */
static size_t
tidy_share(DIR *day, size_t files)
{
	size_t share = 1;
	struct stat st;

	if (fstat(dirfd(day), &st) == 0)
		share += (size_t)(st.st_size / TIDY_LARGE);
	if (share > TIDY_SHARE_MAX)
		share = TIDY_SHARE_MAX;
	return clock_us() % (int64_t)share == 0 ? files * share : 0;
}

/* Opens the expired day, or goes on where the last call stopped reading it. */
static int
open_expired_day(struct archive *a)
{
	int fd;

	if (a->tidied != NULL && strcmp(a->tidied_day, a->expired) == 0)
		return 0;
	close_tidied_day(a);
	fd = openat(a->dir, a->expired,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return -1;
	if ((a->tidied = fdopendir(fd)) == NULL) {
		close(fd);
		return -1;
	}
	memcpy(a->tidied_day, a->expired, DAY_SIZE);
	return 0;
}

/*
 * Removes up to *FILES files of the expired day, and then the day: 0, or -1 if
 * something is left in it that can't be removed.
 */
static int
empty_expired_day(struct archive *a, size_t *files)
{
	struct dirent *e;

	while (*files > 0 && a->tidy_failed < TIDY_FAILED_MAX &&
	    (e = readdir(a->tidied)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(a->tidied), e->d_name, 0) == 0)
			--*files;
		else
			a->tidy_failed++;
	}
	if (*files == 0)
		return 0;
	close_tidied_day(a);
	return unlinkat(a->dir, a->expired, AT_REMOVEDIR);
}

void
archive_tidy(struct archive *a, size_t files, bool once)
{
	if (a->expired[0] == '\0')
		return;
	if (once && open_expired_day(a) == 0)
		files = tidy_share(a->tidied, files);
	while (files > 0 && a->expired[0] != '\0') {
		if (open_expired_day(a) == -1 ||
		    empty_expired_day(a, &files) == -1)
			memcpy(a->undeletable, a->expired, DAY_SIZE);
		if (a->tidied == NULL)
			list_days(a);
	}
}
