/* Figures that are counted where things happen.
 *
 * SPDX-License-Identifier: MIT */
#include "meter.h"

#define MS(n) ((n)*INT64_C(1000000))
#define S(n)  ((n)*INT64_C(1000000000))

const int64_t jr_meter_run_bounds[] = {MS(10), MS(100), MS(500), S(1),    S(5),
                                       S(15),  S(60),   S(300),  S(1800), S(14400)};
const int64_t jr_meter_delay_bounds[] = {MS(1) / 2, MS(1),   MS(5), MS(10), MS(50),
                                         MS(100),   MS(500), S(1),  S(10),  S(60)};

void jr_histogram_add(jr_histogram *h, const int64_t bounds[JR_METER_BUCKETS], int64_t ns) {
  int i = 0;
  if (ns < 0) ns = 0;
  while (i < JR_METER_BUCKETS && ns > bounds[i]) i++;
  if (i < JR_METER_BUCKETS) h->buckets[i]++;
  h->count++;
  h->sum_s += (double)ns / 1e9;
}

void jr_job_figures_begin(jr_job_figures *f, const jr_run_record *record) {
  jr_histogram_add(&f->delay, jr_meter_delay_bounds, record->late_ns);
}

void jr_job_figures_end(jr_job_figures *f, const jr_run_record *record) {
  f->outcomes[record->outcome]++;
  if (record->outcome == JR_RUN_OK) f->last_ok_ns = record->ended_ns;
  jr_histogram_add(&f->duration, jr_meter_run_bounds, record->ended_ns - record->started_ns);
}
