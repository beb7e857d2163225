/* How a failure travels from task to task: its error value with its traceback, and the cause that
 * a failed child leaves with its parent.
 *
 * All of it in Lua, on the loop's thread, and may raise (out of memory).
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_FAILURE_H
#define JR_FAILURE_H

#include <lua.h>

#include "task.h"

/* Makes the table of causes. */
void jr_failures_open(lua_State *L);

/* Replaces the error on top by a table {error, traceback}, and back; the traceback is then on
 * record for the task that runs. */
void jr_failure_pack(lua_State *L);
void jr_failure_unpack(lua_State *L);

/* Makes the traceback on record for the error on top reach back to where the task was spawned. */
void jr_failure_extend(lua_State *L, const jr_task *t);

/* The cause of a task: the first failure of a child that nobody waited for. */
void jr_cause_set(lua_State *L, jr_task *t, int index);
void jr_cause_forget(lua_State *L, jr_task *t);

/* A further failure joins the list `errors` of the cause, if that is an object to hold one. */
void jr_cause_add(lua_State *L, jr_task *t, int index);

/* The error a cancelled task sees: its cause, else a fresh one of kind "cancelled". */
void jr_cause_push(lua_State *L, jr_task *t);
int jr_cause_raise(lua_State *L, jr_task *t);

#endif
