/* SPDX-License-Identifier: ISC */
/*
 * What the files of check share.  check.c finds out as whom it checks and goes
 * over everything in order; check_keys.c and check_spool.c have the two large
 * subjects, cures.c what to do about a spool that can't be used.
 *
 * None of these functions fails: they report what is wrong, see report.h.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>

#include "../config.h"
#include "identity.h"
#include "service.h"

/* Where the cure is to ask the service itself. */
#define CHECK_OF_SERVICE "systemctl start protocol-hook-check; " \
			    "journalctl -n 20 -o cat -u protocol-hook-check"

struct check {
	struct config *cfg;
	const struct service *service;
	/* As whom we check, and why; NULL if nobody has told. */
	char user[IDENTITY_NAME_SIZE], group[IDENTITY_NAME_SIZE];
	const char *acting_as;
	/* The spool's owner, or "" if there is no spool. */
	char owner[IDENTITY_NAME_SIZE];
	bool is_receiver;	/* the receiver runs as our user */
	bool may_own;		/* a cure may give the spool to our user */
};

/* The secret file and the keys. */
void check_keys(const struct check *);
/*
 * The spool, free space, the sandbox and a test delivery.  It must come last:
 * the process is confined after it.
 */
void check_spool(const struct check *);

/* Whether the directory PATH has something of the name SUB. */
bool check_has_name(const char *path, const char *sub);

#endif
