/* The head of an HTTP/1.1 request, read strictly.
 *
 * Lines are looked for first, wherever the bytes stop, and each line end is checked at once: so a
 * head with a bare LF is refused when it comes and not waited for until the deadline. When the
 * empty line is there, the head is read in one pass.
 *
 * SPDX-License-Identifier: MIT */
#include "httphead.h"

#include <string.h>

/* ---- characters ---------------------------------------------------------------------------- */

enum { TOKEN = 1, TEXT = 2, TARGET = 4, HOST = 8 };

/* Letters for the sets a character is in. */
enum {
  _,
  X = TEXT,
  N = TOKEN | TEXT,
  V = TEXT | TARGET,
  K = TOKEN | TEXT | TARGET,
  G = TEXT | TARGET | HOST,
  A = TOKEN | TEXT | TARGET | HOST
};

/* clang-format off */
static const uint8_t classes[128] = {
    _, _, _, _, _, _, _, _, _, X, _, _, _, _, _, _, /* controls */
    _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, /* controls */
    X, A, V, N, A, A, A, A, G, G, A, A, G, A, A, V, /* !"#$%&'()*+,-./ */
    A, A, A, A, A, A, A, A, A, A, G, G, V, G, V, V, /* 0123456789:;<=>? */
    V, A, A, A, A, A, A, A, A, A, A, A, A, A, A, A, /* @ABCDEFGHIJKLMNO */
    A, A, A, A, A, A, A, A, A, A, A, G, V, G, K, A, /* PQRSTUVWXYZ[\]^_ */
    K, A, A, A, A, A, A, A, A, A, A, A, A, A, A, A, /* `abcdefghijklmno */
    A, A, A, A, A, A, A, A, A, A, A, V, K, V, A, _, /* pqrstuvwxyz{|}~ */
};
/* clang-format on */

static bool is(char c, int class) {
  unsigned char byte = (unsigned char)c;
  return (byte < 128 ? classes[byte] : X) & class;
}

bool jr_http_is_token(char c) {
  return is(c, TOKEN);
}

bool jr_http_is_text(char c) {
  return is(c, TEXT);
}

static bool all_are(const char *text, size_t len, int class) {
  for (size_t i = 0; i < len; i++)
    if (!is(text[i], class)) return false;
  return true;
}

bool jr_http_same(const char *a, size_t len, const char *b) {
  for (size_t i = 0; i < len; i++) {
    char c = a[i] >= 'A' && a[i] <= 'Z' ? (char)(a[i] | 0x20) : a[i];
    if (b[i] == 0 || c != b[i]) return false;
  }
  return b[len] == 0;
}

/* ---- faults -------------------------------------------------------------------------------- */

static int refuse(jr_http_head *h, int status, const char *why) {
  h->fault = why;
  return -status;
}

static jr_http_part part(const char *data, const char *from, const char *to) {
  return (jr_http_part){(uint16_t)(from - data), (uint16_t)(to - from)};
}

/* ---- the request line ---------------------------------------------------------------------- */

/* host [":" port], where host may be an address in brackets (RFC 3986 §3.2); or nothing. */
static bool is_authority(const char *text, size_t len) {
  const char *end = text + len, *close = memchr(text, ']', len);
  if (!all_are(text, len, HOST) || (close != NULL) != (len > 0 && *text == '[')) return false;
  const char *from = close ? close + 1 : text;
  const char *colon = memchr(from, ':', (size_t)(end - from));
  if (close && colon != from && from != end) return false;
  if (!colon) return true;
  for (const char *p = colon + 1; p < end; p++)
    if (*p < '0' || *p > '9') return false;
  return colon > text && end - colon <= 6;
}

/* "http://AUTHORITY/PATH": a proxy's form, which a server has to take, too (RFC 9112 §3.2.2). */
static int read_absolute(jr_http_head *h, const char *data, const char *from, const char *end) {
  const char *slash = from;
  while (slash < end && *slash != '/' && *slash != '?') slash++;
  if (slash == from || !is_authority(from, (size_t)(slash - from)))
    return refuse(h, 400, "the target's host is malformed");
  if (slash == end || *slash == '?') return refuse(h, 400, "the target has no path");
  h->host = part(data, from, slash);
  h->target = part(data, slash, end);
  return 0;
}

static int read_target(jr_http_head *h, const char *data, const char *from, const char *end) {
  size_t len = (size_t)(end - from);
  if (len > JR_HTTP_TARGET_BYTES) return refuse(h, 414, "the target is longer than 8 KB");
  if (len == 0 || !all_are(from, len, TARGET)) return refuse(h, 400, "the target is malformed");
  h->target = part(data, from, end);
  if (*from == '/') return 0;
  if (h->method.len == 7 && memcmp(data + h->method.at, "CONNECT", 7) == 0)
    return refuse(h, 501, "CONNECT is for proxies");
  if (len > 7 && jr_http_same(from, 7, "http://")) return read_absolute(h, data, from + 7, end);
  if (len > 8 && jr_http_same(from, 8, "https://")) return read_absolute(h, data, from + 8, end);
  if (len == 1 && *from == '*' && h->method.len == 7 &&
      memcmp(data + h->method.at, "OPTIONS", 7) == 0)
    return 0;
  return refuse(h, 400, "the target is no path");
}

static int read_version(jr_http_head *h, const char *from, const char *end) {
  if (end - from != 8 || memcmp(from, "HTTP/", 5) != 0 || from[6] != '.' || from[5] < '0' ||
      from[5] > '9' || from[7] < '0' || from[7] > '9')
    return refuse(h, 400, "the request line is malformed");
  if (from[5] != '1') return refuse(h, 505, "this server speaks HTTP/1.1");
  h->is_1_0 = from[7] == '0';
  h->keeps_alive = !h->is_1_0;
  return 0;
}

static int read_request_line(jr_http_head *h, const char *data, const char *from, const char *end) {
  const char *space = memchr(from, ' ', (size_t)(end - from));
  if (!space || space == from || space - from > JR_HTTP_METHOD_BYTES ||
      !all_are(from, (size_t)(space - from), TOKEN))
    return refuse(h, 400, "the request line is malformed");
  h->method = part(data, from, space);
  const char *last = memchr(space + 1, ' ', (size_t)(end - space - 1));
  if (!last) return refuse(h, 400, "the request line is malformed");
  int status = read_version(h, last + 1, end);
  return status < 0 ? status : read_target(h, data, space + 1, last);
}

/* ---- fields that say how the message is read ------------------------------------------------- */

static int read_length(jr_http_head *h, const char *text, size_t len) {
  if (h->length >= 0) return refuse(h, 400, "Content-Length was sent twice");
  if (len == 0 || len > 18) return refuse(h, 400, "Content-Length is malformed");
  h->length = 0;
  for (size_t i = 0; i < len; i++) {
    if (text[i] < '0' || text[i] > '9') return refuse(h, 400, "Content-Length is malformed");
    h->length = h->length * 10 + (text[i] - '0');
  }
  return 0;
}

static int read_coding(jr_http_head *h, const char *text, size_t len) {
  if (h->is_chunked) return refuse(h, 400, "Transfer-Encoding was sent twice");
  if (!jr_http_same(text, len, "chunked"))
    return refuse(h, 501, "the one transfer coding understood is chunked");
  h->is_chunked = true;
  return 0;
}

/* As sent it may be empty: a target without an authority has none to repeat (RFC 9112 §3.2). */
static int read_host(jr_http_head *h, const char *text, size_t len, bool *seen) {
  if (*seen) return refuse(h, 400, "Host was sent twice");
  if (!is_authority(text, len)) return refuse(h, 400, "Host is malformed");
  *seen = true;
  return 0;
}

/* "close" and "keep-alive" in a list of tokens; close wins. */
static void read_connection(jr_http_head *h, const char *text, size_t len, bool *closes) {
  const char *end = text + len;
  while (text < end) {
    const char *comma = memchr(text, ',', (size_t)(end - text)), *stop = comma ? comma : end;
    while (text < stop && (*text == ' ' || *text == '\t')) text++;
    const char *last = stop;
    while (last > text && (last[-1] == ' ' || last[-1] == '\t')) last--;
    if (jr_http_same(text, (size_t)(last - text), "close")) *closes = true;
    if (jr_http_same(text, (size_t)(last - text), "keep-alive")) h->keeps_alive = true;
    text = stop + (comma != NULL);
  }
}

static int read_expect(jr_http_head *h, const char *text, size_t len) {
  if (!jr_http_same(text, len, "100-continue"))
    return refuse(h, 417, "the one expectation understood is 100-continue");
  h->expects_100 = !h->is_1_0;
  return 0;
}

typedef struct seen {
  bool host, closes;
} seen;

static int understand(jr_http_head *h, const char *data, const jr_http_field *f, seen *s) {
  const char *name = data + f->name.at, *value = data + f->value.at;
  switch (f->name.len) {
  case 4:
    if (!jr_http_same(name, 4, "host")) return 0;
    if (!h->host.len) h->host = f->value;
    return read_host(h, value, f->value.len, &s->host);
  case 6:
    return jr_http_same(name, 6, "expect") ? read_expect(h, value, f->value.len) : 0;
  case 10:
    if (jr_http_same(name, 10, "connection")) read_connection(h, value, f->value.len, &s->closes);
    return 0;
  case 14:
    return jr_http_same(name, 14, "content-length") ? read_length(h, value, f->value.len) : 0;
  case 17:
    return jr_http_same(name, 17, "transfer-encoding") ? read_coding(h, value, f->value.len) : 0;
  default:
    return 0;
  }
}

/* ---- fields -------------------------------------------------------------------------------- */

static int read_field(jr_http_head *h, const char *data, const char *from, const char *end,
                      seen *s) {
  if (*from == ' ' || *from == '\t') return refuse(h, 400, "a field is folded over two lines");
  const char *colon = from;
  while (colon < end && is(*colon, TOKEN)) colon++;
  if (colon == from || colon == end || *colon != ':')
    return refuse(h, 400, "a field's name is malformed");
  if (h->fields == JR_HTTP_FIELDS) return refuse(h, 431, "there are more than 64 fields");
  const char *value = colon + 1;
  while (value < end && (*value == ' ' || *value == '\t')) value++;
  while (end > value && (end[-1] == ' ' || end[-1] == '\t')) end--;
  if (!all_are(value, (size_t)(end - value), TEXT))
    return refuse(h, 400, "a field's value has control characters");
  jr_http_field *f = &h->field[h->fields++];
  *f = (jr_http_field){part(data, from, colon), part(data, value, end)};
  return understand(h, data, f, s);
}

/* What one field alone does not show. */
static int check_whole(jr_http_head *h, const seen *s) {
  if (!s->host && !h->is_1_0) return refuse(h, 400, "Host is missing");
  if (h->is_chunked && h->length >= 0)
    return refuse(h, 400, "both Content-Length and Transfer-Encoding were sent");
  if (h->is_chunked && h->is_1_0) return refuse(h, 400, "HTTP/1.0 knows no Transfer-Encoding");
  if (s->closes) h->keeps_alive = false;
  return 0;
}

static int read_head(jr_http_head *h, const char *data, const char *from, const char *end) {
  seen s = {0};
  h->length = -1;
  for (bool first = true; from < end; first = false) {
    const char *line_end = (const char *)memchr(from, '\n', (size_t)(end - from)) - 1;
    int status = first ? read_request_line(h, data, from, line_end)
                       : read_field(h, data, from, line_end, &s);
    if (status < 0) return status;
    from = line_end + 2;
  }
  return check_whole(h, &s);
}

/* ---- lines --------------------------------------------------------------------------------- */

static int too_long(jr_http_head *h) {
  if (h->scanned == 0) return refuse(h, 414, "the request line is longer than 16 KB");
  return refuse(h, 431, "the head is longer than 16 KB");
}

/* One empty line before a request is let pass (RFC 9112 §2.2). */
static size_t skipped(const char *data, size_t len) {
  return len >= 2 && data[0] == '\r' && data[1] == '\n' ? 2 : 0;
}

int jr_http_head_parse(jr_http_head *h, const char *data, size_t len) {
  size_t seen_len = len > JR_HTTP_HEAD_BYTES ? JR_HTTP_HEAD_BYTES : len;
  size_t start = skipped(data, len);
  if (h->scanned < start) h->scanned = (uint16_t)start;
  for (;;) {
    const char *from = data + h->scanned;
    size_t rest = seen_len - h->scanned;
    const char *lf = memchr(from, '\n', rest);
    size_t line = lf ? (size_t)(lf - from) : rest;
    const char *cr = memchr(from, '\r', line);
    if (memchr(from, 0, cr ? (size_t)(cr - from) : line))
      return refuse(h, 400, "there is a NUL in the head");
    if (lf ? cr != lf - 1 : cr && cr != from + rest - 1)
      return refuse(h, 400,
                    cr ? "there is a bare CR in the head" : "there is a bare LF in the head");
    if (!lf) return len > JR_HTTP_HEAD_BYTES ? too_long(h) : 0;
    h->scanned = (uint16_t)(lf + 1 - data);
    if (line == 1) break;
  }
  if (h->scanned == start + 2) return refuse(h, 400, "the request line is empty");
  int status = read_head(h, data, data + start, data + h->scanned - 2);
  return status < 0 ? status : h->scanned;
}
