/* SPDX-License-Identifier: ISC */
#include <sys/statvfs.h>

#include <fcntl.h>
#include <unistd.h>

#include "contents.h"
#include "internal.h"

int
spool_space(const struct spool *sp, struct spool_space *space)
{
	struct statvfs vfs;

	if (fstatvfs(sp->new, &vfs) == -1)
		return -1;
	space->free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	space->size_bytes = (uint64_t)vfs.f_blocks * vfs.f_frsize;
	space->free_inodes = vfs.f_favail;
	space->has_inodes = vfs.f_files > 0;
	space->is_read_only = (vfs.f_flag & ST_RDONLY) != 0;
	return 0;
}

const char *
spool_searched_day(const struct spool *sp, size_t i)
{
	return i < sp->archive.ndays ? sp->archive.day[i] : NULL;
}

int
spool_each_waiting(const struct spool *sp, dir_each_name *each, void *arg)
{
	return dir_each(sp->dir, "new", each, arg);
}

int
spool_each_rejected(const struct spool *sp, dir_each_name *each, void *arg)
{
	return dir_each(sp->dir, "rejected", each, arg);
}

int
spool_each_day(const struct spool *sp, dir_each_name *each, void *arg)
{
	return dir_each(sp->dir, "archive", each, arg);
}

int
spool_each_archived(const struct spool *sp, const char *day,
    dir_each_name *each, void *arg)
{
	return dir_each(sp->archive.dir, day, each, arg);
}

int
spool_open_archived(const struct spool *sp, const char *day, const char *hex)
{
	char path[ARCHIVE_PATH_SIZE];

	archive_path(path, day, hex);
	return openat(sp->archive.dir, path, O_RDONLY | O_NOFOLLOW |
	    O_NONBLOCK | O_CLOEXEC);
}

int
spool_open_waiting(const struct spool *sp, const char *name)
{
	return openat(sp->new, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
}

int
spool_flush_new(struct spool *sp)
{
	return flush_dir(sp->new);
}

int
spool_replay(struct spool *sp, const char *day, const char *hex,
    const struct event *event)
{
	char path[ARCHIVE_PATH_SIZE], name[NAME_SIZE];

	archive_path(path, day, hex);
	return spool_link_into_new(sp, path, name, event);
}
