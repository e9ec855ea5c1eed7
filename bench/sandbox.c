/* SPDX-License-Identifier: ISC */
/* sandbox SPOOL: prints how many microseconds entering the sandbox takes. */
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "sandbox.h"
#include "util.h"

int
main(int argc, char **argv)
{
	const char *why;
	int64_t began;
	int fd;

	if (argc != 2)
		errx(2, "usage: sandbox SPOOL");
	if ((fd = open(argv[1], O_RDONLY | O_DIRECTORY)) == -1)
		err(1, "%s", argv[1]);
	clock_us();		/* the first call takes longer */
	began = clock_us();
	why = sandbox_enter(fd, argv[1], NULL);
	began -= clock_us();
	if (why != NULL)
		errx(1, "%s", why);
	printf("us=%" PRId64 "\n", -began);
	return 0;
}
