/* SPDX-License-Identifier: ISC */
/*
 * The two doors, CGI (RFC 3875) and FastCGI: a request in, an answer out.
 *
 * Both take the same way: judge() follows the table of answers from its first
 * row to its last, up to the point where only the commit is missing; then the
 * spool commits, and only then is anything answered.  CGI is a group of one.
 * Nothing before the proof of the signature depends on the body but its length.
 */
#include <sys/mman.h>

#include <errno.h>
#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <fcgiapp.h>

#include "hook.h"

#define SMALL_BODY	(1 << 20)	/* bytes; larger ones are mapped */
#define DRAIN_MAX	(16 << 20)	/* bytes read of what is refused */
#define GATHER_MAX	5000	/* microseconds that a group waits for more */
#define TIDY_EACH	2	/* expired files removed for each new one */
#define TIDY_CGI	8	/* ... and in each group */
#define PARKED_MAX	64	/* requests that wait for another process */
#define PARKED_LOOK	5000	/* microseconds between looks at them */
#define LOG_AGAIN	1000000	/* microseconds until a log is tried again */

struct receiver {
	struct config *cfg;
	struct spool spool;
	const char *fault;	/* why every request gets 500, or NULL */
	int fault_errno;
	bool confined;		/* as far as the system can */
	bool may_wait;		/* nobody else is served meanwhile */
	char jump_logged[DAY_SIZE];	/* when an implausible clock was logged */
};

extern char **environ;

/* What a web server says of a request */

static bool
named(const char *param, const char *name, const char **value)
{
	size_t n = strlen(name);

	if (strncmp(param, name, n) != 0)
		return false;
	*value = param + n;
	return true;
}

/* One pass over the parameters: libfcgi's look-up would hide repeated ones. */
static void
read_params(struct request *rq, char **params)
{
	const char *value;

	for (; *params != NULL; params++) {
		if (named(*params, "HTTP_X_PROTOCOL_SIGNATURE=", &value)) {
			rq->signature_repeated = rq->signature != NULL;
			rq->signature = value;
		} else if (named(*params, "REQUEST_METHOD=", &value))
			rq->method = value;
		else if (named(*params, "CONTENT_LENGTH=", &value))
			rq->length = value;
		else if (named(*params, "HTTP_TRANSFER_ENCODING=", &value))
			rq->encoding = value;
		else if (named(*params, "REMOTE_ADDR=", &value))
			rq->remote = value;
	}
}

/* Judging */

/* Settles the outcome of a request before its body is looked at. */
static void
conclude(struct request *rq, enum outcome outcome, const char *reason,
    int error)
{
	char waste[4096];
	size_t n = 0;
	ssize_t r;

	rq->outcome = outcome;
	rq->reason = reason;
	rq->error = error;
	/* Some servers lose an answer that comes before the body is read. */
	while (n < DRAIN_MAX && !rq->cut && !rq->late &&
	    (r = rq->read(rq, waste, sizeof(waste))) > 0)
		n += (size_t)r;
}

enum length { LENGTH_GIVEN, LENGTH_CHUNKED, LENGTH_NONE, LENGTH_WRONG };

static enum length
read_length(struct request *rq)
{
	const char *s = rq->length;

	/* nginx gives an empty string where it does not know it yet. */
	if (s == NULL || *s == '\0') {
		if (rq->encoding == NULL ||
		    strcasecmp(rq->encoding, "chunked") != 0)
			return LENGTH_NONE;
		rq->left = UINT64_MAX;
		return LENGTH_CHUNKED;
	}
	switch (number_read(&rq->left, s, strlen(s))) {
	case 0:
		return LENGTH_GIVEN;
	case ERANGE:
		rq->left = UINT64_MAX;
		return LENGTH_GIVEN;
	default:
		rq->left = 0;
		return LENGTH_WRONG;
	}
}

/* Up to SIZE bytes, and whether that is all; false if it was refused. */
static bool
read_body(struct request *rq, uint8_t *body, size_t size, enum length kind)
{
	uint8_t more;
	ssize_t r = 1;

	while (rq->bytes < size && r > 0) {
		r = rq->read(rq, body + rq->bytes, size - rq->bytes);
		rq->bytes += r > 0 ? (size_t)r : 0;
	}
	/* libfcgi must see the end, or it is taken for the next request's. */
	if (r > 0)
		r = rq->read(rq, &more, 1);
	if (rq->late)
		conclude(rq, OUTCOME_TIMEOUT, NULL, 0);
	else if (r == -1)
		conclude(rq, OUTCOME_BAD_REQUEST, "the body was cut off", 0);
	else if (r > 0 && kind == LENGTH_CHUNKED)
		conclude(rq, OUTCOME_TOO_LARGE, NULL, 0);
	else if (r > 0)
		conclude(rq, OUTCOME_BAD_REQUEST,
		    "the body is longer than CONTENT_LENGTH", 0);
	else if (rq->bytes < size && kind == LENGTH_GIVEN)
		conclude(rq, OUTCOME_BAD_REQUEST,
		    "the body is shorter than CONTENT_LENGTH", 0);
	else
		return true;
	return false;
}

/* Why it is not proven who sent it, or NULL. */
static const char *
check_signature(struct receiver *rv, struct request *rq, const uint8_t *body)
{
	uint8_t signature[DIGEST_SIZE];

	if (rq->signature == NULL)
		return "no signature";
	if (rq->signature_repeated)
		return "more than one signature";
	if (signature_decode(signature, rq->signature) == -1)
		return "the signature is not 64 hex digits";
	rq->key = keys_verify(&rv->cfg->keys, signature, body, rq->bytes);
	return rq->key == 0 ? "the signature is wrong" : NULL;
}

static void
take(struct receiver *rv, struct request *rq, const uint8_t *body)
{
	struct delivery *d = &rq->delivery;

	rq->taken = true;
	d->event = rq->has_event ? &rq->event : NULL;
	spool_take(&rv->spool, d, body, rq->bytes, rv->may_wait);
	if (d->state != SPOOL_COMMIT_FIRST)
		return;
	spool_commit(&rv->spool);
	spool_take(&rv->spool, d, body, rq->bytes, false);
}

static void
judge_body(struct receiver *rv, struct request *rq, const uint8_t *body)
{
	const struct json_text text = { body, rq->bytes };
	bool nomem = false;
	const char *why;

	if ((why = check_signature(rv, rq, body)) != NULL) {
		conclude(rq, OUTCOME_UNAUTHORIZED, why, 0);
		return;
	}
	/* From here on the body is known to be Protocol's. */
	rq->reason = event_read(&rq->event, text, &nomem);
	if (nomem) {
		conclude(rq, OUTCOME_UNAVAILABLE, "read the event", ENOMEM);
		return;
	}
	rq->has_event = rq->reason == NULL;
	if (rq->has_event && !event_wanted(&rv->cfg->wanted, &rq->event))
		conclude(rq, OUTCOME_IGNORED, NULL, 0);
	else
		take(rv, rq, body);
}

static void
judge_post(struct receiver *rv, struct request *rq, enum length kind)
{
	static uint8_t small[SMALL_BODY];
	size_t size = rv->cfg->max_body;
	uint8_t *body = small;

	if (kind == LENGTH_GIVEN)
		size = (size_t)rq->left;
	if (size > sizeof(small)) {
		body = mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (body == MAP_FAILED) {
			conclude(rq, OUTCOME_UNAVAILABLE, "memory", errno);
			return;
		}
	}
	if (read_body(rq, body, size, kind))
		judge_body(rv, rq, body);
	if (body != small)
		munmap(body, size);
}

/* GET: would a delivery be taken now? */
static void
judge_readiness(struct receiver *rv, struct request *rq)
{
	const char *why;

	if (rv->spool.low != NULL)
		conclude(rq, OUTCOME_UNAVAILABLE, rv->spool.low, 0);
	else if (spool_try_link(&rv->spool, &why) == -1)
		conclude(rq, OUTCOME_UNAVAILABLE, why, errno);
	else
		conclude(rq, OUTCOME_READY, NULL, 0);
}

/* The table of answers, row by row. */
static void
judge(struct receiver *rv, struct request *rq)
{
	enum length kind = read_length(rq);
	const char *method = rq->method != NULL ? rq->method : "";

	if (rv->fault != NULL)
		conclude(rq, OUTCOME_MISCONFIGURED, rv->fault,
		    rv->fault_errno);
	else if (rq->late)
		conclude(rq, OUTCOME_TIMEOUT, NULL, 0);
	else if (rq->unheld != 0)
		conclude(rq, OUTCOME_UNAVAILABLE, "collect the request",
		    rq->unheld);
	else if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
		judge_readiness(rv, rq);
	else if (strcmp(method, "POST") != 0)
		conclude(rq, OUTCOME_BAD_METHOD, NULL, 0);
	else if (kind == LENGTH_NONE)
		conclude(rq, OUTCOME_NO_LENGTH, NULL, 0);
	else if (kind == LENGTH_WRONG)
		conclude(rq, OUTCOME_BAD_REQUEST,
		    "CONTENT_LENGTH is no number", 0);
	else if (kind == LENGTH_GIVEN && rq->left > rv->cfg->max_body)
		conclude(rq, OUTCOME_TOO_LARGE, NULL, 0);
	else
		judge_post(rv, rq, kind);
}

/* After the commit: what the spool says is what is answered. */
static void
settle(struct request *rq)
{
	const struct delivery *d = &rq->delivery;

	if (!rq->taken)
		return;
	if (d->step != NULL) {
		rq->reason = d->step;
		rq->error = d->error;
	} else if (d->state == SPOOL_BUSY) {
		rq->reason = "lock";
		rq->error = EAGAIN;
	}
	if (d->state == SPOOL_STORED || d->state == SPOOL_DUPLICATE)
		rq->outcome = !rq->has_event ? OUTCOME_REJECTED :
		    d->state == SPOOL_STORED ? OUTCOME_STORED :
		    OUTCOME_DUPLICATE;
	else
		rq->outcome = OUTCOME_UNAVAILABLE;
}

/* Whether requests can be taken at all, asked anew for each group. */
static void
check(struct receiver *rv)
{
	rv->fault_errno = 0;
	if ((rv->fault = config_error(rv->cfg)) != NULL)
		return;
	errno = 0;
	rv->fault = spool_check(&rv->spool);
	rv->fault_errno = errno;
}

static void
open_receiver(struct receiver *rv, struct config *cfg)
{
	memset(rv, 0, sizeof(*rv));
	rv->cfg = cfg;
	spool_init(&rv->spool, cfg);
}

/* A log line for what is no request. */
static void
note(const char *result, const char *why)
{
	log_note(result, why);
}

/*
 * A write that fails is seen as such: to a reader that is gone, or beyond a
 * limit of the size of files.  What was blocked by whoever started us would stay
 * so: we could not be told to end.
 */
static void
ignore_and_unblock(void)
{
	sigset_t none;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* It may be misspelt, so that a default is used where none was meant. */
static void
note_unknown(const char *name, const char *value, const char *why)
{
	char reason[256];

	(void)value;
	snprintf(reason, sizeof(reason), "%s %s", name, why);
	note("unknown_variable", reason);
}

/* CGI */

/* Never past CONTENT_LENGTH: some servers keep the pipe open. */
static ssize_t
cgi_read(struct request *rq, void *buf, size_t n)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	int left;
	ssize_t r;

	if (n > rq->left)
		n = (size_t)rq->left;
	if (n == 0)
		return 0;
	do {
		left = REQUEST_SECONDS * 1000 -
		    (int)((microseconds() - rq->began) / 1000);
		if (left <= 0 || poll(&in, 1, left) == 0) {
			rq->late = true;
			return -1;
		}
		r = read(STDIN_FILENO, buf, n);
	} while (r == -1 && (errno == EINTR || errno == EAGAIN));
	if (r == -1)
		rq->cut = true;
	else if (rq->left != UINT64_MAX)
		rq->left -= (uint64_t)r;
	return r;
}

/*
 * The answer.  The first write takes all of it, but where standard output does
 * not wait and is full.
 */
static int
cgi_write(const char *p, size_t n)
{
	struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };
	int64_t end = microseconds() + REQUEST_SECONDS * 1000000;
	int left;
	ssize_t w;

	while (n > 0) {
		left = (int)((end - microseconds()) / 1000);
		if (left <= 0 || poll(&out, 1, left) == 0)
			return -1;
		w = write(STDOUT_FILENO, p, n);
		if (w == -1 && errno != EINTR && errno != EAGAIN)
			return -1;
		p += w > 0 ? w : 0;
		n -= w > 0 ? (size_t)w : 0;
	}
	return 0;
}

int
gateway_cgi(struct config *cfg)
{
	static struct request rq;
	static struct receiver rv;
	char answer[ANSWER_SIZE];
	int status;

	ignore_and_unblock();
	log_open(log_choose(true));
	rq.began = microseconds();
	rq.read = cgi_read;
	read_params(&rq, environ);
	open_receiver(&rv, cfg);
	rv.may_wait = true;
	check(&rv);
	if (rv.fault == NULL)
		sandbox_enter(rv.spool.dir, cfg->spool, NULL);
	judge(&rv, &rq);
	/*
	 * lighttpd ends the program as soon as it has the answer: what follows
	 * must not be lost with that, so the log line also comes first.
	 */
	signal(SIGTERM, SIG_IGN);
	spool_commit(&rv.spool);
	settle(&rq);
	/* Not with each delivery. */
	if (rq.outcome == OUTCOME_READY || rq.outcome == OUTCOME_MISCONFIGURED)
		config_each_unknown(note_unknown);
	log_request(&rq);
	log_flush();
	/* One write: some servers turn a cut answer into a 200. */
	status = cgi_write(answer, reply_answer(answer, &rq));
	spool_tidy(&rv.spool, TIDY_CGI, true);
	log_flush();
	return status == 0 ? 0 : 1;
}

/* FastCGI */

struct fcgi_request {
	struct request rq;	/* first: fcgi_read() finds us by it */
	FCGX_Request fcgi;
	struct connection *c;
	bool keep;
};

/*
 * The requests of a group, and those that wait for another process.  A request
 * must stay where it is in memory, as libfcgi points into it, so pointers change
 * places: those after the first nparked are to spare.
 */
static struct fcgi_request requests[GROUP_MAX + PARKED_MAX];
static struct fcgi_request *group[GROUP_MAX], *parked[PARKED_MAX];
static size_t nparked;

static void
init_requests(void)
{
	size_t i;

	for (i = 0; i < GROUP_MAX; i++)
		group[i] = &requests[i];
	for (i = 0; i < PARKED_MAX; i++)
		parked[i] = &requests[GROUP_MAX + i];
}

static volatile sig_atomic_t stop, reload;
static int wake[2];

static void
on_signal(int sig)
{
	int saved = errno;

	if (sig == SIGHUP)
		reload = 1;
	else
		stop = 1;
	(void)!write(wake[1], "", 1);
	errno = saved;
}

/* Signals end the wait in poll, through a pipe, and nothing else. */
static int
catch_signals(void)
{
	/* A limit of processor time sends SIGXCPU some time before SIGKILL. */
	static const int caught[] = { SIGTERM, SIGINT, SIGUSR1, SIGXCPU,
	    SIGHUP };
	struct sigaction sa = { .sa_handler = on_signal,
	    .sa_flags = SA_RESTART };
	size_t i;

	if (pipe(wake) == -1)
		return -1;
	for (i = 0; i < 2; i++)
		if (fcntl(wake[i], F_SETFL, O_NONBLOCK) == -1 ||
		    fcntl(wake[i], F_SETFD, FD_CLOEXEC) == -1)
			return -1;
	sigemptyset(&sa.sa_mask);
	for (i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		sigaction(caught[i], &sa, NULL);
	ignore_and_unblock();
	return 0;
}

static void
answer_signals(struct config *cfg)
{
	const char *why;
	char waste[64];

	while (read(wake[0], waste, sizeof(waste)) > 0)
		;
	if (!reload)
		return;
	reload = 0;
	why = config_reload(cfg);
	note(why == NULL ? "reloaded" : "reload_failed", why);
}

static ssize_t
fcgi_read(struct request *rq, void *buf, size_t n)
{
	FCGX_Request *fcgi = &((struct fcgi_request *)rq)->fcgi;
	int want = (int)n;	/* of a body, which is 1G at most */
	int got = FCGX_GetStr(buf, want, fcgi->in);

	/* A body that was cut off looks like the end of one, but for this. */
	if (got < want && FCGX_GetError(fcgi->in) != 0) {
		rq->cut = true;
		return -1;
	}
	return got;
}

/*
 * Hands the connection to libfcgi, which takes one that it has not accepted
 * itself if ipcFd and keepConnection are set; with detached it closes it, if
 * need be, without waiting for the peer.  false if it was no request.
 */
static bool
begin(struct fcgi_request *r, struct connection *c)
{
	struct request *rq = &r->rq;

	memset(r, 0, sizeof(*r));
	FCGX_InitRequest(&r->fcgi, -1, 0);
	r->fcgi.ipcFd = c->held != -1 ? c->held : c->fd;
	r->fcgi.keepConnection = 1;
	r->fcgi.detached = 1;
	if (FCGX_Accept_r(&r->fcgi) != 0) {
		*(c->held != -1 ? &c->held : &c->fd) = -1;
		connection_done(c, false);
		return false;
	}
	r->c = c;
	r->keep = r->fcgi.keepConnection != 0;
	rq->began = microseconds();
	rq->read = fcgi_read;
	rq->late = c->late;
	rq->unheld = c->records.error;
	rq->framed = true;
	read_params(rq, r->fcgi.envp);
	return true;
}

static void
finish(struct fcgi_request *r)
{
	char answer[ANSWER_SIZE];
	FCGX_Request *fcgi = &r->fcgi;
	const char *lines;
	size_t n;

	log_request(&r->rq);
	if ((lines = log_take(&n)) != NULL)
		FCGX_PutStr(lines, (int)n, fcgi->err);
	FCGX_PutStr(answer, (int)reply_answer(answer, &r->rq), fcgi->out);
	fcgi->ipcFd = r->c->fd;		/* it may have read from c->held */
	fcgi->keepConnection = 1;	/* connection_done() closes it */
	fcgi->detached = 1;
	FCGX_Finish_r(fcgi);
	if (fcgi->ipcFd == -1)		/* ... unless writing failed */
		r->c->fd = -1;
	connection_done(r->c, r->keep && r->c->fd != -1);
}

/* Once a day, if the clock is far past the last delivery. */
static void
note_clock(struct receiver *rv)
{
	char why[128];

	if (rv->fault != NULL || !spool_clock_jumped(&rv->spool) ||
	    strcmp(rv->jump_logged, rv->spool.today) == 0)
		return;
	memcpy(rv->jump_logged, rv->spool.today, DAY_SIZE);
	snprintf(why, sizeof(why), "the last delivery was archived on %s: is "
	    "the clock right?  nothing expires today", rv->spool.newest);
	note("expiry_held", why);
}

/*
 * Once the spool is open, nothing else can be reached.  A spool that was
 * replaced can't either then: the process ends, for a new one to open it.
 */
static void
check_confined(struct receiver *rv)
{
	const char *why;

	check(rv);
	note_clock(rv);
	if (rv->confined) {
		if (rv->spool.dir == -1 && rv->fault_errno == EACCES &&
		    spool_replaced(&rv->spool))
			stop = 1;
	} else if (rv->fault == NULL) {
		why = sandbox_enter(rv->spool.dir, rv->cfg->spool,
		    rv->cfg->secret_file);
		if (why != NULL)
			note("sandbox_off", why);
		rv->confined = true;
	}
}

/* Takes what is whole now into the group of N; how many it then has. */
static size_t
gather(struct receiver *rv, size_t n)
{
	struct connection *c;

	while (n < GROUP_MAX && (c = connections_next()) != NULL) {
		if (n == 0)
			check_confined(rv);
		if (begin(group[n], c))
			judge(rv, &group[n++]->rq);
	}
	return n;
}

/*
 * A flush takes as long for one delivery as for many, and those whose senders
 * were just answered are followed by more.  So a group waits for as many as
 * there were, together with what came meanwhile, at the last commit; but for
 * half as long as that took at most, and where one comes at a time not at all.
 */
static size_t
gather_group(struct receiver *rv, size_t crowd, int64_t took)
{
	int64_t end = microseconds() +
	    (took / 2 < GATHER_MAX ? took / 2 : GATHER_MAX), left;
	size_t n = gather(rv, 0);

	while (n > 0 && n < crowd && n < GROUP_MAX &&
	    (left = end - microseconds()) > 0 && connections_wait(left) > 0)
		n = gather(rv, n);
	return n;
}

/* Has the request wait; false if too many wait already. */
static bool
park(struct fcgi_request **r)
{
	struct fcgi_request *spare;

	if (nparked == PARKED_MAX)
		return false;
	spare = parked[nparked];
	parked[nparked++] = *r;
	*r = spare;
	return true;
}

/*
 * Looks at the requests whose bodies another process was storing.  They wait
 * here, and not in the spool, so that they hold nobody up.
 */
static void
retry_parked(struct receiver *rv)
{
	struct fcgi_request *r;
	int64_t age;
	size_t i = 0;

	while (i < nparked) {
		r = parked[i];
		age = microseconds() - r->rq.began;
		spool_retry(&rv->spool, &r->rq.delivery, stop ||
		    age >= (int64_t)SPOOL_BUSY_SECONDS * 1000000);
		if (r->rq.delivery.state == SPOOL_BUSY) {
			i++;
			continue;
		}
		settle(&r->rq);
		finish(r);
		parked[i] = parked[--nparked];
		parked[nparked] = r;
	}
	log_flush();
}

/* Gather, commit, answer. */
static void
serve_group(struct receiver *rv)
{
	static size_t crowd;
	static int64_t took;	/* microseconds, the last commit */
	int64_t since;
	size_t i, n;

	n = gather_group(rv, crowd, took);
	since = microseconds();
	spool_commit(&rv->spool);
	took = microseconds() - since;
	crowd = n > 0 ? n + connections_wait(0) : 0;
	for (i = 0; i < n; i++) {
		if (group[i]->rq.taken &&
		    group[i]->rq.delivery.state == SPOOL_BUSY &&
		    park(&group[i]))
			continue;
		settle(&group[i]->rq);
		finish(group[i]);
	}
	log_flush();
	if (n > 0)
		spool_tidy(&rv->spool, TIDY_EACH * n + TIDY_CGI, false);
}

/*
 * libfcgi allocates 17 KB for each request; what a group has freed would be
 * given back to the system, and faulted in again page by page for the next.
 */
static void
keep_memory(void)
{
#ifdef __GLIBC__
	mallopt(M_TRIM_THRESHOLD, GROUP_MAX * 64 * 1024);
#endif
}

static int
start_fastcgi(struct config *cfg, int listener)
{
	log_open(log_choose(false));
	/* Our handlers before FCGX_Init(), which keeps what it finds. */
	if (catch_signals() == 0 && FCGX_Init() == 0 &&
	    connections_open(listener, wake[0], cfg->max_body) == 0)
		return 0;
	note("start_failed", strerror(errno));
	log_flush();
	return -1;
}

int
gateway_fastcgi(struct config *cfg, int listener)
{
	static struct receiver rv;

	if (start_fastcgi(cfg, listener) == -1)
		return 1;
	keep_memory();
	open_receiver(&rv, cfg);
	config_each_unknown(note_unknown);
	check_confined(&rv);	/* and make what the spool lacks */
	init_requests();
	log_flush();
	while (!stop || nparked > 0 || connections_busy()) {
		connections_wait(nparked > 0 ? PARKED_LOOK :
		    log_waits() ? LOG_AGAIN : -1);
		answer_signals(cfg);
		serve_group(&rv);
		retry_parked(&rv);
		if (stop)
			connections_stop();
	}
	return 0;
}
