/* SPDX-License-Identifier: ISC */
/*
 * The FastCGI door: any bytes on one or two connections, into the worker's own
 * loop and a spool in memory.  A body counts as signed if its signature is all
 * zeros, so that what lies behind the proof is reached.  Each connection comes
 * to its end; what is answered as stored, and nothing else, is in new/; and all
 * that is there was signed, and is an event.
 *
 * The first byte: 1 two connections, 2 the client does not read its answers,
 * 4 long bodies are allowed, 8 a log beside the answers; the rest how many
 * times the loop turns while the bytes arrive.
 */
#define keys_verify	fuzz_verify
#include "gateway.c"
#undef keys_verify

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <dirent.h>
#include <stdlib.h>

#define PROVEN_MAX	1024
#define TURNS_MAX	1000
#define TEXT_MAX	(1 << 20)
#define SHORT_BODY	300
#define LONG_BODY	70000

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);
unsigned int keys_verify(struct keys *, const uint8_t[DIGEST_SIZE],
    const uint8_t *, size_t);

static struct config cfg;
static struct receiver receiver;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static uint8_t proven[PROVEN_MAX][DIGEST_SIZE];
static size_t nproven;

static void
expect(bool right)
{
	if (!right)
		abort();
}

unsigned int
fuzz_verify(struct keys *keys, const uint8_t signature[DIGEST_SIZE],
    const uint8_t *body, size_t len)
{
	static const uint8_t zeros[DIGEST_SIZE];
	unsigned int which = keys_verify(keys, signature, body, len);

	if (memcmp(signature, zeros, DIGEST_SIZE) == 0)
		which = 1;
	if (which != 0) {
		expect(nproven < PROVEN_MAX);
		body_digest(proven[nproven++], body, len);
	}
	return which;
}

/* Whoever runs this removes what is left in $TMPDIR: an abort leaves it. */
static char *
make_spool(void)
{
	static char path[96];
	const char *dir = getenv("TMPDIR");

	snprintf(path, sizeof(path), "%s/hook-fuzz-XXXXXX",
	    dir != NULL ? dir : "/tmp");
	return mkdtemp(path);
}

static void
remove_spool(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", cfg.spool);
	(void)!system(command);
}

static void
open_door(void)
{
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), size = 1 << 20;

	expect((cfg.spool = make_spool()) != NULL);
	atexit(remove_spool);
	cfg.keep_days = 7;
	keys_add(&cfg.keys, "key", 3);
	expect(wanted_read(&cfg.wanted, "message.*, group.created, "
	    "contact.*, conversation.updated, attachment.deleted") == NULL);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket",
	    cfg.spool);
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	expect(bind(listener, (struct sockaddr *)&address,
	    sizeof(address)) == 0 && listen(listener, 16) == 0);
	/* A wake that is always readable: poll never waits. */
	expect(connections_open(listener, eventfd(1, 0), LONG_BODY) == 0);
	signal(SIGPIPE, SIG_IGN);
	expect(FCGX_Init() == 0);
	log_open(LOG_SERVER);
	open_receiver(&receiver, &cfg);
	init_requests();
	receiver.confined = true;
}

static void
turn(void)
{
	connections_wait(-1);
	serve_group(&receiver);
}

static int
dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int size = 1 << 20;

	expect(fd != -1);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	expect(connect(fd, (struct sockaddr *)&address,
	    sizeof(address)) == 0);
	return fd;
}

/* Whether the end was seen; what came before goes into TEXT. */
static bool
receive(int fd, uint8_t *text, size_t *n)
{
	ssize_t r;

	while ((r = recv(fd, text + *n, TEXT_MAX - *n, 0)) > 0)
		*n += (size_t)r;
	return r == 0 || (r == -1 && errno == ECONNRESET);
}

/* How many of the answers, which are whole records, say it is stored. */
static size_t
count_stored(const uint8_t *p, size_t n)
{
	static const char stored[] = "\r\n\r\n{\"status\":\"stored\"";
	size_t count = 0, len;

	while (n >= 8) {
		len = (size_t)(p[4] << 8 | p[5]);
		expect(p[0] == 1 && n >= 8 + len + p[6]);
		if (p[1] == 6 && len > 0) {
			expect(memcmp(p + 8, "Status: ", 8) == 0);
			count += memmem(p + 8, len, stored,
			    sizeof(stored) - 1) != NULL;
		}
		n -= 8 + len + p[6];
		p += 8 + len + p[6];
	}
	return count;
}

static void
check_body(const uint8_t *body, size_t n, bool event)
{
	const struct json_text text = { body, n };
	uint8_t digest[DIGEST_SIZE];
	bool nomem = false;
	struct event ev;
	size_t i;

	body_digest(digest, body, n);
	for (i = 0; i < nproven; i++)
		if (memcmp(proven[i], digest, DIGEST_SIZE) == 0)
			break;
	expect(i < nproven);
	expect((event_read(&ev, text, &nomem) == NULL) == event);
	expect(!event || event_wanted(&cfg.wanted, &ev));
}

/* Empties DIRECTORY, whose files are looked at; how many there were. */
static size_t
empty(int directory, bool event)
{
	static uint8_t body[LONG_BODY + 1];
	int fd, dir = openat(directory, ".", O_RDONLY | O_DIRECTORY);
	DIR *d = fdopendir(dir);
	struct dirent *e;
	size_t n = 0;
	ssize_t size;

	expect(d != NULL);
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		expect((fd = openat(dir, e->d_name, O_RDONLY)) != -1);
		size = read(fd, body, sizeof(body));
		close(fd);
		expect(size >= 0 && size <= LONG_BODY);
		check_body(body, (size_t)size, event);
		unlinkat(dir, e->d_name, 0);
		n++;
	}
	closedir(d);
	return n;
}

static void
empty_day(void)
{
	int fd = openat(receiver.spool.archive, receiver.spool.today,
	    O_RDONLY | O_DIRECTORY);

	if (fd == -1)
		return;
	empty(fd, true);
	close(fd);
}

/* The bytes in PARTS, on each connection in turn. */
static void
feed(const int fds[2], const uint8_t *p, size_t n, unsigned int parts)
{
	size_t part = n / parts + 1;

	for (; n > 0; p += part, n -= part) {
		part = part < n ? part : n;
		send(fds[0], p, part, 0);
		if (fds[1] != -1)
			send(fds[1], p, part, 0);
		if (part < n)
			turn();
	}
}

static void
converse(const uint8_t *data, size_t size)
{
	static uint8_t text[2][TEXT_MAX];
	size_t n[2] = { 0 }, turns, stored = 0, found;
	int fds[2] = { dial(), data[0] & 1 ? dial() : -1 };
	bool blind = (data[0] & 2) != 0, ended = false;

	cfg.max_body = data[0] & 4 ? LONG_BODY : SHORT_BODY;
	feed(fds, data + 1, size - 1, (data[0] >> 4) + 1u);
	shutdown(fds[0], blind ? SHUT_RDWR : SHUT_WR);
	shutdown(fds[1], blind ? SHUT_RDWR : SHUT_WR);
	for (turns = 0; turns < TURNS_MAX && !ended; turns++) {
		turn();
		ended = !connections_busy() && receive(fds[0], text[0], &n[0]);
		ended = ended && (fds[1] == -1 ||
		    receive(fds[1], text[1], &n[1]));
	}
	expect(ended);
	stored = count_stored(text[0], n[0]) + count_stored(text[1], n[1]);
	found = nproven > 0 ? empty(receiver.spool.new, true) : 0;
	expect(blind || stored == found);
	close(fds[0]);
	close(fds[1]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (cfg.spool == NULL)
		open_door();
	if (size == 0)
		return 0;
	nproven = 0;
	converse(data, size);
	if (nproven > 0) {
		empty(receiver.spool.rejected, false);
		empty_day();
	}
	return 0;
}
