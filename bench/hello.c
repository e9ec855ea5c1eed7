/* SPDX-License-Identifier: ISC */
/* hello: the smallest CGI program. */
#include <stdio.h>

int
main(void)
{
	printf("Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nhello\n");
	return 0;
}
