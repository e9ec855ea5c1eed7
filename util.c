/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

int
number_parse(uint64_t *out, const char *s, size_t len)
{
	uint64_t n = 0;
	unsigned int digit;
	size_t i;

	if (len == 0 || strspn(s, "0123456789") < len)
		return EINVAL;
	for (i = 0; i < len; i++) {
		digit = (unsigned int)(s[i] - '0');
		if (n > (UINT64_MAX - digit) / 10)
			return ERANGE;
		n = n * 10 + digit;
	}
	*out = n;
	return 0;
}

int
write_all(int fd, const void *buf, size_t n)
{
	const char *p = buf;
	ssize_t w;

	while (n > 0) {
		w = write(fd, p, n);
		if (w == -1 && errno == EINTR)
			continue;
		if (w == -1)
			return -1;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

char *
decimal_format(char *p, unsigned int n, unsigned int width)
{
	unsigned int i;

	for (i = width; i > 0; n /= 10)
		p[--i] = (char)('0' + n % 10);
	return p + width;
}

static bool
is_leap(unsigned int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* gmtime() would read the time zone's file: seven system calls in CGI. */
void
date_from_time(struct date *date, time_t t)
{
	static const unsigned int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31,
	    30, 31, 30, 31 };
	uint64_t days = t > 0 ? (uint64_t)t / SECONDS_PER_DAY : 0;
	unsigned int year = 1970, month = 0, n;

	while (days >= (n = is_leap(year) ? 366 : 365)) {
		days -= n;
		year++;
	}
	while (days >= (n = lengths[month] + (month == 1 && is_leap(year)))) {
		days -= n;
		month++;
	}
	date->year = year;
	date->month = month + 1;
	date->day = (unsigned int)days + 1;
}

void
memory_wipe(void *p, size_t n)
{
	volatile unsigned char *v = p;

	for (; n > 0; n--)
		*v++ = 0;
}

int64_t
clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

uint8_t *
read_all(int fd, size_t max, size_t *len)
{
	uint8_t *buf = NULL, *bigger;
	size_t size = 0, n = 0;
	ssize_t r;

	do {
		if (n == size) {
			size = size == 0 ? 16384 : 2 * size;
			if ((bigger = realloc(buf, size)) == NULL)
				goto fail;
			buf = bigger;
		}
		r = read(fd, buf + n, size - n);
		if (r == -1 && errno != EINTR)
			goto fail;
		n += r > 0 ? (size_t)r : 0;
		if (n > max) {
			errno = EFBIG;
			goto fail;
		}
	} while (r != 0);
	*len = n;
	return buf;
fail:
	free(buf);
	return NULL;
}

bool
dir_is_writable(int dir)
{
	return faccessat(dir, ".", W_OK | X_OK, AT_EACCESS) == 0;
}

int
dir_each(int at, const char *name, dir_each_name *each, void *arg)
{
	int error, fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	DIR *d = fd != -1 ? fdopendir(fd) : NULL;
	struct dirent *e;

	if (d == NULL) {
		if (fd != -1)
			close(fd);
		return -1;
	}
	while (errno = 0, (e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0 && each(arg, fd, e) == -1)
			break;
	error = errno;
	closedir(d);
	errno = error;
	return error == 0 ? 0 : -1;
}
