/* An allocator for tests: counts what is out, and fails the Nth request.
 *
 * SPDX-License-Identifier: MIT */
#ifndef DOOR_HELP_H
#define DOOR_HELP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

typedef struct door {
  pthread_mutex_t lock; /* workers allocate too */
  long left;            /* requests until one fails; < 0: none does */
  long blocks;          /* out now */
  size_t bytes, peak;   /* out now; the most that was */
  bool failed;
} door;

static void *door_alloc_locked(door *d, void *ptr, size_t old_size, size_t new_size) {
  if (!ptr) old_size = 0;
  if (new_size == 0) {
    if (ptr) d->blocks--;
    d->bytes -= old_size;
    free(ptr);
    return NULL;
  }
  bool grows = new_size > old_size; /* Lua relies on shrinking not to fail */
  if (grows && d->left >= 0 && d->left-- == 0) {
    d->failed = true;
    return NULL;
  }
  void *block = realloc(ptr, new_size);
  if (!ptr && block) d->blocks++;
  d->bytes += new_size - old_size;
  if (d->bytes > d->peak) d->peak = d->bytes;
  return block;
}

static void *door_alloc(void *data, void *ptr, size_t old_size, size_t new_size) {
  door *d = data;
  pthread_mutex_lock(&d->lock);
  void *block = door_alloc_locked(d, ptr, old_size, new_size);
  pthread_mutex_unlock(&d->lock);
  return block;
}

#endif
