/* The part of each day in which runs may start.
 *
 * Open and shut change at the times of day that were said, and besides wherever the zone changes:
 * an hour that is left out may jump over an end of the window, and one that comes again may fall
 * back into it. So from one instant to the next change there are two candidates, the wall time and
 * the end of the span.
 *
 * SPDX-License-Identifier: MIT */
#include "window.h"

#include "civil.h"
#include "wall.h"

enum { DAY = 86400, TRIES = 32 };

/* 24:00 is the end of a day that ends with 23:59:59. */
static int32_t last_second(const jr_window *w) {
  return w->closes < DAY ? w->closes : DAY - 1;
}

static int32_t first_shut(const jr_window *w) {
  return (last_second(w) + 1) % DAY;
}

static bool is_always(const jr_window *w) {
  return w->opens == w->closes || first_shut(w) == w->opens;
}

bool jr_window_is_open(const jr_window *w, const jr_tz *tz, int64_t instant) {
  if (is_always(w)) return true;
  int32_t second = jr_second_of_day(instant + jr_tz_offset_at(tz, instant));
  if (w->opens < w->closes) return second >= w->opens && second <= w->closes;
  return second >= w->opens || second <= w->closes;
}

/* The next change of the clock or the calendar at which it may open or shut: the first after
 * `instant` at which the wall shows `second`, or the zone changes. */
static int64_t next_change(const jr_tz *tz, int64_t instant, int32_t second) {
  jr_tz_span s = jr_tz_span_at(tz, instant);
  int64_t wall = instant + s.offset;
  int64_t time = jr_day_of(wall) * JR_DAY_SECONDS + second;
  if (time <= wall) time += JR_DAY_SECONDS;
  return time - s.offset < s.end ? time - s.offset : s.end;
}

/* The same backwards: the last instant before `instant` at which the wall shows `second`, or the
 * last second of the span before. */
static int64_t change_before(const jr_tz *tz, int64_t instant, int32_t second) {
  jr_tz_span s = jr_tz_span_at(tz, instant);
  int64_t wall = instant + s.offset;
  int64_t time = jr_day_of(wall) * JR_DAY_SECONDS + second;
  if (time >= wall) time -= JR_DAY_SECONDS;
  return time - s.offset >= s.start ? time - s.offset : s.start - 1;
}

int64_t jr_window_next(const jr_window *w, const jr_tz *tz, int64_t instant) {
  for (int i = 0; i < TRIES && instant <= JR_CIVIL_LAST; i++) {
    if (jr_window_is_open(w, tz, instant)) return instant;
    instant = next_change(tz, instant, w->opens);
  }
  return JR_NEVER;
}

int64_t jr_window_last(const jr_window *w, const jr_tz *tz, int64_t instant) {
  for (int i = 0; i < TRIES && instant >= JR_CIVIL_FIRST; i++) {
    if (jr_window_is_open(w, tz, instant)) return instant;
    instant = change_before(tz, instant, last_second(w));
  }
  return JR_NEVER;
}

int64_t jr_window_end(const jr_window *w, const jr_tz *tz, int64_t instant) {
  if (is_always(w)) return JR_NEVER;
  do {
    instant = next_change(tz, instant, first_shut(w));
    if (instant > JR_CIVIL_LAST) return JR_NEVER;
  } while (jr_window_is_open(w, tz, instant));
  return instant - 1;
}
