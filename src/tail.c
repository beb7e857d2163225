/* The last N lines of a stream.
 *
 * SPDX-License-Identifier: MIT */
#include "tail.h"

#include <string.h>

void jr_tail_init(jr_tail *t, jr_mem *mem, uint32_t keep) {
  *t = (jr_tail){.mem = mem, .keep = keep};
}

void jr_tail_fini(jr_tail *t) {
  for (uint32_t i = 0; t->slots && i < t->keep; i++)
    jr_mem_free(t->mem, t->slots[i].text, t->slots[i].cap);
  jr_mem_free(t->mem, t->slots, t->keep * sizeof *t->slots);
  jr_tail_init(t, t->mem, t->keep);
}

static bool make_room(jr_tail *t, jr_tail_slot *slot, size_t len) {
  if (len <= slot->cap) return true;
  size_t cap = len < 128 ? 128 : (len + 127) / 128 * 128;
  char *text = jr_mem_realloc(t->mem, slot->text, slot->cap, cap);
  if (!text) return false;
  slot->text = text;
  slot->cap = (uint32_t)cap;
  return true;
}

void jr_tail_add(jr_tail *t, const char *line, size_t len, int mark) {
  if (t->keep == 0) return;
  if (!t->slots) t->slots = jr_mem_zalloc(t->mem, t->keep * sizeof *t->slots);
  if (!t->slots) return;
  if (len > JR_TAIL_LINE) len = JR_TAIL_LINE;
  jr_tail_slot *slot = &t->slots[t->next];
  if (!make_room(t, slot, len)) return;
  if (len) memcpy(slot->text, line, len);
  slot->len = (uint32_t)len;
  slot->mark = mark;
  t->next = (t->next + 1) % t->keep;
  if (t->len < t->keep) t->len++;
}

const jr_tail_slot *jr_tail_get(const jr_tail *t, uint32_t i) {
  return &t->slots[(t->next + t->keep - t->len + i) % t->keep];
}
