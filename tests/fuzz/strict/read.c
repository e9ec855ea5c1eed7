/* SPDX-License-Identifier: ISC */
/*
 * For tests/fuzz/strict: reads texts, each after its length in 4 bytes, and
 * writes for each a line: "-" if it is no JSON, "+" if it is but no event, else
 * its id and type in hex.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "events.h"
#include "json.h"

static void
ignore(void *arg, struct json_text name, struct json_text val)
{
	(void)arg;
	(void)name;
	(void)val;
}

static void
print_hex(const char *s)
{
	for (; *s != '\0'; s++)
		printf("%02x", (unsigned char)*s);
}

int
main(void)
{
	uint8_t size[4], *text;
	struct json_text body;
	struct event ev;
	bool nomem;

	while (fread(size, 1, sizeof(size), stdin) == sizeof(size)) {
		body.n = (size_t)size[0] << 24 | (size_t)size[1] << 16 |
		    (size_t)size[2] << 8 | size[3];
		/* Of its own size, so that reading past it is seen. */
		if ((text = malloc(body.n)) == NULL ||
		    fread(text, 1, body.n, stdin) != body.n)
			return 1;
		body.s = text;
		if (event_parse(&ev, body, &nomem) == NULL) {
			print_hex(ev.id);
			putchar(' ');
			print_hex(ev.type);
			putchar('\n');
		} else
			puts(json_parse_object(body, ignore, NULL) ? "+" : "-");
		free(text);
	}
	return fflush(stdout) != 0;
}
