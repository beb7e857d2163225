/* A 4-ary min-heap of deadlines.
 *
 * SPDX-License-Identifier: MIT */
#include "heap.h"

#include <uv.h>

#include "tune.h"

void jr_heap_init(jr_heap *h, jr_mem *mem) {
  *h = (jr_heap){.mem = mem};
}

void jr_heap_fini(jr_heap *h) {
  jr_mem_free(h->mem, h->entries, h->cap * sizeof *h->entries);
  jr_heap_init(h, h->mem);
}

/* seq may wrap after 2^32 pushes; only the distance counts. */
static bool comes_before(const jr_heap_entry *a, const jr_heap_entry *b) {
  if (a->key_ns != b->key_ns) return a->key_ns < b->key_ns;
  return (int32_t)(a->node->seq - b->node->seq) < 0;
}

static void place(jr_heap *h, uint32_t i, jr_heap_entry e) {
  h->entries[i] = e;
  e.node->place = i + 1;
}

static void sift_up(jr_heap *h, uint32_t i, jr_heap_entry e) {
  while (i > 0) {
    uint32_t up = (i - 1) / 4;
    if (!comes_before(&e, &h->entries[up])) break;
    place(h, i, h->entries[up]);
    i = up;
  }
  place(h, i, e);
}

static void sift_down(jr_heap *h, uint32_t i, jr_heap_entry e) {
  for (;;) {
    uint32_t child = 4 * i + 1, end = child + 4 < h->len ? child + 4 : h->len;
    if (child >= h->len) break;
    uint32_t least = child;
    while (++child < end)
      if (comes_before(&h->entries[child], &h->entries[least])) least = child;
    if (!comes_before(&h->entries[least], &e)) break;
    place(h, i, h->entries[least]);
    i = least;
  }
  place(h, i, e);
}

int jr_heap_push(jr_heap *h, jr_heap_node *node, int64_t key_ns) {
  if (h->len == h->cap) {
    uint32_t cap = h->cap ? h->cap * 2 : JR_TUNE_FIRST_ITEMS;
    size_t size = sizeof *h->entries;
    jr_heap_entry *grown = jr_mem_realloc(h->mem, h->entries, h->cap * size, cap * size);
    if (!grown) return UV_ENOMEM;
    h->entries = grown;
    h->cap = cap;
  }
  node->seq = h->seq++;
  sift_up(h, h->len++, (jr_heap_entry){.key_ns = key_ns, .node = node});
  return 0;
}

void jr_heap_remove(jr_heap *h, jr_heap_node *node) {
  if (!jr_heap_holds(node)) return;
  uint32_t i = node->place - 1;
  node->place = 0;
  jr_heap_entry last = h->entries[--h->len];
  if (i == h->len) return;
  if (i > 0 && comes_before(&last, &h->entries[(i - 1) / 4]))
    sift_up(h, i, last);
  else
    sift_down(h, i, last);
}
