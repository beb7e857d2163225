/* Days by counting: every n days, weeks or months, on which days, and at which times of those days.
 *
 * This is what `every` says with days in it:
 *
 *   every(2).days.at("10:30")                unit DAYS, every 2
 *   every().monday, .on("mon", "thu")        WEEKS, with weekdays; every(2).monday is every second
 * week every(2).weeks                           DAYS, every 14 every().month MONTHS, on the date of
 * the anchor, or the last of a shorter month .day_of_month(15, "last")                MONTHS, with
 * dates; a month without such a day is skipped every().year                             MONTHS,
 * every 12
 *
 * Counting needs a beginning, the anchor. It comes from the moment of the declaration, so that
 * "every 2 days at 10:30" first runs in two days and "every second Monday" on the first Monday to
 * come; or from `.from`, which is then the first moment that counts. It is a date and not an
 * instant, and what is counted are dates, so a month that begins on the 31st comes back to the 31st
 * after February.
 *
 * What days of 23 or 25 hours do to the times is told in wall.h. Pure; any thread; the caller lends
 * `times`.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_CALENDAR_H
#define JR_CALENDAR_H

#include <stdbool.h>
#include <stdint.h>

#include "wall.h"

typedef enum jr_calendar_unit {
  JR_CALENDAR_DAYS,
  JR_CALENDAR_WEEKS,
  JR_CALENDAR_MONTHS
} jr_calendar_unit;

enum { JR_CALENDAR_MAX_EVERY = 1000000 };

typedef struct jr_calendar {
  uint8_t unit;         /* jr_calendar_unit */
  uint8_t weekdays;     /* of WEEKS: bit 0 = Sunday … 6; at least one */
  bool last_date;       /* of MONTHS: the last day, among the dates */
  uint8_t gap, overlap; /* jr_wall_gap, jr_wall_overlap */
  int32_t every;        /* 1 … JR_CALENDAR_MAX_EVERY */
  uint32_t dates;       /* of MONTHS: bits 1 to 31; none, and no last_date: the anchor's */
  uint32_t times_len;   /* 0: the anchor's time of day */
  const int32_t *times; /* seconds of the day, ascending, each once; borrowed */

  /* Filled in by jr_calendar_anchor. */
  int64_t anchor; /* day, week (jr_week_of) or month (jr_month_index) from which is counted */
  int32_t anchor_date, anchor_time;
} jr_calendar;

/* Sets the anchor for a rule that is declared at the instant `now`. `is_from`: `now` is a beginning
 * that was asked for, and may itself be the first. */
void jr_calendar_anchor(jr_calendar *calendar, const jr_tz *tz, int64_t now, bool is_from);

/* The times in a zone, for the questions of wall.h. Both are borrowed. */
jr_wall jr_calendar_wall(const jr_calendar *calendar, const jr_tz *tz);

/* The first instant strictly after `after`, in seconds of UTC, or JR_NEVER. */
static inline int64_t jr_calendar_next(const jr_calendar *calendar, const jr_tz *tz,
                                       int64_t after) {
  jr_wall wall = jr_calendar_wall(calendar, tz);
  return jr_wall_next(&wall, after);
}

#endif
