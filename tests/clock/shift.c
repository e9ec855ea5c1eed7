/* SPDX-License-Identifier: ISC */
/*
 * time() and clock_gettime() with the shift; CLOCK_REALTIME alone is shifted.
 */
#include <stdlib.h>

#include "shift.h"

#undef time
#undef clock_gettime

static long long
clock_shift(void)
{
	const char *s = getenv("CLOCK_SHIFT");

	return s != NULL ? strtoll(s, NULL, 10) : 0;
}

time_t
shifted_time(time_t *t)
{
	time_t now = time(NULL) + (time_t)clock_shift();

	if (t != NULL)
		*t = now;
	return now;
}

int
shifted_clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = clock_gettime(id, ts);

	if (r == 0 && id == CLOCK_REALTIME)
		ts->tv_sec += (time_t)clock_shift();
	return r;
}
