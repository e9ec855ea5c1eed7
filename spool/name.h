/* SPDX-License-Identifier: ISC */
/*
 * The names of deliveries in new/ and of days in archive/, formatted and
 * parsed; protocol-hook-spool(5) describes them.  Pure functions of their
 * arguments.
 */
#ifndef SPOOL_NAME_H
#define SPOOL_NAME_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct event;

#define DAY_SIZE	sizeof("YYYY-MM-DD")
#define NAME_TEXT_MAX	64	/* bytes of TYPE and of ID in a name */
#define NAME_STAMP_LEN	(sizeof("YYYYMMDDTHHMMSS.uuuuuuZ.") - 1)
#define NAME_SIZE	(NAME_STAMP_LEN + 2 * NAME_TEXT_MAX + sizeof("..json"))

/* The parts of a name; the pointers lead into the name that was parsed. */
struct delivery_name {
	const char *type, *id;
	int type_len, id_len;	/* bytes, 1 to NAME_TEXT_MAX */
};

/* The name of EVENT if it arrived TIME_US microseconds after 1970. */
void name_format(char name[NAME_SIZE], uint64_t time_us, const struct event *);
/* Returns false if NAME is not the name of a delivery. */
bool name_parse(struct delivery_name *, const char *name);
/* Seconds since 1970 of a name that name_parse() has accepted. */
int64_t name_time(const char *name);

/* The day of T in UTC, YYYY-MM-DD; 1970-01-01 for times before that. */
void day_format(char day[DAY_SIZE], time_t t);
/* Sets *T to the beginning of DAY; returns false if DAY is not a date. */
bool day_parse(time_t *t, const char *day);

#endif
