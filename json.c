/* SPDX-License-Identifier: ISC */
/*
 * Is it JSON?  A recogniser for RFC 8259 that is strict where json-c is not:
 * what it takes, every JSON reader takes.  It allocates nothing, reads each
 * byte once and never past the end, and recurses at most JSON_DEPTH_MAX deep.
 */
#include <string.h>

#include "hook.h"

struct reader {
	const uint8_t *p, *end;
	json_member *member;
	void *arg;
};

static bool value(struct reader *, unsigned int depth);

static bool
at(const struct reader *r, uint8_t c)
{
	return r->p < r->end && *r->p == c;
}

static bool
eat(struct reader *r, uint8_t c)
{
	if (!at(r, c))
		return false;
	r->p++;
	return true;
}

static void
space(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' ||
	    *r->p == '\n' || *r->p == '\r'))
		r->p++;
}

static bool
digits(struct reader *r)
{
	const uint8_t *start = r->p;

	while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
		r->p++;
	return r->p > start;
}

/* RFC 8259, 6: no leading zero, no lone point. */
static bool
number(struct reader *r)
{
	eat(r, '-');
	if (!eat(r, '0') && !digits(r))
		return false;
	if (eat(r, '.') && !digits(r))
		return false;
	if (eat(r, 'e') || eat(r, 'E')) {
		if (!eat(r, '+'))
			eat(r, '-');
		return digits(r);
	}
	return true;
}

static bool
literal(struct reader *r, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
		return false;
	r->p += n;
	return true;
}

/* RFC 8259, 7: what may follow a backslash. */
static bool
escape(struct reader *r)
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
 * One multi-byte character of RFC 3629, 4: the first continuation byte has a
 * narrower range where it would make an overlong form, a surrogate or a value
 * beyond U+10FFFF.
 */
static bool
utf8(struct reader *r)
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

/* Over ASCII that stands for itself: nearly all of most bodies. */
static void
plain(struct reader *r)
{
	const uint8_t *p = r->p, *end = r->end;

	while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
		p++;
	r->p = p;
}

static bool
string(struct reader *r)
{
	if (!eat(r, '"'))
		return false;
	for (plain(r); r->p < r->end; plain(r)) {
		if (*r->p >= 0x80) {
			if (!utf8(r))
				return false;
			continue;
		}
		if (eat(r, '"'))
			return true;
		/* What else plain() stops at is a control character. */
		if (!eat(r, '\\') || !escape(r))
			return false;
	}
	return false;
}

static bool
member(struct reader *r, unsigned int depth)
{
	struct json_text name, val;

	space(r);
	name.s = r->p;
	if (!string(r))
		return false;
	name.n = (size_t)(r->p - name.s);
	space(r);
	if (!eat(r, ':'))
		return false;
	space(r);
	val.s = r->p;
	if (!value(r, depth))
		return false;
	val.n = (size_t)(r->p - val.s);
	if (depth == 1)
		r->member(r->arg, name, val);
	space(r);
	return true;
}

static bool
object(struct reader *r, unsigned int depth)
{
	space(r);
	if (eat(r, '}'))
		return true;
	do {
		if (!member(r, depth))
			return false;
	} while (eat(r, ','));
	return eat(r, '}');
}

static bool
array(struct reader *r, unsigned int depth)
{
	space(r);
	if (eat(r, ']'))
		return true;
	do {
		space(r);
		if (!value(r, depth))
			return false;
		space(r);
	} while (eat(r, ','));
	return eat(r, ']');
}

/* DEPTH containers are open around it. */
static bool
value(struct reader *r, unsigned int depth)
{
	if (r->p == r->end)
		return false;
	switch (*r->p) {
	case '{':
		r->p++;
		return depth < JSON_DEPTH_MAX && object(r, depth + 1);
	case '[':
		r->p++;
		return depth < JSON_DEPTH_MAX && array(r, depth + 1);
	case '"':
		return string(r);
	case 't':
		return literal(r, "true");
	case 'f':
		return literal(r, "false");
	case 'n':
		return literal(r, "null");
	default:
		return number(r);
	}
}

bool
json_recognise(struct json_text text, json_member *fn, void *arg)
{
	struct reader r = { text.s, text.s + text.n, fn, arg };

	space(&r);
	if (!at(&r, '{') || !value(&r, 0))
		return false;
	space(&r);
	return r.p == r.end;
}
