/* What a job tells: its name, its lines in the log, its events.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_JOBNEWS_H
#define JR_JOBNEWS_H

#include <stdint.h>

#include "duration.h"
#include "jobs.h"
#include "log.h"

/* A line about the job: `job "NAME": TEXT`. */
void jr_job_logf(const jr_job *job, jr_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A line about a run of it: `job "NAME": run N TEXT`. `event` (NULL: none) is "start" or "end"; the
 * latter takes its outcome and duration from the record. */
void jr_run_logf(const jr_run *run, jr_log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The same with what the caller filled in of `line`: text and more; the rest is filled in here. */
void jr_run_log(const jr_run *run, jr_log_event *line);

/* A duration for people: nothing below a millisecond. Returns `text`. */
const char *jr_job_rough(int64_t ns, char text[JR_DURATION_TEXT]);

/* Tells the listeners of that event. */
void jr_job_tell(const jr_job_news *news);

/* Due times that did not run are counted, logged with their reason (at most two lines a second and
 * job, each with the total, as a job every millisecond would fill the disk), and told. Instants are
 * of the job's own clock. */
void jr_job_note_missed(jr_job *job, int64_t count, int64_t due, int64_t now);
void jr_job_note_late(jr_job *job, int64_t due, int64_t now);
void jr_job_note_overlap(jr_job *job, int64_t due);

#endif
