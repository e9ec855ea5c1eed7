/* SPDX-License-Identifier: ISC */
/*
 * archive/: which days there are, which of them are searched for duplicates,
 * and which have expired.  Private to spool/.
 *
 * All functions but archive_init() and archive_close() need dir to be open.
 */
#ifndef SPOOL_ARCHIVE_H
#define SPOOL_ARCHIVE_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "../config.h"
#include "../verify.h"
#include "name.h"

/* DAY/DIGEST, and DAY/.DIGEST while it is being stored. */
#define ARCHIVE_PATH_SIZE	(DAY_SIZE + 1 + DIGEST_HEX + 1)

struct archive {
	int dir;			/* archive/, or -1 */
	unsigned int keep_days;
	time_t now;			/* of the last refresh */
	char today[DAY_SIZE], yesterday[DAY_SIZE];
	char newest[DAY_SIZE];		/* the newest day before today, or "" */
	char oldest[DAY_SIZE];		/* that is kept */
	char expired[DAY_SIZE];		/* to be removed next, or "" */
	char undeletable[DAY_SIZE];	/* the last that could not be, or "" */
	/* those that are searched: kept ones, today, yesterday, later ones */
	char day[KEEP_DAYS_MAX + 4][DAY_SIZE];
	size_t ndays;
	time_t listed, changed;		/* see archive_refresh() */
	DIR *tidied;			/* a day while it is emptied, or NULL */
	char tidied_day[DAY_SIZE];	/* which */
	size_t tidy_failed;		/* files that could not be removed */
};

void archive_init(struct archive *, unsigned int keep_days);
void archive_close(struct archive *);
/*
 * Reads which days there are; from memory if archive/ was last CHANGED, its
 * modification time, before that.  0, or -1 with errno.
 */
int archive_refresh(struct archive *, time_t changed);
/* The same if midnight has come since; else does nothing. */
int archive_refresh_after_midnight(struct archive *);
/* 1 if a day that is searched has the digest HEX, 0 if not, -1 with errno. */
int archive_has(const struct archive *, const char *hex);
/* See spool_expiry_held() and spool_tidy(). */
const char *archive_expiry_held(const struct archive *);
void archive_tidy(struct archive *, size_t files, bool once);

void archive_path(char path[ARCHIVE_PATH_SIZE], const char *day,
    const char *hex);
void archive_staged_path(char path[ARCHIVE_PATH_SIZE], const char *day,
    const char *hex);

#endif
