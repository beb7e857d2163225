/* Values that cross from one thread to another: integers, texts and nulls, in rows.
 *
 * A cell is a byte for its type and, without padding, what belongs to it: eight bytes of an
 * integer, or a length of eight bytes and the text.
 *
 * SPDX-License-Identifier: MIT */
#include "cells.h"

#include <string.h>

enum { FIRST_CAP = 240 };

void jr_cells_init(jr_cells *c, jr_mem *mem) {
  *c = (jr_cells){.mem = mem};
}

void jr_cells_fini(jr_cells *c) {
  if (c->data) jr_mem_shared_free(c->mem, c->data, c->cap);
  *c = (jr_cells){.mem = c->mem};
}

void jr_cells_reset(jr_cells *c) {
  c->len = 0;
  c->failed = false;
}

static bool make_room(jr_cells *c, size_t more) {
  size_t cap = c->cap ? c->cap : FIRST_CAP;
  while (cap < c->len + more) cap *= 2;
  if (cap == c->cap) return true;
  char *data = jr_mem_shared_alloc(c->mem, cap);
  if (!data) return false;
  if (c->data) {
    memcpy(data, c->data, c->len);
    jr_mem_shared_free(c->mem, c->data, c->cap);
  }
  c->data = data;
  c->cap = cap;
  return true;
}

static void add(jr_cells *c, jr_cell_type type, const void *head, size_t head_len, const char *text,
                size_t len) {
  if (!c->failed) c->failed = !make_room(c, 1 + head_len + len);
  if (c->failed) return;
  char *at = c->data + c->len;
  *at = (char)type;
  if (head_len) memcpy(at + 1, head, head_len);
  if (len) memcpy(at + 1 + head_len, text, len);
  c->len += 1 + head_len + len;
}

void jr_cells_add_row(jr_cells *c) {
  add(c, JR_CELL_ROW, NULL, 0, NULL, 0);
}

void jr_cells_add_null(jr_cells *c) {
  add(c, JR_CELL_NULL, NULL, 0, NULL, 0);
}

void jr_cells_add_integer(jr_cells *c, int64_t value) {
  add(c, JR_CELL_INTEGER, &value, sizeof value, NULL, 0);
}

void jr_cells_add_text(jr_cells *c, const char *text, size_t len) {
  uint64_t head = len;
  add(c, JR_CELL_TEXT, &head, sizeof head, text, len);
}

void jr_cells_append(jr_cells *c, const jr_cells *other) {
  if (other->failed || !make_room(c, other->len)) c->failed = true;
  if (c->failed || !other->len) return;
  memcpy(c->data + c->len, other->data, other->len);
  c->len += other->len;
}

bool jr_cells_next(const jr_cells *c, size_t *at, jr_cell *out) {
  if (*at >= c->len) return false;
  const char *from = c->data + *at;
  *out = (jr_cell){.type = (jr_cell_type)*from++};
  if (out->type == JR_CELL_INTEGER) {
    memcpy(&out->integer, from, sizeof out->integer);
    from += sizeof out->integer;
  } else if (out->type == JR_CELL_TEXT) {
    uint64_t len;
    memcpy(&len, from, sizeof len);
    out->len = (size_t)len;
    out->text = from + sizeof len;
    from = out->text + out->len;
  }
  *at = (size_t)(from - c->data);
  return true;
}
