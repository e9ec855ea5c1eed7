/* SPDX-License-Identifier: ISC */
/*
 * peers.c: a list of addresses is read whole or refused, and lets in those that
 * it has and no others.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "peers.h"

static struct peers peers;

static bool
allowed(const char *text)
{
	struct sockaddr_storage from = { .ss_family = AF_INET };

	if (inet_pton(AF_INET, text,
	    &((struct sockaddr_in *)&from)->sin_addr) == 1)
		return peers_allow(&peers, &from);
	from.ss_family = AF_INET6;
	assert_int_equal(1, inet_pton(AF_INET6, text,
	    &((struct sockaddr_in6 *)&from)->sin6_addr));
	return peers_allow(&peers, &from);
}

static void
without_a_list_all_may(void **state)
{
	(void)state;
	assert_null(peers_parse(&peers, NULL));
	assert_true(allowed("192.0.2.1"));
	assert_null(peers_parse(&peers, ""));
	assert_true(allowed("2001:db8::1"));
}

static void
with_a_list_only_those_may(void **state)
{
	struct sockaddr_storage unix_socket = { .ss_family = AF_UNIX };

	(void)state;
	assert_null(peers_parse(&peers, "192.0.2.1,2001:db8::1, ::ffff:192.0.2.3 "));
	assert_true(allowed("192.0.2.1"));
	assert_true(allowed("::ffff:192.0.2.1"));
	assert_true(allowed("2001:db8:0::1"));
	assert_true(allowed("192.0.2.3"));
	assert_false(allowed("192.0.2.2"));
	assert_false(allowed("::192.0.2.1"));
	assert_false(allowed("2001:db8::2"));
	assert_false(allowed("::"));
	assert_false(allowed("0.0.0.0"));
	assert_true(peers_allow(&peers, &unix_socket));
}

static void
what_is_no_list_is_refused(void **state)
{
	static const char *const wrong[] = {
		" ", ",", "192.0.2.1,", ",192.0.2.1", "192.0.2.1,,192.0.2.2",
		"192.0.2", "192.0.2.256", "localhost", "192.0.2.1 192.0.2.2",
		"192.0.2.0/24", "[::1]", "fe80::1%lo", "192.0.2.1;", "::1:",
		"2001:db8:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001"
	};
	char many[1024] = "::1";
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_string_equal("FCGI_WEB_SERVER_ADDRS is not a list of IP "
		    "addresses", peers_parse(&peers, wrong[i]));
	for (i = 1; i < 64; i++)
		strcat(many, ",::1");
	assert_null(peers_parse(&peers, many));
	strcat(many, ",::1");
	assert_string_equal("FCGI_WEB_SERVER_ADDRS has too many addresses",
	    peers_parse(&peers, many));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_list_all_may),
		cmocka_unit_test(with_a_list_only_those_may),
		cmocka_unit_test(what_is_no_list_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
