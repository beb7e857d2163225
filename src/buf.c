/* A growing byte buffer.
 *
 * SPDX-License-Identifier: MIT */
#include "buf.h"

#include <stdio.h>
#include <string.h>

#include "tune.h"

void jr_buf_init(jr_buf *b, jr_mem *mem) {
  *b = (jr_buf){.mem = mem};
}

void jr_buf_fini(jr_buf *b) {
  jr_mem_free(b->mem, b->data, b->cap);
  jr_buf_init(b, b->mem);
}

char *jr_buf_reserve(jr_buf *b, size_t more) {
  if (b->cap - b->len < more) {
    size_t cap = b->cap ? b->cap * 2 : JR_TUNE_FIRST_BYTES;
    if (cap - b->len < more) cap = b->len + more;
    char *data = jr_mem_realloc(b->mem, b->data, b->cap, cap);
    if (!data) {
      b->failed = true;
      return NULL;
    }
    b->data = data;
    b->cap = cap;
  }
  return b->data + b->len;
}

void jr_buf_add(jr_buf *b, const void *bytes, size_t len) {
  if (b->failed || len == 0) return;
  char *to = jr_buf_reserve(b, len);
  if (!to) return;
  memcpy(to, bytes, len);
  b->len += len;
}

void jr_buf_adds(jr_buf *b, const char *text) {
  jr_buf_add(b, text, strlen(text));
}

void jr_buf_addv(jr_buf *b, const char *fmt, va_list args) {
  va_list again;
  va_copy(again, args);
  int len = vsnprintf(NULL, 0, fmt, again);
  va_end(again);
  char *to = b->failed || len < 0 ? NULL : jr_buf_reserve(b, (size_t)len + 1);
  if (!to) return;
  vsnprintf(to, (size_t)len + 1, fmt, args);
  b->len += (size_t)len;
}

void jr_buf_addf(jr_buf *b, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  jr_buf_addv(b, fmt, args);
  va_end(args);
}
