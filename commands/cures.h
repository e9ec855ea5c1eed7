/* SPDX-License-Identifier: ISC */
/*
 * What to do about a spool that can't be used.  Each function prints the rest
 * of a line of the report, without a newline.
 *
 * A cure that is a command changes nothing but the spool's directory and what
 * is the spool's in it; never a directory that is in use for something else.
 */
#ifndef CURES_H
#define CURES_H

#include "../failure.h"
#include "check.h"

/* The cure for FAILURE of the spool. */
void cure_print(const struct check *, const struct failure *);
/* The cure if DAY of the archive, "archive/YYYY-MM-DD", can't be searched. */
void cure_print_for_day(const struct check *, const char *day, int error);
/*
 * Whether PATH is a directory where many programs have their files, such as
 * /var/lib: it must not become a spool even while it is empty.
 */
bool cure_is_system_directory(const char *path);

#endif
