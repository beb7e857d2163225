/* The life of a script: its phases, from the first task to the last.
 *
 *   RUN ──(script ended | stop asked | main failed)──> HOOKS ──> DRAIN ──> CANCEL ──> END
 *
 * RUN    until the main task, all other tasks and all active jobs are done.
 * HOOKS  nothing new is started; the on.stop hooks run in a task, last registered first.
 * DRAIN  what still runs may end, within what is left of the grace.
 * CANCEL what is left was cancelled and cleans up: FORCE_NS at most, then it is abandoned.
 * END    no task is left.
 *
 * The phases move in life_step, which each turn of the loop calls; nothing here blocks. Stop
 * requests come from any thread: they only raise an atomic count and wake the loop.
 *
 * SPDX-License-Identifier: MIT */
#include "life.h"

#include <lauxlib.h>

#include "glue.h"
#include "service.h"
#include "status.h"

#define GRACE_NS (10 * JR_SEC)
#define FORCE_NS (20 * JR_SEC)

void jr_life_error(jobrun *rt, const char *text, size_t len) {
  char *copy = jr_mem_dup(&rt->mem, text, len);
  jr_mem_free(&rt->mem, rt->error, rt->error_size);
  rt->error = copy;
  rt->error_size = copy ? len + 1 : 0;
}

static void on_main_end(jr_watch *watch, jr_task *task, lua_State *L) {
  jobrun *rt = jr_of(L);
  jr_host *h = jr_host_of(rt);
  (void)watch;
  h->main = NULL;
  if (task->state != JR_TASK_FAILED) return;
  h->main_failed = true;
  bool is_usage = !h->loaded && jr_error_is(L, -1, "usage");
  rt->exit_code = is_usage ? 2 : 1;
  if (is_usage)
    luaL_tolstring(L, -1, NULL); /* it names the line; how we got there is no help */
  else
    jr_error_text(L, -1);
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  jr_life_error(rt, text, len);
  lua_pop(L, 1);
}

/* The loaded hooks fail as the main chunk does; a stop hook's error must not keep us from ending.
 */
static void on_helper_end(jr_watch *watch, jr_task *task, lua_State *L) {
  jobrun *rt = jr_of(L);
  jr_host *h = jr_host_of(rt);
  if (rt->phase == JR_PHASE_RUN) {
    jr_task *main = h->main;
    h->loaded = false; /* a usage error found at the end of loading is one of loading */
    on_main_end(watch, task, L);
    h->main = main;
    h->loaded = true;
    if (h->main_failed && main) jr_task_cancel(main, "the script does not load");
    if (!h->main_failed) jr_service_ready(rt);
  } else if (task->state == JR_TASK_FAILED) {
    jr_error_text(L, -1);
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    jr_log_line(&rt->log, JR_LOG_ERROR, text, len);
    lua_pop(L, 1);
    rt->failed = true;
  }
  h->helper = NULL;
}

static int push_why(lua_State *L, void *why) {
  lua_pushstring(L, why);
  return 1;
}

/* Starts life.loaded(nil) or life.stopping(why) as a task. */
static void start_helper(jobrun *rt, const char *why) {
  jr_host *h = jr_host_of(rt);
  jr_watch_stop(&h->helper_watch);
  int flags = JR_SPAWN_OBSERVED | JR_SPAWN_BEGINS; /* with no grace at all, stop hooks begin */
  int status = jr_spawn_ref(rt, h->life_ref, push_why, (void *)(uintptr_t)why, flags, &h->helper);
  if (status < 0)
    h->helper = NULL;
  else
    jr_watch_start(h->helper, &h->helper_watch);
}

static void on_grace(jobrun *rt, jr_timer *timer) {
  (void)timer;
  jr_host_of(rt)->grace_over = true;
  uv_async_send(&rt->post);
}

static void start_grace(jobrun *rt, int64_t ns) {
  jr_host_of(rt)->grace_over = ns <= 0;
  if (ns > 0 && jr_timer_start(rt, &rt->grace, jr_clock_now(rt) + ns) < 0)
    jr_host_of(rt)->grace_over = true;
}

static void begin_stop(jobrun *rt, const char *why) {
  jr_host *h = jr_host_of(rt);
  int64_t asked = atomic_load(&h->asked_grace_ns);
  rt->phase = JR_PHASE_HOOKS;
  jr_service_stopping(rt);
  JR_LIST_EACH (it, &rt->trades) {
    jr_trade *trade = jr_container_of(it, jr_trade, link);
    if (trade->stop) trade->stop(rt, trade);
  }
  if (asked >= 0) rt->grace_ns = asked;
  start_grace(rt, rt->grace_ns);
  start_helper(rt, why);
}

static void cancel_all(jobrun *rt, const char *reason) {
  rt->phase = JR_PHASE_CANCEL;
  for (jr_link *it = rt->root->children.first; it; it = it->next)
    jr_task_cancel(jr_container_of(it, jr_task, sibling), reason);
  start_grace(rt, FORCE_NS);
}

static void end(jobrun *rt) {
  rt->phase = JR_PHASE_END;
  jr_timer_stop(rt, &rt->grace);
  uv_unref((uv_handle_t *)&rt->post);
}

static bool is_idle(jobrun *rt) {
  if (!jr_chain_is_empty(&rt->root->children)) return false;
  JR_LIST_EACH (it, &rt->trades) {
    jr_trade *trade = jr_container_of(it, jr_trade, link);
    if (trade->is_busy && trade->is_busy(rt, trade)) return false;
  }
  return true;
}

static void note_loaded(jobrun *rt) {
  jr_host *h = jr_host_of(rt);
  if (h->loaded || h->main_failed || rt->holds > 0) return;
  if (h->main && h->main->state == JR_TASK_READY && lua_status(h->main->co) == LUA_OK) return;
  if (h->main && h->main->wait && h->main->wait->ops->loads) return;
  h->loaded = true;
  start_helper(rt, NULL);
}

/* True if a phase changed, so that the caller looks again. */
static bool life_step(jobrun *rt) {
  jr_host *h = jr_host_of(rt);
  jr_phase before = rt->phase;
  int stops = atomic_load(&h->stops);
  if (!h->started && stops == 0) return false; /* a host turns its loop before it has a script */
  bool at_once = stops > 1 || atomic_load(&h->stop_at_once);
  switch (rt->phase) {
  case JR_PHASE_RUN:
    note_loaded(rt);
    if (h->main_failed)
      begin_stop(rt, "error");
    else if (stops > 0)
      begin_stop(rt, h->exits ? "done" : "signal");
    else if (h->loaded && is_idle(rt))
      begin_stop(rt, "done");
    break;
  case JR_PHASE_HOOKS:
  case JR_PHASE_DRAIN:
    if (at_once) {
      cancel_all(rt, "the script was told to stop at once");
    } else if (h->grace_over) {
      /* Who gave none has nothing that was to be finished. */
      if (rt->grace_ns > 0 && !jr_chain_is_empty(&rt->root->children)) {
        jr_logf(&rt->log, JR_LOG_WARN, "the grace is over: cancelling %u task(s) that still run",
                rt->tasks);
        rt->exit_code = 124;
      }
      cancel_all(rt, "the grace is over");
    } else if (jr_chain_is_empty(&rt->root->children)) {
      end(rt);
    } else if (!h->helper) {
      rt->phase = JR_PHASE_DRAIN;
    }
    break;
  case JR_PHASE_CANCEL:
    if (jr_chain_is_empty(&rt->root->children)) {
      end(rt);
    } else if (h->grace_over) {
      jr_logf(&rt->log, JR_LOG_ERROR, "%u task(s) did not end after they were cancelled: abandoned",
              rt->tasks);
      end(rt);
    }
    break;
  case JR_PHASE_END:
    break;
  }
  return rt->phase != before;
}

static void before_pump(jobrun *rt) {
  JR_LIST_EACH (it, &rt->trades) {
    jr_trade *trade = jr_container_of(it, jr_trade, link);
    if (trade->before_pump) trade->before_pump(rt, trade);
  }
}

/* Each turn of the loop, before and after the poll. Under the virtual clock the turn goes on as
 * long as jumping makes something ready, within the same budget as the pump's. */
static void turn(jobrun *rt) {
  int64_t end_ns = (int64_t)uv_hrtime() + JR_MS;
  for (;;) {
    before_pump(rt);
    bool more = jr_pump(rt);
    bool moved = life_step(rt);
    if (moved) continue;
    if (rt->ready_first && !more) continue; /* life_step made a task: it runs before time jumps */
    if (more || !rt->clock.is_virtual || rt->operations || !jr_clock_has_deadline(rt)) return;
    if ((int64_t)uv_hrtime() >= end_ns) {
      uv_async_send(&rt->post); /* come back after the poll */
      return;
    }
    jr_clock_run_due(rt, true);
  }
}

/* A host that turns its loop itself is inside the runtime all the same: it may not be freed now. */
static void on_turn(jobrun *rt) {
  bool was_running = rt->running;
  if (rt->cur) return;
  rt->running = true;
  int64_t began_ns = rt->turns ? (int64_t)uv_hrtime() : 0;
  turn(rt);
  if (rt->turns && began_ns)
    jr_histogram_add(rt->turns, jr_meter_delay_bounds, (int64_t)uv_hrtime() - began_ns);
  rt->running = was_running;
}

/* os.exit of a script; and the end of a runtime that is freed while its script runs. */
static void request_stop(jobrun *rt, int64_t grace_ns) {
  jr_host *h = jr_host_of(rt);
  h->exits = true;
  if (grace_ns == 0) atomic_store(&h->stop_at_once, true);
  if (grace_ns >= 0) atomic_store(&h->asked_grace_ns, grace_ns);
  if (atomic_load(&h->stops) == 0) atomic_store(&h->stops, 1);
  uv_async_send(&rt->post);
}

void jr_life_init(jobrun *rt) {
  jr_host *h = jr_host_of(rt);
  h->main_watch.on_end = on_main_end;
  h->helper_watch.on_end = on_helper_end;
  rt->grace_ns = GRACE_NS;
  rt->grace.fire = on_grace;
  rt->on_turn = on_turn;
  rt->request_stop = request_stop;
}
