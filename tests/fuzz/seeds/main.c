/* SPDX-License-Identifier: ISC */
/*
 * A fuzz target without the fuzzer: runs the files that it is given, so that
 * every build can see that what was once found stays fixed.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
main(int argc, char **argv)
{
	static uint8_t data[1 << 20];
	uint8_t *exact;
	size_t n, k;
	FILE *f;
	int i;

	for (i = 1; i < argc; i++) {
		if ((f = fopen(argv[i], "rb")) == NULL) {
			perror(argv[i]);
			return 1;
		}
		n = fread(data, 1, sizeof(data), f);
		fclose(f);
		fprintf(stderr, "%s\n", argv[i]);
		/* Of its own size, so that reading past it is seen. */
		if ((exact = malloc(n)) == NULL && n > 0)
			return 1;
		for (k = 0; k < n; k++)
			exact[k] = data[k];
		LLVMFuzzerTestOneInput(exact, n);
		free(exact);
	}
	return 0;
}
