/* SPDX-License-Identifier: ISC */
/*
 * Linked into the program by make coverage, to write gcov's counts at its end.
 * The sandbox would forbid that.  So a thread writes them that is started
 * before main: the sandbox confines the thread that enters it, and later ones.
 * The thread has descriptors and a umask of its own, and strace without -f
 * does not see it.  The counts are also written if SIGTERM ends the program.
 */
#define _GNU_SOURCE 1
#include <sys/stat.h>

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <unistd.h>

void __gcov_dump(void);

static sem_t end, written;
static pid_t owner;		/* the process with the thread, or 0 */

static void
wait_for(sem_t *sem)
{
	while (sem_wait(sem) == -1)
		;
}

static void *
write_counts(void *arg)
{
	unshare(CLONE_FILES | CLONE_FS);
	close_range(0, UINT_MAX, 0);
	umask(0);
	wait_for(&end);
	__gcov_dump();
	sem_post(&written);
	return arg;
}

__attribute__((destructor))
static void
request_counts(void)
{
	if (owner != getpid())
		return;
	sem_post(&end);
	wait_for(&written);
}

static void
on_sigterm(int sig)
{
	request_counts();
	signal(sig, SIG_DFL);
	raise(sig);
}

__attribute__((constructor))
static void
begin_counting(void)
{
	pthread_t thread;
	sigset_t all, old;

	sem_init(&end, 0, 0);
	sem_init(&written, 0, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&thread, NULL, write_counts, NULL) == 0)
		owner = getpid();
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	signal(SIGTERM, on_sigterm);
}
