/* SPDX-License-Identifier: ISC */
#include <stdbool.h>
#include <string.h>

#include "text.h"
#include "util.h"

void
text_add_bytes(struct text *t, const char *s, size_t n)
{
	if (n > t->size - t->n)
		n = t->size - t->n;
	memcpy(t->s + t->n, s, n);
	t->n += n;
}

void
text_add(struct text *t, const char *s)
{
	text_add_bytes(t, s, strlen(s));
}

void
text_add_number(struct text *t, uint64_t n, size_t width)
{
	char digits[20];
	size_t i = sizeof(digits);

	do
		digits[--i] = (char)('0' + n % 10);
	while ((n /= 10) > 0 || sizeof(digits) - i < width);
	text_add_bytes(t, digits + i, sizeof(digits) - i);
}

static void
add_unicode_escape(struct text *t, unsigned int c)
{
	static const char hex[] = "0123456789abcdef";
	const char escape[] = { '\\', 'u', hex[c >> 12 & 15], hex[c >> 8 & 15],
	    hex[c >> 4 & 15], hex[c & 15] };

	text_add_bytes(t, escape, sizeof(escape));
}

/*
 * Decodes the first character of S and sets *LEN to its bytes.  Returns 'x' for
 * one beyond U+FFFF and for a byte that is not UTF-8: neither is escaped.
 */
static unsigned int
decode_character(const char *s, size_t *len)
{
	const unsigned char *p = (const unsigned char *)s;

	*len = 1;
	if ((p[0] & 0xe0) == 0xc0 && (p[1] & 0xc0) == 0x80) {
		*len = 2;
		return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
	}
	if ((p[0] & 0xf0) == 0xe0 && (p[1] & 0xc0) == 0x80 &&
	    (p[2] & 0xc0) == 0x80) {
		*len = 3;
		return (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 |
		    (p[2] & 0x3fu);
	}
	return p[0] < 0x80 ? p[0] : 'x';
}

/*
 * Control characters, separators of lines and paragraphs, bidirectional
 * controls, and the byte order mark, which can't be seen.
 */
static bool
needs_escape(unsigned int c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c ||
	    c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
	    (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

void
text_add_json(struct text *t, const char *s)
{
	unsigned int c;
	size_t n;

	text_add(t, "\"");
	for (; *s != '\0'; s += n) {
		/* The closing quote must fit, too. */
		if (t->size - t->n < sizeof("\\u0000\""))
			break;
		c = decode_character(s, &n);
		if (n == 1 && (c == '"' || c == '\\'))
			text_add(t, "\\");
		if (needs_escape(c))
			add_unicode_escape(t, c);
		else
			text_add_bytes(t, s, n);
	}
	text_add(t, "\"");
}

void
text_add_pair(struct text *t, const char *key, const char *value)
{
	const unsigned char *p = (const unsigned char *)value;

	text_add(t, " ");
	text_add(t, key);
	text_add(t, "=");
	while (*p > ' ' && *p < 0x7f && *p != '"' && *p != '=' && *p != '\\')
		p++;
	if (*p == '\0' && *value != '\0')
		text_add(t, value);
	else
		text_add_json(t, value);
}

void
text_add_time(struct text *t, int64_t seconds, unsigned int milliseconds)
{
	uint64_t s = seconds > 0 ? (uint64_t)seconds : 0;
	struct date date;

	date_from_time(&date, (time_t)s);
	text_add_number(t, date.year, 4);
	text_add(t, "-");
	text_add_number(t, date.month, 2);
	text_add(t, "-");
	text_add_number(t, date.day, 2);
	text_add(t, "T");
	text_add_number(t, s / 3600 % 24, 2);
	text_add(t, ":");
	text_add_number(t, s / 60 % 60, 2);
	text_add(t, ":");
	text_add_number(t, s % 60, 2);
	text_add(t, ".");
	text_add_number(t, milliseconds, 3);
	text_add(t, "Z");
}
