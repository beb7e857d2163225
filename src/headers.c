/* Header fields of HTTP as a Lua table.
 *
 * SPDX-License-Identifier: MIT */
#include "headers.h"

#include <string.h>

#include <lauxlib.h>

static void push_small(lua_State *L, const char *name, size_t len) {
  luaL_Buffer small;
  char *to = luaL_buffinitsize(L, &small, len);
  for (size_t i = 0; i < len; i++)
    to[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] | 0x20) : name[i];
  luaL_pushresultsize(&small, len);
}

void jr_headers_add(lua_State *L, const char *name, size_t name_len, const char *value,
                    size_t value_len, const char *apart, const char *joint) {
  push_small(L, name, name_len);
  lua_pushvalue(L, -1);
  if (lua_rawget(L, -3) == LUA_TSTRING) {
    lua_pushstring(L, strcmp(lua_tostring(L, -2), apart) == 0 ? joint : ", ");
    lua_pushlstring(L, value, value_len);
    lua_concat(L, 3);
  } else {
    lua_pop(L, 1);
    lua_pushlstring(L, value, value_len);
  }
  lua_rawset(L, -3);
}
