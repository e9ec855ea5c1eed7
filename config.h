/* SPDX-License-Identifier: ISC */
/*
 * The environment, which is the whole configuration: not arguments, and not the
 * parameters of a request.  A value that can't be parsed is an error that names
 * its variable, never a silent default.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "events.h"
#include "verify.h"

#ifndef SPOOLDIR
#define SPOOLDIR "/var/spool/protocol-hook"
#endif

#define CONFIG_ERROR_SIZE	256
#define KEEP_DAYS_MAX		3650

struct config {
	struct keys keys;
	const char *secret_file;	/* or NULL */
	const char *spool;
	struct wanted wanted;
	size_t max_body;		/* bytes */
	unsigned int keep_days;
	uint64_t min_free;		/* bytes */
	char key_error[CONFIG_ERROR_SIZE];	/* "" if there is a key */
	char error[CONFIG_ERROR_SIZE];		/* "" if the rest is valid */
};

/* Reads every variable, and wipes the keys from the environment. */
void config_read(struct config *);
/* NULL, or which variable can't be used and why. */
const char *config_error(const struct config *);
/* Reads the secret file again.  NULL, or why the old keys stay. */
const char *config_reload(struct config *);

/*
 * Called with a variable's NAME and its VALUE or default; WHY says what is
 * wrong with it, in static memory, or is NULL.
 */
typedef void config_report(const char *name, const char *value,
    const char *why);
/* Reports each variable, except those of the keys. */
void config_each(config_report *);
/* Reports each PROTOCOL_HOOK_ variable that the program does not have. */
void config_each_unknown(config_report *);
/* Whether any PROTOCOL_HOOK_ variable is set. */
bool config_is_set(void);

#endif
