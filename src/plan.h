/* When a job's next run is, and how many were missed.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_PLAN_H
#define JR_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "jobs.h"

/* Instants here are of the job's own clock (jr_job_now). */

/* Sets grid_ns and due_ns to the next instant after `now`; due_ns is JR_NEVER if there is none. */
void jr_plan_next(jr_job *job, int64_t now);

/* How many instants went by beside the one that is due; *due becomes the latest. */
int64_t jr_plan_missed(const jr_job *job, int64_t now, int64_t *due);

/* The first instant after `after`, without jitter, or JR_NEVER. */
int64_t jr_plan_after(const jr_job *job, int64_t after);

/* The wall clock was set by `by_ns`: true if the next instant was computed anew. */
bool jr_plan_step(jr_job *job, int64_t by_ns);

/* A random number from 0 to `bound`. */
int64_t jr_plan_draw(jr_jobs *jobs, int64_t bound);

/* The wall time of an instant, and the instant of a wall time. */
int64_t jr_plan_wall(const jr_job *job, int64_t instant);
int64_t jr_plan_instant(const jr_job *job, int64_t wall_ns);

#endif
