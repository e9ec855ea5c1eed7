/* SPDX-License-Identifier: ISC */
/*
 * Everything the rooms of protocol-hook share, grouped by the file that
 * provides it.  A request goes through them in this order: gateway.c takes it
 * from the web server, verify.c proves who sent it, events.c (json.c) says what
 * it is, spool.c makes it safe on disk, reply.c answers, log.c logs.
 */
#ifndef HOOK_H
#define HOOK_H

#include <sys/types.h>

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <nettle/hmac.h>

#ifndef VERSION
#define VERSION "unknown"
#endif
#ifndef SPOOLDIR
#define SPOOLDIR "/var/spool/protocol-hook"
#endif

#define DIGEST_SIZE	((size_t)SHA256_DIGEST_SIZE)
#define DIGEST_HEX	(2 * DIGEST_SIZE)

/* util.c: what more than one room needs */

/* Decimal digits only; 0, or EINVAL, or ERANGE. */
int number_read(uint64_t *, const char *, size_t len);
/* All N bytes, also after a short write or a signal; 0, or -1 with errno. */
int write_all(int fd, const void *, size_t n);
/* Lower-case hex, NUL-terminated. */
void hex_digest(char hex[DIGEST_HEX + 1], const uint8_t digest[DIGEST_SIZE]);
/* N in decimal, the last WIDTH digits of it; returns what follows them. */
char *digits_put(char *, unsigned int n, unsigned int width);

#define SECONDS_A_DAY	86400

struct date {
	unsigned int year, month, day;
};

/* The day of T, UTC; 1970-01-01 for what is before that. */
void date_utc(struct date *, time_t t);
/* On CLOCK_MONOTONIC. */
int64_t microseconds(void);
/* Overwrites memory that held a key. */
void wipe(void *, size_t);
/*
 * All that FD has, up to MAX bytes, in memory that the caller frees; NULL with
 * errno, EFBIG if there is more.
 */
uint8_t *read_whole(int fd, size_t max, size_t *len);
/* Whether this user may make names in DIR; errno says why not. */
bool dir_writable(int dir);
/*
 * Calls EACH for every name in the directory NAME, below AT, that does not
 * begin with a dot, until it returns -1; 0, or -1 with errno.
 */
typedef int each_name(void *arg, int dir, const struct dirent *);
int dir_each(int at, const char *name, each_name *, void *arg);

/* verify.c: keys, signatures, digests */

#define KEYS_MAX	8	/* keys accepted at the same time */

/* What a key from Protocol hardly has; keys_error() refuses the last four. */
#define ODD_EDGE	0x01	/* begins or ends with a space or a quote */
#define ODD_SPACE	0x02	/* has white space */
#define ODD_BYTE	0x04	/* has a byte that is not printable ASCII */
#define ODD_ESCAPE	0x08	/* has a backslash followed by n or r */
#define ODD_NAME	0x10	/* begins as NAME=value */
#define ODD_HASH	0x20	/* begins with # */
#define ODD_COMMENT	0x40	/* ... and has white space */
#define ODD_VARIABLE	0x80	/* begins as PROTOCOL_HOOK_NAME=value */
#define ODD_BREAK	0x100	/* has a line break before its end */
#define ODD_BOM		0x200	/* begins with a byte order mark */

struct keys {
	unsigned int n;
	size_t shortest;	/* bytes of the shortest key */
	unsigned int odd[KEYS_MAX];	/* ODD_ bits of each key */
	struct hmac_sha256_ctx hmac[KEYS_MAX];
};

/* NULL, or why the key was not taken.  The caller wipes KEY. */
const char *keys_add(struct keys *, const char *key, size_t len);
/* NULL, or what shows that one of the keys can't be meant as a key. */
const char *keys_error(const struct keys *);
/* One key a line, the current one first; NULL, or why not. */
const char *keys_read_file(struct keys *, const char *path);
/* Exactly 64 hex digits of either case, NUL-terminated; 0 or -1. */
int signature_decode(uint8_t signature[DIGEST_SIZE], const char *text);
/*
 * HMAC-SHA256 (RFC 2104) of BODY under each key, compared in constant time:
 * 0 if none signed it, else 1 for the current key, 2 for the one before, ...
 */
unsigned int keys_verify(struct keys *, const uint8_t signature[DIGEST_SIZE],
    const uint8_t *body, size_t len);
/* HMAC-SHA256 (RFC 2104) of BODY under the current key. */
void keys_sign(struct keys *, uint8_t signature[DIGEST_SIZE],
    const uint8_t *body, size_t len);
/* SHA-256 (FIPS 180-4) of BODY. */
void body_digest(uint8_t digest[DIGEST_SIZE], const uint8_t *body, size_t len);

/* json.c: is it JSON? */

#define JSON_DEPTH_MAX	32	/* the least that common readers take */

struct json_text {
	const uint8_t *s;
	size_t n;
};

/* Called for each member of the outermost object, in order. */
typedef void json_member(void *arg, struct json_text name,
    struct json_text value);

/*
 * Whether TEXT is one whole JSON object (RFC 8259) in UTF-8, nested at most
 * JSON_DEPTH_MAX deep.  Allocates nothing.
 */
bool json_recognise(struct json_text text, json_member *, void *arg);

/* events.c: what a body says */

#define EVENT_TEXT_MAX	128	/* bytes kept of a type or id */
#define EVENT_RESOURCES	5
#define EVENT_ACTIONS	3
#define EVENT_TYPES	(EVENT_RESOURCES * EVENT_ACTIONS)

struct event {
	char type[EVENT_TEXT_MAX + 1];
	char id[EVENT_TEXT_MAX + 1];
	int resource;		/* index, -1 if it is none of Protocol's */
	int known;		/* index among the 15 types, or -1 */
};

struct wanted {
	bool all;
	bool resource[EVENT_RESOURCES];
	bool type[EVENT_TYPES];
};

/* NULL, or why BODY is no Protocol event; NULL with *NOMEM set on ENOMEM. */
const char *event_read(struct event *, struct json_text body, bool *nomem);
/* A list of types, RESOURCE.* or *; NULL, or why it can't be read. */
const char *wanted_read(struct wanted *, const char *list);
bool event_wanted(const struct wanted *, const struct event *);
/* RESOURCE.ACTION of index I (0 to EVENT_TYPES - 1). */
void event_name(char name[EVENT_TEXT_MAX + 1], unsigned int i);

/* config.c: the environment */

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
	char error[CONFIG_ERROR_SIZE];		/* "" if the rest is right */
};

/* Reads every variable and wipes the keys from the environment. */
void config_read(struct config *);
/* NULL, or which variable can't be used and why. */
const char *config_error(const struct config *);
/* Reads the secret file again; NULL, or why the old keys stay. */
const char *config_reload(struct config *);
/*
 * Called with a variable's NAME and VALUE (or default); WHY says what is wrong
 * with it, in static memory, or is NULL.
 */
typedef void config_say(const char *name, const char *value, const char *why);
/* Calls SAY for each variable but those of the keys. */
void config_each(config_say *);
/* Calls SAY for each PROTOCOL_HOOK_ variable that is none of ours. */
void config_each_unknown(config_say *);
/* Whether any PROTOCOL_HOOK_ variable is set. */
bool config_is_set(void);

/* service.c: what the package's systemd unit uses */

struct service {
	const char *environment;	/* the file taken, or NULL */
	const char *secret;		/* the same for the keys' file */
	char user[64];			/* User= of the unit, or "" */
	bool unit;			/* it is installed */
	bool credential;		/* systemd hands it SECRET, as root */
	char error[CONFIG_ERROR_SIZE];	/* why ENVIRONMENT was not taken */
};

/*
 * Looks for the unit.  Where no PROTOCOL_HOOK_ variable is set, sets those of
 * the unit's files in our environment: to be called before config_read().
 */
void service_read(struct service *);

/* spool.c: safe on disk */

#define DAY_SIZE	sizeof("YYYY-MM-DD")
#define NAME_TEXT_MAX	64	/* bytes of TYPE and of ID in a name */
#define NAME_SIZE	sizeof("YYYYMMDDTHHMMSS.uuuuuuZ.") + \
			    2 * NAME_TEXT_MAX + sizeof("..json")
#define SPOOL_FILES	5
#define GROUP_MAX	64	/* deliveries that share their flushes */
#define SPOOL_BUSY_SECONDS	10	/* to wait for another process */

enum spool_state {
	SPOOL_PENDING,		/* written, to be committed */
	SPOOL_STORED,
	SPOOL_DUPLICATE,
	SPOOL_COMMIT_FIRST,	/* the group is full, or has the same bytes */
	SPOOL_BUSY,		/* another process is storing the same bytes */
	SPOOL_FAILED		/* step and error say why */
};

struct delivery {
	const struct event *event;	/* NULL: it goes to rejected/ */
	enum spool_state state;
	uint8_t digest[DIGEST_SIZE];
	char hex[DIGEST_HEX + 1];
	char day[DAY_SIZE];		/* of the archive, UTC */
	char name[NAME_SIZE];		/* where it was linked to, or "" */
	int fd;				/* until it is flushed, or -1 */
	bool adopted;			/* a killed process had linked it */
	const char *step;		/* what failed, or NULL ... */
	int error;			/* ... and its errno */
};

struct spool {
	const char *path;
	unsigned int keep_days;
	uint64_t min_free;
	int dir, new, archive, rejected, lock;	/* descriptors, or -1 */
	bool own_fs;			/* one syncfs flushes it, and no more */
	unsigned int quick;		/* how many flushes of files were */
	const char *low;		/* why it takes no more now, or NULL */
	uint64_t last;			/* microseconds of the newest name */
	struct delivery *group[GROUP_MAX];	/* pending */
	size_t n;
	/* what archive/ holds: see spool.c */
	char today[DAY_SIZE], yesterday[DAY_SIZE];
	char oldest[DAY_SIZE];		/* that is kept */
	char newest[DAY_SIZE];		/* the last one before today, or "" */
	char expired[DAY_SIZE];		/* to be removed, or "" */
	DIR *tidied;			/* a day while it is emptied, or NULL */
	char tidied_day[DAY_SIZE];	/* which */
	size_t tidy_failed;		/* files in it that could not be removed */
	char undeletable[DAY_SIZE];	/* the last that could not be, or "" */
	char day[KEEP_DAYS_MAX + 4][DAY_SIZE];
	size_t days;
	time_t now, listed, changed;
	struct {
		dev_t dev;
		ino_t ino;
	} file[SPOOL_FILES];		/* what the descriptors are of */
};

void spool_init(struct spool *, const struct config *);
/*
 * Opens the spool, or sees that what is open is still what its path names.
 * NULL, or why it is not usable.  To be called before each group.
 */
const char *spool_check(struct spool *);
/*
 * Whether the path of the spool names another directory than the one that was
 * opened first: a confined process can't reach that.
 */
bool spool_replaced(const struct spool *);
/*
 * Does what storing a delivery does, but for the flushes: makes a hidden file in
 * archive/, links it into new/, and removes both.  0, or -1 with errno and what
 * failed.
 */
int spool_try_link(struct spool *, const char **why);
/*
 * Whether the clock is so far past the last day of the archive that it may be
 * wrong.  Nothing of that archive is removed before tomorrow.
 */
bool spool_clock_jumped(const struct spool *);
/*
 * Writes BODY where no reader sees it and adds DELIVERY to the group, unless
 * the same bytes were taken before: state is anything but SPOOL_STORED then.
 * WAIT up to 10 s for a process that is storing the same bytes; without it the
 * state is SPOOL_BUSY then.
 */
void spool_take(struct spool *, struct delivery *, const uint8_t *body,
    size_t len, bool wait);
/*
 * Looks again at a delivery that was SPOOL_BUSY because another process was
 * storing the same bytes: it is SPOOL_DUPLICATE if that one has stored them,
 * SPOOL_FAILED if not, and still SPOOL_BUSY while that one is at it, unless this
 * is the LAST time.  Must not be called while a group is pending.
 */
void spool_retry(struct spool *, struct delivery *, bool last);
/* Makes the group durable, then visible; sets each delivery's state. */
void spool_commit(struct spool *);
/*
 * Removes up to FILES expired files from the archive; that many on average if
 * this process calls it only ONCE.
 */
void spool_tidy(struct spool *, size_t files, bool once);
/*
 * Links an archived DELIVERY (event, day and hex are set) into new/ as a fresh
 * arrival, which is durable after spool_flush().  0, or -1 with errno.
 */
int spool_replay(struct spool *, struct delivery *);
int spool_flush(struct spool *);
/* Whether NAME is a day, YYYY-MM-DD, from 1970 to 9999. */
bool spool_is_day(const char *name);

/* A file name in new/ that was taken apart; it points into the name. */
struct name {
	const char *type, *id;
	int type_len, id_len;
};

#define NAME_STAMP	(sizeof("YYYYMMDDTHHMMSS.uuuuuuZ.") - 1)

/* Whether NAME is one that a delivery has. */
bool name_read(struct name *, const char *name);
/* Seconds since 1970 of a name that name_read() has taken. */
int64_t name_time(const char *name);

/* sandbox.c: what the process can reach */

/*
 * For good: the spool that is open as SPOOL, and the directory of SECRET_FILE
 * unless that is NULL.  NULL, or why the process is not confined.
 */
const char *sandbox_enter(int spool, const char *spool_path,
    const char *secret_file);

/* reply.c: answers and log lines */

enum outcome {
	OUTCOME_READY,
	OUTCOME_STORED,
	OUTCOME_DUPLICATE,
	OUTCOME_IGNORED,
	OUTCOME_BAD_REQUEST,
	OUTCOME_UNAUTHORIZED,
	OUTCOME_BAD_METHOD,
	OUTCOME_TIMEOUT,
	OUTCOME_NO_LENGTH,
	OUTCOME_TOO_LARGE,
	OUTCOME_REJECTED,
	OUTCOME_MISCONFIGURED,
	OUTCOME_UNAVAILABLE
};

#define ANSWER_SIZE	2048
#define LOG_SIZE	2048

struct request {
	/* what the web server says: gateway.c */
	const char *method, *length, *encoding, *signature, *remote;
	bool signature_repeated;
	ssize_t (*read)(struct request *, void *, size_t);
	uint64_t left;			/* bytes of the body to come */
	bool cut;			/* its connection ended, or ... */
	bool late;			/* ... it took too long */
	int unheld;			/* errno: there was no room for it */
	bool framed;			/* its end can be seen */
	bool headers;			/* there are any of HTTP's */
	int64_t began;			/* microseconds() */
	/* what became of it */
	enum outcome outcome;
	const char *reason;		/* for the log, or NULL */
	int error;			/* errno beside the reason, or 0 */
	size_t bytes;			/* of the body */
	unsigned int key;		/* which key signed it, 0 for none */
	bool has_event;
	struct event event;
	bool taken;			/* the spool decides its outcome */
	struct delivery delivery;
};

/* The CGI response (RFC 3875, 6); returns its length in bytes. */
size_t reply_answer(char answer[ANSWER_SIZE], const struct request *);
/*
 * One logfmt line with its newline, which begins with the time; returns its
 * length in bytes.
 */
size_t reply_log(char line[LOG_SIZE], const struct request *);
/* The same for what is no request; WHY may be NULL. */
size_t reply_log_note(char line[LOG_SIZE], const char *result,
    const char *why);
/* The same for N lines that were dropped. */
size_t reply_log_dropped(char line[LOG_SIZE], uint64_t n);

/* log.c: where log lines go */

enum log_target { LOG_SERVER, LOG_STDERR, LOG_NOWHERE };

/* Where lines are to go, by what standard error is. */
enum log_target log_choose(bool cgi);
/* Before the others: lines go there.  Takes SIGALRM. */
void log_open(enum log_target);
/* One more line.  It is written with the next log_flush() or log_take(). */
void log_request(const struct request *);
void log_note(const char *result, const char *why);
/* Writes what standard error takes without waiting; the rest is kept. */
void log_flush(void);
/* Whether log_flush() has left anything, and is to be called again. */
bool log_waits(void);
/*
 * The N bytes of lines for the web server, which stay where they are until the
 * next line comes; NULL if they go elsewhere.
 */
const char *log_take(size_t *n);

/* connections.c: FastCGI connections */

#ifndef REQUEST_SECONDS
#define REQUEST_SECONDS	60	/* for a request to arrive */
#endif

/* How far name-value pairs were read: FastCGI specification, 3.4. */
struct pairs {
	size_t rest;		/* bytes of the pair to come */
	unsigned int octets;	/* ... of the length under way */
	size_t length, sum;	/* that, and both */
	bool named;		/* the name's length is known */
};

/* How far a request was read: FastCGI specification, 3.3. */
struct records {
	uint8_t header[8];	/* of the record under way */
	size_t have;		/* bytes of the header */
	size_t rest;		/* bytes of content and padding to come */
	size_t padding;		/* ... of padding alone */
	struct pairs pairs;	/* parameters */
	int id;			/* of the request, 0 before it begins */
	bool keep;		/* the record is part of it */
	bool mixed;		/* others were not */
	bool params, whole;	/* all parameters, all of it were seen */
	int error;		/* errno: its body could not be copied */
	uint64_t body, others;	/* bytes of its body, of other records */
};

struct connection {
	int fd;			/* -1: the slot is free */
	int held;		/* what came of a request so far, or -1 */
	struct records records;	/* ... and how far that is */
	bool ready;		/* to be looked at */
	bool taken;		/* the caller's, not to be looked at */
	bool idle;		/* kept, and no request has begun */
	bool cut, late;		/* there will be no more of it */
	int64_t since;		/* milliseconds, CLOCK_MONOTONIC */
};

/* Requests from LISTENER; WAKE becomes readable on a signal.  0 or -1. */
int connections_open(int listener, int wake, size_t max_body);
/*
 * Waits until there is something to do, MOST microseconds or, for -1, without
 * limit; returns how many connections are to be looked at.
 */
size_t connections_wait(int64_t most);
/*
 * The next connection with a request that libfcgi can read without waiting,
 * or NULL.  It is the caller's until connection_done().
 */
struct connection *connections_next(void);
void connection_done(struct connection *, bool keep);
/* Accepts no more; what has begun to arrive gets some seconds to do so. */
void connections_stop(void);
/* Whether anything has begun to arrive, and still may. */
bool connections_busy(void);

/* gateway.c: the two doors */

/* One request from the environment and standard input; the exit status. */
int gateway_cgi(struct config *);
/* Requests from a listening socket until SIGTERM; the exit status. */
int gateway_fastcgi(struct config *, int listener);

/* commands.c: for people */

#define EXIT_USAGE	2

/* What followed a command. */
struct arguments {
	const char *flag[128];	/* by letter: its value or "", or NULL */
	char **operand;		/* NULL at the end */
	/* not from the command line: commands.c */
	const struct service *service;
	const char *whom;	/* why we act as another user, or NULL */
};

int command(int argc, char **argv);
/* The commands, each in the file of its name; the exit status. */
int command_check(struct config *, const struct arguments *);
int command_status(struct config *, const struct arguments *);
int command_replay(struct config *, const struct arguments *);
int command_watch(struct config *, const struct arguments *);
/* Whether what is written to FD is read by a person. */
bool is_terminal(int fd);

#endif
