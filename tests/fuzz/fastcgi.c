/* SPDX-License-Identifier: ISC */
/*
 * fastcgi.c: sends the input on one or two connections to the event loop,
 * which has a spool in memory.  A signature of zeros counts as right, so that
 * the code after the verification is reached.  Checks that each connection
 * ends; that new/ has each delivery that was answered as stored, and no other;
 * and that all of these were signed and are events.
 *
 * The first byte is not sent.  Its bits: 1 two connections, 2 the client does
 * not read the answers, 4 long bodies are allowed; the upper half: how many
 * turns the loop makes while the bytes arrive.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "gateway.h"
#include "log.h"
#include "spool/name.h"
#include "tests/fuzz/expect.h"

#define PROVEN_MAX	1024
#define TURNS_MAX	1000
#define TEXT_MAX	(1 << 20)
#define SHORT_BODY	300
#define LONG_BODY	70000

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);
/* With ld(1)'s --wrap, other files call the first one as keys_verify(). */
unsigned int __wrap_keys_verify(struct keys *, const uint8_t[DIGEST_SIZE],
    const uint8_t *, size_t);
unsigned int __real_keys_verify(struct keys *, const uint8_t[DIGEST_SIZE],
    const uint8_t *, size_t);

static char directory[96], spool[sizeof(directory) + sizeof("/spool")];
static struct config cfg;
static struct server *server;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static uint8_t proven[PROVEN_MAX][DIGEST_SIZE];
static size_t nproven;

unsigned int
__wrap_keys_verify(struct keys *keys, const uint8_t signature[DIGEST_SIZE],
    const uint8_t *body, size_t len)
{
	static const uint8_t zeros[DIGEST_SIZE];
	unsigned int which = __real_keys_verify(keys, signature, body, len);

	if (memcmp(signature, zeros, DIGEST_SIZE) == 0)
		which = 1;
	if (which != 0) {
		expect(nproven < PROVEN_MAX);
		body_digest(proven[nproven++], body, len);
	}
	return which;
}

/*
 * Makes a directory for the socket, with the spool in it: a directory that has
 * anything else in it is refused as a spool.  An abort leaves it; the caller
 * removes what is left in $TMPDIR.
 */
static void
make_directory(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(directory, sizeof(directory), "%s/hook-fuzz-XXXXXX",
	    tmp != NULL ? tmp : "/tmp");
	expect(mkdtemp(directory) != NULL);
	snprintf(spool, sizeof(spool), "%s/spool", directory);
	expect(mkdir(spool, 0750) == 0);
	cfg.spool = spool;
}

static void
remove_directory(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", directory);
	(void)!system(command);
}

static void
start_server(void)
{
	const char *why;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), size = 1 << 20;

	make_directory();
	atexit(remove_directory);
	cfg.keep_days = 7;
	keys_add(&cfg.keys, "key", 3);
	expect(wanted_parse(&cfg.wanted, "message.*, group.created, "
	    "contact.*, conversation.updated, attachment.deleted") == NULL);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket",
	    directory);
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	expect(bind(listener, (struct sockaddr *)&address,
	    sizeof(address)) == 0 && listen(listener, 16) == 0);
	cfg.max_body = LONG_BODY;
	log_open(LOG_SERVER);
	server = server_new(&cfg, listener, false, &why);
	expect(server != NULL);
}

static int
connect_server(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int size = 1 << 20;

	expect(fd != -1);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	expect(connect(fd, (struct sockaddr *)&address,
	    sizeof(address)) == 0);
	return fd;
}

/* Appends what has arrived to TEXT; returns whether the connection ended. */
static bool
receive_text(int fd, uint8_t *text, size_t *n)
{
	ssize_t r;

	while ((r = recv(fd, text + *n, TEXT_MAX - *n, 0)) > 0)
		*n += (size_t)r;
	return r == 0 || (r == -1 && errno == ECONNRESET);
}

/* Counts answers of "stored"; all records must be whole. */
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

/* BODY was signed, and is an event that is wanted; or, unless EVENT, is not. */
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
	expect((event_parse(&ev, text, &nomem) == NULL) == event);
	expect(!event || event_is_wanted(&cfg.wanted, &ev));
}

/* Checks and removes the files in directory SUB; returns how many. */
static size_t
empty_directory(const char *sub, bool event)
{
	static uint8_t body[LONG_BODY + 1];
	char path[256];
	struct dirent *e;
	size_t n = 0;
	ssize_t size;
	DIR *d;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", cfg.spool, sub);
	if ((d = opendir(path)) == NULL)
		return 0;
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		expect((fd = openat(dirfd(d), e->d_name, O_RDONLY)) != -1);
		size = read(fd, body, sizeof(body));
		close(fd);
		expect(size >= 0 && size <= LONG_BODY);
		check_body(body, (size_t)size, event);
		unlinkat(dirfd(d), e->d_name, 0);
		n++;
	}
	closedir(d);
	return n;
}

static void
empty_archive(void)
{
	char sub[sizeof("archive/") + DAY_SIZE] = "archive/";

	day_format(sub + strlen(sub), time(NULL));
	empty_directory(sub, true);
}

/* Sends the N bytes in PARTS, each to both connections, with a turn between. */
static void
feed_input(const int fds[2], const uint8_t *p, size_t n, unsigned int parts)
{
	size_t part = n / parts + 1;

	for (; n > 0; p += part, n -= part) {
		part = part < n ? part : n;
		send(fds[0], p, part, 0);
		if (fds[1] != -1)
			send(fds[1], p, part, 0);
		if (part < n)
			server_turn(server, 0);
	}
}

/* Sends the input, and reads and checks all answers. */
static void
converse(const uint8_t *data, size_t size)
{
	static uint8_t text[2][TEXT_MAX];
	size_t n[2] = { 0 }, turns, stored = 0, found;
	int fds[2] = { connect_server(), data[0] & 1 ? connect_server() : -1 };
	bool blind = (data[0] & 2) != 0, ended = false;

	cfg.max_body = data[0] & 4 ? LONG_BODY : SHORT_BODY;
	feed_input(fds, data + 1, size - 1, (data[0] >> 4) + 1u);
	shutdown(fds[0], blind ? SHUT_RDWR : SHUT_WR);
	shutdown(fds[1], blind ? SHUT_RDWR : SHUT_WR);
	for (turns = 0; turns < TURNS_MAX && !ended; turns++) {
		server_turn(server, 0);
		ended = !server_is_busy(server) &&
		    receive_text(fds[0], text[0], &n[0]);
		ended = ended && (fds[1] == -1 ||
		    receive_text(fds[1], text[1], &n[1]));
	}
	expect(ended);
	stored = count_stored(text[0], n[0]) + count_stored(text[1], n[1]);
	found = nproven > 0 ? empty_directory("new", true) : 0;
	expect(blind || stored == found);
	close(fds[0]);
	close(fds[1]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (cfg.spool == NULL)
		start_server();
	if (size == 0)
		return 0;
	nproven = 0;
	converse(data, size);
	if (nproven > 0) {
		empty_directory("rejected", false);
		empty_archive();
	}
	return 0;
}
