/* SPDX-License-Identifier: ISC */
/*
 * events.c and json.c: what is an event, what is wanted, what is JSON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hook.h"

static struct event ev;

static const char *
read_bytes(const char *s, size_t n)
{
	const struct json_text text = { (const uint8_t *)s, n };
	bool nomem = false;
	const char *why;

	memset(&ev, 0, sizeof(ev));
	why = event_read(&ev, text, &nomem);
	assert_false(nomem);
	return why;
}

static const char *
read_text(const char *s)
{
	return read_bytes(s, strlen(s));
}

/* An event with VALUE as a member beside the three that are needed. */
static const char *
read_value(const char *value)
{
	static char text[4096];

	snprintf(text, sizeof(text), "{\"id\":\"i\",\"type\":\"t\","
	    "\"payload\":{},\"x\":%s}", value);
	return read_text(text);
}

static void
each_of_the_15_types_is_known(void **state)
{
	char text[512], name[EVENT_TEXT_MAX + 1];
	unsigned int i;

	(void)state;
	for (i = 0; i < EVENT_TYPES; i++) {
		event_name(name, i);
		snprintf(text, sizeof(text), "{\"id\":\"x%u\",\"type\":\"%s\","
		    "\"payload\":{}}", i, name);
		assert_null(read_text(text));
		assert_string_equal(name, ev.type);
		assert_int_equal(i, ev.known);
		assert_int_equal(i / EVENT_ACTIONS, ev.resource);
	}
	event_name(name, 0);
	assert_string_equal("contact.created", name);
	event_name(name, EVENT_TYPES - 1);
	assert_string_equal("attachment.deleted", name);
}

static void
other_types_are_events_but_unknown(void **state)
{
	(void)state;
	assert_null(read_text("{\"id\":\"1\",\"type\":\"call.started\","
	    "\"payload\":{}}"));
	assert_int_equal(-1, ev.known);
	assert_int_equal(-1, ev.resource);
	assert_null(read_text("{\"id\":\"1\",\"type\":\"contact.merged\","
	    "\"payload\":{}}"));
	assert_int_equal(-1, ev.known);
	assert_int_equal(0, ev.resource);
	assert_null(read_text("{\"id\":\"1\",\"type\":\"contact\","
	    "\"payload\":{}}"));
	assert_int_equal(-1, ev.resource);
}

static void
members_must_be_there_and_of_their_type(void **state)
{
	static const char *const bad[] = {
		"{}", "[]", "null", "\"x\"", "1", "",
		"{\"id\":\"1\",\"type\":\"a\"}",
		"{\"id\":\"1\",\"payload\":{}}",
		"{\"type\":\"a\",\"payload\":{}}",
		"{\"id\":1,\"type\":\"a\",\"payload\":{}}",
		"{\"id\":null,\"type\":\"a\",\"payload\":{}}",
		"{\"id\":\"\",\"type\":\"a\",\"payload\":{}}",
		"{\"id\":\"1\",\"type\":\"\",\"payload\":{}}",
		"{\"id\":\"1\",\"type\":[\"a\"],\"payload\":{}}",
		"{\"id\":\"1\",\"type\":\"a\",\"payload\":[]}",
		"{\"id\":\"1\",\"type\":\"a\",\"payload\":null}",
		"{\"id\":\"1\",\"type\":\"a\",\"payload\":\"{}\"}",
		"{\"id\":\"1\\u0000\",\"type\":\"a\",\"payload\":{}}",
		"{\"id\":\"1\",\"type\":\"a\\u0000b\",\"payload\":{}}",
		"{\"id\":\"1\",\"type\":\"a\",\"payload\":{},\"id\":1}",
		"{\"ID\":\"1\",\"type\":\"a\",\"payload\":{}}",
		"{\"x\":{\"id\":\"1\"},\"type\":\"a\",\"payload\":{}}",
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (read_text(bad[i]) == NULL)
			fail_msg("taken: %s", bad[i]);
}

static void
names_and_values_may_have_escapes(void **state)
{
	(void)state;
	assert_null(read_text("{\"\\u0069d\":\"a\\u0062\\n\\ud83d\\ude00\","
	    "\"t\\u0079pe\":\"m\\u0065ssage.created\",\"payload\":{}}"));
	assert_string_equal("ab\n\xf0\x9f\x98\x80", ev.id);
	assert_string_equal("message.created", ev.type);
	assert_int_not_equal(-1, ev.known);
	/* json-c would cut this name at the NUL and take it for "id" */
	assert_null(read_text("{\"id\":\"1\",\"type\":\"a\",\"payload\":{},"
	    "\"id\\u0000x\":\"2\"}"));
	assert_string_equal("1", ev.id);
	/* names as long as those that are looked for */
	assert_null(read_text("{\"id\":\"1\",\"type\":\"a\",\"payload\":{},"
	    "\"if\":0,\"tape\":0,\"paylord\":0}"));
	/* the last of a name counts, as with nearly every reader */
	assert_null(read_text("{\"id\":\"1\",\"type\":\"a\",\"payload\":{},"
	    "\"id\":\"2\"}"));
	assert_string_equal("2", ev.id);
}

static void
long_texts_are_cut_between_characters(void **state)
{
	char text[1024], id[400];
	size_t i;

	(void)state;
	for (i = 0; i < 399; i += 3)
		memcpy(id + i, "\xe2\x80\x99", 3);
	id[399] = '\0';
	snprintf(text, sizeof(text), "{\"id\":\"%s\",\"type\":\"%s\","
	    "\"payload\":{}}", id, id);
	assert_null(read_text(text));
	assert_int_equal(126, strlen(ev.id));
	assert_memory_equal(id, ev.id, 126);
	for (i = EVENT_TEXT_MAX - 1; i <= EVENT_TEXT_MAX + 1; i++) {
		memset(id, 'i', i);
		id[i] = '\0';
		snprintf(text, sizeof(text), "{\"id\":\"%s\",\"type\":\"t\","
		    "\"payload\":{}}", id);
		assert_null(read_text(text));
		assert_int_equal(i < EVENT_TEXT_MAX ? i : EVENT_TEXT_MAX,
		    strlen(ev.id));
	}
}

static void
json_that_rfc_8259_has(void **state)
{
	static const char *const good[] = {
		"0", "-0", "10", "1.5", "-1e5", "1E+5", "1e-05", "0.0e0",
		"123456789012345678901234567890", "true", "false", "null",
		"\"\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD800\"",
		("\"\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80"
		"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\""), "[]", "{}", "[[],{}]",
		" [ 1 , 2 ]\t", "{ \"a\" : { \"b\" : [ ] } }\r\n",
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (read_value(good[i]) != NULL)
			fail_msg("refused: %s", good[i]);
	assert_null(read_text(" \t\r\n{\"id\":\"1\",\"type\":\"a\","
	    "\"payload\":{}} \n"));
}

static void
json_that_json_c_takes_and_nobody_else(void **state)
{
	static const char *const bad[] = {
		"", "01", "-01", "1.", ".5", "-", "+1", "1e", "1e+", "0x1",
		"NaN", "-Infinity", "Infinity", "nul", "TRUE", "True",
		"'a'", "\"a", "\"\t\"", "\"\n\"", "\"\\x\"", "\"\\u12\"",
		"\"\\u12g4\"", "\"\\", "\"\x80\"", "\"\xc0\xaf\"",
		"\"\xc1\xbf\"", "\"\xe0\x9f\xbf\"", "\"\xed\xa0\x80\"",
		"\"\xf0\x8f\xbf\xbf\"", "\"\xf4\x90\x80\x80\"", "\"\xf5\"",
		"\"\xc3\"", "\"\xe2\x80\"", "[1,]", "[,1]", "[1 2]", "[1",
		"[", "]", "{\"a\":1,}", "{\"a\"}", "{\"a\":}", "{a:1}",
		"{'a':1}", "{\"a\":1", "{1:1}", "1 1", "/**/1", "1}", "\f1",
	};
	char escaped[] = "{\"id\":\"\\u0041\",\"type\":\"a\","
	    "\"payload\":{}}";
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (read_value(bad[i]) == NULL)
			fail_msg("taken: %s", bad[i]);
	assert_non_null(read_text("{\"id\":\"1\",\"type\":\"a\","
	    "\"payload\":{}}x"));
	assert_non_null(read_bytes("{\"id\":\"1\",\"type\":\"a\","
	    "\"payload\":{}}\0", 38));
	/* a NUL where an escape, or a digit of one, may be */
	assert_null(read_bytes(escaped, sizeof(escaped) - 1));
	escaped[11] = '\0';
	assert_non_null(read_bytes(escaped, sizeof(escaped) - 1));
	escaped[8] = '\0';
	assert_non_null(read_bytes(escaped, sizeof(escaped) - 1));
	assert_non_null(read_text("\xef\xbb\xbf{\"id\":\"1\",\"type\":\"a\","
	    "\"payload\":{}}"));
}

static void
every_cut_is_refused(void **state)
{
	static const char text[] = "{\"id\":\"\\u00e9\xc3\xa9\",\"type\":\"a\","
	    "\"payload\":{\"a\":[1.5e3,true,null,{}]}}";
	static const char nul[] = "{\"id\":\"\\\0\",\"type\":\"a\","
	    "\"payload\":{}}";
	char part[sizeof(text)];
	size_t n;

	(void)state;
	for (n = 0; n < sizeof(text) - 1; n++) {
		memcpy(part, text, n);
		assert_non_null(read_bytes(part, n));
	}
	/* What ends a string in C is nothing that may be escaped. */
	assert_non_null(read_bytes(nul, sizeof(nul) - 1));
	assert_null(read_text(text));
}

static void
nesting_is_bounded(void **state)
{
	char value[128];

	(void)state;
	/* the object around it is the first of JSON_DEPTH_MAX */
	memset(value, '[', 31);
	memset(value + 31, ']', 31);
	value[62] = '\0';
	assert_null(read_value(value));
	memset(value, '[', 32);
	memset(value + 32, ']', 32);
	value[64] = '\0';
	assert_non_null(read_value(value));
	value[31] = '{';
	value[32] = '}';
	assert_non_null(read_value(value));
}

static bool
wants(const char *list, const char *type)
{
	struct wanted w;
	char text[256];

	assert_null(wanted_read(&w, list));
	snprintf(text, sizeof(text), "{\"id\":\"1\",\"type\":\"%s\","
	    "\"payload\":{}}", type);
	assert_null(read_text(text));
	return event_wanted(&w, &ev);
}

static void
wanted_lists(void **state)
{
	(void)state;
	assert_true(wants("*", "message.created"));
	assert_true(wants("*", "call.started"));
	assert_true(wants("message.created", "message.created"));
	assert_false(wants("message.created", "message.updated"));
	assert_false(wants("message.created", "messages.created"));
	assert_true(wants("group.*, message.created", "group.deleted"));
	assert_true(wants("group.*", "group.renamed"));
	assert_false(wants("group.*", "contact.created"));
	assert_true(wants("group.created\tcontact.created,,\n",
	    "contact.created"));
	assert_false(wants("group.created", "call.started"));
}

static void
a_slip_in_a_wanted_list_is_an_error(void **state)
{
	static const char *const bad[] = { "", " , ", "message", "message.",
	    "message.create", "messages.*", "*.created", "MESSAGE.CREATED",
	    "message.created;group.*", "message.created x", "**", "call.*",
	    ("message.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") };
	char text[EVENT_TEXT_MAX + 4];
	struct wanted w;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (wanted_read(&w, bad[i]) == NULL)
			fail_msg("taken: %s", bad[i]);
	/* Around what a name has room for, as make check-asan sees. */
	for (i = EVENT_TEXT_MAX - 1; i < sizeof(text); i++) {
		memset(text, 'x', i);
		text[i] = '\0';
		assert_non_null(wanted_read(&w, text));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_of_the_15_types_is_known),
		cmocka_unit_test(other_types_are_events_but_unknown),
		cmocka_unit_test(members_must_be_there_and_of_their_type),
		cmocka_unit_test(names_and_values_may_have_escapes),
		cmocka_unit_test(long_texts_are_cut_between_characters),
		cmocka_unit_test(json_that_rfc_8259_has),
		cmocka_unit_test(json_that_json_c_takes_and_nobody_else),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(wanted_lists),
		cmocka_unit_test(a_slip_in_a_wanted_list_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
