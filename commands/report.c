/* SPDX-License-Identifier: ISC */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "report.h"

/* One report a process: it goes to standard output. */
static bool any_failed;

void
report_begin(enum verdict verdict, const char *subject)
{
	static const char *const words[] = { "ok", "note", "FAIL" };

	printf("%-5s %-24s ", words[verdict], subject);
	any_failed |= verdict == VERDICT_FAIL;
}

void
report_line(enum verdict verdict, const char *subject, const char *format, ...)
{
	va_list ap;

	report_begin(verdict, subject);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
}

bool
report_has_failed(void)
{
	return any_failed;
}

void
report_path(const char *path)
{
	for (; *path != '\0'; path++)
		putchar((unsigned char)*path < ' ' || *path == '\x7f' ? '?' :
		    *path);
}

void
report_command(const char *command, const char *path, const char *sub)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "abcdefghijklmnopqrstuvwxyz0123456789/._+,:@%-";
	bool quoted = path[strspn(path, plain)] != '\0';

	/* A path that begins with a minus would be a flag. */
	printf("%s %s%s", command, *path == '-' ? "./" : "",
	    quoted ? "'" : "");
	for (; *path != '\0'; path++)
		if (*path == '\'')
			printf("'\\''");
		else
			putchar((unsigned char)*path < ' ' ? '?' : *path);
	printf("%s%s%s", *sub != '\0' ? "/" : "", sub, quoted ? "'" : "");
}
