/* SPDX-License-Identifier: ISC */
/*
 * What the archive has and the stream has not, as digests for protocol-hook
 * replay: a stream may lose what it has acknowledged.
 *
 * Replicas may differ, and which one a consumer reads the servers decide: we ask
 * again until each was read.  The archive is listed before the stream is read,
 * so what is published meanwhile is found there.  A delivery that still waits
 * is a second link of its file in the archive, and so is not missing.  Nothing
 * is printed before all was read, twice if something was missing.
 */
#include <sys/stat.h>

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nats/nats.h>
#include <nettle/base16.h>
#include <nettle/sha2.h>

#include "missing.h"

#define ANSWER_MS	10000
#define REPLICAS_MAX	8
#define TRIES_MAX	100
#define LATE_S		2	/* a replica may still be copying */
#define HEX_SIZE	BASE16_ENCODE_LENGTH(SHA256_DIGEST_SIZE)

struct archived {
	uint8_t digest[SHA256_DIGEST_SIZE];
	int64_t arrived;	/* nanoseconds */
	unsigned int replicas;	/* that have it */
	unsigned int last;	/* of these */
};

struct list {
	struct archived *items;
	size_t n, room;
};

struct stream {
	const char *prefix;
	char *name;
	char *servers[REPLICAS_MAX];	/* whose replicas were read */
	unsigned int nread, all;
	int64_t since;		/* the oldest message, nanoseconds */
};

static void
must(natsStatus status, const char *what)
{
	const char *why = nats_GetLastError(NULL);

	if (status != NATS_OK)
		errx(1, "%s: %s", what, why != NULL && *why != '\0' ? why :
		    natsStatus_GetText(status));
}

static bool
parse_digest(uint8_t digest[static SHA256_DIGEST_SIZE], const char *hex)
{
	struct base16_decode_ctx base16;
	size_t n = SHA256_DIGEST_SIZE;

	base16_decode_init(&base16);
	return strlen(hex) == HEX_SIZE &&
	    base16_decode_update(&base16, &n, digest, HEX_SIZE, hex) &&
	    n == SHA256_DIGEST_SIZE;
}

static void
add(struct list *l, const struct archived *a)
{
	if (l->n == l->room) {
		l->room = l->room == 0 ? 1024 : 2 * l->room;
		l->items = reallocarray(l->items, l->room, sizeof(*l->items));
		if (l->items == NULL)
			err(1, NULL);
	}
	l->items[l->n++] = *a;
}

static DIR *
open_directory(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	DIR *dir = fd == -1 ? NULL : fdopendir(fd);

	/* A day that has expired meanwhile. */
	if (dir == NULL && errno != ENOENT && errno != ENOTDIR)
		err(1, "archive: %s", name);
	return dir;
}

static void
list_day(struct list *l, int archive, const char *day)
{
	DIR *dir = open_directory(archive, day);
	struct archived a = { .replicas = 0 };
	struct dirent *entry;
	struct stat st;

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL) {
		if (!parse_digest(a.digest, entry->d_name) ||
		    fstatat(dirfd(dir), entry->d_name, &st,
		    AT_SYMLINK_NOFOLLOW) == -1 || st.st_nlink != 1)
			continue;
		a.arrived = (int64_t)st.st_mtim.tv_sec * 1000000000 +
		    st.st_mtim.tv_nsec;
		add(l, &a);
	}
	closedir(dir);
}

static int
compare(const void *a, const void *b)
{
	return memcmp(((const struct archived *)a)->digest,
	    ((const struct archived *)b)->digest, SHA256_DIGEST_SIZE);
}

static void
list_archive(struct list *l, int spool)
{
	DIR *dir = open_directory(spool, "archive");
	struct dirent *entry;

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			list_day(l, dirfd(dir), entry->d_name);
	closedir(dir);
	if (l->n > 0)
		qsort(l->items, l->n, sizeof(*l->items), compare);
}

/* Ticks off a message; true if it was the last one. */
static bool
tick_off(struct list *l, unsigned int replica, natsMsg *msg)
{
	struct archived key = { .replicas = 0 }, *a = NULL;
	jsMsgMetaData *meta;
	const char *id;
	bool last;

	if (natsMsgHeader_Get(msg, "Nats-Msg-Id", &id) == NATS_OK &&
	    parse_digest(key.digest, id) && l->n > 0)
		a = bsearch(&key, l->items, l->n, sizeof(*l->items), compare);
	if (a != NULL && a->last != replica) {
		a->last = replica;
		a->replicas++;
	}
	must(natsMsg_GetMetaData(&meta, msg), "message");
	last = meta->NumPending == 0;
	jsMsgMetaData_Destroy(meta);
	natsMsg_Destroy(msg);
	return last;
}

/* Whether the consumer is with a server whose replica was not read yet. */
static bool
is_new(struct stream *st, const jsConsumerInfo *info)
{
	const char *server = info->Cluster == NULL ||
	    info->Cluster->Leader == NULL ? "" : info->Cluster->Leader;

	for (unsigned int i = 0; i < st->nread; i++)
		if (strcmp(st->servers[i], server) == 0)
			return false;
	if (st->nread == REPLICAS_MAX ||
	    (st->servers[st->nread] = strdup(server)) == NULL)
		err(1, NULL);
	st->nread++;
	return true;
}

/* The headers of all messages of some replica, unless it was read before. */
static void
read_replica(struct list *l, struct stream *st, jsCtx *js)
{
	jsConsumerInfo *info;
	natsSubscription *sub;
	char subject[256];
	jsSubOptions o;
	natsMsg *msg;
	bool last;

	snprintf(subject, sizeof(subject), "%s.>", st->prefix);
	jsSubOptions_Init(&o);
	o.Ordered = true;
	o.Config.HeadersOnly = true;
	must(js_SubscribeSync(&sub, js, subject, NULL, &o, NULL), subject);
	must(natsSubscription_GetConsumerInfo(&info, sub, NULL, NULL),
	    subject);
	if (st->name == NULL && (st->name = strdup(info->Stream)) == NULL)
		err(1, NULL);
	last = !is_new(st, info) ||
	    info->NumPending + info->Delivered.Consumer == 0;
	jsConsumerInfo_Destroy(info);
	while (!last) {
		must(natsSubscription_NextMsg(&msg, sub, ANSWER_MS), subject);
		last = tick_off(l, st->nread, msg);
	}
	natsSubscription_Unsubscribe(sub);
	natsSubscription_Destroy(sub);
}

static void
look_at(struct stream *st, jsCtx *js)
{
	jsStreamInfo *info;

	must(js_GetStreamInfo(&info, js, st->name, NULL, NULL), st->name);
	if (info->Config->Retention != js_LimitsPolicy)
		errx(1, "%s: a stream that deletes what was consumed",
		    st->name);
	st->since = info->State.FirstSeq > 1 ? info->State.FirstTime : 0;
	st->all = 1 + (info->Cluster == NULL ? 0 :
	    (unsigned int)info->Cluster->ReplicasLen);
	jsStreamInfo_Destroy(info);
}

static void
read_stream(struct list *l, struct stream *st, jsCtx *js)
{
	unsigned int tries = 0;

	do {
		read_replica(l, st, js);
		/* Again, as old messages may have been deleted meanwhile. */
		look_at(st, js);
	} while (st->nread < st->all && ++tries < TRIES_MAX);
	if (st->nread < st->all)
		errx(1, "%s: only %u of %u replicas could be read", st->name,
		    st->nread, st->all);
}

static bool
lacks(const struct stream *st, const struct archived *a)
{
	return a->replicas < st->nread && a->arrived >= st->since;
}

static bool
lacks_any(const struct stream *st, const struct list *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (lacks(st, &l->items[i]))
			return true;
	return false;
}

static void
forget(struct stream *st, struct list *l)
{
	while (st->nread > 0)
		free(st->servers[--st->nread]);
	for (size_t i = 0; i < l->n; i++)
		l->items[i].replicas = l->items[i].last = 0;
}

void
missing_print(natsConnection *nats, int spool, const char *prefix)
{
	struct stream st = { .prefix = prefix };
	char hex[HEX_SIZE + 1] = "";
	struct list l = { .n = 0 };
	jsOptions o;
	jsCtx *js;

	jsOptions_Init(&o);
	o.Wait = ANSWER_MS;
	must(natsConnection_JetStream(&js, nats, &o), "JetStream");
	list_archive(&l, spool);
	read_stream(&l, &st, js);
	if (lacks_any(&st, &l)) {
		sleep(LATE_S);
		forget(&st, &l);
		read_stream(&l, &st, js);
	}
	for (size_t i = 0; i < l.n; i++)
		if (lacks(&st, &l.items[i])) {
			base16_encode_update(hex, SHA256_DIGEST_SIZE,
			    l.items[i].digest);
			puts(hex);
		}
	if (fflush(stdout) == EOF)
		err(1, "standard output");
	forget(&st, &l);
	free(st.name);
	free(l.items);
	jsCtx_Destroy(js);
}
