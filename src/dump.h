/* The tree of tasks as text, for somebody who asks what a script is doing.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_DUMP_H
#define JR_DUMP_H

#include <lua.h>

struct jobrun;

/* Logs (level info) one line a task, indented by ownership: its name, state, what it waits for and
 * since when, and the line of the script where. Loop thread, outside any task; never raises. */
void jr_dump_tasks(struct jobrun *rt);

/* Pushes the same as a list of tables {name, status, depth, operation, since, at}, the first
 * thousand. May raise. */
void jr_dump_push(lua_State *L);

#endif
