/* The run that a job's function gets.
 *
 * SPDX-License-Identifier: MIT */
#include "lib_run.h"

#include <lauxlib.h>

#include "fields.h"
#include "glue.h"
#include "rt.h"

#define RUN_META "jobrun.run"

void jr_run_push(lua_State *L, int handle, const jr_run_record *record) {
  handle = lua_absindex(L, handle);
  jr_run_record *copy = lua_newuserdatauv(L, sizeof *copy, 1);
  *copy = *record;
  lua_pushvalue(L, handle);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, RUN_META);
}

static jr_run_record *check_run(lua_State *L, int arg) {
  jr_run_record *record = luaL_testudata(L, arg, RUN_META);
  if (!record)
    jr_raise(L, "usage", 0, 1, "bad argument #%d: expected a run, got %s", arg,
             luaL_typename(L, arg));
  return record;
}

static const char say_key; /* registry: what each run:log is told to, if anything */

static int said(lua_State *L, int status, lua_KContext ctx) {
  (void)L;
  (void)status;
  (void)ctx;
  return 0;
}

/* run:log(fmt, …): a line of the log with the job's name and the run's number */
static int run_log(lua_State *L) {
  const jr_run_record *record = check_run(L, 1);
  luaL_checkstring(L, 2);
  if (lua_gettop(L) > 2) {
    lua_pushvalue(L, lua_upvalueindex(1)); /* string.format */
    lua_insert(L, 2);
    lua_call(L, lua_gettop(L) - 2, 1);
  }
  lua_pushfstring(L, "run %I: %s", (LUAI_UACINT)record->id, lua_tostring(L, 2));
  jr_log_event line = {.level = JR_LOG_INFO, .name = record->job_name, .run = record->id};
  line.text = lua_tolstring(L, -1, &line.len);
  jr_log_put(&jr_of(L)->log, &line);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &say_key) != LUA_TFUNCTION) return 0;
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_callk(L, 2, 0, 0, said);
  return 0;
}

/* on_say(fn): fn(run, text) for each run:log */
int jr_run_on_say(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &say_key);
  return 0;
}

enum run_field {
  RUN_JOB = 1,
  RUN_ID,
  RUN_DUE,
  RUN_LATE,
  RUN_ATTEMPT,
  RUN_STARTED,
  RUN_ENDED,
  RUN_OUTCOME,
  RUN_BY_HAND
};
static const char *const run_fields[] = {"job",     "id",    "due",     "late",    "attempt",
                                         "started", "ended", "outcome", "by_hand", NULL};

static int run_index(lua_State *L) {
  const jr_run_record *r = check_run(L, 1);
  switch (jr_fields_find(L, "run")) {
  case RUN_JOB:
    lua_getiuservalue(L, 1, 1);
    break;
  case RUN_ID:
    lua_pushinteger(L, (lua_Integer)r->id);
    break;
  case RUN_DUE:
    jr_push_seconds(L, r->due_ns);
    break;
  case RUN_LATE:
    jr_push_seconds(L, r->late_ns);
    break;
  case RUN_ATTEMPT:
    lua_pushinteger(L, r->attempt);
    break;
  case RUN_STARTED:
    jr_push_instant(L, r->started_ns);
    break;
  case RUN_ENDED:
    jr_push_instant(L, r->ended_ns);
    break;
  case RUN_OUTCOME:
    lua_pushstring(L, jr_outcome_name(r->outcome));
    break;
  case RUN_BY_HAND:
    lua_pushboolean(L, r->by_hand);
    break;
  }
  return 1;
}

static int run_tostring(lua_State *L) {
  const jr_run_record *r = check_run(L, 1);
  lua_pushfstring(L, "run %I of job \"%s\"", (LUAI_UACINT)r->id, r->job_name);
  return 1;
}

void jr_run_meta(lua_State *L) {
  static const luaL_Reg meta[] = {{"__tostring", run_tostring}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"log", run_log}, {NULL, NULL}};
  lua_getglobal(L, "string");
  lua_getfield(L, -1, "format");
  jr_fields_meta(L, RUN_META, meta, methods, run_fields, run_index);
  lua_pop(L, 1);
}
