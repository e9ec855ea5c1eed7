/* SPDX-License-Identifier: ISC */
/*
 * sandbox SPOOL: how long it takes to enter the sandbox, in microseconds.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>

#include "hook.h"

int
main(int argc, char **argv)
{
	struct timespec began;
	const char *why;
	double took;
	int fd;

	if (argc != 2)
		errx(2, "usage: sandbox SPOOL");
	if ((fd = open(argv[1], O_RDONLY | O_DIRECTORY)) == -1)
		err(1, "%s", argv[1]);
	milliseconds_since(&(struct timespec){ 0 });	/* not its first call */
	clock_gettime(CLOCK_MONOTONIC, &began);
	why = sandbox_enter(fd, argv[1], NULL);
	took = milliseconds_since(&began);
	if (why != NULL)
		errx(1, "%s", why);
	printf("us=%.1f\n", took * 1e3);
	return 0;
}
