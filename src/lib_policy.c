/* Policies of jobs: what a declaration says, flat and checked by the words, in a few calls.
 *
 * SPDX-License-Identifier: MIT */
#include "lib_policy.h"

#include <string.h>

#include <lauxlib.h>

#include "lib_rule.h"
#include "rt.h"

#define POLICY_META "jobrun.policy"

static jr_policy *check(lua_State *L) {
  return luaL_checkudata(L, 1, POLICY_META);
}

const jr_policy *jr_policy_check(lua_State *L, int arg) {
  return lua_isnil(L, arg) ? &jr_policy_default : luaL_checkudata(L, arg, POLICY_META);
}

static bool has_flag(lua_State *L, int arg, char flag) {
  return strchr(luaL_checkstring(L, arg), flag);
}

/* policy(flags, times, timeout, spread, jitter, overlap, limit) → policy; times in ns. flags: n =
 * now, e = from the end, p = paused, j = the jitter is the offset itself */
static int policy_new(lua_State *L) {
  jr_policy policy = {.now = has_flag(L, 1, 'n'),
                      .from_end = has_flag(L, 1, 'e'),
                      .paused = has_flag(L, 1, 'p'),
                      .fixed_jitter = has_flag(L, 1, 'j'),
                      .times = (uint64_t)luaL_optinteger(L, 2, 0),
                      .timeout_ns = luaL_optinteger(L, 3, 0),
                      .spread_ns = luaL_optinteger(L, 4, 0),
                      .jitter_ns = luaL_optinteger(L, 5, 0),
                      .overlap = (uint8_t)luaL_optinteger(L, 6, JR_OVERLAP_SKIP),
                      .limit = (uint32_t)luaL_optinteger(L, 7, 1)};
  jr_policy *out = lua_newuserdatauv(L, sizeof policy, 1);
  *out = policy;
  luaL_setmetatable(L, POLICY_META);
  return 1;
}

/* policy_rule(policy, rule): a job of the calendar */
static int policy_rule(lua_State *L) {
  jr_policy *p = check(L);
  p->rule = jr_rule_check(L, 2);
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, 1);
  return 0;
}

/* policy_span(policy, from_ns or nil, till_ns or nil, zone, opens, closes): of an interval, where
 * its grid begins, ends, and in which part of the day it counts; wall times */
static int policy_span(lua_State *L) {
  jr_policy *p = check(L);
  const jobrun *rt = jr_of(L);
  if (!lua_isnil(L, 2))
    p->start_ns = jr_clock_now(rt) + (luaL_checkinteger(L, 2) - jr_clock_wall(rt));
  p->till_ns = luaL_optinteger(L, 3, 0);
  p->zone = jr_zone_at(L, 4);
  p->window = (jr_window){(int32_t)luaL_optinteger(L, 5, 0), (int32_t)luaL_optinteger(L, 6, 0)};
  return 0;
}

/* policy_lateness(policy, grace, catchup, most, window): times in ns, 0: none; catchup as
 * jr_catchup */
static int policy_lateness(lua_State *L) {
  jr_policy *p = check(L);
  p->grace_ns = luaL_checkinteger(L, 2);
  p->catchup = (uint8_t)luaL_checkinteger(L, 3);
  p->most_caught = (uint32_t)luaL_checkinteger(L, 4);
  p->catch_ns = luaL_checkinteger(L, 5);
  return 0;
}

/* policy_retry(policy, attempts, backoff, max, factor, jitter, cross) */
static int policy_retry(lua_State *L) {
  check(L)->retry = (jr_retry){.attempts = (uint32_t)luaL_checkinteger(L, 2),
                               .backoff_ns = luaL_checkinteger(L, 3),
                               .max_ns = luaL_checkinteger(L, 4),
                               .factor = luaL_checknumber(L, 5),
                               .jitter = luaL_checknumber(L, 6),
                               .cross = lua_toboolean(L, 7)};
  return 0;
}

void jr_policy_functions(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"policy", policy_new},         {"policy_rule", policy_rule},
      {"policy_span", policy_span},   {"policy_lateness", policy_lateness},
      {"policy_retry", policy_retry}, {NULL, NULL}};
  luaL_newmetatable(L, POLICY_META);
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
