/* SPDX-License-Identifier: ISC */
#include <string.h>

#include <fastcgi.h>

#include "fcgi_records.h"

#define OTHER_MAX	(1 << 20)	/* bytes, of parameters above all */

static const FCGI_Header *
record_header(const struct fcgi_records *r)
{
	return (const FCGI_Header *)r->header;
}

/* 0 for a management record. */
static int
record_id(const FCGI_Header *h)
{
	return h->requestIdB1 << 8 | h->requestIdB0;
}

static size_t
record_content_length(const FCGI_Header *h)
{
	return (size_t)(h->contentLengthB1 << 8 | h->contentLengthB0);
}

void
fcgi_records_init(struct fcgi_records *r, uint64_t max_body)
{
	memset(r, 0, sizeof(*r));
	r->max_body = max_body;
}

/* Reads a header: 0, or -1 if the record is out of order or aborts. */
static int
begin_record(struct fcgi_records *r)
{
	const FCGI_Header *h = record_header(r);
	int id = record_id(h);
	size_t content = record_content_length(h);

	if (h->version != FCGI_VERSION_1)
		return -1;
	r->padding = h->paddingLength;
	r->rest = content + r->padding;
	r->management_bytes = 0;
	r->in_request = id != 0 && id == r->id;
	if (r->in_request && h->type != (r->params ? FCGI_STDIN : FCGI_PARAMS))
		return -1;
	if (id != 0 && r->id == 0 && h->type == FCGI_BEGIN_REQUEST) {
		r->id = id;
		r->in_request = true;
	}
	/* libfcgi takes the padding of these for what follows them. */
	r->foreign |= !r->in_request || (r->padding > 0 &&
	    (h->type == FCGI_BEGIN_REQUEST || content == 0));
	if (r->in_request && h->type == FCGI_STDIN) {
		/* One record more than is allowed is enough to refuse it. */
		r->in_request = content == 0 || r->body_bytes <= r->max_body;
		r->body_bytes += content;
	} else if (r->in_request)
		r->other_bytes += r->rest;
	return r->other_bytes > OTHER_MAX ? -1 : 0;
}

/* Reads N bytes of name-value pairs: 0, or -1 if one is too long. */
static int
read_pairs(struct fcgi_pairs *s, const uint8_t *p, size_t n)
{
	size_t part;

	while (n > 0) {
		part = s->rest < n ? s->rest : n;
		p += part;
		n -= part;
		s->rest -= part;
		if (n == 0)
			break;
		if (s->octets == 0) {
			s->octets = (*p & 0x80) != 0 ? 4 : 1;
			s->length = *p & 0x7f;
		} else
			s->length = s->length << 8 | *p;
		p++;
		n--;
		if (--s->octets > 0)
			continue;
		s->sum += s->length;
		if (s->sum > OTHER_MAX)
			return -1;
		if (s->has_name) {
			s->rest = s->sum;
			s->sum = 0;
		}
		s->has_name = !s->has_name;
	}
	return 0;
}

/* Passes on the header, with padding length 0. */
static int
copy_header(const struct fcgi_records *r, const struct fcgi_sink *sink)
{
	FCGI_Header h = *record_header(r);

	h.paddingLength = 0;
	return sink->copy(sink->arg, &h, FCGI_HEADER_LEN, r->params);
}

static void
keep_management(struct fcgi_records *r, const uint8_t *p, size_t n)
{
	if (n > sizeof(r->management) - r->management_bytes)
		n = sizeof(r->management) - r->management_bytes;
	memcpy(r->management + r->management_bytes, p, n);
	r->management_bytes += n;
}

/* Reads N bytes of content and padding of the record under way. */
static int
continue_record(struct fcgi_records *r, const uint8_t *p, size_t n,
    const struct fcgi_sink *sink)
{
	const FCGI_Header *h = record_header(r);
	size_t content = r->rest - r->padding;

	if (content > n)
		content = n;
	if (content > 0 && r->in_request) {
		if (h->type == FCGI_PARAMS &&
		    read_pairs(&r->pairs, p, content) == -1)
			return -1;
		if (sink != NULL && sink->copy(sink->arg, p, content,
		    r->params) == -1)
			return -1;
	}
	if (record_id(h) == 0)
		keep_management(r, p, content);
	r->rest -= n;
	if (r->rest < r->padding)
		r->padding = r->rest;
	return 0;
}

/* 0, or -1 if parameters have ended within a pair. */
static int
end_record(struct fcgi_records *r, const struct fcgi_sink *sink)
{
	const FCGI_Header *h = record_header(r);

	r->header_bytes = 0;
	if (record_id(h) == 0 && sink != NULL && sink->manage(sink->arg,
	    h->type, r->management, r->management_bytes) == -1)
		return -1;
	if (r->in_request && record_content_length(h) == 0) {
		r->params |= h->type == FCGI_PARAMS;
		r->complete |= h->type == FCGI_STDIN;
	}
	return r->params && (r->pairs.rest > 0 || r->pairs.octets > 0 ||
	    r->pairs.has_name) ? -1 : 0;
}

int
fcgi_records_feed(struct fcgi_records *r, const uint8_t *p, size_t n,
    const struct fcgi_sink *sink)
{
	size_t part;

	while (n > 0 && !r->complete) {
		if (r->header_bytes < FCGI_HEADER_LEN) {
			r->header[r->header_bytes++] = *p++;
			n--;
			if (r->header_bytes < FCGI_HEADER_LEN)
				continue;
			if (begin_record(r) == -1 || (r->in_request &&
			    sink != NULL && copy_header(r, sink) == -1))
				return -1;
		}
		part = r->rest < n ? r->rest : n;
		if (continue_record(r, p, part, sink) == -1 ||
		    (r->rest == 0 && end_record(r, sink) == -1))
			return -1;
		p += part;
		n -= part;
	}
	return 0;
}

bool
fcgi_records_complete(const struct fcgi_records *r)
{
	return r->complete;
}

bool
fcgi_records_have_params(const struct fcgi_records *r)
{
	return r->params;
}

bool
fcgi_records_are_clean(const struct fcgi_records *r)
{
	return !r->foreign;
}

bool
fcgi_records_are_idle(const struct fcgi_records *r)
{
	return r->id == 0 && r->header_bytes == 0;
}
