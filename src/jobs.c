/* Jobs: when a run starts.
 *
 *   timer fires ─> due ─> before_pump ─┬─> a run (runs.c) ─> its end ─> go_on
 *       ^                    │         └─> skipped, queued, or the old run cancelled
 *       └── the next instant (plan.c)
 *
 * Never early. The clock fires nothing before its time, and a job is looked at again before it
 * starts: one whose time has not come is armed anew.
 *
 * Missed times. When the loop was busy, the machine slept or its clock was set forward, several
 * instants may have gone by. How many is one question to the plan; they become one run, due at the
 * latest of them, and the others are counted as missed; or as .catchup says. With jitter an instant
 * counts as gone only when the whole of its window is.
 *
 * Order. A timer only notes that its job is due; the runs start between two turns of the loop,
 * outside of libuv's callbacks, sorted by due time and, within one instant, in the order in which
 * the jobs were declared. `due` has room for every job from its declaration on, so noting cannot
 * fail.
 *
 * Overlap. A due time that finds the job still going (its limit of runs, that is) is decided by
 * the job's policy. Whatever does not run is counted, and logged with its reason.
 *
 * Life. A job ends by cancel, by its number of runs, by its last due time or by its function; its
 * memory is let go when the last run has ended too, for the run points at it.
 *
 * SPDX-License-Identifier: MIT */
#include "jobs.h"

#include <stdlib.h>

#include <lauxlib.h>
#include <uv.h>

#include "civil.h"
#include "jobnews.h"
#include "mem.h"
#include "plan.h"
#include "runs.h"
#include "stamp.h"
#include "status.h"
#include "zonebook.h"

enum { KEPT_RUNS = 512, FIRST_DUE_CAP = 16 };

#define NONE_LATE_NS JR_SEC /* what a run of a job without catch-up may be late */

const jr_policy jr_policy_default = {.limit = 1};

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

static void disarm(jr_job *job) {
  if (job->when.rule)
    jr_wall_timer_stop(job->jobs->rt, &job->timer);
  else
    jr_timer_stop(job->jobs->rt, &job->timer);
}

/* 0 or a negative status. Nothing to do for a job that has no next instant or waits for none. */
static int arm(jr_job *job) {
  jobrun *rt = job->jobs->rt;
  if (job->jobs->held || job->jobs->stopped) return 0;
  if (job->state != JR_JOB_ACTIVE || job->due_ns == JR_NEVER) return 0;
  return job->when.rule ? jr_wall_timer_start(rt, &job->timer, job->due_ns)
                        : jr_timer_start(rt, &job->timer, job->due_ns);
}

/* Where the timer finds no memory the job stays among the due ones, and is armed on the next turn.
 */
static void arm_or_mark(jr_job *job) {
  if (arm(job) < 0) mark_due(job);
}

/* There is no next instant: the job has come to its end, but for what it is to run yet. */
static void run_out(jr_job *job) {
  int64_t queued = job->queued_ns, until = job->catch_until_ns;
  jr_job_end(job, JR_JOB_DONE);
  job->queued_ns = queued;
  job->catch_until_ns = until;
}

static void plan_next(jr_job *job, int64_t now) {
  if (job->state != JR_JOB_ACTIVE) return;
  jr_plan_next(job, now);
  if (job->due_ns == JR_NEVER)
    run_out(job);
  else
    arm_or_mark(job);
}

/* ---- the end of a job ---------------------------------------------------------------------- */

/* Lets go of a job that is over in every respect. Its memory may be gone afterwards. */
jr_job_figures *jr_job_figures_get(jr_job *job) {
  if (!job->figures) job->figures = jr_mem_zalloc(&job->jobs->rt->mem, sizeof *job->figures);
  return job->figures;
}

static void drop_figures(jr_job *job) {
  if (!job->figures) return;
  jr_mem_free(&job->jobs->rt->mem, job->figures, sizeof *job->figures);
  job->figures = NULL;
}

static void release_if_over(jr_job *job) {
  if (job->state < JR_JOB_DONE || job->going > 0 || job->anchor_ref == LUA_NOREF) return;
  drop_figures(job);
  jr_list_remove(&job->link);
  int ref = job->anchor_ref;
  job->anchor_ref = LUA_NOREF;
  luaL_unref(job->jobs->rt->L, LUA_REGISTRYINDEX, ref);
}

void jr_job_end(jr_job *job, jr_job_state state) {
  jr_jobs *jobs = job->jobs;
  if (job->state >= JR_JOB_DONE) return;
  if (job->state == JR_JOB_ACTIVE) jobs->active--;
  job->state = (uint8_t)state;
  job->due_ns = job->queued_ns = job->catch_until_ns = JR_NEVER;
  disarm(job);
  unmark_due(job);
  jr_list_remove(&job->link);
  if (job->going > 0) jr_list_append(&jobs->leaving, &job->link);
  jobs->len--;
}

void jr_job_cancel(jr_job *job) {
  int ref = job->anchor_ref;
  jr_job_end(job, JR_JOB_CANCELLED);
  if (ref == LUA_NOREF) return;
  job->going++; /* what ends meanwhile does not take the job with it */
  jr_runs_give_up(job->jobs, job);
  job->going--;
  release_if_over(job);
}

static void end_without_run(jr_job *job) {
  jr_job_end(job, JR_JOB_DONE);
  release_if_over(job);
}

/* ---- a due time ---------------------------------------------------------------------------- */

/* A due time found the job at its limit of runs. */
static void meet_overlap(jr_job *job, int64_t due) {
  bool waits = job->queued_ns != JR_NEVER;
  switch ((jr_overlap)job->policy->overlap) {
  case JR_OVERLAP_QUEUE:
    if (waits) break;
    job->queued_ns = due;
    return;
  case JR_OVERLAP_CANCEL:
    if (waits) jr_job_note_overlap(job, job->queued_ns);
    job->queued_ns = due;
    jr_run_cancel(jr_run_newest(job), "the next run of its job is due");
    return;
  case JR_OVERLAP_SKIP:
  case JR_OVERLAP_ALLOW:
    break;
  }
  jr_job_note_overlap(job, due);
}

static bool is_catching_up(const jr_job *job) {
  return job->catch_until_ns != JR_NEVER && job->caught_ns < job->catch_until_ns;
}

/* Starts the runs that are to be caught up, as far as the limit of runs lets it. */
static void catch_up(jr_job *job) {
  while (is_catching_up(job) && job->going < job->policy->limit) {
    int64_t due = jr_plan_after(job, job->caught_ns);
    if (due > job->catch_until_ns) due = job->catch_until_ns;
    job->caught_ns = due;
    jr_run_open(job, due, NULL);
  }
}

/* The instants from the due one to `latest` are to be caught up, as many of them as may be. */
static void begin_catching_up(jr_job *job, int64_t latest, int64_t missed, int64_t now) {
  const jr_policy *p = job->policy;
  int64_t from = job->grid_ns - 1, first = latest;
  if (p->catch_ns && now - p->catch_ns - 1 > from) from = now - p->catch_ns - 1;
  if (p->most_caught) {
    for (uint32_t n = 1; n < p->most_caught && first > from; n++) {
      int64_t before = jr_when_last(&job->when, first - 1);
      if (before == JR_NEVER || before <= from) break;
      first = before;
    }
    from = first - 1;
  }
  int64_t dropped = missed + 1 - jr_when_count(&job->when, from, latest);
  if (dropped > 0) jr_job_note_missed(job, dropped, from, now);
  job->caught_ns = from;
  job->catch_until_ns = latest;
}

static bool is_too_late(const jr_job *job, int64_t due, int64_t now) {
  const jr_policy *p = job->policy;
  if (p->grace_ns) return now - due > p->grace_ns;
  return p->catchup == JR_CATCHUP_NONE && now - due > NONE_LATE_NS;
}

static void start_due(jr_job *job, int64_t due, int64_t now) {
  if (is_too_late(job, due, now))
    jr_job_note_late(job, due, now);
  else if (job->going >= job->policy->limit)
    meet_overlap(job, due);
  else if (jr_run_open(job, due, NULL) == 0)
    return;
  if (job->policy->from_end && job->going == 0) plan_next(job, now); /* no end to count from */
}

static void on_due_time(jr_job *job, int64_t now) {
  int64_t due = job->due_ns, missed = jr_plan_missed(job, now, &due);
  bool catches = job->policy->catchup == JR_CATCHUP_ALL;
  if (catches && is_catching_up(job))
    job->catch_until_ns = due;
  else if (catches && missed > 0)
    begin_catching_up(job, due, missed, now);
  else if (missed > 0)
    jr_job_note_missed(job, missed, due, now);
  if (!job->policy->from_end) plan_next(job, now);
  if (is_catching_up(job))
    catch_up(job);
  else
    start_due(job, due, now);
  release_if_over(job);
}

static void on_timer(jobrun *rt, jr_timer *timer) {
  (void)rt;
  mark_due(jr_container_of(timer, jr_job, timer));
}

/* What is marked again meanwhile lands behind the reading place, see arm_or_mark. */
static void before_pump(jobrun *rt, jr_trade *trade) {
  (void)rt;
  jr_jobs *jobs = jr_container_of(trade, jr_jobs, trade);
  if (jobs->due_len == 0) return;
  sort_due(jobs);
  uint32_t len = jobs->due_len;
  jobs->due_len = 0;
  for (uint32_t i = 0; i < len; i++) {
    jr_job *job = jobs->due[i];
    if (!job) continue;
    job->due_place = 0;
    int64_t now = jr_job_now(job);
    if (job->due_ns > now)
      arm_or_mark(job);
    else
      on_due_time(job, now);
  }
}

/* ---- after a run ------------------------------------------------------------------------------
 */

/* A run was waiting, or the next interval begins now. */
void jr_job_go_on(jr_job *job) {
  int64_t queued = job->queued_ns;
  if (queued != JR_NEVER && job->going < job->policy->limit) {
    job->queued_ns = JR_NEVER;
    jr_run_open(job, queued, NULL);
  }
  catch_up(job);
  if (job->policy->from_end && job->going == 0 && job->state == JR_JOB_ACTIVE)
    plan_next(job, jr_job_now(job));
  release_if_over(job);
}

static int start_beside(jr_job *job, int64_t due, jr_run **out) {
  jobrun *rt = job->jobs->rt;
  if (job->state >= JR_JOB_DONE) return JR_EUSAGE;
  if (rt->phase > JR_PHASE_HOOKS) return JR_ECLOSED;
  if (job->going >= job->policy->limit) {
    *out = jr_run_newest(job);
    return UV_EBUSY;
  }
  return jr_run_open(job, due, out);
}

int jr_job_start(jr_job *job, jr_run **out) {
  int status = start_beside(job, jr_job_now(job), out);
  if (status == 0) (*out)->record.by_hand = true;
  return status;
}

int jr_job_start_again(jr_job *job, int64_t due_ns, uint32_t attempt, jr_run **out) {
  int status = start_beside(job, jr_plan_instant(job, due_ns), out);
  if (status == 0) (*out)->record.attempt = attempt;
  return status;
}

void jr_run_watch_start(jr_run *run, jr_run_watch *watch) {
  jr_chain_push(&run->watches, &watch->link);
}

/* ---- the wall clock was set ------------------------------------------------------------------ */

static bool has_calendar(const jr_jobs *jobs) {
  JR_LIST_EACH (it, &jobs->all)
    if (jr_container_of(it, jr_job, link)->when.rule) return true;
  return false;
}

static void on_step(jobrun *rt, int64_t by_ns) {
  jr_jobs *jobs = jr_jobs_find(rt);
  char span[JR_DURATION_TEXT];
  if (has_calendar(jobs))
    jr_logf(&rt->log, JR_LOG_INFO, "the clock was set %s by %s: jobs of the calendar follow it",
            by_ns < 0 ? "back" : "forward", jr_job_rough(by_ns < 0 ? -by_ns : by_ns, span));
  JR_LIST_EACH_SAFE (it, &jobs->all) {
    jr_job *job = jr_container_of(it, jr_job, link);
    if (!jr_plan_step(job, by_ns)) continue;
    if (job->due_ns != JR_NEVER && !job->due_place) arm_or_mark(job);
    if (job->due_ns == JR_NEVER) end_without_run(job);
  }
}

/* ---- a zone changed -------------------------------------------------------------------------- */

static void tell_move(const jr_job *job, int64_t before) {
  char from[JR_STAMP_TEXT], to[JR_STAMP_TEXT] = "none";
  jr_stamp_format(jr_floor_div(before, JR_SEC), 0, from);
  if (job->due_ns != JR_NEVER) jr_stamp_format(jr_floor_div(job->due_ns, JR_SEC), 0, to);
  jr_job_logf(job, JR_LOG_INFO, "the next run was at %s and is at %s", from, to);
}

static void on_zone(jobrun *rt, const jr_zone *zone) {
  jr_jobs *jobs = jr_jobs_find(rt);
  JR_LIST_EACH_SAFE (it, &jobs->all) {
    jr_job *job = jr_container_of(it, jr_job, link);
    const jr_rule *rule = job->when.rule;
    if ((rule ? rule->zone : job->policy->zone) != zone || job->due_ns == JR_NEVER) continue;
    int64_t before = job->due_ns;
    if (rule) job->grid_ns = jr_job_now(job);
    jr_plan_next(job, jr_job_now(job));
    if (rule && job->due_ns != before) tell_move(job, before);
    if (job->due_ns != JR_NEVER && !job->due_place) arm_or_mark(job);
    if (job->due_ns == JR_NEVER) end_without_run(job);
  }
}

/* ---- life ---------------------------------------------------------------------------------- */

int64_t jr_job_next_ns(const jr_job *job) {
  bool is_planned = jr_heap_holds(&job->timer.node) || job->due_place;
  return is_planned && job->state == JR_JOB_ACTIVE ? jr_plan_wall(job, job->due_ns) : JR_NEVER;
}

int jr_job_add(jr_jobs *jobs, jr_job *job, int64_t period_ns) {
  const jr_policy *p = job->policy;
  if (reserve_due(jobs) < 0) return UV_ENOMEM;
  job->jobs = jobs;
  job->when = (jr_when){.period_ns = period_ns, .rule = p->rule};
  int64_t now = jr_job_now(job);
  job->when.start_ns = p->start_ns ? p->start_ns : now;
  job->grid_ns = job->due_ns = now;
  job->queued_ns = job->caught_ns = job->catch_until_ns = JR_NEVER;
  job->timer.fire = on_timer;
  job->state = p->paused ? JR_JOB_PAUSED : JR_JOB_ACTIVE;
  jr_list_init(&job->runs);
  if (!p->now) jr_plan_next(job, now);
  if (job->due_ns == JR_NEVER) return JR_EUSAGE;
  int status = arm(job);
  if (status < 0) return status;
  jr_list_append(&jobs->all, &job->link);
  job->id = ++jobs->last_id;
  jobs->len++;
  if (!p->paused) jobs->active++;
  return 0;
}

/* Its past is that of the job's first declaration. One that begins in the future has none. */
static void restore_rule(jr_rule *rule, int64_t anchor_ns, int64_t now, bool has_from) {
  if (rule->from_ns > now) return;
  if (anchor_ns < rule->from_ns) rule->from_ns = anchor_ns;
  if (!has_from) jr_rule_anchor(rule, anchor_ns, false);
}

/* The point of an interval's grid that was had, by when it was had: that is off by its jitter, by
 * what clocks were slewed since, and by rounding. */
static int64_t point_of(const jr_job *job, int64_t had_ns) {
  int64_t period = job->when.period_ns, jitter = job->policy->jitter_ns;
  int64_t since = had_ns - job->when.start_ns + (jitter < period ? (period - jitter) / 2 : 0);
  return job->when.start_ns + jr_floor_div(since, period) * period;
}

int jr_job_restore(jr_job *job, int64_t anchor_ns, int64_t last_ns, bool has_from) {
  if (job->state != JR_JOB_ACTIVE || job->policy->from_end || job->policy->spread_ns) return 0;
  int64_t now = jr_job_now(job);
  if (job->when.rule) restore_rule(job->policy->rule, anchor_ns, now, has_from);
  if (!job->when.rule && !has_from) job->when.start_ns = jr_plan_instant(job, anchor_ns);
  if (!last_ns && job->due_ns <= now) return 0; /* its first run is due at once */
  job->grid_ns = last_ns ? jr_plan_instant(job, last_ns) : now;
  if (last_ns && !job->when.rule) job->grid_ns = point_of(job, job->grid_ns);
  jr_plan_next(job, job->grid_ns);
  if (job->due_ns == JR_NEVER) end_without_run(job);
  return job->due_ns != JR_NEVER && !job->due_place ? arm(job) : 0;
}

static void tell_change(jr_job *job, jr_job_event event) {
  jr_run_record record = {.job = job->id};
  jr_job_tell(&(jr_job_news){.event = event, .job = job, .record = &record});
}

int jr_job_pause(jr_job *job) {
  if (job->state >= JR_JOB_DONE) return JR_EUSAGE;
  if (job->state == JR_JOB_PAUSED) return 0;
  job->state = JR_JOB_PAUSED;
  job->jobs->active--;
  job->queued_ns = job->catch_until_ns = JR_NEVER;
  disarm(job);
  unmark_due(job);
  tell_change(job, JR_JOB_PAUSE);
  return 0;
}

int jr_job_resume(jr_job *job) {
  if (job->state >= JR_JOB_DONE) return JR_EUSAGE;
  if (job->state == JR_JOB_ACTIVE) return 0;
  int64_t now = jr_job_now(job);
  job->state = JR_JOB_ACTIVE;
  if (job->due_ns <= now || job->due_ns == JR_NEVER) jr_plan_next(job, now);
  int status = !job->policy->from_end || job->going == 0 ? arm(job) : 0;
  if (status < 0) {
    job->state = JR_JOB_PAUSED;
    return status;
  }
  job->jobs->active++;
  tell_change(job, JR_JOB_RESUME);
  if (job->due_ns == JR_NEVER) end_without_run(job);
  return 0;
}

static void stop(jobrun *rt, jr_trade *trade) {
  jr_jobs *jobs = jr_container_of(trade, jr_jobs, trade);
  (void)rt;
  jobs->stopped = true;
  JR_LIST_EACH (it, &jobs->all) {
    jr_job *job = jr_container_of(it, jr_job, link);
    job->queued_ns = job->catch_until_ns = JR_NEVER;
    disarm(job);
    unmark_due(job);
  }
  jr_runs_give_up(jobs, NULL);
}

static bool has_paused(const jr_jobs *jobs) {
  JR_LIST_EACH (it, &jobs->all)
    if (jr_container_of(it, jr_job, link)->state == JR_JOB_PAUSED) return true;
  return false;
}

/* What is paused goes on only if somebody can say so: by a job's methods, from a task, or from
 * outside. */
static bool is_busy(jobrun *rt, jr_trade *trade) {
  jr_jobs *jobs = jr_container_of(trade, jr_jobs, trade);
  if (jobs->stopped) return false;
  if (!jr_list_is_empty(&jobs->waiting)) return true;
  return !jobs->held && (jobs->active > 0 || (rt->doors > 0 && has_paused(jobs)));
}

/* The jobs themselves go with the Lua state. */
static void trade_close(jobrun *rt, jr_trade *trade) {
  jr_jobs *jobs = jr_container_of(trade, jr_jobs, trade);
  (void)rt;
  jobs->is_metered = false;
  JR_LIST_EACH (it, &jobs->all) drop_figures(jr_container_of(it, jr_job, link));
  JR_LIST_EACH (it, &jobs->leaving) drop_figures(jr_container_of(it, jr_job, link));
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
  jr_zonebook *book;
  int status = jr_zonebook_get(rt, &book);
  if (status < 0) return status;
  jr_jobs *jobs = jr_mem_zalloc(&rt->mem, sizeof *jobs);
  if (!jobs) return UV_ENOMEM;
  jobs->trade = (jr_trade){.stop = stop,
                           .is_busy = is_busy,
                           .before_pump = before_pump,
                           .close = trade_close,
                           .free = trade_free};
  jobs->rt = rt;
  jobs->hooks = *hooks;
  jobs->due_sorted = true;
  jobs->random = rt->clock.is_virtual ? 1 : uv_hrtime();
  jr_list_init(&jobs->all);
  jr_list_init(&jobs->waiting);
  jr_list_init(&jobs->leaving);
  jr_run_ring_init(&jobs->ring, &rt->mem, KEPT_RUNS);
  jobs->sink = jr_run_ring_sink(&jobs->ring);
  jr_list_append(&rt->trades, &jobs->trade.link);
  rt->clock.on_step = on_step;
  book->on_change = on_zone;
  *out = jobs;
  return 0;
}
