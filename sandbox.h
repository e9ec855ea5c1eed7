/* SPDX-License-Identifier: ISC */
/*
 * Confines the process for good, once it has opened what it needs: Landlock and
 * seccomp on Linux, pledge and unveil on OpenBSD, nothing elsewhere.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

/*
 * Leaves access only to the spool, which is open as SPOOL, and for reading to
 * the directory of SECRET_FILE, unless that is NULL.  Returns NULL, or why the
 * process is not confined, or only in part.
 */
const char *sandbox_enter(int spool, const char *spool_path,
    const char *secret_file);

#endif
