/* SPDX-License-Identifier: ISC */
/*
 * For build/clock/protocol-hook, whose clock is CLOCK_SHIFT seconds ahead: the
 * compiler includes this before each file that reads the clock.
 */
#include <time.h>

time_t shifted_time(time_t *);
int shifted_clock_gettime(clockid_t, struct timespec *);

#define time(t)			shifted_time(t)
#define clock_gettime(id, ts)	shifted_clock_gettime(id, ts)
