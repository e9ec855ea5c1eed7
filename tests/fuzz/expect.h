/* SPDX-License-Identifier: ISC */
/* For the fuzz targets: libFuzzer reports an input on which this aborts. */
#ifndef EXPECT_H
#define EXPECT_H

#include <stdbool.h>
#include <stdlib.h>

static inline void
expect(bool right)
{
	if (!right)
		abort();
}

#endif
