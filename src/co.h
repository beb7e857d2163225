/* The coroutine library, with waits that pass through a user's coroutines.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_CO_H
#define JR_CO_H

#include <lua.h>

/* Puts our resume, wrap, yield, status, close and running into the table `coroutine`. */
void jr_coroutines_open(lua_State *L);

#endif
