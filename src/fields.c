/* Userdata with fields and methods.
 *
 * SPDX-License-Identifier: MIT */
#include "fields.h"

#include "glue.h"

void jr_fields_meta(lua_State *L, const char *name, const luaL_Reg *meta, const luaL_Reg *methods,
                    const char *const *fields, lua_CFunction index) {
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, meta, 0);
  lua_newtable(L);
  lua_pushvalue(L, -3);
  luaL_setfuncs(L, methods, 1);
  lua_newtable(L);
  for (int i = 0; fields[i]; i++) {
    lua_pushinteger(L, i + 1);
    lua_setfield(L, -2, fields[i]);
  }
  lua_pushcclosure(L, index, 2);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 2);
}

int jr_fields_find(lua_State *L, const char *what) {
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 0;
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(2));
  int field = (int)lua_tointeger(L, -1);
  lua_pop(L, 2);
  if (field == 0)
    jr_raise(L, "usage", 0, 1, "a %s has no field '%s'", what,
             lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2));
  return field;
}

void jr_push_seconds(lua_State *L, int64_t ns) {
  lua_pushnumber(L, (lua_Number)ns / 1e9);
}

void jr_push_instant(lua_State *L, int64_t wall_ns) {
  if (wall_ns == 0)
    lua_pushnil(L);
  else
    jr_push_seconds(L, wall_ns);
}
