/* SPDX-License-Identifier: ISC */
/*
 * For people: what the program does when a person runs it.  A web server's
 * arguments never come here.
 */
#include <stdio.h>
#include <string.h>

#include "hook.h"

#define EXIT_USAGE	2

static int
usage(FILE *to)
{
	fprintf(to,
	    "usage: protocol-hook -h | -V\n"
	    "\n"
	    "Receives webhooks of the Protocol API when a web server runs it\n"
	    "as CGI or FastCGI; see protocol-hook(8).\n");
	return to == stdout && fflush(stdout) == 0 ? 0 : EXIT_USAGE;
}

int
command(int argc, char **argv)
{
	const char *arg = argc == 2 ? argv[1] : "";

	if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0)
		return usage(stdout);
	if (strcmp(arg, "-V") == 0 || strcmp(arg, "--version") == 0)
		return printf("protocol-hook %s\n", VERSION) < 0 ||
		    fflush(stdout) != 0;
	return usage(stderr);
}
