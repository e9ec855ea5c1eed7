/* SPDX-License-Identifier: ISC */
/*
 * reply.c: whatever is said, a log line is one line, bounded, and steers no
 * terminal; an answer is bounded, too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hook.h"

static char line[LOG_SIZE + 1];

/* What follows the time of a line. */
static const char *
timed(void)
{
	static const char form[] = "ts=####-##-##T##:##:##.###Z ";
	size_t i;

	for (i = 0; form[i] != '\0'; i++)
		if (form[i] == '#')
			assert_in_range(line[i], '0', '9');
		else
			assert_int_equal(form[i], line[i]);
	return line + i;
}

static const char *
noted(const char *why)
{
	size_t n = reply_log_note(line, "r", why);

	assert_in_range(n, 1, LOG_SIZE);
	assert_int_equal('\n', line[n - 1]);
	line[n] = '\0';
	assert_ptr_equal(line + n - 1, strchr(line, '\n'));
	return timed();
}

static void
values_are_bare_where_they_can_be(void **state)
{
	(void)state;
	assert_string_equal("result=r\n", noted(NULL));
	assert_string_equal("result=r reason=plain/1\n", noted("plain/1"));
	assert_string_equal("result=r reason=\"\"\n", noted(""));
	assert_string_equal("result=r reason=\"a b\"\n", noted("a b"));
	assert_string_equal("result=r reason=\"a=b\"\n", noted("a=b"));
	assert_string_equal("result=r reason=\"\\\"\"\n", noted("\""));
	assert_string_equal("result=r reason=\"\\\\\"\n", noted("\\"));
	assert_string_equal("result=r reason=\"\xc3\xa9\"\n", noted("\xc3\xa9"));
}

static void
what_steers_a_terminal_is_escaped(void **state)
{
	(void)state;
	assert_string_equal("result=r reason=\"\\u001b[2J\\u000a\"\n",
	    noted("\x1b[2J\n"));
	assert_string_equal("result=r reason=\"\\u007f\"\n", noted("\x7f"));
	/* C1 controls, but not what else begins with their first byte */
	assert_string_equal("result=r reason=\"\\u009b\"\n", noted("\xc2\x9b"));
	assert_string_equal("result=r reason=\"\xc2\xa9\"\n", noted("\xc2\xa9"));
}

static void
what_hides_or_turns_a_text_is_escaped(void **state)
{
	static const struct {
		const char *utf8, *escaped;
	} all[] = {
		{ "\xd8\x9c", "\\u061c" }, { "\xe2\x80\x8e", "\\u200e" },
		{ "\xe2\x80\x8f", "\\u200f" }, { "\xe2\x80\xa8", "\\u2028" },
		{ "\xe2\x80\xa9", "\\u2029" }, { "\xe2\x80\xaa", "\\u202a" },
		{ "\xe2\x80\xae", "\\u202e" }, { "\xe2\x81\xa6", "\\u2066" },
		{ "\xe2\x81\xa9", "\\u2069" }, { "\xef\xbb\xbf", "\\ufeff" },
		/* their neighbours are not */
		{ "\xe2\x80\x8d", NULL }, { "\xe2\x80\x90", NULL },
		{ "\xe2\x80\xa7", NULL }, { "\xe2\x80\xaf", NULL },
		{ "\xe2\x81\xa5", NULL }, { "\xe2\x81\xaa", NULL },
		{ "\xe2\x82\xac", NULL }, { "\xd8\x9b", NULL },
		{ "\xf0\x9f\x98\x80", NULL }, { "\xc2\xa0", NULL },
		/* nor what is cut off or no UTF-8 */
		{ "\xe2\x80", NULL }, { "\xe2", NULL }, { "\x80\xff", NULL },
	};
	char expected[64], text[16];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		snprintf(text, sizeof(text), "a%s b", all[i].utf8);
		snprintf(expected, sizeof(expected),
		    "result=r reason=\"a%s b\"\n", all[i].escaped != NULL ?
		    all[i].escaped : all[i].utf8);
		assert_string_equal(expected, noted(text));
	}
	assert_string_equal("result=r reason=\"\xe2\x80\"\n",
	    noted("\xe2\x80"));
}

static void
what_is_too_long_is_cut(void **state)
{
	char text[2 * LOG_SIZE];
	size_t n;

	(void)state;
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	noted(text);
	memset(text, '\x1b', sizeof(text) - 1);
	noted(text);
	n = strlen(line);
	/* not within an escape */
	assert_string_equal("\\u001b\"\n", line + n - 8);
	/* Of every length around what there is room for. */
	for (n = LOG_SIZE - 128; n < LOG_SIZE + 8; n++) {
		memset(text, 'a', n);
		text[n] = '\0';
		noted(text);
		text[0] = ' ';		/* with quotes */
		noted(text);
		assert_string_equal("a\"\n", line + strlen(line) - 3);
		text[n - 1] = '\n';
		noted(text);
		assert_string_equal("\"\n", line + strlen(line) - 2);
	}
}

static const char *
logged(const struct request *rq)
{
	size_t n = reply_log(line, rq);

	assert_in_range(n, 1, LOG_SIZE);
	line[n] = '\0';
	return timed();
}

static void
a_request_is_one_line(void **state)
{
	char remote[200];
	struct request rq = { .outcome = OUTCOME_UNAVAILABLE, .reason = "x" };

	(void)state;
	rq.remote = "::1 \x7f\t\xff";
	assert_non_null(strstr(logged(&rq), " remote=::1???? "));
	memset(remote, '1', sizeof(remote));
	remote[sizeof(remote) - 1] = '\0';
	rq.remote = remote;
	assert_non_null(strstr(logged(&rq), " ms="));
	assert_in_range(strspn(strstr(line, "remote=") + 7, "1"), 63, 63);
	/* a name that was taken back is not told */
	strcpy(rq.delivery.name, "name");
	assert_null(strstr(logged(&rq), "file="));
	rq.outcome = OUTCOME_REJECTED;
	assert_non_null(strstr(logged(&rq), " file=name "));
	rq.outcome = OUTCOME_STORED;
	assert_non_null(strstr(logged(&rq), " file=name "));
}

static void
the_longest_of_all_fit(void **state)
{
	char answer[ANSWER_SIZE];
	struct request rq = { .outcome = OUTCOME_STORED, .has_event = true };

	(void)state;
	memset(rq.event.id, 1, EVENT_TEXT_MAX);
	memset(rq.event.type, 1, EVENT_TEXT_MAX);
	rq.event.known = -1;
	memset(rq.delivery.name, 'n', sizeof(rq.delivery.name) - 1);
	rq.remote = "255.255.255.255";
	assert_non_null(strstr(logged(&rq), " unknown=yes file=nnn"));
	assert_int_equal('\n', line[strlen(line) - 1]);
	answer[reply_answer(answer, &rq)] = '\0';
	assert_string_equal("\\u0001\"}\n", answer + strlen(answer) - 9);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_bare_where_they_can_be),
		cmocka_unit_test(what_steers_a_terminal_is_escaped),
		cmocka_unit_test(what_hides_or_turns_a_text_is_escaped),
		cmocka_unit_test(what_is_too_long_is_cut),
		cmocka_unit_test(a_request_is_one_line),
		cmocka_unit_test(the_longest_of_all_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
