/* Dates as numbers, and dates as text.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <string.h>

#include <uv.h>

#include "civil.h"
#include "stamp.h"

/* From day to day through the years 1 to 9999, against counting on the fingers. */
static void days_and_dates_are_the_same_thing(void **state) {
  (void)state;
  jr_date d = {1, 1, 1};
  int64_t last = jr_day_of(JR_CIVIL_LAST);
  for (int64_t day = jr_day_of(JR_CIVIL_FIRST); day <= last; day++) {
    jr_date found = jr_date_from(day);
    if (found.year != d.year || found.month != d.month || found.day != d.day ||
        jr_day_from(d.year, d.month, d.day) != day)
      fail_msg("day %lld", (long long)day);
    if (++d.day <= jr_month_length(d.year, d.month)) continue;
    d.day = 1;
    if (++d.month > 12) d = (jr_date){d.year + 1, 1, 1};
  }
  assert_int_equal(d.year, 10000);
}

static void goes_on_below_year_one(void **state) {
  (void)state;
  assert_int_equal(jr_day_from(0, 3, 1), -719468);
  assert_int_equal(jr_day_from(-400, 3, 1), -719468 - JR_ERA_DAYS);
  for (int64_t day = -3000000; day < -700000; day += 13) {
    jr_date d = jr_date_from(day);
    assert_int_equal(jr_day_from(d.year, d.month, d.day), day);
    assert_int_equal(jr_month_index(jr_month_first(jr_month_index(d))), jr_month_index(d));
  }
}

static void weeks_begin_on_monday(void **state) {
  (void)state;
  assert_int_equal(jr_weekday(0), 4);
  assert_int_equal(jr_weekday(-1), 3);
  assert_int_equal(jr_weekday(jr_day_from(2000, 1, 1)), 6);
  for (int64_t day = -20; day < 20; day++)
    assert_int_equal(jr_week_of(day) != jr_week_of(day - 1), jr_weekday(day) == 1);
}

static void splits_below_zero(void **state) {
  (void)state;
  assert_int_equal(jr_day_of(-1), -1);
  assert_int_equal(jr_second_of_day(-1), 86399);
  assert_int_equal(jr_day_of(-86400), -1);
  assert_int_equal(jr_second_of_day(-86400), 0);
}

/* ---- text ------------------------------------------------------------------------------------ */

static jr_stamp parsed(const char *text) {
  jr_stamp s;
  jr_stamp_fault fault = {0};
  if (jr_stamp_parse(text, strlen(text), &s, &fault) < 0)
    fail_msg("\"%s\": column %d: %s", text, fault.column, fault.what);
  return s;
}

static void reads_dates_and_times(void **state) {
  (void)state;
  jr_stamp s = parsed("2027-01-31");
  assert_true(s.has_date && !s.has_time && !s.has_offset && s.day == jr_day_from(2027, 1, 31));
  s = parsed("2027-01-31 09:30");
  assert_true(s.has_date && s.has_time && !s.has_offset && s.second == 34200);
  s = parsed("2027-01-31T09:30:15.25Z");
  assert_true(s.has_offset && s.offset == 0 && s.second == 34215 && s.nanosecond == 250000000);
  assert_int_equal(parsed("2027-01-31T09:30+02:00").offset, 7200);
  assert_int_equal(parsed("2027-01-31T09:30-0330").offset, -12600);
  s = parsed("23:59:59.999999999999");
  assert_true(!s.has_date && s.has_time && s.second == 86399 && s.nanosecond == 999999999);
  assert_int_equal(parsed("24:00").second, 86400);
  assert_int_equal(parsed("2024-02-29 24:00:00").second, 86400);
}

static void refuses(const char *text, int column, const char *what) {
  jr_stamp s = {.second = -7};
  jr_stamp_fault fault = {0};
  assert_int_equal(jr_stamp_parse(text, strlen(text), &s, &fault), UV_EINVAL);
  assert_string_equal(fault.what, what);
  assert_int_equal(fault.column, column);
  assert_int_equal(s.second, -7);
}

static void says_where_a_stamp_is_wrong(void **state) {
  (void)state;
  const char *date = "expected a date, as in 2027-01-31",
             *offset = "expected an offset, as in +02:00";
  refuses("", 1, date);
  refuses("tomorrow", 1, date);
  refuses("2027/01/31", 5, date);
  refuses("27-01-31", 1, date);
  refuses("2027-13-01", 6, "expected a month, 01 to 12");
  refuses("2027-00-01", 8, "expected a month, 01 to 12");
  refuses("2027-1-1", 6, "expected a month, 01 to 12");
  refuses("2027-01-32", 9, "expected a day, 01 to 31");
  refuses("2027-02-29", 9, "this month has no such day");
  refuses("2027-01-31x", 11, "expected a time behind the date");
  refuses("2027-01-31 ", 12, "expected hours, 00 to 23, as in 09:30");
  refuses("2027-01-31 25:00", 12, "expected hours, 00 to 23, as in 09:30");
  refuses("9:30", 1, date);
  refuses("09:60", 4, "expected minutes, 00 to 59");
  refuses("09:30:60", 7, "expected seconds, 00 to 59");
  refuses("09:30:", 7, "expected seconds, 00 to 59");
  refuses("09:30:00.", 10, "expected a digit behind the point");
  refuses("24:00:01", 1, "the last time of a day is 24:00");
  refuses("24:30", 1, "the last time of a day is 24:00");
  refuses("24:00:00.5", 1, "the last time of a day is 24:00");
  refuses("09:30Z", 6, "expected the end");
  refuses("09:30 ", 6, "expected the end");
  refuses("2027-01-31 09:30+2", 18, offset);
  refuses("2027-01-31 09:30+02:0", 21, offset);
  refuses("2027-01-31 09:30Zx", 18, "expected the end");
}

static int32_t at(const char *text, jr_stamp_unit unit) {
  int32_t second = -7;
  jr_stamp_fault fault = {0};
  if (jr_stamp_parse_at(text, strlen(text), unit, &second, &fault) < 0)
    fail_msg("\"%s\": column %d: %s", text, fault.column, fault.what);
  return second;
}

static void refuses_at(const char *text, jr_stamp_unit unit, int column, const char *what) {
  int32_t second = -7;
  jr_stamp_fault fault = {0};
  assert_int_equal(jr_stamp_parse_at(text, strlen(text), unit, &second, &fault), UV_EINVAL);
  assert_string_equal(fault.what, what);
  assert_int_equal(fault.column, column);
  assert_int_equal(second, -7);
}

static void reads_times_for_each_unit(void **state) {
  (void)state;
  assert_int_equal(at("10:30", JR_STAMP_DAY), 37800);
  assert_int_equal(at("23:59:59", JR_STAMP_DAY), 86399);
  assert_int_equal(at(":30", JR_STAMP_HOUR), 1800);
  assert_int_equal(at("30:15", JR_STAMP_HOUR), 1815);
  assert_int_equal(at("00:00", JR_STAMP_HOUR), 0);
  assert_int_equal(at(":15", JR_STAMP_MINUTE), 15);
}

static void refuses_times_of_another_unit(void **state) {
  (void)state;
  const char *day = "expected HH:MM or HH:MM:SS", *hour = "expected :MM or MM:SS",
             *minute = "expected :SS";
  refuses_at("", JR_STAMP_DAY, 1, day);
  refuses_at("10", JR_STAMP_DAY, 3, day);
  refuses_at("9:30", JR_STAMP_DAY, 1, day);
  refuses_at(":30", JR_STAMP_DAY, 1, day);
  refuses_at("24:00", JR_STAMP_DAY, 1, day);
  refuses_at("10:60", JR_STAMP_DAY, 4, day);
  refuses_at("10:30:15:00", JR_STAMP_DAY, 9, day);
  refuses_at("10:30 ", JR_STAMP_DAY, 6, day);
  refuses_at("30", JR_STAMP_HOUR, 3, hour);
  refuses_at(":30:15", JR_STAMP_HOUR, 4, hour);
  refuses_at("10:30:15", JR_STAMP_HOUR, 6, hour);
  refuses_at(":60", JR_STAMP_HOUR, 2, hour);
  refuses_at("15", JR_STAMP_MINUTE, 1, minute);
  refuses_at("00:15", JR_STAMP_MINUTE, 1, minute);
  refuses_at(":60", JR_STAMP_MINUTE, 2, minute);
}

static void writes_instants(void **state) {
  (void)state;
  char text[JR_STAMP_TEXT];
  assert_int_equal(jr_stamp_format(1743296400, 0, text), 20);
  assert_string_equal(text, "2025-03-30T01:00:00Z");
  jr_stamp_format(1743296400, 250000000, text);
  assert_string_equal(text, "2025-03-30T01:00:00.25Z");
  jr_stamp_format(1743296400, 1, text);
  assert_string_equal(text, "2025-03-30T01:00:00.000000001Z");
  jr_stamp_format(-1, 0, text);
  assert_string_equal(text, "1969-12-31T23:59:59Z");
  jr_stamp_format(INT64_MAX / 2, 999999999, text);
  assert_true(strlen(text) < JR_STAMP_TEXT);
  jr_stamp_format_wall(1743303600, 7200, text);
  assert_string_equal(text, "2025-03-30T03:00:00+02:00");
  jr_stamp_format_wall(1743303600, -12600, text);
  assert_string_equal(text, "2025-03-30T03:00:00-03:30");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(days_and_dates_are_the_same_thing),
      cmocka_unit_test(goes_on_below_year_one),
      cmocka_unit_test(weeks_begin_on_monday),
      cmocka_unit_test(splits_below_zero),
      cmocka_unit_test(reads_dates_and_times),
      cmocka_unit_test(says_where_a_stamp_is_wrong),
      cmocka_unit_test(reads_times_for_each_unit),
      cmocka_unit_test(refuses_times_of_another_unit),
      cmocka_unit_test(writes_instants),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
