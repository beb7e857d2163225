/* The last N lines of a stream.
 *
 * Slots are filled in a circle and keep their memory, so a storm of lines costs one memcpy each and
 * no allocation. Lines are cut at JR_TAIL_LINE bytes: N slots bound the memory.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_TAIL_H
#define JR_TAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem.h"

enum { JR_TAIL_LINE = 8192 };

typedef struct jr_tail_slot {
  char *text;
  uint32_t len, cap;
  int mark; /* the caller's */
} jr_tail_slot;

typedef struct jr_tail {
  jr_mem *mem;
  jr_tail_slot *slots; /* made with the first line */
  uint32_t keep, len, next;
} jr_tail;

/* Keeps the last `keep` lines, none if that is 0. */
void jr_tail_init(jr_tail *t, jr_mem *mem, uint32_t keep);
void jr_tail_fini(jr_tail *t);

/* Copies a line in. Without memory the line is left out: a tail is a help, not a promise. */
void jr_tail_add(jr_tail *t, const char *line, size_t len, int mark);

/* The `i`th of t->len lines, oldest first; borrowed until the next add. */
const jr_tail_slot *jr_tail_get(const jr_tail *t, uint32_t i);

#endif
