/* SPDX-License-Identifier: ISC */
/*
 * protocol-hook-nats: publishes each delivery of a spool to a JetStream stream
 * and deletes it once the stream has acknowledged it.  What always holds: a
 * file is only unlinked after its acknowledgement, and is never changed, so a
 * kill at any point leaves nothing to repair; what is then published again, the
 * stream knows by its Nats-Msg-Id, the SHA-256 of the bytes.
 *
 * libnats calls back in threads of its own: these write fixed records into a
 * pipe and touch nothing else, and all the rest is one loop in one thread.
 */
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>
#include <nats/nats.h>
#include <nettle/base16.h>
#include <nettle/sha2.h>

#include "missing.h"

#define WINDOW_MAX	4096	/* records of as many fit into the pipe */
#define BODY_MAX	(64 << 20)	/* what a NATS server can take at all */
#define PREFIX_MAX	128
#define ACK_MS		5000	/* after which one is taken for lost */
#define WRITE_MS	3000	/* after which a server is */
#define RETRY_MS	1000
#define GATHER_US	500
#define BIN_MAX		128
#define BIN_BODY	65536	/* a larger one is freed at once */
#define SCAN_MS		10000
#define END_MS		5000	/* how long SIGTERM waits for the stream */
#define LOG_MS		10000	/* between two lines about the same trouble */

/* An error of JetStream's that no later try can mend. */
#define JS_MESSAGE_EXCEEDS_MAXIMUM	10054

enum kind { TAKEN, REFUSED, TOO_LARGE, NO_STREAM, CONNECTED, LOST, CLOSED,
	TROUBLE };

/* What a callback tells the loop; smaller than PIPE_BUF, so whole. */
struct note {
	uint64_t number;
	int32_t kind;
	int32_t code;
};

/* Messages that are done with. */
struct bin {
	natsMsg *messages[BIN_MAX];
	size_t count;
};

/* A file that is with the stream; free when its name is empty. */
struct flight {
	char name[NAME_MAX + 1];
	int64_t again;		/* when to publish it again, ms */
	bool refused;
	bool taken;		/* by the stream, and can't be deleted yet */
};

struct forwarder {
	int spool, new, inotify, signals, notes[2];
	const char *prefix;
	char inbox[64];
	natsConnection *nats;
	natsSubscription *acks;
	struct bin published, answers;	/* the second is libnats's thread's */
	bool connected, stop, once, scan, missing, left;
	int64_t scanned, stopped, logged;
	struct flight *flights;	/* that of number n is n % window */
	uint64_t window, first, next, refused;
	char **queue;		/* names to be published, in order */
	size_t queue_at, queue_len, queue_size;
	unsigned char *body;
	size_t body_size;
	uint64_t taken;
};

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/*
 * libnats frees messages in a thread, which it wakes up whenever there was none
 * to be freed: for each of them, did they come one by one.
 */
static void
throw_away(struct bin *bin, natsMsg *msg)
{
	bin->messages[bin->count++] = msg;
	if (bin->count < BIN_MAX && natsMsg_GetDataLength(msg) <= BIN_BODY)
		return;
	while (bin->count > 0)
		natsMsg_Destroy(bin->messages[--bin->count]);
}

/* Callbacks, in libnats's threads. */

static void
note(struct forwarder *f, uint64_t number, enum kind kind, int code)
{
	struct note n = { .number = number, .kind = (int32_t)kind,
	    .code = code };
	ssize_t wrote;

	do
		wrote = write(f->notes[1], &n, sizeof(n));
	while (wrote == -1 && errno == EINTR);
}

/*
 * What an acknowledgement says, ADR-1 of NATS: {"error": {...}} or "seq".  One
 * thread alone calls back for one subscription.
 */
static enum kind
ack_kind(const char *text, int length, int *code)
{
	static struct json_tokener *tokener;
	struct json_object *ack, *error, *number;
	enum kind kind = REFUSED;

	*code = 0;
	if (tokener == NULL && (tokener = json_tokener_new()) == NULL)
		return kind;
	json_tokener_reset(tokener);
	ack = json_tokener_parse_ex(tokener, text, length);
	if (json_object_object_get_ex(ack, "error", &error)) {
		if (json_object_object_get_ex(error, "err_code", &number))
			*code = json_object_get_int(number);
		if (*code == JS_MESSAGE_EXCEEDS_MAXIMUM)
			kind = TOO_LARGE;
	} else if (json_object_object_get_ex(ack, "seq", &number) &&
	    json_object_get_int64(number) > 0)
		kind = TAKEN;
	json_object_put(ack);
	return kind;
}

static void
on_ack(natsConnection *nats, natsSubscription *sub, natsMsg *msg, void *arg)
{
	struct forwarder *f = arg;
	const char *digits = strrchr(natsMsg_GetSubject(msg), '.');
	uint64_t number;
	enum kind kind;
	char *end;
	int code = 0;

	(void)nats;
	(void)sub;
	errno = 0;
	number = digits == NULL ? 0 : strtoull(digits + 1, &end, 10);
	if (digits != NULL && errno == 0 && *end == '\0') {
		kind = natsMsg_IsNoResponders(msg) ? NO_STREAM :
		    ack_kind(natsMsg_GetData(msg), natsMsg_GetDataLength(msg),
		    &code);
		note(f, number, kind, code);
	}
	throw_away(&f->answers, msg);
}

static void
on_connected(natsConnection *nats, void *arg)
{
	(void)nats;
	note(arg, 0, CONNECTED, 0);
}

static void
on_lost(natsConnection *nats, void *arg)
{
	(void)nats;
	note(arg, 0, LOST, 0);
}

static void
on_trouble(natsConnection *nats, natsSubscription *sub, natsStatus status,
    void *arg)
{
	(void)nats;
	(void)sub;
	(void)status;
	note(arg, 0, TROUBLE, 0);
}

static void
on_closed(natsConnection *nats, void *arg)
{
	(void)nats;
	note(arg, 0, CLOSED, 0);
}

/* The log. */

/* The same trouble comes for each file: says it now and then. */
static bool
may_log(struct forwarder *f)
{
	int64_t now = now_ms();

	if (f->logged != 0 && now - f->logged < LOG_MS)
		return false;
	f->logged = now;
	return true;
}

/* Files. */

static int
compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int
enqueue(struct forwarder *f, const char *name)
{
	char **queue;
	size_t size;

	if (name[0] == '.' || name[0] == '\0')
		return 0;
	if (f->queue_len == f->queue_size) {
		size = f->queue_size == 0 ? 1024 : f->queue_size * 2;
		queue = reallocarray(f->queue, size, sizeof(*queue));
		if (queue == NULL)
			return -1;
		f->queue = queue;
		f->queue_size = size;
	}
	if ((f->queue[f->queue_len] = strdup(name)) == NULL)
		return -1;
	f->queue_len++;
	return 0;
}

/* All that is there, in order; what can't be held comes with the next scan. */
static void
scan(struct forwarder *f)
{
	int fd = openat(f->new, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *entry;

	f->scanned = now_ms();
	f->scan = false;
	if (dir == NULL) {
		warn("new");
		if (fd != -1)
			close(fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL)
		if (enqueue(f, entry->d_name) == -1) {
			f->scan = true;
			break;
		}
	closedir(dir);
	if (f->queue_len > 0)
		qsort(f->queue, f->queue_len, sizeof(*f->queue), compare);
}

/* Names as they appear; where some were missed, a scan is due. */
static void
watch(struct forwarder *f)
{
	_Alignas(struct inotify_event) char buffer[16384];
	const struct inotify_event *event;
	ssize_t got, at;

	while ((got = read(f->inotify, buffer, sizeof(buffer))) > 0)
		for (at = 0; at < got; at += (ssize_t)sizeof(*event) +
		    event->len) {
			event = (const struct inotify_event *)(buffer + at);
			if (event->mask & IN_Q_OVERFLOW)
				f->scan = true;
			else if (event->len > 0 &&
			    enqueue(f, event->name) == -1)
				f->scan = true;
		}
}

static void
set_aside(struct forwarder *f, const char *name, const char *why)
{
	int failed = -1;

	if (mkdirat(f->spool, "failed", 0770) == 0 || errno == EEXIST)
		failed = openat(f->spool, "failed", O_RDONLY | O_DIRECTORY |
		    O_NOFOLLOW | O_CLOEXEC);
	if (failed == -1 ||
	    renameat2(f->new, name, failed, name, RENAME_NOREPLACE) == -1) {
		warn("%s: %s, and can't be put into failed", name, why);
		f->left = true;
	} else
		warnx("%s: %s: it is in failed/ now", name, why);
	if (failed != -1)
		close(failed);
}

/*
 * The file's bytes into f->body: their number, or -1 with errno; EFBIG, ELOOP
 * and ENXIO if it is nothing that a receiver has put there.
 */
static ssize_t
read_body(struct forwarder *f, const char *name)
{
	int fd = openat(f->new, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
	    O_CLOEXEC);
	size_t have = 0, size;
	struct stat st;
	ssize_t got = -1;
	void *body;

	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == -1)
		goto done;
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > BODY_MAX) {
		errno = EFBIG;
		goto done;
	}
	size = (size_t)st.st_size;
	if (size > f->body_size) {
		if ((body = realloc(f->body, size)) == NULL)
			goto done;
		f->body = body;
		f->body_size = size;
	}
	while (have < size &&
	    (got = read(fd, f->body + have, size - have)) > 0)
		have += (size_t)got;
	got = got == -1 ? -1 : (ssize_t)have;
done:
	close(fd);
	return got;
}

/* Publishing. */

/*
 * PREFIX.RESOURCE.ACTION out of a name, whose TYPE has letters, digits, "_",
 * "-" and "." only; NATS allows no empty token.
 */
static void
subject_of(char *subject, const char *prefix, const char *name)
{
	const char *type = strstr(name, "Z."), *end = NULL, *p;
	char *to = subject + sprintf(subject, "%s.", prefix);

	if (type != NULL) {
		type += 2;
		end = strrchr(type, '.');
		if (end != NULL && strcmp(end, ".json") == 0)
			end = memrchr(type, '.', (size_t)(end - type));
	}
	if (end == NULL || end == type) {
		strcpy(to, "unknown");
		return;
	}
	for (p = type; p < end; p++) {
		if (*p == '.' && to[-1] == '.')
			*to++ = '_';
		*to++ = strchr(" \t*>", *p) != NULL ||
		    (unsigned char)*p < ' ' ? '_' : *p;
	}
	if (to[-1] == '.')
		*to++ = '_';
	*to = '\0';
}

static natsStatus
publish_body(struct forwarder *f, uint64_t number, const char *name, int size)
{
	char subject[PREFIX_MAX + 2 * NAME_MAX + 8], reply[96];
	char id[BASE16_ENCODE_LENGTH(SHA256_DIGEST_SIZE) + 1] = "";
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct sha256_ctx sha256;
	natsMsg *msg = NULL;
	natsStatus status;

	sha256_init(&sha256);
	sha256_update(&sha256, (size_t)size, f->body);
	sha256_digest(&sha256, sizeof(digest), digest);
	base16_encode_update(id, sizeof(digest), digest);
	subject_of(subject, f->prefix, name);
	snprintf(reply, sizeof(reply), "%s.%" PRIu64, f->inbox, number);
	status = natsMsg_Create(&msg, subject, reply, (const char *)f->body,
	    size);
	if (status != NATS_OK)
		return status;
	status = natsMsgHeader_Set(msg, "Nats-Msg-Id", id);
	if (status == NATS_OK)
		status = natsConnection_PublishMsg(f->nats, msg);
	throw_away(&f->published, msg);
	return status;
}

static void
land(struct forwarder *f, struct flight *flight)
{
	if (flight->refused && --f->refused == 0)
		f->logged = 0;
	memset(flight, 0, sizeof(*flight));
	while (f->first < f->next &&
	    f->flights[f->first % f->window].name[0] == '\0')
		f->first++;
}

/* Until it lands, nothing new is published. */
static void
hold(struct forwarder *f, struct flight *flight)
{
	f->refused += !flight->refused;
	flight->refused = true;
	flight->again = now_ms() + RETRY_MS;
}

static void
refuse(struct forwarder *f, struct flight *flight, const char *why, int code)
{
	if (may_log(f))
		warnx("%s: %s (%d): waits in the spool", flight->name, why,
		    code);
	hold(f, flight);
}

static void
take(struct forwarder *f, struct flight *flight)
{
	f->taken += !flight->taken;
	flight->taken = true;
	if (unlinkat(f->new, flight->name, 0) == 0 || errno == ENOENT) {
		land(f, flight);
		return;
	}
	if (may_log(f))
		warn("%s: is in the stream, but can't be deleted",
		    flight->name);
	f->left = true;
	if (f->once)
		land(f, flight);
	else
		hold(f, flight);
}

/* Why a file can't be read, and so was not published. */
static void
skip(struct forwarder *f, const char *name)
{
	if (errno == EFBIG || errno == ELOOP || errno == ENXIO)
		set_aside(f, name, "no delivery");
	else if (errno != ENOENT) {
		f->left = true;
		if (may_log(f))
			warn("%s", name);
	}
}

static void
publish(struct forwarder *f, uint64_t number)
{
	struct flight *flight = &f->flights[number % f->window];
	natsStatus status;
	ssize_t size;

	if (flight->taken) {
		take(f, flight);
		return;
	}
	size = read_body(f, flight->name);
	if (size == -1) {
		skip(f, flight->name);
		land(f, flight);
		return;
	}
	flight->again = now_ms() + ACK_MS;
	status = publish_body(f, number, flight->name, (int)size);
	if (status == NATS_MAX_PAYLOAD) {
		set_aside(f, flight->name, "too large for the server");
		land(f, flight);
	} else if (status != NATS_OK)
		refuse(f, flight, natsStatus_GetText(status), (int)status);
}

/*
 * What was refused, or not answered, goes before what is new; while something
 * is refused nothing new goes, so that little overtakes it.
 */
static void
publish_due(struct forwarder *f)
{
	struct flight *flight;
	int64_t now = now_ms();
	uint64_t n;
	char *name;

	for (n = f->first; n < f->next; n++) {
		flight = &f->flights[n % f->window];
		if (flight->name[0] == '\0' || flight->again > now)
			continue;
		if (flight->again != 0 && !flight->refused && may_log(f))
			warnx("%s: no answer: published again", flight->name);
		publish(f, n);
	}
	while (!f->stop && f->refused == 0 && f->queue_at < f->queue_len &&
	    f->next - f->first < f->window) {
		name = f->queue[f->queue_at++];
		if (strlen(name) <= NAME_MAX) {
			strcpy(f->flights[f->next % f->window].name, name);
			publish(f, f->next++);
		}
		free(name);
	}
	if (f->queue_at == f->queue_len)
		f->queue_at = f->queue_len = 0;
}

/* What the callbacks told. */

/* libnats gives up when it is refused twice for the same reason. */
static _Noreturn void
closed(struct forwarder *f)
{
	const char *why = "";

	natsConnection_GetLastError(f->nats, &why);
	errx(1, "connection refused for good: %s", why);
}

static void
heed_ack(struct forwarder *f, const struct note *n)
{
	struct flight *flight;

	if (n->number < f->first || n->number >= f->next)
		return;
	flight = &f->flights[n->number % f->window];
	if (flight->name[0] == '\0')
		return;
	switch (n->kind) {
	case TAKEN:
		take(f, flight);
		break;
	case TOO_LARGE:
		set_aside(f, flight->name, "too large for the stream");
		land(f, flight);
		break;
	case NO_STREAM:
		refuse(f, flight, "no stream answers for its subject", 0);
		break;
	default:
		refuse(f, flight, "the stream refuses it", n->code);
	}
}

/* What the server says of no message in particular. */
static void
heed_trouble(struct forwarder *f)
{
	const char *why = "";

	if (may_log(f)) {
		natsConnection_GetLastError(f->nats, &why);
		warnx("the server says: %s", why);
	}
}

/* Whatever was under way may be lost: all of it is published again. */
static void
heed_connected(struct forwarder *f)
{
	char url[256] = "", *at;

	for (uint64_t n = f->first; n < f->next; n++)
		f->flights[n % f->window].again = 0;
	if (natsConnection_GetConnectedUrl(f->nats, url, sizeof(url)) ==
	    NATS_OK) {
		at = strrchr(url, '@');	/* after a password, maybe */
		warnx("connected to %s", at == NULL ? url : at + 1);
	}
	f->connected = true;
}

static void
heed(struct forwarder *f)
{
	struct note notes[256];
	ssize_t got;

	while ((got = read(f->notes[0], notes, sizeof(notes))) > 0)
		for (size_t i = 0; i < (size_t)got / sizeof(*notes); i++)
			switch (notes[i].kind) {
			case CONNECTED:
				heed_connected(f);
				break;
			case LOST:
				if (f->connected)
					warnx("connection lost");
				f->connected = false;
				break;
			case CLOSED:
				closed(f);
			case TROUBLE:
				heed_trouble(f);
				break;
			default:
				heed_ack(f, &notes[i]);
			}
}

/* Start-up. */

static void
must(natsStatus status, const char *what)
{
	if (status != NATS_OK && status != NATS_NOT_YET_CONNECTED)
		errx(1, "%s: %s", what, natsStatus_GetText(status));
}

/* The names of the nats command's variables, and what it does by them. */
static natsOptions *
options(struct forwarder *f, bool lasting)
{
	const char *ca = getenv("NATS_CA"), *cert = getenv("NATS_CERT"),
	    *creds = getenv("NATS_CREDS"), *key = getenv("NATS_KEY"),
	    *user = getenv("NATS_USER"), *password = getenv("NATS_PASSWORD"),
	    *url = getenv("NATS_URL"), *servers[16];
	natsOptions *o;
	char *list, *server;
	int n = 0;

	must(natsOptions_Create(&o), "libnats");
	if ((list = strdup(url == NULL ? NATS_DEFAULT_URL : url)) == NULL)
		err(1, NULL);
	for (server = strtok(list, ", "); server != NULL;
	    server = strtok(NULL, ", ")) {
		if (n == 16)
			errx(1, "NATS_URL: more than 16 servers");
		servers[n++] = server;
	}
	must(natsOptions_SetServers(o, servers, n), "NATS_URL");
	free(list);
	if (creds != NULL)
		must(natsOptions_SetUserCredentialsFromFiles(o, creds, NULL),
		    "NATS_CREDS");
	if (user != NULL)
		must(password == NULL ? natsOptions_SetToken(o, user) :
		    natsOptions_SetUserInfo(o, user, password), "NATS_USER");
	if (ca != NULL || cert != NULL)
		must(natsOptions_SetSecure(o, true), "TLS");
	if (ca != NULL)
		must(natsOptions_LoadCATrustedCertificates(o, ca), "NATS_CA");
	if (cert != NULL)
		must(natsOptions_LoadCertificatesChain(o, cert, key),
		    "NATS_CERT, NATS_KEY");
	must(natsOptions_SetName(o, "protocol-hook-nats"), "libnats");
	if (!lasting)
		return o;
	must(natsOptions_SetMaxReconnect(o, -1), "libnats");
	must(natsOptions_SetReconnectWait(o, 500), "libnats");
	must(natsOptions_SetPingInterval(o, 5000), "libnats");
	must(natsOptions_SetMaxPingsOut(o, 1), "libnats");
	/* Else what does not read would hold us up, and no ping be sent. */
	must(natsOptions_SetWriteDeadline(o, WRITE_MS), "libnats");
	must(natsOptions_SetRetryOnFailedConnect(o, true, on_connected, f),
	    "libnats");
	must(natsOptions_SetDisconnectedCB(o, on_lost, f), "libnats");
	must(natsOptions_SetReconnectedCB(o, on_connected, f), "libnats");
	must(natsOptions_SetClosedCB(o, on_closed, f), "libnats");
	must(natsOptions_SetErrorHandler(o, on_trouble, f), "libnats");
	return o;
}

static void
say_missing(struct forwarder *f, const char *path)
{
	natsOptions *o = options(f, false);
	natsConnection *nats;
	int spool = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (spool == -1)
		err(1, "%s", path);
	must(natsConnection_Connect(&nats, o), "NATS_URL");
	natsOptions_Destroy(o);
	missing_print(nats, spool, f->prefix);
	natsConnection_Destroy(nats);
	close(spool);
}

static void
connect_nats(struct forwarder *f)
{
	natsOptions *o = options(f, true);
	natsInbox *inbox = NULL;
	natsStatus status, status_acks;
	char all[80];

	status = natsConnection_Connect(&f->nats, o);
	must(status, "NATS_URL");
	natsOptions_Destroy(o);
	must(natsInbox_Create(&inbox), "libnats");
	snprintf(f->inbox, sizeof(f->inbox), "%s", inbox);
	natsInbox_Destroy(inbox);
	snprintf(all, sizeof(all), "%s.*", f->inbox);
	/* It may be closed again by now. */
	status_acks = natsConnection_Subscribe(&f->acks, f->nats, all, on_ack,
	    f);
	if (status_acks == NATS_OK)
		status_acks = natsSubscription_SetPendingLimits(f->acks, -1,
		    -1);
	if (status_acks != NATS_OK && natsConnection_IsClosed(f->nats))
		closed(f);
	must(status_acks, "libnats");
	if (status == NATS_OK)
		note(f, 0, CONNECTED, 0);
	else
		warnx("not yet connected");
}

/* Before there are threads, so that none of them takes a signal. */
static void
block_signals(struct forwarder *f)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) == -1 ||
	    (f->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) == -1)
		err(1, "signalfd");
	signal(SIGPIPE, SIG_IGN);
}

/* The writer makes new/ when its first request comes. */
static void
open_spool(struct forwarder *f, const char *path)
{
	struct pollfd wait = { .fd = f->signals, .events = POLLIN };
	char link[32];

	f->spool = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->spool == -1)
		err(1, "%s", path);
	while ((f->new = openat(f->spool, "new", O_RDONLY | O_DIRECTORY |
	    O_NOFOLLOW | O_CLOEXEC)) == -1) {
		if (errno != ENOENT)
			err(1, "%s/new", path);
		if (f->once || poll(&wait, 1, 1000) == 1)
			exit(0);
	}
	if (flock(f->new, LOCK_EX | LOCK_NB) == -1)
		err(1, "%s/new: another forwarder", path);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", f->new);
	f->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (f->inotify == -1 || inotify_add_watch(f->inotify, link, IN_CREATE |
	    IN_MOVED_TO | IN_ONLYDIR) == -1)
		err(1, "%s/new: inotify", path);
}

static bool
valid_prefix(const char *prefix)
{
	size_t n = strlen(prefix);

	return n > 0 && n < PREFIX_MAX && prefix[0] != '.' &&
	    prefix[n - 1] != '.' && strstr(prefix, "..") == NULL &&
	    strpbrk(prefix, " \t\r\n*>$") == NULL;
}

static void
arguments(struct forwarder *f, int argc, char **argv)
{
	char *end;
	int c;

	f->window = 256;
	while ((c = getopt(argc, argv, "1mw:")) != -1)
		switch (c) {
		case '1':
			f->once = true;
			break;
		case 'm':
			f->missing = true;
			break;
		case 'w':
			errno = 0;
			f->window = strtoull(optarg, &end, 10);
			if (*optarg >= '0' && *optarg <= '9' && *end == '\0' &&
			    f->window > 0 && f->window <= WINDOW_MAX)
				break;
			errx(2, "-w: 1 to %d", WINDOW_MAX);
		default:
			exit(2);
		}
	if (argc - optind != 2) {
		fprintf(stderr, "usage: protocol-hook-nats [-1] [-w window] "
		    "spool prefix\n"
		    "       protocol-hook-nats -m spool prefix\n");
		exit(2);
	}
	f->prefix = argv[optind + 1];
	if (!valid_prefix(f->prefix))
		errx(2, "%s: can't be the beginning of a subject", f->prefix);
}

/* The loop. */

static bool
done(const struct forwarder *f)
{
	bool idle = f->first == f->next;

	if (f->stop)
		return idle || !f->connected ||
		    now_ms() - f->stopped > END_MS;
	return f->once && idle && f->queue_len == 0 && !f->scan;
}

static void
look(struct forwarder *f)
{
	bool idle = f->first == f->next && f->queue_len == 0;

	if (f->queue_len == 0)
		watch(f);
	/* Only now is nothing in new/ that is under way. */
	if (idle && f->queue_len == 0 &&
	    (f->scan || now_ms() - f->scanned > SCAN_MS))
		scan(f);
}

static void
wait_for_something(struct forwarder *f)
{
	struct signalfd_siginfo info;
	struct pollfd fds[] = {
		{ .fd = f->notes[0], .events = POLLIN },
		{ .fd = f->signals, .events = POLLIN },
		/* A full queue leaves what comes to the kernel. */
		{ .fd = f->queue_len == 0 ? f->inotify : -1, .events = POLLIN },
	};

	/*
	 * Under load acknowledgements gather first: to wake up for each would
	 * cost more than they do.
	 */
	if (f->next - f->first > f->window / 2)
		usleep(GATHER_US);
	if (poll(fds, 3, f->first == f->next ? 1000 : 100) == -1 &&
	    errno != EINTR)
		err(1, "poll");
	if (read(f->signals, &info, sizeof(info)) == sizeof(info) && !f->stop) {
		f->stop = true;
		f->stopped = now_ms();
	}
}

int
main(int argc, char **argv)
{
	static struct forwarder f;

	arguments(&f, argc, argv);
	if (f.missing) {
		say_missing(&f, argv[optind]);
		return 0;
	}
	block_signals(&f);
	open_spool(&f, argv[optind]);
	if (pipe2(f.notes, O_CLOEXEC) == -1 ||
	    fcntl(f.notes[0], F_SETFL, O_NONBLOCK) == -1)
		err(1, "pipe");
	f.flights = calloc(f.window, sizeof(*f.flights));
	if (f.flights == NULL)
		err(1, NULL);
	f.first = f.next = 1;
	f.scan = true;
	connect_nats(&f);
	while (!done(&f)) {
		heed(&f);
		look(&f);
		if (f.connected)
			publish_due(&f);
		if (!done(&f))
			wait_for_something(&f);
	}
	warnx("%" PRIu64 " published", f.taken);
	/* The kernel takes back the rest, whatever libnats's threads do. */
	_exit(f.once && !f.stop && f.left);
}
