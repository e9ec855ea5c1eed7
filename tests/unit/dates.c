/* SPDX-License-Identifier: ISC */
/*
 * util.c: every day's date until 2400 is the C library's; what is read and
 * written is whole, or fails.
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

#include "hook.h"

static void
every_day(void **state)
{
	const time_t end = (time_t)430 * 366 * SECONDS_A_DAY;
	struct date date;
	struct tm tm;
	time_t t;

	(void)state;
	/* The step visits first and last seconds, and each day. */
	for (t = 0; t < end; t += SECONDS_A_DAY - 1) {
		date_utc(&date, t);
		assert_non_null(gmtime_r(&t, &tm));
		assert_int_equal(date.year, tm.tm_year + 1900);
		assert_int_equal(date.month, tm.tm_mon + 1);
		assert_int_equal(date.day, tm.tm_mday);
	}
}

static void
before_1970(void **state)
{
	struct date date;

	(void)state;
	date_utc(&date, (time_t)-1);
	assert_int_equal(date.year, 1970);
	assert_int_equal(date.month, 1);
	assert_int_equal(date.day, 1);
}

static void
digits(void **state)
{
	char text[8] = "-------";

	(void)state;
	assert_ptr_equal(digits_put(text, 42, 6), text + 6);
	assert_string_equal(text, "000042-");
	digits_put(text, 1234567, 2);
	assert_string_equal(text, "670042-");
}

static void
whole_files_up_to_a_size(void **state)
{
	int fd = open("/bin/sh", O_RDONLY);	/* anything of some size */
	uint8_t *text;
	size_t n;

	(void)state;
	assert_int_not_equal(-1, fd);
	text = read_whole(fd, SIZE_MAX, &n);
	assert_non_null(text);
	assert_int_equal(lseek(fd, 0, SEEK_END), n);
	free(text);
	lseek(fd, 0, SEEK_SET);
	errno = 0;
	assert_null(read_whole(fd, n - 1, &n));
	assert_int_equal(EFBIG, errno);
	close(fd);
	assert_null(read_whole(fd, 1, &n));
	assert_int_equal(EBADF, errno);
	assert_int_equal(-1, write_all(fd, "x", 1));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_day),
		cmocka_unit_test(before_1970),
		cmocka_unit_test(digits),
		cmocka_unit_test(whole_files_up_to_a_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
