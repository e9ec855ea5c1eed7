/* SPDX-License-Identifier: ISC */
/*
 * Linked in by make coverage: at its end the program has its counts written by
 * a thread that the sandbox does not confine, as that was entered by another
 * one.  strace without -f does not see it either; it has descriptors and a umask
 * of its own.  What SIGTERM ends is counted like what returns from main.
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
static pid_t counted;		/* 0 if there is no thread */

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
have_counts_written(void)
{
	if (counted != getpid())
		return;
	sem_post(&end);
	wait_for(&written);
}

static void
on_sigterm(int sig)
{
	have_counts_written();
	signal(sig, SIG_DFL);
	raise(sig);
}

__attribute__((constructor))
static void
start(void)
{
	pthread_t thread;
	sigset_t all, old;

	sem_init(&end, 0, 0);
	sem_init(&written, 0, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&thread, NULL, write_counts, NULL) == 0)
		counted = getpid();
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	signal(SIGTERM, on_sigterm);
}
