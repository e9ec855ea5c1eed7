/* SPDX-License-Identifier: ISC */
#include <sys/stat.h>

#include <err.h>
#include <grp.h>
#if defined(STATIC) && defined(__GLIBC__)
#include <nss.h>
#endif
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../util.h"
#include "identity.h"

struct identity {
	uid_t uid;
	gid_t gid;
	const char *name;	/* or NULL */
};

bool
identity_format_user(char name[IDENTITY_NAME_SIZE], uid_t uid)
{
	struct passwd *pw = getpwuid(uid);

	if (pw != NULL)
		snprintf(name, IDENTITY_NAME_SIZE, "%s", pw->pw_name);
	else
		snprintf(name, IDENTITY_NAME_SIZE, "%ld", (long)uid);
	return pw != NULL;
}

bool
identity_format_group(char name[IDENTITY_NAME_SIZE], gid_t gid)
{
	struct group *gr = getgrgid(gid);

	if (gr != NULL)
		snprintf(name, IDENTITY_NAME_SIZE, "%s", gr->gr_name);
	else
		snprintf(name, IDENTITY_NAME_SIZE, "%ld", (long)gid);
	return gr != NULL;
}

static void
identity_from_passwd(struct identity *id, const struct passwd *pw)
{
	id->uid = pw->pw_uid;
	id->gid = pw->pw_gid;
	id->name = pw->pw_name;
}

/*
 * The user NAME, which may be a number; a number without a name, as users of
 * containers are, gets the group of SPOOL, unless that is NULL.  0, or -1 if
 * there is none, and that was printed.
 */
static int
identity_from_name(struct identity *id, const char *name,
    const struct stat *spool)
{
	struct passwd *pw = getpwnam(name);
	uint64_t n;

	if (pw == NULL && number_parse(&n, name, strlen(name)) == 0 &&
	    n < (uid_t)-1 && (pw = getpwuid((uid_t)n)) == NULL) {
		id->uid = (uid_t)n;
		id->gid = spool != NULL ? spool->st_gid : (gid_t)n;
		id->name = NULL;
		return 0;
	}
	if (pw == NULL) {
		warnx("there is no user %s", name);
		return -1;
	}
	identity_from_passwd(id, pw);
	return 0;
}

static void
identity_from_owner(struct identity *id, const struct stat *spool)
{
	struct passwd *pw = getpwuid(spool->st_uid);

	id->uid = spool->st_uid;
	id->gid = spool->st_gid;
	id->name = NULL;
	if (pw != NULL)
		identity_from_passwd(id, pw);
}

static int
identity_become(const struct identity *id)
{
	if (id->uid == geteuid() || ((id->name != NULL ?
	    initgroups(id->name, id->gid) : setgroups(1, &id->gid)) == 0 &&
	    setgid(id->gid) == 0 && setuid(id->uid) == 0))
		return 0;
	warn("acting as uid %ld", (long)id->uid);
	return -1;
}

int
identity_assume(const char **acting_as, const char *wanted, const char *spool,
    const char *unit_user)
{
	struct stat st, *owned = stat(spool, &st) == 0 ? &st : NULL;
	struct identity id;

#if defined(STATIC) && defined(__GLIBC__)
	/*
	 * The modules that nsswitch.conf(5) names would be loaded, and crash in
	 * a program that does not have their libc.
	 */
	__nss_configure_lookup("passwd", "files");
	__nss_configure_lookup("group", "files");
	__nss_configure_lookup("initgroups", "files");
#endif
	if (wanted != NULL) {
		*acting_as = "as -u says";
	} else if (geteuid() != 0) {
		return 0;
	} else if (owned != NULL && st.st_uid != 0) {
		*acting_as = "the spool's owner";
		identity_from_owner(&id, &st);
		return identity_become(&id);
	} else if (*unit_user != '\0') {
		*acting_as = "User= of protocol-hook.service";
		wanted = unit_user;
	} else
		return 0;
	return identity_from_name(&id, wanted, owned) == -1 ? -1 :
	    identity_become(&id);
}
