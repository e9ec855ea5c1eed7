/* SPDX-License-Identifier: ISC */
/*
 * protocol-hook: receives the webhooks of the Protocol API, as CGI or FastCGI.
 * protocol-hook(8) is the specification; CONTRIBUTING.md has the map of
 * modules.
 *
 * This file finds out how the program was started.
 */
#include <sys/socket.h>

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway.h"
#include "commands/command.h"
#include "config.h"
#include "util.h"

#define LISTEN_FD	3	/* sd_listen_fds(3): the first of them */

/*
 * Opens standard streams that are closed; otherwise one of our files would get
 * the number, and answers or log lines would be written into it.
 */
static void
fill_standard_streams(void)
{
	int fd;

	do
		fd = open("/", O_RDONLY);
	while (fd != -1 && fd <= STDERR_FILENO);
	if (fd != -1)
		close(fd);
}

static bool
is_listening(int fd)
{
	socklen_t size = sizeof(int);
	int on = 0;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &size) == 0 &&
	    on != 0;
}

/* Socket activation other than on standard input: sd_listen_fds(3). */
static bool
is_activated(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	uint64_t n;

	return pid != NULL && number_parse(&n, pid, strlen(pid)) == 0 &&
	    n == (uint64_t)getpid() && fds != NULL &&
	    number_parse(&n, fds, strlen(fds)) == 0 && n > 0 &&
	    is_listening(LISTEN_FD);
}

int
main(int argc, char **argv)
{
	static struct config cfg;
	bool cgi;
	int listener;

	fill_standard_streams();
	listener = is_listening(STDIN_FILENO) ? STDIN_FILENO :
	    is_activated() ? LISTEN_FD : -1;
	/*
	 * A listening socket comes first: cgi-fcgi starts us with one, and with
	 * the variables of a CGI request.
	 */
	cgi = listener == -1 && (getenv("REQUEST_METHOD") != NULL ||
	    getenv("GATEWAY_INTERFACE") != NULL);
	if (!cgi && listener == -1)
		return command_main(argc, argv);
	config_read(&cfg);
	return cgi ? cgi_run(&cfg) : fastcgi_run(&cfg, listener);
}
