/* SPDX-License-Identifier: ISC */
/*
 * What the package's systemd unit uses, for the commands: a person's shell has
 * none of its variables, and the defaults could name another spool.
 */
#ifndef SERVICE_H
#define SERVICE_H

#include <stdbool.h>

#include "../config.h"

struct service {
	/* The unit's files whose settings the command uses, or NULL. */
	const char *environment_file, *secret_file;
	/* The unit itself. */
	bool is_installed;
	bool reads_secret;	/* systemd reads the secret for it, as root */
	char user[64];		/* its User=, or "" */
	/* Why the environment file can't be used, or "". */
	char error[CONFIG_ERROR_SIZE];
};

/*
 * Reads the unit.  If no PROTOCOL_HOOK_ variable is set, also sets those of the
 * unit's files in our environment: so it must be called before config_read().
 */
void service_read(struct service *);

#endif
