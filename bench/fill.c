/* SPDX-License-Identifier: ISC */
/*
 * fill: puts N names into a directory.  They are links to a few empty files
 * beside it, as links are made faster than files.
 *
 *	fill new|archive N DIRECTORY
 */
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define LINKS_MAX	60000	/* ext4 allows 65,000 */

int
main(int argc, char **argv)
{
	char name[100], seed[40];
	uint64_t i, n, a, b;
	int dir, fd;

	if (argc != 4)
		errx(2, "usage: fill new|archive N DIRECTORY");
	n = option_number(argv[2]);
	if ((dir = open(argv[3], O_RDONLY | O_DIRECTORY)) == -1)
		err(1, "%s", argv[3]);
	for (i = 0; i < n; i++) {
		snprintf(seed, sizeof(seed), "../seed-%" PRIu64, i / LINKS_MAX);
		if (i % LINKS_MAX == 0) {
			fd = openat(dir, seed, O_WRONLY | O_CREAT, 0640);
			if (fd == -1 || close(fd) == -1)
				err(1, "%s", seed);
		}
		a = (i + 1) * 0x9e3779b97f4a7c15;
		b = (a ^ a >> 29) * 0xbf58476d1ce4e5b9;
		if (strcmp(argv[1], "archive") == 0)
			snprintf(name, sizeof(name), "%016" PRIx64 "%016" PRIx64
			    "%016" PRIx64 "%016" PRIx64, a, b, ~a, ~b);
		else
			snprintf(name, sizeof(name), "20260101T%06" PRIu64
			    ".%06" PRIu64 "Z.message.created.%016" PRIx64
			    ".json", i / 1000000, i % 1000000, a);
		if (linkat(dir, seed, dir, name, 0) == -1)
			err(1, "%s", name);
	}
	return 0;
}
