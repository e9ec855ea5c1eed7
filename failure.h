/* SPDX-License-Identifier: ISC */
/*
 * A failure, to be shown to a person.  Functions that take a struct failure
 * return false and fill it in; on success they leave it unchanged.
 *
 * The other two forms of error in this program: 0 or -1 with errno, where a
 * function is little more than a system call; and an invalid value that the
 * function's header names.
 */
#ifndef FAILURE_H
#define FAILURE_H

#include <stdbool.h>

struct failure {
	const char *what;	/* a constant string: the step, or the state */
	int error;		/* errno, or 0 if what says all */
};

/* Returns false, so that a caller can return its value. */
static inline bool
failure_set(struct failure *failure, const char *what, int error)
{
	failure->what = what;
	failure->error = error;
	return false;
}

#endif
