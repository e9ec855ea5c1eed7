/* SPDX-License-Identifier: ISC */
/*
 * Stores deliveries.  The steps of one delivery:
 *
 *	1 lock its digest	equal bodies wait for each other, no others
 *	2 look for a repeat	archive/DAY/DIGEST of each kept day
 *	3 write			archive/TODAY/.DIGEST, which no reader looks at
 *	4 flush			the data
 *	5 link			new/NAME: visible, and complete
 *	6 flush			new/: the name
 *	7 rename		archive/TODAY/.DIGEST to DIGEST
 *	8 unlock
 *
 * Durability depends on this order.  The data is on disk before it has a name
 * in new/, so nobody ever sees a torn file.  The archive comes last: an entry
 * there means that the delivery was safe, so a repeat is never acknowledged
 * whose first copy was lost.  A process that is killed before step 5 leaves a
 * file with one link, and after it one with two: the next delivery of the same
 * bytes removes the one, and adopts the other.
 */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../events.h"
#include "../util.h"
#include "internal.h"

#define LOCK_POLL_MS	2
#define NAME_TRIES	1000
#define STAGE_TRIES	3
#define LEFTOVER_SECONDS	3600	/* after midnight */

void
delivery_set_error(struct delivery *d, const char *step, int error)
{
	d->state = DELIVERY_FAILED;
	failure_set(&d->failure, step, error);
}

/* Locks */

/* A record lock on one byte, which the digest chooses. */
static int
try_lock_digest(const struct spool *sp, const struct delivery *d)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET,
	    .l_len = 1 };
	off_t start = 0;
	size_t i;

	for (i = 0; i < sizeof(off_t); i++)
		start = (off_t)((uint64_t)start << 8 | d->digest[i]);
	fl.l_start = start & (((off_t)1 << (8 * sizeof(off_t) - 2)) - 1);
	return fcntl(sp->lock, F_SETLK, &fl);
}

/* 0, or -1 with errno: EAGAIN if another process has it. */
static int
lock_digest(const struct spool *sp, const struct delivery *d, bool wait)
{
	const struct timespec pause = { 0, LOCK_POLL_MS * 1000000L };
	int left_ms = wait ? SPOOL_BUSY_SECONDS * 1000 : 0;

	for (;; left_ms -= LOCK_POLL_MS) {
		if (try_lock_digest(sp, d) == 0)
			return 0;
		if (errno == EACCES)
			errno = EAGAIN;
		if (errno != EAGAIN || left_ms <= 0)
			return -1;
		nanosleep(&pause, NULL);
	}
}

static void
unlock_all(struct spool *sp)
{
	struct flock fl = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	/* Closing the file drops the locks, too; the next group opens it. */
	if (fcntl(sp->lock, F_SETLK, &fl) == -1)
		spool_close(sp);
}

/* Staging */

/* Record locks do not conflict within a process: looks in the group itself. */
static bool
is_in_group(const struct spool *sp, const struct delivery *d)
{
	size_t i;

	for (i = 0; i < sp->ngroup; i++)
		if (memcmp(sp->group[i]->digest, d->digest, DIGEST_SIZE) == 0)
			return true;
	return false;
}

/*
 * Looks for a file that a killed process left in DAY: 1 if it had been linked
 * into new/ (it is adopted), 0 if there is none now, -1 on error.
 */
static int
adopt_leftover(const struct spool *sp, struct delivery *d, const char *day)
{
	char path[ARCHIVE_PATH_SIZE];
	struct stat st;

	archive_staged_path(path, day, d->hex);
	if (fstatat(sp->archive.dir, path, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT ? 0 : -1;
	if (st.st_nlink > 1) {
		memcpy(d->day, day, DAY_SIZE);
		d->adopted = true;
		return 1;
	}
	return unlinkat(sp->archive.dir, path, 0);
}

/* Makes the file that will be the delivery, unless one is adopted. */
static int
create_staged(struct spool *sp, struct delivery *d)
{
	char path[ARCHIVE_PATH_SIZE];
	unsigned int tries;

	memcpy(d->day, sp->archive.today, DAY_SIZE);
	archive_staged_path(path, d->day, d->hex);
	for (tries = 0; tries < STAGE_TRIES; tries++) {
		d->fd = openat(sp->archive.dir, path, O_WRONLY | O_CREAT |
		    O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0660);
		if (d->fd != -1)
			return 0;
		if (errno == ENOENT) {
			if (mkdirat(sp->archive.dir, d->day, 0770) == -1 &&
			    errno != EEXIST)
				return -1;
		} else if (errno != EEXIST)
			return -1;
		else if (adopt_leftover(sp, d, d->day) != 0)
			return d->adopted ? 0 : -1;
	}
	return -1;
}

/* Takes back what was made visible or staged. */
static void
undo_delivery(const struct spool *sp, struct delivery *d)
{
	char path[ARCHIVE_PATH_SIZE];

	if (d->fd != -1)
		close(d->fd);
	d->fd = -1;
	if (d->name[0] != '\0' && d->event != NULL)
		unlinkat(sp->new, d->name, 0);
	if (d->day[0] != '\0' && !d->adopted) {
		archive_staged_path(path, d->day, d->hex);
		unlinkat(sp->archive.dir, path, 0);
	}
}

static void
write_staged(struct spool *sp, struct delivery *d, const uint8_t *body,
    size_t len)
{
	/* A process may have been killed before midnight. */
	if (sp->archive.now % SECONDS_PER_DAY < LEFTOVER_SECONDS &&
	    adopt_leftover(sp, d, sp->archive.yesterday) == -1)
		delivery_set_error(d, "look for a leftover", errno);
	else if (!d->adopted && create_staged(sp, d) == -1)
		delivery_set_error(d, "open", errno);
	else if (d->adopted)
		return;
	else if (write_all(d->fd, body, len) == -1)
		delivery_set_error(d, "write", errno);
	if (d->state == DELIVERY_FAILED)
		undo_delivery(sp, d);
}

/*
 * With the digest's lock: recognises a repeat, writes the body, or fails.
 * Midnight may have come since the refresh, while the body was being read.
 */
static void
stage_locked(struct spool *sp, struct delivery *d, const uint8_t *body,
    size_t len)
{
	int found = 0;

	if (archive_refresh_after_midnight(&sp->archive) == -1)
		delivery_set_error(d, "list the archive", errno);
	else if (sp->archive.keep_days > 0 && d->event != NULL &&
	    (found = archive_has(&sp->archive, d->hex)) == -1)
		delivery_set_error(d, "look into the archive", errno);
	else if (found == 1)
		d->state = DELIVERY_DUPLICATE;
	else if (sp->refusal != NULL)
		delivery_set_error(d, sp->refusal, 0);
	else
		write_staged(sp, d, body, len);
}

void
spool_stage(struct spool *sp, struct delivery *d, const uint8_t *body,
    size_t len, bool wait)
{
	const struct event *event = d->event;

	memset(d, 0, sizeof(*d));
	d->event = event;
	d->fd = -1;
	d->state = DELIVERY_PENDING;
	body_digest(d->digest, body, len);
	hex_format(d->hex, d->digest);
	if (sp->ngroup == GROUP_MAX || is_in_group(sp, d)) {
		d->state = DELIVERY_COMMIT_FIRST;
		return;
	}
	if (lock_digest(sp, d, wait) == -1) {
		if (errno == EAGAIN && !wait)
			d->state = DELIVERY_BUSY;
		else
			delivery_set_error(d, "lock", errno);
		return;
	}
	stage_locked(sp, d, body, len);
	if (d->state == DELIVERY_PENDING)
		sp->group[sp->ngroup++] = d;
	else if (sp->ngroup == 0)
		unlock_all(sp);	/* else spool_commit() does */
}

/* 1 if rejected/ has it, 0 if not, -1 on error. */
static int
rejected_has(const struct spool *sp, const struct delivery *d)
{
	struct stat st;

	if (fstatat(sp->rejected, d->hex, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : -1;
}

/* With the digest's lock: whether the process that had it stored the bytes. */
static void
find_stored(struct spool *sp, struct delivery *d)
{
	int found = 0;

	if (archive_refresh_after_midnight(&sp->archive) == -1) {
		delivery_set_error(d, "list the archive", errno);
		return;
	}
	if (d->event == NULL)
		found = rejected_has(sp, d);
	else if (sp->archive.keep_days > 0)
		found = archive_has(&sp->archive, d->hex);
	if (found == -1)
		delivery_set_error(d, "look into the archive", errno);
	else if (found == 1)
		d->state = DELIVERY_DUPLICATE;
	else
		delivery_set_error(d,
		    "another process failed to store the same body", 0);
}

void
spool_retry(struct spool *sp, struct delivery *d, bool last)
{
	if (lock_digest(sp, d, false) == 0) {
		find_stored(sp, d);
		unlock_all(sp);
	} else if (errno != EAGAIN || last)
		delivery_set_error(d, "lock", errno);
}

/* Publishing */

/*
 * The time for the next name, in microseconds since 1970: later than that of
 * the name before.  If the clock was set back by a second or more, it is
 * believed.
 */
static uint64_t
next_name_us(struct spool *sp)
{
	struct timespec ts;
	uint64_t us;

	clock_gettime(CLOCK_REALTIME, &ts);
	us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
	if (us <= sp->last_name_us && sp->last_name_us - us < 1000000)
		us = sp->last_name_us + 1;
	sp->last_name_us = us;
	return us;
}

int
spool_link_into_new(struct spool *sp, const char *path, char name[NAME_SIZE],
    const struct event *event)
{
	unsigned int tries;

	for (tries = 0; tries < NAME_TRIES; tries++) {
		name_format(name, next_name_us(sp), event);
		if (linkat(sp->archive.dir, path, sp->new, name, 0) == 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	name[0] = '\0';		/* it is not ours: undo must not remove it */
	return -1;
}

/* Links the staged file into new/ or rejected/. */
static int
publish_delivery(struct spool *sp, struct delivery *d)
{
	char path[ARCHIVE_PATH_SIZE];

	archive_staged_path(path, d->day, d->hex);
	if (d->event != NULL)
		return spool_link_into_new(sp, path, d->name, d->event);
	memcpy(d->name, d->hex, sizeof(d->hex));
	if (linkat(sp->archive.dir, path, sp->rejected, d->name, 0) == 0 ||
	    errno == EEXIST)
		return 0;
	return -1;
}

static void
publish_group(struct spool *sp)
{
	struct delivery *d;
	size_t i;

	for (i = 0; i < sp->ngroup; i++) {
		d = sp->group[i];
		if (d->state == DELIVERY_PENDING && !d->adopted &&
		    publish_delivery(sp, d) == -1)
			delivery_set_error(d, "link", errno);
	}
}

/* Flushes new/ and rejected/, as far as the group has linked into them. */
static void
flush_names(struct spool *sp)
{
	bool in_new = false, in_rejected = false;
	int new_error = 0, rejected_error = 0, error;
	struct delivery *d;
	size_t i;

	for (i = 0; i < sp->ngroup; i++) {
		d = sp->group[i];
		if (d->state == DELIVERY_PENDING)
			*(d->event != NULL ? &in_new : &in_rejected) = true;
	}
	if (in_new && flush_dir(sp->new) == -1)
		new_error = errno;
	if (in_rejected && flush_dir(sp->rejected) == -1)
		rejected_error = errno;
	for (i = 0; i < sp->ngroup; i++) {
		d = sp->group[i];
		error = d->event != NULL ? new_error : rejected_error;
		if (d->state == DELIVERY_PENDING && error != 0)
			delivery_set_error(d, "fsync", error);
	}
}

/*
 * Gives the delivery, which is safe now, its name in the archive.  If that
 * fails it is not acknowledged: after an I/O error XFS shuts down, and lets
 * fsync of a directory succeed for a name that is lost.  Both files stay; a
 * retry adopts them.
 */
static void
settle_delivery(struct spool *sp, struct delivery *d)
{
	char staged[ARCHIVE_PATH_SIZE], path[ARCHIVE_PATH_SIZE];
	int r;

	archive_staged_path(staged, d->day, d->hex);
	archive_path(path, d->day, d->hex);
	if (d->event == NULL || sp->archive.keep_days == 0)
		r = unlinkat(sp->archive.dir, staged, 0);
	else
		r = renameat(sp->archive.dir, staged, sp->archive.dir, path);
	if (r == -1)
		delivery_set_error(d, "rename in the archive", errno);
	else
		d->state = d->adopted ? DELIVERY_DUPLICATE : DELIVERY_STORED;
}

void
spool_commit(struct spool *sp)
{
	struct delivery *d;
	size_t i;

	if (sp->ngroup == 0)
		return;
	flush_deliveries(&sp->flusher, sp->group, sp->ngroup);
	publish_group(sp);
	flush_names(sp);
	for (i = 0; i < sp->ngroup; i++) {
		d = sp->group[i];
		if (d->state == DELIVERY_PENDING)
			settle_delivery(sp, d);
		else
			undo_delivery(sp, d);
	}
	sp->ngroup = 0;
	unlock_all(sp);
}

/* The test of GET */

/* The file that spool_try_link() makes, and its hidden name in new/. */
static void
name_trial(const struct spool *sp, struct delivery *d,
    char path[ARCHIVE_PATH_SIZE])
{
	snprintf(d->hex, sizeof(d->hex), "try-%ld", (long)getpid());
	archive_staged_path(path, sp->archive.today, d->hex);
	snprintf(d->name, sizeof(d->name), ".%s", d->hex);
}

bool
spool_try_link(struct spool *sp, struct failure *failure)
{
	struct delivery d = { .fd = -1 };
	char path[ARCHIVE_PATH_SIZE];
	bool ok = true;

	name_trial(sp, &d, path);
	/* What a process with the same number may have left. */
	unlinkat(sp->archive.dir, path, 0);
	unlinkat(sp->new, d.name, 0);
	if (!dir_is_writable(sp->rejected))
		return failure_set(failure,
		    "rejected/ in the spool can't be written", errno);
	if (create_staged(sp, &d) == -1)
		return failure_set(failure,
		    "a file in archive/ can't be made", errno);
	if (write_all(d.fd, d.hex, strlen(d.hex)) == -1)
		ok = failure_set(failure,
		    "a file in archive/ can't be written", errno);
	close(d.fd);
	if (ok && linkat(sp->archive.dir, path, sp->new, d.name, 0) == -1)
		ok = failure_set(failure,
		    "a file in archive/ can't be linked into new/", errno);
	else if (ok && unlinkat(sp->new, d.name, 0) == -1)
		ok = failure_set(failure,
		    "a file in new/ can't be removed", errno);
	if (unlinkat(sp->archive.dir, path, 0) == -1 && ok)
		ok = failure_set(failure,
		    "a file in archive/ can't be removed", errno);
	return ok;
}
