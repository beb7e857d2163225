/* At a time of the hour, or of the minute: every(2).hours.at(":30"), every().minute.at(":15").
 *
 * Such a rule means "every so often", so it follows real time: hours are counted as they pass, in
 * the night with 23 of them as in the one with 25. But the wall clock is to show the minute that
 * was asked for, also where a zone changes by half an hour (Lord Howe) or is 45 minutes off
 * (Kathmandu). So: from the beginning of an hour on the wall, the anchor, n hours are counted on
 * again and again; each time that lands in an hour of the wall clock, and that hour's time is
 * meant.
 *
 *    anchor            + n hours               + n hours
 *    10:00 . . 10:30   12:00 . . 12:30 run     14:00 . . 14:30 run
 *
 * Where the change is less than an hour, a time of that hour may not exist: `gap` says what then.
 *
 * Pure; any thread; the caller lends `times`. Seconds of UTC.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_HOURLY_H
#define JR_HOURLY_H

#include <stdbool.h>
#include <stdint.h>

#include "tz.h"
#include "wall.h"

typedef struct jr_hourly {
  int32_t unit;         /* 3600 or 60 */
  int32_t every;        /* 1 … JR_HOURLY_MAX_EVERY */
  uint8_t gap;          /* jr_wall_gap */
  uint32_t times_len;   /* at least 1 */
  const int32_t *times; /* seconds of the unit, ascending, each once; borrowed */
  int64_t anchor; /* filled in by jr_hourly_anchor: an instant at which a unit begins on the wall */
} jr_hourly;

enum { JR_HOURLY_MAX_EVERY = 1000000 };

/* Sets the anchor for a rule that is declared at `now`: this hour where each one counts, else the
 * one `every` hours on. `is_from`: `now` is a beginning that was asked for, and the first hour with
 * a time at or after it is the anchor. */
void jr_hourly_anchor(jr_hourly *hourly, const jr_tz *tz, int64_t now, bool is_from);

/* The first instant strictly after `after`, or JR_NEVER. */
int64_t jr_hourly_next(const jr_hourly *hourly, const jr_tz *tz, int64_t after);

/* The last instant at or before `now`, or JR_NEVER. */
int64_t jr_hourly_last(const jr_hourly *hourly, const jr_tz *tz, int64_t now);

/* How many instants lie after `from`, up to and including `to`. Where a zone changes by part of an
 * hour between them, the answer may be off by the times that fell into that gap. */
int64_t jr_hourly_count(const jr_hourly *hourly, const jr_tz *tz, int64_t from, int64_t to);

#endif
