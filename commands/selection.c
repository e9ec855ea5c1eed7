/* SPDX-License-Identifier: ISC */
#include <err.h>
#include <fnmatch.h>
#include <string.h>
#include <strings.h>

#include "../spool/name.h"
#include "../util.h"
#include "../verify.h"
#include "selection.h"

#define SECOND_US	INT64_C(1000000)

int64_t
selection_time_us(time_t s, long ns)
{
	if (s <= INT64_MIN / SECOND_US)
		return INT64_MIN;
	if (s >= INT64_MAX / SECOND_US)
		return INT64_MAX - 1;
	return (int64_t)s * SECOND_US + ns / 1000;
}

/* YYYY-MM-DD[THH:MM[:SS]][Z] in UTC, to seconds since 1970. */
static bool
parse_time(time_t *t, const char *s)
{
	static const struct {
		const char *form;
		long len;
	} forms[] = {
		{ "%Y-%m-%d", 10 }, { "%Y-%m-%dT%H:%M", 16 },
		{ "%Y-%m-%dT%H:%M:%S", 19 },
	};
	const char *end;
	struct tm tm;
	int i, day;

	if (strspn(s, "0123456789") != 4)
		return false;
	for (i = 0; i < 3; i++) {
		memset(&tm, 0, sizeof(tm));
		if ((end = strptime(s, forms[i].form, &tm)) == NULL ||
		    end - s != forms[i].len || end[*end == 'Z'] != '\0')
			continue;
		/* timegm() turns 30 February into 2 March. */
		day = tm.tm_mday;
		*t = timegm(&tm);
		return tm.tm_mday == day;
	}
	return false;
}

/* Prints what is wrong with a flag; returns false. */
static bool
warn_flag(char flag, const char *value, const char *what)
{
	warnx("-%c %s is not a %s", flag, value, what);
	return false;
}

/* The latest beginning and the earliest end of -d, -s and -b. */
static bool
parse_time_flags(struct selection *sel, const char *const *flag)
{
	time_t t;

	sel->since_us = INT64_MIN;
	sel->before_us = INT64_MAX;
	if (flag['d'] != NULL) {
		if (!day_parse(&t, flag['d']))
			return warn_flag('d', flag['d'], "day");
		sel->since_us = selection_time_us(t, 0);
		sel->before_us = selection_time_us(t + SECONDS_PER_DAY, 0);
	}
	if (flag['s'] != NULL) {
		if (!parse_time(&t, flag['s']))
			return warn_flag('s', flag['s'], "time");
		if (selection_time_us(t, 0) > sel->since_us)
			sel->since_us = selection_time_us(t, 0);
	}
	if (flag['b'] != NULL) {
		if (!parse_time(&t, flag['b']))
			return warn_flag('b', flag['b'], "time");
		if (selection_time_us(t, 0) < sel->before_us)
			sel->before_us = selection_time_us(t, 0);
	}
	return true;
}

bool
selection_parse(struct selection *sel, const struct arguments *a)
{
	const char *const *flag = a->flag;
	uint8_t digest[DIGEST_SIZE];
	char **d;

	if (!parse_time_flags(sel, flag))
		return false;
	sel->type = flag['t'];
	sel->id = flag['i'];
	sel->digests = a->operand;
	if (*a->operand == NULL && !flag['a'] && !flag['d'] && !flag['s'] &&
	    !flag['b'] && !flag['t'] && !flag['i']) {
		warnx("say which, or -a for all");
		return false;
	}
	for (d = sel->digests; *d != NULL; d++)
		if (signature_parse(digest, *d) == -1) {
			warnx("%s is not a digest", *d);
			return false;
		}
	return true;
}

bool
selection_has_digest(const struct selection *sel, const char *hex)
{
	char **d;

	for (d = sel->digests; *d != NULL; d++)
		if (strcasecmp(*d, hex) == 0)
			return true;
	return d == sel->digests;
}

bool
selection_has_time(const struct selection *sel, int64_t time_us)
{
	return time_us >= sel->since_us && time_us < sel->before_us;
}

bool
selection_has_event(const struct selection *sel, const struct event *ev)
{
	return (sel->type == NULL || fnmatch(sel->type, ev->type, 0) == 0) &&
	    (sel->id == NULL || strcmp(sel->id, ev->id) == 0);
}
