/* SPDX-License-Identifier: ISC */
/*
 * memory DIRECTORY PREFIX WINDOW: publishes the files of DIRECTORY, read before
 * the clock starts, by libnats's own asynchronous publishing, and prints how
 * many a second were acknowledged: what protocol-hook-nats is measured against.
 */
#include <sys/stat.h>

#include <dirent.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <nats/nats.h>
#include <nettle/sha2.h>

struct body {
	char *data;
	int size;
	char id[2 * SHA256_DIGEST_SIZE + 1];
};

static struct body *bodies;
static size_t count, room;

static void
must(natsStatus status, const char *what)
{
	if (status != NATS_OK)
		errx(1, "%s: %s", what, natsStatus_GetText(status));
}

static void
add(const char *path)
{
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct sha256_ctx sha256;
	struct body *b;
	struct stat st;
	FILE *file = fopen(path, "rb");

	if (count == room) {
		room = room == 0 ? 1024 : 2 * room;
		bodies = reallocarray(bodies, room, sizeof(*bodies));
		if (bodies == NULL)
			err(1, NULL);
	}
	b = &bodies[count++];
	if (file == NULL || fstat(fileno(file), &st) == -1 ||
	    (b->data = malloc((size_t)st.st_size)) == NULL)
		err(1, "%s", path);
	b->size = (int)st.st_size;
	if (fread(b->data, 1, (size_t)b->size, file) != (size_t)b->size)
		err(1, "%s", path);
	fclose(file);
	sha256_init(&sha256);
	sha256_update(&sha256, (size_t)b->size, (uint8_t *)b->data);
	sha256_digest(&sha256, sizeof(digest), digest);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(b->id + 2 * i, 3, "%02x", digest[i]);
}

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
publish(jsCtx *js, const char *prefix)
{
	char subject[256];
	jsPubOptions o;

	snprintf(subject, sizeof(subject), "%s.message.created", prefix);
	for (size_t i = 0; i < count; i++) {
		jsPubOptions_Init(&o);
		o.MsgId = bodies[i].id;
		must(js_PublishAsync(js, subject, bodies[i].data,
		    bodies[i].size, &o), "publish");
	}
	jsPubOptions_Init(&o);
	o.MaxWait = 120000;
	must(js_PublishAsyncComplete(js, &o), "complete");
}

int
main(int argc, char **argv)
{
	natsConnection *nats;
	jsCtx *js;
	jsOptions o;
	double began;
	struct dirent *entry;
	char path[4096];
	DIR *dir;

	if (argc != 4 || (dir = opendir(argv[1])) == NULL)
		errx(2, "usage: memory directory prefix window");
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.') {
			snprintf(path, sizeof(path), "%s/%s", argv[1],
			    entry->d_name);
			add(path);
		}
	closedir(dir);
	must(natsConnection_ConnectTo(&nats, getenv("NATS_URL")), "connect");
	jsOptions_Init(&o);
	o.PublishAsync.MaxPending = strtol(argv[3], NULL, 10);
	o.PublishAsync.StallWait = 60000;
	must(natsConnection_JetStream(&js, nats, &o), "jetstream");
	began = seconds();
	publish(js, argv[2]);
	printf("%.0f\n", (double)count / (seconds() - began));
	return 0;
}
