/* Jobs for the Lua side: taking up a checked declaration, calling a job's function, events, and the
 * jobs seen together.
 *
 * A run's task begins in `entry`, which fetches the function from the job's handle and calls it;
 * the results are looked at there (jobs.CANCEL) and go no further.
 *
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include <lauxlib.h>

#include "fields.h"
#include "glue.h"
#include "jobs.h"
#include "lib_batch.h"
#include "lib_job.h"
#include "lib_policy.h"
#include "lib_run.h"
#include "lib_runs.h"
#include "plan.h"
#include "rt.h"
#include "runs.h"
#include "status.h"

int jr_open_jobs(lua_State *L);

static const char jobs_key;      /* registry: lightuserdata jr_jobs */
static const char listeners_key; /* registry: {[event + 1] = {function, …}} */
static const char repeats_key; /* registry: {[hash of place and interval] = jobs declared there} */
static const char cancel_key;  /* its address is jobs.CANCEL */

static jr_jobs *jobs_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &jobs_key);
  jr_jobs *jobs = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return jobs;
}

/* ---- a run's task -------------------------------------------------------------------------- */

enum { ENTRY_RUN = 1, ENTRY_HANDLE, ENTRY_RESULTS };

static int entry_returned(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  jr_run *run = lua_touserdata(L, ENTRY_RUN);
  if (lua_touserdata(L, ENTRY_RESULTS) == &cancel_key) run->ends_job = true;
  return 0;
}

/* Pushes the declared arguments of the job whose handle is at ENTRY_HANDLE. */
static int push_arguments(lua_State *L) {
  if (lua_getiuservalue(L, ENTRY_HANDLE, JR_JOB_EXTRA) != LUA_TTABLE) {
    lua_pop(L, 1);
    return 0;
  }
  int extra = lua_gettop(L);
  lua_getfield(L, extra, "n");
  int n = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  luaL_checkstack(L, n + 2, "too many arguments");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, extra, i);
  lua_remove(L, extra);
  return n;
}

/* entry(lightuserdata run) */
static int entry(lua_State *L) {
  jr_run *run = lua_touserdata(L, ENTRY_RUN);
  lua_rawgeti(L, LUA_REGISTRYINDEX, run->job->anchor_ref);
  int status = jr_run_begin(run);
  if (status < 0) jr_raise_status(L, "job", status);
  lua_getiuservalue(L, ENTRY_HANDLE, JR_JOB_FUNCTION);
  int n = push_arguments(L);
  if (run->job->wants_run) {
    jr_run_push(L, ENTRY_HANDLE, &run->record);
    n++;
  }
  lua_callk(L, n, LUA_MULTRET, 0, entry_returned);
  return entry_returned(L, LUA_OK, 0);
}

/* ---- events -------------------------------------------------------------------------------- */

static const char *const event_names[] = {"start",   "end",   "error",  "skip", "late",
                                          "timeout", "pause", "resume", NULL};

/* Pushes what a listener gets behind the run: (error), (reason, count), or nothing. */
static int push_details(lua_State *L, const jr_job_news *news) {
  if (news->event == JR_JOB_SKIP) {
    lua_pushstring(L, news->reason);
    lua_pushinteger(L, news->count);
    return 2;
  }
  if (!news->error) return 0;
  luaL_checkstack(news->error, 1, NULL);
  lua_pushvalue(news->error, -1);
  lua_xmove(news->error, L, 1);
  return 1;
}

/* Protected, in the main state: a task of the root for each listener. */
static int spawn_listeners(lua_State *L) {
  const jr_job_news *news = lua_touserdata(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &listeners_key);
  lua_rawgeti(L, -1, news->event + 1);
  int listeners = lua_gettop(L), n = (int)lua_rawlen(L, listeners);
  for (int i = 1; i <= n; i++) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, news->job->anchor_ref);
    lua_rawgeti(L, listeners, i);
    jr_run_push(L, -2, news->record);
    int details = push_details(L, news);
    jr_spawn(L, NULL, 1 + details, 0);
    lua_settop(L, listeners);
  }
  return 0;
}

static void on_event(void *data, const jr_job_news *news) {
  jobrun *rt = data;
  lua_State *L = rt->L;
  if (!lua_checkstack(L, 3)) return;
  lua_pushcfunction(L, spawn_listeners);
  lua_pushlightuserdata(L, (void *)(uintptr_t)news);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return;
  jr_logf(&rt->log, JR_LOG_ERROR, "jobs.on(\"%s\"): the listeners could not be called: %s",
          event_names[news->event], lua_tostring(L, -1));
  lua_pop(L, 1);
}

/* on(event, fn): false where there is no such event */
static int jobs_on(lua_State *L) {
  jr_jobs *jobs = jobs_of(L);
  const char *name = luaL_checkstring(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  int event = 0;
  while (event < JR_JOB_EVENTS && strcmp(event_names[event], name) != 0) event++;
  lua_pushboolean(L, event < JR_JOB_EVENTS);
  if (event == JR_JOB_EVENTS) return 1;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &listeners_key);
  if (lua_rawgeti(L, -1, event + 1) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, event + 1);
  }
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  jobs->listening |= 1u << event;
  lua_settop(L, 3);
  return 1;
}

/* ---- declaring ----------------------------------------------------------------------------- */

enum { ADD_LABEL = 1, ADD_LINE, ADD_UNIT, ADD_PERIOD, ADD_POLICY, ADD_TAGS, ADD_FUNCTION };

/* True if fn, called with `nargs` declared arguments, would see one more. */
static bool takes_more(lua_State *L, int index, int nargs) {
  lua_Debug ar;
  lua_pushvalue(L, index);
  lua_getinfo(L, ">u", &ar);
  return ar.isvararg || ar.nparams > nargs;
}

/* Pushes {arguments…, n =, tags =, policy =}; or what there is if it is the policy alone, or nil.
 */
static void push_extra(lua_State *L, int nargs) {
  if (nargs == 0 && lua_isnil(L, ADD_TAGS)) {
    lua_pushvalue(L, ADD_POLICY);
    return;
  }
  lua_createtable(L, nargs, 3);
  for (int i = 1; i <= nargs; i++) {
    lua_pushvalue(L, ADD_FUNCTION + i);
    lua_rawseti(L, -2, i);
  }
  lua_pushinteger(L, nargs);
  lua_setfield(L, -2, "n");
  lua_pushvalue(L, ADD_TAGS);
  lua_setfield(L, -2, "tags");
  lua_pushvalue(L, ADD_POLICY);
  lua_setfield(L, -2, "policy");
}

/* How many jobs with this interval were declared in this line, this one included. Two places may
 * share a hash, and then a number without need. */
static uint32_t count_repeats(lua_State *L, const jr_label *label, int64_t period_ns) {
  uint64_t key = (uint64_t)(uintptr_t)label->text;
  key = (key ^ (uint64_t)label->line) * UINT64_C(0x9e3779b97f4a7c15);
  key = (key ^ (uint64_t)period_ns ^ label->unit) * UINT64_C(0x9e3779b97f4a7c15);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &repeats_key);
  lua_rawgeti(L, -1, (lua_Integer)key);
  lua_Integer n = lua_tointeger(L, -1) + 1;
  lua_pushinteger(L, n);
  lua_rawseti(L, -3, (lua_Integer)key);
  lua_pop(L, 2);
  return (uint32_t)n;
}

/* add(label, line, unit, period, policy or nil, tags or nil, fn, ...) → job; nil if fn is no
 * function, false if it would never run. label: the name (unit 0), or the source; unit as in
 * `units`; period in ns */
static int jobs_add(lua_State *L) {
  int nargs = lua_gettop(L) - ADD_FUNCTION;
  if (!lua_isfunction(L, ADD_FUNCTION)) return 0;
  int64_t period_ns = luaL_checkinteger(L, ADD_PERIOD);
  const jr_policy *policy = jr_policy_check(L, ADD_POLICY);
  push_extra(L, nargs);
  jr_job *job = jr_job_push_new(L, ADD_FUNCTION, ADD_LABEL, lua_gettop(L));
  job->policy = policy;
  job->label = (jr_label){.text = luaL_checkstring(L, ADD_LABEL),
                          .line = (int32_t)luaL_checkinteger(L, ADD_LINE),
                          .unit = (uint8_t)luaL_checkinteger(L, ADD_UNIT)};
  job->wants_run = takes_more(L, ADD_FUNCTION, nargs);
  if (job->label.unit != JR_UNIT_GIVEN)
    job->label.ordinal = count_repeats(L, &job->label, period_ns);
  lua_pushvalue(L, -1);
  job->anchor_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  int status = jr_job_add(jobs_of(L), job, period_ns);
  if (status == 0) return 1;
  luaL_unref(L, LUA_REGISTRYINDEX, job->anchor_ref);
  if (status == JR_EUSAGE) {
    lua_pushboolean(L, false);
    return 1;
  }
  return jr_raise_status(L, "job", status);
}

/* {word = {number for add, ns}} of all units */
static void push_units(lua_State *L) {
  int64_t ns;
  const char *word;
  lua_newtable(L);
  for (int unit = JR_UNIT_FIRST; (word = jr_unit_word(unit, &ns)); unit++) {
    lua_createtable(L, 2, 0);
    lua_pushinteger(L, unit);
    lua_rawseti(L, -2, 1);
    lua_pushinteger(L, ns);
    lua_rawseti(L, -2, 2);
    lua_setfield(L, -2, word);
  }
}

/* site() → source, line: where in the script the caller of our module stands */
static int jobs_site(lua_State *L) {
  lua_Debug ar;
  for (int level = 2; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline <= 0 || strncmp(ar.source, "@jobrun/", 8) == 0) continue;
    lua_pushstring(L, ar.short_src);
    lua_pushinteger(L, ar.currentline);
    return 2;
  }
  lua_pushliteral(L, "?");
  lua_pushinteger(L, 0);
  return 2;
}

/* ---- looking ------------------------------------------------------------------------------- */

static jr_job *job_at(jr_list *node) {
  return jr_container_of(node, jr_job, link);
}

/* list() → all jobs that have not ended, in order of declaration */
static int jobs_list(lua_State *L) {
  jr_jobs *jobs = jobs_of(L);
  lua_createtable(L, (int)jobs->len, 0);
  lua_Integer n = 0;
  JR_LIST_EACH (it, &jobs->all) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, job_at(it)->anchor_ref);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

/* idle() → seconds until the next planned run of any job, 0 if it is due; nil if there is none */
static int jobs_idle(lua_State *L) {
  jr_jobs *jobs = jobs_of(L);
  int64_t first = JR_NEVER;
  JR_LIST_EACH (it, &jobs->all) {
    int64_t next = jr_job_next_ns(job_at(it));
    if (next < first) first = next;
  }
  if (first == JR_NEVER) {
    lua_pushnil(L);
    return 1;
  }
  int64_t left = first - jr_clock_wall(jr_of(L));
  jr_push_seconds(L, left > 0 ? left : 0);
  return 1;
}

/* hold(): jobs are declared and can be looked at, but none starts by itself */
static int jobs_hold(lua_State *L) {
  jobs_of(L)->held = true;
  return 0;
}

/* An instant of the wall clock on the job's own. */
static int64_t own_clock(const jr_job *job, int64_t wall_ns) {
  return wall_ns - jr_plan_wall(job, 0);
}

/* upcoming(job, after_ns, told) → ns, and what a change of the zone did to it or nil; nil: no more.
 * All of the wall clock; `told`: how many were told before, for a job that ends with its n-th run
 */
static int jobs_upcoming(lua_State *L) {
  static const char *const notes[] = {NULL, "moved", "first", "second"};
  const jr_job *job = jr_job_check(L, 1);
  int64_t after = luaL_checkinteger(L, 2), next;
  uint64_t told = (uint64_t)luaL_checkinteger(L, 3);
  if (job->policy->times && told >= job->policy->times) return 0;
  if (told == 0 && job->policy->now)
    next = job->due_ns;
  else
    next = jr_plan_after(job, own_clock(job, after));
  if (next == JR_NEVER) return 0;
  const jr_rule *rule = job->when.rule;
  lua_pushinteger(L, jr_plan_wall(job, next));
  lua_pushstring(L, rule ? notes[jr_rule_note_of(rule, jr_floor_div(next, JR_SEC))] : NULL);
  return 2;
}

/* zone(job) → the zone of a job of the calendar and its name, or nil */
static int jobs_zone(lua_State *L) {
  const jr_job *job = jr_job_check(L, 1);
  if (!job->when.rule) return 0;
  lua_pushlightuserdata(L, (void *)(uintptr_t)job->when.rule->zone);
  lua_pushstring(L, job->when.rule->zone->name);
  return 2;
}

/* timed_out() → boolean: is the run that this task is of over its time limit? */
static int jobs_timed_out(lua_State *L) {
  const jr_run *run = jr_run_of(jr_of(L)->cur);
  lua_pushboolean(L, run && run->timed_out);
  return 1;
}

/* restore(job, anchor_ns, last_ns, has_from): see jr_job_restore */
static int jobs_restore(lua_State *L) {
  jr_job *job = jr_job_check(L, 1);
  int status =
      jr_job_restore(job, luaL_checkinteger(L, 2), luaL_checkinteger(L, 3), lua_toboolean(L, 4));
  return status < 0 ? jr_raise_status(L, "store", status) : 0;
}

/* start_again(job, due_ns, attempt) → the run's id, or nil where its limit of runs is reached */
static int jobs_start_again(lua_State *L) {
  jr_job *job = jr_job_check(L, 1);
  jr_run *run;
  int status =
      jr_job_start_again(job, luaL_checkinteger(L, 2), (uint32_t)luaL_checkinteger(L, 3), &run);
  jr_job_check_status(L, job, "start_again", status);
  if (status < 0) return 0;
  lua_pushinteger(L, (lua_Integer)run->record.id);
  return 1;
}

/* ---- the module ---------------------------------------------------------------------------- */

static void open_trade(lua_State *L) {
  jr_jobs *jobs;
  jr_jobs_hooks hooks = {.on_event = on_event, .data = jr_of(L)};
  lua_pushcfunction(L, entry);
  hooks.entry_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  int status = jr_jobs_open(jr_of(L), &hooks, &jobs);
  if (status < 0) jr_raise_status(L, "jobs", status);
  lua_pushlightuserdata(L, jobs);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &jobs_key);
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &listeners_key);
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &repeats_key);
}

int jr_open_jobs(lua_State *L) {
  static const luaL_Reg functions[] = {{"add", jobs_add},
                                       {"site", jobs_site},
                                       {"list", jobs_list},
                                       {"idle", jobs_idle},
                                       {"runs", jr_runs_ended},
                                       {"going", jr_runs_going},
                                       {"cancel_run", jr_runs_cancel},
                                       {"hold", jobs_hold},
                                       {"upcoming", jobs_upcoming},
                                       {"zone", jobs_zone},
                                       {"timed_out", jobs_timed_out},
                                       {"restore", jobs_restore},
                                       {"start_again", jobs_start_again},
                                       {"on", jobs_on},
                                       {"on_say", jr_run_on_say},
                                       {"batch", jr_batch_new},
                                       {"start", jr_batch_start},
                                       {"join", jr_batch_join},
                                       {NULL, NULL}};
  if (!jr_of(L))
    return jr_raise(L, "usage", 0, 1, "jobs are declared in the script, not in a blocking call");
  jr_job_meta(L);
  jr_run_meta(L);
  jr_batch_meta(L);
  open_trade(L);
  luaL_newlib(L, functions);
  jr_policy_functions(L);
  lua_pushlightuserdata(L, (void *)(uintptr_t)&cancel_key);
  lua_setfield(L, -2, "CANCEL");
  push_units(L);
  lua_setfield(L, -2, "units");
  return 1;
}
