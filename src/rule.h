/* A rule that reads the calendar: a cron line, an at-job or a single date, with its zone and its
 * limits, behind the questions of when.h.
 *
 * It answers in nanoseconds of the wall clock, as jr_when answers in those of the steady one: the
 * next instant, the last one, and how many there are between two. The zone is looked at anew for
 * each question, so after jr_zones_refresh it is enough to ask again.
 *
 * Times of the calendar are whole seconds; where a rule takes its time of day from the moment it
 * was declared, `fraction_ns` is what that moment had beyond its second. Years that 64 bits of
 * nanoseconds cannot tell (from 2262 on) are never, here; jr_rule_next_second goes to 9999.
 *
 * Pure but for the zone; on the zones' thread.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_RULE_H
#define JR_RULE_H

#include <stdint.h>

#include "calendar.h"
#include "cron.h"
#include "hourly.h"
#include "window.h"
#include "zones.h"

typedef enum jr_rule_kind {
  JR_RULE_ONCE,
  JR_RULE_CRON,
  JR_RULE_CALENDAR,
  JR_RULE_HOURLY
} jr_rule_kind;

typedef struct jr_rule {
  uint8_t kind; /* jr_rule_kind */
  int32_t fraction_ns;
  const jr_zone *zone; /* borrowed */
  union {
    int64_t once; /* its instant, in seconds of UTC */
    jr_cron cron; /* of JR_CRON_TIMES */
    jr_calendar calendar;
    jr_hourly hourly;
  } as;
  jr_window window;
  /* No instant before, or after; INT64_MIN and JR_NEVER: no limit. A job's rule begins at the
   * latest with its declaration, or it would have a past. */
  int64_t from_ns, till_ns;
} jr_rule;

/* Where a rule that counts begins to: at its declaration, or, with `is_from`, at a beginning that
 * was asked for. Needs the zone. Once more where the date turned out to be wrong. */
void jr_rule_anchor(jr_rule *rule, int64_t from_ns, bool is_from);

/* The first instant strictly after `after_ns`, or JR_NEVER. */
int64_t jr_rule_next(const jr_rule *rule, int64_t after_ns);

/* The last instant at or before `now_ns`, or JR_NEVER. */
int64_t jr_rule_last(const jr_rule *rule, int64_t now_ns);

/* How many instants lie after `from_ns`, up to and including `to_ns`. */
int64_t jr_rule_count(const jr_rule *rule, int64_t from_ns, int64_t to_ns);

/* The first instant strictly after `after`, both in seconds without the fraction, or JR_NEVER.
 * Heeds the window, not the limits. For timetables. */
int64_t jr_rule_next_second(const jr_rule *rule, int64_t after);

/* What a change of the zone did to an instant of the rule, in seconds. */
jr_wall_note jr_rule_note_of(const jr_rule *rule, int64_t instant);

#endif
