/* SPDX-License-Identifier: ISC */
/*
 * The event loop: gather a group of requests, commit it, answer.
 *
 * libfcgi parses requests and formats responses, one request at a time; the
 * connections are ours (connections.h).
 */
#include <errno.h>
#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <fcgiapp.h>

#include "config.h"
#include "connections.h"
#include "gateway.h"
#include "log.h"
#include "peers.h"
#include "reply.h"
#include "request.h"
#include "signals.h"
#include "util.h"

#define GATHER_MAX_US	5000	/* that a group waits for more requests */
#define WAITING_MAX	64	/* requests that wait for another process */
#define WAITING_LOOK_US	5000	/* between looks at them */
#define LOG_RETRY_US	1000000	/* until a log that is full is tried again */

struct fastcgi_request {
	struct request rq;	/* first: read_body_stream() relies on it */
	FCGX_Request fcgi;
	struct connection *connection;
	bool keep;		/* the web server keeps the connection */
};

/*
 * A request stays where it is in memory, as libfcgi points into it; so pointers
 * change places between group[] and waiting[].  Those beyond what is counted
 * are spare.
 */
struct server {
	struct config *cfg;
	struct receiver *receiver;
	struct connections *connections;
	struct fastcgi_request requests[GROUP_MAX + WAITING_MAX];
	struct fastcgi_request *group[GROUP_MAX];
	struct fastcgi_request *waiting[WAITING_MAX];
	size_t nwaiting;
	size_t expected_group;	/* requests that the next group may have */
	int64_t commit_us;	/* that the last commit took */
	bool confined;		/* as far as the system can */
	char logged_expiry_held[DAY_SIZE];
};

/* Signals belong to the process; the pipe ends the wait in poll(2). */
static volatile sig_atomic_t stop, reload;
static int wake_pipe[2];

static void
note_signal(int sig)
{
	int saved = errno;

	if (sig == SIGHUP)
		reload = 1;
	else
		stop = 1;
	(void)!write(wake_pipe[1], "", 1);
	errno = saved;
}

static int
catch_signals(void)
{
	/* A limit of processor time sends SIGXCPU some time before SIGKILL. */
	static const int caught[] = { SIGTERM, SIGINT, SIGUSR1, SIGXCPU,
	    SIGHUP };
	struct sigaction sa = { .sa_handler = note_signal,
	    .sa_flags = SA_RESTART };
	size_t i;

	if (pipe(wake_pipe) == -1)
		return -1;
	for (i = 0; i < 2; i++)
		if (fcntl(wake_pipe[i], F_SETFL, O_NONBLOCK) == -1 ||
		    fcntl(wake_pipe[i], F_SETFD, FD_CLOEXEC) == -1)
			return -1;
	sigemptyset(&sa.sa_mask);
	for (i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		sigaction(caught[i], &sa, NULL);
	signals_init();
	return 0;
}

static void
handle_signals(struct config *cfg)
{
	const char *why;
	char unused[64];

	while (read(wake_pipe[0], unused, sizeof(unused)) > 0)
		;
	if (!reload)
		return;
	reload = 0;
	why = config_reload(cfg);
	log_event(why == NULL ? "reloaded" : "reload_failed", why);
}

/* Requests */

static ssize_t
read_body_stream(struct request *rq, void *buf, size_t n)
{
	FCGX_Request *fcgi = &((struct fastcgi_request *)rq)->fcgi;
	int want = (int)n;	/* BODY_MAX fits */
	int got = FCGX_GetStr(buf, want, fcgi->in);

	/* Only the error tells a body that was cut off from one that ended. */
	if (got < want && FCGX_GetError(fcgi->in) != 0) {
		rq->cut = true;
		return -1;
	}
	return got;
}

/*
 * Gives libfcgi a connection that it did not accept, by setting ipcFd and
 * keepConnection; detached makes it close without waiting for the peer.  False
 * if there was no valid request.
 */
static bool
begin_request(struct fastcgi_request *r, struct connection *c)
{
	struct request *rq = &r->rq;

	memset(r, 0, sizeof(*r));
	FCGX_InitRequest(&r->fcgi, -1, 0);
	r->fcgi.ipcFd = connection_input_fd(c);
	r->fcgi.keepConnection = 1;
	r->fcgi.detached = 1;
	if (FCGX_Accept_r(&r->fcgi) != 0) {
		connection_forget_input(c);
		connection_close(c);
		return false;
	}
	r->connection = c;
	r->keep = r->fcgi.keepConnection != 0;
	rq->began_us = clock_us();
	rq->read = read_body_stream;
	rq->late = connection_timed_out(c);
	rq->buffer_error = connection_buffer_error(c);
	rq->body_has_end = true;
	request_read_params(rq, r->fcgi.envp);
	return true;
}

/* Logs and answers. */
static void
end_request(struct fastcgi_request *r)
{
	char answer[ANSWER_SIZE];
	FCGX_Request *fcgi = &r->fcgi;
	const char *lines;
	size_t n;

	log_request(&r->rq);
	if ((lines = log_take(&n)) != NULL)
		FCGX_PutStr(lines, (int)n, fcgi->err);
	FCGX_PutStr(answer, (int)reply_format(answer, &r->rq), fcgi->out);
	/* The input may have been a copy; connection_close() closes. */
	fcgi->ipcFd = connection_output_fd(r->connection);
	fcgi->keepConnection = 1;
	fcgi->detached = 1;
	FCGX_Finish_r(fcgi);
	if (fcgi->ipcFd == -1) {	/* writing failed */
		connection_forget_output(r->connection);
		r->keep = false;
	}
	(r->keep ? connection_keep : connection_close)(r->connection);
}

/* Groups */

/* Once a day, if the clock is far past the last delivery. */
static void
log_expiry_held(struct server *sv)
{
	const char *last = receiver_expiry_held(sv->receiver);
	char reason[160], today[DAY_SIZE];

	day_format(today, time(NULL));
	if (last == NULL || strcmp(sv->logged_expiry_held, today) == 0)
		return;
	memcpy(sv->logged_expiry_held, today, DAY_SIZE);
	snprintf(reason, sizeof(reason), "the last delivery was archived on "
	    "%s: is the clock right?  what was kept then does not expire today",
	    last);
	log_event("expiry_held", reason);
}

/*
 * Once the spool is open the process is confined to it.  A spool that replaces
 * it is out of reach, so the process stops, for a new one to open it.
 */
static void
refresh_receiver(struct server *sv)
{
	const char *why;

	if (!receiver_refresh(sv->receiver)) {
		if (sv->confined && receiver_is_locked_out(sv->receiver))
			stop = 1;
		return;
	}
	log_expiry_held(sv);
	if (sv->confined)
		return;
	why = receiver_confine(sv->receiver, sv->cfg->secret_file);
	if (why != NULL)
		log_event("sandbox_off", why);
	sv->confined = true;
}

/* Adds the requests that are whole to the group of N; returns its new size. */
static size_t
gather_whole(struct server *sv, size_t n)
{
	struct connection *c;

	while (n < GROUP_MAX &&
	    (c = connections_next(sv->connections)) != NULL) {
		if (n == 0)
			refresh_receiver(sv);
		if (begin_request(sv->group[n], c))
			request_evaluate(sv->receiver, &sv->group[n++]->rq);
	}
	return n;
}

/*
 * Group commit.  A flush costs the same for one delivery as for many, and
 * senders that were just answered usually send again.  So wait until there are
 * as many requests as in the last group plus those that arrived during its
 * commit, but at most half as long as that commit took.  With one sender at a
 * time, do not wait.
 */
static size_t
gather_group(struct server *sv)
{
	int64_t most_us = sv->commit_us / 2, end_us, left_us;
	size_t n;

	if (most_us > GATHER_MAX_US)
		most_us = GATHER_MAX_US;
	end_us = clock_us() + most_us;
	n = gather_whole(sv, 0);
	while (n > 0 && n < sv->expected_group && n < GROUP_MAX &&
	    (left_us = end_us - clock_us()) > 0 &&
	    connections_wait(sv->connections, left_us) > 0)
		n = gather_whole(sv, n);
	return n;
}

/* Moves a request to those that wait; false if too many wait already. */
static bool
set_waiting(struct server *sv, struct fastcgi_request **r)
{
	struct fastcgi_request *spare;

	if (sv->nwaiting == WAITING_MAX)
		return false;
	spare = sv->waiting[sv->nwaiting];
	sv->waiting[sv->nwaiting++] = *r;
	*r = spare;
	return true;
}

/*
 * Looks again at the requests whose bodies another process was storing, so that
 * they delay nobody else.
 */
static void
retry_waiting(struct server *sv)
{
	struct fastcgi_request *r;
	bool last;
	size_t i = 0;

	while (i < sv->nwaiting) {
		r = sv->waiting[i];
		last = stop || clock_us() - r->rq.began_us >=
		    (int64_t)SPOOL_BUSY_SECONDS * 1000000;
		receiver_retry(sv->receiver, &r->rq, last);
		if (request_is_waiting(&r->rq)) {
			i++;
			continue;
		}
		request_apply_result(&r->rq);
		end_request(r);
		sv->waiting[i] = sv->waiting[--sv->nwaiting];
		sv->waiting[sv->nwaiting] = r;
	}
	log_flush();
}

static void
serve_group(struct server *sv)
{
	struct fastcgi_request **r;
	int64_t began_us;
	size_t n;

	n = gather_group(sv);
	began_us = clock_us();
	receiver_commit(sv->receiver);
	sv->commit_us = clock_us() - began_us;
	sv->expected_group = n > 0 ?
	    n + connections_wait(sv->connections, 0) : 0;
	for (r = sv->group; r < sv->group + n; r++) {
		if (request_is_waiting(&(*r)->rq) && set_waiting(sv, r))
			continue;
		request_apply_result(&(*r)->rq);
		end_request(*r);
	}
	log_flush();
	if (n > 0)
		receiver_tidy(sv->receiver, n, false);
}

/* Start */

/*
 * libfcgi allocates 17 KB for each request.  malloc would return what a group
 * has freed to the system, and the next group would fault it in again.
 */
static void
keep_freed_memory(void)
{
#ifdef __GLIBC__
	mallopt(M_TRIM_THRESHOLD, GROUP_MAX * 64 * 1024);
#endif
}

/* NULL, or why it can't be set up. */
static const char *
server_init(struct server *sv, struct config *cfg, int listener)
{
	struct peers peers;
	const char *why;

	why = peers_parse(&peers, getenv("FCGI_WEB_SERVER_ADDRS"));
	if (why != NULL)
		return why;
	/* FCGX_Init() keeps handlers that are installed before it. */
	if (catch_signals() == -1 || FCGX_Init() != 0 ||
	    (sv->receiver = receiver_new(cfg, false)) == NULL ||
	    (sv->connections = connections_new(listener, wake_pipe[0], &peers,
	    cfg->max_body)) == NULL)
		return strerror(errno);
	return NULL;
}

struct server *
server_new(struct config *cfg, int listener, bool confine, const char **why)
{
	struct server *sv = calloc(1, sizeof(*sv));
	size_t i;

	if (sv == NULL) {
		*why = strerror(errno);
		return NULL;
	}
	if ((*why = server_init(sv, cfg, listener)) != NULL) {
		free(sv);
		return NULL;
	}
	sv->cfg = cfg;
	sv->confined = !confine;
	for (i = 0; i < GROUP_MAX; i++)
		sv->group[i] = &sv->requests[i];
	for (i = 0; i < WAITING_MAX; i++)
		sv->waiting[i] = &sv->requests[GROUP_MAX + i];
	return sv;
}

void
server_turn(struct server *sv, int64_t most_us)
{
	connections_wait(sv->connections, most_us);
	handle_signals(sv->cfg);
	serve_group(sv);
	retry_waiting(sv);
	if (stop)
		connections_stop(sv->connections);
}

bool
server_is_busy(const struct server *sv)
{
	return sv->nwaiting > 0 || connections_busy(sv->connections);
}

int
fastcgi_run(struct config *cfg, int listener)
{
	struct server *sv;
	const char *why;

	log_open(log_choose(false));
	if ((sv = server_new(cfg, listener, true, &why)) == NULL) {
		log_event("start_failed", why);
		log_flush();
		return 1;
	}
	keep_freed_memory();
	config_each_unknown(log_unknown_variable);
	refresh_receiver(sv);	/* makes what is missing in the spool */
	log_flush();
	while (!stop || server_is_busy(sv))
		server_turn(sv, sv->nwaiting > 0 ? WAITING_LOOK_US :
		    log_has_unwritten() ? LOG_RETRY_US : -1);
	connections_free(sv->connections);
	receiver_free(sv->receiver);
	free(sv);
	return 0;
}
