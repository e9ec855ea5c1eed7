/* SPDX-License-Identifier: ISC */
/*
 * What a body says: its event's type and id, and whether the user wants it.
 *
 * Only bodies whose signature was proven come here.  The bytes that are stored
 * never depend on what is read here, only where they are stored and under
 * which name.  json.c has the last word on what is JSON; json-c decodes
 * strings that have escapes.
 */
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "hook.h"

static const char *const resources[EVENT_RESOURCES] = {
	"contact", "conversation", "message", "group", "attachment"
};
static const char *const actions[EVENT_ACTIONS] = {
	"created", "updated", "deleted"
};

/* The members of an event, as they stand in the body: the last of a name. */
struct members {
	struct json_text id, type, payload;
	bool nomem;
};

/* RESOURCE of "RESOURCE.…", or -1; *ACTION is what follows the point. */
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
event_name(char name[EVENT_TEXT_MAX + 1], unsigned int i)
{
	snprintf(name, EVENT_TEXT_MAX + 1, "%s.%s",
	    resources[i / EVENT_ACTIONS], actions[i % EVENT_ACTIONS]);
}

/* One of the list: N bytes at S, neither comma nor space in them. */
static bool
wanted_add(struct wanted *w, const char *s, size_t n)
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
wanted_read(struct wanted *w, const char *list)
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
		if (!wanted_add(w, list, n))
			return "names an event that Protocol does not have";
		any = true;
		list += n;
	}
}

bool
event_wanted(const struct wanted *w, const struct event *ev)
{
	return w->all || (ev->resource != -1 && w->resource[ev->resource]) ||
	    (ev->known != -1 && w->type[ev->known]);
}

/*
 * Decodes a string that json.c has recognised, quotes included.  *OBJ holds
 * the memory, if any was needed.  NULL if there was none.
 */
static const char *
decode(struct json_text t, size_t *len, struct json_object **obj)
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
member(void *arg, struct json_text name, struct json_text val)
{
	struct members *m = arg;
	struct json_object *obj;
	const char *s;
	size_t n;

	/* Whole names with their length: "id\u0000x" is not "id". */
	if ((s = decode(name, &n, &obj)) == NULL)
		m->nomem = true;
	else if (n == 2 && memcmp(s, "id", n) == 0)
		m->id = val;
	else if (n == 4 && memcmp(s, "type", n) == 0)
		m->type = val;
	else if (n == 7 && memcmp(s, "payload", n) == 0)
		m->payload = val;
	json_object_put(obj);
}

/* Copies a string member, cut where a character begins. */
static bool
copy(char out[EVENT_TEXT_MAX + 1], struct json_text t, bool *nomem)
{
	struct json_object *obj;
	const char *s;
	bool ok = false;
	size_t n;

	if (t.n == 0 || t.s[0] != '"')
		return false;
	if ((s = decode(t, &n, &obj)) == NULL)
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
event_read(struct event *ev, struct json_text body, bool *nomem)
{
	struct members m = { 0 };
	const char *action, *why = NULL;

	if (!json_recognise(body, member, &m))
		return "not one JSON object";
	*nomem = m.nomem;
	if (!copy(ev->id, m.id, nomem))
		why = "id is no text";
	else if (!copy(ev->type, m.type, nomem))
		why = "type is no text";
	else if (m.payload.n == 0 || m.payload.s[0] != '{')
		why = "payload is no object";
	if (*nomem || why != NULL)
		return *nomem ? NULL : why;
	ev->known = -1;
	ev->resource = find_resource(ev->type, &action);
	if (ev->resource != -1)
		ev->known = find_type(ev->resource, action);
	return NULL;
}
