/* SPDX-License-Identifier: ISC */
/*
 * What the files of this directory share: spool.c opens the spool, commit.c
 * stores deliveries in it, contents.c reads them.  Nothing outside of spool/
 * may include this.
 */
#ifndef SPOOL_INTERNAL_H
#define SPOOL_INTERNAL_H

#include <sys/types.h>

#include "archive.h"
#include "flush.h"
#include "spool.h"

/* The spool's own files.  archive/ comes last, as is_unchanged() needs. */
enum spool_file {
	SPOOL_DIR, SPOOL_NEW, SPOOL_REJECTED, SPOOL_LOCK, SPOOL_ARCHIVE,
	SPOOL_FILES
};

struct spool {
	const char *path;
	uint64_t min_free;		/* bytes */
	int dir, new, rejected, lock;	/* descriptors, or -1 */
	struct {
		dev_t dev;
		ino_t ino;
	} identity[SPOOL_FILES];	/* of what the descriptors are of */
	const char *refusal;		/* see spool_refusal() */
	struct archive archive;
	struct flusher flusher;
	uint64_t last_name_us;		/* time in the newest name */
	struct delivery *group[GROUP_MAX];	/* pending */
	size_t ngroup;
};

/* Makes it DELIVERY_FAILED. */
void delivery_set_error(struct delivery *, const char *step, int error);
void spool_close(struct spool *);
/*
 * Links PATH, relative to archive/, into new/ by a NAME that is free.  0, or -1
 * with errno and NAME is "".
 */
int spool_link_into_new(struct spool *, const char *path,
    char name[NAME_SIZE], const struct event *);

#endif
