/* The handle of a job.
 *
 * SPDX-License-Identifier: MIT */
#include "lib_job.h"

#include <string.h>

#include <lauxlib.h>
#include <uv.h>

#include "fields.h"
#include "glue.h"
#include "rt.h"
#include "status.h"

#define JOB_META "jobrun.job"

enum { NAME_SIZE = 256 };

jr_job *jr_job_check(lua_State *L, int arg) {
  jr_job *job = luaL_testudata(L, arg, JOB_META);
  if (!job)
    jr_raise(L, "usage", 0, 1,
             "bad argument #%d: expected a job, got %s (a method is called with ':')", arg,
             luaL_typename(L, arg));
  return job;
}

jr_job *jr_job_push_new(lua_State *L, int function, int label, int extra) {
  jr_job *job = lua_newuserdatauv(L, sizeof *job, 3);
  memset(job, 0, sizeof *job);
  lua_pushvalue(L, function);
  lua_setiuservalue(L, -2, JR_JOB_FUNCTION);
  lua_pushvalue(L, label);
  lua_setiuservalue(L, -2, JR_JOB_LABEL);
  lua_pushvalue(L, extra);
  lua_setiuservalue(L, -2, JR_JOB_EXTRA);
  luaL_setmetatable(L, JOB_META);
  return job;
}

/* ---- fields -------------------------------------------------------------------------------- */

static void push_name(lua_State *L, const jr_job *job) {
  char name[NAME_SIZE];
  jr_job_name(job, name, sizeof name);
  lua_pushstring(L, name);
}

/* The wall time of the job's next run, nil if none is planned. */
static void push_next_run(lua_State *L, const jr_job *job) {
  int64_t next = jr_job_next_ns(job);
  if (next == JR_NEVER)
    lua_pushnil(L);
  else
    jr_push_seconds(L, next);
}

enum job_field {
  JOB_NAME = 1,
  JOB_TAGS,
  JOB_NEXT_RUN,
  JOB_LAST_START,
  JOB_LAST_END,
  JOB_RUNS,
  JOB_FAILS,
  JOB_SKIPS,
  JOB_MISSED,
  JOB_STATE
};
static const char *const job_fields[] = {"name",     "tags",  "next_run", "last_start",
                                         "last_end", "runs",  "fails",    "skips",
                                         "missed",   "state", NULL};

static void push_tags(lua_State *L) {
  if (lua_getiuservalue(L, 1, JR_JOB_EXTRA) == LUA_TTABLE &&
      lua_getfield(L, -1, "tags") == LUA_TTABLE)
    return;
  lua_newtable(L);
}

static int job_index(lua_State *L) {
  const jr_job *job = jr_job_check(L, 1);
  switch (jr_fields_find(L, "job")) {
  case JOB_NAME:
    push_name(L, job);
    break;
  case JOB_TAGS:
    push_tags(L);
    break;
  case JOB_NEXT_RUN:
    push_next_run(L, job);
    break;
  case JOB_LAST_START:
    jr_push_instant(L, job->last_start_ns);
    break;
  case JOB_LAST_END:
    jr_push_instant(L, job->last_end_ns);
    break;
  case JOB_RUNS:
    lua_pushinteger(L, (lua_Integer)job->runs_started);
    break;
  case JOB_FAILS:
    lua_pushinteger(L, (lua_Integer)job->failed);
    break;
  case JOB_SKIPS:
    lua_pushinteger(L, (lua_Integer)job->skipped);
    break;
  case JOB_MISSED:
    lua_pushinteger(L, (lua_Integer)job->missed);
    break;
  case JOB_STATE:
    lua_pushstring(L, jr_job_state_name(job));
    break;
  }
  return 1;
}

static int job_newindex(lua_State *L) {
  return jr_raise(L, "usage", 0, 1, "the fields of a job cannot be set (%s)",
                  lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2));
}

static int job_tostring(lua_State *L) {
  const jr_job *job = jr_job_check(L, 1);
  push_name(L, job);
  lua_pushfstring(L, "job \"%s\" (%s)", lua_tostring(L, -1), jr_job_state_name(job));
  return 1;
}

/* ---- methods ------------------------------------------------------------------------------- */

static int job_cancel(lua_State *L) {
  jr_job_cancel(jr_job_check(L, 1));
  return 0;
}

void jr_job_check_status(lua_State *L, const jr_job *job, const char *op, int status) {
  char name[NAME_SIZE];
  jr_job_name(job, name, sizeof name);
  if (status == JR_EUSAGE)
    jr_raise(L, "usage", 0, 1, "%s: job \"%s\" is %s", op, name, jr_job_state_name(job));
  if (status == JR_ECLOSED)
    jr_raise(L, "closed", JR_ECLOSED, 1, "%s: nothing new is started while the script ends", op);
  if (status < 0 && status != UV_EBUSY) jr_raise_status(L, op, status);
}

static int job_pause(lua_State *L) {
  jr_job *job = jr_job_check(L, 1);
  jr_job_check_status(L, job, "pause", jr_job_pause(job));
  return 0;
}

static int job_resume(lua_State *L) {
  jr_job *job = jr_job_check(L, 1);
  jr_job_check_status(L, job, "resume", jr_job_resume(job));
  return 0;
}

/* job:run_now() → true and the run's id, or false where its limit of runs is reached */
static int job_run_now(lua_State *L) {
  jr_job *job = jr_job_check(L, 1);
  jr_run *run;
  int status = jr_job_start(job, &run);
  jr_job_check_status(L, job, "run_now", status);
  lua_pushboolean(L, status == 0);
  if (status < 0) return 1;
  lua_pushinteger(L, (lua_Integer)run->record.id);
  return 2;
}

void jr_job_meta(lua_State *L) {
  static const luaL_Reg meta[] = {
      {"__newindex", job_newindex}, {"__tostring", job_tostring}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"cancel", job_cancel},
                                     {"run_now", job_run_now},
                                     {"pause", job_pause},
                                     {"resume", job_resume},
                                     {NULL, NULL}};
  lua_pushnil(L);
  jr_fields_meta(L, JOB_META, meta, methods, job_fields, job_index);
}
