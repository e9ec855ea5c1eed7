/* SPDX-License-Identifier: ISC */
/*
 * check: whether the receiver can read the keys, nobody else can, and they look
 * like what was meant.
 */
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../config.h"
#include "../verify.h"
#include "check.h"
#include "report.h"

#define SHORT_KEY	16	/* bytes; a shorter key can be guessed */

/* The cure for a reason that config.c or verify.c gives; the first counts. */
static const struct {
	const char *part, *cure;	/* part: of the reason */
} key_cures[] = {
	{ "is not set", "set PROTOCOL_HOOK_SECRET_FILE (or "
	    "PROTOCOL_HOOK_SECRET) where the receiver is started, and in this "
	    "shell" },
	{ "names no file", "let it name the file that has the key, or "
	    "remove it" },
	{ "together with a key", "remove PROTOCOL_HOOK_SECRET and "
	    "PROTOCOL_HOOK_SECRET_PREVIOUS, or this one" },
	{ "has no key", "put the key into the file, on a line of its own" },
	{ "too many keys", "remove old keys from the end of the file" },
	{ "larger than", "put only the key into the file" },
	{ "has a", "put only the key there, as plain text, each on a line of "
	    "its own" },
	{ "has the name", "put only the key there, without NAME=" },
	{ "", "see dmesg: the disk may be failing" },
};

/* Why a key may not be what was meant; the first of a key's counts. */
static const struct {
	unsigned int odd;
	const char *text;
} key_notes[] = {
	{ ODD_NAME, "looks like NAME=value: only the value is the key" },
	{ ODD_HASH, "begins with #: comments are keys, too" },
	{ ODD_ESCAPE, "has a backslash with n or r, which is no newline here" },
	{ ODD_BYTE, "has a character that is not plain ASCII, or is "
	    "invisible: copy it again" },
	{ ODD_EDGE, "begins or ends with a space or a quote: is that meant?" },
	{ ODD_SPACE, "has white space in it: is that meant?" },
};

static void
report_key_error(const char *why, bool has_unit)
{
	size_t i = 0;

	while (strstr(why, key_cures[i].part) == NULL)
		i++;
	report_line(VERDICT_FAIL, "key", "%s: %s%s", why, key_cures[i].cure,
	    i == 0 && has_unit ? "; or ask the service: " CHECK_OF_SERVICE :
	    "");
}

/* Returns whether there was anything to report. */
static bool
report_odd_keys(const struct keys *keys)
{
	const size_t n = sizeof(key_notes) / sizeof(key_notes[0]);
	bool any = keys->shortest < SHORT_KEY;
	unsigned int i;
	size_t j;

	if (any)
		report_line(VERDICT_NOTE, "key", "one has only %zu bytes, "
		    "which can be guessed: is it whole?", keys->shortest);
	for (i = 0; i < keys->n; i++)
		for (j = 0; j < n; j++)
			if ((keys->odd[i] & key_notes[j].odd) != 0) {
				report_line(VERDICT_NOTE, "key",
				    "number %u %s", i + 1, key_notes[j].text);
				any = true;
				break;
			}
	return any;
}

/* The secret file */

static void
report_unreadable_secret(const struct check *c, const char *path, int error)
{
	report_begin(VERDICT_FAIL, "secret file");
	report_path(path);
	if (error == ENOENT)
		printf(" is not there: put the key into it, readable by %s",
		    c->user);
	else if (c->service->secret_file != NULL)
		printf(" can't be read by %s: as root, protocol-hook check; "
		    "or ask the service: " CHECK_OF_SERVICE, c->user);
	else
		printf(" can't be read by %s: %s: change its owner, its mode "
		    "or its directory's", c->user, strerror(error));
	putchar('\n');
}

static void
report_exposed_secret(const char *path)
{
	struct statvfs vfs = { 0 };

	report_begin(VERDICT_FAIL, "secret file");
	printf("every user may read ");
	report_path(path);
	printf(": ");
	if (statvfs(path, &vfs) == 0 && (vfs.f_flag & ST_RDONLY) != 0)
		printf("set its mode to 0440 where it is mounted from");
	else
		report_command("chmod o=", path, "");
	putchar('\n');
}

static void
report_not_regular_secret(const char *path, mode_t mode)
{
	report_begin(VERDICT_FAIL, "secret file");
	report_path(path);
	printf(S_ISDIR(mode) ? " is a directory: name the file that has the "
	    "key\n" : " is not a regular file: put the key into one\n");
}

/*
 * Returns false if the file can't be read at all, and that was reported.  Its
 * mode is reported only if its keys can be used: otherwise the variable may
 * name a file that is not ours, and a cure must not change it.
 */
static bool
check_secret_file(const struct check *c, bool root_reads, bool has_keys)
{
	const char *path = c->cfg->secret_file;
	struct stat st;

	if (stat(path, &st) == -1) {
		report_unreadable_secret(c, path, errno);
		return false;
	}
	if (!S_ISREG(st.st_mode)) {
		report_not_regular_secret(path, st.st_mode);
		return false;
	}
	if (!root_reads && access(path, R_OK) == -1) {
		report_unreadable_secret(c, path, errno);
		return false;
	}
	if (has_keys && (st.st_mode & S_IRWXO) != 0)
		report_exposed_secret(path);
	else if (has_keys) {
		report_begin(VERDICT_OK, "secret file");
		report_path(path);
		printf(", mode %03o, uid %ld, gid %ld\n",
		    (unsigned int)st.st_mode & 0777, (long)st.st_uid,
		    (long)st.st_gid);
	}
	return true;
}

/*
 * Whether systemd reads the secret file, as root, before it starts the
 * receiver.  We have read it as root, too, before we became its user.
 */
static bool
is_read_by_systemd(const struct check *c, const char *path)
{
	return c->service->secret_file != NULL && c->service->reads_secret &&
	    strcmp(c->service->secret_file, path) == 0 &&
	    strcmp(c->user, c->service->user) == 0;
}

void
check_keys(const struct check *c)
{
	const char *why = c->cfg->key_error[0] != '\0' ? c->cfg->key_error :
	    NULL;
	const char *path = c->cfg->secret_file;
	const struct keys *keys = &c->cfg->keys;
	bool root_reads;

	if (path != NULL && *path != '\0') {
		root_reads = why == NULL && is_read_by_systemd(c, path);
		if (!root_reads)
			why = config_reload(c->cfg);
		if (!check_secret_file(c, root_reads, why == NULL))
			return;
	}
	if (why != NULL)
		report_key_error(why, c->service->is_installed);
	else if (!report_odd_keys(keys))
		report_line(VERDICT_OK, "key", "%u, the shortest of %zu bytes; "
		    "not Protocol's if the log has result=unauthorized",
		    keys->n, keys->shortest);
}
