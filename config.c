/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "util.h"

#define SHOWN_MAX	64	/* bytes of a bad value that are shown */

#define PREFIX		"PROTOCOL_HOOK_"
#define SECRET		"PROTOCOL_HOOK_SECRET"
#define SECRET_PREVIOUS	"PROTOCOL_HOOK_SECRET_PREVIOUS"
#define SECRET_FILE	"PROTOCOL_HOOK_SECRET_FILE"

extern char **environ;

/* Bytes, with a suffix of SUFFIXES ("KMG" or a part) for powers of 1024. */
static int
size_parse(uint64_t *out, const char *s, const char *suffixes)
{
	const char *suffix;
	size_t len = strlen(s);
	unsigned int shift = 0;

	if (len > 0 && (suffix = strchr(suffixes, s[len - 1])) != NULL) {
		shift = 10 * (unsigned int)(suffix - suffixes + 1);
		len--;
	}
	if (number_parse(out, s, len) != 0 || *out > UINT64_MAX >> shift)
		return -1;
	*out <<= shift;
	return 0;
}

static const char *
set_spool(struct config *cfg, const char *value)
{
	cfg->spool = value;
	return *value == '\0' ? "is not the name of a directory" : NULL;
}

static const char *
set_events(struct config *cfg, const char *value)
{
	return wanted_parse(&cfg->wanted, value) == NULL ? NULL :
	    "is not an event that Protocol sends";
}

static const char *
set_max_body(struct config *cfg, const char *value)
{
	uint64_t n;

	if (size_parse(&n, value, "KM") == -1 || n == 0 || n > BODY_MAX)
		return "is not a number of bytes from 1 to 1024M";
	cfg->max_body = (size_t)n;
	return NULL;
}

static const char *
set_keep_days(struct config *cfg, const char *value)
{
	uint64_t n;

	if (number_parse(&n, value, strlen(value)) != 0 || n > KEEP_DAYS_MAX)
		return "is not a number of days from 0 to 3650";
	cfg->keep_days = (unsigned int)n;
	return NULL;
}

static const char *
set_min_free(struct config *cfg, const char *value)
{
	if (size_parse(&cfg->min_free, value, "KMG") == -1)
		return "is not a number of bytes";
	return NULL;
}

/* All that have a default; the keys are read separately. */
static const struct setting {
	const char *name, *fallback;
	const char *(*set)(struct config *, const char *);
} settings[] = {
	{ "PROTOCOL_HOOK_SPOOL", SPOOLDIR, set_spool },
	{ "PROTOCOL_HOOK_EVENTS", "*", set_events },
	{ "PROTOCOL_HOOK_MAX_BODY", "1M", set_max_body },
	{ "PROTOCOL_HOOK_KEEP_DAYS", "7", set_keep_days },
	{ "PROTOCOL_HOOK_MIN_FREE", "64M", set_min_free },
};

#define SETTINGS	(sizeof(settings) / sizeof(settings[0]))

/* The first word of LIST that wanted_parse() refuses, or all of LIST. */
static const char *
find_bad_event(char word[SHOWN_MAX + 1], const char *list)
{
	static const char separators[] = ", \t\r\n";
	struct wanted wanted;
	size_t n;

	for (;; list += n) {
		list += strspn(list, separators);
		if ((n = strcspn(list, separators)) == 0)
			return "";
		snprintf(word, SHOWN_MAX + 1, "%.*s", (int)n, list);
		if (wanted_parse(&wanted, word) != NULL)
			return word;
	}
}

/*
 * The error for a setting, with the value, or the word in it, that is wrong, in
 * static memory.  Control characters, which a terminal would obey, become "?".
 */
static const char *
format_setting_error(const struct setting *s, const char *value,
    const char *why)
{
	static char text[CONFIG_ERROR_SIZE];
	char shown[SHOWN_MAX + 1], word[SHOWN_MAX + 1];
	size_t i;

	if (s->set == set_events)
		value = find_bad_event(word, value);
	for (i = 0; i < SHOWN_MAX && value[i] != '\0'; i++)
		shown[i] = value[i] >= ' ' && value[i] <= '~' ? value[i] : '?';
	shown[i] = '\0';
	snprintf(text, sizeof(text), "\"%s%s\" %s", shown,
	    value[i] != '\0' ? "..." : "", why);
	return text;
}

/* A key from the environment, or NULL; an empty one does not count. */
static const char *
key_from_env(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && *value != '\0' ? value : NULL;
}

static const char *
read_secret_file(struct keys *keys, const char *path)
{
	return *path == '\0' ? "is empty: it names no file" :
	    keys_read_file(keys, path);
}

static const char *
read_config_keys(struct config *cfg, const char **name)
{
	const char *secret = key_from_env(SECRET);
	const char *previous = key_from_env(SECRET_PREVIOUS);
	const char *file = getenv(SECRET_FILE);

	*name = SECRET_FILE;
	if (file != NULL && (secret != NULL || previous != NULL))
		return "can't be set together with a key itself";
	if (file != NULL) {
		cfg->secret_file = file;
		return read_secret_file(&cfg->keys, file);
	}
	*name = SECRET;
	if (secret == NULL)
		return "is not set: there is no key";
	keys_add(&cfg->keys, secret, strlen(secret));
	if (previous == NULL || keys_error(&cfg->keys) != NULL)
		return keys_error(&cfg->keys);
	*name = SECRET_PREVIOUS;
	keys_add(&cfg->keys, previous, strlen(previous));
	return keys_error(&cfg->keys);
}

/* Overwrites the value in place, where /proc/PID/environ would show it. */
static void
wipe_from_env(const char *name)
{
	size_t n = strlen(name);
	char **e;

	for (e = environ; *e != NULL; e++)
		if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
			memory_wipe(*e + n + 1, strlen(*e + n + 1));
}

/* Only the first error is kept. */
static void
set_config_error(char error[CONFIG_ERROR_SIZE], const char *name,
    const char *why)
{
	if (error[0] == '\0')
		snprintf(error, CONFIG_ERROR_SIZE, "%s %s", name, why);
}

/* Reads a setting; sets *VALUE to it, or to its default.  NULL, or why not. */
static const char *
read_setting(struct config *cfg, const struct setting *s, const char **value)
{
	const char *why;

	if ((*value = getenv(s->name)) == NULL)
		*value = s->fallback;
	why = s->set(cfg, *value);
	return why != NULL ? format_setting_error(s, *value, why) : NULL;
}

void
config_read(struct config *cfg)
{
	const char *name, *value, *why;
	size_t i;

	memset(cfg, 0, sizeof(*cfg));
	if ((why = read_config_keys(cfg, &name)) != NULL)
		set_config_error(cfg->key_error, name, why);
	wipe_from_env(SECRET);
	wipe_from_env(SECRET_PREVIOUS);
	for (i = 0; i < SETTINGS; i++)
		if ((why = read_setting(cfg, &settings[i], &value)) != NULL)
			set_config_error(cfg->error, settings[i].name, why);
}

const char *
config_error(const struct config *cfg)
{
	if (cfg->key_error[0] != '\0')
		return cfg->key_error;
	return cfg->error[0] != '\0' ? cfg->error : NULL;
}

/*
 * Whether PATH could not be opened because of the sandbox.  Landlock makes
 * open(2) fail with the same errno as the file's mode would, but does not
 * affect faccessat(2).
 */
static bool
is_out_of_reach(const char *path)
{
	return errno == EACCES &&
	    faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) == 0;
}

const char *
config_reload(struct config *cfg)
{
	static char error[CONFIG_ERROR_SIZE];
	struct keys keys = { 0 };
	const char *why;

	if (cfg->secret_file == NULL)
		why = "can't be read again: it is not what the key is from";
	else {
		errno = 0;
		why = read_secret_file(&keys, cfg->secret_file);
		if (why != NULL && is_out_of_reach(cfg->secret_file))
			why = "is in another directory than at the start, "
			    "which the sandbox does not let the process read: "
			    "restart the process";
	}
	if (why == NULL) {
		cfg->keys = keys;
		cfg->key_error[0] = '\0';
	}
	memory_wipe(&keys, sizeof(keys));
	error[0] = '\0';
	if (why != NULL)
		set_config_error(error, SECRET_FILE, why);
	return why != NULL ? error : NULL;
}

static bool
is_known_variable(const char *name, size_t n)
{
	static const char *const keys[] = {
		SECRET, SECRET_PREVIOUS, SECRET_FILE
	};
	size_t i;

	for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strlen(keys[i]) == n && strncmp(keys[i], name, n) == 0)
			return true;
	for (i = 0; i < SETTINGS; i++)
		if (strlen(settings[i].name) == n &&
		    strncmp(settings[i].name, name, n) == 0)
			return true;
	return false;
}

void
config_each(config_report *say)
{
	static struct config scratch;
	const char *value, *why;
	size_t i;

	for (i = 0; i < SETTINGS; i++) {
		why = read_setting(&scratch, &settings[i], &value);
		say(settings[i].name, value, why);
	}
}

void
config_each_unknown(config_report *say)
{
	char name[128];
	size_t i, n;
	char **e;

	for (e = environ; *e != NULL; e++) {
		n = strcspn(*e, "=");
		if (strncmp(*e, PREFIX, sizeof(PREFIX) - 1) != 0 ||
		    is_known_variable(*e, n))
			continue;
		for (i = 0; i < n && i < sizeof(name) - 1; i++)
			name[i] = (*e)[i] > ' ' && (*e)[i] <= '~' ?
			    (*e)[i] : '?';
		name[i] = '\0';
		say(name, "", "is not a variable of protocol-hook");
	}
}

bool
config_is_set(void)
{
	char **e;

	for (e = environ; *e != NULL; e++)
		if (strncmp(*e, PREFIX, sizeof(PREFIX) - 1) == 0)
			return true;
	return false;
}
