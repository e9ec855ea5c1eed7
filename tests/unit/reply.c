/* SPDX-License-Identifier: ISC */
/*
 * log.c and reply.c: a log line is one line of bounded length without control
 * characters, whatever is logged; an answer is bounded, too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "log.h"
#include "reply.h"
#include "request.h"
#include "util.h"

static char line[LOG_LINE_SIZE + 1];

/* The rest of the line after its time, whose form is checked. */
static const char *
after_time(void)
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
event_line(const char *why)
{
	size_t n = log_format_event(line, "r", why);

	assert_in_range(n, 1, LOG_LINE_SIZE);
	assert_int_equal('\n', line[n - 1]);
	line[n] = '\0';
	assert_ptr_equal(line + n - 1, strchr(line, '\n'));
	return after_time();
}

static void
values_are_quoted_only_if_needed(void **state)
{
	(void)state;
	assert_string_equal("result=r\n", event_line(NULL));
	assert_string_equal("result=r reason=plain/1\n", event_line("plain/1"));
	assert_string_equal("result=r reason=\"\"\n", event_line(""));
	assert_string_equal("result=r reason=\"a b\"\n", event_line("a b"));
	assert_string_equal("result=r reason=\"a=b\"\n", event_line("a=b"));
	assert_string_equal("result=r reason=\"\\\"\"\n", event_line("\""));
	assert_string_equal("result=r reason=\"\\\\\"\n", event_line("\\"));
	assert_string_equal("result=r reason=\"\xc3\xa9\"\n",
	    event_line("\xc3\xa9"));
}

static void
control_characters_are_escaped(void **state)
{
	(void)state;
	assert_string_equal("result=r reason=\"\\u001b[2J\\u000a\"\n",
	    event_line("\x1b[2J\n"));
	assert_string_equal("result=r reason=\"\\u007f\"\n",
	    event_line("\x7f"));
	/* C1 controls, but no other character with the same first byte. */
	assert_string_equal("result=r reason=\"\\u009b\"\n",
	    event_line("\xc2\x9b"));
	assert_string_equal("result=r reason=\"\xc2\xa9\"\n",
	    event_line("\xc2\xa9"));
}

static void
separators_and_text_directions_are_escaped(void **state)
{
	static const struct {
		const char *utf8, *escaped;
	} all[] = {
		{ "\xd8\x9c", "\\u061c" }, { "\xe2\x80\x8e", "\\u200e" },
		{ "\xe2\x80\x8f", "\\u200f" }, { "\xe2\x80\xa8", "\\u2028" },
		{ "\xe2\x80\xa9", "\\u2029" }, { "\xe2\x80\xaa", "\\u202a" },
		{ "\xe2\x80\xae", "\\u202e" }, { "\xe2\x81\xa6", "\\u2066" },
		{ "\xe2\x81\xa9", "\\u2069" }, { "\xef\xbb\xbf", "\\ufeff" },
		/* Their neighbours are not escaped, ... */
		{ "\xe2\x80\x8d", NULL }, { "\xe2\x80\x90", NULL },
		{ "\xe2\x80\xa7", NULL }, { "\xe2\x80\xaf", NULL },
		{ "\xe2\x81\xa5", NULL }, { "\xe2\x81\xaa", NULL },
		{ "\xe2\x82\xac", NULL }, { "\xd8\x9b", NULL },
		{ "\xf0\x9f\x98\x80", NULL }, { "\xc2\xa0", NULL },
		/* ... nor are incomplete and invalid sequences. */
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
		assert_string_equal(expected, event_line(text));
	}
	assert_string_equal("result=r reason=\"\xe2\x80\"\n",
	    event_line("\xe2\x80"));
}

static void
long_values_are_cut_between_characters(void **state)
{
	char text[2 * LOG_LINE_SIZE];
	size_t n;

	(void)state;
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	event_line(text);
	memset(text, '\x1b', sizeof(text) - 1);
	event_line(text);
	n = strlen(line);
	/* Not within an escape. */
	assert_string_equal("\\u001b\"\n", line + n - 8);
	/* Lines of every length near the space that is left. */
	for (n = LOG_LINE_SIZE - 128; n < LOG_LINE_SIZE + 8; n++) {
		memset(text, 'a', n);
		text[n] = '\0';
		event_line(text);
		text[0] = ' ';		/* with quotes */
		event_line(text);
		assert_string_equal("a\"\n", line + strlen(line) - 3);
		text[n - 1] = '\n';
		event_line(text);
		assert_string_equal("\"\n", line + strlen(line) - 2);
	}
}

static const char *
request_line(const struct request *rq)
{
	size_t n = log_format_request(line, rq);

	assert_in_range(n, 1, LOG_LINE_SIZE);
	line[n] = '\0';
	return after_time();
}

static void
a_request_is_logged_on_one_line(void **state)
{
	char remote[200];
	struct request rq = { .outcome = OUTCOME_UNAVAILABLE,
	    .failure = { "x", 0 } };

	(void)state;
	rq.remote_addr = "::1 \x7f\t\xff";
	assert_non_null(strstr(request_line(&rq), " remote=::1???? "));
	memset(remote, '1', sizeof(remote));
	remote[sizeof(remote) - 1] = '\0';
	rq.remote_addr = remote;
	assert_non_null(strstr(request_line(&rq), " ms="));
	assert_in_range(strspn(strstr(line, "remote=") + 7, "1"), 63, 63);
	/* The name of a file that was removed again is not logged. */
	strcpy(rq.delivery.name, "name");
	assert_null(strstr(request_line(&rq), "file="));
	rq.outcome = OUTCOME_REJECTED;
	assert_non_null(strstr(request_line(&rq), " file=name "));
	rq.outcome = OUTCOME_STORED;
	assert_non_null(strstr(request_line(&rq), " file=name "));
}

static void
the_longest_line_and_answer_fit(void **state)
{
	char answer[ANSWER_SIZE];
	struct request rq = { .outcome = OUTCOME_STORED, .has_event = true };

	(void)state;
	memset(rq.event.id, 1, EVENT_TEXT_MAX);
	memset(rq.event.type, 1, EVENT_TEXT_MAX);
	rq.event.known = -1;
	memset(rq.delivery.name, 'n', sizeof(rq.delivery.name) - 1);
	rq.remote_addr = "255.255.255.255";
	assert_non_null(strstr(request_line(&rq), " unknown=yes file=nnn"));
	assert_int_equal('\n', line[strlen(line) - 1]);
	answer[reply_format(answer, &rq)] = '\0';
	assert_string_equal("\\u0001\"}\n", answer + strlen(answer) - 9);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_quoted_only_if_needed),
		cmocka_unit_test(control_characters_are_escaped),
		cmocka_unit_test(separators_and_text_directions_are_escaped),
		cmocka_unit_test(long_values_are_cut_between_characters),
		cmocka_unit_test(a_request_is_logged_on_one_line),
		cmocka_unit_test(the_longest_line_and_answer_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
