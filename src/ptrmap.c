/* A map from pointers to numbers.
 *
 * SPDX-License-Identifier: MIT */
#include "ptrmap.h"

#include <string.h>

#include <uv.h>

enum { FIRST_TABLE = 64, KEEP_TABLE = 4096 };

void jr_ptrmap_init(jr_ptrmap *map, jr_mem *mem) {
  map->mem = mem;
  map->table = NULL;
  map->len = map->cap = 0;
}

void jr_ptrmap_fini(jr_ptrmap *map) {
  jr_mem_free(map->mem, map->table, map->cap * sizeof *map->table);
  jr_ptrmap_init(map, map->mem);
}

void jr_ptrmap_clear(jr_ptrmap *map) {
  if (map->cap > KEEP_TABLE)
    jr_ptrmap_fini(map);
  else if (map->len > JR_PTRMAP_SMALL)
    memset(map->table, 0, map->cap * sizeof *map->table);
  map->len = 0;
}

/* Where the key is, or the free place it would take. Blocks of memory are aligned, so the low bits
 * say nothing: a multiplication spreads the others over the high ones. */
static jr_ptrmap_entry *place_of(jr_ptrmap_entry *table, uint32_t cap, const void *key) {
  uint64_t hash = (uint64_t)(uintptr_t)key * UINT64_C(0x9E3779B97F4A7C15);
  uint32_t i = (uint32_t)(hash >> 32) & (cap - 1);
  while (table[i].key && table[i].key != key) i = (i + 1) & (cap - 1);
  return &table[i];
}

static int grow(jr_ptrmap *map, uint32_t cap) {
  jr_ptrmap_entry *table = jr_mem_zalloc(map->mem, cap * sizeof *table);
  if (!table) return UV_ENOMEM;
  for (uint32_t i = 0; i < map->cap; i++)
    if (map->table[i].key) *place_of(table, cap, map->table[i].key) = map->table[i];
  jr_mem_free(map->mem, map->table, map->cap * sizeof *map->table);
  map->table = table;
  map->cap = cap;
  return 0;
}

static void move_few(jr_ptrmap *map) {
  for (uint32_t i = 0; i < JR_PTRMAP_SMALL; i++)
    *place_of(map->table, map->cap, map->few[i].key) = map->few[i];
}

int jr_ptrmap_put(jr_ptrmap *map, const void *key, uint64_t value) {
  jr_ptrmap_entry entry = {key, value};
  if (map->len < JR_PTRMAP_SMALL) {
    map->few[map->len++] = entry;
    return 0;
  }
  bool full = (map->len + 1) * 4 > map->cap * 3;
  if (full && grow(map, map->cap ? map->cap * 2 : FIRST_TABLE) < 0) return UV_ENOMEM;
  if (map->len == JR_PTRMAP_SMALL) move_few(map);
  *place_of(map->table, map->cap, key) = entry;
  map->len++;
  return 0;
}

bool jr_ptrmap_get(const jr_ptrmap *map, const void *key, uint64_t *out) {
  const jr_ptrmap_entry *found = NULL;
  if (map->len > JR_PTRMAP_SMALL) {
    found = place_of(map->table, map->cap, key);
  } else {
    for (uint32_t i = 0; i < map->len && !found; i++)
      if (map->few[i].key == key) found = &map->few[i];
  }
  if (!found || !found->key) return false;
  *out = found->value;
  return true;
}
