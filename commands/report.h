/* SPDX-License-Identifier: ISC */
/*
 * The report of check: a line on standard output for each thing checked.
 *
 *	report_begin(VERDICT_FAIL, "secret file");
 *	report_path(path);
 *	printf(" is a directory: ...\n");
 *
 * or report_line() for a whole line that has no path in it.
 */
#ifndef REPORT_H
#define REPORT_H

#include <stdbool.h>

enum verdict { VERDICT_OK, VERDICT_NOTE, VERDICT_FAIL };

/* Prints a line's beginning; the caller prints its text and its newline. */
void report_begin(enum verdict, const char *subject);
__attribute__((format(printf, 3, 4)))
void report_line(enum verdict, const char *subject, const char *format, ...);
/* Whether any line was VERDICT_FAIL. */
bool report_has_failed(void);

/* Prints a path, with '?' for bytes that could steer a terminal. */
void report_path(const char *path);
/*
 * Prints a COMMAND of the shell with its last argument, the path itself or SUB
 * below it, which is quoted if need be.  SUB may be "".
 */
void report_command(const char *command, const char *path, const char *sub);

#endif
