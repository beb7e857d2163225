/* When something is due.
 *
 * Instants are signed 64-bit nanoseconds. The distance between two of them may need 64 bits and a
 * sign, so it is taken as unsigned, where it is exact whenever the later one is subtracted from.
 *
 * SPDX-License-Identifier: MIT */
#include "when.h"

/* k of the last instant at or before `now_ns`, which is not before the start. */
static uint64_t steps(const jr_when *when, int64_t now_ns) {
  return ((uint64_t)now_ns - (uint64_t)when->start_ns) / (uint64_t)when->period_ns;
}

static int64_t instant(const jr_when *when, uint64_t k) {
  return (int64_t)((uint64_t)when->start_ns + k * (uint64_t)when->period_ns);
}

int64_t jr_when_next(const jr_when *when, int64_t after_ns) {
  if (when->rule) return jr_rule_next(when->rule, after_ns);
  if (after_ns < when->start_ns) return when->start_ns;
  int64_t last = instant(when, steps(when, after_ns)), next;
  return __builtin_add_overflow(last, when->period_ns, &next) ? JR_NEVER : next;
}

int64_t jr_when_last(const jr_when *when, int64_t now_ns) {
  if (when->rule) return jr_rule_last(when->rule, now_ns);
  return now_ns < when->start_ns ? JR_NEVER : instant(when, steps(when, now_ns));
}

/* How many instants lie at or before `now_ns`. */
static uint64_t passed(const jr_when *when, int64_t now_ns) {
  return now_ns < when->start_ns ? 0 : steps(when, now_ns) + 1;
}

int64_t jr_when_count(const jr_when *when, int64_t from_ns, int64_t to_ns) {
  if (when->rule) return jr_rule_count(when->rule, from_ns, to_ns);
  return to_ns <= from_ns ? 0 : (int64_t)(passed(when, to_ns) - passed(when, from_ns));
}
