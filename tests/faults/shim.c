/* SPDX-License-Identifier: ISC */
/*
 * A library to preload: makes the calls below the program fail as its
 * environment says.
 *
 *	SHIM_ALLOC=N, N+	the N-th allocation since main fails, or all from it
 *	SHIM_SHORT=1		read and write move at most 7 bytes of a file
 *	SHIM_NOFLUSH=/CALL/	fdatasync, fsync or syncfs only pretends
 *	SHIM_FDATASYNC=N	the N-th fdatasync of all threads fails
 *	SHIM_NOTHREAD=1		there are no threads to be had
 *	SHIM_COUNT=FILE		writes how many allocations there were
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHORT	7

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);

static unsigned long count, at;
static int from_then_on, armed, cut_short;
static const char *no_flush = "";
static int count_fd = -1;

/* After the C library's own start, so that main's calls are the first. */
__attribute__((constructor))
static void
start(void)
{
	const char *alloc = getenv("SHIM_ALLOC");
	const char *flush = getenv("SHIM_NOFLUSH");

	cut_short = getenv("SHIM_SHORT") != NULL;
	/* The sandbox will not let us open it at the end. */
	if (getenv("SHIM_COUNT") != NULL)
		count_fd = open(getenv("SHIM_COUNT"),
		    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (flush != NULL)
		no_flush = flush;
	if (alloc != NULL) {
		at = strtoul(alloc, NULL, 10);
		from_then_on = strchr(alloc, '+') != NULL;
	}
	armed = 1;
}

__attribute__((destructor))
static void
end(void)
{
	char text[32];
	int n;

	armed = 0;
	if (count_fd == -1)
		return;
	n = snprintf(text, sizeof(text), "%lu\n", count);
	if (write(count_fd, text, (size_t)n) != n)
		abort();
}

static int
fails(void)
{
	if (!armed)
		return 0;
	count++;
	if (at == 0 || count < at || (count > at && !from_then_on))
		return 0;
	errno = ENOMEM;
	return 1;
}

void *
malloc(size_t n)
{
	return fails() ? NULL : __libc_malloc(n);
}

void *
calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *p, size_t n)
{
	return fails() ? NULL : __libc_realloc(p, n);
}

static void *
next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

static size_t
shorten(int fd, size_t n)
{
	struct stat st;

	return cut_short && n > SHORT && fstat(fd, &st) == 0 &&
	    (S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode)) ? SHORT : n;
}

ssize_t
read(int fd, void *buf, size_t n)
{
	ssize_t (*f)(int, void *, size_t) = next("read");

	return f(fd, buf, shorten(fd, n));
}

ssize_t
write(int fd, const void *buf, size_t n)
{
	ssize_t (*f)(int, const void *, size_t) = next("write");

	return f(fd, buf, shorten(fd, n));
}

static int
flush(const char *name, int fd)
{
	int (*f)(int) = next(name);
	char slashed[32];

	/* "/fsync/" is not in "/fdatasync/" */
	snprintf(slashed, sizeof(slashed), "/%s/", name);
	return strstr(no_flush, slashed) != NULL ? 0 : f(fd);
}

int
fsync(int fd)
{
	return flush("fsync", fd);
}

int
fdatasync(int fd)
{
	static atomic_int calls;
	const char *bad = getenv("SHIM_FDATASYNC");

	if (bad != NULL && ++calls == atoi(bad)) {
		errno = EIO;
		return -1;
	}
	return flush("fdatasync", fd);
}

int
pthread_create(pthread_t *thread, const pthread_attr_t *attr,
    void *(*fn)(void *), void *arg)
{
	int (*f)(pthread_t *, const pthread_attr_t *, void *(*)(void *),
	    void *) = next("pthread_create");

	return getenv("SHIM_NOTHREAD") != NULL ? EAGAIN :
	    f(thread, attr, fn, arg);
}

int
syncfs(int fd)
{
	return flush("syncfs", fd);
}
