/* SPDX-License-Identifier: ISC */
/*
 * noop: reads each request and answers it, written as most FastCGI programs in
 * C are.  It verifies and stores nothing.
 */
#include <fcgiapp.h>

int
main(void)
{
	FCGX_Request r;
	char body[4096];

	if (FCGX_Init() != 0 || FCGX_InitRequest(&r, 0, 0) != 0)
		return 1;
	while (FCGX_Accept_r(&r) == 0) {
		while (FCGX_GetStr(body, sizeof(body), r.in) > 0)
			;
		FCGX_PutS("Status: 200 OK\r\n"
		    "Content-Type: application/json\r\n"
		    "Content-Length: 20\r\n\r\n"
		    "{\"status\":\"nothing\"}", r.out);
		FCGX_Finish_r(&r);
	}
	return 0;
}
