/* SPDX-License-Identifier: ISC */
/*
 * check: whether the spool can be used, by doing what the receiver does, up to
 * a test delivery.  That goes to rejected/, which consumers don't read, so that
 * nothing ever appears in new/.
 */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../sandbox.h"
#include "../spool/contents.h"
#include "../spool/spool.h"
#include "../util.h"
#include "check.h"
#include "cures.h"
#include "report.h"

#define PATH_SIZE	4096
#define MIB_BITS	20

/* Begins a line for PATH, the spool or a part of it; a cure is to follow. */
static void
begin_failure_line(const struct check *c, const char *subject,
    const char *path, const struct failure *failure)
{
	/* ENOTEMPTY is not from the system: its text would puzzle. */
	bool has_error = failure->error != 0 && failure->error != ENOTEMPTY;

	report_begin(VERDICT_FAIL, subject);
	report_path(path);
	printf(", as %s: %s%s%s: ", c->user, failure->what,
	    has_error ? ": " : "", has_error ? strerror(failure->error) : "");
}

static void
report_failure(const struct check *c, const char *subject,
    const struct failure *failure)
{
	begin_failure_line(c, subject, c->cfg->spool, failure);
	cure_print(c, failure);
	putchar('\n');
}

static void
report_errno(const struct check *c, const char *subject, const char *what)
{
	const struct failure failure = { what, errno };

	report_failure(c, subject, &failure);
}

/* Free space */

static void
report_refusal(const struct check *c, const struct spool_space *space,
    const char *refusal, const char *free_text, const char *below)
{
	const struct failure read_only = { refusal, EROFS };

	if (space->is_read_only) {
		report_failure(c, "space", &read_only);
		return;
	}
	report_begin(VERDICT_FAIL, "space");
	report_path(c->cfg->spool);
	printf(", %s: %s: remove files there, or enlarge it\n", free_text,
	    space->free_bytes < c->cfg->min_free ? below : refusal);
}

static void
check_space(const struct check *c, const struct spool *spool)
{
	const uint64_t min_free = c->cfg->min_free;
	const bool in_bytes = min_free < 1 << MIB_BITS;
	const char *refusal = spool_refusal(spool);
	char free_text[96], inodes[48] = "", below[64];
	struct spool_space space;

	if (spool_space(spool, &space) == -1) {
		report_errno(c, "space", "free space can't be read");
		return;
	}
	if (space.has_inodes)
		snprintf(inodes, sizeof(inodes), " and %" PRIu64 " inodes",
		    space.free_inodes);
	snprintf(free_text, sizeof(free_text), "%" PRIu64 "M%s free",
	    space.free_bytes >> MIB_BITS, inodes);
	snprintf(below, sizeof(below), "below PROTOCOL_HOOK_MIN_FREE (%" PRIu64
	    "%s)", in_bytes ? min_free : min_free >> MIB_BITS,
	    in_bytes ? "" : "M");
	if (refusal != NULL)
		report_refusal(c, &space, refusal, free_text, below);
	else if (space.free_bytes / 2 < min_free)
		report_line(VERDICT_NOTE, "space", "%s; deliveries get 503 %s",
		    free_text, below);
	else
		report_line(VERDICT_OK, "space", "%s", free_text);
}

/* Test delivery */

/*
 * Each delivery is looked up in all days that are searched; the test delivery
 * is not, as it goes to rejected/.
 */
static bool
check_days(const struct check *c, const struct spool *spool)
{
	char path[PATH_SIZE], sub[sizeof("archive/") + DAY_SIZE];
	struct failure failure = { "look for a repeat", 0 };
	const char *day;
	struct stat st;
	size_t i;

	for (i = 0; (day = spool_searched_day(spool, i)) != NULL; i++) {
		snprintf(sub, sizeof(sub), "archive/%s", day);
		snprintf(path, sizeof(path), "%s/%s/.", c->cfg->spool, sub);
		if (stat(path, &st) == 0 || errno == ENOENT)
			continue;
		failure.error = errno;
		path[strlen(path) - 2] = '\0';
		begin_failure_line(c, "archive/", path, &failure);
		cure_print_for_day(c, sub, failure.error);
		putchar('\n');
		return false;
	}
	return true;
}

static bool
may_make_names(const struct spool *spool, const char *sub)
{
	return faccessat(spool_fd(spool), sub, W_OK | X_OK, AT_EACCESS) == 0;
}

/* Bytes that are no event, and differ from those of any other check. */
static bool
store_test_delivery(struct spool *spool, struct failure *failure)
{
	struct delivery d = { 0 };
	char body[64], path[sizeof("rejected/") + NAME_SIZE];
	int n = snprintf(body, sizeof(body), "check %ld %lld", (long)getpid(),
	    (long long)time(NULL));

	spool_stage(spool, &d, (const uint8_t *)body, (size_t)n, true);
	spool_commit(spool);
	if (d.state != DELIVERY_STORED) {
		*failure = d.failure;
		return false;
	}
	snprintf(path, sizeof(path), "rejected/%s", d.name);
	unlinkat(spool_fd(spool), path, 0);
	return true;
}

static void
check_delivery(const struct check *c, struct spool *spool)
{
	int64_t began = clock_us();
	struct failure failure;
	double ms;

	if (!store_test_delivery(spool, &failure)) {
		report_failure(c, "test delivery", &failure);
		return;
	}
	ms = (double)(clock_us() - began) / 1e3;
	if (!spool_try_link(spool, &failure))
		report_failure(c, "test delivery", &failure);
	else if (!may_make_names(spool, "new") || spool_flush_new(spool) == -1)
		report_errno(c, "new/", "write and flush");
	else if (!may_make_names(spool, "archive"))	/* as tomorrow */
		report_errno(c, "archive/", "make a day's directory");
	else if (c->cfg->keep_days == 0 || check_days(c, spool))
		report_line(VERDICT_OK, "test delivery", "written, flushed, "
		    "linked and removed in %.1f ms", ms);
}

/* Opening */

/*
 * Whether the spool may be opened, which makes what is missing in it.  Files of
 * another user than the receiver's would stop the receiver.
 */
static bool
may_be_opened(const struct check *c)
{
	static const struct failure foreign = {
	    "the directory is not empty and not a spool", ENOTEMPTY };
	static const struct failure system = {
	    "this is a directory of the system's", ENOTEMPTY };
	const char *path = c->cfg->spool;

	if (spool_path_is_foreign(path)) {
		report_failure(c, "spool", &foreign);
		return false;
	}
	if (c->owner[0] == '\0' || c->is_receiver)
		return true;
	if (cure_is_system_directory(path)) {
		report_failure(c, "spool", &system);
		return false;
	}
	if (check_has_name(path, "new") && check_has_name(path, "archive") &&
	    check_has_name(path, "rejected") && check_has_name(path, "lock"))
		return true;
	report_line(VERDICT_NOTE, "spool", "not opened: what is missing in it "
	    "is for the receiver to make, not for %s", c->user);
	return false;
}

static void
report_spool(const struct spool *spool)
{
	const char *last_day = spool_expiry_held(spool);
	struct stat st = { 0 };

	fstat(spool_fd(spool), &st);
	report_line(VERDICT_OK, "spool", "mode %03o, uid %ld, gid %ld, %s",
	    (unsigned int)st.st_mode & 07777, (long)st.st_uid,
	    (long)st.st_gid, spool_has_own_fs(spool) ?
	    "a file system of its own" : "part of a file system");
	if (last_day != NULL)
		report_line(VERDICT_NOTE, "archive/", "nothing was archived "
		    "after %s: if the clock is right, what is older than "
		    "KEEP_DAYS expires tomorrow", last_day);
}

/* Confines the process, as the receiver does. */
static void
check_sandbox(const struct check *c, const struct spool *spool)
{
	const char *why = sandbox_enter(spool_fd(spool), c->cfg->spool,
	    c->cfg->secret_file);

	report_line(why == NULL ? VERDICT_OK : VERDICT_NOTE, "sandbox", "%s",
	    why == NULL ? "on" : why);
}

static void
check_open_spool(const struct check *c, struct spool *spool)
{
	report_spool(spool);
	check_space(c, spool);
	check_sandbox(c, spool);
	if (!c->is_receiver)
		report_line(VERDICT_NOTE, "test delivery", "left out, as it "
		    "would make files of %s's there: as root, protocol-hook "
		    "check", c->user);
	else if (spool_refusal(spool) == NULL)
		check_delivery(c, spool);
}

void
check_spool(const struct check *c)
{
	struct failure failure = { "memory", ENOMEM };
	struct spool *spool;

	if (!may_be_opened(c))
		return;
	if ((spool = spool_new(c->cfg)) == NULL) {
		report_failure(c, "spool", &failure);
		return;
	}
	if (spool_refresh(spool, &failure))
		check_open_spool(c, spool);
	else
		report_failure(c, "spool", &failure);
	spool_free(spool);
}
