/* SPDX-License-Identifier: ISC */
#include <arpa/inet.h>
#include <sys/socket.h>

#include <string.h>

#include "peers.h"

static void
map_ipv4(struct in6_addr *to, const struct in_addr *from)
{
	memset(to, 0, sizeof(*to));
	to->s6_addr[10] = to->s6_addr[11] = 0xff;
	memcpy(to->s6_addr + 12, from, sizeof(*from));
}

/* One address of N bytes, with white space around it; 0 or -1. */
static int
parse_peer(struct in6_addr *peer, const char *s, size_t n)
{
	char text[INET6_ADDRSTRLEN];
	struct in_addr ipv4;
	size_t space = strspn(s, " \t");

	if (space > n)
		return -1;
	s += space;
	n -= space;
	while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
		n--;
	if (n >= sizeof(text))
		return -1;
	memcpy(text, s, n);
	text[n] = '\0';
	if (inet_pton(AF_INET, text, &ipv4) == 1)
		map_ipv4(peer, &ipv4);
	else if (inet_pton(AF_INET6, text, peer) != 1)
		return -1;
	return 0;
}

const char *
peers_parse(struct peers *peers, const char *list)
{
	size_t n;

	peers->n = 0;
	if (list == NULL || *list == '\0')
		return NULL;
	for (;; list += n + 1) {
		n = strcspn(list, ",");
		if (peers->n == PEERS_MAX)
			return "FCGI_WEB_SERVER_ADDRS has too many addresses";
		if (parse_peer(&peers->address[peers->n], list, n) == -1)
			return "FCGI_WEB_SERVER_ADDRS is not a list of IP "
			    "addresses";
		peers->n++;
		if (list[n] == '\0')
			return NULL;
	}
}

bool
peers_allow(const struct peers *peers, const struct sockaddr_storage *from)
{
	struct in6_addr address;
	size_t i;

	if (peers->n == 0)
		return true;
	if (from->ss_family == AF_INET)
		map_ipv4(&address,
		    &((const struct sockaddr_in *)from)->sin_addr);
	else if (from->ss_family == AF_INET6)
		address = ((const struct sockaddr_in6 *)from)->sin6_addr;
	else
		return true;
	for (i = 0; i < peers->n; i++)
		if (memcmp(&peers->address[i], &address, sizeof(address)) == 0)
			return true;
	return false;
}
