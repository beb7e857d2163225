/* Pools of worker threads: queues, who is woken, who ends.
 *
 * An entry goes NEW → QUEUED → RUNNING → DONE. QUEUED and RUNNING are entered under one lock for
 * all pools of a runtime; everything else about an entry belongs to whoever has it: the loop until
 * it is queued, a worker while it runs, the loop again once it was taken from the list of done
 * ones.
 *
 *   loop                                             worker
 *   jr_pool_put: append to the queue ──────────────> take the first, run it
 *   jr_crew_take_done: the whole list <───────────── push on the list of done ones; the first of
 *                                                    a batch wakes the loop
 *
 * Threads are made when a call finds none free, up to the pool's number, and end after having been
 * idle for a while. The one that went idle last is woken first, so that the others may end. One is
 * woken at a time; it wakes the next if there is more to do. A worker that ran out of calls looks
 * at the queue for some microseconds before it sleeps, one in a pool at a time: with calls coming
 * in fast nobody sleeps and nobody has to be woken, and waking is what limits the calls per second.
 *
 * A running call that is given up leaves its worker outside of the pool's count, so that another
 * may take its place; the worker ends when the call does.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_POOL_H
#define JR_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <lua.h>
#include <uv.h>

#include "list.h"
#include "log.h"
#include "mem.h"
#include "worker.h"

typedef struct jr_pool jr_pool;
typedef struct jr_hand jr_hand;

typedef enum jr_entry_state {
  JR_ENTRY_NEW,
  JR_ENTRY_QUEUED,
  JR_ENTRY_RUNNING,
  JR_ENTRY_DONE
} jr_entry_state;

/* A call in a pool. Embed it; zeroed but for `call`, `pool` and an initialised `link` it is NEW. */
typedef struct jr_entry {
  jr_call call;
  jr_pool *pool;
  jr_list link;          /* in the queue */
  struct jr_entry *next; /* in the list of done ones */
  jr_hand *hand;         /* who runs it */
  uint8_t state;         /* jr_entry_state; under the lock */
} jr_entry;

/* All worker threads of a runtime, over all its pools. */
typedef struct jr_crew {
  jr_mem *mem;
  jr_log *log;
  lua_CFunction furnish; /* fills a worker's new Lua state */
  uv_async_t *async;     /* wakes the loop; open as long as there are threads */
  int signal;
  uv_mutex_t lock;
  uv_cond_t ended; /* a thread did */
  _Atomic bool has_ended;
  _Atomic(jr_entry *) done; /* last one first */
  jr_list hands;
  char *path, *cpath; /* of `package`, for workers to come; NULL = the default */
} jr_crew;

/* Fills in a crew whose mem, log, furnish and async are set. 0 or a negative status. */
int jr_crew_init(jr_crew *crew);

/* After its threads have ended. */
void jr_crew_fini(jr_crew *crew);

/* Copies package.path and package.cpath for the workers to come; NULL = the default. Best effort.
 */
void jr_crew_set_paths(jr_crew *crew, const char *path, const char *cpath);

/* All calls done since the last time, linked by `next` in the order they were done. */
jr_entry *jr_crew_take_done(jr_crew *crew);

/* Joins and frees the threads that have ended. */
void jr_crew_reap(jr_crew *crew);

/* Ends all pools that have threads (jr_pool_end). */
void jr_crew_end(jr_crew *crew);

/* Blocks until all threads have ended or the time is over: then one that has not, or NULL. */
const jr_hand *jr_crew_wait(jr_crew *crew, int64_t ns);

/* Writes "function at x.lua:12 on a thread of executor 'name'" about a worker. */
void jr_hand_describe(jr_crew *crew, const jr_hand *hand, char *text, size_t size);

/* ---- pools. All on the loop thread. --------------------------------------------------------- */

/* A pool of up to `max` workers that end after `idle_ns` without a call; NULL = no memory. The
 * caller has the first reference; entries and threads have others; the last one frees. */
jr_pool *jr_pool_new(jr_crew *crew, const char *name, uint32_t max, int64_t idle_ns);
void jr_pool_ref(jr_pool *pool);
void jr_pool_unref(jr_pool *pool);

/* Queues a NEW entry of this pool. True if no worker is free for it and one more may be made:
 * jr_pool_grow is due. */
bool jr_pool_put(jr_entry *entry);

/* Makes a worker for an entry that was put. 0, or a negative status (it is NEW again) where no
 * thread could be made and there is none. */
int jr_pool_grow(jr_entry *entry);

/* Nobody wants it any more: takes it out of the queue, or gives it up if it runs. What it was. A
 * QUEUED one is NEW again; others come back by jr_crew_take_done. */
jr_entry_state jr_pool_withdraw(jr_entry *entry);

/* Counts the entries somebody waits for: adds `by`, returns how many there are then. */
uint32_t jr_pool_pending(jr_pool *pool, int by);

/* The workers end when the queue is empty; put nothing more. */
void jr_pool_end(jr_pool *pool);

bool jr_pool_is_ended(const jr_pool *pool);
jr_crew *jr_pool_crew(const jr_pool *pool);
const char *jr_pool_name(const jr_pool *pool);

typedef struct jr_pool_stats {
  uint32_t max, workers, idle, queued, running;
  uint32_t most;     /* running at once */
  uint32_t given_up; /* calls that still run */
  uint64_t done, failed, cancelled;
} jr_pool_stats;
jr_pool_stats jr_pool_get_stats(jr_pool *pool);

#endif
