/* SPDX-License-Identifier: ISC */
/*
 * To be included before everything: the program believes that it is $LATER
 * seconds later.
 */
#include <time.h>

time_t later_time(time_t *);
int later_clock_gettime(clockid_t, struct timespec *);

#define time(t)			later_time(t)
#define clock_gettime(id, ts)	later_clock_gettime(id, ts)
