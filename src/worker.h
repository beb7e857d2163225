/* A worker: one thread with a Lua state of its own, and how it runs a call.
 *
 * A call is handed over whole: while it is at a worker, only that thread touches it (but for
 * `given_up`). Its message brings the function and the arguments and takes the results or
 * the failure back. The Lua state is opened for the first Lua call and stays: globals and loaded
 * modules are the worker's own and live as long as it does.
 *
 * Interrupting. A call that was given up is told so in three ways, as it may be at three places. In
 * Lua code a count hook raises: it is set by a signal handler on the worker's own thread, since
 * lua_sethook from another thread crashes and a permanent hook halves the speed. In sleep, a
 * condition is signalled. In a blocking system call, the signal (without SA_RESTART) makes it
 * return EINTR. Code that catches the error meets it again at its next instruction, but for one
 * allowance to clean up in. C functions that look at nothing cannot be stopped.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_WORKER_H
#define JR_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <lua.h>
#include <uv.h>

#include "buf.h"
#include "log.h"
#include "mem.h"
#include "value.h"

/* A blocking C function (jr_work_c). */
typedef struct jr_call_ops {
  const char *name; /* for messages; static memory */
  /* On a worker's thread, without Lua. `given_up` becomes true when nobody waits for it any more.
   */
  void (*run)(void *data, const _Atomic bool *given_up);
  /* In the task, after run: pushes the results and returns how many, or pushes ONE error value and
   * returns -1. NULL = no results. */
  int (*push)(lua_State *L, void *data);
  /* Loop thread, exactly once: after push, or when run has ended and nobody waits, or when it never
   * ran. NULL = nothing to free. */
  void (*drop)(void *data);
} jr_call_ops;

typedef struct jr_call {
  const jr_call_ops *ops; /* NULL: the message is a Lua function and its arguments */
  void *data;
  _Atomic bool given_up;
  int status; /* once run: 0, JR_ESCRIPT with the failure in the message, UV_ENOMEM */
  jr_buf message;
  char name[JR_CODE_NAME]; /* "function at script.lua:12" */
} jr_call;

typedef struct jr_worker jr_worker;

/* What the owner of workers answers, on the worker's thread. */
typedef struct jr_worker_owner {
  /* Takes back the call that was run last (NULL at first), gives the next one; NULL = end. */
  jr_call *(*next)(jr_worker *worker, jr_call *finished);
  /* The last thing the thread does. */
  void (*ended)(jr_worker *worker);
} jr_worker_owner;

struct jr_worker {
  const jr_worker_owner *owner;
  uv_mutex_t *lock; /* the owner's; guards `cond` */
  uv_cond_t cond;   /* the owner wakes it by this one; sleep waits on it */
  uv_thread_t thread;
  jr_log *log;
  lua_CFunction furnish; /* fills a new Lua state */
  int signal;
  jr_mem mem;
  jr_spares spares;
  lua_State *L;
  jr_values values;
  jr_call *call;
  _Atomic(lua_State *) running; /* the innermost coroutine, while Lua runs */
  _Atomic bool told;            /* the call was given up */
  int raised;                   /* how often that was raised in it, up to 2 */
  char *path, *cpath;           /* of `package`, in mem; NULL = the default */
};

/* The number of the signal workers are interrupted with: a real-time one nobody uses, whose handler
 * this installs; UV_EBUSY if there is none. Any thread. */
int jr_worker_signal(void);

/* Fills in a zeroed worker whose owner, lock, log, furnish and signal are set, with an allocator
 * and a limit as `mem` has. 0 or a negative status. */
int jr_worker_init(jr_worker *worker, const jr_mem *mem);

/* After the thread was joined, or if none was started. */
void jr_worker_fini(jr_worker *worker);

/* Starts the thread. 0 or a negative status. */
int jr_worker_start(jr_worker *worker);

/* Copies package.path and package.cpath, as the worker is to have them. UV_ENOMEM. Before the
 * start. */
int jr_worker_set_paths(jr_worker *worker, const char *path, const char *cpath);

/* Tells the running call that it was given up. Under the lock, while it runs. */
void jr_worker_interrupt(jr_worker *worker);

/* ---- on the worker's thread ---------------------------------------------------------------- */

/* The worker of a Lua state; NULL for another's. */
jr_worker *jr_worker_of(lua_State *L);

/* Blocks the thread. 0, or UV_ECANCELED as soon as the call was given up: then jr_worker_raise. */
int jr_worker_sleep(jr_worker *worker, int64_t ns);

/* Raises that the running call was given up. */
int jr_worker_raise(lua_State *L);

#endif
