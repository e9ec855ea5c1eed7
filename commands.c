/* SPDX-License-Identifier: ISC */
/*
 * For people: what the program does when a person runs it.  A web server's
 * arguments never come here.
 *
 * One table has the commands with their flags; usage, what getopt takes and
 * shell completion (scripts/completion reads usage) are made from it.
 */
#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#if defined(STATIC) && defined(__GLIBC__)
#include <nss.h>
#endif
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hook.h"

#define FLAGS_MAX	8
#define OPERANDS_MAX	1024
#define BODY_MAX	((size_t)1 << 30)

struct flag {
	char letter;
	const char *arg, *what;
};

static int sign(struct config *, const struct arguments *);
static int verify(struct config *, const struct arguments *);

static const struct command {
	const char *name, *operands, *what;
	int (*run)(struct config *, const struct arguments *);
	int min, max;		/* operands */
	bool spool;		/* root acts as the spool's owner */
	struct flag flags[FLAGS_MAX + 1];
} commands[] = {
	{ "check", "", "say what would make a delivery fail, and the cure",
	    command_check, 0, 0, true, {
		{ 'u', "USER", "as this user, else root as the spool's owner" },
	    } },
	{ "sign", "[FILE]", "print the signature of a body",
	    sign, 0, 1, false, { { 0 } } },
	{ "verify", "SIGNATURE [FILE]", "whether one of the keys signed a body",
	    verify, 1, 2, false, { { 0 } } },
	{ "status", "", "show what waits, since when, and what is archived",
	    command_status, 0, 0, true, {
		{ 'j', NULL, "as JSON" },
		{ 'p', NULL, "as Prometheus metrics" },
	    } },
	{ "replay", "[DIGEST...]", "put archived deliveries into new/ again",
	    command_replay, 0, OPERANDS_MAX, true, {
		{ 'a', NULL, "all of them" },
		{ 'n', NULL, "only show which" },
		{ 'd', "DAY", "that came on that day, YYYY-MM-DD, UTC" },
		{ 's', "TIME", "since then: YYYY-MM-DD[THH:MM[:SS]], UTC" },
		{ 'b', "TIME", "before then" },
		{ 't', "PATTERN", "of such a type, as in 'message.*'" },
		{ 'i', "ID", "of that id" },
	    } },
	{ "watch", "", "show deliveries as they arrive",
	    command_watch, 0, 0, true, {
		{ 'o', NULL, "their JSON instead, one line each" },
	    } },
};

#define COMMANDS_END	(commands + sizeof(commands) / sizeof(commands[0]))

bool
is_terminal(int fd)
{
	const char *term = getenv("TERM");

	return isatty(fd) && term != NULL && strcmp(term, "dumb") != 0;
}

/* Usage */

/* The exit status, once all of standard output is written. */
static int
flushed(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	warn("standard output");
	return 1;
}

static int
usage(FILE *to)
{
	const struct command *c;
	char synopsis[64];

	fprintf(to, "usage: protocol-hook COMMAND [-FLAG...] [OPERAND...]\n\n");
	for (c = commands; c < COMMANDS_END; c++) {
		snprintf(synopsis, sizeof(synopsis), "%s %s", c->name,
		    c->operands);
		fprintf(to, "  %-24s %s\n", synopsis, c->what);
	}
	fprintf(to, "\nprotocol-hook COMMAND -h shows a command's flags, -V "
	    "the version.  Run by a web\nserver, as CGI or FastCGI, it "
	    "receives webhooks: see protocol-hook(8).\n");
	return flushed(to == stdout ? 0 : EXIT_USAGE);
}

static int
command_usage(FILE *to, const struct command *c)
{
	const struct flag *f;
	char synopsis[64];

	fprintf(to, "usage: protocol-hook %s%s%s%s\n%s\n", c->name,
	    c->flags[0].letter != 0 ? " [-FLAG...]" : "",
	    *c->operands != '\0' ? " " : "", c->operands, c->what);
	for (f = c->flags; f->letter != 0; f++) {
		snprintf(synopsis, sizeof(synopsis), "-%c %s", f->letter,
		    f->arg != NULL ? f->arg : "");
		fprintf(to, "  %-12s %s\n", synopsis, f->what);
	}
	return flushed(to == stdout ? 0 : EXIT_USAGE);
}

/* 0, or -1 if usage was wrong, or 1 if help was asked for. */
static int
read_arguments(struct arguments *a, const struct command *c, int argc,
    char **argv)
{
	char letters[2 * FLAGS_MAX + 2] = "h", *p = letters + 1;
	const struct flag *f;
	int ch;

	for (f = c->flags; f->letter != 0; f++) {
		*p++ = f->letter;
		if (f->arg != NULL)
			*p++ = ':';
	}
	while ((ch = getopt(argc, argv, letters)) != -1) {
		if (ch == '?' || ch == 'h')
			return ch == 'h' ? 1 : -1;
		a->flag[ch] = optarg != NULL ? optarg : "";
	}
	a->operand = argv + optind;
	return argc - optind < c->min || argc - optind > c->max ? -1 : 0;
}

/* Signatures */

static uint8_t *
read_body(const char *path, size_t *len)
{
	int fd = STDIN_FILENO;
	uint8_t *body;

	if (path == NULL || strcmp(path, "-") == 0)
		path = "standard input";
	else if ((fd = open(path, O_RDONLY | O_CLOEXEC)) == -1) {
		warn("%s", path);
		return NULL;
	}
	if ((body = read_whole(fd, BODY_MAX, len)) == NULL)
		warn("%s", path);
	if (fd != STDIN_FILENO)
		close(fd);
	return body;
}

static int
sign(struct config *cfg, const struct arguments *a)
{
	uint8_t signature[DIGEST_SIZE], *body;
	char hex[DIGEST_HEX + 1];
	size_t len;

	if (cfg->key_error[0] != '\0') {
		warnx("%s", cfg->key_error);
		return 1;
	}
	if ((body = read_body(a->operand[0], &len)) == NULL)
		return 1;
	keys_sign(&cfg->keys, signature, body, len);
	free(body);
	hex_digest(hex, signature);
	puts(hex);
	return 0;
}

static int
verify(struct config *cfg, const struct arguments *a)
{
	uint8_t signature[DIGEST_SIZE], *body;
	unsigned int key;
	size_t len;

	if (cfg->key_error[0] != '\0') {
		warnx("%s", cfg->key_error);
		return 1;
	}
	if (signature_decode(signature, a->operand[0]) == -1) {
		warnx("the signature is not 64 hex digits");
		return 1;
	}
	if ((body = read_body(a->operand[1], &len)) == NULL)
		return 1;
	key = keys_verify(&cfg->keys, signature, body, len);
	free(body);
	if (key == 0)
		warnx("none of the keys made this signature");
	return key == 0;
}

/* Running */

/*
 * As USER, or root as the owner of the spool at PATH: in a directory of someone
 * else root would follow that one's links, and leave files there that the
 * receiver can't remove.
 */
static int
act_as(const char *user, const char *path)
{
	struct passwd *pw;
	struct stat st;
	uid_t uid;
	gid_t gid;

#if defined(STATIC) && defined(__GLIBC__)
	/* Modules of nsswitch.conf(5) crash in a program without their libc. */
	__nss_configure_lookup("passwd", "files");
	__nss_configure_lookup("group", "files");
	__nss_configure_lookup("initgroups", "files");
#endif
	if (user != NULL) {
		if ((pw = getpwnam(user)) == NULL) {
			warnx("there is no user %s", user);
			return -1;
		}
	} else if (geteuid() != 0 || stat(path, &st) == -1)
		return 0;
	else
		pw = getpwuid(st.st_uid);
	uid = pw != NULL ? pw->pw_uid : st.st_uid;
	gid = pw != NULL ? pw->pw_gid : st.st_gid;
	/* A container's user may have no name here. */
	if (uid == geteuid() || ((pw != NULL ?
	    initgroups(pw->pw_name, gid) : setgroups(1, &gid)) == 0 &&
	    setgid(gid) == 0 && setuid(uid) == 0))
		return 0;
	warn("acting as uid %ld", (long)uid);
	return -1;
}

static int
run(const struct command *c, const struct arguments *a)
{
	static struct config cfg;
	int status;

	config_read(&cfg);
	if (c->spool && cfg.error[0] != '\0' && c->run != command_check) {
		warnx("%s", cfg.error);
		return 1;
	}
	if (c->spool && act_as(a->flag['u'], cfg.spool) == -1)
		return 1;
	status = c->run(&cfg, a);
	wipe(&cfg, sizeof(cfg));
	return flushed(status);
}

int
command(int argc, char **argv)
{
	struct arguments a = { 0 };
	const char *name = argc > 1 ? argv[1] : "";
	const struct command *c;
	int r;

	if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0)
		return usage(stdout);
	if (strcmp(name, "-V") == 0 || strcmp(name, "--version") == 0) {
		printf("protocol-hook %s\n", VERSION);
		return flushed(0);
	}
	for (c = commands; c < COMMANDS_END; c++)
		if (strcmp(name, c->name) == 0)
			break;
	if (c == COMMANDS_END) {
		if (*name != '\0')
			warnx("there is no command %s", name);
		return usage(stderr);
	}
	if ((r = read_arguments(&a, c, argc - 1, argv + 1)) != 0)
		return command_usage(r == 1 ? stdout : stderr, c);
	return run(c, &a);
}
