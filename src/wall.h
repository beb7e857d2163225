/* From wall times to instants: when does a set of wall times come round in a zone?
 *
 * A cron line and a job "at 10:30 on Mondays" are both a set of wall times: some days, and on each
 * of them the same times of day. This file asks such a set only two questions, the next day and the
 * next time of day, and knows alone what becomes of them where a zone changes its offset.
 *
 *   gap       a time that does not exist: runs at the END of the gap (the first instant after it);
 *             or SHIFTed, as much later as the gap is long; or is SKIPped
 *   overlap   a time that comes twice: runs the FIRST time, the SECOND time, or BOTH times
 *
 * A day that lies in a gap as a whole, as 2011-12-30 does in Apia, does not exist, and nothing is
 * made up for it. Times that fall on one instant, such as several in a gap, are one.
 *
 * Fixed times, "at 02:30", are END and FIRST; what goes by the clock as it passes, "every quarter
 * of an hour", is SKIP and BOTH, which is no more than looking at the wall clock each second.
 *
 * Pure; any thread. Instants are seconds of UTC within JR_CIVIL_FIRST … JR_CIVIL_LAST; a search
 * ends after 400 years, when the calendar begins to repeat itself.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_WALL_H
#define JR_WALL_H

#include <stdbool.h>
#include <stdint.h>

#include "civil.h"
#include "tz.h"

typedef enum jr_wall_gap { JR_GAP_END, JR_GAP_SHIFT, JR_GAP_SKIP } jr_wall_gap;
typedef enum jr_wall_overlap { JR_TWICE_FIRST, JR_TWICE_SECOND, JR_TWICE_BOTH } jr_wall_overlap;

/* The questions. The set is what `self` points at; all three are pure. */
typedef struct jr_wall_set {
  /* The first day of the set at or after `day`; JR_NEVER if there is none in 400 years. */
  int64_t (*next_day)(const void *self, int64_t day);
  /* The first second of a day at or after `second` (0 … 86399), or -1. */
  int32_t (*next_time)(const void *self, int32_t second);
  /* How many of a day's times lie before `second` (0 … 86400). */
  int32_t (*times_before)(const void *self, int32_t second);
} jr_wall_set;

typedef struct jr_wall {
  const jr_wall_set *set;
  const void *self;
  const jr_tz *tz;
  uint8_t gap, overlap; /* jr_wall_gap, jr_wall_overlap */
} jr_wall;

/* The first instant strictly after `after`, or JR_NEVER. */
int64_t jr_wall_next(const jr_wall *wall, int64_t after);

/* The last instant at or before `now`, or JR_NEVER; found by a bisection of jr_wall_next. */
int64_t jr_wall_last(const jr_wall *wall, int64_t now);

/* How many instants lie after `from`, up to and including `to`: days are walked, times counted. */
int64_t jr_wall_count(const jr_wall *wall, int64_t from, int64_t to);

/* The instant of a single wall time, as in "2027-01-01 00:00", by the same policies; where it comes
 * twice and BOTH are asked for, the first. JR_NEVER where it is skipped, or its day does not exist.
 */
int64_t jr_wall_instant(const jr_tz *tz, int64_t time, jr_wall_gap gap, jr_wall_overlap overlap);

/* What a zone's change did to an instant of the wall. */
typedef enum jr_wall_note {
  JR_WALL_PLAIN,
  JR_WALL_MOVED, /* its wall time does not exist */
  JR_WALL_FIRST, /* its wall time comes twice, and this is the first */
  JR_WALL_SECOND
} jr_wall_note;

jr_wall_note jr_wall_note_of(const jr_wall *wall, int64_t instant);

#endif
