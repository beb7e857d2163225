/* A cron line that has been read.
 *
 * SPDX-License-Identifier: MIT */
#include "cron.h"

enum { SATURDAY = 6, SUNDAY = 0, SEARCH_YEARS = 400 };

/* ---- the days of a month --------------------------------------------------------------------- */

/* A month, as far as days depend on it. */
typedef struct month {
  int length, first_weekday;
} month;

static int weekday_of(const month *m, int day) {
  return (m->first_weekday + day - 1) % 7;
}

/* Seven days from one with the weekday `first` on: bit 0 is that day. */
static uint64_t week_from(uint8_t weekdays, int first) {
  return (((uint32_t)weekdays >> first) | ((uint32_t)weekdays << (7 - first))) & 0x7f;
}

/* Bit d: the day d of the month has one of the weekdays. */
static uint64_t days_on(const month *m, uint8_t weekdays) {
  return week_from(weekdays, m->first_weekday) * UINT64_C(0x10204081) << 1; /* five times */
}

/* From a Saturday to the day before, from a Sunday to the day after, but within the month. */
static uint64_t workdays_in(const jr_cron *cron, const month *m) {
  uint64_t first = 2, last = UINT64_C(1) << m->length;
  uint64_t days = (cron->workdays & (2 * last - 2)) | (cron->last_workday ? last : 0);
  if (!days) return 0;
  uint64_t saturdays = days & days_on(m, 1 << SATURDAY), sundays = days & days_on(m, 1 << SUNDAY);
  return (days & ~saturdays & ~sundays) | (saturdays & ~first) >> 1 | (saturdays & first) << 2 |
         (sundays & ~last) << 1 | (sundays & last) >> 2;
}

static uint64_t dates_in(const jr_cron *cron, const month *m) {
  if (cron->any_date) return UINT64_MAX;
  return cron->dates | cron->dates_from_last >> (31 - m->length) | workdays_in(cron, m);
}

static uint64_t weekdays_in(const jr_cron *cron, const month *m) {
  if (cron->any_weekday) return UINT64_MAX;
  int last_week = m->length - 6;
  uint64_t days = days_on(m, cron->weekdays);
  if (!cron->has_special_weekdays) return days;
  for (int n = 0; n < 5; n++)
    days |= week_from(cron->nth_weekdays[n], m->first_weekday) << (7 * n + 1);
  return days | week_from(cron->last_weekdays, weekday_of(m, last_week)) << last_week;
}

/* Bit d: the day d of the month matches. */
static uint64_t days_in(const jr_cron *cron, const month *m) {
  uint64_t dates = dates_in(cron, m), weekdays = weekdays_in(cron, m);
  bool is_both = cron->is_both || cron->any_date || cron->any_weekday;
  uint64_t in_month = (UINT64_C(2) << m->length) - 2;
  return (is_both ? dates & weekdays : dates | weekdays) & in_month;
}

/* ---- the search ------------------------------------------------------------------------------ */

static uint64_t bits_from(uint64_t bits, int low) {
  return bits >> low << low;
}

/* The first day at or after `day` of a month whose first is `first`. */
static int64_t next_in_month(const jr_cron *cron, jr_date from, int64_t first) {
  month m = {jr_month_length(from.year, from.month), jr_weekday(first)};
  uint64_t days = bits_from(days_in(cron, &m), from.day);
  return days ? first + __builtin_ctzll(days) - 1 : JR_NEVER;
}

static int64_t next_day(const void *self, int64_t day) {
  const jr_cron *cron = self;
  jr_date d = jr_date_from(day);
  for (int64_t last = d.year + SEARCH_YEARS; d.year <= last; d = (jr_date){d.year + 1, 1, 1}) {
    for (; d.month <= 12; d.month++, d.day = 1) {
      uint64_t months = bits_from(cron->months, d.month);
      if (!months) break;
      if (!(months >> d.month & 1)) d = (jr_date){d.year, __builtin_ctzll(months), 1};
      int64_t found = next_in_month(cron, d, jr_day_from(d.year, d.month, 1));
      if (found != JR_NEVER) return found;
    }
  }
  return JR_NEVER;
}

static int32_t time_from(int hour, int minute, int second) {
  return hour * 3600 + minute * 60 + second;
}

static int first_bit(uint64_t bits) {
  return __builtin_ctzll(bits);
}

static int32_t next_time(const void *self, int32_t from) {
  const jr_cron *cron = self;
  int hour = from / 3600, minute = from / 60 % 60, second = from % 60;
  if (cron->hours >> hour & 1) {
    uint64_t seconds = bits_from(cron->seconds, second);
    if (seconds && cron->minutes >> minute & 1) return time_from(hour, minute, first_bit(seconds));
    uint64_t minutes = bits_from(cron->minutes, minute + 1);
    if (minutes) return time_from(hour, first_bit(minutes), first_bit(cron->seconds));
  }
  uint64_t hours = bits_from(cron->hours, hour + 1);
  if (!hours) return -1;
  return time_from(first_bit(hours), first_bit(cron->minutes), first_bit(cron->seconds));
}

static int32_t count_below(uint64_t bits, int high) {
  return __builtin_popcountll(bits & ((UINT64_C(1) << high) - 1));
}

static int32_t times_before(const void *self, int32_t until) {
  const jr_cron *cron = self;
  int hour = until / 3600, minute = until / 60 % 60, second = until % 60;
  int32_t per_minute = __builtin_popcountll(cron->seconds);
  int32_t per_hour = per_minute * __builtin_popcountll(cron->minutes);
  int32_t count = count_below(cron->hours, hour) * per_hour;
  if (!(cron->hours >> hour & 1)) return count;
  count += count_below(cron->minutes, minute) * per_minute;
  return cron->minutes >> minute & 1 ? count + count_below(cron->seconds, second) : count;
}

jr_wall jr_cron_wall(const jr_cron *cron, const jr_tz *tz) {
  static const jr_wall_set set = {next_day, next_time, times_before};
  return (jr_wall){.set = &set, .self = cron, .tz = tz, .gap = cron->gap, .overlap = cron->overlap};
}

bool jr_cron_has_dates(const jr_cron *cron) {
  return next_day(cron, 0) != JR_NEVER;
}
