/* Rules of the calendar, as userdata.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LIB_RULE_H
#define JR_LIB_RULE_H

#include <lua.h>

#include "rule.h"

/* The rule at `arg`, with its zone; lives as long as the userdata. Raises otherwise. */
jr_rule *jr_rule_check(lua_State *L, int arg);

/* The zone at `arg` (a light userdata), or NULL for nil. */
const jr_zone *jr_zone_at(lua_State *L, int arg);

#endif
