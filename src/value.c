/* What a Lua state needs to send and to receive values.
 *
 * SPDX-License-Identifier: MIT */
#include "value.h"

#include <lauxlib.h>

void jr_values_init(jr_values *v, jr_mem *mem, bool code) {
  v->code = code;
  v->metatable_ref = LUA_NOREF;
  v->error[0] = v->called[0] = 0;
  jr_ptrmap_init(&v->seen, mem);
  jr_code_init(&v->functions, mem);
}

void jr_values_open(jr_values *v, lua_State *L) {
  v->metatable_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  jr_names_open(&v->names, L);
  jr_code_open(&v->functions, L);
}

void jr_values_fini(jr_values *v) {
  jr_ptrmap_fini(&v->seen);
  jr_code_fini(&v->functions);
}
