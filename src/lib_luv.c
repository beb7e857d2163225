/* luv on the runtime's loop: what lua/jobrun/uv.lua needs of C.
 *
 * Nothing is linked. luv is found when a script first asks for it, and is told of our loop and of
 * our way to call back: each callback becomes a task of the root, so it may wait, its failure is
 * logged with its traceback, and no Lua runs inside libuv's callbacks.
 *
 * Which handles are luv's? On a host's loop libuv cannot tell, and uv_walk hands luv handles it did
 * not make, on which it crashes. But luv anchors in Lua's registry each handle until its close
 * callback has run, and each request until it is done. So the registry is the list: it says what
 * keeps the script alive, what is to be closed at the end, and when all of it is gone. Until then
 * Lua must not be closed, as luv's callbacks use its state.
 *
 * SPDX-License-Identifier: MIT */
#include <dlfcn.h>

#include <lauxlib.h>

#include "cradle.h"
#include "glue.h"
#include "rt.h"
#include "status.h"

int jr_open_luv(lua_State *L);

/* luv.h of luv 1.44: the loop and the callback routine are set before luaopen_luv. */
typedef int (*luv_callback)(lua_State *L, int nargs, int nresults, int flags);
typedef void (*luv_set_loop_fn)(lua_State *L, uv_loop_t *loop);
typedef void (*luv_set_callback_fn)(lua_State *L, luv_callback callback);

typedef struct luvs {
  jr_trade trade;
  jobrun *rt;
  const void *request, *work; /* luv's metatables, to compare with */
} luvs;

static const char trade_key;             /* registry: lightuserdata luvs */
static const char handles_key;           /* registry: luv's set of its handles' metatables */
static const char close_key, cancel_key; /* registry: luv's functions */

/* ---- callbacks ----------------------------------------------------------------------------- */

/* (function, arguments…) */
static int spawn_callback(lua_State *L) {
  jr_site_name(jr_of(L), jr_spawn(L, NULL, lua_gettop(L) - 1, 0), "luv callback");
  return 0;
}

/* luv's contract: takes the function and its arguments off the stack, leaves `nresults` or returns
 * a negative number. None of luv's callbacks is asked for results. Once the script has ended there
 * is nobody to call. */
static int on_callback(lua_State *L, int nargs, int nresults, int flags) {
  jobrun *rt = jr_of(L);
  (void)nresults;
  (void)flags;
  if (rt->phase == JR_PHASE_END || !lua_checkstack(L, 1)) {
    lua_pop(L, nargs + 1);
    return 0;
  }
  lua_pushcfunction(L, spawn_callback);
  lua_insert(L, -nargs - 2);
  if (lua_pcall(L, nargs + 1, 0, 0) == LUA_OK) return 0;
  jr_logf(&rt->log, JR_LOG_ERROR, "luv: a callback could not be started: %s", lua_tostring(L, -1));
  lua_pop(L, 1);
  return 0;
}

/* ---- what luv has open --------------------------------------------------------------------- */

typedef enum kind { NOTHING, HANDLE, REQUEST } kind;

/* What the value on top is. No memory is asked for, so nothing is raised. */
static kind kind_of(lua_State *L, const luvs *ls) {
  if (lua_type(L, -1) != LUA_TUSERDATA || !lua_getmetatable(L, -1)) return NOTHING;
  const void *meta = lua_topointer(L, -1);
  if (meta == ls->request || meta == ls->work) {
    lua_pop(L, 1);
    return REQUEST;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &handles_key);
  lua_insert(L, -2);
  lua_rawget(L, -2);
  bool is_handle = lua_toboolean(L, -1);
  lua_pop(L, 2);
  return is_handle ? HANDLE : NOTHING;
}

/* Calls `each` for all that luv has open, which is on top then; stops where it returns true. */
static bool any_open(const luvs *ls, lua_State *L, bool (*each)(lua_State *L, kind k)) {
  if (!lua_checkstack(L, 8)) return true;
  bool found = false;
  for (lua_pushnil(L); lua_next(L, LUA_REGISTRYINDEX); lua_pop(L, 1)) {
    kind k = lua_isinteger(L, -2) ? kind_of(L, ls) : NOTHING;
    if (k == NOTHING || !each(L, k)) continue;
    lua_pop(L, 2);
    found = true;
    break;
  }
  return found;
}

static uv_handle_t *handle_at(lua_State *L, int index) {
  return *(uv_handle_t **)lua_touserdata(L, index);
}

static bool is_any(lua_State *L, kind k) {
  (void)L;
  (void)k;
  return true;
}

/* As libuv's own rule: active handles that are not unref'd keep the loop going, and requests. */
static bool keeps_alive(lua_State *L, kind k) {
  if (k == REQUEST) return true;
  const uv_handle_t *handle = handle_at(L, -1);
  return uv_is_active(handle) && uv_has_ref(handle) && !uv_is_closing(handle);
}

/* handles() → a list of luv's handles, for walk */
static int luv_handles(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &trade_key);
  const luvs *ls = lua_touserdata(L, -1);
  lua_newtable(L);
  int list = lua_gettop(L), n = 0;
  luaL_checkstack(L, 8, NULL);
  for (lua_pushnil(L); lua_next(L, LUA_REGISTRYINDEX); lua_pop(L, 1)) {
    if (!lua_isinteger(L, -2) || kind_of(L, ls) != HANDLE) continue;
    lua_pushvalue(L, -1);
    lua_rawseti(L, list, ++n);
  }
  return 1;
}

/* ---- the end ------------------------------------------------------------------------------- */

static bool on_busy(jobrun *rt, jr_trade *trade) {
  return any_open(jr_container_of(trade, luvs, trade), rt->L, keeps_alive);
}

/* Calls luv's `close` or `cancel` with the value on top. That one is closing already, or runs and
 * cannot be cancelled, is no news here: the loop is turned until it is gone. */
static bool end_one(lua_State *L, kind k) {
  if (k == HANDLE && uv_is_closing(handle_at(L, -1))) return false;
  lua_rawgetp(L, LUA_REGISTRYINDEX, k == HANDLE ? &close_key : &cancel_key);
  lua_pushvalue(L, -2);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  return false;
}

static void on_time_up(uv_timer_t *timer) {
  *(bool *)timer->data = true;
}

/* Turns the loop until nothing of luv's is open, or the grace is over. */
static void turn_until_gone(luvs *ls, int64_t grace_ns) {
  jobrun *rt = ls->rt;
  uv_timer_t timer;
  bool time_up = false;
  uv_timer_init(rt->loop, &timer);
  timer.data = &time_up;
  uv_timer_start(&timer, on_time_up, (uint64_t)(grace_ns / JR_MS), 0);
  while (any_open(ls, rt->L, is_any) && !time_up) uv_run(rt->loop, UV_RUN_ONCE);
  timer.data = rt;
  rt->open_uv++;
  uv_close((uv_handle_t *)&timer, jr_uv_closed);
  for (uint64_t open = rt->open_uv; rt->open_uv == open;) uv_run(rt->loop, UV_RUN_ONCE);
}

static int on_settle(jobrun *rt, jr_trade *trade, const char **what) {
  luvs *ls = jr_container_of(trade, luvs, trade);
  any_open(ls, rt->L, end_one);
  if (any_open(ls, rt->L, is_any)) turn_until_gone(ls, rt->grace_ns);
  if (!any_open(ls, rt->L, is_any)) return 0;
  *what = "a request of luv's (queue_work, fs or getaddrinfo)";
  return UV_EBUSY;
}

static void on_free(jobrun *rt, jr_trade *trade) {
  jr_mem_free(&rt->mem, jr_container_of(trade, luvs, trade), sizeof(luvs));
}

/* ---- opening ------------------------------------------------------------------------------- */

/* A function of luv's, of whatever type it is cast to. */
typedef void (*function)(void);

static function symbol(lua_State *L, void *library, const char *path, const char *name) {
  union {
    void *object;
    function function; /* POSIX lets dlsym's result be one, ISO C has no cast for it */
  } found = {dlsym(library, name)};
  if (!found.object)
    jr_raise(L, "usage", 0, 2, "require \"luv\": %s has no %s: it is not luv 1.44 or later", path,
             name);
  return found.function;
}

/* Keeps what there is to compare with and to call, from luv's table on top. */
static void note_luv(lua_State *L, luvs *ls) {
  lua_getfield(L, LUA_REGISTRYINDEX, "uv_handle");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &handles_key);
  lua_getfield(L, -1, "close");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &close_key);
  lua_getfield(L, -1, "cancel");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &cancel_key);
  lua_getfield(L, LUA_REGISTRYINDEX, "uv_req");
  ls->request = lua_topointer(L, -1);
  lua_getfield(L, LUA_REGISTRYINDEX, "luv_work_ctx");
  ls->work = lua_topointer(L, -1);
  lua_pop(L, 2);
}

/* open(path) → luv's own table, on this runtime's loop. Once for each runtime. The library stays
 * loaded: threads that luv made may outlive the state. */
static int luv_open(lua_State *L) {
  jobrun *rt = jr_of(L);
  const char *path = luaL_checkstring(L, 1);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) return jr_raise(L, "usage", 0, 2, "require \"luv\": %s", dlerror());
  luv_set_loop_fn set_loop = (luv_set_loop_fn)symbol(L, library, path, "luv_set_loop");
  luv_set_callback_fn set_callback =
      (luv_set_callback_fn)symbol(L, library, path, "luv_set_callback");
  lua_CFunction open = (lua_CFunction)symbol(L, library, path, "luaopen_luv");
  luvs *ls = jr_mem_zalloc(&rt->mem, sizeof *ls);
  if (!ls) return jr_raise_status(L, "require \"luv\"", UV_ENOMEM);
  ls->rt = rt;
  ls->trade = (jr_trade){.is_busy = on_busy, .settle = on_settle, .free = on_free};
  jr_list_append(&rt->trades, &ls->trade.link);
  lua_pushlightuserdata(L, ls);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &trade_key);
  set_loop(rt->L, rt->loop);
  set_callback(rt->L, on_callback);
  lua_pushcfunction(L, open);
  lua_call(L, 0, 1);
  note_luv(L, ls);
  return 1;
}

int jr_open_luv(lua_State *L) {
  static const luaL_Reg functions[] = {{"open", luv_open}, {"handles", luv_handles}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
