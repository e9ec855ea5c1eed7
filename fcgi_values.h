/* SPDX-License-Identifier: ISC */
/*
 * Answers to management records (FastCGI specification, section 4).
 */
#ifndef FCGI_VALUES_H
#define FCGI_VALUES_H

#include <stddef.h>
#include <stdint.h>

#define FCGI_ANSWER_SIZE	96	/* bytes, enough for every answer */

/*
 * Formats the answer to a record of TYPE with N bytes of content: the values
 * that FCGI_GET_VALUES asks for, with CONNECTIONS as the most that are served
 * at the same time; or FCGI_UNKNOWN_TYPE.  Returns its length, 0 if none is
 * due.
 */
size_t fcgi_values_answer(uint8_t answer[FCGI_ANSWER_SIZE], uint8_t type,
    const uint8_t *content, size_t n, size_t connections);

#endif
