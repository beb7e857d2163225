/* The life of a run: from the decision to start it, over its attempts, to its end.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_RUNS_H
#define JR_RUNS_H

#include <stdint.h>

#include "jobs.h"

/* Starts a run for an instant of the job's own clock; *out, where it is not NULL, is borrowed. A
 * run that cannot be started counts as failed: UV_ENOMEM, with the log told. */
int jr_run_open(jr_job *job, int64_t due, jr_run **out);

/* The one that started last, of a job that has one going. Borrowed. */
jr_run *jr_run_newest(const jr_job *job);

/* The one that a task belongs to, or NULL. Borrowed. */
const jr_run *jr_run_of(const jr_task *task);

/* Cancels it; one that waits to be tried again ends at once. */
void jr_run_cancel(jr_run *run, const char *reason);

/* Runs that wait to be tried again are given up, those of `job` or all (NULL): they failed. */
void jr_runs_give_up(jr_jobs *jobs, const jr_job *job);

#endif
