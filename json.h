/* SPDX-License-Identifier: ISC */
/*
 * A strict JSON parser: a text that this accepts, every parser of RFC 8259
 * accepts, which is not so for json-c.  Allocates nothing.
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX	32	/* common parsers accept at least that */

struct json_text {
	const uint8_t *s;
	size_t n;		/* bytes */
};

/*
 * Called for each member of the outermost object, in order.  The texts lead
 * into the text that is parsed: NAME with its quotes, VALUE without the space
 * around it.
 */
typedef void json_member(void *arg, struct json_text name,
    struct json_text value);

/*
 * Whether TEXT is one whole JSON object (RFC 8259) in UTF-8 (RFC 3629), nested
 * at most JSON_DEPTH_MAX deep, with nothing but white space around it.
 */
bool json_parse_object(struct json_text text, json_member *, void *arg);

#endif
