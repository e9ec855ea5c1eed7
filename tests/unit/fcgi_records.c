/* SPDX-License-Identifier: ISC */
/*
 * fcgi_records.c: a request is complete at its last byte, in whatever portions
 * it arrives; records out of order are refused; records of other requests are
 * left out.  fcgi_values.c: FCGI_GET_VALUES is answered with the known values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fcgi_records.h"
#include "fcgi_values.h"

#define MAX_BODY	10

/* Records as a web server sends them. */
static uint8_t sent[4096];
static size_t nsent;

static void
add_record(uint8_t type, uint8_t id, const char *content, uint8_t n,
    uint8_t padding)
{
	const uint8_t header[] = { 1, type, 0, id, 0, n, padding, 0 };

	memcpy(sent + nsent, header, sizeof(header));
	nsent += sizeof(header);
	memcpy(sent + nsent, content, n);
	nsent += n;
	memset(sent + nsent, '#', padding);
	nsent += padding;
}

static void
begin(void)
{
	nsent = 0;
	add_record(1, 1, "\0\1\0\0\0\0\0\0", 8, 0);
}

/* A whole request with one parameter. */
static void
add_request(const char *body)
{
	begin();
	add_record(4, 1, "\3\2FOOab", 7, 0);
	add_record(4, 1, "", 0, 0);
	add_record(5, 1, body, (uint8_t)strlen(body), 0);
	add_record(5, 1, "", 0, 0);
}

/* The bytes that the sink was given. */
static uint8_t copied[4096];
static size_t ncopied, managed;

static int
copy(void *arg, const void *p, size_t n, bool in_body)
{
	(void)arg;
	(void)in_body;
	memcpy(copied + ncopied, p, n);
	ncopied += n;
	return 0;
}

static int
manage(void *arg, uint8_t type, const uint8_t *content, size_t n)
{
	(void)arg;
	(void)content;
	assert_int_equal(9, type);
	managed += n;
	return 0;
}

static const struct fcgi_sink sink = { copy, manage, NULL };

/* Feeds the records in portions of N bytes; returns 0 or -1. */
static int
feed(struct fcgi_records *r, size_t n)
{
	size_t at, part;

	fcgi_records_init(r, MAX_BODY);
	ncopied = managed = 0;
	for (at = 0; at < nsent; at += part) {
		part = n < nsent - at ? n : nsent - at;
		assert_false(fcgi_records_complete(r));
		if (fcgi_records_feed(r, sent + at, part, &sink) == -1)
			return -1;
	}
	return 0;
}

static void
a_request_is_complete_at_its_last_byte(void **state)
{
	struct fcgi_records r;
	size_t n;

	(void)state;
	add_request("body");
	for (n = 1; n <= nsent; n++) {
		assert_int_equal(0, feed(&r, n));
		assert_true(fcgi_records_complete(&r));
		assert_true(fcgi_records_are_clean(&r));
		assert_int_equal(nsent, ncopied);
		assert_memory_equal(sent, copied, nsent);
	}
}

static void
other_records_and_padding_are_left_out(void **state)
{
	struct fcgi_records r;
	uint8_t clean[4096];
	size_t nclean;

	(void)state;
	add_request("body");
	memcpy(clean, sent, nclean = nsent);
	nsent = 0;
	add_record(9, 0, "\16\0FCGI_MAX_CONNS", 16, 0);
	add_record(1, 1, "\0\1\0\0\0\0\0\0", 8, 3);
	add_record(4, 2, "xx", 2, 0);
	add_record(4, 1, "\3\2FOOab", 7, 1);
	add_record(4, 1, "", 0, 5);
	add_record(5, 1, "body", 4, 0);
	add_record(5, 1, "", 0, 0);
	assert_int_equal(0, feed(&r, 3));
	assert_true(fcgi_records_complete(&r));
	assert_false(fcgi_records_are_clean(&r));
	assert_int_equal(16, managed);
	assert_int_equal(nclean, ncopied);
	assert_memory_equal(clean, copied, nclean);
}

static void
records_out_of_order_are_refused(void **state)
{
	struct fcgi_records r;

	(void)state;
	begin();
	add_record(5, 1, "x", 1, 0);		/* a body before parameters */
	assert_int_equal(-1, feed(&r, 1));
	begin();
	add_record(2, 1, "", 0, 0);		/* FCGI_ABORT_REQUEST */
	assert_int_equal(-1, feed(&r, 1));
	begin();
	add_record(1, 1, "\0\1\0\0\0\0\0\0", 8, 0);	/* again */
	assert_int_equal(-1, feed(&r, 100));
	begin();
	add_record(4, 1, "\3\11FOOab", 7, 0);	/* a short value */
	add_record(4, 1, "", 0, 0);
	assert_int_equal(-1, feed(&r, 100));
	begin();
	add_record(4, 1, "\xff\xff\xff\xff\1", 5, 0);	/* a name of 2 GB */
	assert_int_equal(-1, feed(&r, 1));
	memset(sent, 'x', nsent = 20);		/* not FastCGI */
	assert_int_equal(-1, feed(&r, 1));
}

static void
a_body_that_is_too_long_is_cut_but_completes(void **state)
{
	struct fcgi_records r;
	int i;

	(void)state;
	begin();
	add_record(4, 1, "", 0, 0);
	for (i = 0; i < 5; i++)
		add_record(5, 1, "sevenby", 7, 0);
	assert_int_equal(0, feed(&r, 1000));
	assert_true(fcgi_records_have_params(&r));
	/* The second record makes it too long; others are not passed on. */
	assert_int_equal(16 + 8 + 2 * 15, ncopied);
	assert_false(fcgi_records_complete(&r));
	add_record(5, 1, "", 0, 0);
	assert_int_equal(0, feed(&r, 1000));
	assert_true(fcgi_records_complete(&r));
}

static void
management_records_begin_no_request(void **state)
{
	struct fcgi_records r;

	(void)state;
	nsent = 0;
	add_record(9, 0, "", 0, 2);
	assert_int_equal(0, feed(&r, 1));
	assert_true(fcgi_records_are_idle(&r));
	begin();
	assert_int_equal(0, feed(&r, 1));
	assert_false(fcgi_records_are_idle(&r));
}

static void
known_values_are_answered(void **state)
{
	static const uint8_t ask[] = "\16\0FCGI_MAX_CONNS\1\1xy"
	    "\17\0FCGI_MPXS_CONNS";
	static const uint8_t conns[] = "\1\12\0\0\0\46\0\0\16\4FCGI_MAX_CONNS"
	    "4096\17\1FCGI_MPXS_CONNS0";
	static const uint8_t unknown[] = { 1, 11, 0, 0, 0, 8, 0, 0, 12, 0, 0, 0,
	    0, 0, 0, 0 };
	uint8_t answer[FCGI_ANSWER_SIZE];

	(void)state;
	assert_int_equal(sizeof(conns) - 1, fcgi_values_answer(answer, 9, ask,
	    sizeof(ask) - 1, 4096));
	assert_memory_equal(conns, answer, sizeof(conns) - 1);
	/* Cut in a length and in a name, and empty. */
	assert_int_equal(8, fcgi_values_answer(answer, 9, ask, 1, 1));
	assert_int_equal(8, fcgi_values_answer(answer, 9, ask, 9, 1));
	assert_int_equal(8, fcgi_values_answer(answer, 9, ask, 0, 1));
	assert_int_equal(sizeof(unknown), fcgi_values_answer(answer, 12, ask,
	    0, 1));
	assert_memory_equal(unknown, answer, sizeof(unknown));
	/* FCGI_GET_VALUES_RESULT needs no answer. */
	assert_int_equal(0, fcgi_values_answer(answer, 10, ask, 0, 1));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_complete_at_its_last_byte),
		cmocka_unit_test(other_records_and_padding_are_left_out),
		cmocka_unit_test(records_out_of_order_are_refused),
		cmocka_unit_test(a_body_that_is_too_long_is_cut_but_completes),
		cmocka_unit_test(management_records_begin_no_request),
		cmocka_unit_test(known_values_are_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
