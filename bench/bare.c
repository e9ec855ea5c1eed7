/* SPDX-License-Identifier: ISC */
/*
 * bare: makes only the file calls of a delivery, in groups.  It shows the
 * highest rate that this disk allows.
 *
 *	bare [-y] [-g GROUP] [-n MOST] [-t SECONDS] [-s BODY_SIZE] SPOOL
 *
 * The calls and their order are those of spool/commit.c.  With -y the spool is
 * on a file system of its own, and one syncfs() flushes the data of a group.
 */
#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define GROUP_MAX	1024
#define FLUSHERS	8

static int new, archive, lock;
static char *bytes;
static size_t size = 600;
static bool own_fs;
static uint64_t count;
static struct file {
	int fd;
	char staged[100], name[100], kept[100];
} group[GROUP_MAX];

static int
directory(const char *spool, const char *name)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", spool, name);
	if ((mkdir(path, 0770) == -1 && errno != EEXIST) ||
	    (fd = open(path, O_RDONLY | O_DIRECTORY)) == -1)
		err(1, "%s", path);
	return fd;
}

static void
stage(struct file *f)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET,
	    .l_start = (off_t)(count * 7919), .l_len = 1 };
	struct stat st;

	snprintf(f->kept, sizeof(f->kept), "today/%016" PRIx64
	    "0123456789abcdef0123456789abcdef0123456789abcdef",
	    count * 0x9e3779b97f4a7c15);
	snprintf(f->staged, sizeof(f->staged), "today/.%s", f->kept + 6);
	snprintf(f->name, sizeof(f->name), "20261124T105724.%016" PRIu64
	    "Z.message.created.SIuAFUNKdSYHZF2w.json", count++);
	memcpy(bytes, f->kept, 40);
	fcntl(lock, F_SETLK, &fl);
	fstatat(archive, f->kept, &st, AT_SYMLINK_NOFOLLOW);
	f->fd = openat(archive, f->staged, O_WRONLY | O_CREAT | O_EXCL |
	    O_NOFOLLOW | O_CLOEXEC, 0660);
	if (f->fd == -1 || write(f->fd, bytes, size) != (ssize_t)size)
		err(1, "%s", f->staged);
}

static size_t group_size, flushers;
static unsigned int quick;

static void *
flush_part(void *first)
{
	size_t i;

	for (i = *(size_t *)first; i < group_size; i += flushers)
		if (fdatasync(group[i].fd) == -1)
			err(1, "fdatasync");
	return NULL;
}

static void
flush_files(size_t n)
{
	pthread_t thread[FLUSHERS];
	size_t i, first[FLUSHERS];
	int64_t began;

	group_size = n;
	flushers = quick >= 3 || n < 4 ? 1 : FLUSHERS;
	for (i = 0; i < flushers; i++) {
		first[i] = i;
		if (i > 0 && pthread_create(&thread[i], NULL, flush_part,
		    &first[i]) != 0)
			errx(1, "no thread");
	}
	began = microseconds();
	flush_part(&first[0]);
	quick = microseconds() - began < (int64_t)(n / flushers) * 50 ?
	    quick + 1 : 0;
	for (i = 1; i < flushers; i++)
		pthread_join(thread[i], NULL);
}

static void
commit(size_t n)
{
	struct flock fl = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
	size_t i;

	for (i = 0; n > 1 && i < n; i++)
		if (sync_file_range(group[i].fd, 0, 0,
		    SYNC_FILE_RANGE_WRITE) == -1)
			err(1, "sync_file_range");
	if (!own_fs || n == 1)
		flush_files(n);
	else if (syncfs(new) == -1)
		err(1, "syncfs");
	for (i = 0; i < n; i++)
		if (close(group[i].fd) == -1)
			err(1, "close");
	for (i = 0; i < n; i++)
		if (linkat(archive, group[i].staged, new, group[i].name, 0) ==
		    -1)
			err(1, "linkat");
	if (fsync(new) == -1)
		err(1, "fsync");
	for (i = 0; i < n; i++)
		if (renameat(archive, group[i].staged, archive,
		    group[i].kept) == -1)
			err(1, "renameat");
	fcntl(lock, F_SETLK, &fl);
}

int
main(int argc, char **argv)
{
	size_t n = 1, i, most = SIZE_MAX, done = 0, groups = 0;
	uint32_t *latencies = allocate((1 << 20) * sizeof(*latencies));
	int64_t began, now, since;
	double seconds = 0;
	int opt;

	while ((opt = getopt(argc, argv, "yg:n:t:s:")) != -1)
		switch (opt) {
		case 'y': own_fs = true; break;
		case 'g': n = option_number(optarg); break;
		case 'n': most = option_number(optarg); break;
		case 't': seconds = strtod(optarg, NULL); break;
		case 's': size = option_number(optarg); break;
		default: return 2;
		}
	if (optind != argc - 1 || n == 0 || n > GROUP_MAX ||
	    (seconds <= 0 && most == SIZE_MAX))
		errx(2, "usage: bare -t SECONDS | -n MOST [...] SPOOL");
	bytes = allocate(size + 40);
	new = directory(argv[optind], "new");
	archive = directory(argv[optind], "archive");
	close(directory(argv[optind], "archive/today"));
	lock = openat(new, "../lock", O_WRONLY | O_CREAT, 0600);
	began = since = microseconds();
	do {
		for (i = 0; i < n; i++)
			stage(&group[i]);
		commit(n);
		done += n;
		now = microseconds();
		if (groups < 1 << 20)
			latencies[groups++] = (uint32_t)(now - since);
		since = now;
	} while (done + n <= most &&
	    (seconds <= 0 || now - began < (int64_t)(seconds * 1e6)));
	printf("rate=%.1f seconds=%.3f answered=%zu failed=0",
	    (double)done * 1e6 / (double)(now - began),
	    (double)(now - began) / 1e6, done);
	percentiles_print(latencies, groups);
	printf(" status_200=%zu\n", done);
	return 0;
}
