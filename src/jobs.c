/* Jobs: when a run starts, and what becomes of it.
 *
 *   timer fires ─> due ─> before_pump ─┬─> a run: a task of the root ─> on_run_end ─> record
 *       ^                    │         └─> skipped, queued, or the old run cancelled
 *       └── the next instant ┘
 *
 * No drift. A job's due times are start + k * period from the moment of its declaration. The next
 * one is computed from that, never from when the last run happened to start, so neither lateness
 * nor rounding is ever added up. (.from_end and .to ask for something else and get it.)
 *
 * Never early. The clock fires nothing before its time, and a job is looked at again before it
 * starts: one whose time has not come is armed anew.
 *
 * Missed times. When the loop was busy or the machine slept, several instants may have gone by.
 * How many is one division; they become one run, due at the latest of them, and the others are
 * counted as missed. With jitter an instant counts as gone only when the whole of its window is.
 *
 * Order. A timer only notes that its job is due; the runs start between two turns of the loop,
 * outside of libuv's callbacks, sorted by due time and, within one instant, in the order in which
 * the jobs were declared. `due` has room for every job from its declaration on, so noting cannot
 * fail.
 *
 * Overlap. A due time that finds the job still going (its limit of runs, that is) is decided by
 * the job's policy. Whatever does not run is counted, and logged with its reason: at most two
 * lines a second and job, each with the total, as a job every millisecond would fill the disk.
 *
 * Errors. Each run is a supervised task of its own, so a failure is the affair of its job alone:
 * it is logged here, once, with its traceback, and the schedule goes on.
 *
 * Life. A job ends by cancel, by its number of runs or by its function; its memory is let go when
 * the last run has ended too, for the run points at it.
 *
 * SPDX-License-Identifier: MIT */
#include "jobs.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <uv.h>

#include "duration.h"
#include "glue.h"
#include "log.h"
#include "mem.h"
#include "status.h"

enum { KEPT_RUNS = 512, FIRST_DUE_CAP = 16 };

#define LATE_NS  JR_SEC       /* a run that starts this much after its time is late */
#define QUIET_NS (JR_SEC / 2) /* between two lines about runs that did not happen */

const jr_policy jr_policy_default = {.limit = 1};

/* ---- names and lines ----------------------------------------------------------------------- */

void jr_job_name(const jr_job *job, char *name, size_t size) {
  jr_label_write(&job->label, job->when.period_ns, name, size);
}

const char *jr_job_state_name(const jr_job *job) {
  static const char *const names[] = {"scheduled", "paused", "done", "cancelled"};
  return job->going > 0 ? "running" : names[job->state];
}

static void logf_job(const jr_job *job, jr_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void logf_job(const jr_job *job, jr_log_level level, const char *fmt, ...) {
  char name[256], text[512];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  jr_job_name(job, name, sizeof name);
  jr_logf(&job->jobs->rt->log, level, "job \"%s\": %s", name, text);
}

/* A duration for people: nothing below a millisecond. */
static const char *rough(int64_t ns, char text[JR_DURATION_TEXT]) {
  jr_duration_format(ns >= JR_MS ? ns - ns % JR_MS : ns, text);
  return text;
}

static bool may_speak(jr_job *job, int64_t now) {
  if (now < job->quiet_until_ns) return false;
  job->quiet_until_ns = now + QUIET_NS;
  return true;
}

static void tell(const jr_job_news *news) {
  jr_jobs *jobs = news->job->jobs;
  if (jobs->listening & 1u << news->event) jobs->hooks.on_event(jobs->hooks.data, news);
}

/* ---- due jobs ------------------------------------------------------------------------------ */

static bool comes_before(const jr_job *a, const jr_job *b) {
  return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->id < b->id;
}

static int compare_due(const void *a, const void *b) {
  const jr_job *const *left = a, *const *right = b;
  return comes_before(*left, *right) ? -1 : 1;
}

static int reserve_due(jr_jobs *jobs) {
  if (jobs->len < jobs->due_cap) return 0;
  uint32_t cap = jobs->due_cap ? jobs->due_cap * 2 : FIRST_DUE_CAP;
  size_t size = sizeof(jr_job *);
  jr_job **grown = jr_mem_realloc(&jobs->rt->mem, jobs->due, jobs->due_cap * size, cap * size);
  if (!grown) return UV_ENOMEM;
  jobs->due = grown;
  jobs->due_cap = cap;
  return 0;
}

/* Closes the gaps that unmark_due left. */
static void compact_due(jr_jobs *jobs) {
  uint32_t len = 0;
  for (uint32_t i = 0; i < jobs->due_len; i++) {
    if (!jobs->due[i]) continue;
    jobs->due[len++] = jobs->due[i];
    jobs->due[len - 1]->due_place = len;
  }
  jobs->due_len = len;
}

static void mark_due(jr_job *job) {
  jr_jobs *jobs = job->jobs;
  if (job->due_place) return;
  if (jobs->due_len == jobs->due_cap) compact_due(jobs);
  const jr_job *last = jobs->due_len > 0 ? jobs->due[jobs->due_len - 1] : NULL;
  if (last && comes_before(job, last)) jobs->due_sorted = false;
  jobs->due[jobs->due_len++] = job;
  job->due_place = jobs->due_len;
}

static void unmark_due(jr_job *job) {
  if (!job->due_place) return;
  job->jobs->due[job->due_place - 1] = NULL;
  job->jobs->due_sorted = false; /* the gap hides what is on its other side from mark_due */
  job->due_place = 0;
}

/* Sorts what is due, if the timers did not bring it in order. */
static void sort_due(jr_jobs *jobs) {
  if (jobs->due_sorted) return;
  compact_due(jobs);
  qsort(jobs->due, jobs->due_len, sizeof *jobs->due, compare_due);
  for (uint32_t i = 0; i < jobs->due_len; i++) jobs->due[i]->due_place = i + 1;
  jobs->due_sorted = true;
}

/* ---- the next instant ---------------------------------------------------------------------- */

/* splitmix64: from 0 to `bound`. Each runtime has its own state; under the virtual clock it starts
 * with the same number, so a test sees the same draws each time. */
static int64_t draw(jr_jobs *jobs, int64_t bound) {
  uint64_t z = jobs->random += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return (int64_t)((z ^ z >> 31) % ((uint64_t)bound + 1));
}

static int64_t jitter(jr_job *job) {
  const jr_policy *p = job->policy;
  return p->fixed_jitter || p->jitter_ns == 0 ? p->jitter_ns : draw(job->jobs, p->jitter_ns);
}

/* The rule as it stands for the next interval: the job's own grid, or one that begins with the
 * last planned run (.to) or with the end of the last one (.from_end), `now`. */
static jr_when rule_now(jr_job *job, int64_t now) {
  const jr_policy *p = job->policy;
  jr_when when = job->when;
  if (p->from_end)
    when.start_ns = now;
  else if (p->spread_ns > 0)
    when.start_ns = job->grid_ns;
  if (p->spread_ns > 0) when.period_ns += draw(job->jobs, p->spread_ns);
  return when;
}

/* Up to here the grid is history: an instant whose jitter window is still open is not. */
static int64_t history(const jr_job *job, int64_t now) {
  int64_t past = now - job->policy->jitter_ns;
  return past > job->grid_ns ? past : job->grid_ns;
}

static void compute_next(jr_job *job, int64_t now) {
  jr_when when = rule_now(job, now);
  job->grid_ns = jr_when_next(&when, job->policy->from_end ? now : history(job, now));
  if (__builtin_add_overflow(job->grid_ns, jitter(job), &job->due_ns)) job->due_ns = JR_NEVER;
}

/* 0 or UV_ENOMEM. Nothing to do for a job that has no next instant or waits for none. */
static int arm(jr_job *job) {
  if (job->state != JR_JOB_ACTIVE || job->jobs->stopped || job->due_ns == JR_NEVER) return 0;
  return jr_timer_start(job->jobs->rt, &job->timer, job->due_ns);
}

/* Where the timer finds no memory the job stays among the due ones, and is armed on the next turn.
 */
static void arm_or_mark(jr_job *job) {
  if (arm(job) < 0) mark_due(job);
}

/* How many instants of a fixed grid went by beside the one that is due; *due becomes the latest. */
static int64_t count_missed(const jr_job *job, int64_t now, int64_t *due) {
  const jr_policy *p = job->policy;
  int64_t past = history(job, now);
  if (p->from_end || p->spread_ns > 0) return 0;
  int64_t missed = jr_when_count(&job->when, job->grid_ns, past);
  if (missed > 0) *due = jr_when_last(&job->when, past);
  return missed;
}

/* ---- the end of a job ---------------------------------------------------------------------- */

/* Lets go of a job that is over in every respect. Its memory may be gone afterwards. */
static void release_if_over(jr_job *job) {
  if (job->state < JR_JOB_DONE || job->going > 0 || job->anchor_ref == LUA_NOREF) return;
  int ref = job->anchor_ref;
  job->anchor_ref = LUA_NOREF;
  luaL_unref(job->jobs->rt->L, LUA_REGISTRYINDEX, ref);
}

static void end_job(jr_job *job, jr_job_state state) {
  jr_jobs *jobs = job->jobs;
  if (job->state >= JR_JOB_DONE) return;
  if (job->state == JR_JOB_ACTIVE) jobs->active--;
  job->state = (uint8_t)state;
  job->due_ns = job->queued_ns = JR_NEVER;
  jr_timer_stop(jobs->rt, &job->timer);
  unmark_due(job);
  jr_list_remove(&job->link);
  jobs->len--;
}

void jr_job_cancel(jr_job *job) {
  end_job(job, JR_JOB_CANCELLED);
  release_if_over(job);
}

/* ---- runs that did not happen -------------------------------------------------------------- */

static int64_t wall_of(const jr_job *job, int64_t steady_ns) {
  jobrun *rt = job->jobs->rt;
  return jr_clock_wall(rt) - (jr_clock_now(rt) - steady_ns);
}

static void tell_skip(jr_job *job, const char *reason, int64_t count, int64_t due_ns) {
  jr_run_record record = {.job = job->id, .due_ns = wall_of(job, due_ns)};
  tell(&(jr_job_news){
      .event = JR_JOB_SKIP, .job = job, .record = &record, .reason = reason, .count = count});
}

static void note_missed(jr_job *job, int64_t count, int64_t due_ns, int64_t now) {
  char span[JR_DURATION_TEXT];
  job->missed += (uint64_t)count;
  if (may_speak(job, now))
    logf_job(job, JR_LOG_WARN, "missed %lld due times (nothing could start for %s; %llu in all)",
             (long long)count, rough(now - job->grid_ns, span), (unsigned long long)job->missed);
  tell_skip(job, "missed", count, due_ns);
}

static jr_run *newest_run(const jr_job *job) {
  return jr_container_of(job->runs.prev, jr_run, link);
}

static void note_overlap(jr_job *job, int64_t due_ns, int64_t now) {
  char span[JR_DURATION_TEXT];
  const jr_run *run = newest_run(job);
  job->skipped++;
  if (may_speak(job, now))
    logf_job(job, JR_LOG_WARN, "skipped: run %llu is still going after %s (%llu in all)",
             (unsigned long long)run->record.id, rough(now - run->started_ns, span),
             (unsigned long long)job->skipped);
  tell_skip(job, "overlap", 1, due_ns);
}

/* ---- a run begins -------------------------------------------------------------------------- */

static void on_run_end(jr_watch *watch, jr_task *task, lua_State *L);

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

static int push_run(lua_State *L, void *run) {
  lua_pushlightuserdata(L, run);
  return 1;
}

static jr_run *run_new(jr_job *job, int64_t due_ns, int64_t now) {
  jr_run *run = jr_mem_zalloc(&job->jobs->rt->mem, sizeof *run);
  if (!run) return NULL;
  run->watch = (jr_watch){.on_end = on_run_end, .name = on_name};
  run->deadline.fire = on_deadline;
  run->job = job;
  run->due_ns = due_ns;
  run->started_ns = now;
  run->record = (jr_run_record){.id = ++job->jobs->last_run, .job = job->id, .attempt = 1};
  jr_job_name(job, run->record.job_name, JR_RUN_NAME);
  return run;
}

static void run_free(jr_run *run) {
  jr_mem_free(&run->job->jobs->rt->mem, run, sizeof *run);
}

/* Makes the run's task. A run that cannot be made counts as failed and the schedule goes on. */
static int open_run(jr_job *job, int64_t due_ns, int64_t now, jr_run **out) {
  jr_jobs *jobs = job->jobs;
  jr_run *run = run_new(job, due_ns, now);
  int status = UV_ENOMEM;
  if (run)
    status =
        jr_spawn_ref(jobs->rt, jobs->hooks.entry_ref, push_run, run, JR_SPAWN_OBSERVED, &run->task);
  if (status < 0) {
    job->failed++;
    logf_job(job, JR_LOG_ERROR, "a run could not be started: %s", jr_status_text(status));
    if (run) run_free(run);
    return status;
  }
  jr_watch_start(run->task, &run->watch);
  jr_list_append(&job->runs, &run->link);
  job->going++;
  if (++job->runs_started == job->policy->times) end_job(job, JR_JOB_DONE);
  if (out) *out = run;
  return 0;
}

static void note_begin(jr_run *run, int64_t now) {
  jr_job *job = run->job;
  run->begun = true;
  run->started_ns = now;
  run->record.late_ns = now - run->due_ns;
  run->record.started_ns = job->last_start_ns = jr_clock_wall(job->jobs->rt);
  run->record.due_ns = run->record.started_ns - run->record.late_ns;
  const jr_run_sink *sink = &job->jobs->sink, *observer = &job->jobs->rt->observer;
  if (sink->begin) sink->begin(sink->data, &run->record);
  if (observer->begin) observer->begin(observer->data, &run->record);
}

int jr_run_begin(jr_run *run) {
  jr_job *job = run->job;
  jobrun *rt = job->jobs->rt;
  note_begin(run, jr_clock_now(rt));
  tell(&(jr_job_news){.event = JR_JOB_START, .job = job, .record = &run->record});
  if (run->record.late_ns >= LATE_NS)
    tell(&(jr_job_news){.event = JR_JOB_LATE, .job = job, .record = &run->record});
  if (job->policy->timeout_ns == 0) return 0;
  int64_t due;
  if (__builtin_add_overflow(run->started_ns, job->policy->timeout_ns, &due)) return 0;
  return jr_timer_start(rt, &run->deadline, due);
}

/* ---- a due time ---------------------------------------------------------------------------- */

/* A due time found the job at its limit of runs. */
static void meet_overlap(jr_job *job, int64_t due_ns, int64_t now) {
  bool waits = job->queued_ns != JR_NEVER;
  switch ((jr_overlap)job->policy->overlap) {
  case JR_OVERLAP_QUEUE:
    if (waits) break;
    job->queued_ns = due_ns;
    return;
  case JR_OVERLAP_CANCEL:
    if (waits) note_overlap(job, job->queued_ns, now);
    job->queued_ns = due_ns;
    jr_task_cancel(newest_run(job)->task, "the next run of its job is due");
    return;
  case JR_OVERLAP_SKIP:
  case JR_OVERLAP_ALLOW:
    break;
  }
  note_overlap(job, due_ns, now);
}

static void plan_next(jr_job *job, int64_t now) {
  compute_next(job, now);
  arm_or_mark(job);
}

static void on_due_time(jr_job *job, int64_t now) {
  int64_t due = job->due_ns, missed = count_missed(job, now, &due);
  if (missed > 0) note_missed(job, missed, due, now);
  if (!job->policy->from_end) plan_next(job, now);
  if (job->going >= job->policy->limit) {
    meet_overlap(job, due, now);
  } else if (open_run(job, due, now, NULL) < 0 && job->policy->from_end) {
    plan_next(job, now); /* no end will come to count from */
  }
}

static void on_timer(jobrun *rt, jr_timer *timer) {
  (void)rt;
  mark_due(jr_container_of(timer, jr_job, timer));
}

/* What is marked again meanwhile lands behind the reading place, see arm_or_mark. */
static void before_pump(jobrun *rt, jr_trade *trade) {
  jr_jobs *jobs = jr_container_of(trade, jr_jobs, trade);
  if (jobs->due_len == 0) return;
  sort_due(jobs);
  int64_t now = jr_clock_now(rt);
  uint32_t len = jobs->due_len;
  jobs->due_len = 0;
  for (uint32_t i = 0; i < len; i++) {
    jr_job *job = jobs->due[i];
    if (!job) continue;
    job->due_place = 0;
    if (job->due_ns > now)
      arm_or_mark(job);
    else
      on_due_time(job, now);
  }
}

/* ---- a run ends ---------------------------------------------------------------------------- */

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

/* Protected: (lightuserdata run, error) → logs it with its traceback. */
static int log_error(lua_State *L) {
  const jr_run *run = lua_touserdata(L, 1);
  char name[256];
  jr_job_name(run->job, name, sizeof name);
  jr_error_text(L, 2);
  lua_pushfstring(L, "job \"%s\": run %I failed: %s", name, (LUAI_UACINT)run->record.id,
                  lua_tostring(L, -1));
  size_t len;
  const char *line = lua_tolstring(L, -1, &len);
  jr_log_line(&run->job->jobs->rt->log, JR_LOG_ERROR, line, len);
  return 0;
}

static void report_error(const jr_run *run, lua_State *L) {
  bool has_error = lua_gettop(L) > 0 && lua_checkstack(L, 4);
  if (has_error) {
    lua_pushcfunction(L, log_error);
    lua_pushlightuserdata(L, (void *)(uintptr_t)run);
    lua_pushvalue(L, -3);
    if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
    lua_pop(L, 1);
  }
  logf_job(run->job, JR_LOG_ERROR, "run %llu failed: %s", (unsigned long long)run->record.id,
           jr_status_text(UV_ENOMEM));
}

/* Counts and logs what went wrong. */
static void judge(jr_run *run, lua_State *L) {
  jr_job *job = run->job;
  char limit[JR_DURATION_TEXT];
  unsigned long long id = run->record.id;
  switch (run->record.outcome) {
  case JR_RUN_ERROR:
    job->failed++;
    report_error(run, L);
    break;
  case JR_RUN_TIMEOUT:
    job->failed++;
    logf_job(job, JR_LOG_ERROR, "run %llu timed out after %s", id,
             rough(job->policy->timeout_ns, limit));
    break;
  case JR_RUN_CANCELLED:
    logf_job(job, JR_LOG_INFO, "run %llu was cancelled: %s", id,
             job->jobs->rt->reasons[run->task->reason]);
    break;
  default:
    break;
  }
}

static void tell_end(const jr_run *run, lua_State *L) {
  jr_job_news news = {.event = JR_JOB_END, .job = run->job, .record = &run->record};
  if (run->record.outcome == JR_RUN_ERROR) {
    news.event = JR_JOB_ERROR;
    news.error = lua_gettop(L) > 0 ? L : NULL;
    tell(&news);
    news.event = JR_JOB_END;
  } else if (run->record.outcome == JR_RUN_TIMEOUT) {
    news.event = JR_JOB_TIMEOUT;
    tell(&news);
    news.event = JR_JOB_END;
  }
  tell(&news);
}

/* A run was waiting, or the next interval begins now. */
static void go_on(jr_job *job, int64_t now) {
  int64_t queued = job->queued_ns;
  if (queued != JR_NEVER && job->going < job->policy->limit) {
    job->queued_ns = JR_NEVER;
    open_run(job, queued, now, NULL);
  }
  if (job->policy->from_end && job->going == 0 && job->state == JR_JOB_ACTIVE) plan_next(job, now);
}

static void on_run_end(jr_watch *watch, jr_task *task, lua_State *L) {
  jr_run *run = jr_container_of(watch, jr_run, watch);
  jr_job *job = run->job;
  jr_jobs *jobs = job->jobs;
  int64_t now = jr_clock_now(jobs->rt);
  jr_timer_stop(jobs->rt, &run->deadline);
  if (!run->begun) note_begin(run, now);
  run->record.outcome = outcome_of(run, task);
  run->record.ended_ns = run->record.started_ns + (now - run->started_ns);
  job->last_end_ns = run->record.ended_ns;
  jr_list_remove(&run->link);
  job->going--;
  judge(run, L);
  const jr_run_sink *observer = &jobs->rt->observer;
  if (jobs->sink.end) jobs->sink.end(jobs->sink.data, &run->record);
  if (observer->end) observer->end(observer->data, &run->record);
  tell_end(run, L);
  if (run->ends_job && run->record.outcome == JR_RUN_OK) end_job(job, JR_JOB_DONE);
  run_free(run);
  go_on(job, now);
  release_if_over(job);
}

int jr_job_start(jr_job *job, jr_run **out) {
  jobrun *rt = job->jobs->rt;
  if (job->state >= JR_JOB_DONE) return JR_EUSAGE;
  if (rt->phase > JR_PHASE_HOOKS) return JR_ECLOSED;
  if (job->going >= job->policy->limit) {
    *out = newest_run(job);
    return UV_EBUSY;
  }
  int64_t now = jr_clock_now(rt);
  return open_run(job, now, now, out);
}

/* ---- life ---------------------------------------------------------------------------------- */

int64_t jr_job_next_ns(const jr_job *job) {
  bool is_planned = jr_heap_holds(&job->timer.node) || job->due_place;
  return is_planned && job->state == JR_JOB_ACTIVE ? job->due_ns : JR_NEVER;
}

int jr_job_add(jr_jobs *jobs, jr_job *job, int64_t period_ns) {
  int64_t now = jr_clock_now(jobs->rt);
  if (reserve_due(jobs) < 0) return UV_ENOMEM;
  job->jobs = jobs;
  job->when = (jr_when){.start_ns = now, .period_ns = period_ns};
  job->grid_ns = job->due_ns = now;
  job->queued_ns = JR_NEVER;
  job->timer.fire = on_timer;
  job->state = job->policy->paused ? JR_JOB_PAUSED : JR_JOB_ACTIVE;
  jr_list_init(&job->runs);
  if (!job->policy->now) compute_next(job, now);
  if (arm(job) < 0) return UV_ENOMEM;
  jr_list_append(&jobs->all, &job->link);
  job->id = ++jobs->last_id;
  jobs->len++;
  if (!job->policy->paused) jobs->active++;
  return 0;
}

int jr_job_pause(jr_job *job) {
  if (job->state >= JR_JOB_DONE) return JR_EUSAGE;
  if (job->state == JR_JOB_PAUSED) return 0;
  job->state = JR_JOB_PAUSED;
  job->jobs->active--;
  job->queued_ns = JR_NEVER;
  jr_timer_stop(job->jobs->rt, &job->timer);
  unmark_due(job);
  return 0;
}

int jr_job_resume(jr_job *job) {
  if (job->state >= JR_JOB_DONE) return JR_EUSAGE;
  if (job->state == JR_JOB_ACTIVE) return 0;
  job->state = JR_JOB_ACTIVE;
  compute_next(job, jr_clock_now(job->jobs->rt));
  if ((!job->policy->from_end || job->going == 0) && arm(job) < 0) {
    job->state = JR_JOB_PAUSED;
    return UV_ENOMEM;
  }
  job->jobs->active++;
  return 0;
}

static void stop(jobrun *rt, jr_trade *trade) {
  jr_jobs *jobs = jr_container_of(trade, jr_jobs, trade);
  jobs->stopped = true;
  JR_LIST_EACH (it, &jobs->all) {
    jr_job *job = jr_container_of(it, jr_job, link);
    job->queued_ns = JR_NEVER;
    jr_timer_stop(rt, &job->timer);
    unmark_due(job);
  }
}

static bool is_busy(jobrun *rt, jr_trade *trade) {
  (void)rt;
  jr_jobs *jobs = jr_container_of(trade, jr_jobs, trade);
  return jobs->active > 0 && !jobs->stopped;
}

static void trade_free(jobrun *rt, jr_trade *trade) {
  jr_jobs *jobs = jr_container_of(trade, jr_jobs, trade);
  jr_run_ring_fini(&jobs->ring);
  jr_mem_free(&rt->mem, jobs->due, jobs->due_cap * sizeof *jobs->due);
  jr_mem_free(&rt->mem, jobs, sizeof *jobs);
}

jr_jobs *jr_jobs_find(jobrun *rt) {
  JR_LIST_EACH (it, &rt->trades) {
    jr_trade *trade = jr_container_of(it, jr_trade, link);
    if (trade->free == trade_free) return jr_container_of(trade, jr_jobs, trade);
  }
  return NULL;
}

int jr_jobs_open(jobrun *rt, const jr_jobs_hooks *hooks, jr_jobs **out) {
  jr_jobs *jobs = jr_mem_zalloc(&rt->mem, sizeof *jobs);
  if (!jobs) return UV_ENOMEM;
  jobs->trade =
      (jr_trade){.stop = stop, .is_busy = is_busy, .before_pump = before_pump, .free = trade_free};
  jobs->rt = rt;
  jobs->hooks = *hooks;
  jobs->due_sorted = true;
  jobs->random = rt->clock.is_virtual ? 1 : uv_hrtime();
  jr_list_init(&jobs->all);
  jr_run_ring_init(&jobs->ring, &rt->mem, KEPT_RUNS);
  jobs->sink = jr_run_ring_sink(&jobs->ring);
  jr_list_append(&rt->trades, &jobs->trade.link);
  *out = jobs;
  return 0;
}
