/* SPDX-License-Identifier: ISC */
/*
 * As whom a command acts.  root acts as the receiver's user: in a directory of
 * somebody else root would follow that user's links, and would leave files
 * there which the receiver can't remove.
 */
#ifndef IDENTITY_H
#define IDENTITY_H

#include <sys/types.h>

#include <stdbool.h>

#define IDENTITY_NAME_SIZE	64

/*
 * Becomes, for good, the user WANTED, a name or number.  If that is NULL, only
 * root becomes somebody else: the owner of the directory SPOOL; or, if that is
 * missing or root's, which tells nothing of the receiver, UNIT_USER, unless
 * that is "".  *ACTING_AS says why, and is left alone if the user stays the
 * same.  0, or -1 if that failed, and why was printed.
 */
int identity_assume(const char **acting_as, const char *wanted,
    const char *spool, const char *unit_user);

/* A user's or group's name, or number if it has no name; false for a number. */
bool identity_format_user(char name[IDENTITY_NAME_SIZE], uid_t uid);
bool identity_format_group(char name[IDENTITY_NAME_SIZE], gid_t gid);

#endif
