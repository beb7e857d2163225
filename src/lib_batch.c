/* Runs that somebody started and wants to see ended: each member watches a run.
 *
 * SPDX-License-Identifier: MIT */
#include "lib_batch.h"

#include <lauxlib.h>
#include <uv.h>

#include "glue.h"
#include "jobs.h"
#include "lib_job.h"
#include "rt.h"

#define BATCH_META "jobrun.batch"

typedef struct batch {
  jr_wait wait;
  jobrun *rt;
  jr_list members;
  lua_Integer ended, failed;
} batch;

typedef struct member {
  jr_list link;
  jr_run_watch watch;
  batch *batch;
} member;

static void member_free(member *m) {
  jr_chain_remove(&m->watch.link);
  jr_list_remove(&m->link);
  jr_mem_free(&m->batch->rt->mem, m, sizeof *m);
}

static void on_member_end(jr_run_watch *watch, const jr_run *run) {
  member *m = jr_container_of(watch, member, watch);
  batch *b = m->batch;
  b->ended++;
  if (run->record.outcome != JR_RUN_OK) b->failed++;
  member_free(m);
  if (jr_list_is_empty(&b->members)) jr_wake(&b->wait, 0);
}

static int batch_push(lua_State *L, jr_wait *w) {
  batch *b = jr_container_of(w, batch, wait);
  lua_pushinteger(L, b->ended);
  lua_pushinteger(L, b->failed);
  return 2;
}

int jr_batch_new(lua_State *L) {
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

/* A run that waited for itself, or for one it is a part of, would wait for ever. */
static bool is_within(const jr_task *inner, const jr_task *outer) {
  while (inner && inner != outer) inner = inner->parent;
  return inner == outer;
}

int jr_batch_start(lua_State *L) {
  batch *b = luaL_checkudata(L, 1, BATCH_META);
  jr_job *job = jr_job_check(L, 2);
  jr_run *run;
  jr_job_check_status(L, job, "run_all", jr_job_start(job, &run));
  if (run->task && is_within(b->rt->cur, run->task)) return 0;
  member *m = jr_mem_zalloc(&b->rt->mem, sizeof *m);
  if (!m) return jr_raise_status(L, "run_all", UV_ENOMEM);
  m->batch = b;
  m->watch.on_end = on_member_end;
  jr_list_append(&b->members, &m->link);
  jr_run_watch_start(run, &m->watch);
  return 0;
}

int jr_batch_join(lua_State *L) {
  batch *b = luaL_checkudata(L, 1, BATCH_META);
  jr_check_park(L, "run_all");
  lua_settop(L, 1); /* the batch stays on the stack, and alive, while its task waits */
  if (jr_list_is_empty(&b->members)) return batch_push(L, &b->wait);
  return jr_park(L, &b->wait);
}

void jr_batch_meta(lua_State *L) {
  luaL_newmetatable(L, BATCH_META);
  lua_pushcfunction(L, batch_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}
