/* Policies of jobs, as userdata.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LIB_POLICY_H
#define JR_LIB_POLICY_H

#include <lua.h>

#include "jobs.h"

/* The policy at `arg`; nil: the default. Lives as long as the userdata. */
const jr_policy *jr_policy_check(lua_State *L, int arg);

/* Makes the metatable, and adds the functions to the module's table on top. */
void jr_policy_functions(lua_State *L);

#endif
