/* The queue of waiting tasks, for bindings that wake them from C.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LIB_SYNC_H
#define JR_LIB_SYNC_H

#include <stdint.h>

#include <lua.h>

#include "list.h"

/* Pushes a new queue, which Lua waits in with queue:wait(). Borrowed from the value; who wakes it
 * holds that. "jobrun.core.sync" must be loaded. */
jr_list *jr_queue_push_new(lua_State *L);

/* Wakes at most `n` tasks, the longest waiting first; returns how many. Loop thread; runs none. */
int64_t jr_queue_wake(jr_list *queue, int64_t n);

#endif
