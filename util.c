/* SPDX-License-Identifier: ISC */
/*
 * Small things that more than one room needs.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "hook.h"

int
number_read(uint64_t *out, const char *s, size_t len)
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

void
hex_digest(char hex[DIGEST_HEX + 1], const uint8_t digest[DIGEST_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	size_t i;

	for (i = 0; i < DIGEST_SIZE; i++) {
		hex[2 * i] = digits[digest[i] >> 4];
		hex[2 * i + 1] = digits[digest[i] & 15];
	}
	hex[DIGEST_HEX] = '\0';
}

void
wipe(void *p, size_t n)
{
	volatile unsigned char *v = p;

	while (n-- > 0)
		*v++ = 0;
}

double
milliseconds_since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) * 1e3 +
	    (double)(now.tv_nsec - then->tv_nsec) / 1e6;
}
