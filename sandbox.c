/* SPDX-License-Identifier: ISC */
/*
 * A bug in the code that reads what strangers send must not give them more than
 * the spool, and the directory of the secret file, which SIGHUP reads again.
 * Not even stored deliveries can be read.
 *
 * There are three implementations: Landlock with seccomp, pledge with unveil,
 * and none.
 *
 * Landlock decides which files can be opened, made, linked and removed.  A
 * seccomp filter refuses what Landlock does not cover: changes of modes,
 * owners, times and attributes of files, sockets, and signals on older
 * kernels.  The filter lists what is forbidden, not what is allowed.  Which
 * calls a program needs depends on its libc, allocator, sanitizers and
 * debugger, and changes with their versions, so a list of allowed calls would
 * one day stop the receiver.  The weakness of a list of forbidden calls is that
 * kernels get new calls.  So a call whose number is beyond those that were
 * examined fails with ENOSYS, as on an older kernel, which every libc must
 * expect.
 */
#include <sys/resource.h>

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandbox.h"

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

/*
 * Left out are the architectures that make all calls on sockets through one
 * system call: i386, ppc64 and s390x.
 */
#ifdef LANDLOCK
#include <linux/audit.h>
#if defined(__x86_64__) && !defined(__ILP32__)
#define SECCOMP_ARCH	AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && !defined(__ILP32__) && defined(__AARCH64EL__)
#define SECCOMP_ARCH	AUDIT_ARCH_AARCH64
#elif defined(__arm__) && defined(__ARM_EABI__) && defined(__ARMEL__)
#define SECCOMP_ARCH	AUDIT_ARCH_ARM
#elif defined(__riscv) && __riscv_xlen == 64
#define SECCOMP_ARCH	AUDIT_ARCH_RISCV64
#endif
#endif

#ifdef SECCOMP_ARCH
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <errno.h>
#endif

#if defined(LANDLOCK) || defined(__OpenBSD__)

/* The secret file may be replaced by a rename, so allow its directory. */
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

/* Constants that older headers lack: linux/landlock.h. */
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
add_rule(int ruleset, int directory, uint64_t rights)
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
	r = add_rule(ruleset, fd, LANDLOCK_ACCESS_FS_READ_FILE);
	close(fd);
	return r;
}

/*
 * Allows the file's directory, and that of its target if it is a symbolic link.
 * agenix and sops-nix put each generation of secrets into a new directory,
 * which is out of reach then, and SIGHUP says so.  Allowing the directory above
 * would open more than this file: the secrets of other services, or all of
 * /etc.
 */
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

/*
 * Every access right that this kernel can restrict; returns the size of the
 * structure that it accepts.
 */
static size_t
set_all_rights(struct ruleset *rules, int abi)
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
enter_landlock(int spool, const char *secret_file)
{
	struct ruleset rules;
	size_t size;
	int abi, fd;
	bool ok;

	abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0,
	    LANDLOCK_CREATE_RULESET_VERSION);
	if (abi == -1)
		return "the kernel has no Landlock";
	/* ABI 1 always refuses links between directories. */
	if (abi < 2)
		return "Landlock of this kernel can't allow links";
	size = set_all_rights(&rules, abi);
	fd = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
	if (fd == -1)
		return "no Landlock ruleset";
	ok = add_rule(fd, spool, spool_rights) == 0 &&
	    allow_secret(fd, secret_file) == 0 &&
	    syscall(SYS_landlock_restrict_self, fd, 0) == 0;
	close(fd);
	return ok ? NULL : "Landlock refuses";
}

#elif defined(__linux__)

static const char *
enter_landlock(int spool, const char *secret_file)
{
	(void)spool;
	(void)secret_file;
	return "it was built without Landlock";
}

#endif

#ifdef SECCOMP_ARCH

/*
 * Headers that define Landlock's calls define all earlier ones; calls up to
 * NEWEST were examined.  Since 5.1 new calls have the same number everywhere.
 */
#define NEWEST		((unsigned int)SYS_landlock_create_ruleset + 7)

static const unsigned short forbidden[] = {
	/* modes, owners, times and attributes of files */
	SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_utimensat,
	SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_getxattr,
	SYS_lgetxattr, SYS_fgetxattr, SYS_listxattr, SYS_llistxattr,
	SYS_flistxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr,
	SYS_truncate,
	/*
	 * New sockets, and messages to addresses.  sendto() stays: send() to a
	 * standard error that is a socket (the journal) is that call.
	 */
	SYS_socket, SYS_connect, SYS_bind, SYS_listen, SYS_sendmsg,
	SYS_sendmmsg,
	/* other programs and processes, and memory shared with them */
	SYS_execve, SYS_execveat, SYS_ptrace, SYS_process_vm_readv,
	SYS_process_vm_writev, SYS_kill, SYS_tkill, SYS_tgkill,
	SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_pidfd_open,
	SYS_pidfd_getfd, SYS_pidfd_send_signal, SYS_mq_open, SYS_mq_unlink,
	SYS_msgget, SYS_msgsnd, SYS_msgrcv, SYS_msgctl, SYS_semget, SYS_semop,
	SYS_semctl, SYS_semtimedop, SYS_shmget, SYS_shmat, SYS_shmctl,
	SYS_shmdt, SYS_add_key, SYS_request_key, SYS_keyctl, SYS_prlimit64,
	SYS_setpriority, SYS_sched_setscheduler, SYS_sched_setparam,
	SYS_sched_setattr, SYS_sched_setaffinity, SYS_ioprio_set,
	SYS_unshare, SYS_setns, SYS_chroot,
	/* observation of files, and opening them by handle */
	SYS_inotify_init1, SYS_fanotify_init, SYS_open_by_handle_at,
	/*
	 * io_uring makes calls that no filter sees; large parts of the kernel
	 */
	SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_bpf,
	SYS_perf_event_open, SYS_userfaultfd,
	/* older and wider forms of the above, where there are any */
#ifdef SYS_chmod
	SYS_chmod, SYS_chown, SYS_lchown, SYS_utimes, SYS_futimesat,
	SYS_inotify_init,
#endif
#ifdef SYS_utime
	SYS_utime,
#endif
#ifdef SYS_chown32
	SYS_chown32, SYS_fchown32, SYS_lchown32, SYS_truncate64,
	SYS_utimensat_time64, SYS_semtimedop_time64,
#endif
};

#define FORBIDDEN	(sizeof(forbidden) / sizeof(forbidden[0]))
#define EDGES_MAX	(2 * FORBIDDEN + 1)

_Static_assert(EDGES_MAX + 16 < 256, "jumps of a filter have eight bits");

/*
 * The kernel runs the filter for each number when it is installed, to learn
 * which calls are always allowed.  To make that quick the filter looks for a
 * number in a binary tree of the edges between allowed and forbidden numbers.
 */
struct filter {
	unsigned int edge[EDGES_MAX];
	size_t edges;
	size_t allow, check, deny, none;	/* where the tree leads to */
	struct sock_filter code[EDGES_MAX + 16];
};

static void
put_filter_code(struct filter *f, size_t at, unsigned int code, unsigned int k)
{
	f->code[at] = (struct sock_filter){ .code = (uint16_t)code, .k = k };
}

/* A jump to YES or to NO; the kernel counts from the next instruction. */
static void
put_filter_jump(struct filter *f, size_t at, unsigned int test, unsigned int k,
    size_t yes, size_t no)
{
	f->code[at] = (struct sock_filter){ .code = (uint16_t)(BPF_JMP | test |
	    BPF_K), .k = k, .jt = (uint8_t)(yes - at - 1),
	    .jf = (uint8_t)(no - at - 1) };
}

/*
 * Numbers below the first edge are allowed, up to the second forbidden, and so
 * on; from the last edge on there are no calls.
 */
static void
find_filter_edges(struct filter *f)
{
	bool is_forbidden[NEWEST + 1] = { false };
	unsigned int i;

	for (i = 0; i < FORBIDDEN; i++)
		is_forbidden[forbidden[i]] = true;
	for (i = 1; i <= NEWEST; i++)
		if (is_forbidden[i] != is_forbidden[i - 1])
			f->edge[f->edges++] = i;
	f->edge[f->edges++] = NEWEST + 1;
}

/* Where numbers between two edges go on: in the tree AT, or at its end. */
static size_t
find_filter_branch(const struct filter *f, size_t at, size_t from, size_t to)
{
	if (from < to)
		return at;
	if (from == f->edges)
		return f->none;
	return from % 2 == 0 ? f->allow : f->check;
}

/* Writes the tree for edges FROM to TO at AT; each halves LOW to HIGH. */
static void
put_filter_tree(struct filter *f, size_t at, size_t from, size_t to,
    unsigned int low, unsigned int high)
{
	size_t middle = from, below = at + 1, above;

	if (from == to)
		return;
	while (middle + 1 < to && f->edge[middle] < low + (high - low) / 2)
		middle++;
	above = below + middle - from;
	put_filter_jump(f, at, BPF_JGE, f->edge[middle],
	    find_filter_branch(f, above, middle + 1, to),
	    find_filter_branch(f, below, from, middle));
	put_filter_tree(f, below, from, middle, low, f->edge[middle]);
	put_filter_tree(f, above, middle + 1, to, f->edge[middle], high);
}

/*
 * abort(3) and raise(3) send the process's own number, which is allowed: its
 * lower half is all that the kernel reads, and comes first on all of the
 * architectures above.
 */
static size_t
make_filter(struct filter *f)
{
	const unsigned int load = BPF_LD | BPF_W | BPF_ABS;
	const unsigned int end = BPF_RET | BPF_K;
	enum { ARCH, IS_ARCH, NUMBER, TREE };
	size_t own;

	find_filter_edges(f);
	f->check = TREE + f->edges;
	own = f->check + 2;
	f->allow = own + 2;
	f->deny = f->allow + 1;
	f->none = f->deny + 1;
	put_filter_code(f, ARCH, load, offsetof(struct seccomp_data, arch));
	put_filter_jump(f, IS_ARCH, BPF_JEQ, SECCOMP_ARCH, NUMBER, f->deny);
	put_filter_code(f, NUMBER, load, offsetof(struct seccomp_data, nr));
	put_filter_tree(f, TREE, 0, f->edges, 0, NEWEST);
	put_filter_jump(f, f->check, BPF_JEQ, SYS_tgkill, own, f->check + 1);
	put_filter_jump(f, f->check + 1, BPF_JEQ, SYS_tkill, own, f->deny);
	put_filter_code(f, own, load, offsetof(struct seccomp_data, args[0]));
	put_filter_jump(f, own + 1, BPF_JEQ, (unsigned int)getpid(), f->allow,
	    f->deny);
	put_filter_code(f, f->allow, end, SECCOMP_RET_ALLOW);
	put_filter_code(f, f->deny, end, SECCOMP_RET_ERRNO | EPERM);
	put_filter_code(f, f->none, end, SECCOMP_RET_ERRNO | ENOSYS);
	return f->none + 1;
}

/* By prctl(2): systemd's filters know seccomp(2) only since version 254. */
static const char *
enter_seccomp(void)
{
	struct filter f = { .edges = 0 };
	struct sock_fprog program = { .len = (uint16_t)make_filter(&f),
	    .filter = f.code };

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0 ?
	    NULL : "the kernel has no seccomp filters, but Landlock is on";
}

#elif defined(__linux__)

static const char *
enter_seccomp(void)
{
	return "it was built without seccomp, but Landlock is on";
}

#endif

#ifdef __linux__

/* If one of the two is missing, the other is entered all the same. */
const char *
sandbox_enter(int spool, const char *spool_path, const char *secret_file)
{
	const struct rlimit none = { 0, 0 };
	const char *without_landlock, *without_seccomp;

	(void)spool_path;
	/*
	 * Keys are in memory: no core dump, and no access by other processes.
	 */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1 ||
	    setrlimit(RLIMIT_CORE, &none) == -1)
		return "privileges can't be dropped";
	without_landlock = enter_landlock(spool, secret_file);
	without_seccomp = enter_seccomp();
	return without_landlock != NULL ? without_landlock : without_seccomp;
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
