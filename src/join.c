/* Waiting for another task: await, and the child tasks of timeout, scope and shield.
 *
 * SPDX-License-Identifier: MIT */
#include <stdbool.h>

#include <lauxlib.h>

#include "failure.h"
#include "glue.h"
#include "rt.h"
#include "status.h"

/* The target's handle is at index 1 of the waiting function's stack. */
typedef struct jr_join {
  jr_wait wait;
  jr_watch watch;
  jobrun *rt;
  jr_task *target;
  jr_timer grace; /* shield: its end */
  int64_t grace_ns;
  bool timed_out;
} jr_join;

static jr_join *join_of(jr_wait *w) {
  return jr_container_of(w, jr_join, wait);
}

static void on_target_end(jr_watch *watch, jr_task *task, lua_State *L) {
  (void)task;
  (void)L;
  jr_wake(&jr_container_of(watch, jr_join, watch)->wait, 0);
}

/* Pushes the outcome of the finished task at index 1. */
static int push_outcome(lua_State *L, jr_task *target) {
  luaL_checkstack(L, 8, NULL);
  lua_getiuservalue(L, 1, 1);
  if (target->state != JR_TASK_DONE) {
    if (lua_istable(L, -1))
      jr_failure_unpack(L);
    else
      lua_pushstring(L, "not enough memory");
    return -1;
  }
  if (lua_isnil(L, -1)) return 0;
  int table = lua_gettop(L);
  lua_getfield(L, table, "n");
  int n = (int)lua_tointeger(L, -1);
  luaL_checkstack(L, n, "too many results");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, table, i);
  return n;
}

static int join_push(lua_State *L, jr_wait *w) {
  jr_join *j = join_of(w);
  bool is_cancelled = j->target->state == JR_TASK_CANCELLED;
  if (w->status == UV_ETIMEDOUT || (j->timed_out && is_cancelled)) {
    jr_error_push(L, "timeout", UV_ETIMEDOUT, 1, "timed out");
    return -1;
  }
  return push_outcome(L, j->target);
}

static void join_drop(jr_wait *w) {
  jr_join *j = join_of(w);
  jr_watch_stop(&j->watch);
  jr_timer_stop(j->rt, &j->grace);
  jr_mem_free(&j->rt->mem, j, sizeof *j);
}

/* The caller of timeout() and scope() stays until the child has ended; the child is told by the
 * flow of cancellation from parent to child, or here when the deadline passed. */
static void run_child_cancel(jr_wait *w) {
  jr_join *j = join_of(w);
  if (w->task->cancelled && j->grace_ns > 0 && !jr_heap_holds(&j->grace.node)) {
    if (jr_timer_start(j->rt, &j->grace, jr_clock_now(j->rt) + j->grace_ns) == 0) return;
  } else if (!w->task->cancelled) {
    j->timed_out = true;
  }
  jr_task_cancel(j->target, j->timed_out ? "timed out" : j->rt->reasons[w->task->reason]);
}

/* Nobody waits for the child if its caller found no memory to wait with. */
static void run_child_drop(jr_wait *w) {
  jr_task_cancel(join_of(w)->target, "out of memory");
  join_drop(w);
}

static void on_grace_over(jobrun *rt, jr_timer *timer) {
  (void)rt;
  jr_task_cancel(jr_container_of(timer, jr_join, grace)->target, "the grace of a shield is over");
}

static const jr_wait_ops await_ops = {.name = "await", .push = join_push, .drop = join_drop};
static const jr_wait_ops run_child_ops = {
    .name = "child", .push = join_push, .cancel = run_child_cancel, .drop = run_child_drop};

static jr_join *join_new(lua_State *L, const jr_wait_ops *ops, jr_task *target) {
  jobrun *rt = jr_of(L);
  jr_join *j = jr_mem_zalloc(&rt->mem, sizeof *j);
  if (!j) {
    if (ops == &run_child_ops) jr_task_cancel(target, "out of memory");
    jr_raise_status(L, ops->name, UV_ENOMEM);
  }
  j->wait.ops = ops;
  j->watch.on_end = on_target_end;
  j->grace.fire = on_grace_over;
  j->rt = rt;
  j->target = target;
  jr_watch_start(target, &j->watch);
  return j;
}

int jr_task_await(lua_State *L, int64_t due_ns) {
  jr_task *target = jr_task_check(L, 1);
  jobrun *rt = jr_of(L);
  jr_check_park(L, "await");
  if (jr_task_is_done(target)) {
    int n = push_outcome(L, target);
    return n < 0 ? lua_error(L) : n;
  }
  bool is_own_child = target->parent == rt->cur; /* of a deep chain each level would walk it all */
  for (jr_task *t = is_own_child ? NULL : rt->cur; t; t = t->parent)
    if (t == target)
      jr_raise(
          L, "usage", JR_EDEADLOCK, 1,
          t == rt->cur
              ? "await: a task cannot wait for itself"
              : "await: a task cannot wait for the task that owns it (that one ends only after its children)");
  return jr_park_until(L, &join_new(L, &await_ops, target)->wait, due_ns);
}

int jr_task_run_child(lua_State *L, int nargs, int flags, int64_t due_ns, int64_t grace_ns) {
  jobrun *rt = jr_of(L);
  if (!(flags & JR_SPAWN_SHIELD)) jr_check_park(L, "timeout");
  bool was_cancelled = rt->cur->cancelled;
  jr_task *child = jr_spawn(L, rt->cur, nargs, flags);
  lua_insert(L, 1);
  lua_settop(L, 1);
  jr_join *j = join_new(L, &run_child_ops, child);
  j->grace_ns = grace_ns;
  if (was_cancelled && jr_timer_start(rt, &j->grace, jr_clock_now(rt) + grace_ns) < 0)
    jr_task_cancel(child, "out of memory");
  return jr_park_until(L, &j->wait, due_ns);
}
