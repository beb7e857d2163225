/* A 4-ary min-heap of deadlines, in nanoseconds.
 *
 * Four children a node: half the depth of a binary heap, and the four lie in one cache line. An
 * entry keeps its key beside the pointer, so sifting reads no node; a node knows its place, so
 * removal of any node is O(log n). Equal keys come out in the order they went in (`seq`), which
 * keeps the virtual clock deterministic.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_HEAP_H
#define JR_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#include "mem.h"

/* Embed this in what has a deadline; all zeros means "in no heap". */
typedef struct jr_heap_node {
  uint32_t place; /* index + 1, 0 = in no heap */
  uint32_t seq;   /* how many were pushed before it */
} jr_heap_node;

typedef struct jr_heap_entry {
  int64_t key_ns;
  jr_heap_node *node;
} jr_heap_entry;

typedef struct jr_heap {
  jr_mem *mem;
  jr_heap_entry *entries;
  uint32_t len, cap, seq;
} jr_heap;

void jr_heap_init(jr_heap *h, jr_mem *mem);
void jr_heap_fini(jr_heap *h);

/* 0 or UV_ENOMEM (nothing changed). The node must be in no heap; it stays the caller's. */
int jr_heap_push(jr_heap *h, jr_heap_node *node, int64_t key_ns);

/* Takes a node out; one that is in no heap is left alone. Never fails. */
void jr_heap_remove(jr_heap *h, jr_heap_node *node);

/* The entry with the smallest key, or NULL; borrowed until the heap changes. */
static inline const jr_heap_entry *jr_heap_first(const jr_heap *h) {
  return h->len ? &h->entries[0] : NULL;
}

static inline bool jr_heap_holds(const jr_heap_node *node) {
  return node->place != 0;
}

#endif
