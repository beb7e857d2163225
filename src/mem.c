/* The one door for memory: counting, limit, the host's allocator.
 *
 * SPDX-License-Identifier: MIT */
#include "mem.h"

#include <stdlib.h>
#include <string.h>

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
  atomic_init(&m->shared, 0);
}

void *jr_mem_realloc(jr_mem *m, void *ptr, size_t old_size, size_t new_size) {
  if (!ptr) old_size = 0;
  if (m->limit && new_size > old_size && m->used + (new_size - old_size) > m->limit) return NULL;
  void *block = m->alloc(m->data, ptr, old_size, new_size);
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
