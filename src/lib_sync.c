/* Waiting for other tasks' doings: the queue under channel, semaphore, event and mutex, and the
 * wait for the first of several tasks, under race.
 *
 * A queue is a FIFO of parked tasks and knows nothing of why they wait; the words' rules are in
 * lua/jobrun/sync.lua. A task that is cancelled leaves its place at once; one that was woken has
 * what it waited for, even if it is cancelled before it runs.
 *
 * SPDX-License-Identifier: MIT */
#include "lib_sync.h"

#include <lauxlib.h>

#include "glue.h"
#include "rt.h"

int jr_open_sync(lua_State *L);

#define QUEUE_META "jobrun.queue"

/* ---- queue --------------------------------------------------------------------------------- */

typedef struct place {
  jr_wait wait;
  jr_list link;
  jr_timer timer; /* on the wall clock */
  jobrun *rt;
} place;

static void place_drop(jr_wait *w) {
  place *p = jr_container_of(w, place, wait);
  jr_list_remove(&p->link);
  jr_wall_timer_stop(p->rt, &p->timer);
  jr_mem_free(&p->rt->mem, p, sizeof *p);
}

static void place_cancel(jr_wait *w) {
  jr_list_remove(&jr_container_of(w, place, wait)->link);
  jr_wake(w, UV_ECANCELED);
}

/* true when woken, false when the time was up */
static int place_push(lua_State *L, jr_wait *w) {
  lua_pushboolean(L, w->status == 0);
  return 1;
}

static const jr_wait_ops place_ops = {
    .name = "queue", .push = place_push, .cancel = place_cancel, .drop = place_drop};

static jr_list *check_queue(lua_State *L) {
  return luaL_checkudata(L, 1, QUEUE_META);
}

static void on_wall(jobrun *rt, jr_timer *timer) {
  place *p = jr_container_of(timer, place, timer);
  (void)rt;
  jr_list_remove(&p->link);
  jr_wake(&p->wait, UV_ETIMEDOUT);
}

/* queue:wait([seconds [, ms]]) → woken; at the longest until the wall clock reads so many ms since
 * 1970, however it is set meanwhile */
static int queue_wait(lua_State *L) {
  jobrun *rt = jr_of(L);
  jr_list *queue = check_queue(L);
  int64_t due = INT64_MAX;
  if (!lua_isnoneornil(L, 2)) due = jr_clock_now(rt) + jr_check_duration(L, 2, "timeout");
  lua_Integer wall_ms = luaL_optinteger(L, 3, INT64_MAX);
  jr_check_park(L, "wait");
  place *p = jr_mem_zalloc(&rt->mem, sizeof *p);
  if (!p) return jr_raise_status(L, "wait", UV_ENOMEM);
  p->timer.fire = on_wall;
  int status = 0;
  if (wall_ms < INT64_MAX / JR_MS) status = jr_wall_timer_start(rt, &p->timer, wall_ms * JR_MS);
  if (status < 0) {
    jr_mem_free(&rt->mem, p, sizeof *p);
    return jr_raise_status(L, "wait", status);
  }
  p->wait.ops = &place_ops;
  p->rt = rt;
  jr_list_append(queue, &p->link);
  return jr_park_until(L, &p->wait, due);
}

int64_t jr_queue_wake(jr_list *queue, int64_t n) {
  int64_t woken = 0;
  while (woken < n && !jr_list_is_empty(queue)) {
    place *p = jr_container_of(queue->next, place, link);
    jr_list_remove(&p->link);
    jr_wake(&p->wait, 0);
    woken++;
  }
  return woken;
}

/* queue:wake([n]) → how many were woken; the longest waiting first */
static int queue_wake(lua_State *L) {
  lua_pushinteger(L, jr_queue_wake(check_queue(L), luaL_optinteger(L, 2, 1)));
  return 1;
}

/* queue:is_empty() */
static int queue_is_empty(lua_State *L) {
  lua_pushboolean(L, jr_list_is_empty(check_queue(L)));
  return 1;
}

/* Whoever waits holds the queue on its stack, so a collected one is empty. */
jr_list *jr_queue_push_new(lua_State *L) {
  jr_list *queue = lua_newuserdatauv(L, sizeof *queue, 0);
  jr_list_init(queue);
  luaL_setmetatable(L, QUEUE_META);
  return queue;
}

static int new_queue(lua_State *L) {
  jr_queue_push_new(L);
  return 1;
}

/* ---- the first of several tasks ------------------------------------------------------------ */

typedef struct first_wait first_wait;

typedef struct runner {
  jr_watch watch;
  first_wait *race;
} runner;

struct first_wait {
  jr_wait wait;
  jobrun *rt;
  int count, winner;
  runner runners[];
};

static void on_runner_end(jr_watch *watch, jr_task *task, lua_State *L) {
  runner *r = jr_container_of(watch, runner, watch);
  (void)task;
  (void)L;
  if (r->race->winner == 0) r->race->winner = (int)(r - r->race->runners) + 1;
  jr_wake(&r->race->wait, 0);
}

static int first_push(lua_State *L, jr_wait *w) {
  lua_pushinteger(L, jr_container_of(w, first_wait, wait)->winner);
  return 1;
}

static size_t first_size(int count) {
  return sizeof(first_wait) + (size_t)count * sizeof(runner);
}

static void first_drop(jr_wait *w) {
  first_wait *f = jr_container_of(w, first_wait, wait);
  for (int i = 0; i < f->count; i++) jr_watch_stop(&f->runners[i].watch);
  jr_mem_free(&f->rt->mem, f, first_size(f->count));
}

static const jr_wait_ops first_ops = {.name = "race", .push = first_push, .drop = first_drop};

/* first(task, ...) → the number of the one that ended first. Failures of those tasks count as
 * seen while this waits. */
static int sync_first(lua_State *L) {
  jobrun *rt = jr_of(L);
  int n = lua_gettop(L);
  jr_check_park(L, "race");
  for (int i = 1; i <= n; i++) {
    if (!jr_task_is_done(jr_task_check(L, i))) continue;
    lua_pushinteger(L, i);
    return 1;
  }
  first_wait *f = jr_mem_zalloc(&rt->mem, first_size(n));
  if (!f) return jr_raise_status(L, "race", UV_ENOMEM);
  f->wait.ops = &first_ops;
  f->rt = rt;
  f->count = n;
  for (int i = 0; i < n; i++) {
    f->runners[i].watch.on_end = on_runner_end;
    f->runners[i].race = f;
    jr_watch_start(jr_task_check(L, i + 1), &f->runners[i].watch);
  }
  return jr_park(L, &f->wait);
}

int jr_open_sync(lua_State *L) {
  static const luaL_Reg functions[] = {{"queue", new_queue}, {"first", sync_first}, {NULL, NULL}};
  static const luaL_Reg methods[] = {
      {"wait", queue_wait}, {"wake", queue_wake}, {"is_empty", queue_is_empty}, {NULL, NULL}};
  luaL_newmetatable(L, QUEUE_META);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
