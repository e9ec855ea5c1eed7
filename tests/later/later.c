/* SPDX-License-Identifier: ISC */
#include <stdlib.h>

#include "later.h"

#undef time
#undef clock_gettime

static long long
later(void)
{
	const char *s = getenv("LATER");

	return s != NULL ? strtoll(s, NULL, 10) : 0;
}

time_t
later_time(time_t *t)
{
	time_t now = time(NULL) + (time_t)later();

	if (t != NULL)
		*t = now;
	return now;
}

int
later_clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = clock_gettime(id, ts);

	if (r == 0 && id == CLOCK_REALTIME)
		ts->tv_sec += (time_t)later();
	return r;
}
