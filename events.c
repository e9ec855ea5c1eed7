/* SPDX-License-Identifier: ISC */
/*
 * json.c decides what is JSON; json-c only decodes strings that have escapes.
 */
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "events.h"
#include "json.h"

static const char *const resources[EVENT_RESOURCES] = {
	"contact", "conversation", "message", "group", "attachment"
};
static const char *const actions[EVENT_ACTIONS] = {
	"created", "updated", "deleted"
};

/*
 * The members of an event as they stand in the body; the last of a name wins.
 */
struct members {
	struct json_text id, type, payload;
	bool nomem;
};

/* The index of RESOURCE in "RESOURCE.ACTION", or -1; sets *ACTION. */
static int
find_resource(const char *type, const char **action)
{
	size_t n;
	int i;

	for (i = 0; i < EVENT_RESOURCES; i++) {
		n = strlen(resources[i]);
		if (strncmp(type, resources[i], n) == 0 && type[n] == '.') {
			*action = type + n + 1;
			return i;
		}
	}
	return -1;
}

static int
find_type(int resource, const char *action)
{
	int i;

	for (i = 0; i < EVENT_ACTIONS; i++)
		if (strcmp(action, actions[i]) == 0)
			return resource * EVENT_ACTIONS + i;
	return -1;
}

void
event_type_format(char name[EVENT_TEXT_MAX + 1], unsigned int i)
{
	snprintf(name, EVENT_TEXT_MAX + 1, "%s.%s",
	    resources[i / EVENT_ACTIONS], actions[i % EVENT_ACTIONS]);
}

/* Adds one entry of the list, N bytes at S. */
static bool
wanted_add_entry(struct wanted *w, const char *s, size_t n)
{
	char name[EVENT_TEXT_MAX + 1];
	const char *action;
	int resource, type;

	if (n >= sizeof(name))
		return false;
	memcpy(name, s, n);
	name[n] = '\0';
	if (strcmp(name, "*") == 0) {
		w->all = true;
		return true;
	}
	if ((resource = find_resource(name, &action)) == -1)
		return false;
	if (strcmp(action, "*") == 0) {
		w->resource[resource] = true;
		return true;
	}
	if ((type = find_type(resource, action)) == -1)
		return false;
	w->type[type] = true;
	return true;
}

const char *
wanted_parse(struct wanted *w, const char *list)
{
	static const char separators[] = ", \t\r\n";
	bool any = false;
	size_t n;

	memset(w, 0, sizeof(*w));
	for (;;) {
		list += strspn(list, separators);
		if (*list == '\0')
			return any ? NULL : "names no event";
		n = strcspn(list, separators);
		if (!wanted_add_entry(w, list, n))
			return "names an event that Protocol does not have";
		any = true;
		list += n;
	}
}

bool
event_is_wanted(const struct wanted *w, const struct event *ev)
{
	return w->all || (ev->resource != -1 && w->resource[ev->resource]) ||
	    (ev->known != -1 && w->type[ev->known]);
}

/*
 * Decodes a JSON string with its quotes, which is known to be valid.  The
 * caller releases *OBJ, which holds the memory if any was needed.  NULL if
 * memory ran out.
 */
static const char *
decode_string(struct json_text t, size_t *len, struct json_object **obj)
{
	struct json_tokener *tok;

	*obj = NULL;
	if (memchr(t.s, '\\', t.n) == NULL) {
		*len = t.n - 2;
		return (const char *)t.s + 1;
	}
	if ((tok = json_tokener_new()) == NULL)
		return NULL;
	*obj = json_tokener_parse_ex(tok, (const char *)t.s, (int)t.n);
	json_tokener_free(tok);
	if (!json_object_is_type(*obj, json_type_string))
		return NULL;
	*len = (size_t)json_object_get_string_len(*obj);
	return json_object_get_string(*obj);
}

static void
note_member(void *arg, struct json_text name, struct json_text val)
{
	struct members *m = arg;
	struct json_object *obj;
	const char *s;
	size_t n;

	/* Compares whole names: "id\u0000x" is not "id". */
	if ((s = decode_string(name, &n, &obj)) == NULL)
		m->nomem = true;
	else if (n == 2 && memcmp(s, "id", n) == 0)
		m->id = val;
	else if (n == 4 && memcmp(s, "type", n) == 0)
		m->type = val;
	else if (n == 7 && memcmp(s, "payload", n) == 0)
		m->payload = val;
	json_object_put(obj);
}

/* Copies a string member, cut at a character boundary if it is too long. */
static bool
copy_string(char out[EVENT_TEXT_MAX + 1], struct json_text t, bool *nomem)
{
	struct json_object *obj;
	const char *s;
	bool ok = false;
	size_t n;

	if (t.n == 0 || t.s[0] != '"')
		return false;
	if ((s = decode_string(t, &n, &obj)) == NULL)
		*nomem = true;
	else if (n > 0 && memchr(s, '\0', n) == NULL) {
		if (n > EVENT_TEXT_MAX)
			for (n = EVENT_TEXT_MAX; (s[n] & 0xc0) == 0x80; n--)
				;
		memcpy(out, s, n);
		out[n] = '\0';
		ok = true;
	}
	json_object_put(obj);
	return ok;
}

const char *
event_parse(struct event *ev, struct json_text body, bool *nomem)
{
	struct members m = { 0 };
	const char *action, *why = NULL;

	if (!json_parse_object(body, note_member, &m))
		return "not one JSON object";
	*nomem = m.nomem;
	if (!copy_string(ev->id, m.id, nomem))
		why = "id is not a string, or is empty, or has U+0000 in it";
	else if (!copy_string(ev->type, m.type, nomem))
		why = "type is not a string, or is empty, or has U+0000 in it";
	else if (m.payload.n == 0 || m.payload.s[0] != '{')
		why = "payload is not an object";
	if (*nomem || why != NULL)
		return *nomem ? NULL : why;
	ev->known = -1;
	ev->resource = find_resource(ev->type, &action);
	if (ev->resource != -1)
		ev->known = find_type(ev->resource, action);
	return NULL;
}
