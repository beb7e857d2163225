/* The one door for memory: counts bytes, keeps a limit, and lets a host bring its allocator.
 *
 * Sizes are given back on release (as lua_Alloc does), so a block carries no header and the count
 * is exact: after everything was freed `used` is 0, and a test asserts just that. A jr_mem belongs
 * to one thread; a worker thread has its own. Blocks that are made on one thread and freed on
 * another go through jr_mem_shared_alloc, whose count is atomic.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_MEM_H
#define JR_MEM_H

#include <stdatomic.h>
#include <stddef.h>

/* Same contract as lua_Alloc: new_size 0 frees, ptr NULL allocates; NULL means out of memory.
 * Must be safe to call from several threads when scripts use blocking calls. */
typedef void *(*jr_alloc_fn)(void *data, void *ptr, size_t old_size, size_t new_size);

/* Freed blocks of up to JR_MEM_SMALL bytes, kept for the next request of their size. */
enum { JR_MEM_SMALL = 256, JR_MEM_STEP = 16 };
typedef struct jr_spares {
  size_t bytes; /* JR_TUNE_SPARE_BYTES at most */
  struct jr_spare *lists[JR_MEM_SMALL / JR_MEM_STEP];
} jr_spares;

typedef struct jr_mem {
  jr_alloc_fn alloc;
  void *data;
  size_t used;  /* bytes out now, without the shared ones */
  size_t peak;  /* the most `used` has been */
  size_t limit; /* growth beyond this fails; 0 = none */
  _Atomic size_t shared;
  jr_spares *spares; /* NULL: none are kept */
} jr_mem;

/* Uses `alloc` with `data`, or malloc where alloc is NULL. */
void jr_mem_init(jr_mem *m, jr_alloc_fn alloc, void *data, size_t limit);

/* From now on freed small blocks are kept in `spares`, which the caller owns. Before the first
 * block is asked for. */
void jr_mem_keep_spares(jr_mem *m, jr_spares *spares);

/* Gives them back to the allocator: the last thing before `m` goes. */
void jr_mem_drop_spares(jr_mem *m);

/* A block of `size` bytes, or NULL. The caller owns it and frees it with the same size. */
void *jr_mem_alloc(jr_mem *m, size_t size);

/* The same, filled with zeros. */
void *jr_mem_zalloc(jr_mem *m, size_t size);

/* Grows or shrinks; on NULL the old block is as it was. */
void *jr_mem_realloc(jr_mem *m, void *ptr, size_t old_size, size_t new_size);

/* `size` is the size it was allocated with; ptr may be NULL. */
void jr_mem_free(jr_mem *m, void *ptr, size_t size);

/* A copy of `len` bytes with a zero behind them (len + 1 bytes to free), or NULL. */
char *jr_mem_dup(jr_mem *m, const char *text, size_t len);

/* For blocks that cross threads; any thread. */
void *jr_mem_shared_alloc(jr_mem *m, size_t size);
void jr_mem_shared_free(jr_mem *m, void *ptr, size_t size);

/* The lua_Alloc of every Lua state of ours; `data` is the jr_mem. */
void *jr_mem_lua_alloc(void *data, void *ptr, size_t old_size, size_t new_size);

#endif
