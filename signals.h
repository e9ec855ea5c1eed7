/* SPDX-License-Identifier: ISC */
#ifndef SIGNALS_H
#define SIGNALS_H

/*
 * Ignores the signals that would end the process where a write should fail, and
 * unblocks all that whoever started the process has blocked.
 */
void signals_init(void);

#endif
