/* How a failure travels from task to task.
 *
 * SPDX-License-Identifier: MIT */
#include "failure.h"

#include <stdbool.h>
#include <string.h>

#include <lauxlib.h>

#include "glue.h"
#include "rt.h"

static const char causes_key; /* registry: causes[lightuserdata task] = {error, traceback} */

void jr_failures_open(lua_State *L) {
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &causes_key);
}

void jr_failure_pack(lua_State *L) {
  lua_createtable(L, 2, 0);
  jr_traceback_of(L, -2);
  lua_rawseti(L, -2, 2);
  lua_insert(L, -2);
  lua_rawseti(L, -2, 1);
}

void jr_failure_unpack(lua_State *L) {
  lua_rawgeti(L, -1, 1);
  if (lua_rawgeti(L, -2, 2) == LUA_TSTRING)
    jr_traceback_keep(L, -2);
  else
    lua_pop(L, 1);
  lua_remove(L, -2);
}

void jr_cause_push(lua_State *L, jr_task *t) {
  luaL_checkstack(L, 8, NULL);
  if (t->has_cause) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &causes_key);
    lua_rawgetp(L, -1, t);
    lua_remove(L, -2);
    jr_failure_unpack(L);
  } else {
    jr_error_push(L, "cancelled", UV_ECANCELED, 1, "cancelled: %s", jr_of(L)->reasons[t->reason]);
  }
}

int jr_cause_raise(lua_State *L, jr_task *t) {
  jr_cause_push(L, t);
  return lua_error(L);
}

void jr_cause_set(lua_State *L, jr_task *t, int index) {
  index = lua_absindex(L, index);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &causes_key);
  lua_pushvalue(L, index);
  jr_failure_pack(L);
  lua_rawsetp(L, -2, t);
  lua_pop(L, 1);
  t->has_cause = true;
}

void jr_cause_add(lua_State *L, jr_task *t, int index) {
  index = lua_absindex(L, index);
  jr_cause_push(L, t);
  if (jr_error_is(L, -1, NULL) && !lua_rawequal(L, -1, index)) {
    if (lua_getfield(L, -1, "errors") != LUA_TTABLE) {
      lua_pop(L, 1);
      lua_newtable(L);
      lua_pushvalue(L, -1);
      lua_setfield(L, -3, "errors");
    }
    lua_pushvalue(L, index);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void append_spawn_sites(lua_State *L, const jr_task *t) {
  jobrun *rt = jr_of(L);
  for (; t->parent; t = t->parent) {
    if (t->spawn_line <= 0) continue;
    lua_pushfstring(L, "\nspawned at %s:%d", rt->sites[t->spawn_site], (int)t->spawn_line);
    lua_concat(L, 2);
  }
}

void jr_failure_extend(lua_State *L, const jr_task *t) {
  jr_traceback_of(L, -1);
  if (lua_isstring(L, -1) && !strstr(lua_tostring(L, -1), "\nspawned at ")) {
    append_spawn_sites(L, t);
    jr_traceback_keep(L, -2);
  } else {
    lua_pop(L, 1);
  }
}

void jr_cause_forget(lua_State *L, jr_task *t) {
  if (!t->has_cause) return;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &causes_key);
  lua_pushnil(L);
  lua_rawsetp(L, -2, t);
  lua_pop(L, 1);
  t->has_cause = false;
}
