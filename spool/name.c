/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <string.h>

#include "../events.h"
#include "../util.h"
#include "name.h"

/*
 * Copies at most NAME_TEXT_MAX bytes of TEXT; every byte but letters, digits,
 * '-' and ALSO becomes '_'.  Returns the end of the copy.
 */
static char *
copy_name_text(char *p, const char *text, char also)
{
	size_t i;
	char c;

	for (i = 0; i < NAME_TEXT_MAX && (c = text[i]) != '\0'; i++)
		*p++ = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		    (c >= '0' && c <= '9') || c == '-' || c == also ? c : '_';
	return p;
}

void
name_format(char name[NAME_SIZE], uint64_t time_us, const struct event *event)
{
	time_t t = (time_t)(time_us / 1000000);
	unsigned int second = (unsigned int)(t % SECONDS_PER_DAY);
	struct date date;
	char *p = name;

	date_from_time(&date, t);
	p = decimal_format(p, date.year, 4);
	p = decimal_format(p, date.month, 2);
	p = decimal_format(p, date.day, 2);
	*p++ = 'T';
	p = decimal_format(p, second / 3600, 2);
	p = decimal_format(p, second / 60 % 60, 2);
	p = decimal_format(p, second % 60, 2);
	*p++ = '.';
	p = decimal_format(p, (unsigned int)(time_us % 1000000), 6);
	*p++ = 'Z';
	*p++ = '.';
	p = copy_name_text(p, event->type, '.');
	*p++ = '.';
	p = copy_name_text(p, event->id, '_');
	memcpy(p, ".json", sizeof(".json"));
}

/* Whether S begins with FORM, in which every 0 stands for a digit. */
static bool
has_form(const char *s, const char *form)
{
	for (; *form != '\0'; s++, form++)
		if (*form == '0' ? *s < '0' || *s > '9' : *s != *form)
			return false;
	return true;
}

bool
name_parse(struct delivery_name *parsed, const char *name)
{
	static const char text[] = "abcdefghijklmnopqrstuvwxyz_-.0123456789"
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	const char *type = name + NAME_STAMP_LEN, *end, *p;

	if (!has_form(name, "00000000T000000.000000Z."))
		return false;
	/* No delivery arrived before 1970. */
	if (strncmp(name, "1970", 4) < 0)
		return false;
	end = type + strspn(type, text);
	if (*end != '\0' || end - type <= 5 || strcmp(end -= 5, ".json") != 0)
		return false;
	/* The last point separates: an id has none in a name. */
	for (p = end - 1; p > type && *p != '.'; p--)
		;
	parsed->type = type;
	parsed->type_len = (int)(p - type);
	parsed->id = p + 1;
	parsed->id_len = (int)(end - parsed->id);
	return parsed->type_len > 0 && parsed->type_len <= NAME_TEXT_MAX &&
	    parsed->id_len > 0 && parsed->id_len <= NAME_TEXT_MAX;
}

int64_t
name_time(const char *name)
{
	struct tm tm = { 0 };

	sscanf(name, "%4d%2d%2dT%2d%2d%2d", &tm.tm_year, &tm.tm_mon,
	    &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec);
	tm.tm_year -= 1900;
	tm.tm_mon--;
	return (int64_t)timegm(&tm);
}

void
day_format(char day[DAY_SIZE], time_t t)
{
	struct date date;
	char *p = day;

	date_from_time(&date, t);
	p = decimal_format(p, date.year, 4);
	*p++ = '-';
	p = decimal_format(p, date.month, 2);
	*p++ = '-';
	p = decimal_format(p, date.day, 2);
	*p = '\0';
}

bool
day_parse(time_t *t, const char *day)
{
	char again[DAY_SIZE];
	struct tm tm = { 0 };

	if (!has_form(day, "0000-00-00") || day[DAY_SIZE - 1] != '\0')
		return false;
	sscanf(day, "%4d-%2d-%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	tm.tm_year -= 1900;
	tm.tm_mon--;
	*t = timegm(&tm);
	/* 30 February would have become 2 March. */
	day_format(again, *t);
	return strcmp(again, day) == 0;
}
