/* SPDX-License-Identifier: ISC */
/*
 * check: reports everything that could make a delivery fail, with the cure, in
 * the order in which it should be cured.
 */
#include <sys/stat.h>

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>
#include <nettle/version.h>

#include "../spool/contents.h"
#include "../spool/spool.h"
#include "../util.h"
#include "check.h"
#include "command.h"
#include "report.h"

#define PATH_SIZE	4096
#define YEAR_2025	1735689600	/* the program is not older */

bool
check_has_name(const char *path, const char *sub)
{
	char name[PATH_SIZE];
	struct stat st;

	return snprintf(name, sizeof(name), "%s/%s", path, sub) <
	    (int)sizeof(name) && lstat(name, &st) == 0;
}

/* As whom */

static void
find_identity(struct check *c)
{
	const char *spool = c->cfg->spool;
	bool told = c->acting_as != NULL;
	struct stat st;

	identity_format_user(c->user, geteuid());
	identity_format_group(c->group, getegid());
	c->is_receiver = told;
	if (stat(spool, &st) == -1 || !S_ISDIR(st.st_mode))
		return;
	identity_format_user(c->owner, st.st_uid);
	c->may_own = st.st_uid == geteuid() || (st.st_uid == 0 && told);
	/*
	 * A spool that is empty and root's does not tell who is to use it:
	 * somebody made it, and may have forgotten to give it away.
	 */
	c->is_receiver = told || (st.st_uid == geteuid() &&
	    (geteuid() != 0 || check_has_name(spool, "new") ||
	    spool_path_is_foreign(spool)));
}

/* The rest of the line; what comes first is most in need of attention. */
static void
report_user(const struct check *c, const struct arguments *a, const char *who)
{
	const char *unit_user = c->service->user, *told = c->acting_as;

	if (c->owner[0] != '\0' && !c->may_own)
		report_line(VERDICT_NOTE, "user", "%s%s%s; but the spool is "
		    "%s's: this holds for %s only", who, told ? ": " : "",
		    told ? told : "", c->owner, c->user);
	else if (told && a->flag['u'] == NULL && *unit_user != '\0' &&
	    strcmp(unit_user, c->user) != 0)
		report_line(VERDICT_NOTE, "user", "%s: %s; but "
		    "protocol-hook.service runs as %s", who, told, unit_user);
	else if (told)
		report_line(VERDICT_OK, "user", "%s: %s", who, told);
	else if (c->owner[0] == '\0')
		report_line(VERDICT_NOTE, "user", "%s; there is no spool to "
		    "say whom the receiver runs as: as root, protocol-hook "
		    "check -u USER", who);
	else if (geteuid() != 0)
		report_line(VERDICT_OK, "user", "%s: the spool's owner", who);
	else if (c->is_receiver)
		report_line(VERDICT_NOTE, "user", "root, the spool's owner, "
		    "may do what the receiver may not: protocol-hook check "
		    "-u USER");
	else
		report_line(VERDICT_FAIL, "user", "the spool is fresh and "
		    "root's, and no unit says whom the receiver runs as: "
		    "protocol-hook check -u USER");
}

static void
check_user(struct check *c, const struct arguments *a)
{
	char who[256], group[IDENTITY_NAME_SIZE];
	mode_t mask = umask(022);

	umask(mask);
	find_identity(c);
	snprintf(who, sizeof(who), "%s (uid %ld), group %s, umask %03o",
	    c->user, (long)geteuid(), identity_format_group(group, getegid()) ?
	    group : "?", (unsigned int)mask);
	report_user(c, a, who);
}

/* Configuration */

static void
report_variable(const char *name, const char *value, const char *why)
{
	if (why != NULL) {
		report_line(VERDICT_FAIL, name, "%s: correct or remove it",
		    why);
		return;
	}
	report_begin(VERDICT_OK, name);
	report_path(value);
	putchar('\n');
}

static void
check_service(const struct service *service)
{
	const char *environment = service->environment_file;
	const char *secret = service->secret_file;

	if (service->error[0] != '\0')
		report_line(VERDICT_FAIL, "environment", "%s: correct it, or "
		    "ask the service: " CHECK_OF_SERVICE, service->error);
	else if (environment != NULL || secret != NULL)
		report_line(VERDICT_OK, "environment", "%s%s%s, as no "
		    "PROTOCOL_HOOK_ variable is set in this shell",
		    environment != NULL ? environment : "",
		    environment != NULL && secret != NULL ? " and " : "",
		    secret != NULL ? secret : "");
}

/* Names and the archive follow the clock. */
static void
check_clock(const char *spool)
{
	char path[PATH_SIZE];
	char now_text[COMMAND_TIME_SIZE], last_text[COMMAND_TIME_SIZE];
	time_t now = time(NULL);
	struct stat st;

	snprintf(path, sizeof(path), "%s/new", spool);
	command_format_time(now_text, now);
	if (now < YEAR_2025)
		report_line(VERDICT_FAIL, "clock", "it says %s, before 2025: "
		    "set it, names and archive depend on it", now_text);
	else if (stat(path, &st) == 0 && st.st_mtime > now + SECONDS_PER_DAY) {
		command_format_time(last_text, st.st_mtime);
		report_line(VERDICT_FAIL, "clock", "it says %s, but something "
		    "came into new/ at %s, later than now: set it; if it is "
		    "right, touch new/", now_text, last_text);
	} else
		report_line(VERDICT_OK, "clock", "%s", now_text);
}

static void
check_libraries(void)
{
	report_line(VERDICT_OK, "libraries", "json-c %s, Nettle %d.%d",
	    json_c_version(), nettle_version_major(), nettle_version_minor());
}

int
check_main(struct config *cfg, const struct arguments *a)
{
	struct check c = { .cfg = cfg, .service = a->service,
	    .acting_as = a->acting_as };

	check_user(&c, a);
	check_service(a->service);
	config_each(report_variable);
	config_each_unknown(report_variable);
	check_keys(&c);
	check_clock(cfg->spool);
	check_libraries();
	if (cfg->error[0] == '\0')
		check_spool(&c);
	return report_has_failed();
}
