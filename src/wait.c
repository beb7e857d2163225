/* Waiting: parking a task in an operation, waking it, its deadline; sleep and yield.
 *
 * Between park and wake a task is WAITING, and its wait belongs to the operation; the first wake
 * ends that, any other is ignored. The results stay in the operation until the task's own
 * continuation (on_woken) pushes them, so they pass through any number of user coroutines without
 * being copied.
 *
 * SPDX-License-Identifier: MIT */
#include "wait.h"

#include <string.h>

#include <lauxlib.h>

#include "failure.h"
#include "glue.h"
#include "rt.h"
#include "tune.h"

bool jr_wait_is_open(const jr_wait *w) {
  return w->task && w->task->wait == w && w->task->state == JR_TASK_WAITING;
}

void jr_wake(jr_wait *w, int status) {
  if (!jr_wait_is_open(w)) return;
  jobrun *rt = jr_of(w->task->co);
  w->status = status;
  jr_timer_stop(rt, &w->task->timer);
  jr_task_enqueue(rt, w->task);
}

void jr_wait_cancel(jr_wait *w) {
  if (w->ops->cancel)
    w->ops->cancel(w);
  else
    jr_wake(w, UV_ECANCELED);
}

void jr_wait_detach(jr_task *t) {
  jr_wait *w = t->wait;
  if (!w) return;
  t->wait = NULL;
  w->task = NULL;
  if (w->ops->drop) w->ops->drop(w);
}

/* Pushes "table.sort" for the function on top if package.loaded knows it, else nil; pops it. */
static void push_library_name(lua_State *L) {
  int fn = lua_gettop(L);
  luaL_checkstack(L, 8, NULL);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (lua_pushnil(L); lua_next(L, fn + 1); lua_settop(L, fn + 2)) {
    if (!lua_istable(L, -1) || lua_type(L, -2) != LUA_TSTRING) continue;
    for (lua_pushnil(L); lua_next(L, fn + 3); lua_pop(L, 1)) {
      if (!lua_rawequal(L, -1, fn) || lua_type(L, -2) != LUA_TSTRING) continue;
      lua_pushfstring(L, "%s.%s", lua_tostring(L, fn + 2), lua_tostring(L, -2));
      lua_replace(L, fn);
      lua_settop(L, fn);
      return;
    }
  }
  lua_settop(L, fn - 1);
  lua_pushnil(L);
}

/* Pushes the name of the C function that a wait cannot pass, for the error message. */
static const char *push_barrier(lua_State *L) {
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "f", &ar);
    bool is_c = lua_iscfunction(L, -1);
    if (!is_c) {
      lua_pop(L, 1);
      continue;
    }
    push_library_name(L);
    const char *name = lua_tostring(L, -1);
    if (name && strcmp(name, "_G.pcall") != 0 && strcmp(name, "_G.xpcall") != 0 &&
        strncmp(name, "jobrun.", 7) != 0)
      return name;
    lua_pop(L, 1);
  }
  lua_pushliteral(L, "a metamethod");
  return lua_tostring(L, -1);
}

bool jr_may_park(lua_State *L) {
  const jobrun *rt = jr_of(L);
  return !rt->declares && rt->cur && !rt->cur->cancelled && lua_isyieldable(L) && rt->no_park == 0;
}

void jr_check_park(lua_State *L, const char *op) {
  if (jr_may_park(L)) return;
  if (jr_of(L)->declares)
    jr_raise(L, "declare", 0, 1, "%s: the script is only looked at, not run", op);
  jr_task *t = jr_of(L)->cur;
  if (t && t->cancelled) jr_cause_raise(L, t);
  if (!t) jr_raise(L, "usage", 0, 1, "%s can wait only inside a task (use spawn)", op);
  jr_raise(L, "usage", 0, 1,
           "%s cannot wait here: %s, on the stack, is a C function that cannot be suspended", op,
           push_barrier(L));
}

static void begin_wait(lua_State *L, jr_wait *w) {
  jobrun *rt = jr_of(L);
  jr_task *t = rt->cur;
  jr_wait_detach(t); /* one whose push raised */
  w->task = t;
  w->status = 0;
  t->wait = w;
  t->since_ms = rt->turn_ms;
  t->expired = false;
  t->state = JR_TASK_WAITING;
  rt->parking = true;
}

int jr_park_k(lua_State *L, jr_wait *w, lua_KContext ctx, lua_KFunction k) {
  begin_wait(L, w);
  return lua_yieldk(L, 0, ctx, k);
}

/* UV_ECANCELED means one of two things: the task was cancelled, or its deadline passed. */
static int status_of(const jr_task *t) {
  int status = t->wait->status;
  return status == UV_ECANCELED && t->expired && !t->cancelled ? UV_ETIMEDOUT : status;
}

int jr_unpark(lua_State *L) {
  jr_task *t = jr_of(L)->cur;
  int status = status_of(t);
  jr_wait_detach(t);
  if (status == UV_ECANCELED && t->cancelled) jr_cause_raise(L, t);
  return status;
}

static int on_woken(lua_State *L, int lua_status, lua_KContext ctx) {
  (void)lua_status;
  (void)ctx;
  jr_task *t = jr_of(L)->cur;
  jr_wait *w = t->wait;
  w->status = status_of(t);
  if (w->status == UV_ECANCELED && t->cancelled) {
    jr_wait_detach(t);
    return jr_cause_raise(L, t);
  }
  if (!w->ops->push && w->status < 0) {
    int status = w->status;
    const char *op = w->ops->name;
    jr_wait_detach(t);
    return jr_raise_status(L, op, status);
  }
  int results = w->ops->push ? w->ops->push(L, w) : 0;
  jr_wait_detach(t);
  return results < 0 ? lua_error(L) : results;
}

int jr_park(lua_State *L, jr_wait *w) {
  return jr_park_k(L, w, 0, on_woken);
}

int jr_park_until(lua_State *L, jr_wait *w, int64_t due_ns) {
  jobrun *rt = jr_of(L);
  begin_wait(L, w);
  if (due_ns != INT64_MAX && jr_timer_start(rt, &w->task->timer, due_ns) < 0) {
    rt->parking = false;
    rt->cur->state = JR_TASK_RUNNING;
    jr_wait_detach(rt->cur);
    return jr_raise_status(L, "timeout", UV_ENOMEM);
  }
  return lua_yieldk(L, 0, 0, on_woken);
}

/* ---- sleep, yield -------------------------------------------------------------------------- */

static const jr_wait_ops sleep_ops = {.name = "sleep"};
static const jr_wait_ops yield_ops = {.name = "yield"};

void jr_wait_on_timer(jobrun *rt, jr_timer *timer) {
  (void)rt;
  jr_task *t = jr_container_of(timer, jr_task, timer);
  if (t->state != JR_TASK_WAITING) return;
  if (t->wait->ops == &sleep_ops) {
    jr_wake(t->wait, 0);
  } else {
    t->expired = true;
    jr_wait_cancel(t->wait);
  }
}

int jr_task_sleep(lua_State *L, int64_t ns) {
  jr_check_park(L, "sleep");
  jobrun *rt = jr_of(L);
  rt->cur->own.ops = &sleep_ops;
  return jr_park_until(L, &rt->cur->own, jr_clock_now(rt) + ns);
}

int jr_task_yield(lua_State *L) {
  jr_check_park(L, "yield");
  jr_task *t = jr_of(L)->cur;
  t->own.ops = &yield_ops;
  begin_wait(L, &t->own);
  jr_wake(&t->own, 0);
  return lua_yieldk(L, 0, 0, on_woken);
}

/* ---- giving way ---------------------------------------------------------------------------- */

bool jr_slice_is_over(jobrun *rt, jr_slice *slice) {
  int64_t now = (int64_t)uv_hrtime();
  if (slice->resumed == rt->resumed) return now >= slice->end_ns;
  *slice = (jr_slice){rt->resumed, now + JR_TUNE_SLICE_NS};
  return false;
}

int jr_give_way_k(lua_State *L, lua_KContext ctx, lua_KFunction k) {
  jobrun *rt = jr_of(L);
  jr_task *t = rt->cur;
  t->own.ops = &yield_ops;
  begin_wait(L, &t->own);
  jr_wake(&t->own, 0);
  rt->gives_way = true;
  return lua_yieldk(L, 0, ctx, k);
}
