/* SPDX-License-Identifier: ISC */
/*
 * What a body says: the type and id of its event, and whether the user wants
 * it.
 *
 * Only bodies whose signature was verified may come here.  What is read decides
 * where a body is stored and by which name, never which bytes are stored.
 */
#ifndef EVENTS_H
#define EVENTS_H

#include <stdbool.h>

#include "json.h"

#define EVENT_TEXT_MAX	128	/* bytes kept of a type or id */
#define EVENT_RESOURCES	5
#define EVENT_ACTIONS	3
#define EVENT_TYPES	(EVENT_RESOURCES * EVENT_ACTIONS)

struct event {
	char type[EVENT_TEXT_MAX + 1];
	char id[EVENT_TEXT_MAX + 1];
	int resource;		/* index, or -1 if it is not Protocol's */
	int known;		/* index among Protocol's types, or -1 */
};

/* Which events are wanted. */
struct wanted {
	bool all;
	bool resource[EVENT_RESOURCES];
	bool type[EVENT_TYPES];
};

/*
 * Returns NULL if BODY is a Protocol event, otherwise the reason.  If memory
 * runs out, returns NULL and sets *nomem: check that first.
 */
const char *event_parse(struct event *, struct json_text body, bool *nomem);
/*
 * Parses a LIST of types, RESOURCE.* or *, separated by commas or white space.
 * Returns NULL, or what is wrong.
 */
const char *wanted_parse(struct wanted *, const char *list);
bool event_is_wanted(const struct wanted *, const struct event *);
/* RESOURCE.ACTION of index I, 0 to EVENT_TYPES - 1. */
void event_type_format(char name[EVENT_TEXT_MAX + 1], unsigned int i);

#endif
