/* Removing a folder with all that is in it, a slice of time at a time.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_RMTREE_H
#define JR_RMTREE_H

#include <stdatomic.h>
#include <stdint.h>

enum { JR_RMTREE_MORE = 1 };

/* Removes entries of the folder `path` for about `slice_ns`, or until *stop. 0: all is gone, the
 * folder too; JR_RMTREE_MORE: call again; or a negative status, with what was removed so far gone
 * (UV_ENOTDIR where `path` is a symbolic link). Blocks; any thread. */
int jr_rmtree(const char *path, int64_t slice_ns, const atomic_bool *stop);

#endif
