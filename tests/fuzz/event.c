/* SPDX-License-Identifier: ISC */
/*
 * json.c and events.c: json-c accepts every text that they accept, to its last
 * byte, and finds the same id and type in it.
 */
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "events.h"
#include "json.h"
#include "tests/fuzz/expect.h"

#define DEPTH	(JSON_DEPTH_MAX + 1)

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* Each member lies within the text, and its name is a string. */
static void
check_member(void *arg, struct json_text name, struct json_text val)
{
	const struct json_text *text = arg;
	const uint8_t *end = text->s + text->n;

	expect(name.n >= 2 && name.s[0] == '"' && name.s[name.n - 1] == '"');
	expect(val.n >= 1 && name.s > text->s && name.s + name.n < val.s &&
	    val.s + val.n <= end);
}

/* Returns NULL if json-c does not accept all of it. */
static struct json_object *
parse_with_json_c(const uint8_t *data, size_t size)
{
	struct json_tokener *tok = json_tokener_new_ex(DEPTH);
	struct json_object *obj;

	/* In strict mode json-c 0.18 refuses UTF-8: its issues 875, 892. */
	json_tokener_set_flags(tok, JSON_TOKENER_VALIDATE_UTF8 |
	    (json_c_version_num() >> 8 == 18 ? 0 : JSON_TOKENER_STRICT));
	obj = json_tokener_parse_ex(tok, (const char *)data, (int)size);
	if (json_tokener_get_error(tok) != json_tokener_success ||
	    json_tokener_get_parse_end(tok) != size) {
		json_object_put(obj);
		obj = NULL;
	}
	json_tokener_free(tok);
	return obj;
}

/* The member NAME begins with TEXT, which is all of it if it is short. */
static void
expect_same(struct json_object *obj, const char *name, const char *text)
{
	struct json_object *val;
	size_t n = strlen(text), all;

	expect(n > 0 && n <= EVENT_TEXT_MAX);
	expect(json_object_object_get_ex(obj, name, &val));
	expect(json_object_is_type(val, json_type_string));
	all = (size_t)json_object_get_string_len(val);
	expect(n == all || (n < all && n > EVENT_TEXT_MAX - 4));
	expect(memcmp(text, json_object_get_string(val), n) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_text text = { data, size };
	struct json_object *obj;
	struct event ev;
	bool nomem = false, json, event;

	json = json_parse_object(text, check_member, &text);
	event = event_parse(&ev, text, &nomem) == NULL;
	expect(!nomem && (json || !event));
	if (!json)
		return 0;
	obj = parse_with_json_c(data, size);
	expect(json_object_is_type(obj, json_type_object));
	/* json-c cuts names at a NUL. */
	if (event && memmem(data, size, "\\u0000", 6) == NULL) {
		expect_same(obj, "id", ev.id);
		expect_same(obj, "type", ev.type);
		expect(ev.known == -1 || ev.known / EVENT_ACTIONS ==
		    ev.resource);
	}
	json_object_put(obj);
	return 0;
}
