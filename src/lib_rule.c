/* The calendar for the Lua side: zones, times as people write them, rules.
 *
 * A rule is made of what a declaration says (cron, calendar, hourly, once), then bound to its zone
 * and to the moment from which it counts. What is wrong with a text comes back as nil and a
 * sentence; whose fault that is, the words say.
 *
 * SPDX-License-Identifier: MIT */
#include "lib_rule.h"

#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

#include "buf.h"
#include "cronline.h"
#include "cronwords.h"
#include "duration.h"
#include "glue.h"
#include "jobs.h"
#include "rt.h"
#include "stamp.h"
#include "status.h"
#include "zonebook.h"

int jr_open_rule(lua_State *L);

#define RULE_META "jobrun.rule"

enum { MAX_TIMES = 1440 };

typedef struct rule {
  jr_rule rule;
  int32_t times[]; /* of `calendar` and `hourly` */
} rule;

static rule *check(lua_State *L, int arg) {
  return luaL_checkudata(L, arg, RULE_META);
}

jr_rule *jr_rule_check(lua_State *L, int arg) {
  return &check(L, arg)->rule;
}

const jr_zone *jr_zone_at(lua_State *L, int arg) {
  if (lua_isnoneornil(L, arg)) return NULL;
  luaL_checktype(L, arg, LUA_TLIGHTUSERDATA);
  return lua_touserdata(L, arg);
}

static const jr_zone *check_zone(lua_State *L, int arg) {
  luaL_checktype(L, arg, LUA_TLIGHTUSERDATA);
  return lua_touserdata(L, arg);
}

/* nil and the buffer's text, which is freed. */
static int push_wrong(lua_State *L, jr_buf *text) {
  lua_pushnil(L);
  lua_pushlstring(L, text->data ? text->data : "", text->len);
  jr_buf_fini(text);
  return 2;
}

/* ---- zones --------------------------------------------------------------------------------- */

static jr_zonebook *book_of(lua_State *L) {
  jr_zonebook *book;
  int status = jr_zonebook_get(jr_of(L), &book);
  if (status < 0) jr_raise_status(L, "zone", status);
  return book;
}

/* zone([name]) → zone, name; or nil and why. Without a name, the local one. */
static int rule_zone(lua_State *L) {
  size_t len = 0;
  const char *name = luaL_optlstring(L, 1, NULL, &len);
  jr_zonebook *book = book_of(L);
  jr_zone *zone;
  int status = jr_zonebook_zone(book, name, len, &zone);
  if (status < 0) {
    jr_buf text;
    jr_buf_init(&text, &jr_of(L)->mem);
    const char *tz = name ? name : getenv("TZ") ? getenv("TZ") : "/etc/localtime";
    jr_zones_explain(&book->zones, status, tz, strlen(tz), &text);
    return push_wrong(L, &text);
  }
  lua_pushlightuserdata(L, zone);
  lua_pushstring(L, zone->name);
  return 2;
}

/* set_local(name): the local zone of this process, before anybody asked for it */
static int rule_set_local(lua_State *L) {
  setenv("TZ", luaL_checkstring(L, 1), 1);
  return 0;
}

/* wall(zone, ns) → "2025-03-30T03:00:00+02:00" */
static int rule_wall(lua_State *L) {
  const jr_tz *tz = check_zone(L, 1)->tz;
  int64_t second = jr_floor_div(luaL_checkinteger(L, 2), JR_SEC);
  char text[JR_STAMP_TEXT];
  int32_t offset = jr_tz_offset_at(tz, second);
  lua_pushlstring(L, text, (size_t)jr_stamp_format_wall(second + offset, offset, text));
  return 1;
}

/* iso(ns) → "2025-03-30T01:00:00Z" */
static int rule_iso(lua_State *L) {
  int64_t ns = luaL_checkinteger(L, 1);
  char text[JR_STAMP_TEXT];
  int64_t second = jr_floor_div(ns, JR_SEC);
  lua_pushlstring(L, text, (size_t)jr_stamp_format(second, (int32_t)(ns - second * JR_SEC), text));
  return 1;
}

/* ---- times as people write them ------------------------------------------------------------ */

static int push_stamp_fault(lua_State *L, const jr_stamp_fault *fault) {
  lua_pushnil(L);
  lua_pushfstring(L, "column %d: %s", fault->column, fault->what);
  return 2;
}

/* stamp(text) → "time", second, ns; or "date" or "datetime", second, ns, offset or nil (seconds of
 * the wall clock since 1970); or nil and what is wrong */
static int rule_stamp(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  jr_stamp stamp;
  jr_stamp_fault fault;
  if (jr_stamp_parse(text, len, &stamp, &fault) < 0) return push_stamp_fault(L, &fault);
  lua_pushstring(L, !stamp.has_date ? "time" : stamp.has_time ? "datetime" : "date");
  lua_pushinteger(L, stamp.day * 86400 + stamp.second);
  lua_pushinteger(L, stamp.nanosecond);
  if (stamp.has_offset)
    lua_pushinteger(L, stamp.offset);
  else
    lua_pushnil(L);
  return 4;
}

/* at(text, unit) → seconds from the beginning of the day, hour or minute (jr_stamp_unit) */
static int rule_at(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  int32_t second;
  jr_stamp_fault fault;
  if (jr_stamp_parse_at(text, len, (jr_stamp_unit)luaL_checkinteger(L, 2), &second, &fault) < 0)
    return push_stamp_fault(L, &fault);
  lua_pushinteger(L, second);
  return 1;
}

/* instant(zone, wall, gap, overlap) → seconds of UTC, or nil where there is no such time */
static int rule_instant(lua_State *L) {
  int64_t at = jr_wall_instant(check_zone(L, 1)->tz, luaL_checkinteger(L, 2),
                               (jr_wall_gap)luaL_optinteger(L, 3, JR_GAP_END),
                               (jr_wall_overlap)luaL_optinteger(L, 4, JR_TWICE_FIRST));
  if (at == JR_NEVER)
    lua_pushnil(L);
  else
    lua_pushinteger(L, at);
  return 1;
}

/* local_time(zone, ns) → seconds of the zone's wall clock since 1970 */
static int rule_local_time(lua_State *L) {
  int64_t second = jr_floor_div(luaL_checkinteger(L, 2), JR_SEC);
  lua_pushinteger(L, second + jr_tz_offset_at(check_zone(L, 1)->tz, second));
  return 1;
}

/* ---- making a rule ------------------------------------------------------------------------- */

static rule *push_new(lua_State *L, jr_rule_kind kind, size_t times) {
  rule *r = lua_newuserdatauv(L, sizeof *r + times * sizeof *r->times, 0);
  memset(r, 0, sizeof *r);
  r->rule.kind = (uint8_t)kind;
  r->rule.from_ns = INT64_MIN;
  r->rule.till_ns = JR_NEVER;
  luaL_setmetatable(L, RULE_META);
  return r;
}

/* What a text says of a line: the words of people who do not read cron. */
static void push_readings(lua_State *L, const jr_cron *cron) {
  jr_buf text;
  if (!cron->is_ambiguous) {
    lua_pushnil(L);
    return;
  }
  jr_buf_init(&text, &jr_of(L)->mem);
  jr_cron_readings(cron, &text);
  lua_pushlstring(L, text.data ? text.data : "", text.len);
  jr_buf_fini(&text);
}

/* cron(line, name or nil) → rule, zone's name or nil, both readings of an ambiguous line or nil;
 * "every", ns; "reboot"; or nil, what is wrong, and its column */
static int rule_cron(lua_State *L) {
  size_t len, name_len = 0;
  const char *text = luaL_checklstring(L, 1, &len), *name = luaL_optlstring(L, 2, NULL, &name_len);
  jr_cron cron;
  jr_cron_fault fault;
  if (jr_cron_parse(text, len, name, name_len, &cron, &fault) < 0) {
    lua_pushnil(L);
    lua_pushstring(L, fault.what);
    lua_pushinteger(L, fault.column);
    return 3;
  }
  if (cron.kind == JR_CRON_REBOOT) {
    lua_pushliteral(L, "reboot");
    return 1;
  }
  if (cron.kind == JR_CRON_EVERY) {
    lua_pushliteral(L, "every");
    lua_pushinteger(L, cron.period_ns);
    return 2;
  }
  push_new(L, JR_RULE_CRON, 0)->rule.as.cron = cron;
  if (cron.zone_len)
    lua_pushlstring(L, text + cron.zone_at, cron.zone_len);
  else
    lua_pushnil(L);
  push_readings(L, &cron);
  return 3;
}

/* cron_words(line, name or nil) → the line in English; or nil, what is wrong, and its column */
static int rule_cron_words(lua_State *L) {
  size_t len, name_len = 0;
  const char *line = luaL_checklstring(L, 1, &len), *name = luaL_optlstring(L, 2, NULL, &name_len);
  jr_cron cron;
  jr_cron_fault fault;
  if (jr_cron_parse(line, len, name, name_len, &cron, &fault) < 0) {
    lua_pushnil(L);
    lua_pushstring(L, fault.what);
    lua_pushinteger(L, fault.column);
    return 3;
  }
  jr_buf text;
  jr_buf_init(&text, &jr_of(L)->mem);
  jr_cron_words(&cron, &text);
  lua_pushlstring(L, text.data ? text.data : "", text.len);
  jr_buf_fini(&text);
  return 1;
}

/* Copies the list of seconds at `arg`, which the words have sorted, each once. */
static uint32_t copy_times(lua_State *L, int arg, int32_t *times) {
  uint32_t n = (uint32_t)lua_rawlen(L, arg);
  for (uint32_t i = 0; i < n; i++) {
    lua_rawgeti(L, arg, i + 1);
    times[i] = (int32_t)luaL_checkinteger(L, -1);
    lua_pop(L, 1);
  }
  return n;
}

static size_t count_times(lua_State *L, int arg) {
  luaL_checktype(L, arg, LUA_TTABLE);
  size_t n = lua_rawlen(L, arg);
  luaL_argcheck(L, n <= MAX_TIMES, arg, "too many times");
  return n;
}

/* calendar(unit, every, weekdays, dates, last_date, times) → rule; as in jr_calendar */
static int rule_calendar(lua_State *L) {
  rule *r = push_new(L, JR_RULE_CALENDAR, count_times(L, 6));
  r->rule.as.calendar = (jr_calendar){.unit = (uint8_t)luaL_checkinteger(L, 1),
                                      .every = (int32_t)luaL_checkinteger(L, 2),
                                      .weekdays = (uint8_t)luaL_checkinteger(L, 3),
                                      .dates = (uint32_t)luaL_checkinteger(L, 4),
                                      .last_date = lua_toboolean(L, 5),
                                      .times = r->times};
  r->rule.as.calendar.times_len = copy_times(L, 6, r->times);
  return 1;
}

/* hourly(unit, every, times) → rule; as in jr_hourly */
static int rule_hourly(lua_State *L) {
  rule *r = push_new(L, JR_RULE_HOURLY, count_times(L, 3));
  r->rule.as.hourly = (jr_hourly){.unit = (int32_t)luaL_checkinteger(L, 1),
                                  .every = (int32_t)luaL_checkinteger(L, 2),
                                  .times = r->times};
  r->rule.as.hourly.times_len = copy_times(L, 3, r->times);
  return 1;
}

/* once(second, ns) → rule */
static int rule_once(lua_State *L) {
  rule *r = push_new(L, JR_RULE_ONCE, 0);
  r->rule.as.once = luaL_checkinteger(L, 1);
  r->rule.fraction_ns = (int32_t)luaL_checkinteger(L, 2);
  return 1;
}

/* The policy at `arg`, or `standard` for nil. */
static uint8_t policy_at(lua_State *L, int arg, uint8_t standard) {
  return (uint8_t)luaL_optinteger(L, arg, standard);
}

/* bind(rule, zone, gap, overlap, from_ns, is_from): what it goes by, and from when; gap and overlap
 * nil: as such rules have it */
static int rule_bind(lua_State *L) {
  jr_rule *r = &check(L, 1)->rule;
  r->zone = check_zone(L, 2);
  if (r->kind == JR_RULE_CRON) {
    r->as.cron.gap = policy_at(L, 3, r->as.cron.gap);
    r->as.cron.overlap = policy_at(L, 4, r->as.cron.overlap);
  } else if (r->kind == JR_RULE_CALENDAR) {
    r->as.calendar.gap = policy_at(L, 3, JR_GAP_END);
    r->as.calendar.overlap = policy_at(L, 4, JR_TWICE_FIRST);
  } else if (r->kind == JR_RULE_HOURLY) {
    r->as.hourly.gap = policy_at(L, 3, JR_GAP_END);
  }
  jr_rule_anchor(r, luaL_checkinteger(L, 5), lua_toboolean(L, 6));
  return 0;
}

/* limit(rule, from_ns or nil, till_ns or nil, opens, closes) */
static int rule_limit(lua_State *L) {
  jr_rule *r = &check(L, 1)->rule;
  r->from_ns = luaL_optinteger(L, 2, INT64_MIN);
  r->till_ns = luaL_optinteger(L, 3, JR_NEVER);
  r->window = (jr_window){(int32_t)luaL_optinteger(L, 4, 0), (int32_t)luaL_optinteger(L, 5, 0)};
  return 0;
}

/* next(rule, after_ns) → ns, and what a change of the zone did to it ("moved", "first", "second")
 * or nil; or nil */
static int rule_next(lua_State *L) {
  static const char *const notes[] = {NULL, "moved", "first", "second"};
  const jr_rule *r = jr_rule_check(L, 1);
  int64_t next = jr_rule_next(r, luaL_checkinteger(L, 2));
  if (next == JR_NEVER) return 0;
  lua_pushinteger(L, next);
  lua_pushstring(L, notes[jr_rule_note_of(r, jr_floor_div(next, JR_SEC))]);
  return 2;
}

int jr_open_rule(lua_State *L) {
  static const luaL_Reg functions[] = {{"zone", rule_zone},
                                       {"wall", rule_wall},
                                       {"set_local", rule_set_local},

                                       {"iso", rule_iso},
                                       {"stamp", rule_stamp},
                                       {"at", rule_at},
                                       {"instant", rule_instant},
                                       {"local_time", rule_local_time},
                                       {"cron", rule_cron},
                                       {"cron_words", rule_cron_words},
                                       {"calendar", rule_calendar},
                                       {"hourly", rule_hourly},
                                       {"once", rule_once},
                                       {"bind", rule_bind},
                                       {"limit", rule_limit},
                                       {"next", rule_next},
                                       {NULL, NULL}};
  luaL_newmetatable(L, RULE_META);
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
