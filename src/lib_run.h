/* The run that a job's function, and the listeners of its events, get: a value, not a handle.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LIB_RUN_H
#define JR_LIB_RUN_H

#include <lua.h>

#include "run.h"

/* Once per state; may raise. */
void jr_run_meta(lua_State *L);
int jr_run_on_say(lua_State *L);

/* Pushes a copy of the record, with the job's handle (at `handle`) beside it: it outlives both. May
 * raise (memory). */
void jr_run_push(lua_State *L, int handle, const jr_run_record *record);

#endif
