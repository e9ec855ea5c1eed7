/* SPDX-License-Identifier: ISC */
/*
 * Replaces a program and runs it: PROGRAM, under EMULATOR with the libraries in
 * SYSROOT, or as on a kernel without Landlock.  Not a shell script, because a
 * shell may change descriptors and the environment.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef EMULATOR
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

/* Makes landlock_create_ruleset and the two calls after it fail with ENOSYS. */
static int
disable_landlock(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		    offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K,
		    SYS_landlock_create_ruleset, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K,
		    SYS_landlock_create_ruleset + 2, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { sizeof(code) / sizeof(code[0]), code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == -1;
}
#endif

int
main(int argc, char **argv)
{
#ifdef EMULATOR
	char **args = calloc((size_t)argc + 6, sizeof(*args));
	char *const first[] = { EMULATOR, "-L", SYSROOT, "-0", argv[0],
	    PROGRAM };

	if (args != NULL && argc > 0) {
		memcpy(args, first, sizeof(first));
		memcpy(args + 6, argv + 1, (size_t)argc * sizeof(*args) -
		    sizeof(*args));
		execv(EMULATOR, args);
	}
#else
	(void)argc;
	if (disable_landlock() == 0)
		execv(PROGRAM, argv);
#endif
	perror(PROGRAM);
	return 127;
}
