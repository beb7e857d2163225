/* At a time of the hour, or of the minute.
 *
 * The k-th unit is found by a division, so nothing is walked. Its times lie no further than one
 * unit from where the count lands: before it, where the landing is in the middle of an hour of the
 * wall clock. So an instant belongs to one of the few units around it, and these are looked at.
 *
 * SPDX-License-Identifier: MIT */
#include "hourly.h"

#include "civil.h"

enum { AROUND = 2 }; /* units that may hold an instant, to either side of the one it lies in */

static int64_t period(const jr_hourly *h) {
  return (int64_t)h->unit * h->every;
}

/* Where the count has landed at an instant, at or before it. May be negative. */
static int64_t unit_at(const jr_hourly *h, int64_t instant) {
  return jr_floor_div(instant - h->anchor, period(h));
}

static int64_t wall_start(const jr_hourly *h, const jr_tz *tz, int64_t instant) {
  return jr_floor_div(instant + jr_tz_offset_at(tz, instant), h->unit) * h->unit;
}

/* The instant that shows `wall`, near one with the offset `offset`; JR_NEVER where it is skipped.
 */
static int64_t instant_of(const jr_hourly *h, const jr_tz *tz, int64_t wall, int32_t offset) {
  int64_t plain = wall - offset;
  if (jr_tz_offset_at(tz, plain) == offset) return plain;
  jr_tz_wall w = jr_tz_wall_at(tz, wall);
  if (w.kind != JR_TZ_GAP) return w.after;
  return h->gap == JR_GAP_SKIP ? JR_NEVER : h->gap == JR_GAP_END ? w.at : w.before;
}

/* The i-th time of the k-th unit. */
static int64_t time_of(const jr_hourly *h, const jr_tz *tz, int64_t k, uint32_t i) {
  int64_t landed = h->anchor + k * period(h);
  return instant_of(h, tz, wall_start(h, tz, landed) + h->times[i], jr_tz_offset_at(tz, landed));
}

static bool is_out_of_range(int64_t instant) {
  return instant < JR_CIVIL_FIRST || instant > JR_CIVIL_LAST;
}

static int64_t first_unit_around(const jr_hourly *h, int64_t instant) {
  int64_t k = unit_at(h, instant) - AROUND;
  return k < 0 ? 0 : k;
}

/* The first time after `after` of the units k … last. */
static int64_t next_in(const jr_hourly *h, const jr_tz *tz, int64_t k, int64_t last,
                       int64_t after) {
  int64_t found = JR_NEVER;
  for (; k <= last; k++) {
    for (uint32_t i = 0; i < h->times_len; i++) {
      int64_t t = time_of(h, tz, k, i);
      if (t > after && t < found) found = t;
    }
  }
  return found;
}

/* A gap may swallow the times of a few units in a row. */
int64_t jr_hourly_next(const jr_hourly *h, const jr_tz *tz, int64_t after) {
  enum { TRIES = 64 };
  if (after < JR_CIVIL_FIRST) after = JR_CIVIL_FIRST - 1;
  int64_t k = first_unit_around(h, after < h->anchor ? h->anchor : after), found = JR_NEVER;
  for (int i = 0; i < TRIES && found == JR_NEVER && after < JR_CIVIL_LAST; i++) {
    found = next_in(h, tz, k, k + 2 * AROUND, after);
    k += AROUND;
  }
  return is_out_of_range(found) ? JR_NEVER : found;
}

int64_t jr_hourly_last(const jr_hourly *h, const jr_tz *tz, int64_t now) {
  enum { TRIES = 64 };
  if (now > JR_CIVIL_LAST) now = JR_CIVIL_LAST;
  int64_t found = JR_NEVER;
  for (int64_t k = unit_at(h, now) + AROUND, i = 0; k >= 0 && i < TRIES; k--, i++) {
    if (found != JR_NEVER && i > 2 * AROUND) break;
    for (uint32_t j = 0; j < h->times_len; j++) {
      int64_t t = time_of(h, tz, k, j);
      if (t <= now && (found == JR_NEVER || t > found)) found = t;
    }
  }
  return found;
}

/* How many times lie at or before `instant`: all of the units well before it, and a look at those
 * around. */
static int64_t times_until(const jr_hourly *h, const jr_tz *tz, int64_t instant) {
  int64_t k = first_unit_around(h, instant), count = k * h->times_len;
  for (int64_t last = unit_at(h, instant) + AROUND; k <= last; k++)
    for (uint32_t i = 0; i < h->times_len; i++) count += time_of(h, tz, k, i) <= instant;
  return count;
}

int64_t jr_hourly_count(const jr_hourly *h, const jr_tz *tz, int64_t from, int64_t to) {
  if (from < JR_CIVIL_FIRST) from = JR_CIVIL_FIRST - 1;
  if (to > JR_CIVIL_LAST) to = JR_CIVIL_LAST;
  return from >= to ? 0 : times_until(h, tz, to) - times_until(h, tz, from);
}

void jr_hourly_anchor(jr_hourly *h, const jr_tz *tz, int64_t now, bool is_from) {
  int32_t offset = jr_tz_offset_at(tz, now);
  h->anchor = wall_start(h, tz, now) - offset;
  if (is_from) {
    jr_hourly each = *h;
    each.every = 1;
    int64_t found = jr_hourly_next(&each, tz, now - 1);
    if (found != JR_NEVER) h->anchor = wall_start(h, tz, found) - jr_tz_offset_at(tz, found);
  } else if (h->every > 1) {
    h->anchor += period(h);
  }
}
