/* The words about blocking calls: blocking, executors; and what a worker's Lua state gets of C.
 *
 * SPDX-License-Identifier: MIT */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <lauxlib.h>

#include "glue.h"
#include "rt.h"
#include "work.h"

int jr_open_work(lua_State *L);
int jr_open_worker(lua_State *L);

#define EXECUTOR_META "jobrun.executor"

static void check_function(lua_State *L, int arg, const char *op) {
  if (!lua_isfunction(L, arg))
    jr_raise(L, "usage", 0, 1, "%s: expected a function, got %s", op, luaL_typename(L, arg));
}

/* blocking(fn, ...) → fn's results */
static int work_blocking(lua_State *L) {
  check_function(L, 1, "blocking");
  jr_check_park(L, "blocking");
  return jr_work_start(L, jr_work_new(L, jr_executor_default(L), 1, "blocking"));
}

/* ---- executors ------------------------------------------------------------------------------ */

/* The executor at index 1. Upvalue 1 of all functions here is their metatable, which is compared
 * faster than by its name. */
static jr_pool *check_executor(lua_State *L, const char *op) {
  jr_pool **place = lua_touserdata(L, 1);
  bool is_ours = place && lua_getmetatable(L, 1) && lua_rawequal(L, -1, lua_upvalueindex(1));
  if (!is_ours || !*place)
    jr_raise(L, "usage", 0, 1, "%s: expected an executor, got %s (call it with a colon)", op,
             luaL_typename(L, 1));
  lua_pop(L, 1);
  return *place;
}

/* executor(max, name, idle_seconds) → executor */
static int work_executor(lua_State *L) {
  lua_Integer max = luaL_checkinteger(L, 1);
  const char *name = luaL_checkstring(L, 2);
  int64_t idle_ns = jr_check_duration(L, 3, "executor");
  jr_pool **place = lua_newuserdatauv(L, sizeof *place, 0);
  *place = NULL;
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_setmetatable(L, -2);
  *place = jr_executor_new(L, name, (uint32_t)max, idle_ns);
  return 1;
}

/* executor:call(fn, ...) → fn's results */
static int executor_call(lua_State *L) {
  jr_pool *pool = check_executor(L, "call");
  check_function(L, 2, "call");
  jr_check_park(L, "call");
  return jr_work_start(L, jr_work_new(L, pool, 2, "call"));
}

/* executor:close() */
static int executor_close(lua_State *L) {
  return jr_executor_close(L, check_executor(L, "close"));
}

static int executor_gc(lua_State *L) {
  jr_pool **place = lua_touserdata(L, 1);
  if (*place) jr_executor_release(*place);
  *place = NULL;
  return 0;
}

static int executor_tostring(lua_State *L) {
  lua_pushfstring(L, "executor '%s'", jr_pool_name(check_executor(L, "tostring")));
  return 1;
}

static void set_count(lua_State *L, const char *key, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, key);
}

static void push_stats(lua_State *L, jr_pool *pool) {
  jr_pool_stats stats = jr_pool_get_stats(pool);
  lua_createtable(L, 0, 10);
  set_count(L, "given_up", stats.given_up);
  set_count(L, "max", stats.max);
  set_count(L, "workers", stats.workers);
  set_count(L, "idle", stats.idle);
  set_count(L, "queued", stats.queued);
  set_count(L, "running", stats.running);
  set_count(L, "most", stats.most);
  set_count(L, "done", stats.done);
  set_count(L, "failed", stats.failed);
  set_count(L, "cancelled", stats.cancelled);
}

/* Upvalue 2: the methods. */
static int executor_index(lua_State *L) {
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL) return 1;
  jr_pool *pool = check_executor(L, "index");
  const char *key = lua_tostring(L, 2);
  if (key && strcmp(key, "stats") == 0) {
    push_stats(L, pool);
    return 1;
  }
  if (key && strcmp(key, "name") == 0) {
    lua_pushstring(L, jr_pool_name(pool));
    return 1;
  }
  return 0;
}

/* ---- calls packed now and run by another task ------------------------------------------------ */

/* pack(executor, fn, ...) → two strings, for run: the values are copied now */
static int work_pack(lua_State *L) {
  jr_pool *pool = check_executor(L, "spawn");
  check_function(L, 2, "spawn");
  jr_work_pack(L, pool, 2, "spawn");
  return 2;
}

/* run(executor, bytes, name) → the function's results */
static int work_run(lua_State *L) {
  jr_pool *pool = check_executor(L, "spawn");
  jr_check_park(L, "spawn");
  return jr_work_start(L, jr_work_packed(L, pool, 2, 3));
}

/* ---- the module ------------------------------------------------------------------------------ */

/* Pushes a table of functions whose first upvalue is the value on top, which stays below. */
static void push_functions(lua_State *L, const luaL_Reg *list) {
  lua_newtable(L);
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, list, 1);
}

/* Fills the metatable on top; pushes the methods. */
static void open_executor(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"call", executor_call}, {"close", executor_close}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", executor_gc},
                                  {"__close", executor_close},
                                  {"__tostring", executor_tostring},
                                  {NULL, NULL}};
  lua_pushvalue(L, -1);
  luaL_setfuncs(L, meta, 1);
  lua_pushliteral(L, "executor"); /* what getmetatable gives: __gc is not for scripts */
  lua_setfield(L, -2, "__metatable");
  push_functions(L, methods);
  lua_pushvalue(L, -2);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, executor_index, 2);
  lua_setfield(L, -3, "__index");
}

int jr_open_work(lua_State *L) {
  static const luaL_Reg functions[] = {{"blocking", work_blocking},
                                       {"executor", work_executor},
                                       {"pack", work_pack},
                                       {"run", work_run},
                                       {NULL, NULL}};
  jr_works_open(L);
  luaL_newmetatable(L, EXECUTOR_META);
  open_executor(L);
  lua_insert(L, -2);
  push_functions(L, functions); /* methods, metatable, module */
  lua_pushvalue(L, -3);
  lua_setfield(L, -2, "methods");
  return 1;
}

/* ---- in a worker's state --------------------------------------------------------------------- */

/* sleep(seconds): blocks the thread, until the call is given up at most */
static int worker_sleep(lua_State *L) {
  int64_t ns = jr_check_duration(L, 1, "sleep");
  return jr_worker_sleep(jr_worker_of(L), ns) < 0 ? jr_worker_raise(L) : 0;
}

/* log(level, text): to the runtime's sink */
static int worker_log(lua_State *L) {
  int level = jr_log_level_from(luaL_checkstring(L, 1));
  size_t len;
  const char *text = luaL_checklstring(L, 2, &len);
  if (level < 0) return jr_raise(L, "usage", 0, 1, "log: unknown level '%s'", lua_tostring(L, 1));
  jr_log_line(jr_worker_of(L)->log, (jr_log_level)level, text, len);
  return 0;
}

static int push_clock(lua_State *L, clockid_t id) {
  struct timespec now;
  clock_gettime(id, &now);
  lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
  return 1;
}

static int worker_now(lua_State *L) {
  return push_clock(L, CLOCK_REALTIME);
}

static int worker_monotonic(lua_State *L) {
  return push_clock(L, CLOCK_BOOTTIME);
}

/* print, a line as a whole: the stock one writes it in pieces, between which other threads write
 * theirs. */
static int worker_print(lua_State *L) {
  luaL_Buffer line;
  int n = lua_gettop(L);
  luaL_buffinit(L, &line);
  for (int i = 1; i <= n; i++) {
    if (i > 1) luaL_addchar(&line, '\t');
    luaL_tolstring(L, i, NULL);
    luaL_addvalue(&line);
  }
  luaL_addchar(&line, '\n');
  luaL_pushresult(&line);
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  fwrite(text, 1, len, stdout);
  fflush(stdout);
  return 0;
}

int jr_open_worker(lua_State *L) {
  static const luaL_Reg functions[] = {{"sleep", worker_sleep}, {"log", worker_log},
                                       {"now", worker_now},     {"monotonic", worker_monotonic},
                                       {"print", worker_print}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
