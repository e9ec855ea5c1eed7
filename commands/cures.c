/* SPDX-License-Identifier: ISC */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../spool/contents.h"
#include "../spool/name.h"
#include "../spool/spool.h"
#include "cures.h"
#include "report.h"

#define PATH_SIZE	4096

#define ANOTHER		"let PROTOCOL_HOOK_SPOOL name a directory of its own"
#define DISK_FAILS	"see dmesg: the disk may be failing"
#define MODULE_FORBIDS	"a security module forbids it: see dmesg and its log"
#define NO_LOCKS	"put it where there are locks and hard links"

/* What a spool has in it, and the spool itself. */
static const char *const spool_names[] = { "", "new", "archive", "rejected",
    "lock" };

#define SPOOL_NAMES	(sizeof(spool_names) / sizeof(spool_names[0]))

/* What the directory is */

bool
cure_is_system_directory(const char *path)
{
	static const char *const dirs[] = { "/", "/bin", "/boot", "/dev",
	    "/dev/shm", "/etc", "/home", "/lib", "/media", "/mnt", "/opt",
	    "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr",
	    "/usr/local", "/var", "/var/cache", "/var/lib", "/var/log",
	    "/var/mail", "/var/opt", "/var/spool", "/var/tmp" };
	char real[PATH_MAX];
	struct stat st;
	size_t i;

	/* A directory for everybody's temporary files. */
	if (stat(path, &st) == 0 && (st.st_mode & S_ISVTX) != 0 &&
	    (st.st_mode & S_IWOTH) != 0)
		return true;
	if (realpath(path, real) == NULL)
		return false;
	for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		if (strcmp(real, dirs[i]) == 0)
			return true;
	return false;
}

/* Whether it is the spool's alone, so that a cure may change it. */
static bool
may_be_changed(const char *path)
{
	return !cure_is_system_directory(path) &&
	    !spool_path_is_foreign(path) && access(path, R_OK) == 0;
}

/* The spool's name that a failure is about, "" for the spool itself. */
static const char *
find_spool_name(const char *what)
{
	const char *at;
	size_t i, n;

	for (i = 1; i < SPOOL_NAMES; i++) {
		n = strlen(spool_names[i]);
		if ((at = strstr(what, spool_names[i])) != NULL &&
		    (at[n] == '/' || strncmp(at + n, " in the spool", 13) == 0))
			return spool_names[i];
	}
	return "";
}

/* Access */

/* Prints the first directory on the way to the spool that is closed to us. */
static bool
print_closed_directory(const struct check *c)
{
	char way[PATH_SIZE], *slash;

	if (snprintf(way, sizeof(way), "%s", c->cfg->spool) >=
	    (int)sizeof(way))
		return false;
	for (slash = way; (slash = strchr(slash + 1, '/')) != NULL;) {
		*slash = '\0';
		if (faccessat(AT_FDCWD, way, X_OK, AT_EACCESS) == -1) {
			printf("let %s pass through ", c->user);
			report_path(way);
			printf(", or put the spool elsewhere");
			return true;
		}
		*slash = '/';
	}
	return false;
}

/* Prints the command that lets us use SUB of the spool; false if we can. */
static bool
print_access_command(const struct check *c, const char *sub)
{
	char name[PATH_SIZE], command[128];
	struct stat st;
	bool is_dir;

	if (snprintf(name, sizeof(name), "%s/%s", c->cfg->spool, sub) >=
	    (int)sizeof(name) || lstat(name, &st) == -1)
		return false;
	is_dir = S_ISDIR(st.st_mode);
	if (S_ISLNK(st.st_mode) || faccessat(AT_FDCWD, name, is_dir ?
	    R_OK | W_OK | X_OK : W_OK, AT_EACCESS) == 0)
		return false;
	if (st.st_uid == geteuid())
		snprintf(command, sizeof(command), "chmod %s", is_dir ?
		    "u+rwx" : "u+w");
	else	/* -R only below the spool, where nothing is but deliveries */
		snprintf(command, sizeof(command), "chown %s%s", *sub != '\0' &&
		    is_dir ? "-R " : "", c->user);
	report_command(command, c->cfg->spool, sub);
	return true;
}

/* For a directory that we can't list: it may be anything. */
static void
print_unlisted_cure(const struct check *c)
{
	char command[128];
	struct stat st;

	if (stat(c->cfg->spool, &st) == -1 ||
	    cure_is_system_directory(c->cfg->spool))
		printf(ANOTHER);
	else if (st.st_uid == geteuid())
		report_command("chmod u+rwx", c->cfg->spool, "");
	else {
		printf("if there is nothing else in it, ");
		snprintf(command, sizeof(command), "chown %s", c->user);
		report_command(command, c->cfg->spool, "");
	}
}

static void
print_access_cure(const struct check *c, const char *what)
{
	char today[sizeof("archive/") + DAY_SIZE] = "archive/";
	size_t i;

	(void)what;
	if (print_closed_directory(c))
		return;
	if (!c->may_own)
		printf("it is %s's: as root, protocol-hook check",
		    c->owner[0] != '\0' ? c->owner : "somebody else");
	else if (access(c->cfg->spool, R_OK | X_OK) == -1)
		print_unlisted_cure(c);
	else if (!may_be_changed(c->cfg->spool))
		printf(ANOTHER);
	else {
		for (i = 0; i < SPOOL_NAMES; i++)
			if (print_access_command(c, spool_names[i]))
				return;
		day_format(today + strlen(today), time(NULL));
		if (!print_access_command(c, today))
			printf(MODULE_FORBIDS);
	}
}

/* Other cures that depend on the spool */

/* Only who is told whom the receiver runs as can make the spool for it. */
static void
print_missing_cure(const struct check *c, const char *what)
{
	char command[64 + 2 * IDENTITY_NAME_SIZE];

	(void)what;
	if (c->owner[0] != '\0')
		printf(DISK_FAILS);
	else if (c->acting_as == NULL)
		printf("protocol-hook check -u USER, USER being whom the "
		    "receiver runs as, says how to make it");
	else {
		snprintf(command, sizeof(command), "install -d -m 2750 -o %s "
		    "-g %s", c->user, c->group);
		report_command(command, c->cfg->spool, "");
	}
}

static void
print_permission_cure(const struct check *c, const char *what)
{
	const char *path = c->cfg->spool, *sub = find_spool_name(what);
	char name[PATH_SIZE];
	struct stat st;

	snprintf(name, sizeof(name), "%s/%s", path, sub);
	if (strstr(what, "others may write") != NULL ||
	    (*sub != '\0' && lstat(name, &st) == 0 && S_ISDIR(st.st_mode) &&
	    (st.st_mode & S_IWOTH) != 0)) {
		if (may_be_changed(path))
			report_command("chmod o-w", path, sub);
		else
			printf(ANOTHER);
	} else if (strstr(what, "link") != NULL)
		printf("put it where there are hard links, as on ext4 or XFS");
	else
		printf("take away what makes it immutable: lsattr shows it");
}

static void
print_file_type_cure(const struct check *c, const char *what)
{
	const char *sub = find_spool_name(what);

	if (*sub == '\0') {
		printf("it is a file, or below one: " ANOTHER);
		return;
	}
	printf("move ");
	report_path(c->cfg->spool);
	printf("/%s away: it must be a %s and no link", sub,
	    strcmp(sub, "lock") == 0 ? "file" : "directory");
}

/* By errno: a text, or else a function that prints one. */
static const struct {
	int error;
	const char *text;
	void (*print)(const struct check *, const char *what);
} cures[] = {
	{ 0, NULL, print_permission_cure },
	{ EPERM, NULL, print_permission_cure },
	{ EACCES, NULL, print_access_cure },
	{ ENOENT, NULL, print_missing_cure },
	{ ENOTDIR, NULL, print_file_type_cure },
	{ EISDIR, NULL, print_file_type_cure },
	{ ELOOP, NULL, print_file_type_cure },
	{ ENXIO, NULL, print_file_type_cure },
	{ EXDEV, "mount the whole spool, not a part of it", NULL },
	{ ENOTEMPTY, ANOTHER, NULL },
	{ EROFS, "mount it read-write; a systemd unit also needs it in "
	    "ReadWritePaths=", NULL },
	{ ENOSPC, "remove files there, or enlarge it", NULL },
	{ EDQUOT, "remove files there, or raise the user's quota", NULL },
	{ EFBIG, "raise the limit of file sizes (ulimit -f)", NULL },
	{ EMFILE, "raise the limit of open files (ulimit -n)", NULL },
	{ ENFILE, "raise the limit of open files (sysctl fs.file-max)", NULL },
	{ ENOMEM, "free some memory", NULL },
	{ EAGAIN, "another process holds a lock there for long: is one "
	    "stopped?", NULL },
	{ ENOLCK, NO_LOCKS, NULL },
	{ ENOSYS, NO_LOCKS, NULL },
	{ EMLINK, NO_LOCKS, NULL },
	{ EOPNOTSUPP, NO_LOCKS, NULL },
	{ ENAMETOOLONG, "the path is too long: " ANOTHER, NULL },
	{ ESTALE, "mount it again", NULL },
};

void
cure_print(const struct check *c, const struct failure *failure)
{
	size_t i;

	for (i = 0; i < sizeof(cures) / sizeof(cures[0]); i++) {
		if (failure->error != cures[i].error)
			continue;
		if (cures[i].text != NULL)
			printf("%s", cures[i].text);
		else
			cures[i].print(c, failure->what);
		return;
	}
	printf(DISK_FAILS);
}

void
cure_print_for_day(const struct check *c, const char *day, int error)
{
	const struct failure failure = { "look for a repeat", error };

	if (error == ENOTDIR || error == ELOOP)
		printf("move it away: days are directories");
	else if (error != EACCES || !c->may_own)
		cure_print(c, &failure);
	else if (!print_access_command(c, day))
		printf(MODULE_FORBIDS);
}
