/* The one door for memory: counting, limit, the host's allocator, and spare blocks.
 *
 * Spares. A Lua program makes and drops small objects by the thousand, between two sweeps of its
 * garbage collector; malloc's own caches hold a few of a size, and the rest it splits and merges.
 * So small blocks are rounded up to a size class, and freed ones wait in a list of their class for
 * the next request: a spawn costs a fifth less by it. Sanitizer and hard builds keep none, so that
 * a use after free is seen.
 *
 * SPDX-License-Identifier: MIT */
#include "mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tune.h"

static void *alloc_default(void *data, void *ptr, size_t old_size, size_t new_size) {
  (void)data;
  (void)old_size;
  if (new_size == 0) {
    free(ptr);
    return NULL;
  }
  return realloc(ptr, new_size);
}

void jr_mem_init(jr_mem *m, jr_alloc_fn alloc, void *data, size_t limit) {
  m->alloc = alloc ? alloc : alloc_default;
  m->data = data;
  m->used = m->peak = 0;
  m->limit = limit;
  m->spares = NULL;
  atomic_init(&m->shared, 0);
}

/* ---- spares ------------------------------------------------------------------------------------
 */

struct jr_spare {
  struct jr_spare *next;
};

static size_t class_of(size_t size) {
  return (size - 1) / JR_MEM_STEP;
}

static bool is_small(size_t size) {
  return size - 1 < JR_MEM_SMALL; /* 0 is not */
}

/* What a block of that size really takes. */
static size_t rounded(size_t size) {
  return is_small(size) ? (class_of(size) + 1) * JR_MEM_STEP : size;
}

static void *take_spare(jr_mem *m, size_t size) {
  struct jr_spare **list = &m->spares->lists[class_of(size)], *spare = *list;
  if (!spare) return m->alloc(m->data, NULL, 0, rounded(size));
  *list = spare->next;
  m->spares->bytes -= rounded(size);
  return spare;
}

static void keep_spare(jr_mem *m, void *ptr, size_t size) {
  struct jr_spare **list = &m->spares->lists[class_of(size)], *spare = ptr;
  spare->next = *list;
  *list = spare;
  m->spares->bytes += rounded(size);
}

void jr_mem_keep_spares(jr_mem *m, jr_spares *spares) {
  memset(spares, 0, sizeof *spares);
  m->spares = spares;
}

void jr_mem_drop_spares(jr_mem *m) {
  for (size_t c = 0; m->spares && c < JR_MEM_SMALL / JR_MEM_STEP; c++)
    for (struct jr_spare *spare; (spare = m->spares->lists[c]);) {
      m->spares->lists[c] = spare->next;
      m->alloc(m->data, spare, (c + 1) * JR_MEM_STEP, 0);
    }
  m->spares = NULL;
}

/* ---- blocks ------------------------------------------------------------------------------------
 */

static void *change(jr_mem *m, void *ptr, size_t old_size, size_t new_size) {
  if (!m->spares) return m->alloc(m->data, ptr, old_size, new_size);
  if (!ptr && is_small(new_size)) return take_spare(m, new_size);
  if (new_size == 0 && is_small(old_size) &&
      m->spares->bytes + rounded(old_size) <= JR_TUNE_SPARE_BYTES) {
    keep_spare(m, ptr, old_size);
    return NULL;
  }
  size_t from = rounded(old_size), to = rounded(new_size);
  return from == to ? ptr : m->alloc(m->data, ptr, from, to);
}

void *jr_mem_realloc(jr_mem *m, void *ptr, size_t old_size, size_t new_size) {
  if (!ptr) old_size = 0;
  if (m->limit && new_size > old_size && m->used + (new_size - old_size) > m->limit) return NULL;
  void *block = change(m, ptr, old_size, new_size);
  if (!block && new_size) return NULL;
  m->used += new_size - old_size;
  if (m->used > m->peak) m->peak = m->used;
  return block;
}

void *jr_mem_alloc(jr_mem *m, size_t size) {
  return jr_mem_realloc(m, NULL, 0, size);
}

void *jr_mem_zalloc(jr_mem *m, size_t size) {
  void *block = jr_mem_alloc(m, size);
  return block ? memset(block, 0, size) : NULL;
}

void jr_mem_free(jr_mem *m, void *ptr, size_t size) {
  if (ptr) jr_mem_realloc(m, ptr, size, 0);
}

char *jr_mem_dup(jr_mem *m, const char *text, size_t len) {
  char *copy = jr_mem_alloc(m, len + 1);
  if (!copy) return NULL;
  memcpy(copy, text, len);
  copy[len] = 0;
  return copy;
}

void *jr_mem_shared_alloc(jr_mem *m, size_t size) {
  void *block = m->alloc(m->data, NULL, 0, size);
  if (block) atomic_fetch_add_explicit(&m->shared, size, memory_order_relaxed);
  return block;
}

void jr_mem_shared_free(jr_mem *m, void *ptr, size_t size) {
  if (!ptr) return;
  m->alloc(m->data, ptr, size, 0);
  atomic_fetch_sub_explicit(&m->shared, size, memory_order_relaxed);
}

/* Lua passes a type tag as old_size for new objects; jr_mem_realloc takes 0 when ptr is NULL. */
void *jr_mem_lua_alloc(void *data, void *ptr, size_t old_size, size_t new_size) {
  jr_mem *m = data;
  if (ptr && new_size == 0) {
    jr_mem_free(m, ptr, old_size);
    return NULL;
  }
  return new_size ? jr_mem_realloc(m, ptr, old_size, new_size) : NULL;
}
