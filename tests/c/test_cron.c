/* Cron lines: the grammar, each error with its column, the rules for daylight saving, and the
 * search against one that looks at every second.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <stdio.h>

#include <uv.h>

#include "cron.h"
#include "cronline.h"
#include "cronwords.h"
#include "zones_all.h"

#define JOB "backup"

static jr_cron parsed(const char *line) {
  jr_cron cron;
  jr_cron_fault fault = {0};
  if (jr_cron_parse(line, strlen(line), JOB, strlen(JOB), &cron, &fault) < 0)
    fail_msg("\"%s\": column %d: %s", line, fault.column, fault.what);
  return cron;
}

/* The next `n` times as "2025-03-30T01:00:00Z 2025-…". */
static void list(const jr_cron *cron, const char *zone_name, const char *from, int n, char *out) {
  int64_t t = instant(from);
  out[0] = 0;
  for (int i = 0; i < n; i++) {
    char text[JR_STAMP_TEXT] = "never";
    t = jr_cron_next(cron, zone(zone_name)->tz, t);
    if (t != JR_NEVER) jr_stamp_format(t, 0, text);
    sprintf(out + strlen(out), "%s%s", i ? " " : "", text);
  }
}

static void gives(const char *line, const char *zone_name, const char *from, int n,
                  const char *expected) {
  char found[1024];
  jr_cron cron = parsed(line);
  list(&cron, zone_name, from, n, found);
  if (strcmp(found, expected) != 0)
    fail_msg("\"%s\" %s from %s:\n%s, expected\n%s", line, zone_name, from, found, expected);
}

static void daylight_saving_table(void **state) {
  (void)state;
  gives("30 2 * * *", "Europe/Berlin", "2025-03-29T12:00Z", 3,
        "2025-03-30T01:00:00Z 2025-03-31T00:30:00Z 2025-04-01T00:30:00Z");
  gives("30 2 * * *", "Europe/Berlin", "2025-10-25T12:00Z", 2,
        "2025-10-26T00:30:00Z 2025-10-27T01:30:00Z");
  gives("*/30 * * * *", "Europe/Berlin", "2025-03-30T00:20Z", 4,
        "2025-03-30T00:30:00Z 2025-03-30T01:00:00Z 2025-03-30T01:30:00Z 2025-03-30T02:00:00Z");
  gives("*/30 * * * *", "Europe/Berlin", "2025-10-26T00:20Z", 4,
        "2025-10-26T00:30:00Z 2025-10-26T01:00:00Z 2025-10-26T01:30:00Z 2025-10-26T02:00:00Z");
  gives("*/15 2 * * *", "Europe/Berlin", "2025-03-30T00:20Z", 1, "2025-03-31T00:00:00Z");
  gives("*/15 2 * * *", "Europe/Berlin", "2025-10-26T00:20Z", 6,
        "2025-10-26T00:30:00Z 2025-10-26T00:45:00Z 2025-10-26T01:00:00Z 2025-10-26T01:15:00Z "
        "2025-10-26T01:30:00Z 2025-10-26T01:45:00Z");
  gives("30 1,2 * * *", "America/New_York", "2025-03-09T05:00Z", 3,
        "2025-03-09T06:30:00Z 2025-03-09T07:00:00Z 2025-03-10T05:30:00Z");
  gives("0 0 * * *", "America/Santiago", "2024-09-07T12:00Z", 2,
        "2024-09-08T04:00:00Z 2024-09-09T03:00:00Z");
  gives("0 0 * * *", "Atlantic/Azores", "2025-10-25T12:00Z", 2,
        "2025-10-26T00:00:00Z 2025-10-27T01:00:00Z");
  gives("15 2 * * *", "Australia/Lord_Howe", "2025-10-04T12:00Z", 2,
        "2025-10-04T15:30:00Z 2025-10-05T15:15:00Z");
  gives("0 0 1 * *", "Antarctica/Troll", "2019-03-30T00:00Z", 2,
        "2019-03-31T22:00:00Z 2019-04-30T22:00:00Z");
  gives("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00Z", 2,
        "2011-12-29T22:00:00Z 2011-12-30T22:00:00Z");
}

static void ends_after_the_calendar_repeats(void **state) {
  (void)state;
  gives("0 0 29 2 *", "UTC", "2096-03-01T00:00Z", 2, "2104-02-29T00:00:00Z 2108-02-29T00:00:00Z");
  gives("0 0 29 2 +1", "UTC", "2080-01-01T00:00Z", 2, "2112-02-29T00:00:00Z 2140-02-29T00:00:00Z");
  /* The last Sunday of March on the 31st: each of them loses its hour from two to three. */
  gives("* 2 31 3 +0L", "Europe/Berlin", "2025-01-01T00:00Z", 1, "never");
  gives("0 0 1 1 *", "UTC", "9998-12-31T00:00Z", 3, "9999-01-01T00:00:00Z never never");
}

/* ---- the grammar ----------------------------------------------------------------------------- */

typedef struct values {
  const char *line;
  uint64_t seconds, minutes, hours, dates, months, weekdays;
} values;

#define BIT(n)     (UINT64_C(1) << (n))
#define BITS(a, b) (BIT((b) + 1) - BIT(a))
#define ALL        BIT(0), BITS(0, 59), BITS(0, 23), BITS(1, 31), BITS(1, 12), BITS(0, 6)

static void reads_values(void **state) {
  (void)state;
  static const values cases[] = {
      {"* * * * *", ALL},
      {"  *\t*  * * *  ", ALL},
      {"* * ? * ?", ALL},
      {"*/1 */1 */1 */1 */1", ALL},
      {"0-59 0-23 1-31 1-12 0-7", ALL},
      {"* * * * * *", BITS(0, 59), BITS(0, 59), BITS(0, 23), BITS(1, 31), BITS(1, 12), BITS(0, 6)},
      {"5 0 1 2 3 4", BIT(5), BIT(0), BIT(1), BIT(2), BIT(3), BIT(4)},
      {"0 0 1 1 0", BIT(0), BIT(0), BIT(0), BIT(1), BIT(1), BIT(0)},
      {"59 23 31 12 7", BIT(0), BIT(59), BIT(23), BIT(31), BIT(12), BIT(0)},
      {"1,3,3,5 0 1 1 0", BIT(0), BIT(1) | BIT(3) | BIT(5), BIT(0), BIT(1), BIT(1), BIT(0)},
      {"007 0 1 1 0", BIT(0), BIT(7), BIT(0), BIT(1), BIT(1), BIT(0)},
      {"10-20/5 0 1 1 0", BIT(0), BIT(10) | BIT(15) | BIT(20), BIT(0), BIT(1), BIT(1), BIT(0)},
      {"40/7 0 1 1 0", BIT(0), BIT(40) | BIT(47) | BIT(54), BIT(0), BIT(1), BIT(1), BIT(0)},
      {"*/20 0 1 1 0", BIT(0), BIT(0) | BIT(20) | BIT(40), BIT(0), BIT(1), BIT(1), BIT(0)},
      {"*/60 */24 */31 */12 */7", BIT(0), BIT(0), BIT(0), BIT(1), BIT(1), BIT(0)},
      {"10-12/30 0 1 1 0", BIT(0), BIT(10), BIT(0), BIT(1), BIT(1), BIT(0)},
      {"0 22-2 1 1 0", BIT(0), BIT(0), BITS(22, 23) | BITS(0, 2), BIT(1), BIT(1), BIT(0)},
      {"0 22-4/2 1 1 0", BIT(0), BIT(0), BIT(22) | BIT(0) | BIT(2) | BIT(4), BIT(1), BIT(1),
       BIT(0)},
      {"0 23-3/2 1 1 0", BIT(0), BIT(0), BIT(23) | BIT(1) | BIT(3), BIT(1), BIT(1), BIT(0)},
      {"0 5-4 1 1 0", BIT(0), BIT(0), BITS(0, 23), BIT(1), BIT(1), BIT(0)},
      {"0 0 30-2 1 0", BIT(0), BIT(0), BIT(0), BITS(30, 31) | BITS(1, 2), BIT(1), BIT(0)},
      {"0 0 1 nov-feb 0", BIT(0), BIT(0), BIT(0), BIT(1), BITS(11, 12) | BITS(1, 2), BIT(0)},
      {"0 0 1 JAN,Dec,jUn 0", BIT(0), BIT(0), BIT(0), BIT(1), BIT(1) | BIT(6) | BIT(12), BIT(0)},
      {"0 0 1 feb-nov/3 0", BIT(0), BIT(0), BIT(0), BIT(1), BIT(2) | BIT(5) | BIT(8) | BIT(11),
       BIT(0)},
      {"0 0 1 1 sat-mon", BIT(0), BIT(0), BIT(0), BIT(1), BIT(1), BIT(6) | BIT(0) | BIT(1)},
      {"0 0 1 1 Mon-FRI", BIT(0), BIT(0), BIT(0), BIT(1), BIT(1), BITS(1, 5)},
      {"0 0 1 1 5-7", BIT(0), BIT(0), BIT(0), BIT(1), BIT(1), BIT(5) | BIT(6) | BIT(0)},
      {"0 0 1 1 7-2", BIT(0), BIT(0), BIT(0), BIT(1), BIT(1), BIT(0) | BIT(1) | BIT(2)},
      {"0 0 1 1 5/2", BIT(0), BIT(0), BIT(0), BIT(1), BIT(1), BIT(5) | BIT(0)},
      {"0 0 1 1 */2", BIT(0), BIT(0), BIT(0), BIT(1), BIT(1), BIT(0) | BIT(2) | BIT(4) | BIT(6)},
      {"0 0 1 1 ?/3", BIT(0), BIT(0), BIT(0), BIT(1), BIT(1), BIT(0) | BIT(3) | BIT(6)},
      {"@yearly", BIT(0), BIT(0), BIT(0), BIT(1), BIT(1), BITS(0, 6)},
      {"@annually", BIT(0), BIT(0), BIT(0), BIT(1), BIT(1), BITS(0, 6)},
      {"@monthly", BIT(0), BIT(0), BIT(0), BIT(1), BITS(1, 12), BITS(0, 6)},
      {"@weekly", BIT(0), BIT(0), BIT(0), BITS(1, 31), BITS(1, 12), BIT(0)},
      {" @daily ", BIT(0), BIT(0), BIT(0), BITS(1, 31), BITS(1, 12), BITS(0, 6)},
      {"@midnight", BIT(0), BIT(0), BIT(0), BITS(1, 31), BITS(1, 12), BITS(0, 6)},
      {"@hourly", BIT(0), BIT(0), BITS(0, 23), BITS(1, 31), BITS(1, 12), BITS(0, 6)},
      {"@minutely", ALL},
      {"@secondly", BITS(0, 59), BITS(0, 59), BITS(0, 23), BITS(1, 31), BITS(1, 12), BITS(0, 6)},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const values *v = &cases[i];
    jr_cron c = parsed(v->line);
    bool same = c.seconds == v->seconds && c.minutes == v->minutes && c.hours == v->hours &&
                c.dates == v->dates && c.months == v->months && c.weekdays == v->weekdays;
    if (!same)
      fail_msg("\"%s\": %llx %llx %x %x %x %x", v->line, (unsigned long long)c.seconds,
               (unsigned long long)c.minutes, c.hours, c.dates, c.months, c.weekdays);
  }
}

static void knows_fixed_lines_from_wildcards(void **state) {
  (void)state;
  static const char *const fixed[] = {"0 2 * * *", "0,30 1-4 * * *", "5 0 2 */2 * *",
                                      "H H * * *", "H(0-9) 3 * * *", "@daily",
                                      "@monthly",  "@yearly",        "30 22-2 L * mon"};
  static const char *const wild[] = {"* * * * *",      "0 * * * *",   "*/5 2 * * *",  "0 2/3 * * *",
                                     "0-30/5 2 * * *", "* 0 2 * * *", "H/15 2 * * *", "@hourly",
                                     "0,* 2 * * *",    "@secondly"};
  for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
    jr_cron c = parsed(fixed[i]);
    if (!c.is_fixed || c.gap != JR_GAP_END || c.overlap != JR_TWICE_FIRST)
      fail_msg("%s is not fixed", fixed[i]);
  }
  for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
    jr_cron c = parsed(wild[i]);
    if (c.is_fixed || c.gap != JR_GAP_SKIP || c.overlap != JR_TWICE_BOTH)
      fail_msg("%s is fixed", wild[i]);
  }
}

static void warns_of_two_readings(void **state) {
  (void)state;
  assert_true(parsed("0 0 */2 * mon").is_ambiguous);
  assert_true(parsed("0 0 1 * */2").is_ambiguous);
  assert_true(parsed("0 0 ?/2 * 1").is_ambiguous);
  assert_false(parsed("0 0 */2 * *").is_ambiguous);
  assert_false(parsed("0 0 */2 * +mon").is_ambiguous);
  assert_false(parsed("0 0 1 * mon").is_ambiguous);
  assert_false(parsed("0 0 1-31/2 * mon").is_ambiguous);
}

static void takes_a_zone_from_the_line(void **state) {
  (void)state;
  const char *line = " CRON_TZ=Europe/Berlin 0 2 * * *";
  jr_cron c = parsed(line);
  assert_int_equal(c.zone_len, strlen("Europe/Berlin"));
  assert_memory_equal(line + c.zone_at, "Europe/Berlin", c.zone_len);
  assert_int_equal(parsed("TZ=UTC @daily").zone_len, 3);
  assert_int_equal(parsed("@daily").zone_len, 0);
}

static void reads_every_and_reboot(void **state) {
  (void)state;
  assert_int_equal(parsed("@every 1h30m").kind, JR_CRON_EVERY);
  assert_int_equal(parsed("@every 1h30m").period_ns, INT64_C(5400000000000));
  assert_int_equal(parsed("TZ=UTC  @every  250ms ").period_ns, 250000000);
  assert_int_equal(parsed("@reboot").kind, JR_CRON_REBOOT);
  assert_int_equal(parsed("@daily").kind, JR_CRON_TIMES);
}

/* ---- days ------------------------------------------------------------------------------------ */

/* A day as the special items see it. */
typedef struct day {
  int date, weekday, length, month;
} day;

static bool is_workday(int weekday) {
  return weekday >= 1 && weekday <= 5;
}

/* Looks outwards from the n-th: a day before it, a day after it, two before, two after. */
static bool is_nearest_workday(const day *d, int n) {
  static const int steps[] = {0, -1, 1, -2, 2};
  if (n > d->length) return false;
  for (int i = 0; i < 5; i++) {
    int date = n + steps[i], weekday = (d->weekday + date - d->date + 70) % 7;
    if (date >= 1 && date <= d->length && is_workday(weekday)) return d->date == date;
  }
  return false;
}

static bool on_last(const day *d) {
  return d->date == d->length;
}
static bool on_third_last(const day *d) {
  return d->date == d->length - 2;
}
static bool on_30_before_last(const day *d) {
  return d->length == 31 && d->date == 1;
}
static bool near_first(const day *d) {
  return is_nearest_workday(d, 1);
}
static bool near_15th(const day *d) {
  return is_nearest_workday(d, 15);
}
static bool near_31st(const day *d) {
  return is_nearest_workday(d, 31);
}
static bool on_last_workday(const day *d) {
  return is_nearest_workday(d, d->length);
}
static bool on_last_friday(const day *d) {
  return d->weekday == 5 && d->date > d->length - 7;
}
static bool on_last_sunday(const day *d) {
  return d->weekday == 0 && d->date > d->length - 7;
}
static bool on_first_monday(const day *d) {
  return d->weekday == 1 && d->date <= 7;
}
static bool on_fifth_tuesday(const day *d) {
  return d->weekday == 2 && d->date >= 29;
}
static bool on_second_or_fourth_sat(const day *d) {
  return d->weekday == 6 && (d->date - 1) / 7 % 2 == 1;
}
static bool on_13th_or_friday(const day *d) {
  return d->date == 13 || d->weekday == 5;
}
static bool on_friday_13th(const day *d) {
  return d->date == 13 && d->weekday == 5;
}
static bool on_monday(const day *d) {
  return d->weekday == 1;
}
static bool on_13th(const day *d) {
  return d->date == 13;
}
static bool on_odd_or_monday(const day *d) {
  return d->date % 2 == 1 || d->weekday == 1;
}
static bool on_odd_monday(const day *d) {
  return d->date % 2 == 1 && d->weekday == 1;
}
static bool on_mixed(const day *d) {
  return d->date == 1 || on_last(d) || near_15th(d);
}
static bool on_mixed_weekdays(const day *d) {
  return d->weekday == 1 || on_last_friday(d) || (d->weekday == 3 && d->date <= 7);
}
static bool on_leap_day(const day *d) {
  return d->month == 2 && d->date == 29;
}
static bool on_weekend_of_winter(const day *d) {
  return !is_workday(d->weekday) && (d->month >= 11 || d->month <= 2);
}

typedef struct day_case {
  const char *line;
  bool (*matches)(const day *d);
} day_case;

static void check_days(const day_case *c) {
  jr_cron cron = parsed(c->line);
  const jr_tz *utc = zone("UTC")->tz;
  int64_t from = jr_day_from(2019, 12, 31), to = jr_day_from(2060, 1, 1);
  int64_t next = jr_cron_next(&cron, utc, from * JR_DAY_SECONDS - 1);
  for (int64_t n = from; n < to; n++) {
    jr_date date = jr_date_from(n);
    day d = {date.day, jr_weekday(n), jr_month_length(date.year, date.month), date.month};
    bool found = next == n * JR_DAY_SECONDS;
    if (found != c->matches(&d))
      fail_msg("\"%s\" on %d-%02d-%02d: %d", c->line, (int)date.year, date.month, date.day, found);
    if (found) next = jr_cron_next(&cron, utc, next);
  }
}

static void finds_days(void **state) {
  (void)state;
  static const day_case cases[] = {
      {"0 0 L * *", on_last},
      {"0 0 L-2 * *", on_third_last},
      {"0 0 L-30 * *", on_30_before_last},
      {"0 0 1W * *", near_first},
      {"0 0 15W * *", near_15th},
      {"0 0 31W * *", near_31st},
      {"0 0 LW * *", on_last_workday},
      {"0 0 * * 5L", on_last_friday},
      {"0 0 * * FRIL", on_last_friday},
      {"0 0 * * fri#L", on_last_friday},
      {"0 0 ? * 7L", on_last_sunday},
      {"0 0 * * mon#1", on_first_monday},
      {"0 0 * * 2#5", on_fifth_tuesday},
      {"0 0 * * 6#2,sat#4", on_second_or_fourth_sat},
      {"0 0 13 * 5", on_13th_or_friday},
      {"0 0 13 * +5", on_friday_13th},
      {"0 0 ? * mon", on_monday},
      {"0 0 * * +mon", on_monday},
      {"0 0 13 * ?", on_13th},
      {"0 0 13 * +?", on_13th},
      {"0 0 */2 * 1", on_odd_or_monday},
      {"0 0 */2 * +1", on_odd_monday},
      {"0 0 1,L,15W * *", on_mixed},
      {"0 0 * * mon,5L,3#1", on_mixed_weekdays},
      {"0 0 29 2 *", on_leap_day},
      {"0 0 * nov-feb sat,sun", on_weekend_of_winter},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_days(&cases[i]);
}

/* ---- H --------------------------------------------------------------------------------------- */

static jr_cron named(const char *line, const char *name) {
  jr_cron cron;
  jr_cron_fault fault = {0};
  if (jr_cron_parse(line, strlen(line), name, strlen(name), &cron, &fault) < 0)
    fail_msg("\"%s\": column %d: %s", line, fault.column, fault.what);
  return cron;
}

static int value_of(uint64_t bits) {
  assert_int_equal(__builtin_popcountll(bits), 1);
  return __builtin_ctzll(bits);
}

static void spreads_by_name(void **state) {
  (void)state;
  int minutes[60] = {0}, dates[32] = {0};
  for (int i = 0; i < 6000; i++) {
    char name[16];
    sprintf(name, "job-%d", i);
    jr_cron c = named("H H H H H", name);
    minutes[value_of(c.minutes)]++;
    dates[value_of(c.dates)]++;
    assert_true(value_of(c.hours) < 24 && value_of(c.weekdays) < 7 && value_of(c.months) >= 1);
  }
  for (int m = 0; m < 60; m++) assert_in_range(minutes[m], 50, 150);
  for (int d = 1; d <= 28; d++) assert_in_range(dates[d], 130, 300);
  assert_int_equal(dates[29] + dates[30] + dates[31] + dates[0], 0);
}

/* These values are a promise: a script keeps its times with the next version. */
static void hashes_stay(void **state) {
  (void)state;
  jr_cron c = named("H H H H H H", "backup");
  int found[] = {value_of(c.seconds), value_of(c.minutes), value_of(c.hours),
                 value_of(c.dates),   value_of(c.months),  value_of(c.weekdays)};
  static const int expected[] = {12, 15, 18, 6, 5, 1};
  assert_memory_equal(found, expected, sizeof found);
}

static void hashes_within_a_range_and_a_step(void **state) {
  (void)state;
  for (int i = 0; i < 200; i++) {
    char name[16];
    sprintf(name, "job-%d", i);
    assert_in_range(value_of(named("H(10-19) 0 * * *", name).minutes), 10, 19);
    assert_int_equal(BITS(0, 9) & named("H(55-4) 0 * * *", name).minutes & ~BITS(0, 4), 0);
    uint64_t quarters = named("H/15 0 * * *", name).minutes, first = quarters & BITS(0, 14);
    assert_int_equal(quarters, first | first << 15 | first << 30 | first << 45);
    assert_int_equal(__builtin_popcountll(first), 1);
    uint64_t tens = named("H(0-29)/10 0 * * *", name).minutes, ten = tens & BITS(0, 9);
    assert_int_equal(tens, ten | ten << 10 | ten << 20);
    value_of(named("H(3-5)/20 0 * * *", name).minutes);
  }
}

/* ---- errors ---------------------------------------------------------------------------------- */

typedef struct error_case {
  const char *line;
  int column;
  const char *field, *what;
} error_case;

static void says_what_is_wrong_and_where(void **state) {
  (void)state;
#define FIELDS                                                                                     \
  "expected 5 fields (minute hour day month weekday), or 6 with the seconds first; found "
  static const error_case cases[] = {
      {"1,,2 * * * *", 3, "minute", "minute \"1,,2\": an item is empty (allowed: 0-59)"},
      {",1 * * * *", 1, "minute", "minute \",1\": an item is empty (allowed: 0-59)"},
      {"1, * * * *", 3, "minute", "minute \"1,\": an item is empty (allowed: 0-59)"},
      {"*/90 * * * *", 3, "minute", "minute \"*/90\": the step 90 is outside 1-60"},
      {"*/61 * * * *", 3, "minute", "minute \"*/61\": the step 61 is outside 1-60"},
      {"*/0 * * * *", 3, "minute", "minute \"*/0\": the step 0 is outside 1-60"},
      {"*/ * * * *", 3, "minute", "minute \"*/\": the step is missing; expected 1-60"},
      {"*/x * * * *", 3, "minute", "minute \"*/x\": the step is missing; expected 1-60"},
      {"60 * * * *", 1, "minute", "minute \"60\": 60 is outside 0-59"},
      {"5-60 * * * *", 3, "minute", "minute \"5-60\": 60 is outside 0-59"},
      {"1,2,99999999999999 * * * *", 5, "minute",
       "minute \"99999999999999\": 99999999999999 is outside 0-59"},
      {"60 * * * * *", 1, "second", "second \"60\": 60 is outside 0-59"},
      {"* 24 * * *", 3, "hour", "hour \"24\": 24 is outside 0-23"},
      {"* 12/25 * * *", 6, "hour", "hour \"12/25\": the step 25 is outside 1-24"},
      {"* * 0 * *", 5, "day of month", "day of month \"0\": 0 is outside 1-31"},
      {"* * 32 * *", 5, "day of month", "day of month \"32\": 32 is outside 1-31"},
      {"* * 1-32 * *", 7, "day of month", "day of month \"1-32\": 32 is outside 1-31"},
      {"* * L-31 * *", 7, "day of month",
       "day of month \"L-31\": the number of days 31 is outside 1-30"},
      {"* * L-0 * *", 7, "day of month",
       "day of month \"L-0\": the number of days 0 is outside 1-30"},
      {"* * L- * *", 7, "day of month",
       "day of month \"L-\": the number of days is missing; expected 1-30"},
      {"* * l * *", 5, "day of month",
       "day of month \"l\": \"l\" is not expected here (allowed: 1-31, L, L-n, nW or LW)"},
      {"* * W * *", 5, "day of month",
       "day of month \"W\": \"W\" is not expected here (allowed: 1-31, L, L-n, nW or LW)"},
      {"* * 1-5W * *", 8, "day of month",
       "day of month \"1-5W\": \"W\" is not expected here (allowed: 1-31, L, L-n, nW or LW)"},
      {"* * L-3W * *", 8, "day of month",
       "day of month \"L-3W\": \"W\" is not expected here (allowed: 1-31, L, L-n, nW or LW)"},
      {"* * 15w * *", 7, "day of month",
       "day of month \"15w\": \"w\" is not expected here (allowed: 1-31, L, L-n, nW or LW)"},
      {"* * mon * *", 5, "day of month",
       "day of month \"mon\": \"mon\" is not expected here (allowed: 1-31, L, L-n, nW or LW)"},
      {"* * * 13 *", 7, "month", "month \"13\": 13 is outside 1-12"},
      {"* * * 0 *", 7, "month", "month \"0\": 0 is outside 1-12"},
      {"* * * january *", 7, "month",
       "month \"january\": \"january\" is no name here; did you mean \"jan\"? (allowed: 1-12 or jan-dec)"},
      {"* * * foo *", 7, "month",
       "month \"foo\": \"foo\" is not expected here (allowed: 1-12 or jan-dec)"},
      {"* * * */13 *", 9, "month", "month \"*/13\": the step 13 is outside 1-12"},
      {"* * * * 8", 9, "day of week", "day of week \"8\": 8 is outside 0-7"},
      {"* * * * Monday", 9, "day of week",
       "day of week \"Monday\": \"Monday\" is no name here; did you mean \"mon\"? (allowed: 0-7 or sun-sat)"},
      {"* * * * mo", 9, "day of week",
       "day of week \"mo\": \"mo\" is not expected here (allowed: 0-7 or sun-sat)"},
      {"* * * * L", 9, "day of week",
       "day of week \"L\": \"L\" needs a day before it, as in 5L, the last Friday"},
      {"* * * * 1#6", 11, "day of week", "day of week \"1#6\": the number 6 is outside 1-5"},
      {"* * * * 1#0", 11, "day of week", "day of week \"1#0\": the number 0 is outside 1-5"},
      {"* * * * 1#", 11, "day of week", "day of week \"1#\": the number is missing; expected 1-5"},
      {"* * * * 1-3#2", 12, "day of week",
       "day of week \"1-3#2\": \"#\" is not expected here (allowed: 0-7 or sun-sat)"},
      {"* * * * friLL", 9, "day of week",
       "day of week \"friLL\": \"friLL\" is no name here; did you mean \"fri\"? (allowed: 0-7 or sun-sat)"},
      {"* * * * */8", 11, "day of week", "day of week \"*/8\": the step 8 is outside 1-7"},
      {"* * * * 0-7/8", 13, "day of week", "day of week \"0-7/8\": the step 8 is outside 1-7"},
      {"* * * * +", 10, "day of week",
       "day of week \"+\": an item is empty (allowed: 0-7 or sun-sat)"},
      {"* * * * 1,+2", 11, "day of week",
       "day of week \"+2\": \"+\" is not expected here (allowed: 0-7 or sun-sat)"},
      {"? * * * *", 1, "minute", "minute \"?\": \"?\" stands for a day only (allowed: 0-59, or *)"},
      {"* ?/2 * * *", 3, "hour", "hour \"?/2\": \"?\" stands for a day only (allowed: 0-23, or *)"},
      {"-5 * * * *", 1, "minute", "minute \"-5\": \"-\" is not expected here (allowed: 0-59)"},
      {"5- * * * *", 3, "minute", "minute \"5-\": expected 0-59"},
      {"5-* * * * *", 3, "minute", "minute \"5-*\": \"*\" is not expected here (allowed: 0-59)"},
      {"1-2-3 * * * *", 4, "minute",
       "minute \"1-2-3\": \"-\" is not expected here (allowed: 0-59)"},
      {"1/2/3 * * * *", 4, "minute",
       "minute \"1/2/3\": \"/\" is not expected here (allowed: 0-59)"},
      {"1;2 * * * *", 2, "minute", "minute \"1;2\": \";\" is not expected here (allowed: 0-59)"},
      {"**  * * * *", 2, "minute", "minute \"**\": \"*\" is not expected here (allowed: 0-59)"},
      {"H * * * *", 1, "minute", "minute \"H\": \"H\" needs the job to have a name"},
      {"* * * * * * *", 13, NULL, FIELDS "7 (there is none for the year)"},
      {"* * * * * * 2027 *", 13, NULL, FIELDS "8"},
      {"* * * *", 8, NULL, FIELDS "4"},
      {"*", 2, NULL, FIELDS "1"},
      {"", 1, NULL, FIELDS "0"},
      {"0 0 31 2 *", 5, NULL,
       "no date ever matches day of month \"31\", month \"2\", day of week \"*\""},
      {"0 0 30,31 2 *", 5, NULL,
       "no date ever matches day of month \"30,31\", month \"2\", day of week \"*\""},
      {"0 0 1 * +1#5", 5, NULL,
       "no date ever matches day of month \"1\", month \"*\", day of week \"+1#5\""},
      {"0 0 31 feb,apr,sep +?", 5, NULL,
       "no date ever matches day of month \"31\", month \"feb,apr,sep\", day of week \"+?\""},
      {"0 0 31W feb *", 5, NULL,
       "no date ever matches day of month \"31W\", month \"feb\", day of week \"*\""},
      {"@dayly", 1, NULL,
       "\"@dayly\" is unknown; there are @yearly @monthly @weekly @daily @hourly @minutely @secondly @reboot, and @every with a duration"},
      {"@Daily", 1, NULL,
       "\"@Daily\" is unknown; there are @yearly @monthly @weekly @daily @hourly @minutely @secondly @reboot, and @every with a duration"},
      {"@", 1, NULL,
       "\"@\" is unknown; there are @yearly @monthly @weekly @daily @hourly @minutely @secondly @reboot, and @every with a duration"},
      {"@every", 7, NULL, "@every: expected a number, as in \"1h30m\""},
      {"@every 0s", 8, NULL, "@every: expected more than 0"},
      {"@every abc", 8, NULL, "@every: expected a digit"},
      {"@every 5x", 9, NULL, "@every: expected a unit (w, d, h, m, s, ms, us, ns)"},
      {"@daily 5", 8, NULL, "nothing is expected behind \"@daily\""},
      {"@reboot now", 9, NULL, "nothing is expected behind \"@reboot\""},
      {"CRON_TZ= 0 0 * * *", 9, NULL, "expected a zone behind \"=\", as in CRON_TZ=Europe/Berlin"},
      {"TZ=Europe/Berlin", 17, NULL, FIELDS "0"},
      {"FOO=1 0 0 * * *", 1, NULL, "\"FOO=1\" is not expected here (only CRON_TZ= and TZ= are)"},
      {"CRON_TZ=Europe/Berlin 0 25 * * *", 25, "hour", "hour \"25\": 25 is outside 0-23"},
      {"0 0 * * * /usr/bin/backup", 11, "day of week",
       "day of week \"/usr/bin/backup\": \"/\" is not expected here (allowed: 0-7 or sun-sat)"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const error_case *c = &cases[i];
    jr_cron cron = {.period_ns = -7};
    jr_cron_fault fault = {0};
    int status = jr_cron_parse(c->line, strlen(c->line), NULL, 0, &cron, &fault);
    if (status != UV_EINVAL || cron.period_ns != -7) fail_msg("\"%s\" is taken", c->line);
    bool same_field = c->field ? fault.field && strcmp(c->field, fault.field) == 0 : !fault.field;
    if (strcmp(fault.what, c->what) != 0 || fault.column != c->column || !same_field)
      fail_msg("\"%s\":\n%d %s, expected\n%d %s", c->line, fault.column, fault.what, c->column,
               c->what);
  }
}

static void refuses_lines_without_end(void **state) {
  (void)state;
  char line[JR_CRON_MAX_LINE + 100];
  jr_cron cron;
  jr_cron_fault fault;
  memset(line, '1', sizeof line);
  assert_int_equal(jr_cron_parse(line, sizeof line, NULL, 0, &cron, &fault), UV_EINVAL);
  assert_string_equal(fault.what, "expected a line of at most 1000 bytes");
  memcpy(line, "* * * * 1", 9);
  assert_int_equal(jr_cron_parse(line, JR_CRON_MAX_LINE, NULL, 0, &cron, &fault), UV_EINVAL);
  assert_int_equal(fault.column, 9);
}

/* ---- in English ------------------------------------------------------------------------------ */

static void says(const char *line, void (*write)(const jr_cron *, jr_buf *), const char *expected) {
  jr_buf text;
  jr_cron cron = parsed(line);
  jr_buf_init(&text, &mem);
  write(&cron, &text);
  jr_buf_add(&text, "", 1);
  assert_string_equal(text.data, expected);
  jr_buf_fini(&text);
}

static void explains_lines(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"* * * * *", "every minute"},
      {"*/5 * * * *", "every 5 minutes"},
      {"30 2 * * *", "at 02:30"},
      {"30 2,14 * * *", "at 02:30 and 14:30"},
      {"0 9-17 * * mon-fri", "at minute 0 of hours 9 to 17, on Monday to Friday"},
      {"*/15 2 * * *", "at 02:00, 02:15, 02:30 and 02:45"},
      {"0 * * * *", "at minute 0 of every hour"},
      {"5,10,11,12 * * * *", "at minutes 5 and 10 to 12 of every hour"},
      {"* 2 * * *", "every minute of hour 2"},
      {"*/7 * * * *", "at minutes 0, 7, 14 … 56 of every hour"},
      {"* * * * * *", "every second"},
      {"*/10 * * * * *", "every 10 seconds"},
      {"5 * * * * *", "at second 5 of every minute"},
      {"5 * 2 * * *", "at second 5 of every minute of hour 2"},
      {"*/10 0-5 2 * * *", "every 10 seconds of minutes 0 to 5 of hour 2"},
      {"0,30 15 10 * * *", "at 10:15:00 and 10:15:30"},
      {"0 0 1 * *", "at 00:00, on day 1 of the month"},
      {"0 0 1,15,L * *", "at 00:00, on days 1 and 15 of the month and the last day of the month"},
      {"0 0 L-3,LW,15W * *",
       "at 00:00, on the working day nearest to day 15 of the month, day 3 before the last of the month and the last working day of the month"},
      {"0 0 13 * 5", "at 00:00, on day 13 of the month or on Friday"},
      {"0 0 13 * +5", "at 00:00, on day 13 of the month, if that is Friday"},
      {"0 0 * * sat,sun", "at 00:00, on Saturday and Sunday"},
      {"0 0 * * mon#1,fri#L",
       "at 00:00, on the first Monday of the month and the last Friday of the month"},
      {"0 0 * 1,6-8 *", "at 00:00, in January and June to August"},
      {"0 0,6,12,18 * jan,dec 1-5",
       "at 00:00, 06:00, 12:00 and 18:00, on Monday to Friday, in January and December"},
      {"0 */2 * * *", "at minute 0 of hours 0, 2, 4 … 22"},
      {"@every 1h30m", "every 1h30m from when it is declared"},
      {"@reboot", "once, when the script starts"},
      {"@yearly", "at 00:00, on day 1 of the month, in January"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    says(cases[i][0], jr_cron_words, cases[i][1]);
}

static void explains_two_readings(void **state) {
  (void)state;
  says(
      "0 0 */2 * mon", jr_cron_readings,
      "it runs on days 1, 3, 5 … 31 of the month or on Monday; other crons run it on days 1, 3, 5 … 31 of the "
      "month, if that is Monday, which is written with \"+\" in front of the day of week");
}

/* ---- last and count -------------------------------------------------------------------------- */

static const char *const busy_lines[] = {"30 2 * * *",     "*/10 * * * *", "0,20,40 1-3 * * *",
                                         "17 */7 */2 * *", "5 0 0 * * 1",  "*/7 * 2 * * *",
                                         "0 0 1 1 *",      "0 0 29 2 *",   "59 59 23 L * *"};
static const char *const busy_zones[] = {"Europe/Berlin",    "Australia/Lord_Howe",
                                         "Pacific/Apia",     "UTC",
                                         "America/Santiago", "Africa/Casablanca"};

/* Counts by stepping, and compares. */
static void check_count(const jr_wall *wall, int64_t from, int64_t to) {
  int64_t count = 0, last = JR_NEVER;
  for (int64_t t = jr_wall_next(wall, from); t <= to; t = jr_wall_next(wall, t)) {
    last = t;
    count++;
  }
  assert_int_equal(jr_wall_count(wall, from, to), count);
  if (count) assert_int_equal(jr_wall_last(wall, to), last);
}

static void counts_and_looks_back(void **state) {
  (void)state;
  const int64_t months = 40 * JR_DAY_SECONDS;
  for (size_t l = 0; l < sizeof busy_lines / sizeof *busy_lines; l++) {
    for (size_t z = 0; z < sizeof busy_zones / sizeof *busy_zones; z++) {
      jr_cron cron = parsed(busy_lines[l]);
      for (int policy = 0; policy < 9; policy++) {
        jr_wall wall = jr_cron_wall(&cron, zone(busy_zones[z])->tz);
        wall.gap = (uint8_t)(policy / 3);
        wall.overlap = (uint8_t)(policy % 3);
        check_count(&wall, instant("2025-03-29T11:11:11Z"),
                    instant("2025-03-29T11:11:11Z") + months);
        check_count(&wall, instant("2025-10-26T00:45Z"), instant("2025-10-26T01:15Z"));
        check_count(&wall, instant("2011-12-29T12:00Z"), instant("2012-01-02T00:00Z"));
        check_count(&wall, instant("2025-09-01T00:00Z"), instant("2025-09-01T00:00Z") + months);
      }
    }
  }
}

static void counts_years_at_once(void **state) {
  (void)state;
  jr_cron cron = parsed("* * * * * *");
  jr_wall wall = jr_cron_wall(&cron, zone("Europe/Berlin")->tz);
  int64_t from = instant("1950-01-01T00:00Z"), to = instant("2150-01-01T00:00Z");
  assert_int_equal(jr_wall_count(&wall, from, to), to - from);
  assert_int_equal(jr_wall_last(&wall, to), to);
  assert_int_equal(jr_wall_count(&wall, to, from), 0);
  assert_int_equal(jr_wall_count(&wall, INT64_MIN, INT64_MIN), 0);
  assert_int_equal(jr_wall_count(&wall, INT64_MAX, INT64_MAX), 0);
}

static void has_no_last_before_the_first(void **state) {
  (void)state;
  jr_cron cron = parsed("0 0 1 1 *");
  jr_wall wall = jr_cron_wall(&cron, zone("UTC")->tz);
  assert_int_equal(jr_wall_last(&wall, JR_CIVIL_FIRST - 1), JR_NEVER);
  assert_int_equal(jr_wall_last(&wall, INT64_MIN), JR_NEVER);
  assert_int_equal(jr_wall_last(&wall, JR_CIVIL_FIRST + 5), JR_CIVIL_FIRST);
  assert_int_equal(jr_wall_next(&wall, INT64_MIN), JR_CIVIL_FIRST);
  assert_int_equal(jr_wall_next(&wall, INT64_MAX), JR_NEVER);
}

/* ---- policies and notes ---------------------------------------------------------------------- */

static void with_policy(const char *line, const char *from, jr_wall_gap gap,
                        jr_wall_overlap overlap, const char *expected) {
  char found[256];
  jr_cron cron = parsed(line);
  cron.gap = (uint8_t)gap;
  cron.overlap = (uint8_t)overlap;
  list(&cron, "Europe/Berlin", from, 3, found);
  assert_string_equal(found, expected);
}

static void obeys_other_policies(void **state) {
  (void)state;
  const char *spring = "2025-03-29T12:00Z", *autumn = "2025-10-25T12:00Z";
  with_policy("30 2 * * *", spring, JR_GAP_SHIFT, JR_TWICE_FIRST,
              "2025-03-30T01:30:00Z 2025-03-31T00:30:00Z 2025-04-01T00:30:00Z");
  with_policy("30 2 * * *", spring, JR_GAP_SKIP, JR_TWICE_FIRST,
              "2025-03-31T00:30:00Z 2025-04-01T00:30:00Z 2025-04-02T00:30:00Z");
  with_policy("30 2 * * *", autumn, JR_GAP_END, JR_TWICE_SECOND,
              "2025-10-26T01:30:00Z 2025-10-27T01:30:00Z 2025-10-28T01:30:00Z");
  with_policy("30 2 * * *", autumn, JR_GAP_END, JR_TWICE_BOTH,
              "2025-10-26T00:30:00Z 2025-10-26T01:30:00Z 2025-10-27T01:30:00Z");
  /* Shifted times and plain ones, in the order of the clock; those that meet are one. */
  with_policy("0,30 2,3 * * *", spring, JR_GAP_SHIFT, JR_TWICE_FIRST,
              "2025-03-30T01:00:00Z 2025-03-30T01:30:00Z 2025-03-31T00:00:00Z");
  with_policy("45 2,3 * * *", "2025-03-30T01:45Z", JR_GAP_SHIFT, JR_TWICE_FIRST,
              "2025-03-31T00:45:00Z 2025-03-31T01:45:00Z 2025-04-01T00:45:00Z");
}

static void runs_once_at_the_end_of_a_gap(void **state) {
  (void)state;
  gives("0,10,20 2 * * *", "Europe/Berlin", "2025-03-29T12:00Z", 2,
        "2025-03-30T01:00:00Z 2025-03-31T00:00:00Z");
  gives("0 2,3 * * *", "Europe/Berlin", "2025-03-29T12:00Z", 2,
        "2025-03-30T01:00:00Z 2025-03-31T00:00:00Z");
  gives("59 59 2 * * *", "Europe/Berlin", "2025-03-29T12:00Z", 1, "2025-03-30T01:00:00Z");
  gives("0 3 * * *", "Europe/Berlin", "2025-03-29T12:00Z", 1, "2025-03-30T01:00:00Z");
}

static void single_times_obey_the_policies(void **state) {
  (void)state;
  const jr_tz *tz = zone("Europe/Berlin")->tz;
  int64_t gap = instant("2025-03-30 02:30"), twice = instant("2025-10-26 02:30"),
          plain = instant("2025-07-01 12:00");
  assert_int_equal(jr_wall_instant(tz, plain, JR_GAP_END, JR_TWICE_FIRST),
                   instant("2025-07-01T10:00Z"));
  assert_int_equal(jr_wall_instant(tz, gap, JR_GAP_END, JR_TWICE_FIRST),
                   instant("2025-03-30T01:00Z"));
  assert_int_equal(jr_wall_instant(tz, gap, JR_GAP_SHIFT, JR_TWICE_FIRST),
                   instant("2025-03-30T01:30Z"));
  assert_int_equal(jr_wall_instant(tz, gap, JR_GAP_SKIP, JR_TWICE_FIRST), JR_NEVER);
  assert_int_equal(jr_wall_instant(tz, twice, JR_GAP_END, JR_TWICE_FIRST),
                   instant("2025-10-26T00:30Z"));
  assert_int_equal(jr_wall_instant(tz, twice, JR_GAP_END, JR_TWICE_BOTH),
                   instant("2025-10-26T00:30Z"));
  assert_int_equal(jr_wall_instant(tz, twice, JR_GAP_END, JR_TWICE_SECOND),
                   instant("2025-10-26T01:30Z"));
  const jr_tz *apia = zone("Pacific/Apia")->tz;
  assert_int_equal(jr_wall_instant(apia, instant("2011-12-30 12:00"), JR_GAP_END, JR_TWICE_FIRST),
                   JR_NEVER);
}

static jr_wall_note note(const char *line, const char *at) {
  jr_cron cron = parsed(line);
  jr_wall wall = jr_cron_wall(&cron, zone("Europe/Berlin")->tz);
  return jr_wall_note_of(&wall, instant(at));
}

static void notes_what_a_change_did(void **state) {
  (void)state;
  assert_int_equal(note("30 2 * * *", "2025-03-29T01:30Z"), JR_WALL_PLAIN);
  assert_int_equal(note("30 2 * * *", "2025-03-30T01:00Z"), JR_WALL_MOVED);
  assert_int_equal(note("0 3 * * *", "2025-03-30T01:00Z"), JR_WALL_PLAIN);
  assert_int_equal(note("30 2 * * *", "2025-10-26T00:30Z"), JR_WALL_FIRST);
  assert_int_equal(note("*/30 * * * *", "2025-10-26T01:30Z"), JR_WALL_SECOND);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(daylight_saving_table),
      cmocka_unit_test(ends_after_the_calendar_repeats),
      cmocka_unit_test(reads_values),
      cmocka_unit_test(knows_fixed_lines_from_wildcards),
      cmocka_unit_test(warns_of_two_readings),
      cmocka_unit_test(takes_a_zone_from_the_line),
      cmocka_unit_test(reads_every_and_reboot),
      cmocka_unit_test(finds_days),
      cmocka_unit_test(spreads_by_name),
      cmocka_unit_test(hashes_stay),
      cmocka_unit_test(hashes_within_a_range_and_a_step),
      cmocka_unit_test(says_what_is_wrong_and_where),
      cmocka_unit_test(refuses_lines_without_end),
      cmocka_unit_test(explains_lines),
      cmocka_unit_test(explains_two_readings),
      cmocka_unit_test(counts_and_looks_back),
      cmocka_unit_test(counts_years_at_once),
      cmocka_unit_test(has_no_last_before_the_first),
      cmocka_unit_test(obeys_other_policies),
      cmocka_unit_test(runs_once_at_the_end_of_a_gap),
      cmocka_unit_test(single_times_obey_the_policies),
      cmocka_unit_test(notes_what_a_change_did),
  };
  return cmocka_run_group_tests(tests, setup_zones, teardown_zones);
}
