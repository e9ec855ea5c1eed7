/* SPDX-License-Identifier: ISC */
/*
 * Text in a buffer of fixed size; what does not fit is left out.
 *
 *	char buf[100];
 *	struct text t = { buf, 0, sizeof(buf) };
 */
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>
#include <stdint.h>

struct text {
	char *s;		/* not NUL-terminated */
	size_t n, size;		/* bytes used, and bytes there are */
};

void text_add(struct text *, const char *s);
void text_add_bytes(struct text *, const char *s, size_t n);
/* In decimal, with leading zeros up to WIDTH digits. */
void text_add_number(struct text *, uint64_t n, size_t width);
/*
 * S, in UTF-8, as a JSON string (RFC 8259, section 7).  Characters that could
 * start a line, steer a terminal or change the direction of writing are
 * escaped.
 */
void text_add_json(struct text *, const char *s);
/*
 * " KEY=VALUE" of logfmt; a value with other than plain characters is quoted.
 */
void text_add_pair(struct text *, const char *key, const char *value);
/* SECONDS since 1970 and MILLISECONDS, in UTC, as in RFC 3339. */
void text_add_time(struct text *, int64_t seconds, unsigned int milliseconds);

#endif
