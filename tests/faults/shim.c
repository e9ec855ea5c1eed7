/* SPDX-License-Identifier: ISC */
/*
 * A library to preload (LD_PRELOAD).  Makes library calls of the program fail, as
 * the environment says:
 *
 *	SHIM_ALLOC=N, N+	the N-th allocation since main() fails, or all
 *				from the N-th on
 *	SHIM_SHORT=1		read and write move at most 7 bytes of a file
 *	SHIM_NOFLUSH=/CALL/	fdatasync, fsync, syncfs or sync_file_range does
 *				nothing; or several, /CALL/CALL/
 *	SHIM_FDATASYNC=N	the N-th fdatasync of all threads fails
 *	SHIM_NOTHREAD=1		no thread can be started
 *	SHIM_COUNT=FILE		writes the number of allocations there
 *	SHIM_SLOW=1		a flush takes 0.1 seconds
 *	SHIM_FS=ro		file systems appear as read-only, or with
 *		uncounted	as without a number of inodes
 *	SHIM_CLOCK=FILE		has the time: an int64_t, seconds since 1970
 *	SHIM_INODE=same		all directory entries have one inode number, or
 *		other		each has another one, as with FUSE
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define SHORT	7

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);

static unsigned long count, at;
static int from_then_on, armed, cut_short;
static const char *no_flush = "";
static int count_fd = -1;
static const volatile int64_t *wall_clock;

static void *
next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

/* The test sets it while the program runs.  The sandbox allows old mappings. */
static const int64_t *
map_clock(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *p = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		abort();
	close(fd);
	return p;
}

static int (*real_main)(int, char **, char **);

static int
armed_main(int argc, char **argv, char **envp)
{
	armed = 1;
	return real_main(argc, argv, envp);
}

/* Counts no allocation before main(). */
int
__libc_start_main(int (*fn)(int, char **, char **), int argc, char **argv,
    void (*init)(void), void (*fini)(void), void (*rtld_fini)(void),
    void *stack_end)
{
	int (*f)(int (*)(int, char **, char **), int, char **, void (*)(void),
	    void (*)(void), void (*)(void), void *) = next("__libc_start_main");

	real_main = fn;
	return f(armed_main, argc, argv, init, fini, rtld_fini, stack_end);
}

__attribute__((constructor))
static void
start(void)
{
	const char *alloc = getenv("SHIM_ALLOC");
	const char *flush = getenv("SHIM_NOFLUSH");

	cut_short = getenv("SHIM_SHORT") != NULL;
	/* The sandbox will forbid to open it at the end. */
	if (getenv("SHIM_COUNT") != NULL)
		count_fd = open(getenv("SHIM_COUNT"),
		    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (getenv("SHIM_CLOCK") != NULL)
		wall_clock = map_clock(getenv("SHIM_CLOCK"));
	if (flush != NULL)
		no_flush = flush;
	if (alloc != NULL) {
		at = strtoul(alloc, NULL, 10);
		from_then_on = strchr(alloc, '+') != NULL;
	}
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
	/* Only the main thread's: tests/gcov-exit.c starts another one. */
	if (!armed || gettid() != getpid())
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

static ino_t
inode(ino_t real)
{
	static ino_t last = 1000;
	const char *how = getenv("SHIM_INODE");

	return how == NULL ? real : strcmp(how, "same") == 0 ? 1 : ++last;
}

struct dirent *
readdir(DIR *d)
{
	struct dirent *(*f)(DIR *) = next("readdir"), *e = f(d);

	if (e != NULL)
		e->d_ino = inode(e->d_ino);
	return e;
}

struct dirent64 *
readdir64(DIR *d)
{
	struct dirent64 *(*f)(DIR *) = next("readdir64"), *e = f(d);

	if (e != NULL)
		e->d_ino = inode(e->d_ino);
	return e;
}

static int
flush(const char *name, int fd)
{
	int (*f)(int) = next(name);
	char slashed[32];

	/* "/fsync/" is not in "/fdatasync/" */
	snprintf(slashed, sizeof(slashed), "/%s/", name);
	if (getenv("SHIM_SLOW") != NULL)
		usleep(100000);
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

	return armed && getenv("SHIM_NOTHREAD") != NULL ? EAGAIN :
	    f(thread, attr, fn, arg);
}

int
syncfs(int fd)
{
	return flush("syncfs", fd);
}

int
sync_file_range(int fd, off64_t offset, off64_t n, unsigned int flags)
{
	int (*f)(int, off64_t, off64_t, unsigned int) = next("sync_file_range");

	return strstr(no_flush, "/sync_file_range/") != NULL ? 0 :
	    f(fd, offset, n, flags);
}

int
clock_gettime(clockid_t id, struct timespec *ts)
{
	int (*f)(clockid_t, struct timespec *) = next("clock_gettime");

	if (wall_clock == NULL || id != CLOCK_REALTIME)
		return f(id, ts);
	*ts = (struct timespec){ .tv_sec = *wall_clock };
	return 0;
}

time_t
time(time_t *t)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (t != NULL)
		*t = ts.tv_sec;
	return ts.tv_sec;
}

int
fstatvfs(int fd, struct statvfs *vfs)
{
	int (*f)(int, struct statvfs *) = next("fstatvfs64");
	const char *fs = getenv("SHIM_FS");
	int r = f(fd, vfs);

	if (fs != NULL && strcmp(fs, "ro") == 0)
		vfs->f_flag |= ST_RDONLY;
	else if (fs != NULL)
		vfs->f_files = vfs->f_favail = 0;
	return r;
}

int
fstatvfs64(int fd, struct statvfs64 *vfs)
{
	return fstatvfs(fd, (struct statvfs *)vfs);
}
