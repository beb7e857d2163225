/* A growing byte buffer with a sticky failure: append as often as you like, ask once at the end.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_BUF_H
#define JR_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "mem.h"

typedef struct jr_buf {
  jr_mem *mem;
  char *data;
  size_t len, cap;
  bool failed; /* an append found no memory; the content is cut there */
} jr_buf;

void jr_buf_init(jr_buf *b, jr_mem *mem);
void jr_buf_fini(jr_buf *b);

/* Room for `more` bytes behind the content: where to write, or NULL (and `failed`). Add to len. */
char *jr_buf_reserve(jr_buf *b, size_t more);

void jr_buf_add(jr_buf *b, const void *bytes, size_t len);
void jr_buf_adds(jr_buf *b, const char *text);
void jr_buf_addf(jr_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void jr_buf_addv(jr_buf *b, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));

#endif
