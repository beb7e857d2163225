/* The body of an HTTP/1.1 request, taken out of its framing: a machine over single bytes, but for
 * the content itself, which goes by in slices.
 *
 *   SIZE ─> EXTENSION ─> SIZE_LF ─> DATA ─> DATA_CR ─> DATA_LF ─> SIZE …
 *                          └ size 0 ─> TRAILER ⇄ TRAILER_LINE ─> TRAILER_LF ─> END
 *
 * Chunk extensions and trailers are bounded and dropped.
 *
 * SPDX-License-Identifier: MIT */
#include "httpbody.h"

#include "httphead.h"

enum {
  PLAIN,
  SIZE,
  EXTENSION,
  SIZE_LF,
  DATA,
  DATA_CR,
  DATA_LF,
  TRAILER,      /* at a line's begin */
  TRAILER_NAME, /* before its colon */
  TRAILER_LINE, /* behind it */
  TRAILER_LF,
  LAST_LF,
  END
};

void jr_http_body_init(jr_http_body *b, int64_t length) {
  *b = (jr_http_body){.state = length < 0 ? SIZE : length == 0 ? END : PLAIN};
  if (length > 0) b->left = (uint64_t)length;
}

static int refuse(jr_http_body *b, const char *why) {
  b->fault = why;
  return -400;
}

static int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int read_size(jr_http_body *b, char c) {
  int digit = hex(c);
  if (digit >= 0) {
    if (b->digits++ == 16) return refuse(b, "a chunk's size has more than 16 digits");
    b->left = b->left << 4 | (unsigned)digit;
    return 0;
  }
  if (b->digits == 0 || (c != '\r' && c != ';')) return refuse(b, "a chunk's size is malformed");
  b->state = c == ';' ? EXTENSION : SIZE_LF;
  b->extra = 0;
  return 0;
}

static int read_extension(jr_http_body *b, char c) {
  if (c == '\r')
    b->state = SIZE_LF;
  else if (!jr_http_is_text(c))
    return refuse(b, "a chunk's extension is malformed");
  else if (b->extra++ == JR_HTTP_EXTENSION_BYTES)
    return refuse(b, "a chunk's extension is longer than 256 bytes");
  return 0;
}

static int expect(jr_http_body *b, char c, char wanted, int then) {
  if (c != wanted) return refuse(b, "a chunk does not end with CR LF");
  b->state = (uint8_t)then;
  return 0;
}

static int after_size(jr_http_body *b, char c) {
  b->digits = 0;
  b->extra = 0;
  return expect(b, c, '\n', b->left ? DATA : TRAILER);
}

static int read_trailer(jr_http_body *b, char c) {
  if (b->extra++ == JR_HTTP_TRAILER_BYTES) return refuse(b, "the trailers are longer than 4 KB");
  if (b->state == TRAILER && c == '\r') {
    b->state = LAST_LF;
  } else if (b->state != TRAILER_LINE) {
    bool ends = b->state == TRAILER_NAME && c == ':';
    if (!ends && !jr_http_is_token(c)) return refuse(b, "a trailer's name is malformed");
    b->state = ends ? TRAILER_LINE : TRAILER_NAME;
  } else if (c == '\r') {
    b->state = TRAILER_LF;
  } else if (!jr_http_is_text(c)) {
    return refuse(b, "a trailer's value has control characters");
  }
  return 0;
}

static int read_byte(jr_http_body *b, char c) {
  switch (b->state) {
  case SIZE:
    return read_size(b, c);
  case EXTENSION:
    return read_extension(b, c);
  case SIZE_LF:
    return after_size(b, c);
  case DATA_CR:
    return expect(b, c, '\r', DATA_LF);
  case DATA_LF:
    return expect(b, c, '\n', SIZE);
  case TRAILER_LF:
    return expect(b, c, '\n', TRAILER);
  case LAST_LF:
    return expect(b, c, '\n', END);
  default:
    return read_trailer(b, c);
  }
}

int jr_http_body_read(jr_http_body *b, const char *data, size_t len, size_t *taken,
                      const char **piece, size_t *piece_len) {
  size_t i = 0;
  int status = 0;
  *piece_len = 0;
  *piece = data;
  while (i < len && b->state != END && b->state != DATA && b->state != PLAIN && status == 0)
    status = read_byte(b, data[i++]);
  if (status == 0 && i < len && (b->state == DATA || b->state == PLAIN)) {
    size_t n = len - i < b->left ? len - i : (size_t)b->left;
    *piece = data + i;
    *piece_len = n;
    i += n;
    b->left -= n;
    if (b->left == 0) b->state = b->state == PLAIN ? END : DATA_CR;
  }
  *taken = i;
  return status < 0 ? status : b->state == END;
}
