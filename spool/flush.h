/* SPDX-License-Identifier: ISC */
/*
 * Every call that makes the program wait for a disk.  Private to spool/.
 */
#ifndef SPOOL_FLUSH_H
#define SPOOL_FLUSH_H

#include <stdbool.h>
#include <stddef.h>

struct delivery;

/* How to flush a group's files. */
struct flusher {
	bool own_fs;			/* syncfs(2) flushes nothing else */
	unsigned int fast_streak;	/* groups too fast for threads */
};

/* Flushes the names in a directory.  0, or -1 with errno. */
int flush_dir(int fd);
/*
 * Flushes and closes the files of N deliveries.  If one fdatasync(2) fails,
 * that delivery becomes DELIVERY_FAILED; if sync_file_range(2) or syncfs(2)
 * fails, all do.
 */
void flush_deliveries(struct flusher *, struct delivery *const *, size_t n);
/* Whether this system's syncfs(2) reports errors. */
bool flush_has_syncfs(void);

#endif
