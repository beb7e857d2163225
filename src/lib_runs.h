/* Runs looked at from outside: functions of the module "jobrun.core.jobs".
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LIB_RUNS_H
#define JR_LIB_RUNS_H

#include <lua.h>

/* ended([most]) → the records of the last ended runs, newest first, as tables */
int jr_runs_ended(lua_State *L);

/* going() → the records of those that go on, in no order */
int jr_runs_going(lua_State *L);

/* cancel(id) → true; false where no such run goes on */
int jr_runs_cancel(lua_State *L);

#endif
