/* SPDX-License-Identifier: ISC */
/*
 * sandbox.c: after it was entered, nothing but the spool can be reached.  Where
 * the system has no sandbox, it must say so.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "hook.h"

static char base[] = "hook-sandbox-XXXXXX";
static char spool[64], secret[64], outside[64];

/* Runs FN, which returns 0 or an errno, in a confined process; its value. */
static int
confined(int (*fn)(int spool_fd))
{
	const char *why;
	int status, fd;
	pid_t pid;

	fd = open(spool, O_RDONLY | O_DIRECTORY);
	assert_int_not_equal(-1, fd);
	pid = fork();
	assert_int_not_equal(-1, pid);
	if (pid == 0) {
		why = sandbox_enter(fd, spool, secret);
		if (why != NULL)
			fprintf(stderr, "not confined: %s\n", why);
		_exit(why != NULL ? 255 : fn(fd));
	}
	assert_int_equal(pid, waitpid(pid, &status, 0));
	close(fd);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 255)
		skip();
	return WEXITSTATUS(status);
}

static int
try_open(const char *path, int flags)
{
	return open(path, flags, 0600) == -1 ? errno : 0;
}

static int
read_passwd(int fd)
{
	(void)fd;
	return try_open("/etc/passwd", O_RDONLY);
}

static int
create_outside(int fd)
{
	(void)fd;
	return try_open(outside, O_WRONLY | O_CREAT);
}

static int
climb_out(int fd)
{
	return openat(fd, "../outside", O_WRONLY | O_CREAT, 0600) == -1 ?
	    errno : 0;
}

static int
list_root(int fd)
{
	(void)fd;
	return try_open("/", O_RDONLY | O_DIRECTORY);
}

static int
execute(int fd)
{
	char *const argv[] = { (char *)(uintptr_t)"true", NULL };

	(void)fd;
	execv("/bin/true", argv);
	return errno;
}

static int
connect_tcp(int fd)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
	    .sin_port = htons(9) };
	int s = socket(AF_INET, SOCK_STREAM, 0);

	(void)fd;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return connect(s, (struct sockaddr *)&in, sizeof(in)) == -1 ? errno : 0;
}

static int
read_back(int fd)
{
	return openat(fd, "stored", O_RDONLY) == -1 ? errno : 0;
}

static int
read_secret(int fd)
{
	(void)fd;
	return try_open(secret, O_RDONLY);
}

static int
store(int fd)
{
	if (mkdirat(fd, "a", 0700) == -1 || mkdirat(fd, "b", 0700) == -1 ||
	    openat(fd, "a/.x", O_WRONLY | O_CREAT | O_EXCL, 0600) == -1 ||
	    linkat(fd, "a/.x", fd, "b/x", 0) == -1 ||
	    renameat(fd, "a/.x", fd, "a/x") == -1 ||
	    unlinkat(fd, "a/x", 0) == -1 ||
	    unlinkat(fd, "a", AT_REMOVEDIR) == -1)
		return errno;
	return 0;
}

/* Only root may trace such a process, or read its memory and environment. */
static int
not_dumpable(int fd)
{
	(void)fd;
#ifdef __linux__
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : EPERM;
#else
	return 0;
#endif
}

static int
landlock_abi(void)
{
#ifdef SYS_landlock_create_ruleset
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
#else
	return 0;
#endif
}

static void
nothing_else_can_be_reached(void **state)
{
	(void)state;
	assert_int_equal(EACCES, confined(read_passwd));
	assert_int_equal(EACCES, confined(create_outside));
	assert_int_equal(EACCES, confined(climb_out));
	assert_int_equal(EACCES, confined(list_root));
	assert_int_equal(EACCES, confined(execute));
	assert_int_equal(EACCES, confined(read_back));
	/* Refused by the peer where the kernel has no rule for it. */
	assert_int_equal(landlock_abi() < 4 ? ECONNREFUSED : EACCES,
	    confined(connect_tcp));
}

static void
the_spool_and_the_secret_can(void **state)
{
	(void)state;
	assert_int_equal(0, confined(read_secret));
	assert_int_equal(0, confined(store));
}

static void
no_other_process_can_look(void **state)
{
	(void)state;
	assert_int_equal(0, confined(not_dumpable));
}

static int
set_up(void **state)
{
	char path[80];

	(void)state;
	if (mkdtemp(base) == NULL)
		return -1;
	snprintf(spool, sizeof(spool), "%s/spool", base);
	snprintf(path, sizeof(path), "%s/keys", base);
	snprintf(secret, sizeof(secret), "%s/keys/secret", base);
	snprintf(outside, sizeof(outside), "%s/outside", base);
	if (mkdir(spool, 0700) == -1 || mkdir(path, 0700) == -1 ||
	    try_open(secret, O_WRONLY | O_CREAT) != 0)
		return -1;
	snprintf(path, sizeof(path), "%s/stored", spool);
	return try_open(path, O_WRONLY | O_CREAT) != 0 ? -1 : 0;
}

static int
tear_down(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", base);
	return system(command);	/* NOLINT: a path of our own */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_else_can_be_reached),
		cmocka_unit_test(the_spool_and_the_secret_can),
		cmocka_unit_test(no_other_process_can_look),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
