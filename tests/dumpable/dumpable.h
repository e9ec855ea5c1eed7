/* SPDX-License-Identifier: ISC */
/*
 * For build/dumpable/protocol-hook, which its own user may trace, and whose
 * files in /proc that user may read.  The program itself allows that to root
 * only.  The compiler includes this before sandbox.c.
 */
#ifdef __linux__
#include <sys/prctl.h>

/* Another request in its place, which changes nothing and succeeds. */
#undef PR_SET_DUMPABLE
#define PR_SET_DUMPABLE	PR_GET_DUMPABLE
#endif
