/* THE WAIST: tasks, and the one kind of wait. See task.c for the states and who may wake whom.
 *
 * A binding that suspends fills a jr_wait (as first member of its operation), starts the
 * operation on the loop, and ends with `return jr_park(L, &op->wait);`. The uv callback calls
 * jr_wake(&op->wait, status) and nothing else. When the task runs again, `push` puts the results
 * on its stack (or an error object), then `drop` lets go of the operation. When the task is
 * cancelled first, `cancel` asks the operation to end; it answers with jr_wake(w, UV_ECANCELED),
 * at once or when it has really ended.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_TASK_H
#define JR_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lua.h>

#include "clock.h"
#include "list.h"

struct jobrun;
typedef struct jr_task jr_task;
typedef struct jr_wait jr_wait;

typedef struct jr_wait_ops {
  const char *name; /* what `jobrun --tasks` says the task waits for: "sleep", "exec" */
  /* In the task, after a wake with w->status other than UV_ECANCELED: pushes the results and
   * returns how many, or pushes ONE error value and returns -1 to have it raised. May raise
   * itself (out of memory): `drop` still runs. NULL = no results; a negative status is raised. */
  int (*push)(lua_State *L, jr_wait *w);
  /* Loop thread, never in Lua: the task no longer wants it. NULL = jr_wake(w, UV_ECANCELED). */
  void (*cancel)(jr_wait *w);
  /* Exactly once for each park, after push or when the task dies: release the operation or
   * detach from it. Must not enter Lua. NULL = nothing to release. */
  void (*drop)(jr_wait *w);
  bool loads; /* a main chunk that waits for it has not loaded yet */
} jr_wait_ops;

struct jr_wait {
  const jr_wait_ops *ops;
  jr_task *task; /* NULL while nobody waits */
  int status;
};

enum { JR_MAX_TASKS = 4000000 }; /* alive at once; about 5 GB of them */

typedef enum jr_state {
  JR_TASK_READY,   /* in the run queue */
  JR_TASK_RUNNING, /* the current one */
  JR_TASK_WAITING, /* parked in `wait` */
  JR_TASK_DONE,
  JR_TASK_FAILED,
  JR_TASK_CANCELLED
} jr_state;

/* A task is a full userdata: it is its own handle in Lua. While it lives, its coroutine's stack
 * holds it; afterwards only who kept the handle does. 1e5 of them sleep at once, so each byte
 * counts (128 at most). */
struct jr_task {
  jr_task *next;      /* run queue */
  lua_State *co;      /* its coroutine; NULL when done */
  jr_wait *wait;      /* where it is parked */
  jr_task *parent;    /* NULL only for the root */
  jr_link sibling;    /* in parent->children */
  jr_chain children;  /* newest first */
  jr_chain watches;   /* who waits for its end: jr_watch */
  jr_wait own;        /* sleep, yield, and waiting for the own children */
  jr_timer timer;     /* sleep, and the deadline of a wait */
  int32_t slot;       /* where the coroutine is anchored */
  uint32_t since_ms;  /* when it was parked: ms since the runtime began, as of that turn */
  int32_t spawn_line; /* where it was spawned: rt->sites[spawn_site]:line */
  uint16_t spawn_site;
  uint8_t state;       /* jr_state */
  uint8_t reason;      /* why it was cancelled: rt->reasons[reason] */
  bool cancelled : 1;  /* level-triggered: every park raises until the end */
  bool expired : 1;    /* the deadline of this wait passed */
  bool shielded : 1;   /* its parent's cancellation does not reach it (yet) */
  bool supervisor : 1; /* failures of children stop here: logged, siblings untouched */
  bool escaped : 1;    /* coroutine.running() gave its coroutine away: do not recycle */
  bool named : 1;      /* a name is in rt's names table */
  bool begins : 1;     /* see JR_SPAWN_BEGINS */
  bool has_cause : 1;  /* a failed child's error is in rt's causes table */
};

/* Puts a task into the run queue. For the files of the waist. */
void jr_task_enqueue(struct jobrun *rt, jr_task *t);

/* Opens and closes the run queue, the pumps on the loop and the root task. `jr_tasks_open` may
 * raise in rt->L (call it protected). */
void jr_tasks_open(struct jobrun *rt);
void jr_tasks_close(struct jobrun *rt);

/* Frees what is left, after the loop let go of the handles and Lua was closed. */
void jr_tasks_fini(struct jobrun *rt);

/* ---- spawning ------------------------------------------------------------------------------ */

enum {
  JR_SPAWN_SHIELD = 1,     /* cancellation of the parent reaches it only after the grace */
  JR_SPAWN_SUPERVISOR = 2, /* failures of its children are logged, not raised */
  JR_SPAWN_BEGINS = 8,     /* runs up to its first wait even if it was cancelled before */
  JR_SPAWN_OBSERVED = 4 /* documents that the caller puts a watch on it, which takes the failure */
};

/* From Lua (may raise). Takes a function and `nargs` arguments off L's stack and makes a child of
 * `parent` (NULL = the root) that is ready to run; leaves the task's handle on the stack. */
jr_task *jr_spawn(lua_State *L, jr_task *parent, int nargs, int flags);

/* From C on the loop thread, outside Lua: the same with a function of the registry (luaL_ref) and
 * no raise. `push_args` (or NULL) runs protected and pushes the arguments, returning how many.
 * 0 with the task in *out (borrowed: valid until it is done), or a negative status. */
int jr_spawn_ref(struct jobrun *rt, int fn_ref, int (*push_args)(lua_State *L, void *data),
                 void *data, int flags, jr_task **out);

/* Calls `on_end` on the loop thread, inside the pump, when the task has ended: its outcome is
 * task->state; the error value, if it failed or was cancelled, is on top of L's stack (leave it
 * there). */
typedef struct jr_watch {
  jr_link link;
  void (*on_end)(struct jr_watch *watch, jr_task *task, lua_State *L);
  /* Writes the name of a task that has none of its own, such as a job's run; NULL = nothing. */
  void (*name)(struct jr_watch *watch, char *text, size_t size);
} jr_watch;
void jr_watch_start(jr_task *task, jr_watch *watch);
void jr_watch_stop(jr_watch *watch);

/* ---- waiting ------------------------------------------------------------------------------- */

/* First line of each function that may suspend: raises if the task was cancelled, or if this call
 * cannot suspend here (with the C function that is in the way). `op` names the call. */
void jr_check_park(lua_State *L, const char *op);

/* True if jr_check_park would not raise. */
bool jr_may_park(lua_State *L);

/* Last line: `return jr_park(L, w)`. */
int jr_park(lua_State *L, jr_wait *w);

/* The same with a deadline on the steady clock: past it w->ops->cancel runs and `push` sees
 * status UV_ETIMEDOUT. */
int jr_park_until(lua_State *L, jr_wait *w, int64_t due_ns);

/* The same with a continuation of your own: `k` starts with `int status = jr_unpark(L);`, which
 * detaches and drops the wait; raises if the task was cancelled. */
int jr_park_k(lua_State *L, jr_wait *w, lua_KContext ctx, lua_KFunction k);
int jr_unpark(lua_State *L);

/* Any uv callback, loop thread: the operation is over, its task may run. A wait without a task or
 * one already woken is left alone. */
void jr_wake(jr_wait *w, int status);

/* True from park to wake. */
bool jr_wait_is_open(const jr_wait *w);

/* ---- the rest ------------------------------------------------------------------------------ */

/* Cancels a task and what it owns, children first; the error they see has kind "cancelled" and the
 * message `reason` (static memory). Loop thread, never raises. A task that is done is left alone.
 */
void jr_task_cancel(jr_task *task, const char *reason);

/* True once it has ended, in whatever way. */
static inline bool jr_task_is_done(const jr_task *task) {
  return task->state >= JR_TASK_DONE;
}

/* The task at `arg`, or raises kind "usage". */
jr_task *jr_task_check(lua_State *L, int arg);

/* These suspend; call them as `return jr_task_…(…)`. */
int jr_task_sleep(lua_State *L, int64_t ns);
int jr_task_yield(lua_State *L);

/* How long the current task has been running in one go. Zeroed at first; one for each loop. */
typedef struct jr_slice {
  uint64_t resumed; /* the resume it is about */
  int64_t end_ns;
} jr_slice;

/* True when a C function that calls Lua again and again should give way: the task has run for
 * JR_TUNE_SLICE_NS since the first question after its last resume (whose answer is no). */
bool jr_slice_is_over(struct jobrun *rt, jr_slice *slice);

/* Lets the loop turn once, timers and files included; then `k` goes on, which begins with jr_unpark
 * (it does not raise: ask for `cancelled`). */
int jr_give_way_k(lua_State *L, lua_KContext ctx, lua_KFunction k);

/* Waits for the task at stack index 1: its results, or its error raised. INT64_MAX = no deadline;
 * past it kind "timeout" is raised and the task goes on. */
int jr_task_await(lua_State *L, int64_t due_ns);

/* Runs a function (top of the stack: it, then nargs arguments) in a child task and waits for its
 * end. Past the deadline the child is cancelled and kind "timeout" raised once it has ended. With
 * JR_SPAWN_SHIELD a cancelled caller's child has `grace_ns` before it is cancelled too. */
int jr_task_run_child(lua_State *L, int nargs, int flags, int64_t due_ns, int64_t grace_ns);

/* Cancels with an error value of the caller's (at `index`) as the cause. */
void jr_task_cancel_with(lua_State *L, jr_task *task, int index);

/* Makes it a child of the root: it outlives its parent, and its failure is logged there. */
void jr_task_detach(jr_task *task);

/* Runs ready tasks within the budget. True while some are still ready. */
bool jr_pump(struct jobrun *rt);

/* The task the running Lua code belongs to; NULL outside any. */
jr_task *jr_task_current(lua_State *L);

/* The name of the state, as task.status shows it. */
const char *jr_task_status(const jr_task *task);

/* Pushes the task's name: the one it was given, the one a watch has for it, or where it was
 * spawned. May raise. */
void jr_task_push_name(lua_State *L, const jr_task *task);

/* Gives the task at `arg` the name on top of the stack (popped). May raise. */
void jr_task_set_name(lua_State *L, int arg);

/* Calls a C function with one light pointer on rt->L, outside any task. A failure is logged. 0,
 * UV_ENOMEM or JR_ESCRIPT. */
int jr_call_protected(struct jobrun *rt, lua_CFunction fn, void *data);

#endif
