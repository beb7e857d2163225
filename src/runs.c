/* The life of a run: from the decision to start it, over its attempts, to its end.
 *
 *   open ──> a task of the root ──> its end ──┬──> judged, recorded, told; the job goes on
 *              ^                              │
 *              └── after a pause, attempt + 1 ┘  failed or timed out, with .retry
 *
 * Each attempt is a supervised task of its own, so a failure is the affair of its job alone: it is
 * logged here, once, with its traceback, and the schedule goes on. A run that waits to be tried
 * again is one that goes on, for the job's limit of runs and for whoever waits for it; but it does
 * not wait beyond the job's next planned run, unless it was told to.
 *
 * SPDX-License-Identifier: MIT */
#include "runs.h"

#include <stdio.h>

#include <lauxlib.h>
#include <uv.h>

#include "glue.h"
#include "jobnews.h"
#include "plan.h"
#include "rt.h"
#include "status.h"

#define LATE_NS JR_SEC /* a run that starts this much after its time is late */

jr_run *jr_run_newest(const jr_job *job) {
  return jr_container_of(job->runs.prev, jr_run, link);
}

/* ---- a run begins -------------------------------------------------------------------------- */

static void on_attempt_end(jr_watch *watch, jr_task *task, lua_State *L);

static void on_deadline(jobrun *rt, jr_timer *timer) {
  (void)rt;
  jr_run *run = jr_container_of(timer, jr_run, deadline);
  run->timed_out = true;
  jr_task_cancel(run->task, "the time limit of the job's run is over");
}

static void on_name(jr_watch *watch, char *text, size_t size) {
  const jr_run *run = jr_container_of(watch, jr_run, watch);
  char name[256];
  jr_job_name(run->job, name, sizeof name);
  snprintf(text, size, "job \"%s\", run %llu", name, (unsigned long long)run->record.id);
}

const jr_run *jr_run_of(const jr_task *task) {
  for (; task; task = task->parent)
    for (jr_link *it = task->watches.first; it; it = it->next) {
      jr_watch *watch = jr_container_of(it, jr_watch, link);
      if (watch->on_end == on_attempt_end) return jr_container_of(watch, jr_run, watch);
    }
  return NULL;
}

static int push_run(lua_State *L, void *run) {
  lua_pushlightuserdata(L, run);
  return 1;
}

static jr_run *run_new(jr_job *job, int64_t due) {
  jr_run *run = jr_mem_zalloc(&job->jobs->rt->mem, sizeof *run);
  if (!run) return NULL;
  run->watch = (jr_watch){.on_end = on_attempt_end, .name = on_name};
  run->job = job;
  run->due_ns = due;
  run->started_ns = jr_clock_now(job->jobs->rt);
  jr_list_init(&run->waiting);
  run->record = (jr_run_record){.id = ++job->jobs->last_run, .job = job->id, .attempt = 1};
  jr_job_name(job, run->record.job_name, JR_RUN_NAME);
  return run;
}

static void run_free(jr_run *run) {
  jr_mem_free(&run->job->jobs->rt->mem, run, sizeof *run);
}

/* Makes the task of an attempt. */
static int start_attempt(jr_run *run) {
  jr_jobs *jobs = run->job->jobs;
  run->deadline.fire = on_deadline;
  run->timed_out = false;
  int status =
      jr_spawn_ref(jobs->rt, jobs->hooks.entry_ref, push_run, run, JR_SPAWN_OBSERVED, &run->task);
  if (status == 0) jr_watch_start(run->task, &run->watch);
  return status;
}

int jr_run_open(jr_job *job, int64_t due, jr_run **out) {
  jr_run *run = run_new(job, due);
  int status = run ? start_attempt(run) : UV_ENOMEM;
  if (status < 0) {
    job->failed++;
    jr_job_logf(job, JR_LOG_ERROR, "a run could not be started: %s", jr_status_text(status));
    if (run) run_free(run);
    return status;
  }
  jr_list_append(&job->runs, &run->link);
  job->going++;
  if (++job->runs_started == job->policy->times) jr_job_end(job, JR_JOB_DONE);
  if (out) *out = run;
  return 0;
}

/* The first attempt has the processor. */
static void note_begin(jr_run *run) {
  jr_job *job = run->job;
  run->begun = true;
  run->record.late_ns = jr_job_now(job) - run->due_ns;
  run->record.due_ns = jr_plan_wall(job, run->due_ns);
  run->record.started_ns = job->last_start_ns = run->record.due_ns + run->record.late_ns;
  jr_job_figures *figures = jr_job_meter(job);
  if (figures) jr_job_figures_begin(figures, &run->record);
  const jr_run_sink *sink = &job->jobs->sink, *observer = &job->jobs->rt->observer;
  if (sink->begin) sink->begin(sink->data, &run->record);
  if (observer->begin) observer->begin(observer->data, &run->record);
}

int jr_run_begin(jr_run *run) {
  jr_job *job = run->job;
  jobrun *rt = job->jobs->rt;
  run->started_ns = jr_clock_now(rt);
  if (!run->begun) note_begin(run);
  if (rt->log.level == JR_LOG_DEBUG)
    jr_run_logf(run, JR_LOG_DEBUG, "start", "starts, attempt %u", run->record.attempt);
  jr_job_tell(&(jr_job_news){.event = JR_JOB_START, .job = job, .record = &run->record});
  if (run->record.attempt == 1 && run->record.late_ns >= LATE_NS)
    jr_job_tell(&(jr_job_news){.event = JR_JOB_LATE, .job = job, .record = &run->record});
  if (job->policy->timeout_ns == 0) return 0;
  int64_t due;
  if (__builtin_add_overflow(run->started_ns, job->policy->timeout_ns, &due)) return 0;
  return jr_timer_start(rt, &run->deadline, due);
}

/* ---- how it went ------------------------------------------------------------------------------
 */

static jr_outcome outcome_of(const jr_run *run, const jr_task *task) {
  switch (task->state) {
  case JR_TASK_DONE:
    return JR_RUN_OK;
  case JR_TASK_CANCELLED:
    return run->timed_out ? JR_RUN_TIMEOUT : JR_RUN_CANCELLED;
  default:
    return JR_RUN_ERROR;
  }
}

/* An exit status is worth a field of its own. */
static void note_exit_code(lua_State *L, int index, jr_log_event *line) {
  int is_integer = 0;
  if (lua_type(L, index) != LUA_TTABLE) return;
  lua_pushliteral(L, "exit_code");
  lua_rawget(L, index);
  lua_Integer code = lua_tointegerx(L, -1, &is_integer);
  line->has_exit_code = is_integer;
  line->exit_code = (int)code;
  lua_pop(L, 1);
}

/* Protected: (lightuserdata run, what follows, error) → logs it with its traceback. */
static int log_error(lua_State *L) {
  const jr_run *run = lua_touserdata(L, 1);
  const char *then = lua_tostring(L, 2);
  jr_log_event line = {.level = JR_LOG_ERROR, .event = *then ? NULL : "end"};
  note_exit_code(L, 3, &line);
  jr_error_text(L, 3);
  lua_pushfstring(L, "run %I failed%s: %s", (LUAI_UACINT)run->record.id, then, lua_tostring(L, -1));
  line.text = lua_tolstring(L, -1, &line.len);
  jr_run_log(run, &line);
  return 0;
}

/* `L` has the error on top, or is NULL. */
static void report_error(const jr_run *run, lua_State *L, const char *then) {
  if (L && lua_gettop(L) > 0 && lua_checkstack(L, 4)) {
    lua_pushcfunction(L, log_error);
    lua_pushlightuserdata(L, (void *)(uintptr_t)run);
    lua_pushstring(L, then);
    lua_pushvalue(L, -4);
    if (lua_pcall(L, 3, 0, 0) == LUA_OK) return;
    lua_pop(L, 1);
  }
  jr_run_logf(run, JR_LOG_ERROR, *then ? NULL : "end", "failed%s: %s", then,
              jr_status_text(UV_ENOMEM));
}

static void tell_failure(const jr_run *run, lua_State *L) {
  jr_job_news news = {.event = JR_JOB_ERROR, .job = run->job, .record = &run->record};
  if (run->record.outcome == JR_RUN_TIMEOUT)
    news.event = JR_JOB_TIMEOUT;
  else
    news.error = L && lua_gettop(L) > 0 ? L : NULL;
  jr_job_tell(&news);
}

/* Logs and tells an attempt that failed; `then` says what follows. */
static void report(const jr_run *run, lua_State *L, const char *then) {
  char limit[JR_DURATION_TEXT];
  if (run->record.outcome == JR_RUN_TIMEOUT)
    jr_run_logf(run, JR_LOG_ERROR, *then ? NULL : "end", "timed out after %s%s",
                jr_job_rough(run->job->policy->timeout_ns, limit), then);
  else
    report_error(run, L, then);
  tell_failure(run, L);
}

/* ---- trying again ---------------------------------------------------------------------------- */

static void finish(jr_run *run);

/* The pause after this attempt: backoff * factor^(n - 1), at most max_ns, give or take the jitter.
 */
static int64_t pause_after(jr_run *run) {
  const jr_retry *r = &run->job->policy->retry;
  double ns = (double)r->backoff_ns;
  for (uint32_t n = 1; n < run->record.attempt && ns < (double)r->max_ns; n++) ns *= r->factor;
  if (ns > (double)r->max_ns) ns = (double)r->max_ns;
  int64_t spread = (int64_t)(ns * r->jitter);
  return (int64_t)ns - spread + (spread > 0 ? jr_plan_draw(run->job->jobs, 2 * spread) : 0);
}

/* Would that be at or after the job's next planned run? */
static bool crosses(const jr_job *job, int64_t pause_ns) {
  int64_t next = job->state == JR_JOB_ACTIVE && !job->policy->from_end ? job->due_ns : JR_NEVER;
  return next != JR_NEVER && next - jr_job_now(job) <= pause_ns;
}

static void on_retry(jobrun *rt, jr_timer *timer) {
  jr_run *run = jr_container_of(timer, jr_run, deadline);
  (void)rt;
  run->record.attempt++;
  jr_list_remove(&run->waiting);
  if (start_attempt(run) == 0) return;
  report(run, NULL, "");
  finish(run);
}

/* True where the run waits for its next attempt now. */
static bool try_again(jr_run *run, lua_State *L) {
  jr_job *job = run->job;
  const jr_retry *r = &job->policy->retry;
  char pause[JR_DURATION_TEXT], then[160];
  if (run->record.attempt >= r->attempts) return false;
  if (job->state == JR_JOB_CANCELLED || job->jobs->stopped) return false;
  int64_t ns = pause_after(run);
  if (!r->cross && crosses(job, ns)) {
    report(run, L, ", not tried again: the next run comes first");
    run->is_reported = true;
    return false;
  }
  run->deadline.fire = on_retry;
  if (jr_timer_start(job->jobs->rt, &run->deadline, jr_clock_now(job->jobs->rt) + ns) < 0)
    return false;
  snprintf(then, sizeof then, " (attempt %u of %u), tried again in %s", run->record.attempt,
           r->attempts, jr_job_rough(ns, pause));
  report(run, L, then);
  jr_job_figures *figures = jr_job_meter(job);
  if (figures) figures->retries++;
  run->task = NULL;
  jr_list_append(&job->jobs->waiting, &run->waiting);
  return true;
}

/* ---- a run ends ---------------------------------------------------------------------------- */

static void tell_watches(jr_run *run) {
  while (!jr_chain_is_empty(&run->watches)) {
    jr_run_watch *watch = jr_container_of(run->watches.first, jr_run_watch, link);
    jr_chain_remove(&watch->link);
    watch->on_end(watch, run);
  }
}

/* Everything has been reported. The run, and maybe the job, are gone afterwards. */
static void finish(jr_run *run) {
  jr_job *job = run->job;
  jr_jobs *jobs = job->jobs;
  const jr_run_sink *observer = &jobs->rt->observer;
  jr_timer_stop(jobs->rt, &run->deadline);
  if (run->record.outcome == JR_RUN_ERROR || run->record.outcome == JR_RUN_TIMEOUT) job->failed++;
  job->last_end_ns = run->record.ended_ns;
  jr_list_remove(&run->link);
  jr_list_remove(&run->waiting);
  job->going--;
  jr_job_figures *figures = jr_job_meter(job);
  if (figures) jr_job_figures_end(figures, &run->record);
  if (jobs->sink.end) jobs->sink.end(jobs->sink.data, &run->record);
  if (observer->end) observer->end(observer->data, &run->record);
  jr_job_tell(&(jr_job_news){.event = JR_JOB_END, .job = job, .record = &run->record});
  tell_watches(run);
  if (run->ends_job && run->record.outcome == JR_RUN_OK) jr_job_end(job, JR_JOB_DONE);
  run_free(run);
  jr_job_go_on(job);
}

static void on_attempt_end(jr_watch *watch, jr_task *task, lua_State *L) {
  jr_run *run = jr_container_of(watch, jr_run, watch);
  jr_job *job = run->job;
  jobrun *rt = job->jobs->rt;
  jr_timer_stop(rt, &run->deadline);
  if (!run->begun) note_begin(run);
  run->record.outcome = outcome_of(run, task);
  run->record.ended_ns = jr_clock_wall(rt);
  if (run->record.attempt == 1)
    run->record.ended_ns = run->record.started_ns + (jr_clock_now(rt) - run->started_ns);
  bool failed = run->record.outcome == JR_RUN_ERROR || run->record.outcome == JR_RUN_TIMEOUT;
  if (failed && try_again(run, L)) return;
  if (failed && !run->is_reported) report(run, L, "");
  if (run->record.outcome == JR_RUN_CANCELLED)
    jr_run_logf(run, JR_LOG_INFO, "end", "was cancelled: %s", rt->reasons[task->reason]);
  if (run->record.outcome == JR_RUN_OK && rt->log.level == JR_LOG_DEBUG)
    jr_run_logf(run, JR_LOG_DEBUG, "end", "ended");
  finish(run);
}

void jr_run_cancel(jr_run *run, const char *reason) {
  if (run->task) {
    jr_task_cancel(run->task, reason);
    return;
  }
  run->record.outcome = JR_RUN_CANCELLED;
  jr_run_logf(run, JR_LOG_INFO, "end", "was cancelled: %s", reason);
  finish(run);
}

void jr_runs_give_up(jr_jobs *jobs, const jr_job *job) {
  JR_LIST_EACH_SAFE (it, &jobs->waiting) {
    jr_run *run = jr_container_of(it, jr_run, waiting);
    if (job && run->job != job) continue;
    jr_run_logf(run, JR_LOG_WARN, "end", "is not tried again: the job has ended");
    finish(run);
  }
}
