/* SPDX-License-Identifier: ISC */
#ifdef __linux__
#include <sys/utsname.h>
#endif

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "../util.h"
#include "flush.h"
#include "internal.h"

#define THREADS		8	/* that flush a group's files ... */
#define THREADS_FROM	4	/* ... of at least so many */
#define FAST_US		50	/* a flush that needs no thread ... */
#define FAST_STREAK	3	/* ... if it was one so often in a row */

int
flush_dir(int fd)
{
#ifdef F_FULLFSYNC
	/*
	 * fsync(2) of macOS leaves what was written in the disk's own memory.
	 * Where the file system can't do more, neither can we.
	 */
	if (fcntl(fd, F_FULLFSYNC) != -1)
		return 0;
	if (errno != ENOTSUP && errno != EINVAL && errno != ENOTTY)
		return -1;
#endif
	return fsync(fd);
}

static int
flush_data(int fd)
{
#ifdef F_FULLFSYNC
	return flush_dir(fd);
#else
	return fdatasync(fd);
#endif
}

/* One of several threads that share a group's files out among themselves. */
struct share {
	pthread_t thread;
	bool started;
	struct delivery *const *group;
	size_t n, first, step;
};

static void *
flush_share(void *arg)
{
	const struct share *share = arg;
	struct delivery *d;
	size_t i;

	for (i = share->first; i < share->n; i += share->step) {
		d = share->group[i];
		if (d->fd != -1 && flush_data(d->fd) == -1)
			delivery_set_error(d, "fdatasync", errno);
	}
	return NULL;
}

/*
 * Each fdatasync(2) also flushes the disk's cache, but the kernel merges
 * flushes that run at the same time; so a group's files are flushed by several
 * threads. If a thread can't be started, this one does its share.  If flushes
 * take less time than a thread, as on tmpfs, none is started.
 */
static void
flush_in_threads(struct flusher *f, struct delivery *const *group, size_t n)
{
	struct share share[THREADS];
	size_t i, threads;
	int64_t began;

	threads = f->fast_streak >= FAST_STREAK || n < THREADS_FROM ? 1 :
	    n < THREADS ? n : THREADS;
	for (i = threads; i-- > 1;) {
		share[i] = (struct share){ .group = group, .n = n, .first = i,
		    .step = threads };
		share[i].started = pthread_create(&share[i].thread, NULL,
		    flush_share, &share[i]) == 0;
		if (!share[i].started)
			flush_share(&share[i]);
	}
	share[0] = (struct share){ .group = group, .n = n, .step = threads };
	began = clock_us();
	flush_share(&share[0]);
	if (clock_us() - began >= (int64_t)(n / threads) * FAST_US)
		f->fast_streak = 0;
	else if (f->fast_streak < FAST_STREAK)
		f->fast_streak++;
	for (i = 1; i < threads; i++)
		if (share[i].started)
			pthread_join(share[i].thread, NULL);
}

#ifdef __linux__

bool
flush_has_syncfs(void)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	/* Since Linux 5.8 it reports what could not be written. */
	return uname(&u) == 0 &&
	    sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	    (major > 5 || (major == 5 && minor >= 8));
}

static void
group_fail(struct delivery *const *group, size_t n, const char *step)
{
	size_t i;

	for (i = 0; i < n; i++)
		delivery_set_error(group[i], step, errno);
}

/*
 * Starts the writing of all files before waiting for any.  If a damaged block
 * bitmap keeps ext4 from allocating blocks for one file, it also drops the data
 * of the following ones, and reports that only here: later flushes succeed.  So
 * the whole group fails.
 */
static int
start_writes(struct delivery *const *group, size_t n)
{
	size_t i;
	int fd;

	for (i = 0; i < n; i++) {
		fd = group[i]->fd;
		if (fd != -1 && sync_file_range(fd, 0, 0,
		    SYNC_FILE_RANGE_WRITE) == -1 && errno != ENOSYS)
			return -1;
	}
	return 0;
}

static int
flush_file_system(struct delivery *const *group, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (group[i]->fd != -1)
			return syncfs(group[i]->fd);
	return 0;
}

static void
flush_group(struct flusher *f, struct delivery *const *group, size_t n)
{
	if (start_writes(group, n) == -1)
		group_fail(group, n, "sync_file_range");
	else if (!f->own_fs)
		flush_in_threads(f, group, n);
	else if (flush_file_system(group, n) == -1)
		group_fail(group, n, "syncfs");
}

#else

bool
flush_has_syncfs(void)
{
	return false;
}

#define flush_group	flush_in_threads

#endif

void
flush_deliveries(struct flusher *f, struct delivery *const *group, size_t n)
{
	struct delivery *d;
	size_t i;
	int fd;

	if (n > 1)
		flush_group(f, group, n);
	else
		flush_in_threads(f, group, n);
	for (i = 0; i < n; i++) {
		d = group[i];
		if (d->state != DELIVERY_PENDING || d->fd == -1)
			continue;
		fd = d->fd;
		d->fd = -1;
		if (close(fd) == -1)
			delivery_set_error(d, "close", errno);
	}
}
