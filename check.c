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
#include <limits.h>
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
#define PATH_SIZE	4096
#define TIME_SIZE	sizeof("YYYY-MM-DDThh:mm:ssZ")
#define SERVICE_CHECK	"systemctl start protocol-hook-check; " \
			    "journalctl -n 20 -o cat -u protocol-hook-check"

enum verdict { OK, NOTE, FAIL };

static const char *const words[] = { "ok", "note", "FAIL" };
static bool failed;

/* As whom we check, and what for. */
static struct {
	char name[64], group[64];
	char owner[64];		/* the spool's, or "" where it is missing */
	bool told;		/* we were told whom the receiver runs as */
	bool receiver;		/* ... or may take it that it runs as us */
	bool own;		/* a cure may give the spool to us */
} me;

/* Lines */

static void
begin(enum verdict verdict, const char *what)
{
	printf("%-5s %-24s ", words[verdict], what);
	failed |= verdict == FAIL;
}

__attribute__((format(printf, 3, 4)))
static void
say(enum verdict verdict, const char *what, const char *format, ...)
{
	va_list ap;

	begin(verdict, what);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
}

/* A path; a terminal must not obey what is in it. */
static void
print_path(const char *path)
{
	for (; *path != '\0'; path++)
		putchar((unsigned char)*path < ' ' || *path == '\x7f' ? '?' :
		    *path);
}

/* As one word of a shell's command line, SUB below PATH or "". */
static void
print_word(const char *path, const char *sub)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "abcdefghijklmnopqrstuvwxyz0123456789/._+,:@%-";
	bool quoted = path[strspn(path, plain)] != '\0';

	if (*path == '-')
		printf("./");
	if (quoted)
		putchar('\'');
	for (; *path != '\0'; path++)
		if (*path == '\'')
			printf("'\\''");
		else
			putchar((unsigned char)*path < ' ' ? '?' : *path);
	printf("%s%s%s", *sub != '\0' ? "/" : "", sub, quoted ? "'" : "");
}

static void
put_time(char text[TIME_SIZE], time_t t)
{
	unsigned int s = t > 0 ? (unsigned int)(t % SECONDS_A_DAY) : 0;
	struct date date;

	date_utc(&date, t);
	snprintf(text, TIME_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ",
	    date.year % 10000, date.month, date.day, s / 3600, s / 60 % 60,
	    s % 60);
}

/* What the spool is */

/* What a directory has in it. */
struct content {
	unsigned int own;	/* names of the spool's */
	bool lock;		/* that one is among them */
	bool other;		/* what is neither the spool's nor a reader's */
};

#define CONTENT_OWN	3	/* so many of 4 names make it a spool ... */
#define CONTENT_LOCKED	2	/* ... or so many, if lock is one */

static bool
is_own(const char *name)
{
	return strcmp(name, "new") == 0 || strcmp(name, "archive") == 0 ||
	    strcmp(name, "rejected") == 0 || strcmp(name, "lock") == 0;
}

static int
look_at_entry(void *arg, int dir, const struct dirent *e)
{
	struct content *c = arg;
	struct stat st, parent;

	c->lock |= strcmp(e->d_name, "lock") == 0;
	if (is_own(e->d_name))
		c->own++;
	/* Readers make directories of their own, maybe before us. */
	else if (strcmp(e->d_name, "lost+found") != 0 && (fstatat(dir,
	    e->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    !S_ISDIR(st.st_mode) || fstat(dir, &parent) == -1 ||
	    parent.st_uid == 0))
		c->other = true;
	return 0;
}

/* Where other programs have their things, even while it is empty. */
static bool
is_system(const char *path)
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

/* Whether it is in use for something else: then nothing is made in it. */
static bool
is_foreign(const char *path)
{
	struct content c = { 0 };

	return dir_each(AT_FDCWD, path, look_at_entry, &c) == 0 && c.other &&
	    c.own < (c.lock ? CONTENT_LOCKED : CONTENT_OWN);
}

/* Whether it is the spool's alone, so that a cure may change its mode. */
static bool
is_spool(const char *path)
{
	return !is_system(path) && !is_foreign(path) &&
	    access(path, R_OK) == 0;
}

/* As whom */

static void
put_user(char name[64], uid_t uid)
{
	struct passwd *pw = getpwuid(uid);

	if (pw != NULL)
		snprintf(name, 64, "%s", pw->pw_name);
	else
		snprintf(name, 64, "%ld", (long)uid);
}

static bool
exists(const char *path, const char *sub)
{
	char name[PATH_SIZE];
	struct stat st;

	return snprintf(name, sizeof(name), "%s/%s", path, sub) <
	    (int)sizeof(name) && lstat(name, &st) == 0;
}

static void
set_me(const struct config *cfg, const struct arguments *a)
{
	struct group *gr = getgrgid(getegid());
	struct stat st;

	put_user(me.name, geteuid());
	if (gr != NULL)
		snprintf(me.group, sizeof(me.group), "%s", gr->gr_name);
	else
		snprintf(me.group, sizeof(me.group), "%ld", (long)getegid());
	me.told = me.receiver = a->whom != NULL;
	if (stat(cfg->spool, &st) == -1 || !S_ISDIR(st.st_mode))
		return;
	put_user(me.owner, st.st_uid);
	me.own = st.st_uid == geteuid() || (st.st_uid == 0 && me.told);
	/* A fresh spool that is root's: somebody made it, and forgot whose. */
	me.receiver = me.told || (st.st_uid == geteuid() &&
	    (geteuid() != 0 || exists(cfg->spool, "new") ||
	    is_foreign(cfg->spool)));
}

static void
check_user(const struct config *cfg, const struct arguments *a)
{
	const struct service *sv = a->service;
	mode_t mask = umask(022);
	char who[256];

	umask(mask);
	set_me(cfg, a);
	snprintf(who, sizeof(who), "%s (uid %ld), group %s, umask %03o",
	    me.name, (long)geteuid(), getgrgid(getegid()) != NULL ? me.group :
	    "?", (unsigned int)mask);
	if (me.owner[0] != '\0' && !me.own)
		say(NOTE, "user", "%s%s%s; but the spool is %s's: this holds "
		    "for %s only", who, me.told ? ": " : "", me.told ?
		    a->whom : "", me.owner, me.name);
	else if (me.told && a->flag['u'] == NULL && sv->user[0] != '\0' &&
	    strcmp(sv->user, me.name) != 0)
		say(NOTE, "user", "%s: %s; but protocol-hook.service runs as "
		    "%s", who, a->whom, sv->user);
	else if (me.told)
		say(OK, "user", "%s: %s", who, a->whom);
	else if (me.owner[0] == '\0')
		say(NOTE, "user", "%s; there is no spool to say whom the "
		    "receiver runs as: as root, protocol-hook check -u USER",
		    who);
	else if (geteuid() != 0)
		say(OK, "user", "%s: the spool's owner", who);
	else if (me.receiver)
		say(NOTE, "user", "root, the spool's owner, may do what the "
		    "receiver may not: protocol-hook check -u USER");
	else
		say(FAIL, "user", "the spool is fresh and root's, and no unit "
		    "says whom the receiver runs as: protocol-hook check "
		    "-u USER");
}

/* Configuration */

static void
say_variable(const char *name, const char *value, const char *why)
{
	if (why != NULL)
		say(FAIL, name, "%s: correct or remove it", why);
	else {
		begin(OK, name);
		print_path(value);
		putchar('\n');
	}
}

static void
check_service(const struct service *sv)
{
	const char *and = sv->environment != NULL && sv->secret != NULL ?
	    " and " : "";

	if (sv->error[0] != '\0')
		say(FAIL, "environment", "%s: correct it, or ask the service: "
		    SERVICE_CHECK, sv->error);
	else if (*and != '\0' || sv->environment != NULL || sv->secret != NULL)
		say(OK, "environment", "%s%s%s, as no PROTOCOL_HOOK_ variable "
		    "is set in this shell", sv->environment != NULL ?
		    sv->environment : "", and, sv->secret != NULL ?
		    sv->secret : "");
}

/* What a key file that can't be used needs; by what is wrong with it. */
static const struct {
	const char *why, *cure;
} key_cures[] = {
	{ "is not set", "set PROTOCOL_HOOK_SECRET_FILE (or "
	    "PROTOCOL_HOOK_SECRET) where the receiver is started, and in this "
	    "shell" },
	{ "names no file", "let it name the file that has the key, or "
	    "remove it" },
	{ "together with a key", "remove PROTOCOL_HOOK_SECRET and "
	    "PROTOCOL_HOOK_SECRET_PREVIOUS, or this one" },
	{ "has no key", "put the key into the file, on a line of its own" },
	{ "too many keys", "remove old keys from the end of the file" },
	{ "larger than", "put only the key into the file" },
	{ "has a", "put only the key there, as plain text, each on a line of "
	    "its own" },
	{ "has the name", "put only the key there, without NAME=" },
};

static void
say_key_error(const char *why, bool unit)
{
	const char *cure = "see dmesg: the disk may be failing";
	size_t i;

	for (i = 0; i < sizeof(key_cures) / sizeof(key_cures[0]); i++)
		if (strstr(why, key_cures[i].why) != NULL) {
			cure = key_cures[i].cure;
			break;
		}
	say(FAIL, "key", "%s: %s%s", why, cure, i == 0 && unit ?
	    "; or ask the service: " SERVICE_CHECK : "");
}

/* Why a key may not be what was meant; the first that is so is said. */
static const struct {
	unsigned int odd;
	const char *what;
} key_notes[] = {
	{ ODD_NAME, "looks like NAME=value: only the value is the key" },
	{ ODD_HASH, "begins with #: comments are keys, too" },
	{ ODD_ESCAPE, "has a backslash with n or r, which is no newline here" },
	{ ODD_BYTE, "has a character that is not plain ASCII, or is "
	    "invisible: copy it again" },
	{ ODD_EDGE, "begins or ends with a space or a quote: is that meant?" },
	{ ODD_SPACE, "has white space in it: is that meant?" },
};

static bool
note_keys(const struct keys *k)
{
	const size_t n = sizeof(key_notes) / sizeof(key_notes[0]);
	bool any = k->shortest < KEY_SHORT;
	unsigned int i;
	size_t j;

	if (any)
		say(NOTE, "key", "one has only %zu bytes, which can be "
		    "guessed: is it whole?", k->shortest);
	for (i = 0; i < k->n; i++)
		for (j = 0; j < n; j++)
			if ((k->odd[i] & key_notes[j].odd) != 0) {
				say(NOTE, "key", "number %u %s", i + 1,
				    key_notes[j].what);
				any = true;
				break;
			}
	return any;
}

static void
say_unreadable(const char *path, int error, const struct service *sv)
{
	begin(FAIL, "secret file");
	print_path(path);
	if (error == ENOENT)
		printf(" is not there: put the key into it, readable by %s",
		    me.name);
	else if (sv->secret != NULL)
		printf(" can't be read by %s: as root, protocol-hook check; "
		    "or ask the service: " SERVICE_CHECK, me.name);
	else
		printf(" can't be read by %s: %s: change its owner, its mode "
		    "or its directory's", me.name, strerror(error));
	putchar('\n');
}

static void
say_exposed(const char *path)
{
	struct statvfs vfs = { 0 };

	begin(FAIL, "secret file");
	printf("every user may read ");
	print_path(path);
	printf(": ");
	if (statvfs(path, &vfs) == 0 && (vfs.f_flag & ST_RDONLY) != 0)
		printf("set its mode to 0440 where it is mounted from");
	else {
		printf("chmod o= ");
		print_word(path, "");
	}
	putchar('\n');
}

/* What WHY can't be about; only a file that has keys gets a command. */
static bool
check_secret_file(const char *path, const char *why, bool readable,
    const struct service *sv)
{
	struct stat st;

	if (stat(path, &st) == -1) {
		say_unreadable(path, errno, sv);
		return false;
	}
	if (!S_ISREG(st.st_mode)) {
		begin(FAIL, "secret file");
		print_path(path);
		printf(S_ISDIR(st.st_mode) ? " is a directory: name the file "
		    "that has the key\n" : " is not a regular file: put the "
		    "key into one\n");
		return false;
	}
	if (!readable && access(path, R_OK) == -1) {
		say_unreadable(path, errno, sv);
		return false;
	}
	if (why == NULL && (st.st_mode & S_IRWXO) != 0)
		say_exposed(path);
	else if (why == NULL) {
		begin(OK, "secret file");
		print_path(path);
		printf(", mode %03o, uid %ld, gid %ld\n",
		    (unsigned int)st.st_mode & 0777, (long)st.st_uid,
		    (long)st.st_gid);
	}
	return true;
}

static void
check_keys(struct config *cfg, const struct service *sv)
{
	const struct keys *k = &cfg->keys;
	const char *why = cfg->key_error[0] != '\0' ? cfg->key_error : NULL;
	const char *file = cfg->secret_file;
	bool root_reads;

	if (file != NULL && *file != '\0') {
		/* systemd reads the file for the unit, before it starts it. */
		root_reads = sv->secret != NULL && sv->credential &&
		    why == NULL && strcmp(sv->secret, file) == 0 &&
		    strcmp(me.name, sv->user) == 0;
		/* Before, we may have been root. */
		if (!root_reads)
			why = config_reload(cfg);
		if (!check_secret_file(file, why, root_reads, sv))
			return;
	}
	if (why != NULL)
		say_key_error(why, sv->unit);
	else if (!note_keys(k))
		say(OK, "key", "%u, the shortest of %zu bytes; not Protocol's "
		    "if the log has result=unauthorized", k->n, k->shortest);
}

static void
check_clock(const char *spool)
{
	time_t now = time(NULL);
	char path[PATH_SIZE], is[TIME_SIZE], was[TIME_SIZE];
	struct stat st;

	snprintf(path, sizeof(path), "%s/new", spool);
	put_time(is, now);
	if (now < YEAR_2025)
		say(FAIL, "clock", "it says %s, before 2025: set it, names and "
		    "archive depend on it", is);
	else if (stat(path, &st) == 0 && st.st_mtime > now + SECONDS_A_DAY) {
		put_time(was, st.st_mtime);
		say(FAIL, "clock", "it says %s, but something came into new/ "
		    "at %s, later than now: set it; if it is right, touch "
		    "new/", is, was);
	} else
		say(OK, "clock", "%s", is);
}

/* The spool's cures */

#define ANOTHER	"let PROTOCOL_HOOK_SPOOL name a directory of its own"

static void
print_command(const char *command, const char *path, const char *sub)
{
	printf("%s ", command);
	print_word(path, sub);
}

/* Which of the spool's own names a reason is about, or "". */
static const char *
sub_of(const char *why)
{
	static const char *const subs[] = { "new", "archive", "rejected",
	    "lock" };
	const char *at;
	size_t i, n;

	for (i = 0; i < sizeof(subs) / sizeof(subs[0]); i++) {
		n = strlen(subs[i]);
		if ((at = strstr(why, subs[i])) != NULL &&
		    (at[n] == '/' || strncmp(at + n, " in the spool", 13) == 0))
			return subs[i];
	}
	return "";
}

static void
cure_missing(const char *path)
{
	if (!me.told) {
		printf("protocol-hook check -u USER, USER being whom the "
		    "receiver runs as, says how to make it");
		return;
	}
	printf("install -d -m 2750 -o %s -g %s ", me.name, me.group);
	print_word(path, "");
}

/* The first directory on the way to PATH that we can't pass; false if none. */
static bool
print_closed(const char *path)
{
	char way[PATH_SIZE], *slash;

	if (snprintf(way, sizeof(way), "%s", path) >= (int)sizeof(way))
		return false;
	for (slash = way; (slash = strchr(slash + 1, '/')) != NULL;) {
		*slash = '\0';
		if (faccessat(AT_FDCWD, way, X_OK, AT_EACCESS) == -1) {
			printf("let %s pass through ", me.name);
			print_path(way);
			printf(", or put the spool elsewhere");
			return true;
		}
		*slash = '/';
	}
	return false;
}

/* Whether we can't use PATH/SUB, and then what to do about it. */
static bool
print_forbidden(const char *path, const char *sub)
{
	char name[PATH_SIZE], command[128];
	struct stat st;
	bool dir;

	if (snprintf(name, sizeof(name), "%s/%s", path, sub) >=
	    (int)sizeof(name) || lstat(name, &st) == -1)
		return false;
	dir = S_ISDIR(st.st_mode);
	if (S_ISLNK(st.st_mode) || faccessat(AT_FDCWD, name, dir ?
	    R_OK | W_OK | X_OK : W_OK, AT_EACCESS) == 0)
		return false;
	if (st.st_uid == geteuid())
		snprintf(command, sizeof(command), "chmod %s", dir ? "u+rwx" :
		    "u+w");
	else	/* below the spool, where nothing is but deliveries */
		snprintf(command, sizeof(command), "chown %s%s", *sub != '\0' &&
		    dir ? "-R " : "", me.name);
	print_command(command, path, sub);
	return true;
}

/* A directory that we can't list is not known to be a spool. */
static void
cure_unlisted(const char *path)
{
	struct stat st;

	if (stat(path, &st) == -1 || is_system(path))
		printf(ANOTHER);
	else if (st.st_uid == geteuid())
		print_command("chmod u+rwx", path, "");
	else {
		printf("if there is nothing else in it, chown %s ", me.name);
		print_word(path, "");
	}
}

static void
cure_access(const char *path)
{
	static const char *const subs[] = { "", "new", "archive", "rejected",
	    "lock" };
	char today[64];
	struct date date;
	size_t i;

	if (print_closed(path))
		return;
	if (!me.own) {
		printf("it is %s's: as root, protocol-hook check",
		    me.owner[0] != '\0' ? me.owner : "somebody else");
		return;
	}
	if (access(path, R_OK | X_OK) == -1) {
		cure_unlisted(path);
		return;
	}
	if (!is_spool(path)) {
		printf(ANOTHER);
		return;
	}
	for (i = 0; i < sizeof(subs) / sizeof(subs[0]); i++)
		if (print_forbidden(path, subs[i]))
			return;
	date_utc(&date, time(NULL));
	snprintf(today, sizeof(today), "archive/%04u-%02u-%02u", date.year,
	    date.month, date.day);
	if (!print_forbidden(path, today))
		printf("a security module forbids it: see dmesg and its log");
}

static void
cure_permission(const char *why, const char *path)
{
	const char *sub = sub_of(why);
	struct stat st;
	char name[PATH_SIZE];

	snprintf(name, sizeof(name), "%s/%s", path, sub);
	if (strstr(why, "others may write") != NULL ||
	    (*sub != '\0' && lstat(name, &st) == 0 &&
	    S_ISDIR(st.st_mode) && (st.st_mode & S_IWOTH) != 0)) {
		if (is_spool(path))
			print_command("chmod o-w", path, sub);
		else
			printf(ANOTHER);
	} else if (strstr(why, "link") != NULL)
		printf("put it where there are hard links, as on ext4 or XFS");
	else
		printf("take away what makes it immutable: lsattr shows it");
}

static void
cure_no_directory(const char *why, const char *path)
{
	const char *sub = sub_of(why);

	if (*sub == '\0')
		printf("it is a file, or below one: " ANOTHER);
	else {
		printf("move ");
		print_path(path);
		printf("/%s away: it must be a %s and no link", sub,
		    strcmp(sub, "lock") == 0 ? "file" : "directory");
	}
}

/* Cures that are the same for whatever it is. */
static const struct {
	int error;
	const char *cure;
} cures[] = {
	{ EXDEV, "mount the whole spool, not a part of it" },
	{ ENOTEMPTY, ANOTHER },
	{ EROFS, "mount it read-write; a systemd unit also needs it in "
	    "ReadWritePaths=" },
	{ ENOSPC, "remove files there, or enlarge it" },
	{ EDQUOT, "remove files there, or raise the user's quota" },
	{ EFBIG, "raise the limit of file sizes (ulimit -f)" },
	{ EMFILE, "raise the limit of open files (ulimit -n)" },
	{ ENFILE, "raise the limit of open files (sysctl fs.file-max)" },
	{ ENOMEM, "free some memory" },
	{ EAGAIN, "another process holds a lock there for long: is one "
	    "stopped?" },
	{ ENOLCK, "put it where there are locks and hard links" },
	{ ENOSYS, "put it where there are locks and hard links" },
	{ EMLINK, "put it where there are locks and hard links" },
	{ EOPNOTSUPP, "put it where there are locks and hard links" },
	{ ENAMETOOLONG, "the path is too long: " ANOTHER },
	{ ESTALE, "mount it again" },
	{ EIO, "see dmesg: the disk may be failing" },
};

static void
print_cure(const char *why, int error, const char *path)
{
	size_t i;

	for (i = 0; i < sizeof(cures) / sizeof(cures[0]); i++)
		if (error == cures[i].error) {
			printf("%s", cures[i].cure);
			return;
		}
	if (error == ENOENT && me.owner[0] == '\0')
		cure_missing(path);
	else if (error == EACCES)
		cure_access(path);
	else if (error == 0 || error == EPERM)
		cure_permission(why, path);
	else if (error == ENOTDIR || error == EISDIR || error == ELOOP ||
	    error == ENXIO)
		cure_no_directory(why, path);
	else
		printf("see dmesg: the disk may be failing");
}

/* Begins a line that the caller ends with a cure. */
static void
say_fault(const char *what, const char *path, const char *why, int error)
{
	bool more = error != 0 && error != ENOTEMPTY;

	begin(FAIL, what);
	print_path(path);
	printf(", as %s: %s%s%s: ", me.name, why, more ? ": " : "",
	    more ? strerror(error) : "");
}

static void
say_cured(const char *what, const char *path, const char *why, int error)
{
	say_fault(what, path, why, error);
	print_cure(why, error, path);
	putchar('\n');
}

static void
check_space(const struct spool *sp)
{
	struct statvfs vfs = { 0 };
	uint64_t room;
	char inodes[64] = "", below[64];
	const bool small = sp->min_free < 1 << 20;

	if (fstatvfs(sp->new, &vfs) == -1) {
		say_cured("space", sp->path, "free space can't be read", errno);
		return;
	}
	room = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	/* Some file systems, such as btrfs, count none. */
	if (vfs.f_files > 0)
		snprintf(inodes, sizeof(inodes), " and %" PRIu64 " inodes",
		    (uint64_t)vfs.f_favail);
	snprintf(below, sizeof(below), "below PROTOCOL_HOOK_MIN_FREE (%" PRIu64
	    "%s)", sp->min_free >> (small ? 0 : 20), small ? "" : "M");
	if (sp->low != NULL && (vfs.f_flag & ST_RDONLY) != 0)
		say_cured("space", sp->path, sp->low, EROFS);
	else if (sp->low != NULL) {
		begin(FAIL, "space");
		print_path(sp->path);
		printf(", %" PRIu64 "M%s free: %s: remove files there, or "
		    "enlarge it\n", room >> 20, inodes, room < sp->min_free ?
		    below : sp->low);
	} else if (room / 2 < sp->min_free)
		say(NOTE, "space", "%" PRIu64 "M%s free; deliveries get 503 "
		    "%s", room >> 20, inodes, below);
	else
		say(OK, "space", "%" PRIu64 "M%s free", room >> 20, inodes);
}

/* As the receiver does, for good. */
static void
check_sandbox(const struct spool *sp, const char *secret_file)
{
	const char *why = sandbox_enter(sp->dir, sp->path, secret_file);

	say(why == NULL ? OK : NOTE, "sandbox", "%s", why == NULL ? "on" : why);
}

static void
cure_day(const char *path, const char *day, int error)
{
	if (error == ENOTDIR || error == ELOOP) {
		printf("move it away: days are directories");
		return;
	}
	if (error != EACCES || !me.own)
		print_cure("look for a repeat", error, path);
	else if (!print_forbidden(path, day))
		printf("a security module forbids it: see dmesg and its log");
}

/*
 * Each delivery is looked up in each day; the one of check is not, as it goes
 * to rejected/.
 */
static bool
check_days(const struct spool *sp)
{
	char path[PATH_SIZE], day[64];
	struct stat st;
	int error;
	size_t i;

	for (i = 0; i < sp->days; i++) {
		snprintf(day, sizeof(day), "archive/%s", sp->day[i]);
		snprintf(path, sizeof(path), "%s/%s/.", sp->path, day);
		if (stat(path, &st) == 0 || errno == ENOENT)
			continue;
		error = errno;
		path[strlen(path) - 2] = '\0';
		say_fault("archive/", path, "look for a repeat", error);
		cure_day(sp->path, day, error);
		putchar('\n');
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
	const char *why;
	double ms;
	char body[64];
	int n = snprintf(body, sizeof(body), "check %ld %lld", (long)getpid(),
	    (long long)time(NULL));

	spool_take(sp, &d, (const uint8_t *)body, (size_t)n, true);
	spool_commit(sp);
	ms = (double)(microseconds() - began) / 1e3;
	if (d.state == SPOOL_STORED)
		unlinkat(sp->rejected, d.name, 0);
	if (d.state != SPOOL_STORED)
		say_cured("test delivery", sp->path, d.step, d.error);
	else if (spool_try_link(sp, &why) == -1)
		say_cured("test delivery", sp->path, why, errno);
	else if (!dir_writable(sp->new) || spool_flush(sp) == -1)
		say_cured("new/", sp->path, "write and flush", errno);
	else if (!dir_writable(sp->archive))	/* tomorrow */
		say_cured("archive/", sp->path, "make a day's directory", errno);
	else if (sp->keep_days == 0 || check_days(sp))
		say(OK, "test delivery", "written, flushed, linked and "
		    "removed in %.1f ms", ms);
}

/* Whether the spool may be opened, which makes what is missing in it. */
static bool
may_open(const char *path)
{
	if (is_foreign(path)) {
		say_cured("spool", path, "the directory is not empty and not a "
		    "spool", ENOTEMPTY);
		return false;
	}
	if (me.owner[0] == '\0' || me.receiver)
		return true;
	if (is_system(path)) {
		say_cured("spool", path, "this is a directory of the system's",
		    ENOTEMPTY);
		return false;
	}
	/* Files of somebody else's would stop the receiver. */
	if (!exists(path, "new") || !exists(path, "archive") ||
	    !exists(path, "rejected") || !exists(path, "lock")) {
		say(NOTE, "spool", "not opened: what is missing in it is for "
		    "the receiver to make, not for %s", me.name);
		return false;
	}
	return true;
}

static void
check_spool(const struct config *cfg)
{
	struct spool sp;
	struct stat st = { 0 };
	const char *why;

	if (!may_open(cfg->spool))
		return;
	errno = 0;
	spool_init(&sp, cfg);
	if ((why = spool_check(&sp)) != NULL) {
		say_cured("spool", cfg->spool, why, errno);
		return;
	}
	fstat(sp.dir, &st);
	say(OK, "spool", "mode %03o, uid %ld, gid %ld, %s",
	    (unsigned int)st.st_mode & 07777, (long)st.st_uid,
	    (long)st.st_gid, sp.own_fs ? "a file system of its own" :
	    "part of a file system");
	if (spool_clock_jumped(&sp))
		say(NOTE, "archive/", "nothing was archived after %s: if the "
		    "clock is right, what is older than KEEP_DAYS expires "
		    "tomorrow", sp.newest);
	check_space(&sp);
	check_sandbox(&sp, cfg->secret_file);
	if (!me.receiver)
		say(NOTE, "test delivery", "left out, as it would make files "
		    "of %s's there: as root, protocol-hook check", me.name);
	else if (sp.low == NULL)
		check_delivery(&sp);
}

int
command_check(struct config *cfg, const struct arguments *a)
{
	check_user(cfg, a);
	check_service(a->service);
	config_each(say_variable);
	config_each_unknown(say_variable);
	check_keys(cfg, a->service);
	check_clock(cfg->spool);
	say(OK, "libraries", "json-c %s, Nettle %d.%d", json_c_version(),
	    nettle_version_major(), nettle_version_minor());
	if (cfg->error[0] == '\0')
		check_spool(cfg);
	return failed;
}
