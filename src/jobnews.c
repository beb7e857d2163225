/* What a job tells: its name, its lines in the log, its events.
 *
 * SPDX-License-Identifier: MIT */
#include "jobnews.h"

#include <stdarg.h>
#include <stdio.h>

#include "plan.h"
#include "rt.h"
#include "runs.h"

#define QUIET_NS (JR_SEC / 2) /* between two lines about runs that did not happen */

void jr_job_name(const jr_job *job, char *name, size_t size) {
  jr_label_write(&job->label, job->when.period_ns, name, size);
}

const char *jr_job_state_name(const jr_job *job) {
  static const char *const names[] = {"scheduled", "paused", "done", "cancelled"};
  return job->going > 0 ? "running" : names[job->state];
}

__attribute__((format(printf, 3, 0))) static void put(const jr_job *job, jr_log_event *line,
                                                      const char *fmt, va_list args) {
  char name[256], text[512];
  int n = vsnprintf(text, sizeof text, fmt, args);
  if (n < 0) return;
  jr_job_name(job, name, sizeof name);
  line->name = name;
  line->text = text;
  line->len = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
  jr_log_put(&job->jobs->rt->log, line);
}

void jr_job_logf(const jr_job *job, jr_log_level level, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  put(job, &(jr_log_event){.level = level}, fmt, args);
  va_end(args);
}

void jr_run_log(const jr_run *run, jr_log_event *line) {
  char name[256];
  jr_job_name(run->job, name, sizeof name);
  line->name = name;
  line->run = run->record.id;
  if (line->event && run->record.ended_ns) {
    line->outcome = jr_outcome_name(run->record.outcome);
    line->has_duration = true;
    line->duration_ns = run->record.ended_ns - run->record.started_ns;
  }
  jr_log_put(&run->job->jobs->rt->log, line);
}

void jr_run_logf(const jr_run *run, jr_log_level level, const char *event, const char *fmt, ...) {
  char text[512];
  int at = snprintf(text, sizeof text, "run %llu ", (unsigned long long)run->record.id);
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text + at, sizeof text - (size_t)at, fmt, args);
  va_end(args);
  if (n < 0) return;
  size_t len = (size_t)(at + n);
  jr_run_log(run, &(jr_log_event){.level = level,
                                  .event = event,
                                  .text = text,
                                  .len = len < sizeof text ? len : sizeof text - 1});
}

const char *jr_job_rough(int64_t ns, char text[JR_DURATION_TEXT]) {
  jr_duration_format(ns >= JR_MS ? ns - ns % JR_MS : ns, text);
  return text;
}

void jr_job_tell(const jr_job_news *news) {
  jr_jobs *jobs = news->job->jobs;
  if (jobs->listening & 1u << news->event) jobs->hooks.on_event(jobs->hooks.data, news);
}

/* ---- runs that did not happen -------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void log_skip(const jr_job *job, const char *fmt,
                                                           ...) {
  va_list args;
  va_start(args, fmt);
  put(job, &(jr_log_event){.level = JR_LOG_WARN, .event = "skip"}, fmt, args);
  va_end(args);
}

static bool may_speak(jr_job *job) {
  int64_t now = jr_clock_now(job->jobs->rt);
  if (now < job->quiet_until_ns) return false;
  job->quiet_until_ns = now + QUIET_NS;
  return true;
}

static void tell_skip(jr_job *job, const char *reason, int64_t count, int64_t due) {
  jr_run_record record = {.job = job->id, .due_ns = jr_plan_wall(job, due)};
  jr_job_tell(&(jr_job_news){
      .event = JR_JOB_SKIP, .job = job, .record = &record, .reason = reason, .count = count});
}

void jr_job_note_missed(jr_job *job, int64_t count, int64_t due, int64_t now) {
  char span[JR_DURATION_TEXT];
  job->missed += (uint64_t)count;
  if (may_speak(job))
    log_skip(job, "missed %lld due times (nothing could start for %s; %llu in all)",
             (long long)count, jr_job_rough(now - job->grid_ns, span),
             (unsigned long long)job->missed);
  tell_skip(job, "missed", count, due);
}

void jr_job_note_late(jr_job *job, int64_t due, int64_t now) {
  char span[JR_DURATION_TEXT];
  job->missed++;
  if (may_speak(job))
    log_skip(job, "skipped: its time was %s ago, later than %s (%llu in all)",
             jr_job_rough(now - due, span),
             job->policy->grace_ns ? "its grace" : "a run without catch-up may be",
             (unsigned long long)job->missed);
  tell_skip(job, "late", 1, due);
}

void jr_job_note_overlap(jr_job *job, int64_t due) {
  char span[JR_DURATION_TEXT];
  const jr_run *run = jr_run_newest(job);
  job->skipped++;
  if (may_speak(job))
    log_skip(job, "skipped: run %llu is still going after %s (%llu in all)",
             (unsigned long long)run->record.id,
             jr_job_rough(jr_clock_now(job->jobs->rt) - run->started_ns, span),
             (unsigned long long)job->skipped);
  tell_skip(job, "overlap", 1, due);
}
