/* A map from pointers to numbers, for marking what a walk over a graph has already seen.
 *
 * Most walks meet a handful of things, so the first few live in the struct itself and are found by
 * looking at each; only then is a hash table made. Nothing is ever removed but all at once.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_PTRMAP_H
#define JR_PTRMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "mem.h"

typedef struct jr_ptrmap_entry {
  const void *key; /* NULL = empty */
  uint64_t value;
} jr_ptrmap_entry;

enum { JR_PTRMAP_SMALL = 8 };

typedef struct jr_ptrmap {
  jr_mem *mem;
  jr_ptrmap_entry *table; /* open addressing; NULL while `few` is enough */
  uint32_t len, cap;      /* cap is the table's, a power of two */
  jr_ptrmap_entry few[JR_PTRMAP_SMALL];
} jr_ptrmap;

void jr_ptrmap_init(jr_ptrmap *map, jr_mem *mem);
void jr_ptrmap_fini(jr_ptrmap *map);

/* Forgets everything; a table of reasonable size is kept for the next walk. */
void jr_ptrmap_clear(jr_ptrmap *map);

/* Adds a key that is not in it yet (not NULL). 0 or UV_ENOMEM (nothing changed). */
int jr_ptrmap_put(jr_ptrmap *map, const void *key, uint64_t value);

/* True with the value in *out, if the key is there. */
bool jr_ptrmap_get(const jr_ptrmap *map, const void *key, uint64_t *out);

#endif
