/* SPDX-License-Identifier: ISC */
/*
 * sandbox.c: a confined process can reach the spool and the secret file, and
 * nothing else.  If the system lacks a part of the sandbox, sandbox_enter()
 * says so.
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
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <stdbool.h>

#include "sandbox.h"

static char base[] = "hook-sandbox-XXXXXX";
static char spool[64], secret[64], outside[64];
static bool is_partial;		/* sandbox_enter() said what is missing */

/* Runs FN in a confined process and returns its value: 0 or an errno. */
static int
run_confined(int (*fn)(int spool_fd))
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
		is_partial = why != NULL;
		if (is_partial)
			fprintf(stderr, "not run_confined: %s\n", why);
		/* Landlock alone can be tested, too. */
		if (is_partial && strstr(why, "Landlock is on") != NULL)
			why = NULL;
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

/* Only root may trace a process that is not dumpable, or read its memory. */
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

/* Whether a confined process has a filter of system calls. */
static int
probe_filter(int fd)
{
	(void)fd;
	return kill(getpid(), 0) == -1;
}

static bool
has_filter(void)
{
	return run_confined(probe_filter) == 1;
}

static int
probe_partial(int fd)
{
	return probe_filter(fd) != (int)is_partial;
}

static void
nothing_outside_the_spool_can_be_reached(void **state)
{
	(void)state;
	assert_int_equal(EACCES, run_confined(read_passwd));
	assert_int_equal(EACCES, run_confined(create_outside));
	assert_int_equal(EACCES, run_confined(climb_out));
	assert_int_equal(EACCES, run_confined(list_root));
	assert_int_equal(has_filter() ? EPERM : EACCES, run_confined(execute));
	assert_int_equal(EACCES, run_confined(read_back));
	/* Old kernels don't restrict TCP: then nobody listens there. */
	assert_int_equal(has_filter() ? EPERM : landlock_abi() < 4 ?
	    ECONNREFUSED : EACCES, run_confined(connect_tcp));
}

static void
the_spool_and_the_secret_file_can_be_reached(void **state)
{
	(void)state;
	assert_int_equal(0, run_confined(read_secret));
	assert_int_equal(0, run_confined(store));
}

static void
other_processes_cannot_look_into_it(void **state)
{
	(void)state;
	assert_int_equal(0, run_confined(not_dumpable));
}

#if defined(__linux__) && defined(SYS_landlock_create_ruleset)

/*
 * Calls that Landlock does not cover: the filter refuses them with EPERM.
 * Without it, each succeeds or fails with another error.  PATH, SPOOL and OWN
 * stand for arguments that are only known at run time.
 */
#define PATH		-1000L
#define SPOOL		-1001L
#define OWN		-1002L
#define CALL(name)	#name, SYS_##name

static const struct call {
	const char *name;
	long number, args[6];
} calls[] = {
#ifdef SYS_chmod
	{ CALL(chmod), { PATH, 0777 } },
	{ CALL(chown), { PATH, -1, -1 } },
	{ CALL(lchown), { PATH, -1, -1 } },
	{ CALL(utimes), { PATH, 0 } },
	{ CALL(futimesat), { AT_FDCWD, PATH, 0 } },
	{ CALL(inotify_init), { 0 } },
#endif
#ifdef SYS_semop
	{ CALL(semop), { -1 } }, { CALL(semtimedop), { -1 } },
#endif
#ifdef SYS_utime
	{ CALL(utime), { PATH, 0 } },
#endif
#ifdef SYS_chown32
	{ CALL(chown32), { PATH, -1, -1 } },
	{ CALL(fchown32), { SPOOL, -1, -1 } },
	{ CALL(lchown32), { PATH, -1, -1 } },
	{ CALL(truncate64), { PATH, 0 } },
	{ CALL(utimensat_time64), { AT_FDCWD, PATH, 0, 0 } },
	{ CALL(semtimedop_time64), { 0 } },
#endif
	{ CALL(fchmod), { SPOOL, 0777 } },
	{ CALL(fchmodat), { AT_FDCWD, PATH, 0777 } },
	{ CALL(fchown), { SPOOL, -1, -1 } },
	{ CALL(fchownat), { AT_FDCWD, PATH, -1, -1, 0 } },
	{ CALL(utimensat), { AT_FDCWD, PATH, 0, 0 } },
	{ CALL(setxattr), { PATH, 0 } }, { CALL(lsetxattr), { PATH, 0 } },
	{ CALL(fsetxattr), { SPOOL, 0 } }, { CALL(getxattr), { PATH, 0 } },
	{ CALL(lgetxattr), { PATH, 0 } }, { CALL(fgetxattr), { SPOOL, 0 } },
	{ CALL(listxattr), { PATH, 0 } }, { CALL(llistxattr), { PATH, 0 } },
	{ CALL(flistxattr), { SPOOL, 0 } }, { CALL(removexattr), { PATH, 0 } },
	{ CALL(lremovexattr), { PATH, 0 } },
	{ CALL(fremovexattr), { SPOOL, 0 } }, { CALL(truncate), { PATH, 0 } },
	{ CALL(socket), { AF_UNIX, SOCK_STREAM, 0 } },
	{ CALL(socket), { AF_INET, SOCK_DGRAM, 0 } },
	{ CALL(connect), { SPOOL } }, { CALL(bind), { SPOOL } },
	{ CALL(listen), { SPOOL } },
	{ CALL(sendmsg), { SPOOL } }, { CALL(sendmmsg), { SPOOL } },
	{ CALL(execve), { 0 } }, { CALL(execveat), { SPOOL } },
	{ CALL(ptrace), { 0x4206, 1 } },
	{ CALL(process_vm_readv), { 0 } }, { CALL(process_vm_writev), { 0 } },
	{ CALL(kill), { OWN, 0 } }, { CALL(tkill), { 1, 0 } },
	{ CALL(tgkill), { 1, 1, 0 } }, { CALL(rt_sigqueueinfo), { OWN } },
	{ CALL(rt_tgsigqueueinfo), { OWN, OWN } },
	{ CALL(pidfd_open), { OWN } }, { CALL(pidfd_getfd), { SPOOL } },
	{ CALL(pidfd_send_signal), { SPOOL } },
	{ CALL(mq_open), { 0 } }, { CALL(mq_unlink), { 0 } },
	{ CALL(msgget), { 0 } }, { CALL(msgsnd), { -1 } },
	{ CALL(msgrcv), { -1 } }, { CALL(msgctl), { -1 } },
	{ CALL(semget), { 0 } },
	{ CALL(semctl), { -1 } },
	{ CALL(shmget), { 0 } }, { CALL(shmat), { -1 } },
	{ CALL(shmctl), { -1 } }, { CALL(shmdt), { 0 } },
	{ CALL(prlimit64), { OWN, 0, 0, 0 } },
	{ CALL(setpriority), { 0, OWN, 19 } },
	{ CALL(sched_setaffinity), { OWN, 0 } },
	{ CALL(sched_setscheduler), { OWN, 0, 0 } },
	{ CALL(sched_setparam), { OWN, 0 } },
	{ CALL(sched_setattr), { OWN, 0, 0 } },
	{ CALL(ioprio_set), { 1, OWN, 0 } },
	{ CALL(unshare), { 0 } }, { CALL(setns), { SPOOL, 0 } },
	{ CALL(chroot), { PATH } },
	{ CALL(add_key), { 0 } },
	{ CALL(request_key), { 0 } }, { CALL(keyctl), { 0 } },
	{ CALL(inotify_init1), { 0 } }, { CALL(fanotify_init), { -1 } },
	{ CALL(open_by_handle_at), { SPOOL } },
	{ CALL(io_uring_setup), { 0 } }, { CALL(io_uring_enter), { SPOOL } },
	{ CALL(io_uring_register), { SPOOL } }, { CALL(bpf), { -1 } },
	{ CALL(perf_event_open), { 0 } }, { CALL(userfaultfd), { -1 } },
};

#define CALLS	(sizeof(calls) / sizeof(calls[0]))

static long
make_call(const struct call *c, int fd)
{
	long a[6];
	size_t i;

	for (i = 0; i < 6; i++)
		a[i] = c->args[i] == PATH ? (long)(intptr_t)outside :
		    c->args[i] == SPOOL ? fd :
		    c->args[i] == OWN ? getpid() : c->args[i];
	return syscall(c->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* Returns how many of the calls the filter does not refuse. */
static int
make_all_calls(int fd)
{
	int n = 0;
	size_t i;

	for (i = 0; i < CALLS; i++) {
		errno = 0;
		if (make_call(&calls[i], fd) == -1 && errno == EPERM)
			continue;
		n++;
		fprintf(stderr, "%s: %s\n", calls[i].name, strerror(errno));
	}
	return n;
}

static void
a_missing_filter_is_reported(void **state)
{
	(void)state;
	assert_int_equal(1, run_confined(probe_partial));
}

static void
calls_beyond_the_spool_are_refused(void **state)
{
	struct stat before, after;

	(void)state;
	if (!has_filter())
		skip();
	assert_int_equal(0, try_open(outside, O_WRONLY | O_CREAT));
	assert_int_equal(0, stat(outside, &before));
	assert_int_equal(0, run_confined(make_all_calls));
	assert_int_equal(0, stat(outside, &after));
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(0, unlink(outside));
}

/* fchmodat2, setxattrat, and calls that are added after them. */
static int
make_new_calls(int fd)
{
	long i;

	(void)fd;
	for (i = SYS_landlock_create_ruleset + 8; i < 1024; i++)
		if (syscall(i, AT_FDCWD, outside, 0777, 0, 0, 0) != -1 ||
		    errno != ENOSYS)
			return 1;
	return 0;
}

/* Calls by the entry for 32-bit programs, and by the numbers of x32. */
static int
make_foreign_calls(int fd)
{
	long r = -EPERM;

	(void)fd;
#ifdef __x86_64__
	if (syscall(0x40000000 + SYS_chmod, outside, 0777) != -1)
		return 1;
	/* getpid() of i386; without support for it this raises SIGSEGV. */
	if (signal(SIGSEGV, _exit) == SIG_ERR)
		return 1;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20L) : "memory");
#endif
	return r == -EPERM || r == -ENOSYS ? 0 : 1;
}

static void
new_and_foreign_calls_are_refused(void **state)
{
	int r;

	(void)state;
	if (!has_filter())
		skip();
	assert_int_equal(0, run_confined(make_new_calls));
	r = run_confined(make_foreign_calls);
	assert_true(r == 0 || r == SIGSEGV);
}

static void *
do_nothing(void *arg)
{
	return arg;
}

/* What the program, its C library and its threads need. */
static int
use_own_process(int fd)
{
	pthread_t thread;
	struct stat st;

	if (pthread_create(&thread, NULL, do_nothing, NULL) != 0 ||
	    pthread_join(thread, NULL) != 0)
		return 1;
	if (fstat(fd, &st) == -1 || stat(spool, &st) == -1)
		return 2;
	if (signal(SIGUSR1, SIG_IGN) == SIG_ERR || raise(SIGUSR1) != 0)
		return 3;
	return faccessat(fd, ".", W_OK, AT_EACCESS) == 0 ? 0 : 4;
}

static void
threads_and_signals_of_the_process_still_work(void **state)
{
	(void)state;
	assert_int_equal(0, run_confined(use_own_process));
}

#endif

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
		cmocka_unit_test(nothing_outside_the_spool_can_be_reached),
		cmocka_unit_test(the_spool_and_the_secret_file_can_be_reached),
		cmocka_unit_test(other_processes_cannot_look_into_it),
#if defined(__linux__) && defined(SYS_landlock_create_ruleset)
		cmocka_unit_test(a_missing_filter_is_reported),
		cmocka_unit_test(calls_beyond_the_spool_are_refused),
		cmocka_unit_test(new_and_foreign_calls_are_refused),
		cmocka_unit_test(threads_and_signals_of_the_process_still_work),
#endif
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
