/* SPDX-License-Identifier: ISC */
/*
 * spawn: runs a CGI program TIMES times, each time with another signed
 * delivery, and prints the times from posix_spawn() to its exit.
 *
 *	spawn [-n TIMES] [-s BODY_SIZE] [-k KEY] PROGRAM [ARGUMENT ...]
 */
#include <sys/wait.h>

#include <err.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

extern char **environ;

static struct bodies bodies;

/* Starts it with the body in a pipe.  Returns the pipe with its answer. */
static int
start_program(char **argv, pid_t *pid)
{
	posix_spawn_file_actions_t fa;
	int in[2], out[2], error;
	struct body body;

	bodies_next(&bodies, &body);
	setenv("HTTP_X_PROTOCOL_SIGNATURE", body.signature, 1);
	if (pipe2(in, O_CLOEXEC) == -1 || pipe2(out, O_CLOEXEC) == -1)
		err(1, "pipe");
	if (write(in[1], bodies.head, bodies.head_size) !=
	    (ssize_t)bodies.head_size ||
	    write(in[1], body.tail, TAIL_SIZE) != TAIL_SIZE)
		err(1, "write");
	close(in[1]);
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, in[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&fa, out[1], STDOUT_FILENO);
	error = posix_spawn(pid, argv[0], &fa, NULL, argv, environ);
	if (error != 0)
		errx(1, "%s: %s", argv[0], strerror(error));
	posix_spawn_file_actions_destroy(&fa);
	close(in[0]);
	close(out[1]);
	return out[0];
}

int
main(int argc, char **argv)
{
	size_t i, n = 200, size = 600, good = 0, got;
	char answer[4096], length[32];
	uint32_t *times;
	int64_t since;
	int opt, fd, status;
	ssize_t r;
	pid_t pid;

	while ((opt = getopt(argc, argv, "+n:s:k:")) != -1)
		switch (opt) {
		case 'n': n = option_number(optarg); break;
		case 's': size = option_number(optarg); break;
		default: return 2;
		}
	if (optind >= argc || size > 60000)
		errx(2, "usage: spawn [-n TIMES] [-s BODY_SIZE] PROGRAM");
	bodies_init(&bodies, "bench-key", size);
	snprintf(length, sizeof(length), "%zu", bodies.size);
	setenv("CONTENT_LENGTH", length, 1);
	setenv("CONTENT_TYPE", "application/json", 1);
	setenv("REQUEST_METHOD", "POST", 1);
	setenv("GATEWAY_INTERFACE", "CGI/1.1", 1);
	setenv("REDIRECT_STATUS", "200", 1);
	times = allocate(n * sizeof(*times));
	for (i = 0; i < n; i++) {
		since = microseconds();
		fd = start_program(argv + optind, &pid);
		for (got = 0; got < sizeof(answer) - 1 && (r = read(fd,
		    answer + got, sizeof(answer) - 1 - got)) > 0;)
			got += (size_t)r;
		answer[got] = '\0';
		if (waitpid(pid, &status, 0) == -1)
			err(1, "waitpid");
		times[i] = (uint32_t)(microseconds() - since);
		good += status == 0 && got > 0 &&
		    (strncmp(answer, "Status: ", 8) != 0 ||
		    strncmp(answer, "Status: 200", 11) == 0);
		close(fd);
	}
	printf("answered=%zu", good);
	percentiles_print(times, n);
	printf("\n");
	return 0;
}
