/* Durations for the Lua side: parse, scale and format, in whole nanoseconds.
 *
 * SPDX-License-Identifier: MIT */
#include <lauxlib.h>
#include <uv.h>

#include "duration.h"

int jr_open_duration(lua_State *L);

/* parse(text) → ns, or nil and what is wrong with it ("column 3: expected …") */
static int duration_parse(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  int64_t ns;
  jr_duration_fault fault;
  if (jr_duration_parse(text, len, &ns, &fault) < 0) {
    lua_pushnil(L);
    lua_pushfstring(L, "column %d: %s", fault.column, fault.what);
    return 2;
  }
  lua_pushinteger(L, ns);
  return 1;
}

/* scale(n, unit_ns) → ns, or nil and what is wrong with n */
static int duration_scale(lua_State *L) {
  int64_t ns;
  int status = jr_duration_scale(luaL_checknumber(L, 1), luaL_checkinteger(L, 2), &ns);
  if (status < 0) {
    lua_pushnil(L);
    lua_pushstring(L, status == UV_EINVAL ? "expected a number that is not negative"
                                          : "expected less than 292 years");
    return 2;
  }
  lua_pushinteger(L, ns);
  return 1;
}

/* format(ns) → "1h30m" */
static int duration_format(lua_State *L) {
  char text[JR_DURATION_TEXT];
  int64_t ns = luaL_checkinteger(L, 1);
  luaL_argcheck(L, ns >= 0, 1, "negative");
  lua_pushlstring(L, text, (size_t)jr_duration_format(ns, text));
  return 1;
}

int jr_open_duration(lua_State *L) {
  static const luaL_Reg functions[] = {{"parse", duration_parse},
                                       {"scale", duration_scale},
                                       {"format", duration_format},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
