/* SPDX-License-Identifier: ISC */
#include <nats/nats.h>

/*
 * Prints what a spool's archive has, no longer waits in the spool, and is in no
 * message below PREFIX.  Exits with a message if it can't say.
 */
void	missing_print(natsConnection *nats, int spool, const char *prefix);
