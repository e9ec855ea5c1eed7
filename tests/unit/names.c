/* SPDX-License-Identifier: ISC */
/*
 * spool/name.c: names of deliveries and of days are recognised, and
 * no others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "events.h"
#include "spool/name.h"

#define STAMP	"20261124T105724.193698Z."
#define TEN	"0123456789"
#define LONG	TEN TEN TEN TEN TEN TEN "0123"

static void
a_name_is_parsed_into_time_type_and_id(void **state)
{
	struct delivery_name n;
	static const char name[] = STAMP "message.updated.a056_V-7.json";

	(void)state;
	assert_true(name_parse(&n, name));
	assert_int_equal(strlen("message.updated"), n.type_len);
	assert_memory_equal("message.updated", n.type, (size_t)n.type_len);
	assert_int_equal(strlen("a056_V-7"), n.id_len);
	assert_memory_equal("a056_V-7", n.id, (size_t)n.id_len);
	assert_int_equal(1795517844, name_time(name));
	assert_true(name_parse(&n, STAMP "t.i.json"));
	assert_true(name_parse(&n, STAMP LONG "." LONG ".json"));
	assert_int_equal(NAME_TEXT_MAX, n.type_len);
	assert_int_equal(NAME_TEXT_MAX, n.id_len);
}

static void
other_names_are_refused(void **state)
{
	static const char *const bad[] = { "", "x", ".", STAMP, STAMP ".json",
	    STAMP "..json", STAMP "t..json", STAMP ".i.json", STAMP "i.json",
	    STAMP "t.i.jsom", STAMP "t.i.json~", STAMP "t.i.json.", STAMP "t.i",
	    STAMP "t i.i.json", STAMP "t.i\x1b.json", STAMP LONG "x.i.json",
	    STAMP "t." LONG "x.json", "2026112-T105724.193698Z.t.i.json",
	    "2026112:T105724.193698Z.t.i.json",
	    "20261124t105724.193698Z.t.i.json",
	    "20261124T105724,193698Z.t.i.json",
	    "20261124T105724.193698z.t.i.json" };
	struct delivery_name n;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (name_parse(&n, bad[i]))
			fail_msg("accepted: %s", bad[i]);
}

static void
a_day_is_a_valid_date_since_1970(void **state)
{
	time_t t;

	(void)state;
	assert_true(day_parse(&t, "2026-11-24"));
	assert_int_equal(1795478400, t);
	assert_false(day_parse(&t, "2026-11-2"));
	assert_false(day_parse(&t, "2026-11-244"));
	assert_false(day_parse(&t, "2026-11-2x"));
	assert_false(day_parse(&t, "2026-02-29"));
	assert_true(day_parse(&t, "2028-02-29"));
	assert_false(day_parse(&t, "2026-13-01"));
	assert_false(day_parse(&t, "0000-00-00"));
	assert_false(day_parse(&t, "1969-12-31"));
	assert_false(day_parse(&t, "1764315600"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_is_parsed_into_time_type_and_id),
		cmocka_unit_test(other_names_are_refused),
		cmocka_unit_test(a_day_is_a_valid_date_since_1970),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
