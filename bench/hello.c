/* SPDX-License-Identifier: ISC */
/* hello: the least that a CGI program can be. */
#include <stdio.h>

int
main(void)
{
	printf("Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nhello\n");
	return 0;
}
