/* Jobs for the Lua side: taking up a checked declaration, the handle of a job, the run that its
 * function gets, events, and waiting for runs.
 *
 * A job's memory is its handle, a userdata with three user values: the function, the name, and a
 * table {arguments…, n =, tags =} where there is need of one. The registry holds the handle until
 * the job is over; afterwards only the script does.
 *
 * A run's task begins in `entry`, which fetches the function from the handle and calls it; the
 * results are looked at there (jobs.CANCEL) and go no further.
 *
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>
#include <uv.h>

#include "glue.h"
#include "jobs.h"
#include "rt.h"
#include "status.h"

int jr_open_jobs(lua_State *L);

#define JOB_META   "jobrun.job"
#define RUN_META   "jobrun.run"
#define BATCH_META "jobrun.batch"

enum { OF_FUNCTION = 1, OF_NAME, OF_EXTRA }; /* the handle's user values */
enum { NAME_SIZE = 256 };

static const char jobs_key;      /* registry: lightuserdata jr_jobs */
static const char listeners_key; /* registry: {[event + 1] = {function, …}} */
static const char cancel_key;    /* its address is jobs.CANCEL */

static jr_jobs *jobs_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &jobs_key);
  jr_jobs *jobs = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return jobs;
}

static jr_job *check_job(lua_State *L, int arg) {
  jr_job *job = luaL_testudata(L, arg, JOB_META);
  if (!job)
    jr_raise(L, "usage", 0, 1,
             "bad argument #%d: expected a job, got %s (a method is called with ':')", arg,
             luaL_typename(L, arg));
  return job;
}

static void push_seconds(lua_State *L, int64_t ns) {
  lua_pushnumber(L, (lua_Number)ns / 1e9);
}

static void push_name(lua_State *L, const jr_job *job) {
  char name[NAME_SIZE];
  jr_job_name(job, name, sizeof name);
  lua_pushstring(L, name);
}

/* ---- the run that a function gets ---------------------------------------------------------- */

/* A copy of the record, with the job's handle (at `handle`) beside it: it outlives both. */
static void push_run(lua_State *L, int handle, const jr_run_record *record) {
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

/* run:log(fmt, …): a line of the log with the job's name and the run's number */
static int run_log(lua_State *L) {
  const jr_run_record *record = check_run(L, 1);
  luaL_checkstring(L, 2);
  if (lua_gettop(L) > 2) {
    lua_pushvalue(L, lua_upvalueindex(1)); /* string.format */
    lua_insert(L, 2);
    lua_call(L, lua_gettop(L) - 2, 1);
  }
  lua_pushfstring(L, "job \"%s\": run %I: %s", record->job_name, (LUAI_UACINT)record->id,
                  lua_tostring(L, 2));
  size_t len;
  const char *line = lua_tolstring(L, -1, &len);
  jr_log_line(&jr_of(L)->log, JR_LOG_INFO, line, len);
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
  RUN_OUTCOME
};
static const char *const run_fields[] = {"job",     "id",    "due",     "late", "attempt",
                                         "started", "ended", "outcome", NULL};

static void push_instant(lua_State *L, int64_t wall_ns) {
  if (wall_ns == 0)
    lua_pushnil(L);
  else
    push_seconds(L, wall_ns);
}

/* The number (from 1) of a field's name, by the table that is the closure's `upvalue`; else raises.
 */
static int check_field(lua_State *L, const char *what, int upvalue) {
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(upvalue));
  int field = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  if (field == 0)
    jr_raise(L, "usage", 0, 1, "a %s has no field '%s'", what,
             lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2));
  return field;
}

static int run_index(lua_State *L) {
  const jr_run_record *r = check_run(L, 1);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  switch (check_field(L, "run", 2)) {
  case RUN_JOB:
    lua_getiuservalue(L, 1, 1);
    break;
  case RUN_ID:
    lua_pushinteger(L, (lua_Integer)r->id);
    break;
  case RUN_DUE:
    push_seconds(L, r->due_ns);
    break;
  case RUN_LATE:
    push_seconds(L, r->late_ns);
    break;
  case RUN_ATTEMPT:
    lua_pushinteger(L, r->attempt);
    break;
  case RUN_STARTED:
    push_instant(L, r->started_ns);
    break;
  case RUN_ENDED:
    push_instant(L, r->ended_ns);
    break;
  case RUN_OUTCOME:
    lua_pushstring(L, jr_outcome_name(r->outcome));
    break;
  }
  return 1;
}

static int run_tostring(lua_State *L) {
  const jr_run_record *r = check_run(L, 1);
  lua_pushfstring(L, "run %I of job \"%s\"", (LUAI_UACINT)r->id, r->job_name);
  return 1;
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
  if (lua_getiuservalue(L, ENTRY_HANDLE, OF_EXTRA) != LUA_TTABLE) {
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
  lua_getiuservalue(L, ENTRY_HANDLE, OF_FUNCTION);
  int n = push_arguments(L);
  if (run->job->wants_run) {
    push_run(L, ENTRY_HANDLE, &run->record);
    n++;
  }
  lua_callk(L, n, LUA_MULTRET, 0, entry_returned);
  return entry_returned(L, LUA_OK, 0);
}

/* ---- events -------------------------------------------------------------------------------- */

static const char *const event_names[] = {"start", "end", "error", "skip", "late", "timeout", NULL};

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
    push_run(L, -2, news->record);
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

enum add_argument {
  ADD_FUNCTION = 1,
  ADD_NAME,
  ADD_ORDINAL,
  ADD_PERIOD,
  ADD_EXTRA,
  ADD_FLAGS, /* a string of letters */
  ADD_TIMES,
  ADD_TIMEOUT,
  ADD_SPREAD,
  ADD_JITTER,
  ADD_OVERLAP,
  ADD_LIMIT
};

static bool has_flag(lua_State *L, char flag) {
  const char *flags = lua_tostring(L, ADD_FLAGS);
  return flags && strchr(flags, flag);
}

static jr_plan read_plan(lua_State *L) {
  return (jr_plan){.when.period_ns = luaL_checkinteger(L, ADD_PERIOD),
                   .spread_ns = luaL_optinteger(L, ADD_SPREAD, 0),
                   .jitter_ns = luaL_optinteger(L, ADD_JITTER, 0),
                   .timeout_ns = luaL_optinteger(L, ADD_TIMEOUT, 0),
                   .times = (uint64_t)luaL_optinteger(L, ADD_TIMES, 0),
                   .overlap = (uint8_t)luaL_optinteger(L, ADD_OVERLAP, JR_OVERLAP_SKIP),
                   .limit = (uint32_t)luaL_optinteger(L, ADD_LIMIT, 1),
                   .now = has_flag(L, 'n'),
                   .from_end = has_flag(L, 'e'),
                   .paused = has_flag(L, 'p'),
                   .fixed_jitter = has_flag(L, 'j')};
}

/* True if fn, called with `nargs` declared arguments, would see one more. */
static bool takes_more(lua_State *L, int index, lua_Integer nargs) {
  lua_Debug ar;
  lua_pushvalue(L, index);
  lua_getinfo(L, ">u", &ar);
  return ar.isvararg || ar.nparams > nargs;
}

static lua_Integer count_arguments(lua_State *L) {
  if (!lua_istable(L, ADD_EXTRA)) return 0;
  lua_getfield(L, ADD_EXTRA, "n");
  lua_Integer n = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return n;
}

/* add(fn, name, ordinal, period, spread, jitter, timeout, times, overlap, limit, flags, extra) →
 * job. Times in ns, all checked by the caller; flags: n = now, e = from the end, p = paused, j =
 * the jitter is the offset itself; extra: {arguments…, n =, tags =} or nil */
static int jobs_add(lua_State *L) {
  jr_jobs *jobs = jobs_of(L);
  luaL_checktype(L, ADD_FUNCTION, LUA_TFUNCTION);
  const char *name = luaL_checkstring(L, ADD_NAME);
  lua_settop(L, ADD_LIMIT);
  jr_plan plan = read_plan(L);
  jr_job *job = lua_newuserdatauv(L, sizeof *job, 3);
  memset(job, 0, sizeof *job);
  job->name = name;
  job->ordinal = (uint32_t)luaL_optinteger(L, ADD_ORDINAL, 1);
  job->wants_run = takes_more(L, ADD_FUNCTION, count_arguments(L));
  const int from[] = {[OF_FUNCTION] = ADD_FUNCTION, [OF_NAME] = ADD_NAME, [OF_EXTRA] = ADD_EXTRA};
  for (int i = OF_FUNCTION; i <= OF_EXTRA; i++) {
    lua_pushvalue(L, from[i]);
    lua_setiuservalue(L, -2, i);
  }
  luaL_setmetatable(L, JOB_META);
  lua_pushvalue(L, -1);
  job->anchor_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  int status = jr_job_add(jobs, job, &plan);
  if (status == 0) return 1;
  luaL_unref(L, LUA_REGISTRYINDEX, job->anchor_ref);
  return jr_raise_status(L, "job", status);
}

/* site() → source, line: where in the script the caller of our module stands */
static int jobs_site(lua_State *L) {
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
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

/* The wall time of the job's next run, nil if none is planned. */
static void push_next_run(lua_State *L, const jr_job *job) {
  int64_t next = jr_job_next_ns(job);
  jobrun *rt = jr_of(L);
  if (next == JR_NEVER)
    lua_pushnil(L);
  else
    push_seconds(L, jr_clock_wall(rt) + (next - jr_clock_now(rt)));
}

/* idle() → seconds until the next planned run of any job, 0 if it is due; nil if there is none */
static int jobs_idle(lua_State *L) {
  jr_jobs *jobs = jobs_of(L);
  int64_t first = JR_NEVER;
  JR_LIST_EACH (it, &jobs->all) {
    int64_t next = jr_job_next_ns(job_at(it));
    if (next < first) first = next;
  }
  if (first == JR_NEVER) return 0;
  int64_t left = first - jr_clock_now(jr_of(L));
  push_seconds(L, left > 0 ? left : 0);
  return 1;
}

/* runs([most]) → the records of the last ended runs, newest first */
static int jobs_runs(lua_State *L) {
  jr_jobs *jobs = jobs_of(L);
  lua_Integer most = luaL_optinteger(L, 1, jobs->ring.cap);
  lua_newtable(L);
  const jr_run_record *r;
  for (lua_Integer i = 0; i < most && (r = jr_run_ring_get(&jobs->ring, (uint32_t)i)); i++) {
    lua_createtable(L, 0, 8);
    lua_pushstring(L, r->job_name);
    lua_setfield(L, -2, "job");
    lua_pushinteger(L, (lua_Integer)r->id);
    lua_setfield(L, -2, "id");
    lua_pushinteger(L, r->attempt);
    lua_setfield(L, -2, "attempt");
    push_seconds(L, r->due_ns);
    lua_setfield(L, -2, "due");
    push_seconds(L, r->late_ns);
    lua_setfield(L, -2, "late");
    push_seconds(L, r->started_ns);
    lua_setfield(L, -2, "started");
    push_seconds(L, r->ended_ns);
    lua_setfield(L, -2, "ended");
    lua_pushstring(L, jr_outcome_name(r->outcome));
    lua_setfield(L, -2, "outcome");
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* ---- the handle ---------------------------------------------------------------------------- */

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
  if (lua_getiuservalue(L, 1, OF_EXTRA) == LUA_TTABLE && lua_getfield(L, -1, "tags") == LUA_TTABLE)
    return;
  lua_newtable(L);
}

static int job_index(lua_State *L) {
  const jr_job *job = check_job(L, 1);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  switch (check_field(L, "job", 2)) {
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
    push_instant(L, job->last_start_ns);
    break;
  case JOB_LAST_END:
    push_instant(L, job->last_end_ns);
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
  const jr_job *job = check_job(L, 1);
  push_name(L, job);
  lua_pushfstring(L, "job \"%s\" (%s)", lua_tostring(L, -1), jr_job_state_name(job));
  return 1;
}

static int job_cancel(lua_State *L) {
  jr_job_cancel(check_job(L, 1));
  return 0;
}

/* Raises for a status that tells of wrong use. */
static void check_status(lua_State *L, const jr_job *job, const char *op, int status) {
  char name[NAME_SIZE];
  jr_job_name(job, name, sizeof name);
  if (status == JR_EUSAGE)
    jr_raise(L, "usage", 0, 1, "%s: job \"%s\" is %s", op, name, jr_job_state_name(job));
  if (status == JR_ECLOSED)
    jr_raise(L, "closed", JR_ECLOSED, 1, "%s: nothing new is started while the script ends", op);
  if (status < 0 && status != UV_EBUSY) jr_raise_status(L, op, status);
}

static int job_pause(lua_State *L) {
  jr_job *job = check_job(L, 1);
  check_status(L, job, "pause", jr_job_pause(job));
  return 0;
}

static int job_resume(lua_State *L) {
  jr_job *job = check_job(L, 1);
  check_status(L, job, "resume", jr_job_resume(job));
  return 0;
}

/* job:run_now() → true, or false where its limit of runs is reached */
static int job_run_now(lua_State *L) {
  jr_job *job = check_job(L, 1);
  jr_run *run;
  int status = jr_job_start(job, &run);
  check_status(L, job, "run_now", status);
  lua_pushboolean(L, status == 0);
  return 1;
}

/* ---- waiting for runs ---------------------------------------------------------------------- */

/* Runs that somebody started and wants to see ended. The members watch the runs' tasks. */
typedef struct batch {
  jr_wait wait;
  jobrun *rt;
  jr_list members;
  lua_Integer ended, failed;
} batch;

typedef struct member {
  jr_list link;
  jr_watch watch;
  batch *batch;
} member;

static void member_free(member *m) {
  jr_watch_stop(&m->watch);
  jr_list_remove(&m->link);
  jr_mem_free(&m->batch->rt->mem, m, sizeof *m);
}

static void on_member_end(jr_watch *watch, jr_task *task, lua_State *L) {
  (void)L;
  member *m = jr_container_of(watch, member, watch);
  batch *b = m->batch;
  b->ended++;
  if (task->state != JR_TASK_DONE) b->failed++;
  member_free(m);
  if (jr_list_is_empty(&b->members)) jr_wake(&b->wait, 0);
}

static int batch_push(lua_State *L, jr_wait *w) {
  batch *b = jr_container_of(w, batch, wait);
  lua_pushinteger(L, b->ended);
  lua_pushinteger(L, b->failed);
  return 2;
}

/* batch() → a batch of no runs */
static int jobs_batch(lua_State *L) {
  static const jr_wait_ops ops = {.name = "run_all", .push = batch_push};
  batch *b = lua_newuserdatauv(L, sizeof *b, 0);
  *b = (batch){.wait.ops = &ops, .rt = jr_of(L)};
  jr_list_init(&b->members);
  luaL_setmetatable(L, BATCH_META);
  return 1;
}

static int batch_gc(lua_State *L) {
  batch *b = luaL_checkudata(L, 1, BATCH_META);
  JR_LIST_EACH_SAFE (it, &b->members) member_free(jr_container_of(it, member, link));
  return 0;
}

/* start(batch, job): starts a run of the job, or takes the one in its way, into the batch */
static int jobs_start(lua_State *L) {
  batch *b = luaL_checkudata(L, 1, BATCH_META);
  jr_job *job = check_job(L, 2);
  jr_run *run;
  check_status(L, job, "run_all", jr_job_start(job, &run));
  member *m = jr_mem_zalloc(&b->rt->mem, sizeof *m);
  if (!m) return jr_raise_status(L, "run_all", UV_ENOMEM);
  m->batch = b;
  m->watch.on_end = on_member_end;
  jr_list_append(&b->members, &m->link);
  jr_watch_start(run->task, &m->watch);
  return 0;
}

/* join(batch) → how many runs ended, how many of them not well. Suspends until all have. */
static int jobs_join(lua_State *L) {
  batch *b = luaL_checkudata(L, 1, BATCH_META);
  jr_check_park(L, "run_all");
  lua_settop(L, 1); /* the batch stays on the stack, and alive, while its task waits */
  if (jr_list_is_empty(&b->members)) return batch_push(L, &b->wait);
  return jr_park(L, &b->wait);
}

/* ---- the module ---------------------------------------------------------------------------- */

/* Makes a metatable with `meta`, whose __index is a closure of (methods, field numbers). The
 * methods get the value on top (popped) as an upvalue. */
static void make_meta(lua_State *L, const char *name, const luaL_Reg *meta, const luaL_Reg *methods,
                      const char *const *fields, lua_CFunction index) {
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, meta, 0);
  lua_newtable(L);
  lua_pushvalue(L, -3);
  luaL_setfuncs(L, methods, 1);
  lua_newtable(L);
  for (int i = 0; fields[i]; i++) {
    lua_pushinteger(L, i + 1);
    lua_setfield(L, -2, fields[i]);
  }
  lua_pushcclosure(L, index, 2);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 2);
}

static void make_metas(lua_State *L) {
  static const luaL_Reg job_meta[] = {
      {"__newindex", job_newindex}, {"__tostring", job_tostring}, {NULL, NULL}};
  static const luaL_Reg job_methods[] = {{"cancel", job_cancel},
                                         {"run_now", job_run_now},
                                         {"pause", job_pause},
                                         {"resume", job_resume},
                                         {NULL, NULL}};
  static const luaL_Reg run_meta[] = {{"__tostring", run_tostring}, {NULL, NULL}};
  static const luaL_Reg run_methods[] = {{"log", run_log}, {NULL, NULL}};
  lua_pushnil(L);
  make_meta(L, JOB_META, job_meta, job_methods, job_fields, job_index);
  lua_getglobal(L, "string");
  lua_getfield(L, -1, "format");
  lua_remove(L, -2);
  make_meta(L, RUN_META, run_meta, run_methods, run_fields, run_index);
  luaL_newmetatable(L, BATCH_META);
  lua_pushcfunction(L, batch_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}

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
}

int jr_open_jobs(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"add", jobs_add},   {"site", jobs_site}, {"list", jobs_list},   {"idle", jobs_idle},
      {"runs", jobs_runs}, {"on", jobs_on},     {"batch", jobs_batch}, {"start", jobs_start},
      {"join", jobs_join}, {NULL, NULL}};
  if (!jr_of(L))
    return jr_raise(L, "usage", 0, 1, "jobs are declared in the script, not in a blocking call");
  make_metas(L);
  open_trade(L);
  luaL_newlib(L, functions);
  lua_pushlightuserdata(L, (void *)(uintptr_t)&cancel_key);
  lua_setfield(L, -2, "CANCEL");
  return 1;
}
