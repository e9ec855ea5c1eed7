/* SPDX-License-Identifier: ISC */
/*
 * config.c: compares config_read() with simple parsers of each variable,
 * written another way.  The first byte of the input says which variables are
 * set; the rest has their values, with a NUL after each.
 */
#include <sys/mman.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "tests/fuzz/expect.h"
#include "tests/fuzz/refused.h"
#include "util.h"

enum { SECRET, PREVIOUS, SPOOL, EVENTS, MAX_BODY, KEEP_DAYS, MIN_FREE,
    SECRET_FILE, VARIABLES };

static const char *const names[VARIABLES] = { "SECRET", "SECRET_PREVIOUS",
    "SPOOL", "EVENTS", "MAX_BODY", "KEEP_DAYS", "MIN_FREE", "SECRET_FILE" };

static char variable[VARIABLES][512];
static const char *value[VARIABLES];	/* or NULL */
static char *env[VARIABLES + 1];
static char key_file[32];

extern char **environ;
int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* Of SECRET_FILE only the length counts: if it is odd, the file exists. */
static void
set_input(const uint8_t *data, size_t size)
{
	const uint8_t *p = data + 1, *end = data + size;
	unsigned int i, n = 0;
	int at, len;

	for (i = 0; i < VARIABLES; i++) {
		value[i] = NULL;
		if ((data[0] >> i & 1) == 0)
			continue;
		len = (int)strnlen((const char *)p, (size_t)(end - p));
		at = snprintf(variable[i], sizeof(variable[i]),
		    "PROTOCOL_HOOK_%s=", names[i]);
		snprintf(variable[i] + at, sizeof(variable[i]) - (size_t)at,
		    "%.*s", len, i == SECRET_FILE && len % 2 == 1 ? key_file :
		    i == SECRET_FILE ? "/nonexistent" : (const char *)p);
		value[i] = variable[i] + at;
		env[n++] = variable[i];
		p += len < end - p ? len + 1 : len;
	}
	env[n] = NULL;
}

static bool
is_size(const char *s, const char *suffixes, uint64_t *out)
{
	static const char most[] = "18446744073709551615";
	size_t digits = strspn(s, "0123456789"), zeros = strspn(s, "0");
	const char *suffix, *p = s + digits;

	if (digits == 0)
		return false;
	s += zeros;
	digits -= zeros;
	if (digits > sizeof(most) - 1 || (digits == sizeof(most) - 1 &&
	    strncmp(s, most, digits) > 0))
		return false;
	*out = strtoull(s, NULL, 10);
	if (*p == '\0')
		return true;
	if ((suffix = strchr(suffixes, *p)) == NULL || p[1] != '\0')
		return false;
	for (; suffix >= suffixes; suffix--) {
		if (*out > UINT64_MAX >> 10)
			return false;
		*out <<= 10;
	}
	return true;
}

static bool
check_numbers(const struct config *cfg)
{
	uint64_t n;
	bool right = true;

	if (value[MAX_BODY] == NULL)
		expect(cfg->max_body == 1 << 20);
	else if (!is_size(value[MAX_BODY], "KM", &n) || n == 0 || n > 1 << 30)
		right = false;
	else
		expect(cfg->max_body == n);
	if (value[KEEP_DAYS] == NULL)
		expect(cfg->keep_days == 7);
	else if (!is_size(value[KEEP_DAYS], "", &n) || n > KEEP_DAYS_MAX)
		right = false;
	else
		expect(cfg->keep_days == n);
	if (value[MIN_FREE] == NULL)
		expect(cfg->min_free == 64 << 20);
	else if (!is_size(value[MIN_FREE], "KMG", &n))
		right = false;
	else
		expect(cfg->min_free == n);
	return right;
}

/* An event of type I; or, unless KNOWN, of another type of that resource. */
static struct event
make_event(unsigned int i, bool known)
{
	struct event ev = { .resource = (int)i / EVENT_ACTIONS,
	    .known = known ? (int)i : -1 };

	event_type_format(ev.type, i);
	return ev;
}

static bool
check_events(const struct config *cfg)
{
	char list[512], all[EVENT_TEXT_MAX + 1], *p = list, *word;
	bool want[EVENT_TYPES] = { false }, any = false, hit;
	struct event ev;
	unsigned int i;

	snprintf(list, sizeof(list), "%s",
	    value[EVENTS] != NULL ? value[EVENTS] : "*");
	while ((word = strsep(&p, ", \t\r\n")) != NULL) {
		for (i = 0, hit = *word == '\0'; i < EVENT_TYPES; i++) {
			ev = make_event(i, true);
			snprintf(all, sizeof(all), "%.*s.*",
			    (int)strcspn(ev.type, "."), ev.type);
			if (strcmp(word, "*") == 0 || strcmp(word, all) == 0 ||
			    strcmp(word, ev.type) == 0)
				hit = want[i] = true;
		}
		if (!hit)
			return false;
		any |= *word != '\0';
	}
	for (i = 0; any && i < EVENT_TYPES; i++) {
		ev = make_event(i, true);
		expect(event_is_wanted(&cfg->wanted, &ev) == want[i]);
		ev = make_event(i, false);
		expect(!event_is_wanted(&cfg->wanted, &ev) || want[i]);
	}
	return any;
}

/*
 * Keys are wiped from the environment.  Returns whether there is a valid key,
 * given the lengths of the two variables, and whether one of them is WRONG.
 */
static bool
check_keys(const struct config *cfg, size_t secret, size_t previous,
    bool wrong)
{
	size_t i;

	for (i = 0; i < secret; i++)
		expect(value[SECRET][i] == '\0');
	for (i = 0; i < previous; i++)
		expect(value[PREVIOUS][i] == '\0');
	if (value[SECRET_FILE] != NULL && (secret > 0 || previous > 0))
		return false;
	if (value[SECRET_FILE] != NULL) {
		expect(cfg->secret_file == value[SECRET_FILE]);
		return strcmp(value[SECRET_FILE], key_file) == 0;
	}
	if (secret > 0 && !wrong)
		expect(cfg->keys.n == (previous > 0 ? 2 : 1));
	return secret > 0 && !wrong;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config cfg;
	char **before = environ;
	size_t secret, previous;
	bool wrong = false, keys, rest;
	int fd;

	if (key_file[0] == '\0') {
		fd = memfd_create("keys", 0);
		expect(fd != -1 && write_all(fd, "key\n", 4) == 0);
		snprintf(key_file, sizeof(key_file), "/proc/self/fd/%d", fd);
	}
	if (size == 0)
		return 0;
	set_input(data, size);
	secret = value[SECRET] != NULL ? strlen(value[SECRET]) : 0;
	previous = value[PREVIOUS] != NULL ? strlen(value[PREVIOUS]) : 0;
	if (secret > 0)
		wrong = key_is_refused(value[SECRET]);
	if (secret > 0 && previous > 0)
		wrong = wrong || key_is_refused(value[PREVIOUS]);
	environ = env;
	config_read(&cfg);
	environ = before;
	keys = check_keys(&cfg, secret, previous, wrong);
	rest = check_numbers(&cfg);
	rest = check_events(&cfg) && rest &&
	    (value[SPOOL] == NULL || *value[SPOOL] != '\0');
	expect((cfg.key_error[0] == '\0') == keys);
	expect((cfg.error[0] == '\0') == rest);
	expect((config_error(&cfg) == NULL) == (keys && rest));
	if (config_reload(&cfg) == NULL)
		expect(cfg.keys.n > 0 && cfg.key_error[0] == '\0');
	return 0;
}
