/* Figures that are counted where things happen: histograms of durations, and what is known of a
 * job's runs.
 *
 * They are kept only once somebody reads metrics; until then a NULL is all there is.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_METER_H
#define JR_METER_H

#include <stdint.h>

#include "run.h"

enum { JR_METER_BUCKETS = 10 };

/* Upper bounds, inclusive. */
extern const int64_t jr_meter_run_bounds[JR_METER_BUCKETS];   /* 10 ms … 4 h: of runs */
extern const int64_t jr_meter_delay_bounds[JR_METER_BUCKETS]; /* 0.5 ms … 60 s: of delays */

/* `buckets` are not cumulative; what is above the last bound is in `count` alone. */
typedef struct jr_histogram {
  uint64_t count;
  double sum_s;
  uint64_t buckets[JR_METER_BUCKETS];
} jr_histogram;

void jr_histogram_add(jr_histogram *h, const int64_t bounds[JR_METER_BUCKETS], int64_t ns);

typedef struct jr_job_figures {
  uint64_t outcomes[JR_OUTCOMES];
  uint64_t retries;
  int64_t last_ok_ns; /* wall; 0: none yet */
  jr_histogram duration, delay;
} jr_job_figures;

void jr_job_figures_begin(jr_job_figures *f, const jr_run_record *record);
void jr_job_figures_end(jr_job_figures *f, const jr_run_record *record);

#endif
