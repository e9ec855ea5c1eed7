/* SPDX-License-Identifier: ISC */
/*
 * To be included before everything: the process stays dumpable, so that its own
 * user may trace it and read what /proc tells about it.  The program forbids
 * that to all but root.
 */
#ifdef __linux__
#include <sys/prctl.h>

/* Changes nothing and, unlike that, can't be refused. */
#undef PR_SET_DUMPABLE
#define PR_SET_DUMPABLE	PR_GET_DUMPABLE
#endif
