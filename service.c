/* SPDX-License-Identifier: ISC */
/*
 * What the package's systemd unit uses, for the commands: a person's shell has
 * none of its variables, and the defaults could be another spool.
 *
 * The unit's EnvironmentFile is read as systemd.exec(5) says.  Lines with
 * backslashes, or with quotes inside of a value, are refused, not guessed at.
 */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hook.h"

/* A root directory for the tests. */
#ifndef ROOTDIR
#define ROOTDIR		""
#endif
#define ENVIRONMENT	ROOTDIR "/etc/protocol-hook/environment"
#define SECRET		ROOTDIR "/etc/protocol-hook/secret"
#define UNIT		"protocol-hook.service"
#define PREFIX		"PROTOCOL_HOOK_"
#define FILE_MAX	65536
#define WHITE		" \t\r"

/* Reading a file of lines */

/* A file of SIZE bytes, and a NUL; or NULL with errno.  The caller frees it. */
static char *
read_text(int at, const char *path, size_t *size)
{
	int error, fd = openat(at, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	uint8_t *bytes;
	char *text = NULL;

	*size = 0;
	if (fd == -1)
		return NULL;
	bytes = read_whole(fd, FILE_MAX, size);
	error = errno;
	close(fd);
	if (bytes != NULL && (text = malloc(*size + 1)) != NULL) {
		memcpy(text, bytes, *size);
		text[*size] = '\0';
	}
	if (bytes != NULL)
		wipe(bytes, *size);
	free(bytes);
	errno = error;
	return text;
}

/* Cuts white space off both ends. */
static char *
trim(char *s)
{
	char *end;

	s += strspn(s, WHITE);
	for (end = s + strlen(s); end > s && strchr(WHITE, end[-1]); end--)
		;
	*end = '\0';
	return s;
}

/* The environment file */

/* Takes the quotes off a value; NULL if it is not understood. */
static char *
unquote(char *value)
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
is_name(const char *s)
{
	static const char valid[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "abcdefghijklmnopqrstuvwxyz_0123456789";

	return *s != '\0' && s[strspn(s, valid)] == '\0' &&
	    (*s < '0' || *s > '9');
}

/* NULL, or what is wrong with the line. */
static const char *
take_line(char *line)
{
	char *name = trim(line), *value = strchr(name, '=');

	if (*name == '\0' || *name == '#' || *name == ';')
		return NULL;
	if (value == NULL)
		return "is not NAME=value";
	*value++ = '\0';
	name = trim(name);
	if (!is_name(name))
		return "does not begin with the name of a variable";
	if ((value = unquote(trim(value))) == NULL)
		return "has a quote or a backslash that is not understood";
	if (strncmp(name, PREFIX, sizeof(PREFIX) - 1) != 0)
		return NULL;
	return setenv(name, value, 1) == 0 ? NULL : strerror(errno);
}

/* NULL, or what is wrong with the text. */
static const char *
take_lines(char *text, unsigned int *n)
{
	const char *why = NULL;
	char *line;

	for (*n = 1; (line = strsep(&text, "\n")) != NULL; ++*n)
		if ((why = take_line(line)) != NULL)
			break;
	return why;
}

static void
take_environment(struct service *sv)
{
	unsigned int line;
	size_t size;
	char *text = read_text(AT_FDCWD, ENVIRONMENT, &size);
	const char *why;

	if (text == NULL) {
		if (errno != ENOENT)
			snprintf(sv->error, sizeof(sv->error), "%s: %s",
			    ENVIRONMENT, strerror(errno));
		return;
	}
	sv->environment = ENVIRONMENT;
	if (strlen(text) != size)
		snprintf(sv->error, sizeof(sv->error), "%s: has a NUL byte",
		    ENVIRONMENT);
	else if ((why = take_lines(text, &line)) != NULL)
		snprintf(sv->error, sizeof(sv->error), "%s: line %u %s",
		    ENVIRONMENT, line, why);
	/* There may be a key in it. */
	wipe(text, size);
	free(text);
}

/* The unit */

/* What a unit file, or a drop-in of it, says of the user and of the key. */
static void
read_unit(struct service *sv, int at, const char *path)
{
	size_t size;
	char *text = read_text(at, path, &size), *line, *next;

	for (next = text; text != NULL &&
	    (line = strsep(&next, "\n")) != NULL;) {
		line = trim(line);
		if (strncmp(line, "User=", 5) == 0)
			snprintf(sv->user, sizeof(sv->user), "%s", line + 5);
		if (strcmp(line, "LoadCredential=secret:"
		    "/etc/protocol-hook/secret") == 0)
			sv->credential = true;
	}
	free(text);
}

static int
each_drop_in(void *arg, int dir, const struct dirent *e)
{
	const char *end = strrchr(e->d_name, '.');

	if (end != NULL && strcmp(end, ".conf") == 0)
		read_unit(arg, dir, e->d_name);
	return 0;
}

static void
find_unit(struct service *sv)
{
	/* The first is the one that counts; later drop-ins do. */
	static const char *const dirs[] = {
		ROOTDIR "/etc/systemd/system/", ROOTDIR "/run/systemd/system/",
		ROOTDIR "/usr/local/lib/systemd/system/",
		ROOTDIR "/usr/lib/systemd/system/",
		ROOTDIR "/lib/systemd/system/"
	};
	const size_t n = sizeof(dirs) / sizeof(dirs[0]);
	char path[256];
	size_t i;

	for (i = 0; i < n && !sv->unit; i++) {
		snprintf(path, sizeof(path), "%s" UNIT, dirs[i]);
		sv->unit = access(path, R_OK) == 0;
	}
	if (!sv->unit)
		return;
	read_unit(sv, AT_FDCWD, path);
	for (i = n; i > 0; i--) {
		snprintf(path, sizeof(path), "%s" UNIT ".d", dirs[i - 1]);
		dir_each(AT_FDCWD, path, each_drop_in, sv);
	}
}

void
service_read(struct service *sv)
{
	memset(sv, 0, sizeof(*sv));
	find_unit(sv);
	if (config_is_set())
		return;
	/* The file may name another, as it may for the unit. */
	if (access(SECRET, F_OK) == 0 &&
	    setenv(PREFIX "SECRET_FILE", SECRET, 1) == 0)
		sv->secret = SECRET;
	take_environment(sv);
}
