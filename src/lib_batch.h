/* Runs that somebody started and wants to see ended. Functions for Lua; each may raise.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LIB_BATCH_H
#define JR_LIB_BATCH_H

#include <lua.h>

/* Once per state. */
void jr_batch_meta(lua_State *L);

/* batch() → a batch of no runs */
int jr_batch_new(lua_State *L);

/* start(batch, job): starts a run of the job, or takes the one in its way, into the batch; but not
 * one that the caller is part of */
int jr_batch_start(lua_State *L);

/* join(batch) → how many runs ended, how many of them not well. Suspends until all have. */
int jr_batch_join(lua_State *L);

#endif
