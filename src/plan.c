/* When a job's next run is, and how many were missed.
 *
 * No drift. The due times of an interval are start + k * period from the moment of its declaration,
 * those of the calendar are what the rule says; the next one is computed from that, never from when
 * the last run happened to start, so neither lateness nor rounding is ever added up. (.from_end and
 * .to ask for something else and get it.)
 *
 * By arithmetic. What lies between two instants is counted by division, or by the rule, so a night
 * of missed seconds costs as much as one.
 *
 * The wall clock set back. A fixed time of the calendar that has run does not come again: the plan
 * stands, and is reached when the clock gets there. But what goes by the clock as it passes ("every
 * five minutes") goes on from the new time, and so does everything where the clock was set back by
 * more than a day, for then the date was wrong. Set forward, a job finds several of its times gone
 * by, as after any other gap.
 *
 * SPDX-License-Identifier: MIT */
#include "plan.h"

#include "rt.h"

#define A_DAY (INT64_C(86400) * JR_SEC)

enum { WINDOWS = 4000 }; /* as many closed windows in a row mean that no time will ever be in one */

int64_t jr_job_now(const jr_job *job) {
  jobrun *rt = job->jobs->rt;
  return job->when.rule ? jr_clock_wall(rt) : jr_clock_now(rt);
}

static int64_t minus(int64_t a, int64_t b) {
  int64_t difference;
  return __builtin_sub_overflow(a, b, &difference) ? JR_NEVER : difference;
}

/* Of the wall clock less the steady one. They are read one after the other, so what is read
 * trembles: only by more than that has the wall clock been set (or slewed, in the end). So due
 * times of an interval, told as wall times, are as exact as the interval. */
static int64_t distance(const jr_job *job) {
  jr_jobs *jobs = job->jobs;
  int64_t read = jr_clock_wall(jobs->rt) - jr_clock_now(jobs->rt);
  int64_t by = read - jobs->distance_ns;
  if (by > JR_MS || by < -JR_MS) jobs->distance_ns = read;
  return jobs->distance_ns;
}

int64_t jr_plan_wall(const jr_job *job, int64_t instant) {
  return job->when.rule || instant == JR_NEVER ? instant : minus(instant, -distance(job));
}

int64_t jr_plan_instant(const jr_job *job, int64_t wall_ns) {
  return job->when.rule ? wall_ns : minus(wall_ns, distance(job));
}

/* splitmix64. Each runtime has its own state; under the virtual clock it starts with the same
 * number, so a test sees the same draws each time. */
int64_t jr_plan_draw(jr_jobs *jobs, int64_t bound) {
  uint64_t z = jobs->random += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return (int64_t)((z ^ z >> 31) % ((uint64_t)bound + 1));
}

static int64_t jitter(jr_job *job) {
  const jr_policy *p = job->policy;
  return p->fixed_jitter || p->jitter_ns == 0 ? p->jitter_ns
                                              : jr_plan_draw(job->jobs, p->jitter_ns);
}

/* ---- intervals in a window ------------------------------------------------------------------- */

static bool has_window(const jr_policy *p) {
  return p->window.opens != p->window.closes;
}

/* The first instant after `after` at which the window is open on the wall. */
static int64_t next_in_window(const jr_job *job, const jr_when *when, int64_t after) {
  const jr_policy *p = job->policy;
  int64_t shift = distance(job);
  for (int i = 0; i < WINDOWS; i++) {
    int64_t found = jr_when_next(when, after);
    if (found == JR_NEVER) return JR_NEVER;
    int64_t second = jr_floor_div(found + shift, JR_SEC);
    int64_t open = jr_window_next(&p->window, p->zone->tz, second);
    if (open == second || open == JR_NEVER) return open == second ? found : JR_NEVER;
    after = open * JR_SEC - shift - 1;
  }
  return JR_NEVER;
}

/* How many instants after `from`, up to `to`, lie in the window; *latest becomes the last one. */
static int64_t count_in_window(const jr_job *job, int64_t from, int64_t to, int64_t *latest) {
  int64_t count = 0;
  for (int64_t at; (at = next_in_window(job, &job->when, from)) <= to;) {
    int64_t shift = distance(job), second = jr_floor_div(at + shift, JR_SEC);
    int64_t end = jr_window_end(&job->policy->window, job->policy->zone->tz, second);
    int64_t last = end == JR_NEVER ? to : (end + 1) * JR_SEC - shift - 1;
    if (last > to) last = to;
    count += jr_when_count(&job->when, at - 1, last);
    *latest = jr_when_last(&job->when, last);
    from = last;
  }
  return count;
}

/* ---- the next instant ------------------------------------------------------------------------ */

static int64_t next_of(const jr_job *job, const jr_when *when, int64_t after) {
  const jr_policy *p = job->policy;
  int64_t next = has_window(p) ? next_in_window(job, when, after) : jr_when_next(when, after);
  return p->till_ns && jr_plan_wall(job, next) > p->till_ns ? JR_NEVER : next;
}

int64_t jr_plan_after(const jr_job *job, int64_t after) {
  return next_of(job, &job->when, after);
}

/* The rule as it stands for the next interval: the job's own grid, or one that begins with the
 * last planned run (.to) or with the end of the last one (.from_end), `now`. */
static jr_when when_now(jr_job *job, int64_t now) {
  const jr_policy *p = job->policy;
  jr_when when = job->when;
  if (p->from_end)
    when.start_ns = now;
  else if (p->spread_ns > 0)
    when.start_ns = job->grid_ns;
  if (p->spread_ns > 0) when.period_ns += jr_plan_draw(job->jobs, p->spread_ns);
  return when;
}

/* Up to here the grid is history: an instant whose jitter window is still open is not. */
static int64_t history(const jr_job *job, int64_t now) {
  int64_t past = now - job->policy->jitter_ns;
  return past > job->grid_ns ? past : job->grid_ns;
}

void jr_plan_next(jr_job *job, int64_t now) {
  jr_when when = when_now(job, now);
  int64_t next = next_of(job, &when, job->policy->from_end ? now : history(job, now));
  if (next == JR_NEVER || __builtin_add_overflow(next, jitter(job), &job->due_ns))
    job->due_ns = JR_NEVER;
  if (next != JR_NEVER) job->grid_ns = next;
}

int64_t jr_plan_missed(const jr_job *job, int64_t now, int64_t *due) {
  const jr_policy *p = job->policy;
  int64_t past = history(job, now), from = job->grid_ns;
  if (p->from_end || p->spread_ns > 0) return 0;
  if (p->till_ns && jr_plan_wall(job, past) > p->till_ns)
    past -= jr_plan_wall(job, past) - p->till_ns;
  if (has_window(p)) return count_in_window(job, from, past, due);
  int64_t missed = jr_when_count(&job->when, from, past);
  if (missed > 0) *due = jr_when_last(&job->when, past);
  return missed;
}

/* ---- the wall clock was set ------------------------------------------------------------------ */

/* True of a rule that says at what time, and not how often. */
static bool is_fixed(const jr_rule *rule) {
  return rule->kind == JR_RULE_CRON ? rule->as.cron.is_fixed : rule->kind != JR_RULE_HOURLY;
}

bool jr_plan_step(jr_job *job, int64_t by_ns) {
  const jr_rule *rule = job->when.rule;
  if (job->due_ns == JR_NEVER) return false;
  if (!rule && !has_window(job->policy) && !job->policy->till_ns) return false;
  if (rule && (by_ns > 0 || (is_fixed(rule) && by_ns > -A_DAY))) return false;
  int64_t now = jr_job_now(job);
  if (rule) job->grid_ns = now;
  if (rule && by_ns <= -A_DAY) jr_rule_anchor(job->policy->rule, now, false);
  jr_plan_next(job, now);
  return true;
}
