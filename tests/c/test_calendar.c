/* The calendar by counting: the first runs of the design's table, days and months, times of the
 * hour, windows, and the rule that joins them.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <stdio.h>

#include "calendar.h"
#include "cronline.h"
#include "hourly.h"
#include "rule.h"
#include "window.h"
#include "zones_all.h"

#define HOUR     3600
#define AT(h, m) ((h)*HOUR + (m)*60)
#define TIMES(...)                                                                                 \
  .times = (const int32_t[]){__VA_ARGS__}, .times_len = sizeof((const int32_t[]){__VA_ARGS__}) / 4

enum { MON = 1 << 1, WED = 1 << 3, THU = 1 << 4, WORKDAYS = 0x3e, WEEKEND = 0x41 };

static jr_rule rule_of(const char *zone_name, jr_rule_kind kind) {
  return (jr_rule){
      .kind = (uint8_t)kind, .zone = zone(zone_name), .from_ns = INT64_MIN, .till_ns = JR_NEVER};
}

/* Compares the next runs, as wall times of the zone without their seconds, with "2025-03-30T03:00
 * …". */
static void runs(const jr_rule *rule, int64_t after, const char *expected) {
  char found[512] = "";
  int n = 1;
  for (const char *p = expected; *p; p++) n += *p == ' ';
  for (int i = 0; i < n; i++) {
    char text[JR_STAMP_TEXT] = "never";
    after = jr_rule_next_second(rule, after);
    if (after != JR_NEVER) {
      jr_stamp_format_wall(after + jr_tz_offset_at(rule->zone->tz, after), 0, text);
      text[strlen("2025-03-30T03:00")] = 0;
    }
    sprintf(found + strlen(found), "%s%s", i ? " " : "", text);
  }
  if (strcmp(found, expected) != 0) fail_msg("%s, expected\n%s", found, expected);
}

/* Declared at `now`, a wall time of `zone_name`. */
static void declared(jr_calendar c, const char *zone_name, const char *now, const char *expected) {
  jr_rule rule = rule_of(zone_name, JR_RULE_CALENDAR);
  int64_t at = jr_tz_wall_at(rule.zone->tz, instant(now)).before;
  jr_calendar_anchor(&c, rule.zone->tz, at, false);
  rule.as.calendar = c;
  runs(&rule, at, expected);
}

static void begun(jr_calendar c, const char *from, const char *expected) {
  jr_rule rule = rule_of("UTC", JR_RULE_CALENDAR);
  jr_calendar_anchor(&c, rule.zone->tz, instant(from), true);
  rule.as.calendar = c;
  runs(&rule, instant(from) - 1, expected);
}

static void hourly(jr_hourly h, const char *zone_name, const char *now, const char *expected) {
  jr_rule rule = rule_of(zone_name, JR_RULE_HOURLY);
  int64_t at = jr_tz_wall_at(rule.zone->tz, instant(now)).before;
  jr_hourly_anchor(&h, rule.zone->tz, at, false);
  rule.as.hourly = h;
  runs(&rule, at, expected);
}

/* ---- days ------------------------------------------------------------------------------------ */

#define DAYS(...)                                                                                  \
  (jr_calendar) {                                                                                  \
    .unit = JR_CALENDAR_DAYS, .every = __VA_ARGS__                                                 \
  }
#define WEEKS(...)                                                                                 \
  (jr_calendar) {                                                                                  \
    .unit = JR_CALENDAR_WEEKS, .every = __VA_ARGS__                                                \
  }
#define MONTHS(...)                                                                                \
  (jr_calendar) {                                                                                  \
    .unit = JR_CALENDAR_MONTHS, .every = __VA_ARGS__                                               \
  }

static void a_day_without_a_time_is_the_same_time_tomorrow(void **state) {
  (void)state;
  declared(DAYS(1), "UTC", "2025-01-01 09:15", "2025-01-02T09:15 2025-01-03T09:15");
  declared(DAYS(3), "UTC", "2025-01-01 09:15", "2025-01-04T09:15 2025-01-07T09:15");
  declared(DAYS(14), "UTC", "2025-01-01 09:15", "2025-01-15T09:15 2025-01-29T09:15");
  declared(DAYS(1), "Europe/Berlin", "2025-03-29 09:15", "2025-03-30T09:15 2025-03-31T09:15");
  declared(DAYS(1), "Europe/Berlin", "2025-03-29 02:30", "2025-03-30T03:00 2025-03-31T02:30");
}

static void a_time_of_today_counts_only_for_each_day(void **state) {
  (void)state;
  declared(DAYS(1, TIMES(AT(10, 30))), "UTC", "2025-01-01 09:00",
           "2025-01-01T10:30 2025-01-02T10:30");
  declared(DAYS(1, TIMES(AT(10, 30))), "UTC", "2025-01-01 10:30", "2025-01-02T10:30");
  declared(DAYS(1, TIMES(AT(10, 30))), "UTC", "2025-01-01 11:00", "2025-01-02T10:30");
  declared(DAYS(2, TIMES(AT(10, 30))), "UTC", "2025-01-01 09:00",
           "2025-01-03T10:30 2025-01-05T10:30");
  declared(DAYS(2, TIMES(AT(10, 30))), "UTC", "2025-01-01 11:00",
           "2025-01-03T10:30 2025-01-05T10:30");
}

static void several_times_a_day(void **state) {
  (void)state;
  declared(DAYS(1, TIMES(AT(9, 0), AT(12, 0), AT(17, 0))), "UTC", "2025-01-01 12:00",
           "2025-01-01T17:00 2025-01-02T09:00 2025-01-02T12:00");
  declared(DAYS(2, TIMES(AT(9, 0), AT(17, 0))), "UTC", "2025-01-01 12:00",
           "2025-01-03T09:00 2025-01-03T17:00 2025-01-05T09:00");
}

static void days_of_23_and_25_hours(void **state) {
  (void)state;
  declared(DAYS(1, TIMES(AT(2, 30))), "Europe/Berlin", "2025-03-29 12:00",
           "2025-03-30T03:00 2025-03-31T02:30 2025-04-01T02:30");
  declared(DAYS(1, TIMES(AT(2, 30))), "Europe/Berlin", "2025-10-25 12:00",
           "2025-10-26T02:30 2025-10-27T02:30");
  declared(DAYS(1, TIMES(AT(2, 0), AT(2, 30), AT(3, 0))), "Europe/Berlin", "2025-03-30 00:00",
           "2025-03-30T03:00 2025-03-31T02:00");
  declared(DAYS(1, TIMES(AT(2, 30)), .gap = JR_GAP_SHIFT), "Europe/Berlin", "2025-03-29 12:00",
           "2025-03-30T03:30 2025-03-31T02:30");
  declared(DAYS(1, TIMES(AT(2, 30)), .gap = JR_GAP_SKIP), "Europe/Berlin", "2025-03-29 12:00",
           "2025-03-31T02:30 2025-04-01T02:30");
  declared(DAYS(1, TIMES(AT(2, 30)), .overlap = JR_TWICE_BOTH), "Europe/Berlin", "2025-10-25 12:00",
           "2025-10-26T02:30 2025-10-26T02:30 2025-10-27T02:30");
  declared(DAYS(1, TIMES(AT(0, 0))), "America/Santiago", "2024-09-07 12:00",
           "2024-09-08T01:00 2024-09-09T00:00");
  declared(DAYS(1, TIMES(AT(12, 0))), "Pacific/Apia", "2011-12-29 02:00",
           "2011-12-29T12:00 2011-12-31T12:00 2012-01-01T12:00");
}

/* ---- weeks: 2025-01-01 is a Wednesday -------------------------------------------------------- */

static void a_weekday(void **state) {
  (void)state;
  declared(WEEKS(1, .weekdays = MON), "UTC", "2025-01-01 09:15",
           "2025-01-06T09:15 2025-01-13T09:15");
  declared(WEEKS(1, .weekdays = WED), "UTC", "2025-01-01 09:15",
           "2025-01-08T09:15 2025-01-15T09:15");
  declared(WEEKS(1, .weekdays = WED, TIMES(AT(10, 0))), "UTC", "2025-01-01 09:15",
           "2025-01-01T10:00 2025-01-08T10:00");
  declared(WEEKS(1, .weekdays = WED, TIMES(AT(9, 0))), "UTC", "2025-01-01 09:15",
           "2025-01-08T09:00");
}

static void weekdays_and_weekends(void **state) {
  (void)state;
  declared(WEEKS(1, .weekdays = WORKDAYS, TIMES(AT(9, 0))), "UTC", "2025-01-02 12:00",
           "2025-01-03T09:00 2025-01-06T09:00 2025-01-07T09:00");
  declared(WEEKS(1, .weekdays = WEEKEND, TIMES(AT(9, 0))), "UTC", "2025-01-01 12:00",
           "2025-01-04T09:00 2025-01-05T09:00 2025-01-11T09:00");
  declared(WEEKS(1, .weekdays = MON | THU), "UTC", "2025-01-01 09:15",
           "2025-01-02T09:15 2025-01-06T09:15 2025-01-09T09:15");
}

static void every_second_monday_begins_with_the_first_to_come(void **state) {
  (void)state;
  declared(WEEKS(2, .weekdays = MON, TIMES(AT(8, 0))), "UTC", "2025-01-01 09:15",
           "2025-01-06T08:00 2025-01-20T08:00 2025-02-03T08:00");
  declared(WEEKS(2, .weekdays = MON, TIMES(AT(8, 0))), "UTC", "2025-01-06 07:00",
           "2025-01-06T08:00 2025-01-20T08:00");
  declared(WEEKS(2, .weekdays = MON, TIMES(AT(8, 0))), "UTC", "2025-01-06 08:00",
           "2025-01-13T08:00 2025-01-27T08:00");
  declared(WEEKS(2, .weekdays = MON | THU, TIMES(AT(8, 0))), "UTC", "2025-01-06 09:00",
           "2025-01-09T08:00 2025-01-20T08:00 2025-01-23T08:00");
  declared(WEEKS(3, .weekdays = 1, TIMES(0)), "UTC", "2025-01-05 09:00",
           "2025-01-12T00:00 2025-02-02T00:00");
}

/* ---- months ---------------------------------------------------------------------------------- */

static void a_month_clamps_and_comes_back(void **state) {
  (void)state;
  declared(MONTHS(1), "UTC", "2025-01-31 09:15",
           "2025-02-28T09:15 2025-03-31T09:15 2025-04-30T09:15 2025-05-31T09:15");
  declared(MONTHS(1, TIMES(AT(10, 0))), "UTC", "2025-01-15 09:15",
           "2025-01-15T10:00 2025-02-15T10:00");
  declared(MONTHS(1, TIMES(AT(9, 0))), "UTC", "2025-01-15 09:15",
           "2025-02-15T09:00 2025-03-15T09:00");
  declared(MONTHS(2), "UTC", "2024-12-31 09:15",
           "2025-02-28T09:15 2025-04-30T09:15 2025-06-30T09:15 2025-08-31T09:15");
  declared(MONTHS(3, TIMES(AT(10, 0))), "UTC", "2025-01-15 09:15",
           "2025-04-15T10:00 2025-07-15T10:00");
}

static void a_year_from_a_leap_day(void **state) {
  (void)state;
  declared(MONTHS(12), "UTC", "2024-02-29 09:15",
           "2025-02-28T09:15 2026-02-28T09:15 2027-02-28T09:15 2028-02-29T09:15");
  declared(MONTHS(24), "UTC", "2025-06-01 09:15", "2027-06-01T09:15 2029-06-01T09:15");
}

static void days_of_the_month(void **state) {
  (void)state;
  declared(MONTHS(1, .dates = 1u << 15, .last_date = true, TIMES(AT(6, 0))), "UTC",
           "2025-01-20 00:00",
           "2025-01-31T06:00 2025-02-15T06:00 2025-02-28T06:00 2025-03-15T06:00");
  declared(MONTHS(1, .dates = 1u << 31), "UTC", "2025-01-31 09:15",
           "2025-03-31T09:15 2025-05-31T09:15 2025-07-31T09:15 2025-08-31T09:15");
  declared(MONTHS(1, .dates = 1u << 31 | 1u << 30 | 1u << 1, TIMES(0)), "UTC", "2025-02-01 09:15",
           "2025-03-01T00:00 2025-03-30T00:00 2025-03-31T00:00 2025-04-01T00:00");
  declared(MONTHS(2, .dates = 1u << 15, TIMES(0)), "UTC", "2025-01-20 09:15",
           "2025-02-15T00:00 2025-04-15T00:00");
  declared(MONTHS(12, .dates = 1u << 29, TIMES(0)), "UTC", "2024-02-01 00:00",
           "2024-02-29T00:00 2028-02-29T00:00");
  declared(MONTHS(1, .last_date = true, TIMES(0)), "UTC", "2024-02-01 00:00",
           "2024-02-29T00:00 2024-03-31T00:00");
}

/* ---- from ------------------------------------------------------------------------------------ */

static void from_is_where_counting_begins(void **state) {
  (void)state;
  begun(DAYS(2, TIMES(AT(10, 30))), "2025-06-01 00:00", "2025-06-01T10:30 2025-06-03T10:30");
  begun(DAYS(2, TIMES(AT(10, 30))), "2025-06-01 12:00", "2025-06-02T10:30 2025-06-04T10:30");
  begun(DAYS(2), "2025-06-01 12:00", "2025-06-01T12:00 2025-06-03T12:00");
  begun(WEEKS(2, .weekdays = MON, TIMES(0)), "2025-01-06 00:00",
        "2025-01-06T00:00 2025-01-20T00:00");
  begun(MONTHS(1), "2025-01-31 00:00", "2025-01-31T00:00 2025-02-28T00:00 2025-03-31T00:00");
  begun(MONTHS(3, .dates = 1u << 5, TIMES(0)), "2025-01-06 00:00",
        "2025-02-05T00:00 2025-05-05T00:00");
}

/* ---- hours and minutes ----------------------------------------------------------------------- */

#define HOURS(...)                                                                                 \
  (jr_hourly) {                                                                                    \
    .unit = HOUR, .every = __VA_ARGS__                                                             \
  }
#define MINUTES(...)                                                                               \
  (jr_hourly) {                                                                                    \
    .unit = 60, .every = __VA_ARGS__                                                               \
  }

static void times_of_the_hour(void **state) {
  (void)state;
  hourly(HOURS(2, TIMES(AT(0, 30))), "UTC", "2025-01-01 10:00",
         "2025-01-01T12:30 2025-01-01T14:30");
  hourly(HOURS(1, TIMES(AT(0, 30))), "UTC", "2025-01-01 10:00",
         "2025-01-01T10:30 2025-01-01T11:30");
  hourly(HOURS(1, TIMES(AT(0, 30))), "UTC", "2025-01-01 10:30", "2025-01-01T11:30");
  hourly(HOURS(1, TIMES(AT(0, 0), AT(0, 20), AT(0, 40))), "UTC", "2025-01-01 10:25",
         "2025-01-01T10:40 2025-01-01T11:00 2025-01-01T11:20");
  hourly(HOURS(5, TIMES(AT(0, 30))), "UTC", "2025-01-01 10:45",
         "2025-01-01T15:30 2025-01-01T20:30 2025-01-02T01:30");
  hourly(HOURS(1, TIMES(AT(0, 30))), "Asia/Kathmandu", "2025-01-01 10:00",
         "2025-01-01T10:30 2025-01-01T11:30");
}

static void hours_follow_real_time(void **state) {
  (void)state;
  hourly(HOURS(1, TIMES(AT(0, 30))), "Europe/Berlin", "2025-03-30 00:00",
         "2025-03-30T00:30 2025-03-30T01:30 2025-03-30T03:30 2025-03-30T04:30");
  hourly(HOURS(1, TIMES(AT(0, 30))), "Europe/Berlin", "2025-10-26 01:00",
         "2025-10-26T01:30 2025-10-26T02:30 2025-10-26T02:30 2025-10-26T03:30");
  hourly(HOURS(2, TIMES(AT(0, 30))), "Europe/Berlin", "2025-03-29 21:00",
         "2025-03-29T23:30 2025-03-30T01:30 2025-03-30T04:30 2025-03-30T06:30");
}

/* At 02:00 on 2025-04-06 the clock goes back to 01:30, on 2025-10-05 forward to 02:30. */
static void half_an_hour_of_daylight_saving(void **state) {
  (void)state;
  const char *lord_howe = "Australia/Lord_Howe";
  hourly(HOURS(1, TIMES(AT(0, 45))), lord_howe, "2025-04-06 00:00",
         "2025-04-06T00:45 2025-04-06T01:45 2025-04-06T01:45 2025-04-06T02:45");
  hourly(HOURS(1, TIMES(AT(0, 15))), lord_howe, "2025-04-06 00:00",
         "2025-04-06T00:15 2025-04-06T01:15 2025-04-06T02:15");
  hourly(HOURS(1, TIMES(AT(0, 15))), lord_howe, "2025-10-05 01:00",
         "2025-10-05T01:15 2025-10-05T02:30 2025-10-05T03:15");
  hourly(HOURS(1, TIMES(AT(0, 15)), .gap = JR_GAP_SKIP), lord_howe, "2025-10-05 01:00",
         "2025-10-05T01:15 2025-10-05T03:15");
  hourly(HOURS(1, TIMES(AT(0, 15)), .gap = JR_GAP_SHIFT), lord_howe, "2025-10-05 01:00",
         "2025-10-05T01:15 2025-10-05T02:45 2025-10-05T03:15");
}

static void times_of_the_minute(void **state) {
  (void)state;
  jr_rule rule = rule_of("UTC", JR_RULE_HOURLY);
  rule.as.hourly = MINUTES(1, TIMES(15, 45));
  jr_hourly_anchor(&rule.as.hourly, rule.zone->tz, 1000000030, false);
  assert_int_equal(jr_rule_next_second(&rule, 1000000030), 1000000005 + 30 + 0);
}

/* ---- counting and looking back, for all kinds ------------------------------------------------ */

static void check_rule(const jr_rule *rule, int64_t from, int64_t to) {
  const int64_t ns = 1000000000;
  int64_t count = 0, last = JR_NEVER;
  for (int64_t t = jr_rule_next(rule, from * ns); t <= to * ns; t = jr_rule_next(rule, t)) {
    assert_true(last == JR_NEVER || t > last);
    last = t;
    count++;
  }
  assert_int_equal(jr_rule_count(rule, from * ns, to * ns), count);
  if (count) assert_int_equal(jr_rule_last(rule, to * ns), last);
}

static void check_in_zones(jr_rule *rule) {
  static const char *const names[] = {"UTC", "Europe/Berlin", "America/Santiago", "Asia/Kathmandu"};
  static const jr_window windows[] = {{0, 0},
                                      {AT(9, 0), AT(18, 0)},
                                      {AT(22, 0), AT(2, 30)},
                                      {AT(2, 15), AT(2, 45)},
                                      {AT(1, 0), AT(2, 30)},
                                      {AT(2, 30), AT(4, 0)},
                                      {AT(12, 0), AT(24, 0)}};
  for (size_t z = 0; z < sizeof names / sizeof *names; z++) {
    for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) {
      int64_t now = instant("2025-03-01 09:15:07Z"), from = now;
      rule->zone = zone(names[z]);
      rule->window = windows[w];
      if (rule->kind == JR_RULE_CALENDAR)
        jr_calendar_anchor(&rule->as.calendar, rule->zone->tz, now, false);
      if (rule->kind == JR_RULE_HOURLY)
        jr_hourly_anchor(&rule->as.hourly, rule->zone->tz, now, false);
      for (int i = 0; i < 10; i++, from += 35 * JR_DAY_SECONDS + 12345)
        check_rule(rule, from, from + 40 * JR_DAY_SECONDS);
    }
  }
}

static void counts_and_looks_back(void **state) {
  (void)state;
  const jr_calendar calendars[] = {
      {.unit = JR_CALENDAR_DAYS, .every = 1},
      {.unit = JR_CALENDAR_DAYS, .every = 3, TIMES(0, AT(2, 30), AT(23, 59))},
      {.unit = JR_CALENDAR_WEEKS, .every = 1, .weekdays = WORKDAYS, TIMES(AT(9, 0), AT(17, 0))},
      {.unit = JR_CALENDAR_WEEKS, .every = 2, .weekdays = MON | THU, TIMES(AT(2, 20), AT(2, 40))},
      {.unit = JR_CALENDAR_MONTHS, .every = 1, TIMES(AT(2, 30))},
      {.unit = JR_CALENDAR_MONTHS,
       .every = 1,
       .dates = 1u << 30,
       .last_date = true,
       .overlap = JR_TWICE_BOTH},
  };
  for (size_t i = 0; i < sizeof calendars / sizeof *calendars; i++) {
    jr_rule rule = rule_of("UTC", JR_RULE_CALENDAR);
    rule.as.calendar = calendars[i];
    check_in_zones(&rule);
  }
  const jr_hourly hours[] = {
      {.unit = HOUR, .every = 1, TIMES(AT(0, 15), AT(0, 45))},
      {.unit = HOUR, .every = 5, TIMES(AT(0, 30))},
      {.unit = 60, .every = 7, TIMES(0, 59)},
  };
  for (size_t i = 0; i < sizeof hours / sizeof *hours; i++) {
    jr_rule rule = rule_of("UTC", JR_RULE_HOURLY);
    rule.as.hourly = hours[i];
    check_in_zones(&rule);
  }
}

/* ---- windows --------------------------------------------------------------------------------- */

static void cron_within(const char *line, jr_window window, const char *from,
                        const char *expected) {
  jr_rule rule = rule_of("Europe/Berlin", JR_RULE_CRON);
  jr_cron_fault fault;
  assert_int_equal(jr_cron_parse(line, strlen(line), NULL, 0, &rule.as.cron, &fault), 0);
  rule.window = window;
  runs(&rule, instant(from), expected);
}

static void windows_take_both_ends(void **state) {
  (void)state;
  jr_window day = {AT(9, 0), AT(18, 0)}, night = {AT(22, 0), AT(6, 0)},
            evening = {AT(18, 0), AT(24, 0)};
  cron_within("0 */3 * * *", day, "2025-01-01T10:00Z",
              "2025-01-01T12:00 2025-01-01T15:00 2025-01-01T18:00 2025-01-02T09:00");
  cron_within("0 */3 * * *", night, "2025-01-01T10:00Z",
              "2025-01-02T00:00 2025-01-02T03:00 2025-01-02T06:00 2025-01-03T00:00");
  cron_within("59 */3 * * *", evening, "2025-01-01T10:00Z",
              "2025-01-01T18:59 2025-01-01T21:59 2025-01-02T18:59");
  cron_within("0 20 * * *", day, "2025-01-01T10:00Z", "never");
}

/* Second by second, through the nights in which the clocks change. */
static void check_window(const jr_window *w, const char *zone_name, const char *from) {
  const jr_tz *tz = zone(zone_name)->tz;
  int64_t begin = instant(from), end = begin + 30 * HOUR, next = JR_NEVER, last = JR_NEVER;
  for (int64_t t = end; t >= begin; t -= 60) {
    if (jr_window_is_open(w, tz, t)) next = t;
    if (next != JR_NEVER) assert_in_range(jr_window_next(w, tz, t), t, next);
  }
  for (int64_t t = begin; t <= end; t += 60) {
    if (jr_window_is_open(w, tz, t)) last = t;
    if (last != JR_NEVER) assert_in_range(jr_window_last(w, tz, t), last, t);
    if (last == t && jr_window_end(w, tz, t) < end) {
      assert_true(jr_window_is_open(w, tz, jr_window_end(w, tz, t)));
      assert_false(jr_window_is_open(w, tz, jr_window_end(w, tz, t) + 1));
    }
  }
}

static void windows_through_a_change(void **state) {
  (void)state;
  static const jr_window windows[] = {{AT(1, 0), AT(2, 30)},  {AT(2, 10), AT(2, 40)},
                                      {AT(2, 30), AT(4, 0)},  {AT(22, 0), AT(2, 30)},
                                      {AT(2, 30), AT(22, 0)}, {AT(3, 0), AT(3, 1)}};
  for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
    check_window(&windows[i], "Europe/Berlin", "2025-03-29T12:00Z");
    check_window(&windows[i], "Europe/Berlin", "2025-10-25T12:00Z");
    check_window(&windows[i], "Europe/Berlin", "2025-07-01T12:00Z");
    check_window(&windows[i], "America/Santiago", "2024-09-07T12:00Z");
  }
}

/* ---- limits ---------------------------------------------------------------------------------- */

static void heeds_limits_and_fractions(void **state) {
  (void)state;
  const int64_t ns = 1000000000;
  jr_rule rule = rule_of("UTC", JR_RULE_CALENDAR);
  int64_t now = instant("2025-01-01 09:15Z");
  rule.as.calendar = DAYS(1);
  rule.fraction_ns = 250000000;
  jr_calendar_anchor(&rule.as.calendar, rule.zone->tz, now, false);
  int64_t first = (now + JR_DAY_SECONDS) * ns + 250000000;
  assert_int_equal(jr_rule_next(&rule, now * ns + 250000000), first);
  assert_int_equal(jr_rule_next(&rule, first - 1), first);
  assert_int_equal(jr_rule_next(&rule, first), first + JR_DAY_SECONDS * ns);
  assert_int_equal(jr_rule_last(&rule, first), first);
  assert_int_equal(jr_rule_last(&rule, first - 1), JR_NEVER);
  rule.from_ns = first + 1;
  rule.till_ns = first + 3 * JR_DAY_SECONDS * ns;
  assert_int_equal(jr_rule_next(&rule, INT64_MIN), first + JR_DAY_SECONDS * ns);
  assert_int_equal(jr_rule_next(&rule, rule.till_ns - 1), rule.till_ns);
  assert_int_equal(jr_rule_next(&rule, rule.till_ns), JR_NEVER);
  assert_int_equal(jr_rule_last(&rule, INT64_MAX), rule.till_ns);
  assert_int_equal(jr_rule_last(&rule, first), JR_NEVER);
  assert_int_equal(jr_rule_count(&rule, INT64_MIN, INT64_MAX), 3);
}

static void once_is_once(void **state) {
  (void)state;
  jr_rule rule = rule_of("UTC", JR_RULE_ONCE);
  rule.as.once = 100;
  assert_int_equal(jr_rule_next(&rule, 99999999999), 100000000000);
  assert_int_equal(jr_rule_next(&rule, 100000000000), JR_NEVER);
  assert_int_equal(jr_rule_last(&rule, 100000000000), 100000000000);
  assert_int_equal(jr_rule_last(&rule, 99999999999), JR_NEVER);
  assert_int_equal(jr_rule_count(&rule, 0, INT64_MAX), 1);
}

static void is_never_beyond_what_64_bits_tell(void **state) {
  (void)state;
  jr_rule rule = rule_of("UTC", JR_RULE_ONCE);
  rule.as.once = instant("2262-04-12 00:00Z");
  assert_int_equal(jr_rule_next(&rule, 0), JR_NEVER);
  assert_int_equal(jr_rule_next_second(&rule, 0), rule.as.once);
  rule.kind = JR_RULE_CALENDAR;
  rule.as.calendar = DAYS(1);
  assert_int_equal(jr_rule_next(&rule, INT64_MAX), JR_NEVER);
  assert_int_equal(jr_rule_next(&rule, INT64_MIN), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_day_without_a_time_is_the_same_time_tomorrow),
      cmocka_unit_test(a_time_of_today_counts_only_for_each_day),
      cmocka_unit_test(several_times_a_day),
      cmocka_unit_test(days_of_23_and_25_hours),
      cmocka_unit_test(a_weekday),
      cmocka_unit_test(weekdays_and_weekends),
      cmocka_unit_test(every_second_monday_begins_with_the_first_to_come),
      cmocka_unit_test(a_month_clamps_and_comes_back),
      cmocka_unit_test(a_year_from_a_leap_day),
      cmocka_unit_test(days_of_the_month),
      cmocka_unit_test(from_is_where_counting_begins),
      cmocka_unit_test(times_of_the_hour),
      cmocka_unit_test(hours_follow_real_time),
      cmocka_unit_test(half_an_hour_of_daylight_saving),
      cmocka_unit_test(times_of_the_minute),
      cmocka_unit_test(counts_and_looks_back),
      cmocka_unit_test(windows_take_both_ends),
      cmocka_unit_test(windows_through_a_change),
      cmocka_unit_test(heeds_limits_and_fractions),
      cmocka_unit_test(once_is_once),
      cmocka_unit_test(is_never_beyond_what_64_bits_tell),
  };
  return cmocka_run_group_tests(tests, setup_zones, teardown_zones);
}
