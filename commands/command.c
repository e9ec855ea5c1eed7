/* SPDX-License-Identifier: ISC */
/*
 * The table of commands with their flags.  The usage messages, the flags that
 * getopt(3) accepts and, through the usage messages, shell completion
 * (scripts/completion) are made from it.
 *
 * Only a person's arguments come here, never those that a web server passes.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../config.h"
#include "../util.h"
#include "command.h"
#include "identity.h"
#include "service.h"

#ifndef VERSION
#define VERSION		"unknown"
#endif

#define FLAGS_MAX	8
#define OPERANDS_MAX	1024

struct flag {
	char letter;
	const char *value, *purpose;	/* value: NULL if it has none */
};

static const struct command {
	const char *name, *operands, *purpose;
	int (*main)(struct config *, const struct arguments *);
	int min_operands, max_operands;
	bool uses_spool;	/* root acts as the receiver's user */
	struct flag flags[FLAGS_MAX + 1];
} commands[] = {
	{ "check", "", "say what would make a delivery fail, and the cure",
	    check_main, 0, 0, true, {
		{ 'u', "USER",
		    "whom the receiver runs as; else the spool's owner" },
	    } },
	{ "sign", "[FILE]", "print the signature of a body",
	    sign_main, 0, 1, false, { { 0 } } },
	{ "verify", "SIGNATURE [FILE]", "whether one of the keys signed a body",
	    verify_main, 1, 2, false, { { 0 } } },
	{ "status", "", "show what waits, since when, and what is archived",
	    status_main, 0, 0, true, {
		{ 'j', NULL, "as JSON" },
		{ 'p', NULL, "as Prometheus metrics" },
	    } },
	{ "replay", "[DIGEST...]", "put archived deliveries into new/ again",
	    replay_main, 0, OPERANDS_MAX, true, {
		{ 'a', NULL, "all of them" },
		{ 'n', NULL, "only show which" },
		{ 'd', "DAY", "that came on that day, YYYY-MM-DD, UTC" },
		{ 's', "TIME", "since then: YYYY-MM-DD[THH:MM[:SS]], UTC" },
		{ 'b', "TIME", "before then" },
		{ 't', "PATTERN", "of such a type, as in 'message.*'" },
		{ 'i', "ID", "of that id" },
	    } },
	{ "watch", "", "show deliveries as they arrive",
	    watch_main, 0, 0, true, {
		{ 'o', NULL, "their JSON instead, one line each" },
	    } },
};

#define COMMANDS_END	(commands + sizeof(commands) / sizeof(commands[0]))

/* For the commands */

bool
command_is_terminal(int fd)
{
	const char *term = getenv("TERM");

	return isatty(fd) && term != NULL && strcmp(term, "dumb") != 0;
}

void
command_warn_failure(const char *subject, const struct failure *failure)
{
	if (failure->error != 0)
		warnx("%s: %s: %s", subject, failure->what,
		    strerror(failure->error));
	else
		warnx("%s: %s", subject, failure->what);
}

void
command_format_time(char text[COMMAND_TIME_SIZE], time_t t)
{
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL || strftime(text, COMMAND_TIME_SIZE,
	    "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(text, COMMAND_TIME_SIZE, "%lld", (long long)t);
}

/* Usage */

/* Writes out standard output; returns STATUS, or 1 if that failed. */
static int
flush_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	warn("standard output");
	return 1;
}

static int
print_usage(FILE *to)
{
	const struct command *c;
	char synopsis[64];

	fprintf(to, "usage: protocol-hook COMMAND [-FLAG...] [OPERAND...]\n\n");
	for (c = commands; c < COMMANDS_END; c++) {
		snprintf(synopsis, sizeof(synopsis), "%s %s", c->name,
		    c->operands);
		fprintf(to, "  %-24s %s\n", synopsis, c->purpose);
	}
	fprintf(to, "\nprotocol-hook COMMAND -h shows a command's flags, -V "
	    "the version.  Run by a web\nserver, as CGI or FastCGI, it "
	    "receives webhooks: see protocol-hook(8).\n");
	return flush_output(to == stdout ? 0 : EXIT_USAGE);
}

static int
print_command_usage(FILE *to, const struct command *c)
{
	const struct flag *f;
	char synopsis[64];

	fprintf(to, "usage: protocol-hook %s%s%s%s\n%s\n", c->name,
	    c->flags[0].letter != 0 ? " [-FLAG...]" : "",
	    *c->operands != '\0' ? " " : "", c->operands, c->purpose);
	for (f = c->flags; f->letter != 0; f++) {
		snprintf(synopsis, sizeof(synopsis), "-%c %s", f->letter,
		    f->value != NULL ? f->value : "");
		fprintf(to, "  %-12s %s\n", synopsis, f->purpose);
	}
	return flush_output(to == stdout ? 0 : EXIT_USAGE);
}

/* Running */

/* 0, -1 if the usage was wrong, or 1 if help was asked for. */
static int
parse_arguments(struct arguments *a, const struct command *c, int argc,
    char **argv)
{
	char letters[2 * FLAGS_MAX + 2] = "h", *p = letters + 1;
	const struct flag *f;
	int ch;

	for (f = c->flags; f->letter != 0; f++) {
		*p++ = f->letter;
		if (f->value != NULL)
			*p++ = ':';
	}
	while ((ch = getopt(argc, argv, letters)) != -1) {
		if (ch == '?' || ch == 'h')
			return ch == 'h' ? 1 : -1;
		a->flag[ch] = optarg != NULL ? optarg : "";
	}
	a->operand = argv + optind;
	return argc - optind < c->min_operands ||
	    argc - optind > c->max_operands ? -1 : 0;
}

/* Why the command can't run, or NULL.  check runs anyway, to report it all. */
static const char *
find_configuration_error(const struct command *c, const struct config *cfg,
    const struct service *service)
{
	if (c->main == check_main)
		return NULL;
	if (service->error[0] != '\0')
		return service->error;
	return c->uses_spool && cfg->error[0] != '\0' ? cfg->error : NULL;
}

static int
run_command(const struct command *c, struct arguments *a)
{
	static struct service service;	/* a refers to it */
	struct config cfg;
	const char *error;
	int status;

	service_read(&service);
	a->service = &service;
	config_read(&cfg);
	if ((error = find_configuration_error(c, &cfg, &service)) != NULL) {
		warnx("%s", error);
		return 1;
	}
	if (c->uses_spool && identity_assume(&a->acting_as, a->flag['u'],
	    cfg.spool, c->main == check_main ? service.user : "") == -1)
		return 1;
	status = c->main(&cfg, a);
	memory_wipe(&cfg, sizeof(cfg));
	return flush_output(status);
}

int
command_main(int argc, char **argv)
{
	struct arguments a = { 0 };
	const char *name = argc > 1 ? argv[1] : "";
	const struct command *c;
	int r;

	if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0)
		return print_usage(stdout);
	if (strcmp(name, "-V") == 0 || strcmp(name, "--version") == 0) {
		printf("protocol-hook %s\n", VERSION);
		return flush_output(0);
	}
	for (c = commands; c < COMMANDS_END; c++)
		if (strcmp(name, c->name) == 0)
			break;
	if (c == COMMANDS_END) {
		if (*name != '\0')
			warnx("there is no command %s", name);
		return print_usage(stderr);
	}
	if ((r = parse_arguments(&a, c, argc - 1, argv + 1)) != 0)
		return print_command_usage(r == 1 ? stdout : stderr, c);
	return run_command(c, &a);
}
