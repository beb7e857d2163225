/* Where tasks come from: coroutines to run in, and the line they were spawned at.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_CRADLE_H
#define JR_CRADLE_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

#include "task.h"

/* Makes the table of anchors. May raise. */
void jr_cradle_open(lua_State *L);
void jr_cradle_fini(struct jobrun *rt);

/* A coroutine with an empty stack, anchored in *slot. May raise; pushes nothing. */
lua_State *jr_cradle_take(lua_State *L, struct jobrun *rt, int32_t *slot);

/* A finished one; never raises. One that escaped belongs to whoever has it now: its slot gets a
 * fresh one. */
void jr_cradle_give_back(struct jobrun *rt, lua_State *co, int32_t slot, bool escaped);

/* Notes the script's line that spawns `t`, for its name and for tracebacks. */
void jr_site_note(lua_State *L, struct jobrun *rt, jr_task *t);

/* For a task that no script's line spawned: what it is, in static memory. */
void jr_site_name(struct jobrun *rt, jr_task *t, const char *what);

#endif
