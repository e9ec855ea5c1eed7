/* SPDX-License-Identifier: ISC */
/*
 * Opens the spool and watches over what it has opened: that it is still what
 * its path names, that others may not write to it, that there is room.
 */
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../config.h"
#include "../util.h"
#include "contents.h"
#include "internal.h"

#define OPEN_DIR	(O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static const struct {
	const char *name;
	const char *unusable, *writable_by_others, *other_mount;
} files[SPOOL_FILES] = {
	[SPOOL_DIR] = { NULL, "the spool directory can't be opened",
	    "others may write to the spool directory", NULL },
	[SPOOL_NEW] = { "new", "new/ in the spool is not usable",
	    "others may write to new/ in the spool",
	    "new/ in the spool is a mount of its own" },
	[SPOOL_REJECTED] = { "rejected", "rejected/ in the spool is not usable",
	    "others may write to rejected/ in the spool",
	    "rejected/ in the spool is a mount of its own" },
	[SPOOL_LOCK] = { "lock", "lock in the spool is not usable",
	    "others may write to lock in the spool", NULL },
	[SPOOL_ARCHIVE] = { "archive", "archive/ in the spool is not usable",
	    "others may write to archive/ in the spool",
	    "archive/ in the spool is a mount of its own" },
};

struct spool *
spool_new(const struct config *cfg)
{
	struct spool *sp = calloc(1, sizeof(*sp));

	if (sp == NULL)
		return NULL;
	sp->path = cfg->spool;
	sp->min_free = cfg->min_free;
	sp->dir = sp->new = sp->rejected = sp->lock = -1;
	archive_init(&sp->archive, cfg->keep_days);
	return sp;
}

static void
close_fd(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

void
spool_close(struct spool *sp)
{
	close_fd(&sp->dir);
	close_fd(&sp->new);
	close_fd(&sp->rejected);
	close_fd(&sp->lock);
	archive_close(&sp->archive);
}

void
spool_free(struct spool *sp)
{
	spool_close(sp);
	free(sp);
}

/* Opening */

/* Notes which file FD is of; -1 if it could not be opened. */
static int
note_identity(struct spool *sp, enum spool_file i, int fd, struct stat *st)
{
	if (fd == -1 || fstat(fd, st) == -1)
		return -1;
	sp->identity[i].dev = st->st_dev;
	sp->identity[i].ino = st->st_ino;
	return 0;
}

static bool
has_identity(const struct spool *sp, enum spool_file i, const struct stat *st)
{
	return st->st_dev == sp->identity[i].dev &&
	    st->st_ino == sp->identity[i].ino;
}

/*
 * The identity of the mount that FD is on, or 0 where the system does not tell.
 * A bind mount has the st_dev of the file system that it shows, but link(2)
 * fails between mounts.
 */
static uint64_t
mount_id(int fd)
{
#if defined(__linux__) && defined(STATX_MNT_ID)
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) == 0 &&
	    (stx.stx_mask & STATX_MNT_ID) != 0)
		return stx.stx_mnt_id;
#endif
	(void)fd;
	return 0;
}

/*
 * Stops at the first name that neither a spool nor an empty file system has.
 * The consumers in examples/ may have made theirs before the receiver's first
 * start.
 */
static int
stop_at_foreign_name(void *arg, int dir, const struct dirent *e)
{
	static const char *const known[] = { "new", "archive", "rejected",
	    "lock", "lost+found", ".snapshot", ".zfs", "work", "failed",
	    "each", "kafka", "nats", "postgresql" };
	bool *foreign = arg;
	size_t i;

	(void)dir;
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(e->d_name, known[i]) == 0)
			return 0;
	*foreign = true;
	return -1;
}

static bool
has_type(int dir, enum spool_file i, mode_t type)
{
	struct stat st;

	return fstatat(dir, files[i].name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (st.st_mode & S_IFMT) == type;
}

/*
 * Whether what is missing in the directory must not be made: it is neither a
 * spool nor empty.  PROTOCOL_HOOK_SPOOL=/etc must not become a spool.  1, 0, or
 * -1 with errno.
 */
static int
is_foreign(int dir)
{
	const bool new = has_type(dir, SPOOL_NEW, S_IFDIR);
	const bool archive = has_type(dir, SPOOL_ARCHIVE, S_IFDIR);
	bool foreign = false;

	if (has_type(dir, SPOOL_LOCK, S_IFREG) ? new || archive : new &&
	    archive && has_type(dir, SPOOL_REJECTED, S_IFDIR))
		return 0;
	if (dir_each(dir, ".", stop_at_foreign_name, &foreign) == -1 &&
	    !foreign)
		return -1;
	return foreign;
}

bool
spool_path_is_foreign(const char *path)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), foreign;

	if (dir == -1)
		return false;
	foreign = is_foreign(dir);
	close(dir);
	return foreign == 1;
}

/* Opens one of the spool's directories, and makes it if it is missing. */
static bool
open_sub(struct spool *sp, int *fd, enum spool_file i, bool *made,
    struct failure *failure)
{
	struct stat st;
	int foreign;

	*fd = openat(sp->dir, files[i].name, OPEN_DIR);
	if (*fd == -1 && errno == ENOENT) {
		if ((foreign = is_foreign(sp->dir)) == -1)
			return failure_set(failure, files[SPOOL_DIR].unusable,
			    errno);
		if (foreign)
			return failure_set(failure, "the directory has other "
			    "things in it, and is not a spool", ENOTEMPTY);
		if (mkdirat(sp->dir, files[i].name, 0770) == 0)
			*made = true;
		else if (errno != EEXIST)
			return failure_set(failure, files[i].unusable, errno);
		*fd = openat(sp->dir, files[i].name, OPEN_DIR);
	}
	if (note_identity(sp, i, *fd, &st) == -1)
		return failure_set(failure, files[i].unusable, errno);
	if (st.st_dev != sp->identity[SPOOL_DIR].dev ||
	    mount_id(*fd) != mount_id(sp->dir))
		return failure_set(failure, files[i].other_mount, EXDEV);
	if ((st.st_mode & S_IWOTH) != 0)
		return failure_set(failure, files[i].writable_by_others, 0);
	return true;
}

static bool
open_lock(struct spool *sp, struct failure *failure)
{
	struct stat st;

	/* Nobody may read it: a reader's lock would hold the writers up. */
	sp->lock = openat(sp->dir, files[SPOOL_LOCK].name,
	    O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0620);
	if (note_identity(sp, SPOOL_LOCK, sp->lock, &st) == -1)
		return failure_set(failure, files[SPOOL_LOCK].unusable, errno);
	if (!S_ISREG(st.st_mode))
		return failure_set(failure,
		    "lock in the spool is not a regular file", 0);
	if ((st.st_mode & S_IWOTH) != 0)
		return failure_set(failure,
		    files[SPOOL_LOCK].writable_by_others, 0);
	return true;
}

static bool
open_all(struct spool *sp, struct failure *failure)
{
	struct stat st, parent;
	bool made = false;

	sp->dir = open(sp->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (note_identity(sp, SPOOL_DIR, sp->dir, &st) == -1)
		return failure_set(failure, files[SPOOL_DIR].unusable, errno);
	if ((st.st_mode & S_IWOTH) != 0)
		return failure_set(failure,
		    files[SPOOL_DIR].writable_by_others, 0);
	if (!open_sub(sp, &sp->new, SPOOL_NEW, &made, failure) ||
	    !open_sub(sp, &sp->archive.dir, SPOOL_ARCHIVE, &made, failure) ||
	    !open_sub(sp, &sp->rejected, SPOOL_REJECTED, &made, failure))
		return false;
	/* A new directory must not be lost with what is in it. */
	if (made && flush_dir(sp->dir) == -1)
		return failure_set(failure,
		    "the spool directory can't be flushed", errno);
	if (!open_lock(sp, failure))
		return false;
	sp->flusher.own_fs = flush_has_syncfs() &&
	    fstatat(sp->dir, "..", &parent, 0) == 0 &&
	    parent.st_dev != sp->identity[SPOOL_DIR].dev;
	return true;
}

bool
spool_open_readonly(struct spool *sp, struct failure *failure)
{
	if ((sp->dir = open(sp->path, OPEN_DIR & ~O_NOFOLLOW)) == -1)
		return failure_set(failure, files[SPOOL_DIR].unusable, errno);
	/* One that is missing is an error only for those who read it. */
	sp->new = openat(sp->dir, files[SPOOL_NEW].name, OPEN_DIR);
	sp->archive.dir = openat(sp->dir, files[SPOOL_ARCHIVE].name, OPEN_DIR);
	sp->rejected = openat(sp->dir, files[SPOOL_REJECTED].name, OPEN_DIR);
	return true;
}

/* Before each group */

/*
 * Whether the paths still name what is open, and others still may not write to
 * it: somebody may have replaced the spool, mounted over it, or changed modes.
 * *CHANGED is when archive/ was last changed.
 */
static bool
is_unchanged(const struct spool *sp, time_t *changed)
{
	struct stat st;
	enum spool_file i;

	if (sp->dir == -1)
		return false;
	for (i = 0; i < SPOOL_FILES; i++)
		if ((i == SPOOL_DIR ? stat(sp->path, &st) : fstatat(sp->dir,
		    files[i].name, &st, AT_SYMLINK_NOFOLLOW)) == -1 ||
		    !has_identity(sp, i, &st) || (st.st_mode & S_IWOTH) != 0)
			return false;
	*changed = st.st_mtime;
	return true;
}

/* Why nothing more can be stored for now, or NULL. */
static const char *
find_shortage(const struct spool *sp)
{
	struct spool_space space;

	if (spool_space(sp, &space) == -1)
		return "the spool's free space can't be read";
	if (space.is_read_only)
		return "the spool is read-only";
	if (space.free_bytes < sp->min_free)
		return "free space below PROTOCOL_HOOK_MIN_FREE";
	if (space.has_inodes && space.free_inodes == 0)
		return "no free inode";
	return NULL;
}

bool
spool_refresh(struct spool *sp, struct failure *failure)
{
	time_t changed = 0;

	if (!is_unchanged(sp, &changed)) {
		spool_close(sp);
		if (!open_all(sp, failure)) {
			spool_close(sp);
			return false;
		}
		changed = 0;
	}
	if (archive_refresh(&sp->archive, changed) == -1)
		return failure_set(failure,
		    "archive/ in the spool can't be read", errno);
	sp->refusal = find_shortage(sp);
	return true;
}

/* Accessors */

bool
spool_is_open(const struct spool *sp)
{
	return sp->dir != -1;
}

int
spool_fd(const struct spool *sp)
{
	return sp->dir;
}

bool
spool_replaced(const struct spool *sp)
{
	struct stat st;

	return stat(sp->path, &st) == 0 && !has_identity(sp, SPOOL_DIR, &st);
}

const char *
spool_refusal(const struct spool *sp)
{
	return sp->refusal;
}

bool
spool_has_own_fs(const struct spool *sp)
{
	return sp->flusher.own_fs;
}

const char *
spool_expiry_held(const struct spool *sp)
{
	return spool_is_open(sp) ? archive_expiry_held(&sp->archive) : NULL;
}

void
spool_tidy(struct spool *sp, size_t count, bool once)
{
	if (spool_is_open(sp))
		archive_tidy(&sp->archive, count, once);
}
