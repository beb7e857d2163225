/* Blocking calls: a task waits while a function runs on a worker thread.
 *
 * A call is packed on the loop, runs in a worker's Lua state (worker.h) of an executor's pool
 * (pool.h), and is unpacked on the loop. Cancelling a queued one takes it out; a running one is
 * given up: its task goes on at once, its worker is told, and what it returns in the end is
 * dropped.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_WORK_H
#define JR_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

#include "pool.h"
#include "rt.h"

typedef struct jr_work jr_work;

/* Opens the executors of a runtime, once (later calls do nothing). Raises. */
void jr_works_open(lua_State *L);

/* An executor of up to `max` workers. The caller lets go of it by jr_executor_release; calls that
 * were accepted are run even so. Raises. */
jr_pool *jr_executor_new(lua_State *L, const char *name, uint32_t max, int64_t idle_ns);
void jr_executor_release(jr_pool *pool);

/* The one behind `blocking`: min(32, cores + 4) workers. Borrowed. Raises the first time (memory).
 */
jr_pool *jr_executor_default(lua_State *L);

/* Accepts no more calls, waits until all that were accepted have ended, ends the workers.
 * Suspends; raises. */
int jr_executor_close(lua_State *L, jr_pool *pool);

/* ---- calls --------------------------------------------------------------------------------- */

/* Makes a call of the function at `first` with all values above it, by copy; `op` names it in
 * errors. The caller starts it, before anything that may raise. Raises where a value cannot travel,
 * and if the pool was closed. */
jr_work *jr_work_new(lua_State *L, jr_pool *pool, int first, const char *op);

/* The same in two steps: packs now, into two strings that are pushed (the bytes, the function's
 * name) ... */
void jr_work_pack(lua_State *L, jr_pool *pool, int first, const char *op);

/* ... and makes the call later, of two strings that must come from jr_work_pack. */
jr_work *jr_work_packed(lua_State *L, jr_pool *pool, int bytes, int name);

/* `return jr_work_start(L, work)`, after jr_check_park: queues it and suspends; its results, or its
 * error raised with the worker's traceback. Takes the call over. */
int jr_work_start(lua_State *L, jr_work *work);

/* `return jr_work_c(L, pool, ops, data)`: the same with a blocking C function; pool NULL = the
 * default one. Call jr_check_park first; from then on ops->drop lets go of `data`, whatever
 * happens. */
int jr_work_c(lua_State *L, jr_pool *pool, const jr_call_ops *ops, void *data);

#endif
