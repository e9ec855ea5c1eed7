/* SPDX-License-Identifier: ISC */
/*
 * spool.c: which names deliveries and days have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hook.h"

#define STAMP	"20261124T105724.193698Z."
#define TEN	"0123456789"
#define LONG	TEN TEN TEN TEN TEN TEN "0123"

static void
a_delivery_is_taken_apart(void **state)
{
	struct name n;
	static const char name[] = STAMP "message.updated.a056_V-7.json";

	(void)state;
	assert_true(name_read(&n, name));
	assert_int_equal(strlen("message.updated"), n.type_len);
	assert_memory_equal("message.updated", n.type, (size_t)n.type_len);
	assert_int_equal(strlen("a056_V-7"), n.id_len);
	assert_memory_equal("a056_V-7", n.id, (size_t)n.id_len);
	assert_int_equal(1795517844, name_time(name));
	assert_true(name_read(&n, STAMP "t.i.json"));
	assert_true(name_read(&n, STAMP LONG "." LONG ".json"));
	assert_int_equal(NAME_TEXT_MAX, n.type_len);
	assert_int_equal(NAME_TEXT_MAX, n.id_len);
}

static void
other_names_are_none(void **state)
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
	struct name n;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (name_read(&n, bad[i]))
			fail_msg("taken: %s", bad[i]);
}

static void
days(void **state)
{
	(void)state;
	assert_true(spool_is_day("2026-11-24"));
	assert_false(spool_is_day("2026-11-2"));
	assert_false(spool_is_day("2026-11-244"));
	assert_false(spool_is_day("2026-11-2x"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_delivery_is_taken_apart),
		cmocka_unit_test(other_names_are_none),
		cmocka_unit_test(days),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
