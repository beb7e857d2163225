/* What a child process is in Lua.
 *
 * SPDX-License-Identifier: MIT */
#include "lib_handle.h"

#include "rt.h"

jr_handle *jr_handle_check(lua_State *L) {
  return luaL_checkudata(L, 1, JR_HANDLE_META);
}

jr_stream *jr_handle_stream(lua_State *L, const jr_handle *h, int arg) {
  lua_Integer fd = luaL_checkinteger(L, arg);
  luaL_argcheck(L, fd > 0 && fd < JR_PROC_FDS && h->p->streams[fd], arg, "no pipe there");
  return h->p->streams[fd];
}

bool jr_handle_may_wait(lua_State *L) {
  const jobrun *rt = jr_of(L);
  return rt->cur && lua_isyieldable(L) && rt->no_park == 0;
}

void jr_push_level(lua_State *L, int level) {
  if (level < 0)
    lua_pushnil(L);
  else
    lua_pushstring(L, jr_fflevel_name((jr_fflevel)level));
}
