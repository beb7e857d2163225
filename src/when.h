/* When something is due: a rule that answers one question, "the first instant strictly after T".
 *
 * Whoever schedules knows no more about time than this. He asks for the next instant, and, after
 * a time in which nothing could run, for how many instants went by; both are answered by
 * arithmetic, so a night of missed seconds costs as much as one. There are two kinds, and the two
 * clocks belong to them: the fixed grid is one of the steady clock, and a rule of the calendar,
 * cron lines and all, is one of the wall clock.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_WHEN_H
#define JR_WHEN_H

#include <stdint.h>

#include "rule.h"

/* The fixed grid start + k * period, k = 0, 1, 2 … on the steady clock. It never drifts: nothing
 * that happens in between enters the sum. Or, where `rule` is not NULL, that rule, and all instants
 * here are of the wall clock. */
typedef struct jr_when {
  int64_t start_ns;
  int64_t period_ns;   /* > 0 */
  const jr_rule *rule; /* borrowed */
} jr_when;

/* The first instant strictly after `after_ns` (so the start itself when that lies in the future),
 * or JR_NEVER when the clock cannot show it. */
int64_t jr_when_next(const jr_when *when, int64_t after_ns);

/* The last instant at or before `now_ns`; JR_NEVER if there is none. */
int64_t jr_when_last(const jr_when *when, int64_t now_ns);

/* How many instants lie after `from_ns`, up to and including `to_ns`. */
int64_t jr_when_count(const jr_when *when, int64_t from_ns, int64_t to_ns);

#endif
