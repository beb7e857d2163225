/* The names of temporary files, kept where somebody finds them when we were killed: a range of
 * memory that the warden shares with us. A name that stands here is a file that is of no use to
 * anybody when this process is gone.
 *
 * Adding and forgetting are stores to memory, for the loop thread; there is room for 1024 names,
 * and a file that finds none is left for its next maker to remove.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LITTER_H
#define JR_LITTER_H

#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>

enum { JR_LITTER_NAMES = 1024 };

/* Zeroed: empty. A page of it is real memory only when it was used. */
typedef struct jr_litter {
  _Atomic uint32_t high; /* names beyond it were never used */
  struct jr_litter_name {
    _Atomic uint32_t is_set;
    char path[PATH_MAX];
  } names[JR_LITTER_NAMES];
} jr_litter;

/* Takes a copy of `path`; a relative one begins in the directory we are in now. 0 and *id, or a
 * negative status: UV_ENAMETOOLONG, UV_EAGAIN (no room). */
int jr_litter_add(jr_litter *l, const char *path, uint32_t *id);

/* The file has another name now, or is gone. */
void jr_litter_forget(jr_litter *l, uint32_t id);

/* Removes all files that stand here. Async-signal-safe. */
void jr_litter_remove(jr_litter *l);

#endif
