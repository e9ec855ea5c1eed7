/* SPDX-License-Identifier: ISC */
/*
 * FastCGI records (FastCGI specification, section 3.3): is a request complete,
 * and is it well formed?  Reads bytes in any portions, and does no I/O itself.
 *
 * libfcgi must never see a management record, as its answer to FCGI_GET_VALUES
 * overruns a buffer of 64 bytes; nor a parameter that is longer than its
 * record, as it believes the length; nor a record out of order, which it may
 * answer into the buffer it reads from.
 *
 *	fcgi_records_init(&r, max_body);
 *	while (!fcgi_records_complete(&r) &&
 *	    fcgi_records_feed(&r, bytes, n, sink) == 0)
 *		read more
 */
#ifndef FCGI_RECORDS_H
#define FCGI_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FCGI_MANAGEMENT_MAX	128	/* bytes kept of a management record */

/* How far name-value pairs were read: section 3.4. */
struct fcgi_pairs {
	size_t rest;		/* bytes of the pair to come */
	unsigned int octets;	/* bytes of the length to come */
	size_t length, sum;	/* a length, and those of name and value */
	bool has_name;		/* the name's length is known */
};

/* Private to fcgi_records.c. */
struct fcgi_records {
	uint64_t max_body;
	uint8_t header[8];	/* of the record under way */
	size_t header_bytes;
	size_t rest;		/* bytes of content and padding to come */
	size_t padding;		/* bytes of padding alone */
	struct fcgi_pairs pairs;
	int id;			/* of the request, 0 before it begins */
	bool in_request;	/* the record belongs to the request */
	bool foreign;		/* some did not, or had padding to remove */
	bool params, complete;	/* all parameters, all of it have come */
	uint64_t body_bytes, other_bytes;
	uint8_t management[FCGI_MANAGEMENT_MAX];
	size_t management_bytes;
};

/*
 * What becomes of the bytes.  The functions return 0, or -1 to give the request
 * up.
 */
struct fcgi_sink {
	/* Bytes of the request, without padding; IN_BODY after parameters. */
	int (*copy)(void *arg, const void *, size_t n, bool in_body);
	/* A management record, with the first N bytes of its content. */
	int (*manage)(void *arg, uint8_t type, const uint8_t *, size_t n);
	void *arg;
};

/*
 * Passes on at most one record beyond MAX_BODY bytes, so that the request can
 * be refused as too large.
 */
void fcgi_records_init(struct fcgi_records *, uint64_t max_body);
/*
 * Reads N bytes.  SINK may be NULL.  0, or -1 if this is not FastCGI, is out of
 * order, or was given up.
 */
int fcgi_records_feed(struct fcgi_records *, const uint8_t *, size_t n,
    const struct fcgi_sink *);
bool fcgi_records_complete(const struct fcgi_records *);
/* Whether all parameters have come, so that it can be answered. */
bool fcgi_records_have_params(const struct fcgi_records *);
/* Whether all records belong to the request, so that libfcgi may see them. */
bool fcgi_records_are_clean(const struct fcgi_records *);
/* Whether no request has begun, and no record is incomplete. */
bool fcgi_records_are_idle(const struct fcgi_records *);

#endif
