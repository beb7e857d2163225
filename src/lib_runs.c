/* Runs looked at from outside.
 *
 * SPDX-License-Identifier: MIT */
#include "lib_runs.h"

#include <lauxlib.h>

#include "fields.h"
#include "jobs.h"
#include "rt.h"
#include "runs.h"

static void set_integer(lua_State *L, const char *key, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, key);
}

static void push_record(lua_State *L, const jr_run_record *r) {
  lua_createtable(L, 0, 8);
  lua_pushstring(L, r->job_name);
  lua_setfield(L, -2, "job");
  set_integer(L, "id", r->id);
  set_integer(L, "attempt", r->attempt);
  jr_push_instant(L, r->due_ns);
  lua_setfield(L, -2, "due");
  jr_push_seconds(L, r->late_ns);
  lua_setfield(L, -2, "late");
  jr_push_instant(L, r->started_ns);
  lua_setfield(L, -2, "started");
  jr_push_instant(L, r->ended_ns);
  lua_setfield(L, -2, "ended");
  lua_pushstring(L, jr_outcome_name(r->outcome));
  lua_setfield(L, -2, "outcome");
}

int jr_runs_ended(lua_State *L) {
  const jr_run_ring *ring = &jr_jobs_find(jr_of(L))->ring;
  lua_Integer most = luaL_optinteger(L, 1, ring->cap);
  lua_newtable(L);
  const jr_run_record *r;
  for (lua_Integer i = 0; i < most && (r = jr_run_ring_get(ring, (uint32_t)i)); i++) {
    push_record(L, r);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static void push_going(lua_State *L, jr_list *jobs) {
  JR_LIST_EACH (it, jobs) {
    JR_LIST_EACH (at, &jr_container_of(it, jr_job, link)->runs) {
      push_record(L, &jr_container_of(at, jr_run, link)->record);
      lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
  }
}

int jr_runs_going(lua_State *L) {
  jr_jobs *jobs = jr_jobs_find(jr_of(L));
  lua_newtable(L);
  push_going(L, &jobs->all);
  push_going(L, &jobs->leaving);
  return 1;
}

static jr_run *find(jr_list *jobs, uint64_t id) {
  JR_LIST_EACH (it, jobs) {
    JR_LIST_EACH (at, &jr_container_of(it, jr_job, link)->runs) {
      jr_run *run = jr_container_of(at, jr_run, link);
      if (run->record.id == id) return run;
    }
  }
  return NULL;
}

int jr_runs_cancel(lua_State *L) {
  uint64_t id = (uint64_t)luaL_checkinteger(L, 1);
  jr_jobs *jobs = jr_jobs_find(jr_of(L));
  jr_run *run = find(&jobs->all, id);
  if (!run) run = find(&jobs->leaving, id);
  if (run) jr_run_cancel(run, "it was cancelled by request");
  lua_pushboolean(L, run != NULL);
  return 1;
}
