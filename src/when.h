/* When something is due: a rule that answers one question, "the first instant strictly after T".
 *
 * Whoever schedules knows no more about time than this. He asks for the next instant, and, after
 * a time in which nothing could run, for how many instants went by; both are answered by
 * arithmetic, so a night of missed seconds costs as much as one. Today's one rule is the fixed
 * grid; a rule that reads the calendar is another kind of jr_when behind the same two questions.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_WHEN_H
#define JR_WHEN_H

#include <stdint.h>

#define JR_NEVER INT64_MAX

/* The fixed grid start + k * period, k = 0, 1, 2 … on the steady clock. It never drifts: nothing
 * that happens in between enters the sum. */
typedef struct jr_when {
  int64_t start_ns;
  int64_t period_ns; /* > 0 */
} jr_when;

/* The first instant strictly after `after_ns` (so the start itself when that lies in the future),
 * or JR_NEVER when the clock cannot show it. */
int64_t jr_when_next(const jr_when *when, int64_t after_ns);

/* The last instant at or before `now_ns`; JR_NEVER if there is none. */
int64_t jr_when_last(const jr_when *when, int64_t now_ns);

/* How many instants lie after `from_ns`, up to and including `to_ns`. */
int64_t jr_when_count(const jr_when *when, int64_t from_ns, int64_t to_ns);

#endif
