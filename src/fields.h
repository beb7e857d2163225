/* Userdata with fields and methods, as scripts see them: one closure looks both up.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_FIELDS_H
#define JR_FIELDS_H

#include <stdint.h>

#include <lauxlib.h>
#include <lua.h>

/* Makes the metatable `name` of `meta`, with `index` as __index. That one starts with
 *
 *   int field = jr_fields_find(L, "job");
 *   if (field == 0) return 1;   // a method, already pushed
 *
 * and goes on with a switch: fields[i] has the number i + 1. The methods have the value on top of
 * the stack, which is popped, as an upvalue. May raise (memory). */
void jr_fields_meta(lua_State *L, const char *name, const luaL_Reg *meta, const luaL_Reg *methods,
                    const char *const *fields, lua_CFunction index);

/* In __index: 0 with the method pushed, or the number of the field whose name is at 2. Raises kind
 * "usage" for any other name; `what` is the kind of thing. */
int jr_fields_find(lua_State *L, const char *what);

/* Pushes nanoseconds as seconds. */
void jr_push_seconds(lua_State *L, int64_t ns);

/* Pushes a wall time as epoch seconds, or nil for 0, "not yet". */
void jr_push_instant(lua_State *L, int64_t wall_ns);

#endif
