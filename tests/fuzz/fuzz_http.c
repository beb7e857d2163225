/* libFuzzer harness: any bytes as requests on one connection, whole and in pieces: both must find
 * the same requests, bodies and faults.
 *
 *   make B=build-fuzz CC=clang CFLAGS="-g -O1 -fsanitize=fuzzer-no-link,address,undefined" \
 *     build-fuzz/libjobrun.a
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -iquote src
 * tests/fuzz/fuzz_http.c \ build-fuzz/libjobrun.a $(pkg-config --cflags --libs lua5.4 libuv) -lm
 *
 * SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "httpbody.h"
#include "httphead.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* A digest of all that was found. */
typedef struct found {
  uint64_t hash;
  unsigned requests;
} found;

static void note(found *f, const void *data, size_t len) {
  for (size_t i = 0; i < len; i++)
    f->hash = (f->hash ^ ((const uint8_t *)data)[i]) * 1099511628211u;
}

static void note_int(found *f, int64_t n) {
  note(f, &n, sizeof n);
}

static void note_head(found *f, const jr_http_head *h, const char *data) {
  note(f, data + h->method.at, h->method.len);
  note(f, data + h->target.at, h->target.len);
  note(f, data + h->host.at, h->host.len);
  for (int i = 0; i < h->fields; i++) {
    note(f, data + h->field[i].name.at, h->field[i].name.len);
    note(f, data + h->field[i].value.at, h->field[i].value.len);
  }
  note_int(f, h->length);
  note_int(f, h->is_chunked + 2 * h->keeps_alive + 4 * h->is_1_0 + 8 * h->expects_100);
  if (h->is_chunked && h->length >= 0) abort();
}

/* Bytes up to `have` of an exact copy, so that ASan sees what is read beyond. */
typedef struct feed {
  const char *data;
  size_t len, have, step;
} feed;

static bool more(feed *in) {
  if (in->have == in->len) return false;
  in->have = in->have + in->step < in->len ? in->have + in->step : in->len;
  return true;
}

static size_t read_head(found *f, feed *in, size_t at, jr_http_head *h) {
  *h = (jr_http_head){0};
  for (;;) {
    size_t n = in->have - at;
    char *copy = malloc(n ? n : 1);
    memcpy(copy, in->data + at, n);
    *h = (jr_http_head){.scanned = h->scanned};
    int status = jr_http_head_parse(h, copy, n);
    if (status > 0) note_head(f, h, copy);
    free(copy);
    if (status < 0) note_int(f, status);
    if (status < 0) note(f, h->fault, strlen(h->fault));
    if (status < 0) return 0;
    if (status > 0) return (size_t)status;
    if (!more(in)) return 0;
  }
}

/* The place behind the body, or 0. */
static size_t read_body(found *f, feed *in, size_t at, const jr_http_head *h) {
  jr_http_body b;
  jr_http_body_init(&b, h->is_chunked ? -1 : h->length > 0 ? h->length : 0);
  for (;;) {
    size_t taken, n;
    const char *piece;
    int status = jr_http_body_read(&b, in->data + at, in->have - at, &taken, &piece, &n);
    if (taken > in->have - at || n > taken) abort();
    note(f, piece, n);
    at += taken;
    if (status < 0) note(f, b.fault, strlen(b.fault));
    if (status < 0) return 0;
    if (status > 0) return at;
    if (taken == 0 && !more(in)) return 0;
  }
}

static found run(const char *data, size_t len, size_t step) {
  found f = {0};
  feed in = {.data = data, .len = len, .step = step};
  jr_http_head h;
  more(&in);
  for (size_t at = 0, next; at < len; at = next, f.requests++) {
    next = read_head(&f, &in, at, &h);
    if (next) next = read_body(&f, &in, at + next, &h);
    if (!next) break;
  }
  return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
  if (len < 2) return 0;
  size_t step = bytes[0] % 40 + 1;
  const char *text = (const char *)bytes + 1;
  found whole = run(text, len - 1, len), cut = run(text, len - 1, step);
  if (whole.hash != cut.hash || whole.requests != cut.requests) abort();
  return 0;
}
