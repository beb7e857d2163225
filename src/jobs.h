/* Jobs: a function, a rule that says when, and a policy for when things go wrong.
 *
 * This file decides when a run starts and what becomes of it. It knows no Lua words: a job comes
 * in as checked, flat values, and its function is reached through one entry function of the
 * registry. All of it on the loop thread.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_JOBS_H
#define JR_JOBS_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

#include "clock.h"
#include "label.h"
#include "list.h"
#include "meter.h"
#include "rt.h"
#include "rule.h"
#include "run.h"
#include "task.h"
#include "when.h"
#include "window.h"
#include "zones.h"

typedef struct jr_jobs jr_jobs;
typedef struct jr_job jr_job;
typedef struct jr_run jr_run;

/* What a due time does that finds the job's limit of runs still going. */
typedef enum jr_overlap {
  JR_OVERLAP_SKIP,   /* it is counted and logged, and nothing runs */
  JR_OVERLAP_QUEUE,  /* one run waits for the end of the present one; more are skipped */
  JR_OVERLAP_CANCEL, /* the present run is cancelled; a new one starts when it has ended */
  JR_OVERLAP_ALLOW   /* up to `limit` runs at once; more are skipped */
} jr_overlap;

/* Due times that passed while nothing could start: the loop was busy, the machine slept, its clock
 * was set forward. */
typedef enum jr_catchup {
  JR_CATCHUP_ONCE, /* one run, for the latest of them */
  JR_CATCHUP_NONE, /* no run, where the latest is late too */
  JR_CATCHUP_ALL   /* a run for each, one after another */
} jr_catchup;

/* A run that failed is tried again, with the same id and the next number of attempt. */
typedef struct jr_retry {
  uint32_t attempts; /* in all; 0 and 1: none but the first */
  int64_t backoff_ns, max_ns;
  double factor; /* from one pause to the next */
  double jitter; /* each pause is drawn from (1 ± jitter) of it */
  bool cross;    /* also beyond the next planned run */
} jr_retry;

/* What a declaration says beside its interval. Most say nothing: jr_policy_default. */
typedef struct jr_policy {
  jr_rule *rule;    /* of a job of the calendar; borrowed, lives as long as the policy */
  int64_t start_ns; /* of an interval: steady; where its grid begins (.from); 0: now */
  int64_t till_ns;  /* wall; no due time after it; 0: no end */
  jr_window window; /* of an interval: on the wall of `zone` */
  const jr_zone *zone;
  int64_t grace_ns; /* a run that would start later than that is skipped; 0: never */
  jr_retry retry;
  uint32_t most_caught; /* how many JR_CATCHUP_ALL starts at most; 0: no limit */
  int64_t catch_ns;     /* and how far back; 0: no limit */
  uint8_t catchup;      /* jr_catchup */
  int64_t spread_ns;  /* each interval is drawn from [period, period + spread]; 0 = a fixed grid */
  int64_t jitter_ns;  /* each start is up to this much behind the grid; never accumulates */
  int64_t timeout_ns; /* a run is cancelled after it; 0 = never */
  uint64_t times;     /* the job ends with this many runs; 0 = no end */
  uint32_t limit;     /* runs at the same time, at least 1 */
  uint8_t overlap;    /* jr_overlap */
  bool now : 1;       /* the start itself is a due time */
  bool from_end : 1;  /* the next interval begins with the end of a run */
  bool paused : 1;    /* declared, not started */
  bool fixed_jitter : 1; /* jitter_ns is the offset itself, not its bound */
} jr_policy;

extern const jr_policy jr_policy_default;

typedef enum jr_job_state {
  JR_JOB_ACTIVE,
  JR_JOB_PAUSED,
  JR_JOB_DONE,
  JR_JOB_CANCELLED
} jr_job_state;

/* The caller brings the memory and keeps it in place (a Lua userdata, `anchor_ref` in the
 * registry), until the job has ended and its last run too: then the anchor is let go. */
struct jr_job {
  jr_list link; /* among all jobs, in order of declaration; then `leaving`, then on its own */
  jr_list runs; /* those that go on: jr_run.link */
  jr_timer timer;
  jr_jobs *jobs;
  jr_when when;
  const jr_policy *policy; /* borrowed from the declaration */
  jr_label label;
  /* These are of the job's own clock: the wall clock where it has a rule, else the steady one. */
  int64_t grid_ns;   /* the latest planned instant, without its jitter */
  int64_t due_ns;    /* when the timer goes off, or when it went off; JR_NEVER = no next run */
  int64_t queued_ns; /* the due time of the run that waits for the present one; JR_NEVER = none */
  int64_t caught_ns, catch_until_ns;  /* JR_CATCHUP_ALL: from here to there is to be caught up */
  int64_t last_start_ns, last_end_ns; /* wall; 0 = not yet */
  int64_t quiet_until_ns;             /* no line about skipped or missed runs before that */
  uint64_t runs_started, failed, skipped, missed;
  jr_job_figures *figures; /* NULL while nothing was counted; ours, until the job is let go */
  uint32_t id;
  uint32_t going;     /* runs that have not ended */
  uint32_t due_place; /* in jobs->due, from 1; 0 = not there */
  int anchor_ref;
  uint8_t unit;   /* jr_unit */
  uint8_t state;  /* jr_job_state */
  bool wants_run; /* its function takes the run as a further argument */
};

/* One run, from the decision to start it to its end. */
struct jr_run {
  jr_list link;    /* job->runs */
  jr_list waiting; /* jobs->waiting */
  jr_watch watch;
  jr_timer deadline;
  jr_job *job;
  jr_task *task;      /* NULL while it waits to be tried again */
  int64_t due_ns;     /* of the job's own clock */
  int64_t started_ns; /* steady; of this attempt */
  jr_run_record record;
  bool begun; /* its task has had the processor */
  bool timed_out;
  bool ends_job;    /* its function returned jobs.CANCEL */
  bool is_reported; /* its failure is in the log */
  jr_chain watches; /* jr_run_watch: who waits for its end */
};

/* Calls `on_end` on the loop thread when the run is over, its attempts included. */
typedef struct jr_run_watch {
  jr_link link;
  void (*on_end)(struct jr_run_watch *watch, const jr_run *run);
} jr_run_watch;
void jr_run_watch_start(jr_run *run, jr_run_watch *watch); /* jr_chain_remove stops it */

typedef enum jr_job_event {
  JR_JOB_START,
  JR_JOB_END,
  JR_JOB_ERROR,
  JR_JOB_SKIP, /* due times that did not run */
  JR_JOB_LATE,
  JR_JOB_TIMEOUT,
  JR_JOB_PAUSE, /* of the job: the record has no more than its id */
  JR_JOB_RESUME,
  JR_JOB_EVENTS
} jr_job_event;

/* What an event tells. Valid during the call. */
typedef struct jr_job_news {
  jr_job_event event;
  jr_job *job;
  const jr_run_record *record; /* of a skip: due_ns alone is set */
  const char *reason;          /* of a skip: "overlap", "missed" or "late" */
  int64_t count;               /* of a skip: how many due times */
  lua_State *error;            /* of an error: has the error value on top; else NULL */
} jr_job_news;

/* What the binding above provides. */
typedef struct jr_jobs_hooks {
  int entry_ref; /* registry: entry(lightuserdata run), the body of each run's task */
  void (*on_event)(void *data, const jr_job_news *news); /* only for events in `listening` */
  void *data;
} jr_jobs_hooks;

struct jr_jobs {
  jr_trade trade;
  jobrun *rt;
  jr_jobs_hooks hooks;
  jr_run_sink sink;
  jr_run_ring ring; /* the sink until another one is set */
  jr_list all;      /* jobs that have not ended */
  jr_list waiting;  /* runs that wait to be tried again: jr_run.waiting */
  jr_list leaving;  /* jobs that have ended while a run of them goes on */
  jr_job **due;     /* those whose time has come; room for all */
  uint32_t due_len, due_cap;
  bool due_sorted;
  bool stopped;                /* nothing starts by itself any more */
  bool is_metered;             /* figures are kept */
  bool held;                   /* nothing starts by itself, as the jobs are only looked at */
  uint32_t len;                /* of `all` */
  uint32_t active;             /* those that are not paused: they keep the script alive */
  uint32_t last_id, listening; /* bits 1 << jr_job_event */
  uint64_t last_run, random;
  int64_t distance_ns; /* plan.c: from the steady clock to the wall */
};

/* Makes the trade and registers it with the runtime, which frees it at its end. 0 or UV_ENOMEM. */
int jr_jobs_open(jobrun *rt, const jr_jobs_hooks *hooks, jr_jobs **out);

/* The runtime's trade, borrowed; NULL before it was opened. */
jr_jobs *jr_jobs_find(jobrun *rt);

/* Takes up a job (zeroed but for label, policy, anchor_ref and wants_run) by its policy's rule, or
 * with a grid of `period_ns` that starts now. 0; JR_EUSAGE where it would never run; UV_ENOMEM or
 * what a timerfd gives; then with nothing changed. */
int jr_job_add(jr_jobs *jobs, jr_job *job, int64_t period_ns);

/* No further run. One that goes on ends by itself. A job that has ended is left alone. */
void jr_job_cancel(jr_job *job);

/* What a store knows of a job that was just added, as instants of the wall clock: when it was first
 * declared, where its rule begins to count (unless it `has_from`, a beginning of its own), and the
 * last due time that was had. The next one is that behind it, even if that has passed: then the job
 * catches up. last_ns 0: from now on. 0 or UV_ENOMEM. */
int jr_job_restore(jr_job *job, int64_t anchor_ns, int64_t last_ns, bool has_from);

/* A paused job has no due times, none are counted as missed, and it does not keep the script
 * alive; `resume` takes up the grid where it stands. 0, JR_EUSAGE for a job that has ended, or
 * UV_ENOMEM. */
int jr_job_pause(jr_job *job);
int jr_job_resume(jr_job *job);

/* Starts a run at once, beside the schedule. 0; UV_EBUSY (*out = one of the runs in its way)
 * where its limit of runs is reached; JR_ECLOSED while the runtime stops; JR_EUSAGE for a job that
 * has ended; UV_ENOMEM. The run is borrowed. */
int jr_job_start(jr_job *job, jr_run **out);

/* The same for a due time (of the wall clock) whose run a former process began: with the attempt
 * it is at now. */
int jr_job_start_again(jr_job *job, int64_t due_ns, uint32_t attempt, jr_run **out);

/* Writes the name, cut to `size` with its zero. */
void jr_job_name(const jr_job *job, char *name, size_t size);

/* "scheduled", "running", "paused", "done", "cancelled". */
const char *jr_job_state_name(const jr_job *job);

/* Wall time of the next planned run; JR_NEVER if there is none. */
int64_t jr_job_next_ns(const jr_job *job);

/* The job's own clock: the wall clock where it has a rule, else the steady one. */
int64_t jr_job_now(const jr_job *job);

/* The job's figures, made at the first call; NULL while none are kept, or without memory. */
jr_job_figures *jr_job_figures_get(jr_job *job);
static inline jr_job_figures *jr_job_meter(jr_job *job) {
  return job->jobs->is_metered ? jr_job_figures_get(job) : NULL;
}

/* For runs.c: the job has ended; a run of it has. */
void jr_job_end(jr_job *job, jr_job_state state);
void jr_job_go_on(jr_job *job);

/* First thing in the task of an attempt: notes the start and arms its time limit. 0 or UV_ENOMEM.
 */
int jr_run_begin(jr_run *run);

#endif
