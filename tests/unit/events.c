/* SPDX-License-Identifier: ISC */
/*
 * events.c and json.c: which bodies are events, which events are wanted, and
 * which texts are JSON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "events.h"
#include "json.h"

static struct event ev;

static const char *
parse_bytes(const char *s, size_t n)
{
	const struct json_text text = { (const uint8_t *)s, n };
	bool nomem = false;
	const char *why;

	memset(&ev, 0, sizeof(ev));
	why = event_parse(&ev, text, &nomem);
	assert_false(nomem);
	return why;
}

static const char *
parse_text(const char *s)
{
	return parse_bytes(s, strlen(s));
}

/* Parses an event with VALUE as a member beside the three that it needs. */
static const char *
parse_value(const char *value)
{
	static char text[4096];

	snprintf(text, sizeof(text), "{\"id\":\"i\",\"type\":\"t\","
	    "\"payload\":{},\"x\":%s}", value);
	return parse_text(text);
}

static void
each_of_the_15_types_is_known(void **state)
{
	char text[512], name[EVENT_TEXT_MAX + 1];
	unsigned int i;

	(void)state;
	for (i = 0; i < EVENT_TYPES; i++) {
		event_type_format(name, i);
		snprintf(text, sizeof(text), "{\"id\":\"x%u\",\"type\":\"%s\","
		    "\"payload\":{}}", i, name);
		assert_null(parse_text(text));
		assert_string_equal(name, ev.type);
		assert_int_equal(i, ev.known);
		assert_int_equal(i / EVENT_ACTIONS, ev.resource);
	}
	event_type_format(name, 0);
	assert_string_equal("contact.created", name);
	event_type_format(name, EVENT_TYPES - 1);
	assert_string_equal("attachment.deleted", name);
}

static void
other_types_are_events_but_unknown(void **state)
{
	(void)state;
	assert_null(parse_text("{\"id\":\"1\",\"type\":\"call.started\","
	    "\"payload\":{}}"));
	assert_int_equal(-1, ev.known);
	assert_int_equal(-1, ev.resource);
	assert_null(parse_text("{\"id\":\"1\",\"type\":\"contact.merged\","
	    "\"payload\":{}}"));
	assert_int_equal(-1, ev.known);
	assert_int_equal(0, ev.resource);
	assert_null(parse_text("{\"id\":\"1\",\"type\":\"contact\","
	    "\"payload\":{}}"));
	assert_int_equal(-1, ev.resource);
}

static void
an_event_needs_id_type_and_payload(void **state)
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
		if (parse_text(bad[i]) == NULL)
			fail_msg("accepted: %s", bad[i]);
}

static void
names_and_values_may_have_escapes(void **state)
{
	(void)state;
	assert_null(parse_text("{\"\\u0069d\":\"a\\u0062\\n\\ud83d\\ude00\","
	    "\"t\\u0079pe\":\"m\\u0065ssage.created\",\"payload\":{}}"));
	assert_string_equal("ab\n\xf0\x9f\x98\x80", ev.id);
	assert_string_equal("message.created", ev.type);
	assert_int_not_equal(-1, ev.known);
	/* json-c cuts this name at the NUL: it must not count as "id". */
	assert_null(parse_text("{\"id\":\"1\",\"type\":\"a\",\"payload\":{},"
	    "\"id\\u0000x\":\"2\"}"));
	assert_string_equal("1", ev.id);
	/* Other names of the same lengths. */
	assert_null(parse_text("{\"id\":\"1\",\"type\":\"a\",\"payload\":{},"
	    "\"if\":0,\"tape\":0,\"paylord\":0}"));
	/* The last member of a name counts, as with nearly every parser. */
	assert_null(parse_text("{\"id\":\"1\",\"type\":\"a\",\"payload\":{},"
	    "\"id\":\"2\"}"));
	assert_string_equal("2", ev.id);
}

static void
long_types_and_ids_are_cut_between_characters(void **state)
{
	char text[1024], id[400];
	size_t i;

	(void)state;
	for (i = 0; i < 399; i += 3)
		memcpy(id + i, "\xe2\x80\x99", 3);
	id[399] = '\0';
	snprintf(text, sizeof(text), "{\"id\":\"%s\",\"type\":\"%s\","
	    "\"payload\":{}}", id, id);
	assert_null(parse_text(text));
	assert_int_equal(126, strlen(ev.id));
	assert_memory_equal(id, ev.id, 126);
	for (i = EVENT_TEXT_MAX - 1; i <= EVENT_TEXT_MAX + 1; i++) {
		memset(id, 'i', i);
		id[i] = '\0';
		snprintf(text, sizeof(text), "{\"id\":\"%s\",\"type\":\"t\","
		    "\"payload\":{}}", id);
		assert_null(parse_text(text));
		assert_int_equal(i < EVENT_TEXT_MAX ? i : EVENT_TEXT_MAX,
		    strlen(ev.id));
	}
}

static void
all_json_of_rfc_8259_is_accepted(void **state)
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
		if (parse_value(good[i]) != NULL)
			fail_msg("refused: %s", good[i]);
	assert_null(parse_text(" \t\r\n{\"id\":\"1\",\"type\":\"a\","
	    "\"payload\":{}} \n"));
}

static void
what_only_lenient_parsers_accept_is_refused(void **state)
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
		if (parse_value(bad[i]) == NULL)
			fail_msg("accepted: %s", bad[i]);
	assert_non_null(parse_text("{\"id\":\"1\",\"type\":\"a\","
	    "\"payload\":{}}x"));
	assert_non_null(parse_bytes("{\"id\":\"1\",\"type\":\"a\","
	    "\"payload\":{}}\0", 38));
	/* A NUL in place of a digit of an escape, then of its letter. */
	assert_null(parse_bytes(escaped, sizeof(escaped) - 1));
	escaped[11] = '\0';
	assert_non_null(parse_bytes(escaped, sizeof(escaped) - 1));
	escaped[8] = '\0';
	assert_non_null(parse_bytes(escaped, sizeof(escaped) - 1));
	assert_non_null(parse_text("\xef\xbb\xbf{\"id\":\"1\",\"type\":\"a\","
	    "\"payload\":{}}"));
}

static void
every_truncated_event_is_refused(void **state)
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
		assert_non_null(parse_bytes(part, n));
	}
	/* A NUL cannot be escaped. */
	assert_non_null(parse_bytes(nul, sizeof(nul) - 1));
	assert_null(parse_text(text));
}

static void
nesting_is_limited_to_32_levels(void **state)
{
	char value[128];

	(void)state;
	/* The object around it is the first of JSON_DEPTH_MAX levels. */
	memset(value, '[', 31);
	memset(value + 31, ']', 31);
	value[62] = '\0';
	assert_null(parse_value(value));
	memset(value, '[', 32);
	memset(value + 32, ']', 32);
	value[64] = '\0';
	assert_non_null(parse_value(value));
	value[31] = '{';
	value[32] = '}';
	assert_non_null(parse_value(value));
}

static bool
wants(const char *list, const char *type)
{
	struct wanted w;
	char text[256];

	assert_null(wanted_parse(&w, list));
	snprintf(text, sizeof(text), "{\"id\":\"1\",\"type\":\"%s\","
	    "\"payload\":{}}", type);
	assert_null(parse_text(text));
	return event_is_wanted(&w, &ev);
}

static void
a_list_selects_types_and_resources(void **state)
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
an_unknown_word_in_a_list_is_an_error(void **state)
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
		if (wanted_parse(&w, bad[i]) == NULL)
			fail_msg("accepted: %s", bad[i]);
	/* Around the size of a name: make check-asan sees an overflow. */
	for (i = EVENT_TEXT_MAX - 1; i < sizeof(text); i++) {
		memset(text, 'x', i);
		text[i] = '\0';
		assert_non_null(wanted_parse(&w, text));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_of_the_15_types_is_known),
		cmocka_unit_test(other_types_are_events_but_unknown),
		cmocka_unit_test(an_event_needs_id_type_and_payload),
		cmocka_unit_test(names_and_values_may_have_escapes),
		cmocka_unit_test(long_types_and_ids_are_cut_between_characters),
		cmocka_unit_test(all_json_of_rfc_8259_is_accepted),
		cmocka_unit_test(what_only_lenient_parsers_accept_is_refused),
		cmocka_unit_test(every_truncated_event_is_refused),
		cmocka_unit_test(nesting_is_limited_to_32_levels),
		cmocka_unit_test(a_list_selects_types_and_resources),
		cmocka_unit_test(an_unknown_word_in_a_list_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
