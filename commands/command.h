/* SPDX-License-Identifier: ISC */
/*
 * The commands that people run; protocol-hook(1) describes them.  The table in
 * command.c has them all; each is a function COMMAND_main(), which returns the
 * exit status and has printed what went wrong.
 *
 * A command may use config.h, verify.h, events.h, util.h, and of the spool
 * spool.h, contents.h and name.h.
 */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdbool.h>
#include <time.h>

#include "../failure.h"

struct config;
struct service;

#define EXIT_USAGE	2	/* wrong flags or operands */
#define COMMAND_TIME_SIZE	32

/* What a command was given. */
struct arguments {
	const char *flag[128];	/* by letter: its value or "", or NULL */
	char **operand;		/* NULL at the end */
	const struct service *service;
	const char *acting_as;	/* why we act as another user, or NULL */
};

/* Runs the command that argv[1] names; returns the exit status. */
int command_main(int argc, char **argv);

int check_main(struct config *, const struct arguments *);
int replay_main(struct config *, const struct arguments *);
int sign_main(struct config *, const struct arguments *);
int status_main(struct config *, const struct arguments *);
int verify_main(struct config *, const struct arguments *);
int watch_main(struct config *, const struct arguments *);

/* Whether FD is a terminal that knows colours. */
bool command_is_terminal(int fd);
/* Prints "protocol-hook: SUBJECT: what: error" to standard error. */
void command_warn_failure(const char *subject, const struct failure *);
/* YYYY-MM-DDThh:mm:ssZ, in UTC. */
void command_format_time(char text[COMMAND_TIME_SIZE], time_t t);

#endif
