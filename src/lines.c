/* Cuts a stream of bytes into lines.
 *
 * SPDX-License-Identifier: MIT */
#include "lines.h"

#include <string.h>

enum { GROW_STEP = 1 << 20 }; /* beyond this size the buffer grows by steps, not by doubling */

void jr_lines_init(jr_lines *l, jr_mem *mem) {
  *l = (jr_lines){.mem = mem, .max = JR_LINES_MAX};
}

void jr_lines_fini(jr_lines *l) {
  jr_mem_free(l->mem, l->data, l->cap);
  jr_lines_init(l, l->mem);
}

/* Moves the unread bytes to the front. */
static void compact(jr_lines *l) {
  if (l->start == 0) return;
  size_t len = l->end - l->start;
  if (len) memmove(l->data, l->data + l->start, len);
  l->lf = l->lf > l->start ? l->lf - l->start : 0;
  l->cr = l->cr > l->start ? l->cr - l->start : 0;
  l->start = 0;
  l->end = len;
}

static bool resize(jr_lines *l, size_t cap) {
  char *data = jr_mem_realloc(l->mem, l->data, l->cap, cap);
  if (!data) return false;
  l->data = data;
  l->cap = cap;
  return true;
}

static size_t grown(size_t cap, size_t need) {
  size_t next = cap < GROW_STEP ? cap * 2 : cap + GROW_STEP;
  return next > need ? next : need;
}

/* A buffer that one slow reader let grow is given back once it is empty. */
static void shrink(jr_lines *l, size_t want) {
  if (l->end == 0 && l->cap > GROW_STEP && want < GROW_STEP) resize(l, want);
}

char *jr_lines_reserve(jr_lines *l, size_t want, size_t *room) {
  if (l->cap - l->end < want) compact(l);
  shrink(l, want);
  if (l->cap - l->end < want && !resize(l, grown(l->cap, l->end + want))) return NULL;
  *room = l->cap - l->end;
  return l->data + l->end;
}

void jr_lines_commit(jr_lines *l, size_t n) {
  l->end += n;
}

void jr_lines_finish(jr_lines *l) {
  l->finished = true;
}

void jr_lines_clear(jr_lines *l) {
  l->start = l->end = l->lf = l->cr = 0;
  l->skip_lf = false;
}

/* The place of the next `c`, or `end`. `*at` is where the last search stopped: at such a byte, or
 * at what was the end then. */
static inline size_t find(const jr_lines *l, size_t *at, char c) {
  if (*at < l->start) *at = l->start;
  if (*at < l->end && l->data[*at] != c) {
    const char *p = memchr(l->data + *at, c, l->end - *at);
    *at = p ? (size_t)(p - l->data) : l->end;
  }
  return *at;
}

static void swallow_lf(jr_lines *l) {
  if (l->start == l->end) return;
  if (l->data[l->start] == '\n') l->start++;
  l->skip_lf = false;
}

bool jr_lines_next(jr_lines *l, char **line, size_t *len) {
  if (l->skip_lf) swallow_lf(l);
  size_t lf = find(l, &l->lf, '\n'), cr = find(l, &l->cr, '\r');
  size_t stop = lf < cr ? lf : cr, size = stop - l->start;
  bool cut = size > l->max;
  if (stop == l->end && !cut && (!l->finished || size == 0)) return false;
  if (cut) size = l->max;
  *line = l->data + l->start;
  *len = size;
  l->start += size;
  if (cut || stop == l->end) return true;
  l->start++;
  if (cr == stop) {
    l->skip_lf = true;
    swallow_lf(l);
  }
  return true;
}

/* Behind the end of the line that begins at `at`, or 0: there is no whole one. One whose \r is the
 * last byte may still get a \n. */
static size_t line_end(const jr_lines *l, size_t at, size_t *len) {
  size_t i = at;
  while (i < l->end && l->data[i] != '\n' && l->data[i] != '\r') i++;
  if (i == l->end || (l->data[i] == '\r' && i + 1 == l->end)) return 0;
  *len = i - at;
  return l->data[i] == '\r' && l->data[i + 1] == '\n' ? i + 2 : i + 1;
}

size_t jr_lines_thin(jr_lines *l, size_t target,
                     bool (*may_drop)(void *data, const char *line, size_t len), void *data) {
  if (l->skip_lf) swallow_lf(l);
  size_t from = l->start, to = l->start, dropped = 0, len;
  for (size_t next; l->end - from + (to - l->start) > target; from = next) {
    next = line_end(l, from, &len);
    if (!next) break;
    if (!may_drop || may_drop(data, l->data + from, len)) {
      dropped++;
      continue;
    }
    memmove(l->data + to, l->data + from, next - from);
    to += next - from;
  }
  memmove(l->data + to, l->data + from, l->end - from);
  l->end = to + (l->end - from);
  l->lf = l->cr = l->start;
  return dropped;
}
