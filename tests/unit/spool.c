/* SPDX-License-Identifier: ISC */
/*
 * spool.c: a group has an end, which its callers need not know.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "hook.h"

static void
a_full_group_takes_no_more(void **state)
{
	static struct spool sp;
	static struct config cfg;
	static struct delivery d[GROUP_MAX + 1];
	struct event event = { .type = "t", .id = "i" };
	char base[] = "hook-group-XXXXXX", command[64];
	uint8_t i;

	(void)state;
	assert_non_null(mkdtemp(base));
	cfg.spool = base;
	spool_init(&sp, &cfg);
	assert_null(spool_check(&sp));
	for (i = 0; i < GROUP_MAX; i++) {
		d[i].event = &event;
		spool_take(&sp, &d[i], &i, 1, false);
		assert_int_equal(SPOOL_PENDING, d[i].state);
	}
	d[i].event = &event;
	spool_take(&sp, &d[i], &i, 1, false);
	assert_int_equal(SPOOL_COMMIT_FIRST, d[i].state);
	spool_commit(&sp);
	for (i = 0; i < GROUP_MAX; i++)
		assert_int_equal(SPOOL_STORED, d[i].state);
	spool_take(&sp, &d[i], &i, 1, false);
	spool_commit(&sp);
	assert_int_equal(SPOOL_STORED, d[i].state);
	snprintf(command, sizeof(command), "rm -rf %s", base);
	assert_int_equal(0, system(command));	/* NOLINT: a path of our own */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_group_takes_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
