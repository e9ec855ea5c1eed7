/* SPDX-License-Identifier: ISC */
/*
 * A recursive descent parser that builds nothing.  Each accept_ function
 * consumes one production of the grammar, or returns false.  It reads each byte
 * once, never past the end, and recurses at most JSON_DEPTH_MAX deep.
 */
#include <string.h>

#include "json.h"

struct reader {
	const uint8_t *p, *end;
	json_member *member;
	void *arg;
};

static bool accept_value(struct reader *, unsigned int depth);

static bool
next_is(const struct reader *r, uint8_t c)
{
	return r->p < r->end && *r->p == c;
}

static bool
accept_byte(struct reader *r, uint8_t c)
{
	if (!next_is(r, c))
		return false;
	r->p++;
	return true;
}

static void
skip_space(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' ||
	    *r->p == '\n' || *r->p == '\r'))
		r->p++;
}

static bool
accept_digits(struct reader *r)
{
	const uint8_t *start = r->p;

	while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
		r->p++;
	return r->p > start;
}

/* RFC 8259, section 6: no leading zero, digits on both sides of a point. */
static bool
accept_number(struct reader *r)
{
	accept_byte(r, '-');
	if (!accept_byte(r, '0') && !accept_digits(r))
		return false;
	if (accept_byte(r, '.') && !accept_digits(r))
		return false;
	if (accept_byte(r, 'e') || accept_byte(r, 'E')) {
		if (!accept_byte(r, '+'))
			accept_byte(r, '-');
		return accept_digits(r);
	}
	return true;
}

static bool
accept_literal(struct reader *r, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
		return false;
	r->p += n;
	return true;
}

/* RFC 8259, section 7: what may follow a backslash. */
static bool
accept_escape(struct reader *r)
{
	unsigned int i;
	uint8_t c;

	if (r->p == r->end)
		return false;
	c = *r->p++;
	if (c != 'u')
		return c != '\0' && strchr("\"\\/bfnrt", c) != NULL;
	for (i = 0; i < 4; i++, r->p++)
		if (r->p == r->end || *r->p == '\0' ||
		    strchr("0123456789abcdefABCDEF", *r->p) == NULL)
			return false;
	return true;
}

/*
 * One multi-byte character of RFC 3629, section 4.  After some first bytes the
 * second has a narrower range, which excludes overlong forms, surrogates and
 * values beyond U+10FFFF.
 */
static bool
accept_utf8(struct reader *r)
{
	uint8_t c = *r->p, low = 0x80, high = 0xbf;
	unsigned int i, more;

	if (c < 0xc2 || c > 0xf4)
		return false;
	more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
	if (c == 0xe0)
		low = 0xa0;
	else if (c == 0xed)
		high = 0x9f;
	else if (c == 0xf0)
		low = 0x90;
	else if (c == 0xf4)
		high = 0x8f;
	r->p++;
	for (i = 0; i < more; i++, r->p++) {
		if (r->p == r->end || *r->p < low || *r->p > high)
			return false;
		low = 0x80;
		high = 0xbf;
	}
	return true;
}

/* ASCII that needs no escape: nearly all of most bodies. */
static void
skip_plain(struct reader *r)
{
	const uint8_t *p = r->p, *end = r->end;

	while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
		p++;
	r->p = p;
}

static bool
accept_string(struct reader *r)
{
	if (!accept_byte(r, '"'))
		return false;
	for (skip_plain(r); r->p < r->end; skip_plain(r)) {
		if (*r->p >= 0x80) {
			if (!accept_utf8(r))
				return false;
			continue;
		}
		if (accept_byte(r, '"'))
			return true;
		/* Otherwise skip_plain() has stopped at a control character. */
		if (!accept_byte(r, '\\') || !accept_escape(r))
			return false;
	}
	return false;
}

static bool
accept_member(struct reader *r, unsigned int depth)
{
	struct json_text name, val;

	skip_space(r);
	name.s = r->p;
	if (!accept_string(r))
		return false;
	name.n = (size_t)(r->p - name.s);
	skip_space(r);
	if (!accept_byte(r, ':'))
		return false;
	skip_space(r);
	val.s = r->p;
	if (!accept_value(r, depth))
		return false;
	val.n = (size_t)(r->p - val.s);
	if (depth == 1)
		r->member(r->arg, name, val);
	skip_space(r);
	return true;
}

static bool
accept_object(struct reader *r, unsigned int depth)
{
	skip_space(r);
	if (accept_byte(r, '}'))
		return true;
	do {
		if (!accept_member(r, depth))
			return false;
	} while (accept_byte(r, ','));
	return accept_byte(r, '}');
}

static bool
accept_array(struct reader *r, unsigned int depth)
{
	skip_space(r);
	if (accept_byte(r, ']'))
		return true;
	do {
		skip_space(r);
		if (!accept_value(r, depth))
			return false;
		skip_space(r);
	} while (accept_byte(r, ','));
	return accept_byte(r, ']');
}

/* DEPTH is the number of containers around the value. */
static bool
accept_value(struct reader *r, unsigned int depth)
{
	if (r->p == r->end)
		return false;
	switch (*r->p) {
	case '{':
		r->p++;
		return depth < JSON_DEPTH_MAX && accept_object(r, depth + 1);
	case '[':
		r->p++;
		return depth < JSON_DEPTH_MAX && accept_array(r, depth + 1);
	case '"':
		return accept_string(r);
	case 't':
		return accept_literal(r, "true");
	case 'f':
		return accept_literal(r, "false");
	case 'n':
		return accept_literal(r, "null");
	default:
		return accept_number(r);
	}
}

bool
json_parse_object(struct json_text text, json_member *fn, void *arg)
{
	struct reader r = { text.s, text.s + text.n, fn, arg };

	skip_space(&r);
	if (!next_is(&r, '{') || !accept_value(&r, 0))
		return false;
	skip_space(&r);
	return r.p == r.end;
}
