/* Days by counting.
 *
 * SPDX-License-Identifier: MIT */
#include "calendar.h"

#include <stddef.h>

enum { SEARCH_MONTHS = 400 * 12 };

static int64_t max64(int64_t a, int64_t b) {
  return a > b ? a : b;
}

/* ---- the next day ---------------------------------------------------------------------------- */

/* By how much a count has gone beyond the last one that is a multiple of `every` from the anchor.
 */
static int64_t phase(const jr_calendar *c, int64_t count) {
  return jr_floor_mod(count - c->anchor, c->every);
}

static int64_t next_by_days(const jr_calendar *c, int64_t day) {
  if (day <= c->anchor) return c->anchor;
  int64_t beyond = phase(c, day);
  return beyond == 0 ? day : day + c->every - beyond;
}

static int64_t monday_of(int64_t week) {
  return week * 7 - 3;
}

/* The first of the weekdays from `day` to the Sunday of its week, or JR_NEVER. */
static int64_t next_in_week(const jr_calendar *c, int64_t day) {
  for (int64_t end = monday_of(jr_week_of(day) + 1); day < end; day++)
    if (c->weekdays >> jr_weekday(day) & 1) return day;
  return JR_NEVER;
}

static int64_t next_by_weeks(const jr_calendar *c, int64_t day) {
  day = max64(day, monday_of(c->anchor));
  int64_t week = jr_week_of(day), beyond = phase(c, week);
  int64_t found = beyond == 0 ? next_in_week(c, day) : JR_NEVER;
  return found != JR_NEVER ? found : next_in_week(c, monday_of(week + c->every - beyond));
}

/* Bit d: the day d of a month so long. */
static uint64_t dates_in(const jr_calendar *c, int length) {
  uint64_t last = UINT64_C(1) << length;
  if (c->dates || c->last_date) return (c->dates & (2 * last - 1)) | (c->last_date ? last : 0);
  return c->anchor_date < length ? UINT64_C(1) << c->anchor_date : last;
}

static int64_t next_by_months(const jr_calendar *c, int64_t day) {
  jr_date from = jr_date_from(day);
  int64_t month = max64(jr_month_index(from), c->anchor), beyond = phase(c, month);
  if (beyond > 0) month += c->every - beyond;
  for (int64_t end = month + SEARCH_MONTHS; month <= end; month += c->every) {
    jr_date d = jr_month_first(month);
    uint64_t dates = dates_in(c, jr_month_length(d.year, d.month));
    if (month == jr_month_index(from)) dates = dates >> from.day << from.day;
    if (dates) return jr_day_from(d.year, d.month, __builtin_ctzll(dates));
  }
  return JR_NEVER;
}

static int64_t next_day(const void *self, int64_t day) {
  const jr_calendar *c = self;
  switch ((jr_calendar_unit)c->unit) {
  case JR_CALENDAR_DAYS:
    return next_by_days(c, day);
  case JR_CALENDAR_WEEKS:
    return next_by_weeks(c, day);
  case JR_CALENDAR_MONTHS:
    return next_by_months(c, day);
  }
  return JR_NEVER;
}

/* ---- times of day ---------------------------------------------------------------------------- */

static int32_t times_before(const void *self, int32_t second) {
  const jr_calendar *c = self;
  if (c->times_len == 0) return c->anchor_time < second;
  uint32_t low = 0, high = c->times_len;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (c->times[middle] < second) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return (int32_t)low;
}

static int32_t next_time(const void *self, int32_t second) {
  const jr_calendar *c = self;
  if (c->times_len == 0) return c->anchor_time >= second ? c->anchor_time : -1;
  uint32_t i = (uint32_t)times_before(c, second);
  return i < c->times_len ? c->times[i] : -1;
}

jr_wall jr_calendar_wall(const jr_calendar *calendar, const jr_tz *tz) {
  static const jr_wall_set set = {next_day, next_time, times_before};
  return (jr_wall){
      .set = &set, .self = calendar, .tz = tz, .gap = calendar->gap, .overlap = calendar->overlap};
}

/* ---- the anchor ------------------------------------------------------------------------------ */

/* What is counted, on a day. */
static int64_t count_of(const jr_calendar *c, int64_t day) {
  switch ((jr_calendar_unit)c->unit) {
  case JR_CALENDAR_DAYS:
    return day;
  case JR_CALENDAR_WEEKS:
    return jr_week_of(day);
  case JR_CALENDAR_MONTHS:
    return jr_month_index(jr_date_from(day));
  }
  return 0;
}

/* Which day comes first if each day, week and month counts. */
static int64_t first_day(const jr_calendar *c, const jr_tz *tz, int64_t day, int64_t after) {
  jr_calendar each = *c;
  each.every = 1;
  each.anchor = count_of(c, day);
  int64_t found = jr_calendar_next(&each, tz, after);
  return found == JR_NEVER ? day : jr_day_of(found + jr_tz_offset_at(tz, found));
}

/* Days, and months by the anchor's date, are counted from today: the next one is `every` of them
 * away. Only where each of them counts may it be today, if a time of today is still to come. What
 * has a name, a weekday or a date, is counted from the first one to come. */
void jr_calendar_anchor(jr_calendar *c, const jr_tz *tz, int64_t now, bool is_from) {
  int64_t wall = now + jr_tz_offset_at(tz, now), today = jr_day_of(wall);
  bool is_named = c->unit == JR_CALENDAR_WEEKS || c->dates || c->last_date;
  c->anchor_date = jr_date_from(today).day;
  c->anchor_time = jr_second_of_day(wall);
  if (is_from || is_named) {
    c->anchor = count_of(c, first_day(c, tz, today, is_from ? now - 1 : now));
  } else {
    bool may_be_today = c->every == 1 && c->times_len > 0;
    c->anchor = count_of(c, today) + (may_be_today ? 0 : c->every);
  }
}
