/* SPDX-License-Identifier: ISC */
/*
 * spool/: a group that is full accepts no more, and a commit makes room.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "config.h"
#include "events.h"
#include "spool/spool.h"

static void
a_full_group_accepts_no_more_until_a_commit(void **state)
{
	static struct config cfg;
	static struct delivery d[GROUP_MAX + 1];
	struct event event = { .type = "t", .id = "i" };
	char base[] = "hook-group-XXXXXX", command[64];
	struct failure failure;
	struct spool *spool;
	uint8_t i;

	(void)state;
	assert_non_null(mkdtemp(base));
	cfg.spool = base;
	assert_non_null(spool = spool_new(&cfg));
	assert_true(spool_refresh(spool, &failure));
	for (i = 0; i < GROUP_MAX; i++) {
		d[i].event = &event;
		spool_stage(spool, &d[i], &i, 1, false);
		assert_int_equal(DELIVERY_PENDING, d[i].state);
	}
	d[i].event = &event;
	spool_stage(spool, &d[i], &i, 1, false);
	assert_int_equal(DELIVERY_COMMIT_FIRST, d[i].state);
	spool_commit(spool);
	for (i = 0; i < GROUP_MAX; i++)
		assert_int_equal(DELIVERY_STORED, d[i].state);
	spool_stage(spool, &d[i], &i, 1, false);
	spool_commit(spool);
	assert_int_equal(DELIVERY_STORED, d[i].state);
	spool_free(spool);
	snprintf(command, sizeof(command), "rm -rf %s", base);
	assert_int_equal(0, system(command));	/* NOLINT: a path of our own */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_group_accepts_no_more_until_a_commit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
