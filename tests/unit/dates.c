/* SPDX-License-Identifier: ISC */
/*
 * util.c: dates until 2400 are those of the C library; files are read and
 * written whole, or not at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "util.h"

static void
dates_until_2400_are_those_of_the_c_library(void **state)
{
	const time_t end = (time_t)430 * 366 * SECONDS_PER_DAY;
	struct date date;
	struct tm tm;
	time_t t;

	(void)state;
	/* One second short of a day: each day, at every second of the clock. */
	for (t = 0; t < end; t += SECONDS_PER_DAY - 1) {
		date_from_time(&date, t);
		assert_non_null(gmtime_r(&t, &tm));
		assert_int_equal(date.year, tm.tm_year + 1900);
		assert_int_equal(date.month, tm.tm_mon + 1);
		assert_int_equal(date.day, tm.tm_mday);
	}
}

static void
times_before_1970_become_its_first_day(void **state)
{
	struct date date;

	(void)state;
	date_from_time(&date, (time_t)-1);
	assert_int_equal(date.year, 1970);
	assert_int_equal(date.month, 1);
	assert_int_equal(date.day, 1);
}

static void
decimals_are_padded_or_cut_to_their_width(void **state)
{
	char text[8] = "-------";

	(void)state;
	assert_ptr_equal(decimal_format(text, 42, 6), text + 6);
	assert_string_equal(text, "000042-");
	decimal_format(text, 1234567, 2);
	assert_string_equal(text, "670042-");
}

static void
files_up_to_a_size_are_read_whole(void **state)
{
	int fd = open("/bin/sh", O_RDONLY);	/* a file that exists */
	uint8_t *text;
	size_t n;

	(void)state;
	assert_int_not_equal(-1, fd);
	text = read_all(fd, SIZE_MAX, &n);
	assert_non_null(text);
	assert_int_equal(lseek(fd, 0, SEEK_END), n);
	free(text);
	lseek(fd, 0, SEEK_SET);
	errno = 0;
	assert_null(read_all(fd, n - 1, &n));
	assert_int_equal(EFBIG, errno);
	close(fd);
	assert_null(read_all(fd, 1, &n));
	assert_int_equal(EBADF, errno);
	assert_int_equal(-1, write_all(fd, "x", 1));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dates_until_2400_are_those_of_the_c_library),
		cmocka_unit_test(times_before_1970_become_its_first_day),
		cmocka_unit_test(decimals_are_padded_or_cut_to_their_width),
		cmocka_unit_test(files_up_to_a_size_are_read_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
