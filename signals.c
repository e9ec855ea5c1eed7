/* SPDX-License-Identifier: ISC */
#include <signal.h>

#include "signals.h"

void
signals_init(void)
{
	sigset_t none;

	signal(SIGPIPE, SIG_IGN);	/* EPIPE: the reader is gone */
	signal(SIGXFSZ, SIG_IGN);	/* EFBIG: a limit of file sizes */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}
