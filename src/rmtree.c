/* Removing a folder with all that is in it, a slice of time at a time.
 *
 * A pass goes from the top down to the first folder that has no full folder in it, and empties
 * that. Passes are repeated until nothing is left; each begins at the top again. So any depth needs
 * two descriptors and no memory, and there is nothing to carry from one slice of time to the next.
 * What it costs is one open per level and pass, which counts only in trees far deeper than they are
 * wide.
 *
 * It goes by descriptors and never through a symbolic link: nobody can lead it out of the tree by
 * swapping a folder for a link while it works, as happened to path-based removers run by root.
 *
 * SPDX-License-Identifier: MIT */
#include "rmtree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

typedef struct slice {
  int64_t end_ns;
  const atomic_bool *stop;
} slice;

static int64_t now_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static bool is_over(const slice *s) {
  return atomic_load(s->stop) || now_ns() >= s->end_ns;
}

/* Somebody else may have put something in or taken something out meanwhile. */
static bool is_full(int error) {
  return error == ENOTEMPTY || error == EEXIST;
}

/* Removes one entry of folder `fd`. 0, a negative status, or JR_RMTREE_MORE for a folder that is
 * not empty, which is then open at *inner. */
static int remove_entry(int fd, const char *name, int *inner) {
  if (unlinkat(fd, name, 0) == 0 || errno == ENOENT) return 0;
  if (errno == EISDIR && (unlinkat(fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)) return 0;
  if (!is_full(errno)) return -errno;
  *inner = openat(fd, name, FOLDER_FLAGS);
  if (*inner >= 0) return JR_RMTREE_MORE;
  return errno == ENOENT ? 0 : -errno;
}

/* Removes the entries of folder `fd`, and closes it. 0 when it is empty now; JR_RMTREE_MORE when
 * time is up, or when a full folder in it comes first (open at *inner). */
static int clear_folder(int fd, const slice *s, int *inner) {
  DIR *dir = fdopendir(fd);
  if (!dir) {
    int status = -errno;
    close(fd);
    return status;
  }
  int status = 0;
  for (struct dirent *e; status == 0 && (e = readdir(dir));) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    status = remove_entry(fd, e->d_name, inner);
    if (status == 0 && is_over(s)) status = JR_RMTREE_MORE;
  }
  closedir(dir);
  return status;
}

static int pass(const char *path, const slice *s) {
  int inner = open(path, FOLDER_FLAGS), depth = 0, status;
  if (inner < 0) return -errno;
  for (;; depth++) {
    int fd = inner;
    inner = -1;
    status = clear_folder(fd, s, &inner);
    if (inner < 0) break;
  }
  if (status < 0) return status;
  if (status > 0 || depth > 0) return JR_RMTREE_MORE;
  if (rmdir(path) == 0 || errno == ENOENT) return 0;
  return is_full(errno) ? JR_RMTREE_MORE : -errno;
}

int jr_rmtree(const char *path, int64_t slice_ns, const atomic_bool *stop) {
  slice s = {.end_ns = now_ns() + slice_ns, .stop = stop};
  int status;
  do status = pass(path, &s);
  while (status == JR_RMTREE_MORE && !is_over(&s));
  return status;
}
