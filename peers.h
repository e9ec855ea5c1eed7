/* SPDX-License-Identifier: ISC */
/*
 * Which web servers may connect: FCGI_WEB_SERVER_ADDRS, a list of IP addresses
 * separated by commas (FastCGI specification, section 3.2).  It concerns TCP;
 * a Unix socket's mode says who may connect to it.
 */
#ifndef PEERS_H
#define PEERS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#define PEERS_MAX	64

struct sockaddr_storage;

struct peers {
	struct in6_addr address[PEERS_MAX];	/* IPv4 mapped into IPv6 */
	size_t n;	/* 0: every address may connect */
};

/* LIST may be NULL or empty.  Returns NULL, or what is wrong with it. */
const char *peers_parse(struct peers *, const char *list);
/* Whether a connection from this address may be served. */
bool peers_allow(const struct peers *, const struct sockaddr_storage *);

#endif
