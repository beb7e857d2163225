/* The body of an HTTP/1.1 request, taken out of its framing (RFC 9112 §6 and §7).
 *
 * Pure: bytes in, pieces of content out, wherever they were cut.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_HTTPBODY_H
#define JR_HTTPBODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  JR_HTTP_EXTENSION_BYTES = 256, /* of one chunk's size line */
  JR_HTTP_TRAILER_BYTES = 4096
};

typedef struct jr_http_body {
  uint64_t left;  /* bytes of content to come: of all, or of this chunk */
  uint32_t extra; /* bytes of the extension, or of the trailers, so far */
  uint8_t state;
  uint8_t digits;    /* of a chunk's size */
  const char *fault; /* what was refused, in words; static memory */
} jr_http_body;

/* For a body with a Content-Length (0 is none), or a chunked one (length -1). */
void jr_http_body_init(jr_http_body *b, int64_t length);

/* Reads data[0..len): *taken bytes of it were used, and *piece, *piece_len is the content found in
 * them (a slice of data; may be empty). 1: the body is whole; 0: call again with what follows the
 * taken ones; -400: the framing is malformed (b->fault). */
int jr_http_body_read(jr_http_body *b, const char *data, size_t len, size_t *taken,
                      const char **piece, size_t *piece_len);

#endif
