/* The names of temporary files.
 *
 * SPDX-License-Identifier: MIT */
#include "litter.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

/* A name counts only when all of it stands there: whoever dies half-way has added nothing. */
static int set_name(struct jr_litter_name *name, const char *path) {
  size_t len = 0;
  if (*path != '/') {
    if (!getcwd(name->path, sizeof name->path)) return -errno;
    len = strlen(name->path);
    if (len + 1 >= sizeof name->path) return UV_ENAMETOOLONG;
    name->path[len++] = '/';
  }
  size_t rest = strlen(path) + 1;
  if (len + rest > sizeof name->path) return UV_ENAMETOOLONG;
  memcpy(name->path + len, path, rest);
  atomic_store(&name->is_set, 1);
  return 0;
}

int jr_litter_add(jr_litter *l, const char *path, uint32_t *id) {
  for (uint32_t i = 0; i < JR_LITTER_NAMES; i++) {
    if (atomic_load(&l->names[i].is_set)) continue;
    int status = set_name(&l->names[i], path);
    if (status < 0) return status;
    if (i >= atomic_load(&l->high)) atomic_store(&l->high, i + 1);
    *id = i;
    return 0;
  }
  return UV_EAGAIN;
}

void jr_litter_forget(jr_litter *l, uint32_t id) {
  atomic_store(&l->names[id].is_set, 0);
}

void jr_litter_remove(jr_litter *l) {
  for (uint32_t i = 0; i < atomic_load(&l->high); i++)
    if (atomic_exchange(&l->names[i].is_set, 0)) unlink(l->names[i].path);
}
