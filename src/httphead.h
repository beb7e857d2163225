/* The head of an HTTP/1.1 request, read strictly (RFC 9112 §2 to §6, RFC 9110 §5).
 *
 * Pure: bytes in, places of its parts out. What two programs could read in two ways is refused and
 * not mended: bare CR or LF, NUL, folded fields, blanks before a colon, a second Host or
 * Content-Length, a length beside a transfer coding.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_HTTPHEAD_H
#define JR_HTTPHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  JR_HTTP_HEAD_BYTES = 16 * 1024,
  JR_HTTP_TARGET_BYTES = 8 * 1024,
  JR_HTTP_METHOD_BYTES = 32,
  JR_HTTP_FIELDS = 64
};

/* A part of the head, as a place in its bytes. */
typedef struct jr_http_part {
  uint16_t at, len;
} jr_http_part;

typedef struct jr_http_field {
  jr_http_part name, value;
} jr_http_field;

/* Zeroed, it is ready for a request. */
typedef struct jr_http_head {
  uint16_t scanned; /* bytes of whole lines seen so far; parsing goes on there */
  uint16_t fields;
  jr_http_part method;
  jr_http_part target; /* from the first slash on, or an asterisk, whatever form was sent */
  jr_http_part host;   /* of the target's authority where it has one, else the field's value */
  jr_http_field field[JR_HTTP_FIELDS];
  int64_t length; /* Content-Length; -1: none was sent */
  bool is_1_0;
  bool is_chunked;
  bool keeps_alive; /* the client would send another request */
  bool expects_100;
  const char *fault; /* what was refused, in words; static memory */
} jr_http_head;

/* Looks for a whole head in data[0..len), the bytes since the last request's end; called again with
 * more of them. Returns its size; 0: bytes are missing; or what is to be answered before the
 * connection is closed, negative (-400, -414, -417, -431, -501, -505), with h->fault. */
int jr_http_head_parse(jr_http_head *h, const char *data, size_t len);

/* A character of a token (RFC 9110 §5.6.2). */
bool jr_http_is_token(char c);

/* A byte that a field's value may have (RFC 9110 §5.5). */
bool jr_http_is_text(char c);

/* Equal but for the case of letters; `b` is in small letters. */
bool jr_http_same(const char *a, size_t len, const char *b);

#endif
