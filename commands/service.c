/* SPDX-License-Identifier: ISC */
/*
 * Reads the unit's EnvironmentFile as systemd.exec(5) describes it, but refuses
 * lines with backslashes, or with quotes inside of a value, rather than guess
 * what they mean.
 */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../util.h"
#include "service.h"

/* The tests put a directory of their own in front of these paths. */
#ifndef ROOTDIR
#define ROOTDIR		""
#endif
#define ENVIRONMENT_FILE ROOTDIR "/etc/protocol-hook/environment"
#define SECRET_FILE	ROOTDIR "/etc/protocol-hook/secret"
#define UNIT		"protocol-hook.service"
#define PREFIX		"PROTOCOL_HOOK_"
#define FILE_MAX	65536	/* bytes */
#define WHITE		" \t\r"

/* Reading lines */

/*
 * Reads a file of *SIZE bytes and appends a NUL.  The caller frees it.  NULL
 * with errno; then *SIZE is 0.
 */
static char *
read_text_file(int at, const char *path, size_t *size)
{
	int error, fd = openat(at, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	uint8_t *bytes;
	char *text = NULL;

	*size = 0;
	if (fd == -1)
		return NULL;
	if ((bytes = read_all(fd, FILE_MAX, size)) != NULL &&
	    (text = malloc(*size + 1)) != NULL) {
		memcpy(text, bytes, *size);
		text[*size] = '\0';
	}
	error = errno;
	close(fd);
	if (bytes != NULL)
		memory_wipe(bytes, *size);
	free(bytes);
	errno = error;
	return text;
}

/* Cuts white space off both ends, in place. */
static char *
trim_white(char *s)
{
	char *end;

	s += strspn(s, WHITE);
	for (end = s + strlen(s); end > s && strchr(WHITE, end[-1]); end--)
		;
	*end = '\0';
	return s;
}

/* The environment file */

/* Takes the quotes off a value, in place; NULL for what is refused. */
static char *
unquote_value(char *value)
{
	char quote = value[0];
	char *end;

	if (strchr(value, '\\') != NULL)
		return NULL;
	if (quote != '"' && quote != '\'')
		return strpbrk(value, "\"'") == NULL ? value : NULL;
	if ((end = strchr(value + 1, quote)) == NULL || end[1] != '\0')
		return NULL;
	*end = '\0';
	return value + 1;
}

static bool
is_variable_name(const char *s)
{
	static const char valid[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "abcdefghijklmnopqrstuvwxyz_0123456789";

	return *s != '\0' && s[strspn(s, valid)] == '\0' &&
	    (*s < '0' || *s > '9');
}

/* Sets the variable of a line, if it is ours.  NULL, or what is wrong. */
static const char *
set_variable(char *line)
{
	char *name = trim_white(line), *value = strchr(name, '=');

	if (*name == '\0' || *name == '#' || *name == ';')
		return NULL;
	if (value == NULL)
		return "is not NAME=value";
	*value++ = '\0';
	name = trim_white(name);
	if (!is_variable_name(name))
		return "does not begin with the name of a variable";
	if ((value = unquote_value(trim_white(value))) == NULL)
		return "has a quote or a backslash that is not understood";
	if (strncmp(name, PREFIX, sizeof(PREFIX) - 1) != 0)
		return NULL;
	return setenv(name, value, 1) == 0 ? NULL : strerror(errno);
}

/* The same for all lines; *N is the number of the line that is wrong. */
static const char *
set_variables(char *text, unsigned int *n)
{
	const char *why = NULL;
	char *line;

	for (*n = 1; (line = strsep(&text, "\n")) != NULL; ++*n)
		if ((why = set_variable(line)) != NULL)
			break;
	return why;
}

static void
read_environment_file(struct service *sv)
{
	unsigned int line;
	size_t size;
	char *text = read_text_file(AT_FDCWD, ENVIRONMENT_FILE, &size);
	const char *why;

	if (text == NULL) {
		if (errno != ENOENT)
			snprintf(sv->error, sizeof(sv->error), "%s: %s",
			    ENVIRONMENT_FILE, strerror(errno));
		return;
	}
	sv->environment_file = ENVIRONMENT_FILE;
	if (strlen(text) != size)
		snprintf(sv->error, sizeof(sv->error), "%s: has a NUL byte",
		    ENVIRONMENT_FILE);
	else if ((why = set_variables(text, &line)) != NULL)
		snprintf(sv->error, sizeof(sv->error), "%s: line %u %s",
		    ENVIRONMENT_FILE, line, why);
	/* It may have a key. */
	memory_wipe(text, size);
	free(text);
}

/* The unit */

/* A unit file or a drop-in: the user, and whether systemd reads the secret. */
static void
read_unit_file(struct service *sv, int at, const char *path)
{
	size_t size;
	char *text = read_text_file(at, path, &size), *line, *next;

	for (next = text; text != NULL &&
	    (line = strsep(&next, "\n")) != NULL;) {
		line = trim_white(line);
		if (strncmp(line, "User=", 5) == 0)
			snprintf(sv->user, sizeof(sv->user), "%s", line + 5);
		if (strcmp(line, "LoadCredential=secret:"
		    "/etc/protocol-hook/secret") == 0)
			sv->reads_secret = true;
	}
	free(text);
}

static int
read_drop_in(void *arg, int dir, const struct dirent *e)
{
	const char *end = strrchr(e->d_name, '.');

	if (e->d_name[0] != '.' && end != NULL && strcmp(end, ".conf") == 0)
		read_unit_file(arg, dir, e->d_name);
	return 0;
}

static void
read_unit(struct service *sv)
{
	/*
	 * The unit of the first directory hides the others; a drop-in of the
	 * first overrides those of the others, so they are read last to first.
	 */
	static const char *const dirs[] = {
		ROOTDIR "/etc/systemd/system/", ROOTDIR "/run/systemd/system/",
		ROOTDIR "/usr/local/lib/systemd/system/",
		ROOTDIR "/usr/lib/systemd/system/",
		ROOTDIR "/lib/systemd/system/"
	};
	const size_t n = sizeof(dirs) / sizeof(dirs[0]);
	char path[256];
	size_t i;

	for (i = 0; i < n && !sv->is_installed; i++) {
		snprintf(path, sizeof(path), "%s" UNIT, dirs[i]);
		sv->is_installed = access(path, R_OK) == 0;
	}
	if (!sv->is_installed)
		return;
	read_unit_file(sv, AT_FDCWD, path);
	for (i = n; i > 0; i--) {
		snprintf(path, sizeof(path), "%s" UNIT ".d", dirs[i - 1]);
		dir_each(AT_FDCWD, path, read_drop_in, sv);
	}
}

void
service_read(struct service *sv)
{
	memset(sv, 0, sizeof(*sv));
	read_unit(sv);
	if (config_is_set())
		return;
	/* The environment file may name another, as for the unit. */
	if (access(SECRET_FILE, F_OK) == 0 &&
	    setenv(PREFIX "SECRET_FILE", SECRET_FILE, 1) == 0)
		sv->secret_file = SECRET_FILE;
	read_environment_file(sv);
}
