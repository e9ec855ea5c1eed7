/* SPDX-License-Identifier: ISC */
/*
 * Functions for commands: reading a spool, and replaying into new/.
 */
#ifndef SPOOL_CONTENTS_H
#define SPOOL_CONTENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "../util.h"
#include "spool.h"

struct spool_space {
	uint64_t free_bytes, size_bytes;
	uint64_t free_inodes;
	bool has_inodes;	/* btrfs, for one, has no number of them */
	bool is_read_only;
};

/* 0, or -1 with errno. */
int spool_space(const struct spool *, struct spool_space *);
/*
 * Whether the directory PATH is in use for something else, so that a spool must
 * not be made in it.  False if it can't be read.
 */
bool spool_path_is_foreign(const char *path);

/* The days that are searched for duplicates, I from 0; NULL after the last. */
const char *spool_searched_day(const struct spool *, size_t i);

/* See dir_each().  spool_each_day() goes over all in archive/, in no order. */
int spool_each_waiting(const struct spool *, dir_each_name *, void *arg);
int spool_each_rejected(const struct spool *, dir_each_name *, void *arg);
int spool_each_day(const struct spool *, dir_each_name *, void *arg);
int spool_each_archived(const struct spool *, const char *day,
    dir_each_name *, void *arg);
/*
 * Links an archived delivery into new/ as a fresh arrival; it is durable after
 * spool_flush_new().  0, or -1 with errno.
 */
int spool_replay(struct spool *, const char *day, const char *hex,
    const struct event *);
int spool_flush_new(struct spool *);
/* An archived delivery for reading; -1 with errno. */
int spool_open_archived(const struct spool *, const char *day, const char *hex);
int spool_open_waiting(const struct spool *, const char *name);

#endif
