/* SPDX-License-Identifier: ISC */
/*
 * Safe on disk: every call that makes a delivery durable, finds a repeat or
 * tidies up is in this file.  The way of one delivery:
 *
 *	1 lock its digest	equal bodies wait for each other, no others
 *	2 look it up		archive/DAY/DIGEST of each kept day: a repeat
 *	3 write			archive/TODAY/.DIGEST, which no reader looks at
 *	4 flush			the data
 *	5 link			new/NAME: visible, and complete
 *	6 flush			new/: the name
 *	7 rename		archive/TODAY/.DIGEST to DIGEST
 *	8 unlock
 *
 * This order is the promise.  Data before name: nobody ever sees a torn file.
 * The archive last: an entry there always means that the delivery was safe, so
 * that a repeat is never acknowledged whose first copy was lost.  A process
 * that is killed before 5 leaves a file with one link, after it a file with
 * two: the next delivery of the same bytes drops the one and adopts the other.
 */
#include <sys/stat.h>
#include <sys/statvfs.h>
#ifdef __linux__
#include <sys/utsname.h>
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hook.h"

#define LOCK_POLL_MS	2
#define NAME_TRIES	1000
#define STAGED_SIZE	(DAY_SIZE + 1 + DIGEST_HEX + 1)
#define LEFTOVER_SECONDS	3600
#define TIDY_FAILED_MAX	64	/* files that stay, before the day is left */
#define TIDY_LARGE	(256 * 1024)	/* bytes of a directory that is large */
#define TIDY_SHARE_MAX	64
#define FLUSHERS	8	/* threads that flush a group's files ... */
#define FLUSH_AT_ONCE	4	/* ... of at least so many */
#define QUICK_US	50	/* a flush that needs no thread ... */
#define QUICK_GROUPS	3	/* ... if it was one so often in a row */

/* Flushing */

/*
 * fsync of macOS leaves what was written in the disk's own memory.  Where the
 * file system can't do more, neither can we.
 */
static int
flush_dir(int fd)
{
#ifdef F_FULLFSYNC
	if (fcntl(fd, F_FULLFSYNC) != -1)
		return 0;
	if (errno != ENOTSUP && errno != EINVAL && errno != ENOTTY)
		return -1;
#endif
	return fsync(fd);
}

static int
flush_file(int fd)
{
#ifdef F_FULLFSYNC
	return flush_dir(fd);
#else
	return fdatasync(fd);
#endif
}

/* Opening */

void
spool_init(struct spool *sp, const struct config *cfg)
{
	memset(sp, 0, sizeof(*sp));
	sp->path = cfg->spool;
	sp->keep_days = cfg->keep_days;
	sp->min_free = cfg->min_free;
	sp->dir = sp->new = sp->archive = sp->rejected = sp->lock = -1;
}

static void
close_fd(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

static void
tidy_close(struct spool *sp)
{
	if (sp->tidied != NULL)
		closedir(sp->tidied);
	sp->tidied = NULL;
	sp->tidy_failed = 0;
}

static void
spool_close(struct spool *sp)
{
	close_fd(&sp->dir);
	close_fd(&sp->new);
	close_fd(&sp->archive);
	close_fd(&sp->rejected);
	close_fd(&sp->lock);
	tidy_close(sp);
	sp->listed = 0;
}

/* The spool's own files, archive/ last: see unchanged(). */
enum { DIR_FILE, NEW_FILE, REJECTED_FILE, LOCK_FILE, ARCHIVE_FILE };

static const char *const names[SPOOL_FILES] = { NULL, "new", "rejected",
    "lock", "archive" };

/* Why one of them can't be used, if more is known than an errno tells. */
static const char *const writable_by_others[SPOOL_FILES] = {
	"others may write to the spool directory",
	"others may write to new/ in the spool",
	"others may write to rejected/ in the spool",
	"others may write to lock in the spool",
	"others may write to archive/ in the spool"
};
static const char *const other_mount[SPOOL_FILES] = {
	[NEW_FILE] = "new/ in the spool is a mount of its own",
	[REJECTED_FILE] = "rejected/ in the spool is a mount of its own",
	[ARCHIVE_FILE] = "archive/ in the spool is a mount of its own"
};
static const char *const unusable[SPOOL_FILES] = {
	"the spool directory can't be opened",
	"new/ in the spool is not usable",
	"rejected/ in the spool is not usable",
	"lock in the spool is not usable",
	"archive/ in the spool is not usable"
};

/* Notes which file FD is of; -1 if it could not be opened. */
static int
remember(struct spool *sp, size_t i, int fd, struct stat *st)
{
	if (fd == -1 || fstat(fd, st) == -1)
		return -1;
	sp->file[i].dev = st->st_dev;
	sp->file[i].ino = st->st_ino;
	return 0;
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
 * What may be in a directory that is about to become a spool: a spool's own
 * names, those of an empty file system, and, unless the directory is root's like
 * /home, directories, which consumers may have made.
 */
static bool
may_be_in_spool(const struct spool *sp, const char *name)
{
	static const char *const known[] = { ".", "..", "new", "archive",
	    "rejected", "lock", "lost+found", ".snapshot", ".zfs" };
	struct stat st;
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(name, known[i]) == 0)
			return true;
	return fstatat(sp->dir, ".", &st, 0) == 0 && st.st_uid != 0 &&
	    fstatat(sp->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISDIR(st.st_mode);
}

static bool
has_file(const struct spool *sp, size_t i, mode_t type)
{
	struct stat st;

	return fstatat(sp->dir, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (st.st_mode & S_IFMT) == type;
}

/*
 * Whether directories that are missing may be made: in a spool, or where there
 * is nothing else.  PROTOCOL_HOOK_SPOOL=/etc must not become a spool.  If not,
 * errno says why.
 */
static bool
may_become_spool(const struct spool *sp)
{
	struct dirent *e;
	DIR *d;
	int fd;

	if (has_file(sp, LOCK_FILE, S_IFREG) &&
	    (has_file(sp, NEW_FILE, S_IFDIR) ||
	    has_file(sp, ARCHIVE_FILE, S_IFDIR)))
		return true;
	fd = openat(sp->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1 || (d = fdopendir(fd)) == NULL) {
		close_fd(&fd);
		return false;
	}
	while (errno = 0, (e = readdir(d)) != NULL)
		if (!may_be_in_spool(sp, e->d_name))
			break;
	fd = errno;
	closedir(d);
	errno = e != NULL ? ENOTEMPTY : fd;
	return errno == 0;
}

/*
 * Opens one of the spool's directories, and makes it if it is missing.  NULL,
 * or why it can't be used; errno is 0 if that says all.
 */
static const char *
open_sub(struct spool *sp, int *fd, size_t i, bool *made)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	struct stat st;

	*fd = openat(sp->dir, names[i], flags);
	if (*fd == -1 && errno == ENOENT) {
		if (!may_become_spool(sp))
			return errno != ENOTEMPTY ? unusable[DIR_FILE] :
			    "the directory has other things in it, and is "
			    "not a spool";
		if (mkdirat(sp->dir, names[i], 0770) == 0)
			*made = true;
		else if (errno != EEXIST)
			return unusable[i];
		*fd = openat(sp->dir, names[i], flags);
	}
	if (remember(sp, i, *fd, &st) == -1)
		return unusable[i];
	if (st.st_dev != sp->file[DIR_FILE].dev ||
	    mount_id(*fd) != mount_id(sp->dir)) {
		errno = EXDEV;
		return other_mount[i];
	}
	errno = 0;
	return st.st_mode & S_IWOTH ? writable_by_others[i] : NULL;
}

/* Whether syncfs(2) reports what could not be written: since Linux 5.8. */
static bool
syncfs_tells(void)
{
#ifdef __linux__
	unsigned int major = 0, minor = 0;
	struct utsname u;

	return uname(&u) == 0 &&
	    sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	    (major > 5 || (major == 5 && minor >= 8));
#else
	return false;
#endif
}

/* NULL, or why the spool can't be used; errno is 0 if that says all. */
static const char *
open_all(struct spool *sp)
{
	struct stat st, parent;
	bool made = false;
	const char *why;

	sp->dir = open(sp->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (remember(sp, DIR_FILE, sp->dir, &st) == -1)
		return unusable[DIR_FILE];
	if (st.st_mode & S_IWOTH) {
		errno = 0;
		return writable_by_others[DIR_FILE];
	}
	if ((why = open_sub(sp, &sp->new, NEW_FILE, &made)) != NULL ||
	    (why = open_sub(sp, &sp->archive, ARCHIVE_FILE, &made)) != NULL ||
	    (why = open_sub(sp, &sp->rejected, REJECTED_FILE, &made)) != NULL)
		return why;
	/* A new directory must not be lost with what is in it. */
	if (made && flush_dir(sp->dir) == -1)
		return "the spool directory can't be flushed";
	/* Nobody may read it: a reader's lock would hold the writers up. */
	sp->lock = openat(sp->dir, names[LOCK_FILE],
	    O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0620);
	if (remember(sp, LOCK_FILE, sp->lock, &st) == -1)
		return unusable[LOCK_FILE];
	if (!S_ISREG(st.st_mode)) {
		errno = 0;
		return "lock in the spool is not a regular file";
	}
	if (st.st_mode & S_IWOTH) {
		errno = 0;
		return writable_by_others[LOCK_FILE];
	}
	sp->own_fs = syncfs_tells() && fstatat(sp->dir, "..", &parent, 0) == 0 &&
	    parent.st_dev != sp->file[DIR_FILE].dev;
	return NULL;
}

/* The archive */

static void
day_name(char day[DAY_SIZE], time_t t)
{
	struct date date;
	char *p = day;

	date_utc(&date, t);
	p = digits_put(p, date.year, 4);
	*p++ = '-';
	p = digits_put(p, date.month, 2);
	*p++ = '-';
	p = digits_put(p, date.day, 2);
	*p = '\0';
}

bool
spool_is_day(const char *s)
{
	static const char form[] = "0000-00-00";
	char day[DAY_SIZE];
	struct tm tm = { 0 };
	size_t i;

	for (i = 0; i < DAY_SIZE - 1; i++)
		if (form[i] == '0' ? s[i] < '0' || s[i] > '9' : s[i] != form[i])
			return false;
	if (s[i] != '\0' || sscanf(s, "%4d-%2d-%2d", &tm.tm_year, &tm.tm_mon,
	    &tm.tm_mday) != 3)
		return false;
	/* There is no 30 February: the name must be that of its own day. */
	tm.tm_year -= 1900;
	tm.tm_mon--;
	day_name(day, timegm(&tm));
	return strcmp(day, s) == 0;
}

/* Day names sort as dates do. */
static void
note_newest_before_today(struct spool *sp, const char *name)
{
	if (strcmp(name, sp->today) < 0 && strcmp(name, sp->newest) > 0)
		memcpy(sp->newest, name, DAY_SIZE);
}

/*
 * Adds a day to those that are searched for repeats, or notes it as the one to
 * be removed next.  Today and yesterday are always searched, so they are in the
 * list already, whether or not their directories exist: another process may
 * make them after we have looked.
 */
static void
list_day(struct spool *sp, const char *name)
{
	if (strcmp(name, sp->today) == 0 || strcmp(name, sp->yesterday) == 0)
		return;
	if (strcmp(name, sp->oldest) < 0) {
		if (strcmp(name, sp->undeletable) > 0 && (sp->expired[0] == '\0' ||
		    strcmp(name, sp->expired) < 0))
			memcpy(sp->expired, name, DAY_SIZE);
	} else if (sp->days < sizeof(sp->day) / sizeof(sp->day[0]))
		memcpy(sp->day[sp->days++], name, DAY_SIZE);
}

/* Calls EACH for every day in archive/; 0, or -1 with errno. */
static int
read_archive(struct spool *sp, void (*each)(struct spool *, const char *))
{
	struct dirent *e;
	DIR *d;
	int fd;

	fd = openat(sp->archive, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	if ((d = fdopendir(fd)) == NULL) {
		close(fd);
		return -1;
	}
	while (errno = 0, (e = readdir(d)) != NULL)
		if (spool_is_day(e->d_name))
			each(sp, e->d_name);
	fd = errno;
	closedir(d);
	errno = fd;
	return fd == 0 ? 0 : -1;
}

/*
 * Sets the oldest day that is kept.  It is counted from the newest day before
 * today that something was archived on, not from today: a clock that jumps far
 * ahead, and back again after a delivery, must not expire the whole archive.
 * So a day goes when the clock was past its time on two different days.
 */
static int
set_oldest(struct spool *sp)
{
	struct tm tm = { 0 };
	time_t t;

	sp->newest[0] = '\0';
	if (read_archive(sp, note_newest_before_today) == -1)
		return -1;
	if (sp->newest[0] == '\0') {
		memcpy(sp->oldest, sp->yesterday, DAY_SIZE);
		return 0;
	}
	sscanf(sp->newest, "%4d-%2d-%2d", &tm.tm_year, &tm.tm_mon,
	    &tm.tm_mday);
	tm.tm_year -= 1900;
	tm.tm_mon--;
	t = timegm(&tm);
	day_name(sp->oldest, t - (time_t)sp->keep_days * SECONDS_A_DAY);
	return 0;
}

/* Lists the archive again; 0, or -1 with errno and nothing is expired. */
static int
list_archive(struct spool *sp)
{
	sp->days = 2;
	memcpy(sp->day[0], sp->today, DAY_SIZE);
	memcpy(sp->day[1], sp->yesterday, DAY_SIZE);
	sp->expired[0] = '\0';
	if (set_oldest(sp) == 0 && read_archive(sp, list_day) == 0)
		return 0;
	sp->expired[0] = '\0';
	sp->listed = 0;		/* an incomplete list is not used again */
	return -1;
}

/*
 * Sets the days of the archive, from memory while archive/ does not change.
 * Another process may have made a day's directory in the very second in which
 * we listed them, so a list is trusted only if it was made later than that.
 */
static int
refresh_days(struct spool *sp, time_t changed)
{
	sp->now = time(NULL);
	if (sp->listed / SECONDS_A_DAY == sp->now / SECONDS_A_DAY &&
	    sp->changed == changed && sp->listed > changed + 1)
		return 0;
	day_name(sp->today, sp->now);
	day_name(sp->yesterday, sp->now - SECONDS_A_DAY);
	sp->undeletable[0] = '\0';
	sp->changed = changed;
	sp->listed = sp->now;
	return list_archive(sp);
}

/* Before a group */

/*
 * Whether the paths still name what is open, and others still may not write to
 * it: somebody may have replaced the spool, mounted over it, or changed modes.
 * *CHANGED is when archive/ was last changed.
 */
static bool
unchanged(const struct spool *sp, time_t *changed)
{
	struct stat st;
	size_t i;

	if (sp->dir == -1)
		return false;
	for (i = 0; i < SPOOL_FILES; i++)
		if ((i == 0 ? stat(sp->path, &st) : fstatat(sp->dir, names[i],
		    &st, AT_SYMLINK_NOFOLLOW)) == -1 ||
		    st.st_dev != sp->file[i].dev ||
		    st.st_ino != sp->file[i].ino || (st.st_mode & S_IWOTH) != 0)
			return false;
	*changed = st.st_mtime;
	return true;
}

/* Why nothing more can be stored for now, or NULL. */
static const char *
shortage(const struct spool *sp)
{
	struct statvfs vfs;

	if (fstatvfs(sp->new, &vfs) == -1)
		return "the spool's free space can't be read";
	if ((vfs.f_flag & ST_RDONLY) != 0)
		return "the spool is read-only";
	if ((uint64_t)vfs.f_bavail * vfs.f_frsize < sp->min_free)
		return "free space below PROTOCOL_HOOK_MIN_FREE";
	if (vfs.f_files > 0 && vfs.f_favail == 0)
		return "no free inode";
	return NULL;
}

const char *
spool_check(struct spool *sp)
{
	time_t changed;
	const char *why;

	if (!unchanged(sp, &changed)) {
		spool_close(sp);
		if ((why = open_all(sp)) != NULL) {
			spool_close(sp);
			return why;
		}
		changed = 0;
	}
	if (refresh_days(sp, changed) == -1)
		return "archive/ in the spool can't be read";
	sp->low = shortage(sp);
	return NULL;
}

bool
spool_replaced(const struct spool *sp)
{
	struct stat st;

	return stat(sp->path, &st) == 0 &&
	    (st.st_dev != sp->file[DIR_FILE].dev ||
	    st.st_ino != sp->file[DIR_FILE].ino);
}

bool
spool_clock_jumped(const struct spool *sp)
{
	char oldest[DAY_SIZE];

	day_name(oldest, sp->now - ((time_t)sp->keep_days + 1) * SECONDS_A_DAY);
	return sp->archive != -1 && sp->newest[0] != '\0' &&
	    strcmp(sp->newest, oldest) < 0;
}

/* Looking for a repeat */

/* 1 if rejected/ has it, 0 if not, -1 on error. */
static int
rejected(const struct spool *sp, const struct delivery *d)
{
	struct stat st;

	if (fstatat(sp->rejected, d->hex, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : -1;
}

/* DAY/DIGEST, or the name it has before it is safe: DAY/.DIGEST */
static void
archive_name(char path[STAGED_SIZE], const char *day, const char *dot,
    const char *hex)
{
	char *p = path;

	memcpy(p, day, DAY_SIZE - 1);
	p += DAY_SIZE - 1;
	*p++ = '/';
	if (*dot != '\0')
		*p++ = *dot;
	memcpy(p, hex, DIGEST_HEX + 1);
}

static void
staged_name(char path[STAGED_SIZE], const struct delivery *d)
{
	archive_name(path, d->day, ".", d->hex);
}

/* 1 if the archive of a kept day has it, 0 if not, -1 on error. */
static int
archived(struct spool *sp, const struct delivery *d)
{
	char path[STAGED_SIZE];
	struct stat st;
	size_t i;

	for (i = 0; i < sp->days; i++) {
		archive_name(path, sp->day[i], "", d->hex);
		if (fstatat(sp->archive, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
			return 1;
		if (errno != ENOENT)
			return -1;
	}
	return 0;
}

/*
 * In CGI, where each process would read the expired day from its beginning.  A
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
	return microseconds() % (int64_t)share == 0 ? files * share : 0;
}

/* Opens the expired day, or goes on where the last call stopped reading it. */
static int
tidy_open(struct spool *sp)
{
	int fd;

	if (sp->tidied != NULL && strcmp(sp->tidied_day, sp->expired) == 0)
		return 0;
	tidy_close(sp);
	fd = openat(sp->archive, sp->expired,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1 || (sp->tidied = fdopendir(fd)) == NULL) {
		close_fd(&fd);
		return -1;
	}
	memcpy(sp->tidied_day, sp->expired, DAY_SIZE);
	return 0;
}

/*
 * Removes up to *FILES files of the expired day, and then the day: 0, or -1 if
 * something is left in it that can't be removed.
 */
static int
tidy_day(struct spool *sp, size_t *files)
{
	struct dirent *e;

	while (*files > 0 && sp->tidy_failed < TIDY_FAILED_MAX &&
	    (e = readdir(sp->tidied)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		--*files;
		if (unlinkat(dirfd(sp->tidied), e->d_name, 0) == -1) {
			sp->tidy_failed++;
			++*files;
		}
	}
	if (*files == 0)
		return 0;
	tidy_close(sp);
	return unlinkat(sp->archive, sp->expired, AT_REMOVEDIR);
}

void
spool_tidy(struct spool *sp, size_t files, bool once)
{
	if (sp->archive == -1 || sp->expired[0] == '\0')
		return;
	if (once && tidy_open(sp) == 0)
		files = tidy_share(sp->tidied, files);
	while (files > 0 && sp->expired[0] != '\0') {
		if (tidy_open(sp) == -1 || tidy_day(sp, &files) == -1)
			memcpy(sp->undeletable, sp->expired, DAY_SIZE);
		if (sp->tidied == NULL)
			list_archive(sp);
	}
}

/* Taking */

static void
fail(struct delivery *d, const char *step)
{
	d->state = SPOOL_FAILED;
	d->step = step;
	d->error = errno;
}

/* A record lock on one byte, which one depends on the digest. */
static int
try_lock(const struct spool *sp, const struct delivery *d)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	off_t start = 0;
	size_t i;

	for (i = 0; i < sizeof(off_t); i++)
		start = (off_t)((uint64_t)start << 8 | d->digest[i]);
	fl.l_start = start & (((off_t)1 << (8 * sizeof(off_t) - 2)) - 1);
	return fcntl(sp->lock, F_SETLK, &fl);
}

/* 0, or -1 with EAGAIN if another process has it. */
static int
lock(const struct spool *sp, const struct delivery *d, bool wait)
{
	const struct timespec pause = { 0, LOCK_POLL_MS * 1000000L };
	int left;

	for (left = wait ? (SPOOL_BUSY_SECONDS * 1000) : 0;; left -= LOCK_POLL_MS) {
		if (try_lock(sp, d) == 0)
			return 0;
		if (errno == EACCES)
			errno = EAGAIN;
		if (errno != EAGAIN || left <= 0)
			return -1;
		nanosleep(&pause, NULL);
	}
}

static void
unlock_all(struct spool *sp)
{
	struct flock fl = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	/* Closing it drops the locks, too; the next check opens it again. */
	if (fcntl(sp->lock, F_SETLK, &fl) == -1)
		spool_close(sp);
}

/* Our own lock does not stop us: an equal body may be in this group. */
static bool
in_group(const struct spool *sp, const struct delivery *d)
{
	size_t i;

	for (i = 0; i < sp->n; i++)
		if (memcmp(sp->group[i]->digest, d->digest, DIGEST_SIZE) == 0)
			return true;
	return false;
}

/*
 * Looks for a file that a killed process left in DAY: 1 if it had been linked
 * into new/ (it is adopted), 0 if there is none now, -1 on error.
 */
static int
leftover(const struct spool *sp, struct delivery *d, const char *day)
{
	char path[STAGED_SIZE];
	struct stat st;

	archive_name(path, day, ".", d->hex);
	if (fstatat(sp->archive, path, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT ? 0 : -1;
	if (st.st_nlink > 1) {
		memcpy(d->day, day, DAY_SIZE);
		d->adopted = true;
		return 1;
	}
	return unlinkat(sp->archive, path, 0);
}

/* Makes the file that will be the delivery; -1, or it was adopted. */
static int
stage(struct spool *sp, struct delivery *d)
{
	char path[STAGED_SIZE];
	unsigned int tries;

	memcpy(d->day, sp->today, DAY_SIZE);
	staged_name(path, d);
	for (tries = 0; tries < 3; tries++) {
		d->fd = openat(sp->archive, path, O_WRONLY | O_CREAT | O_EXCL |
		    O_NOFOLLOW | O_CLOEXEC, 0660);
		if (d->fd != -1)
			return 0;
		if (errno == ENOENT) {
			if (mkdirat(sp->archive, d->day, 0770) == -1 &&
			    errno != EEXIST)
				return -1;
		} else if (errno != EEXIST)
			return -1;
		else if (leftover(sp, d, d->day) != 0)
			return d->adopted ? 0 : -1;
	}
	return -1;
}

/* The file that spool_try_link() makes; sets its hidden name in new/, too. */
static void
name_try(const struct spool *sp, struct delivery *d, char path[STAGED_SIZE])
{
	snprintf(d->hex, sizeof(d->hex), "try-%ld", (long)getpid());
	memcpy(d->day, sp->today, DAY_SIZE);
	staged_name(path, d);
	snprintf(d->name, sizeof(d->name), ".%s", d->hex);
}

int
spool_try_link(struct spool *sp, const char **why)
{
	struct delivery d = { .fd = -1 };
	char path[STAGED_SIZE];
	int error;

	name_try(sp, &d, path);
	/* What a process with the same number may have left. */
	unlinkat(sp->archive, path, 0);
	unlinkat(sp->new, d.name, 0);
	*why = "rejected/ in the spool can't be written";
	if (!dir_writable(sp->rejected))
		return -1;
	*why = "a file in archive/ can't be made";
	if (stage(sp, &d) == -1)
		return -1;
	close_fd(&d.fd);
	*why = "a file in archive/ can't be linked into new/";
	error = linkat(sp->archive, path, sp->new, d.name, 0) == 0 ? 0 : errno;
	if (error == 0 && unlinkat(sp->new, d.name, 0) == -1) {
		*why = "a file in new/ can't be removed";
		error = errno;
	}
	if (unlinkat(sp->archive, path, 0) == -1 && error == 0) {
		*why = "a file in archive/ can't be removed";
		error = errno;
	}
	errno = error;
	return error == 0 ? 0 : -1;
}

static int
close_checked(struct delivery *d)
{
	int fd = d->fd;

	d->fd = -1;
	return close(fd);
}

/* Takes back what was made visible or staged. */
static void
undo(const struct spool *sp, struct delivery *d)
{
	char path[STAGED_SIZE];

	close_fd(&d->fd);
	if (d->name[0] != '\0' && d->event != NULL)
		unlinkat(sp->new, d->name, 0);
	if (d->day[0] != '\0' && !d->adopted) {
		staged_name(path, d);
		unlinkat(sp->archive, path, 0);
	}
}

static void
write_delivery(struct spool *sp, struct delivery *d, const uint8_t *body,
    size_t len)
{
	/* A process may have been killed before midnight. */
	if (sp->now % SECONDS_A_DAY < LEFTOVER_SECONDS &&
	    leftover(sp, d, sp->yesterday) == -1)
		fail(d, "look for a leftover");
	else if (!d->adopted && stage(sp, d) == -1)
		fail(d, "open");
	else if (d->adopted)
		return;
	else if (write_all(d->fd, body, len) == -1)
		fail(d, "write");
	if (d->state == SPOOL_FAILED)
		undo(sp, d);
}

/* Midnight may have come since spool_check(), while a body came in. */
static int
refresh_after_midnight(struct spool *sp)
{
	return time(NULL) / SECONDS_A_DAY == sp->now / SECONDS_A_DAY ? 0 :
	    refresh_days(sp, 0);
}

/* With the digest's lock: recognises a repeat, writes the body, or fails. */
static void
take_locked(struct spool *sp, struct delivery *d, const uint8_t *body,
    size_t len)
{
	int found = 0;

	if (refresh_after_midnight(sp) == -1)
		fail(d, "list the archive");
	else if (sp->keep_days > 0 && d->event != NULL &&
	    (found = archived(sp, d)) == -1)
		fail(d, "look into the archive");
	else if (found == 1)
		d->state = SPOOL_DUPLICATE;
	else if (sp->low != NULL) {
		errno = 0;
		fail(d, sp->low);
	} else
		write_delivery(sp, d, body, len);
}

/* Whether it was stored before; with the digest's lock. */
static void
find_stored(struct spool *sp, struct delivery *d)
{
	int found = 0;

	if (refresh_after_midnight(sp) == -1)
		fail(d, "list the archive");
	else if (d->event == NULL)
		found = rejected(sp, d);
	else if (sp->keep_days > 0)
		found = archived(sp, d);
	if (found == -1)
		fail(d, "look into the archive");
	else if (found == 1)
		d->state = SPOOL_DUPLICATE;
}

void
spool_retry(struct spool *sp, struct delivery *d, bool last)
{
	if (lock(sp, d, false) == -1) {
		if (errno != EAGAIN || last)
			fail(d, "lock");
		return;
	}
	find_stored(sp, d);
	if (d->state == SPOOL_BUSY) {
		errno = 0;
		fail(d, "another process failed to store the same body");
	}
	unlock_all(sp);
}

void
spool_take(struct spool *sp, struct delivery *d, const uint8_t *body,
    size_t len, bool wait)
{
	const struct event *event = d->event;

	memset(d, 0, sizeof(*d));
	d->event = event;
	d->fd = -1;
	d->state = SPOOL_PENDING;
	body_digest(d->digest, body, len);
	hex_digest(d->hex, d->digest);
	if (sp->n == GROUP_MAX || in_group(sp, d)) {
		d->state = SPOOL_COMMIT_FIRST;
		return;
	}
	if (lock(sp, d, wait) == -1) {
		if (errno == EAGAIN && !wait)
			d->state = SPOOL_BUSY;
		else
			fail(d, "lock");
		return;
	}
	take_locked(sp, d, body, len);
	if (d->state == SPOOL_PENDING)
		sp->group[sp->n++] = d;
	else if (sp->n == 0)
		unlock_all(sp);	/* else the commit does */
}

/* Committing */

/* One of several threads that share a group's files out among themselves. */
struct flusher {
	pthread_t thread;
	bool started;
	struct spool *sp;
	size_t first, step;
};

static void *
flush_files(void *arg)
{
	struct flusher *f = arg;
	struct delivery *d;
	size_t i;

	for (i = f->first; i < f->sp->n; i += f->step) {
		d = f->sp->group[i];
		if (d->fd != -1 && flush_file(d->fd) == -1)
			fail(d, "fdatasync");
	}
	return NULL;
}

/*
 * Each flush of a file is one of the disk's cache, too; of those that are asked
 * for at the same time the kernel makes one.  A thread that can't be had leaves
 * its share to us.  Where flushes take less than a thread does, as in memory,
 * there are none.
 */
static void
flush_at_once(struct spool *sp)
{
	struct flusher f[FLUSHERS];
	int64_t began;
	size_t i, n;

	n = sp->quick >= QUICK_GROUPS || sp->n < FLUSH_AT_ONCE ? 1 :
	    sp->n < FLUSHERS ? sp->n : FLUSHERS;
	for (i = 1; i < n; i++) {
		f[i] = (struct flusher){ .sp = sp, .first = i, .step = n };
		f[i].started = pthread_create(&f[i].thread, NULL, flush_files,
		    &f[i]) == 0;
		if (!f[i].started)
			flush_files(&f[i]);
	}
	f[0] = (struct flusher){ .sp = sp, .step = n };
	began = microseconds();
	flush_files(&f[0]);
	if (microseconds() - began >= (int64_t)(sp->n / n) * QUICK_US)
		sp->quick = 0;
	else if (sp->quick < QUICK_GROUPS)
		sp->quick++;
	for (i = 1; i < n; i++)
		if (f[i].started)
			pthread_join(f[i].thread, NULL);
}

#ifdef __linux__

static void
fail_all(struct spool *sp, const char *step)
{
	size_t i;

	for (i = 0; i < sp->n; i++)
		fail(sp->group[i], step);
}

/*
 * All writes are under way before the first is waited for.  Where ext4 has no
 * place for the data of one file for want of a sound bitmap, it loses that of
 * the next ones, too, and tells it here alone: no flush fails after that.
 */
static int
start_writes(struct spool *sp)
{
	size_t i;
	int fd;

	for (i = 0; i < sp->n; i++) {
		fd = sp->group[i]->fd;
		if (fd != -1 && sync_file_range(fd, 0, 0,
		    SYNC_FILE_RANGE_WRITE) == -1 && errno != ENOSYS)
			return -1;
	}
	return 0;
}

static void
flush_group(struct spool *sp)
{
	if (start_writes(sp) == -1)
		fail_all(sp, "sync_file_range");
	else if (!sp->own_fs)	/* it would flush other programs' data, too */
		flush_at_once(sp);
	else if (syncfs(sp->new) == -1)
		fail_all(sp, "syncfs");
}

#else
#define flush_group	flush_at_once
#endif

static void
flush_data(struct spool *sp)
{
	struct delivery *d;
	size_t i;

	if (sp->n > 1)
		flush_group(sp);
	else
		flush_at_once(sp);
	for (i = 0; i < sp->n; i++) {
		d = sp->group[i];
		if (d->state == SPOOL_PENDING && d->fd != -1 &&
		    close_checked(d) == -1)
			fail(d, "close");
	}
}

/* Every byte but letters, digits, '-' and what ALSO has becomes '_'. */
static char *
clean(char *p, const char *s, char also)
{
	size_t i;
	char c;

	for (i = 0; i < NAME_TEXT_MAX && (c = s[i]) != '\0'; i++)
		*p++ = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		    (c >= '0' && c <= '9') || c == '-' || c == also ? c : '_';
	return p;
}

/* Microseconds since 1970, later than those of the name before. */
static uint64_t
next_time(struct spool *sp)
{
	struct timespec ts;
	uint64_t us;

	clock_gettime(CLOCK_REALTIME, &ts);
	us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
	/* A clock that was put back by more than that is believed. */
	if (us <= sp->last && sp->last - us < 1000000)
		us = sp->last + 1;
	sp->last = us;
	return us;
}

static void
name_delivery(struct spool *sp, struct delivery *d)
{
	uint64_t us = next_time(sp);
	time_t t = (time_t)(us / 1000000);
	unsigned int second = (unsigned int)(t % SECONDS_A_DAY);
	struct date date;
	char *p = d->name;

	date_utc(&date, t);
	p = digits_put(p, date.year, 4);
	p = digits_put(p, date.month, 2);
	p = digits_put(p, date.day, 2);
	*p++ = 'T';
	p = digits_put(p, second / 3600, 2);
	p = digits_put(p, second / 60 % 60, 2);
	p = digits_put(p, second % 60, 2);
	*p++ = '.';
	p = digits_put(p, (unsigned int)(us % 1000000), 6);
	*p++ = 'Z';
	*p++ = '.';
	p = clean(p, d->event->type, '.');
	*p++ = '.';
	p = clean(p, d->event->id, '_');
	memcpy(p, ".json", sizeof(".json"));
}

/* Links PATH of the archive into new/, with a name that is free. */
static int
link_new(struct spool *sp, const char *path, struct delivery *d)
{
	unsigned int tries;

	for (tries = 0; tries < NAME_TRIES; tries++) {
		name_delivery(sp, d);
		if (linkat(sp->archive, path, sp->new, d->name, 0) == 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	d->name[0] = '\0';	/* it is not ours */
	return -1;
}

/* Links the staged file into new/ or rejected/. */
static int
publish(struct spool *sp, struct delivery *d)
{
	char path[STAGED_SIZE];

	staged_name(path, d);
	if (d->event == NULL) {
		memcpy(d->name, d->hex, sizeof(d->hex));
		if (linkat(sp->archive, path, sp->rejected, d->name, 0) == 0 ||
		    errno == EEXIST)
			return 0;
		return -1;
	}
	return link_new(sp, path, d);
}

static void
publish_all(struct spool *sp)
{
	struct delivery *d;
	size_t i;

	for (i = 0; i < sp->n; i++) {
		d = sp->group[i];
		if (d->state == SPOOL_PENDING && !d->adopted &&
		    publish(sp, d) == -1)
			fail(d, "link");
	}
}

static void
flush_names(struct spool *sp)
{
	bool new = false, rejected = false;
	int new_error = 0, rejected_error = 0;
	struct delivery *d;
	size_t i;

	for (i = 0; i < sp->n; i++) {
		d = sp->group[i];
		if (d->state == SPOOL_PENDING)
			*(d->event != NULL ? &new : &rejected) = true;
	}
	if (new && flush_dir(sp->new) == -1)
		new_error = errno;
	if (rejected && flush_dir(sp->rejected) == -1)
		rejected_error = errno;
	for (i = 0; i < sp->n; i++) {
		d = sp->group[i];
		errno = d->event != NULL ? new_error : rejected_error;
		if (d->state == SPOOL_PENDING && errno != 0)
			fail(d, "fsync");
	}
}

/*
 * The delivery is safe; now say so in the archive.  If that fails it is not
 * acknowledged: after an I/O error XFS shuts down, and lets fsync of a directory
 * succeed for a name that is lost.  Both files stay; a retry adopts them.
 */
static void
finish(struct spool *sp, struct delivery *d)
{
	char staged[STAGED_SIZE], path[STAGED_SIZE];
	int r;

	staged_name(staged, d);
	archive_name(path, d->day, "", d->hex);
	if (d->event == NULL || sp->keep_days == 0)
		r = unlinkat(sp->archive, staged, 0);
	else
		r = renameat(sp->archive, staged, sp->archive, path);
	if (r == -1)
		fail(d, "rename in the archive");
	else
		d->state = d->adopted ? SPOOL_DUPLICATE : SPOOL_STORED;
}

void
spool_commit(struct spool *sp)
{
	struct delivery *d;
	size_t i;

	if (sp->n == 0)
		return;
	flush_data(sp);
	publish_all(sp);
	flush_names(sp);
	for (i = 0; i < sp->n; i++) {
		d = sp->group[i];
		if (d->state == SPOOL_PENDING)
			finish(sp, d);
		else
			undo(sp, d);
	}
	sp->n = 0;
	unlock_all(sp);
}

/* For the commands */

int
spool_replay(struct spool *sp, struct delivery *d)
{
	char path[STAGED_SIZE];

	archive_name(path, d->day, "", d->hex);
	return link_new(sp, path, d);
}

int
spool_flush(struct spool *sp)
{
	return flush_dir(sp->new);
}

/* What name_delivery() made: neither stamp nor id has a point in it. */
bool
name_read(struct name *n, const char *name)
{
	static const char form[] = "00000000T000000.000000Z.";
	static const char text[] = "abcdefghijklmnopqrstuvwxyz_-.0123456789"
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	const char *end, *p;
	size_t i;

	for (i = 0; i < NAME_STAMP; i++)
		if (form[i] == '0' ? name[i] < '0' || name[i] > '9' :
		    name[i] != form[i])
			return false;
	/* No clock of ours was ever before that. */
	if (strncmp(name, "1970", 4) < 0)
		return false;
	end = name + NAME_STAMP + strspn(name + NAME_STAMP, text);
	if (*end != '\0' || end - name <= (int)(NAME_STAMP + 5) ||
	    strcmp(end -= 5, ".json") != 0)
		return false;
	for (p = end - 1; p > name + NAME_STAMP && *p != '.'; p--)
		;
	n->type = name + NAME_STAMP;
	n->type_len = (int)(p - n->type);
	n->id = p + 1;
	n->id_len = (int)(end - n->id);
	return n->type_len > 0 && n->type_len <= NAME_TEXT_MAX &&
	    n->id_len > 0 && n->id_len <= NAME_TEXT_MAX;
}

int64_t
name_time(const char *name)
{
	struct tm tm = { 0 };

	sscanf(name, "%4d%2d%2dT%2d%2d%2d", &tm.tm_year, &tm.tm_mon,
	    &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec);
	tm.tm_year -= 1900;
	tm.tm_mon--;
	return (int64_t)timegm(&tm);
}
