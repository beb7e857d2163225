/* The coroutine library, with waits that pass through a user's coroutines.
 *
 * A wait yields. If a user's coroutine (a generator, a library's) is between it and its task, the
 * stock `resume` would take that yield for the user's own: the generator "returns" nothing and the
 * rest never runs. Here a resume that sees a yield with rt->parking set is not the one it is
 * meant for: it yields on outwards, with a continuation that resumes the inner coroutine when the
 * task runs again. The results wait in the operation and are pushed by the innermost continuation,
 * so nothing is carried through the levels. A user's own yields stay the user's.
 *
 * While a task is parked inside it, a user's coroutine is marked by the lowest bit of its extra
 * space: for everybody else it is "normal", as one that has resumed another, and may be neither
 * resumed nor closed.
 *
 * A resume under a C function that cannot yield (table.sort's comparator) cannot pass a wait on:
 * rt->no_park counts those, and jr_check_park refuses.
 *
 * SPDX-License-Identifier: MIT */
#include "co.h"

#include <stdbool.h>
#include <stdint.h>

#include <lauxlib.h>

#include "glue.h"
#include "rt.h"

static uintptr_t *mark_of(lua_State *co) {
  return (uintptr_t *)lua_getextraspace(co);
}

static bool is_parked(lua_State *co) {
  return *mark_of(co) & 1;
}

static lua_State *check_coroutine(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "coroutine");
  return co;
}

/* Runs `co` with the `args` values on top of L. Returns its results' number, they on top of L; -1
 * with the error value there; or PASS_ON: the yield was a wait of ours. */
enum { FAILED = -1, PASS_ON = -2 };

static int run(lua_State *L, lua_State *co, int args) {
  jobrun *rt = jr_of(L);
  int results;
  if (!lua_checkstack(co, args)) {
    lua_pushliteral(L, "too many arguments to resume");
    return FAILED;
  }
  lua_xmove(L, co, args);
  *mark_of(co) &= ~(uintptr_t)1;
  bool barrier = !lua_isyieldable(L);
  if (barrier) rt->no_park++;
  rt->running_co = co;
  int status = lua_resume(co, L, args, &results);
  rt->running_co = L;
  if (barrier) rt->no_park--;
  if (status == LUA_YIELD && rt->parking) {
    *mark_of(co) |= 1;
    return PASS_ON;
  }
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_xmove(co, L, 1);
    return FAILED;
  }
  if (!lua_checkstack(L, results + 1)) {
    lua_pop(co, results);
    lua_pushliteral(L, "too many results to resume");
    return FAILED;
  }
  lua_xmove(co, L, results);
  return results;
}

static int start_or_fail(lua_State *L, lua_State *co, int args) {
  const char *why = NULL;
  if (is_parked(co) || (lua_status(co) == LUA_OK && co == L))
    why = "cannot resume non-suspended coroutine";
  else if (lua_status(co) == LUA_OK && lua_gettop(co) == 0)
    why = "cannot resume dead coroutine";
  if (!why) return run(L, co, args);
  lua_pushstring(L, why);
  return FAILED;
}

/* ---- resume -------------------------------------------------------------------------------- */

static int resume_done(lua_State *L, int results);

static int resume_again(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return resume_done(L, run(L, (lua_State *)ctx, 0));
}

static int resume_done(lua_State *L, int results) {
  if (results == PASS_ON) return lua_yieldk(L, 0, (lua_KContext)lua_tothread(L, 1), resume_again);
  lua_pushboolean(L, results != FAILED);
  if (results == FAILED) results = 1;
  lua_insert(L, -(results + 1));
  return results + 1;
}

static int co_resume(lua_State *L) {
  lua_State *co = check_coroutine(L);
  return resume_done(L, start_or_fail(L, co, lua_gettop(L) - 1));
}

/* ---- wrap ---------------------------------------------------------------------------------- */

/* As the stock wrap: closes the coroutine and puts the place before a string. The traceback is
 * taken first, or the place where it failed would be lost. */
static int wrap_fail(lua_State *L, lua_State *co) {
  luaL_checkstack(L, 8, NULL);
  jr_traceback_of(L, -1);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    luaL_traceback(L, co, NULL, 0);
  }
  int status = lua_status(co);
  if (status != LUA_OK && status != LUA_YIELD) lua_resetthread(co);
  if (lua_type(L, -2) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_pushvalue(L, -3);
    lua_concat(L, 2);
    lua_replace(L, -3);
  }
  jr_traceback_keep(L, -2);
  return lua_error(L);
}

static int wrap_done(lua_State *L, lua_State *co, int results);

static int wrap_again(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  lua_State *co = (lua_State *)ctx;
  return wrap_done(L, co, run(L, co, 0));
}

static int wrap_done(lua_State *L, lua_State *co, int results) {
  if (results == PASS_ON) return lua_yieldk(L, 0, (lua_KContext)co, wrap_again);
  return results == FAILED ? wrap_fail(L, co) : results;
}

static int wrap_call(lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(1));
  return wrap_done(L, co, start_or_fail(L, co, lua_gettop(L)));
}

static int co_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushcclosure(L, wrap_call, 1);
  return 1;
}

/* ---- the others ---------------------------------------------------------------------------- */

static int co_yield (lua_State *L) {
  jobrun *rt = jr_of(L);
  if (rt->cur && L == rt->cur->co)
    return jr_raise(
        L, "usage", 0, 1,
        "coroutine.yield outside a coroutine (to let other tasks run use jobrun.yield)");
  return lua_yield(L, lua_gettop(L));
}

/* Gives a task's own coroutine away: it may not be recycled then. */
static int co_running(lua_State *L) {
  jobrun *rt = jr_of(L);
  if (rt->cur && L == rt->cur->co) rt->cur->escaped = true;
  lua_pushboolean(L, lua_pushthread(L));
  return 2;
}

/* Both take the stock function as upvalue for the cases that are not ours. */
static int co_status(lua_State *L) {
  if (is_parked(check_coroutine(L))) {
    lua_pushliteral(L, "normal");
    return 1;
  }
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

static int co_close(lua_State *L) {
  if (is_parked(check_coroutine(L))) return luaL_error(L, "cannot close a normal coroutine");
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 1, LUA_MULTRET);
  return lua_gettop(L);
}

static void override(lua_State *L, const char *name, lua_CFunction fn) {
  lua_getfield(L, -1, name);
  lua_pushcclosure(L, fn, 1);
  lua_setfield(L, -2, name);
}

void jr_coroutines_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"resume", co_resume},
                                       {"wrap", co_wrap},
                                       {"yield", co_yield },
                                       {"running", co_running},
                                       {NULL, NULL}};
  lua_getglobal(L, "coroutine");
  luaL_setfuncs(L, functions, 0);
  override(L, "status", co_status);
  override(L, "close", co_close);
  lua_pop(L, 1);
}
