/* The words about tasks: spawn, sleep, yield, timeout, scope, shield, and the methods of a task.
 *
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include <lauxlib.h>

#include "glue.h"
#include "rt.h"

int jr_open_task(lua_State *L);

#define SHIELD_GRACE_NS (5 * JR_SEC) /* how long a cancelled task's shield may take */

/* What can be called, such as the words `exec` and `ffmpeg`, is a function here. */
static void check_function(lua_State *L, int arg, const char *op) {
  bool is_callable = lua_isfunction(L, arg);
  if (!is_callable && luaL_getmetafield(L, arg, "__call") != LUA_TNIL) {
    is_callable = true;
    lua_pop(L, 1);
  }
  if (!is_callable)
    jr_raise(L, "usage", 0, 1, "%s: expected a function as argument %d, got %s", op, arg,
             luaL_typename(L, arg));
}

/* spawn(fn, ...) → task */
static int task_spawn(lua_State *L) {
  jobrun *rt = jr_of(L);
  check_function(L, 1, "spawn");
  if (rt->cur && jr_task_is_done(rt->cur)) return luaL_error(L, "spawn: the task has ended");
  jr_spawn(L, rt->cur, lua_gettop(L) - 1, 0);
  return 1;
}

/* begin(fn, ...) → task, which runs up to its first wait even if it is cancelled before */
static int task_begin(lua_State *L) {
  check_function(L, 1, "spawn");
  jr_spawn(L, jr_of(L)->cur, lua_gettop(L) - 1, JR_SPAWN_BEGINS);
  return 1;
}

/* sleep(seconds) */
static int task_sleep(lua_State *L) {
  return jr_task_sleep(L, jr_check_duration(L, 1, "sleep"));
}

static int task_yield(lua_State *L) {
  return jr_task_yield(L);
}

/* timeout(seconds, fn, ...) → fn's results */
static int task_timeout(lua_State *L) {
  int64_t ns = jr_check_duration(L, 1, "timeout");
  check_function(L, 2, "timeout");
  return jr_task_run_child(L, lua_gettop(L) - 2, 0, jr_clock_now(jr_of(L)) + ns, 0);
}

/* scope(fn, ...) → fn's results, after all tasks it spawned have ended */
static int task_scope(lua_State *L) {
  check_function(L, 1, "scope");
  return jr_task_run_child(L, lua_gettop(L) - 1, 0, INT64_MAX, 0);
}

/* shield(fn, ...) → fn's results; cancellation waits for it, 5 s at most */
static int task_shield(lua_State *L) {
  check_function(L, 1, "shield");
  return jr_task_run_child(L, lua_gettop(L) - 1, JR_SPAWN_SHIELD, INT64_MAX, SHIELD_GRACE_NS);
}

/* current() → the running task, or nil: found on its own stack by the trampoline's frame */
static int task_current(lua_State *L) {
  jobrun *rt = jr_of(L);
  lua_Debug ar;
  if (!rt->cur) return 0;
  lua_State *co = rt->cur->co;
  int level = 0;
  while (lua_getstack(co, level + 1, &ar)) level++;
  lua_getstack(co, level, &ar);
  if (!lua_checkstack(co, 1) || !lua_getlocal(co, &ar, 1)) return 0;
  if (co != L) lua_xmove(co, L, 1);
  return 1;
}

/* ---- methods ------------------------------------------------------------------------------- */

static int method_await(lua_State *L) {
  int64_t due = INT64_MAX;
  if (!lua_isnoneornil(L, 2)) due = jr_clock_now(jr_of(L)) + jr_check_duration(L, 2, "await");
  jr_task_check(L, 1);
  lua_settop(L, 1);
  return jr_task_await(L, due);
}

static int method_cancel(lua_State *L) {
  jr_task *t = jr_task_check(L, 1);
  const char *reason = luaL_optstring(L, 2, NULL);
  if (!reason) {
    jr_task_cancel(t, "by task:cancel()");
    return 0;
  }
  jr_error_push(L, "cancelled", UV_ECANCELED, 1, "cancelled: %s", reason);
  jr_task_cancel_with(L, t, -1);
  return 0;
}

static int method_detach(lua_State *L) {
  jr_task_detach(jr_task_check(L, 1));
  lua_settop(L, 1);
  return 1;
}

/* is_within(task) → is the running task that one, or owned by it? */
static int task_is_within(lua_State *L) {
  const jr_task *owner = jr_task_check(L, 1), *t = jr_task_current(L);
  while (t && t != owner) t = t->parent;
  lua_pushboolean(L, t != NULL);
  return 1;
}

static int task_index(lua_State *L) {
  jr_task *t = jr_task_check(L, 1);
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(1));
  if (!lua_isnil(L, -1)) return 1;
  const char *key = lua_tostring(L, 2);
  if (key && strcmp(key, "status") == 0) {
    lua_pushstring(L, jr_task_status(t));
    return 1;
  }
  if (key && strcmp(key, "name") == 0) {
    jr_task_push_name(L, t);
    return 1;
  }
  return 0;
}

static int task_newindex(lua_State *L) {
  const char *key = lua_tostring(L, 2);
  jr_task_check(L, 1);
  if (!key || strcmp(key, "name") != 0)
    return jr_raise(L, "usage", 0, 1, "a task has no field '%s' to set (only name)",
                    key ? key : "?");
  luaL_checkstring(L, 3);
  lua_settop(L, 3);
  jr_task_set_name(L, 1);
  return 0;
}

static int task_tostring(lua_State *L) {
  jr_task *t = jr_task_check(L, 1);
  jr_task_push_name(L, t);
  lua_pushfstring(L, "task %s (%s)", lua_tostring(L, -1), jr_task_status(t));
  return 1;
}

int jr_open_task(lua_State *L) {
  static const luaL_Reg functions[] = {{"spawn", task_spawn},         {"begin", task_begin},
                                       {"sleep", task_sleep},         {"yield", task_yield},
                                       {"timeout", task_timeout},     {"scope", task_scope},
                                       {"shield", task_shield},       {"current", task_current},
                                       {"is_within", task_is_within}, {NULL, NULL}};
  static const luaL_Reg methods[] = {
      {"await", method_await}, {"cancel", method_cancel}, {"detach", method_detach}, {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__newindex", task_newindex}, {"__tostring", task_tostring}, {NULL, NULL}};
  luaL_newmetatable(L, "jobrun.task");
  luaL_setfuncs(L, meta, 0);
  luaL_newlib(L, methods);
  lua_pushcclosure(L, task_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
