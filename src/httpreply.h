/* The head of an HTTP/1.1 response, as bytes.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_HTTPREPLY_H
#define JR_HTTPREPLY_H

#include <stdint.h>

#include "buf.h"

enum { JR_HTTP_DATE = 30 }; /* with the zero */

/* A status's words (RFC 9110 §15), "" for one that has none. Static memory. */
const char *jr_http_reason(int status);

/* "Thu, 26 Nov 2026 16:04:10 GMT" (IMF-fixdate, RFC 9110 §5.6.7). */
void jr_http_date(char text[JR_HTTP_DATE], int64_t seconds);

/* "HTTP/1.1 STATUS WORDS", and the Date. Fields follow, then an empty line. */
void jr_http_reply_line(jr_buf *out, int status, const char *date);

void jr_http_reply_field(jr_buf *out, const char *name, size_t name_len, const char *value,
                         size_t len);

void jr_http_reply_length(jr_buf *out, uint64_t length);

#endif
