/* What happened.
 *
 * SPDX-License-Identifier: MIT */
#include "run.h"

#include <stddef.h>

const char *jr_outcome_name(jr_outcome outcome) {
  static const char *const names[] = {"going", "ok", "error", "timeout", "cancelled"};
  return names[outcome];
}

void jr_run_ring_init(jr_run_ring *ring, jr_mem *mem, uint32_t cap) {
  *ring = (jr_run_ring){.mem = mem, .cap = cap};
}

void jr_run_ring_fini(jr_run_ring *ring) {
  if (ring->records) jr_mem_free(ring->mem, ring->records, ring->cap * sizeof *ring->records);
  jr_run_ring_init(ring, ring->mem, ring->cap);
}

static void ring_end(void *data, const jr_run_record *record) {
  jr_run_ring *ring = data;
  if (!ring->records) ring->records = jr_mem_alloc(ring->mem, ring->cap * sizeof *ring->records);
  if (!ring->records) {
    ring->dropped++;
    return;
  }
  ring->records[ring->next] = *record;
  ring->next = (ring->next + 1) % ring->cap;
  if (ring->len < ring->cap) ring->len++;
}

jr_run_sink jr_run_ring_sink(jr_run_ring *ring) {
  return (jr_run_sink){.end = ring_end, .data = ring};
}

const jr_run_record *jr_run_ring_get(const jr_run_ring *ring, uint32_t i) {
  if (i >= ring->len) return NULL;
  return &ring->records[(ring->next + ring->cap - 1 - i) % ring->cap];
}
