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
	bool spool;		/* root acts as the receiver's user */
	struct flag flags[FLAGS_MAX + 1];
} commands[] = {
	{ "check", "", "say what would make a delivery fail, and the cure",
	    command_check, 0, 0, true, {
		{ 'u', "USER", "whom the receiver runs as; else the spool's owner" },
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

static bool
has_key(const struct config *cfg, const struct arguments *a)
{
	if (cfg->key_error[0] == '\0')
		return true;
	if (a->service->secret != NULL)
		warnx("%s: %s", a->service->secret, cfg->key_error);
	else
		warnx("%s", cfg->key_error);
	return false;
}

static int
sign(struct config *cfg, const struct arguments *a)
{
	uint8_t signature[DIGEST_SIZE], *body;
	char hex[DIGEST_HEX + 1];
	size_t len;

	if (!has_key(cfg, a))
		return 1;
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

	if (!has_key(cfg, a))
		return 1;
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

struct identity {
	uid_t uid;
	gid_t gid;
	const char *name;	/* or NULL */
};

static void
set_identity(struct identity *id, const struct passwd *pw)
{
	id->uid = pw->pw_uid;
	id->gid = pw->pw_gid;
	id->name = pw->pw_name;
}

/* A user by name, or by number; ST is the spool's, or NULL. */
static int
find_user(struct identity *id, const char *user, const struct stat *st)
{
	struct passwd *pw = getpwnam(user);
	uint64_t n;

	if (pw == NULL && number_read(&n, user, strlen(user)) == 0 &&
	    n < (uid_t)-1) {
		/* A container's user may have no name here. */
		if ((pw = getpwuid((uid_t)n)) == NULL) {
			id->uid = (uid_t)n;
			id->gid = st != NULL ? st->st_gid : (gid_t)n;
			id->name = NULL;
			return 0;
		}
	}
	if (pw == NULL) {
		warnx("there is no user %s", user);
		return -1;
	}
	set_identity(id, pw);
	return 0;
}

static void
find_owner(struct identity *id, const struct stat *st)
{
	struct passwd *pw = getpwuid(st->st_uid);

	id->uid = st->st_uid;
	id->gid = st->st_gid;
	id->name = NULL;
	if (pw != NULL)
		set_identity(id, pw);
}

static int
become(const struct identity *id)
{
	if (id->uid == geteuid() || ((id->name != NULL ?
	    initgroups(id->name, id->gid) : setgroups(1, &id->gid)) == 0 &&
	    setgid(id->gid) == 0 && setuid(id->uid) == 0))
		return 0;
	warn("acting as uid %ld", (long)id->uid);
	return -1;
}

/*
 * As USER; or root as the owner of the spool at PATH: in a directory of someone
 * else root would follow that one's links, and leave files there that the
 * receiver can't remove.  A spool that is root's, or missing, tells nothing of
 * the receiver: then as UNIT, if there is such a user.
 */
static int
act_as(struct arguments *a, const char *path, const char *unit)
{
	const char *user = a->flag['u'];
	struct stat st, *owned = stat(path, &st) == 0 ? &st : NULL;
	struct identity id;

#if defined(STATIC) && defined(__GLIBC__)
	/* Modules of nsswitch.conf(5) crash in a program without their libc. */
	__nss_configure_lookup("passwd", "files");
	__nss_configure_lookup("group", "files");
	__nss_configure_lookup("initgroups", "files");
#endif
	if (user != NULL) {
		a->whom = "as -u says";
	} else if (geteuid() != 0) {
		return 0;
	} else if (owned != NULL && st.st_uid != 0) {
		a->whom = "the spool's owner";
		find_owner(&id, &st);
		return become(&id);
	} else if (*unit != '\0') {
		a->whom = "User= of protocol-hook.service";
		user = unit;
	} else
		return 0;
	return find_user(&id, user, owned) == -1 ? -1 : become(&id);
}

/* Only check goes on with what is wrong, to say all of it. */
static const char *
configuration_error(const struct command *c, const struct config *cfg,
    const struct service *sv)
{
	if (c->run == command_check)
		return NULL;
	if (sv->error[0] != '\0')
		return sv->error;
	return c->spool && cfg->error[0] != '\0' ? cfg->error : NULL;
}

static int
run(const struct command *c, struct arguments *a)
{
	static struct config cfg;
	static struct service service;
	const char *why;
	int status;

	service_read(&service);
	a->service = &service;
	config_read(&cfg);
	if ((why = configuration_error(c, &cfg, &service)) != NULL) {
		warnx("%s", why);
		return 1;
	}
	if (c->spool && act_as(a, cfg.spool, c->run == command_check ?
	    service.user : "") == -1)
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
