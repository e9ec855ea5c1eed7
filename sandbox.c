/* SPDX-License-Identifier: ISC */
/*
 * What the process can still reach once its directories are open: the spool,
 * and the directory of the secret file, which SIGHUP reads again.  It cannot
 * even read back what it has stored.  Whatever is wrong in the code that reads
 * what strangers send, that is all there is to be had.
 *
 * Three branches behind one call: Landlock, pledge and unveil, none.
 */
#include <sys/resource.h>

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hook.h"

#define DIRECTORY_MAX	PATH_MAX

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#if defined(SYS_landlock_create_ruleset) && defined(__has_include)
/* Not among the headers of a kernel before 5.13. */
#if __has_include(<linux/landlock.h>)
#include <linux/landlock.h>
#define LANDLOCK
#endif
#endif
#endif

#if defined(LANDLOCK) || defined(__OpenBSD__)

/* A file that is replaced is another one by the same name: its directory. */
static const char *
directory_of(char dir[DIRECTORY_MAX], const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash != NULL ? (size_t)(slash - path) + 1 : 0;

	if (slash == NULL || n >= DIRECTORY_MAX)
		return ".";
	memcpy(dir, path, n);
	dir[n] = '\0';
	return dir;
}

#endif

#ifdef LANDLOCK

/* What came after the headers that we may be built with: linux/landlock.h. */
#define FS_REFER	((uint64_t)1 << 13)	/* ABI 2 */
#define FS_TRUNCATE	((uint64_t)1 << 14)	/* ABI 3 */
#define FS_IOCTL_DEV	((uint64_t)1 << 15)	/* ABI 5 */
#define FS_FIRST	(FS_REFER - 1)		/* ABI 1 */
#define NET_TCP		((uint64_t)3)		/* ABI 4: bind and connect */
#define SCOPES		((uint64_t)3)		/* ABI 6: sockets, signals */

struct ruleset {
	uint64_t fs, net, scoped;
};

static const uint64_t spool_rights = LANDLOCK_ACCESS_FS_READ_DIR |
    LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
    LANDLOCK_ACCESS_FS_REMOVE_DIR | FS_REFER;

static int
allow(int ruleset, int directory, uint64_t rights)
{
	struct landlock_path_beneath_attr below = { .allowed_access = rights,
	    .parent_fd = directory };

	return (int)syscall(SYS_landlock_add_rule, ruleset,
	    LANDLOCK_RULE_PATH_BENEATH, &below, 0);
}

static int
allow_reading(int ruleset, const char *file)
{
	char dir[DIRECTORY_MAX];
	int fd, r;

	fd = open(directory_of(dir, file), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	r = allow(ruleset, fd, LANDLOCK_ACCESS_FS_READ_FILE);
	close(fd);
	return r;
}

/* Both where it is named and where a symbolic link leads. */
static int
allow_secret(int ruleset, const char *secret_file)
{
	char target[DIRECTORY_MAX];

	if (secret_file == NULL)
		return 0;
	if (allow_reading(ruleset, secret_file) == -1)
		return -1;
	return realpath(secret_file, target) == NULL ? 0 :
	    allow_reading(ruleset, target);
}

/* All that the kernel knows to forbid, and the size of what it knows. */
static size_t
everything(struct ruleset *rules, int abi)
{
	rules->fs = FS_FIRST | FS_REFER | (abi >= 3 ? FS_TRUNCATE : 0) |
	    (abi >= 5 ? FS_IOCTL_DEV : 0);
	rules->net = NET_TCP;
	rules->scoped = SCOPES;
	return abi >= 6 ? sizeof(*rules) :
	    abi >= 4 ? offsetof(struct ruleset, scoped) :
	    offsetof(struct ruleset, net);
}

static const char *
confine(int spool, const char *secret_file)
{
	struct ruleset rules;
	size_t size;
	int abi, fd;
	bool ok;

	abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0,
	    LANDLOCK_CREATE_RULESET_VERSION);
	if (abi == -1)
		return "the kernel has no Landlock";
	/* Below that, no link between directories is allowed at all. */
	if (abi < 2)
		return "Landlock of this kernel can't allow links";
	size = everything(&rules, abi);
	fd = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
	if (fd == -1)
		return "no Landlock ruleset";
	ok = allow(fd, spool, spool_rights) == 0 &&
	    allow_secret(fd, secret_file) == 0 &&
	    syscall(SYS_landlock_restrict_self, fd, 0) == 0;
	close(fd);
	return ok ? NULL : "Landlock refuses";
}

#elif defined(__linux__)

static const char *
confine(int spool, const char *secret_file)
{
	(void)spool;
	(void)secret_file;
	return "it was built without Landlock";
}

#endif

#ifdef __linux__

const char *
sandbox_enter(int spool, const char *spool_path, const char *secret_file)
{
	const struct rlimit none = { 0, 0 };

	(void)spool_path;
	/* Keys are in memory: no core dump, and no other process looks. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1 ||
	    setrlimit(RLIMIT_CORE, &none) == -1)
		return "privileges can't be dropped";
	return confine(spool, secret_file);
}

#elif defined(__OpenBSD__)

const char *
sandbox_enter(int spool, const char *spool_path, const char *secret_file)
{
	const struct rlimit none = { 0, 0 };
	char dir[DIRECTORY_MAX];

	(void)spool;
	if (setrlimit(RLIMIT_CORE, &none) == -1 ||
	    unveil(spool_path, "rwc") == -1 || unveil("/tmp", "rwc") == -1 ||
	    (secret_file != NULL &&
	    unveil(directory_of(dir, secret_file), "r") == -1))
		return "unveil failed";
	if (pledge("stdio rpath wpath cpath flock inet unix", NULL) == -1)
		return "pledge failed";
	return NULL;
}

#else

const char *
sandbox_enter(int spool, const char *spool_path, const char *secret_file)
{
	(void)spool;
	(void)spool_path;
	(void)secret_file;
	return "this system has none that is known here";
}

#endif
