/* SPDX-License-Identifier: ISC */
/*
 * util.c: every day's date until 2400 is the C library's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_day),
		cmocka_unit_test(before_1970),
		cmocka_unit_test(digits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
