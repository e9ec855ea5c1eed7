/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <string.h>

#include <fastcgi.h>

#include "fcgi_values.h"

static const char *const names[] = {
	FCGI_MAX_CONNS, FCGI_MAX_REQS, FCGI_MPXS_CONNS
};

#define NAMES	(sizeof(names) / sizeof(names[0]))

/*
 * Parses a length of one or four bytes (section 3.4).  Returns how many, or 0
 * if it is cut off.
 */
static size_t
parse_pair_length(size_t *length, const uint8_t *p, size_t n)
{
	size_t i, octets = n > 0 && (*p & 0x80) != 0 ? 4 : 1;

	if (octets > n)
		return 0;
	*length = *p & 0x7f;
	for (i = 1; i < octets; i++)
		*length = *length << 8 | p[i];
	return octets;
}

/* Returns a bit mask of the names that are asked for. */
static unsigned int
parse_names(const uint8_t *p, size_t n)
{
	size_t name = 0, value = 0, first, second, i;
	unsigned int asked = 0;

	while ((first = parse_pair_length(&name, p, n)) > 0 &&
	    (second = parse_pair_length(&value, p + first, n - first)) > 0) {
		p += first + second;
		n -= first + second;
		if (name > n)
			break;
		for (i = 0; i < NAMES; i++)
			if (strlen(names[i]) == name &&
			    memcmp(names[i], p, name) == 0)
				asked |= 1u << i;
		if (value > n - name)
			break;
		p += name + value;
		n -= name + value;
	}
	return asked;
}

/* Name-value pairs, whose lengths all fit into one byte; returns their end. */
static char *
format_values(char *p, unsigned int asked, size_t connections)
{
	char text[24];
	size_t i;

	for (i = 0; i < NAMES; i++) {
		if ((asked & 1u << i) == 0)
			continue;
		snprintf(text, sizeof(text), "%zu",
		    strcmp(names[i], FCGI_MPXS_CONNS) != 0 ? connections : 0);
		*p++ = (char)strlen(names[i]);
		*p++ = (char)strlen(text);
		p = stpcpy(stpcpy(p, names[i]), text);
	}
	return p;
}

size_t
fcgi_values_answer(uint8_t answer[FCGI_ANSWER_SIZE], uint8_t type,
    const uint8_t *content, size_t n, size_t connections)
{
	size_t size = sizeof(FCGI_UnknownTypeRecord);

	/* Other known types are answers, or not management records. */
	if (type != FCGI_GET_VALUES && type <= FCGI_MAXTYPE)
		return 0;
	memset(answer, 0, FCGI_ANSWER_SIZE);
	answer[0] = FCGI_VERSION_1;
	answer[1] = FCGI_UNKNOWN_TYPE;
	answer[FCGI_HEADER_LEN] = type;
	if (type == FCGI_GET_VALUES) {
		answer[1] = FCGI_GET_VALUES_RESULT;
		size = (size_t)(format_values((char *)answer + FCGI_HEADER_LEN,
		    parse_names(content, n), connections) - (char *)answer);
	}
	answer[5] = (uint8_t)(size - FCGI_HEADER_LEN);
	return size;
}
