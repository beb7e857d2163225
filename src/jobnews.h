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
