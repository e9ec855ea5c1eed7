/* SPDX-License-Identifier: ISC */
/*
 * check: everything that could make a delivery fail, one line each: ok, or what
 * to do about it.  It goes the receiver's own way as far as a test delivery in
 * rejected/, which no reader looks at; nothing ever appears in new/.
 */
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>
#include <nettle/version.h>

#include "hook.h"

#define KEY_SHORT	16		/* bytes */
#define YEAR_2025	1735689600	/* before this was written */

enum verdict { OK, NOTE, FAIL };

static const char *const words[] = { "ok", "note", "FAIL" };
static bool failed;
static char user[64];

__attribute__((format(printf, 3, 4)))
static void
say(enum verdict verdict, const char *what, const char *format, ...)
{
	va_list ap;

	printf("%-5s %-24s ", words[verdict], what);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
	failed |= verdict == FAIL;
}

static void
check_user(void)
{
	struct passwd *pw = getpwuid(geteuid());
	struct group *gr = getgrgid(getegid());
	mode_t mask = umask(022);

	umask(mask);
	if (pw != NULL)
		snprintf(user, sizeof(user), "%s", pw->pw_name);
	else
		snprintf(user, sizeof(user), "%ld", (long)geteuid());
	if (geteuid() == 0)
		say(NOTE, "user", "root may do what the receiver may not: "
		    "protocol-hook check -u USER");
	else
		say(OK, "user", "%s (uid %ld), group %s, umask %03o", user,
		    (long)geteuid(), gr != NULL ? gr->gr_name : "?",
		    (unsigned int)mask);
}

/* Configuration */

static void
say_variable(const char *name, const char *value, const char *why)
{
	if (why == NULL)
		say(OK, name, "%s", value);
	else
		say(FAIL, name, "%s: correct or remove it", why);
}

/* Whether it can be read. */
static bool
check_secret_file(const char *path)
{
	struct stat st;

	if (access(path, R_OK) == -1 || stat(path, &st) == -1) {
		say(FAIL, "secret file", errno == ENOENT ?
		    "%s is not there: put the key into it, readable by %s" :
		    "%s can't be read by %s: change its owner, its mode or "
		    "its directory's", path, user);
		return false;
	}
	if ((st.st_mode & S_IRWXO) != 0)
		say(FAIL, "secret file", "every user may read %s: chmod o= %s",
		    path, path);
	else
		say(OK, "secret file", "%s, mode %03o, uid %ld, gid %ld", path,
		    (unsigned int)st.st_mode & 0777, (long)st.st_uid,
		    (long)st.st_gid);
	return true;
}

static void
check_keys(struct config *cfg)
{
	const struct keys *k = &cfg->keys;
	const char *why = cfg->key_error[0] != '\0' ? cfg->key_error : NULL;

	if (cfg->secret_file != NULL) {
		if (!check_secret_file(cfg->secret_file))
			return;
		/* Before, we may have been root. */
		why = config_reload(cfg);
	}
	if (why != NULL)
		say(FAIL, "key", "%s: set PROTOCOL_HOOK_SECRET_FILE (or "
		    "PROTOCOL_HOOK_SECRET) where the receiver is started", why);
	else if (k->shortest < KEY_SHORT)
		say(NOTE, "key", "one has only %zu bytes, which can be "
		    "guessed: is it whole?", k->shortest);
	else if (k->odd[0] != 0)
		say(NOTE, "key", "one begins or ends with a space or a quote: "
		    "is that meant?");
	else
		say(OK, "key", "%u, the shortest of %zu bytes; not Protocol's "
		    "if the log has result=unauthorized", k->n, k->shortest);
}

static void
check_clock(const char *spool)
{
	time_t now = time(NULL);
	struct stat st;
	char path[4096];

	snprintf(path, sizeof(path), "%s/new", spool);
	if (now < YEAR_2025)
		say(FAIL, "clock", "it is before 2025: set it, names and "
		    "archive depend on it");
	else if (stat(path, &st) == 0 && st.st_mtime > now + SECONDS_A_DAY)
		say(FAIL, "clock", "deliveries came later than now: set it, "
		    "it was put back");
	else
		say(OK, "clock", "%lld", (long long)now);
}

/* The spool */

static void
print_cure(int error, const char *path)
{
	switch (error) {
	case 0:
	case EPERM:
		printf("chmod -R o-w %s", path);
		break;
	case ENOENT:
		printf("install -d -m 750 -o %s %s", user, path);
		break;
	case EACCES:
		printf("chown -R %s %s; chmod -R u+rwX %s", user, path, path);
		break;
	case ENOTDIR:
		printf("move it away: it must be a directory and no link");
		break;
	case EISDIR:
	case ELOOP:
		printf("move it away: it must be a file and no link");
		break;
	case EXDEV:
		printf("mount the whole spool, not a part of it");
		break;
	case EROFS:
		printf("mount it read-write");
		break;
	case ENOSPC:
	case EDQUOT:
		printf("remove files there, or enlarge it");
		break;
	case ENOLCK:
	case EMLINK:
	case EOPNOTSUPP:
		printf("put it where there are locks and hard links");
		break;
	default:
		printf("see dmesg: the disk may be failing");
	}
}

/* With errno. */
static void
say_fault(const char *what, const char *path, const char *step)
{
	int error = errno;

	printf("%-5s %-24s %s, as %s: %s%s%s: ", words[FAIL], what, path,
	    user, step, error != 0 ? ": " : "",
	    error != 0 ? strerror(error) : "");
	print_cure(error, path);
	putchar('\n');
	failed = true;
}

static void
check_space(const struct spool *sp)
{
	struct statvfs vfs = { 0 };
	uint64_t free, inodes;

	fstatvfs(sp->new, &vfs);
	free = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	inodes = vfs.f_favail;
	if (sp->low != NULL)
		say(FAIL, "space", "%s, %" PRIu64 "M and %" PRIu64 " inodes "
		    "free: %s: remove files there, or enlarge it", sp->path,
		    free >> 20, inodes, sp->low);
	else
		say(free / 2 < sp->min_free ? NOTE : OK, "space", "%" PRIu64
		    "M and %" PRIu64 " inodes free", free >> 20, inodes);
}

/* As the receiver does, for good. */
static void
check_sandbox(const struct spool *sp, const char *secret_file)
{
	const char *why = sandbox_enter(sp->dir, sp->path, secret_file);

	say(why == NULL ? OK : NOTE, "sandbox", "%s", why == NULL ? "on" : why);
}

/* Every delivery is looked for in each of them; those of check are not. */
static bool
check_days(const struct spool *sp)
{
	char path[4096];
	struct stat st;
	size_t i;

	for (i = 0; i < sp->days; i++) {
		snprintf(path, sizeof(path), "%s/archive/%s/.", sp->path,
		    sp->day[i]);
		if (stat(path, &st) == 0 || errno == ENOENT)
			continue;
		path[strlen(path) - 2] = '\0';
		say_fault("archive/", path, "look for a repeat");
		return false;
	}
	return true;
}

/* The receiver's own way, with bytes that are no event. */
static void
check_delivery(struct spool *sp)
{
	int64_t began = microseconds();
	struct delivery d = { 0 };
	double ms;
	char body[64];
	int n = snprintf(body, sizeof(body), "check %ld %lld", (long)getpid(),
	    (long long)time(NULL));

	spool_take(sp, &d, (const uint8_t *)body, (size_t)n, true);
	spool_commit(sp);
	ms = (double)(microseconds() - began) / 1e3;
	if (d.state == SPOOL_STORED)
		unlinkat(sp->rejected, d.name, 0);
	errno = d.error;
	if (d.state != SPOOL_STORED)
		say_fault("test delivery", sp->path, d.step);
	else if (!dir_writable(sp->new) || spool_flush(sp) == -1)
		say_fault("new/", sp->path, "write and flush");
	else if (!dir_writable(sp->archive))	/* tomorrow */
		say_fault("archive/", sp->path, "make a day's directory");
	else if (sp->keep_days == 0 || check_days(sp))
		say(OK, "test delivery", "written, flushed, linked and "
		    "removed in %.1f ms", ms);
}

static void
check_spool(const struct config *cfg)
{
	struct spool sp;
	struct stat st = { 0 };
	const char *why;

	errno = 0;
	spool_init(&sp, cfg);
	if ((why = spool_check(&sp)) != NULL) {
		say_fault("spool", cfg->spool, why);
		return;
	}
	fstat(sp.dir, &st);
	say(OK, "spool", "mode %03o, uid %ld, gid %ld, %s",
	    (unsigned int)st.st_mode & 07777, (long)st.st_uid,
	    (long)st.st_gid, sp.own_fs ? "a file system of its own" :
	    "part of a file system");
	check_space(&sp);
	check_sandbox(&sp, cfg->secret_file);
	if (sp.low == NULL)
		check_delivery(&sp);
}

int
command_check(struct config *cfg, const struct arguments *a)
{
	(void)a;
	check_user();
	config_each(say_variable);
	config_each_unknown(say_variable);
	check_keys(cfg);
	check_clock(cfg->spool);
	say(OK, "libraries", "json-c %s, Nettle %d.%d", json_c_version(),
	    nettle_version_major(), nettle_version_minor());
	if (cfg->error[0] == '\0')
		check_spool(cfg);
	return failed;
}
