/* SPDX-License-Identifier: ISC */
/*
 * Helpers that several modules use: numbers, dates, clocks, files.
 */
#ifndef UTIL_H
#define UTIL_H

#include <sys/types.h>

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define SECONDS_PER_DAY	86400
#define SHA256_SIZE	32
#define BODY_MAX	((size_t)1 << 30)	/* bytes; no body is larger */

struct date {
	unsigned int year, month, day;
};

/* Parses LEN decimal digits at S: 0, EINVAL (not digits) or ERANGE. */
int number_parse(uint64_t *, const char *s, size_t len);
/* The last WIDTH decimal digits of N, not terminated; returns their end. */
char *decimal_format(char *, unsigned int n, unsigned int width);

/* The day of T in UTC; 1970-01-01 for times before that. */
void date_from_time(struct date *, time_t t);
/* Microseconds of CLOCK_MONOTONIC. */
int64_t clock_us(void);

/* Writes N bytes, also after a short write or a signal: 0, or -1 with errno. */
int write_all(int fd, const void *, size_t n);
/*
 * Reads FD to end of file into memory that the caller frees: NULL with errno,
 * which is EFBIG for more than MAX bytes.
 */
uint8_t *read_all(int fd, size_t max, size_t *len);

/*
 * Calls EACH for every name in the directory NAME, below the descriptor AT,
 * with a descriptor of that directory, until it returns -1.  0, or -1 with
 * errno.
 */
typedef int dir_each_name(void *arg, int dir, const struct dirent *);
int dir_each(int at, const char *name, dir_each_name *, void *arg);
/* Whether this user may create files in the directory; errno says why not. */
bool dir_is_writable(int dir);

/* Overwrites memory that has held a key. */
void memory_wipe(void *, size_t);

#endif
