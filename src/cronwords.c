/* A cron line in English.
 *
 * A list is collected with a newline behind each item, and copied with ", " and "and" in their
 * place when its end is known.
 *
 * SPDX-License-Identifier: MIT */
#include "cronwords.h"

#include <stdio.h>
#include <string.h>

#include "duration.h"

enum {
  FEW_TIMES = 8,
  RUN = 3, /* so many in a row are "a to b" */
  MANY = 6 /* so many at even distances are "a, b, c … z" */
};

static const char *const month_names[] = {"",        "January",  "February", "March",  "April",
                                          "May",     "June",     "July",     "August", "September",
                                          "October", "November", "December"};
static const char *const weekday_names[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                            "Thursday", "Friday", "Saturday"};
static const char *const ordinals[] = {"first", "second", "third", "fourth", "fifth"};

static int count(uint64_t bits) {
  return __builtin_popcountll(bits);
}

static uint64_t all_below(int high) {
  return (UINT64_C(1) << high) - 1;
}

/* ---- lists ----------------------------------------------------------------------------------- */

static void join(jr_buf *out, jr_buf *items) {
  const char *p = items->data, *end = p + items->len;
  while (p < end) {
    const char *newline = memchr(p, '\n', (size_t)(end - p));
    if (p > items->data) jr_buf_adds(out, newline + 1 == end ? " and " : ", ");
    jr_buf_add(out, p, (size_t)(newline - p));
    p = newline + 1;
  }
  out->failed |= items->failed;
  jr_buf_fini(items);
}

/* How a value of a field is said. */
typedef void (*add_value)(jr_buf *out, int value);

static void add_number(jr_buf *out, int value) {
  jr_buf_addf(out, "%d", value);
}

static void add_month(jr_buf *out, int value) {
  jr_buf_adds(out, month_names[value]);
}

static void add_weekday(jr_buf *out, int value) {
  jr_buf_adds(out, weekday_names[value % 7]);
}

static int run_length(uint64_t bits, int from) {
  int len = 0;
  while (bits >> (from + len) & 1) len++;
  return len;
}

/* An item for each value; for several in a row one, from the first to the last. */
static void add_items(jr_buf *items, uint64_t bits, add_value add) {
  for (int i = 0; i < 60; i++) {
    int len = run_length(bits, i);
    if (len == 0) continue;
    add(items, i);
    if (len >= RUN) {
      i += len - 1;
      jr_buf_adds(items, " to ");
      add(items, i);
    }
    jr_buf_adds(items, "\n");
  }
}

/* The distance between all values, where there are many and they have the same; else 0. */
static int even_distance(uint64_t bits) {
  int first = __builtin_ctzll(bits), distance = 0;
  for (int i = first + 1, last = first; i < 60; i++) {
    if (!(bits >> i & 1)) continue;
    if (distance && i - last != distance) return 0;
    distance = i - last;
    last = i;
  }
  return distance > 1 && count(bits) >= MANY ? distance : 0;
}

/* "1, 3, 5 … 31" */
static void add_progression(jr_buf *out, uint64_t bits, int distance) {
  int first = __builtin_ctzll(bits), last = 63 - __builtin_clzll(bits);
  jr_buf_addf(out, "%d, %d, %d … %d", first, first + distance, first + 2 * distance, last);
}

static void add_list(jr_buf *out, uint64_t bits, add_value add) {
  int distance = add == add_number ? even_distance(bits) : 0;
  if (distance) {
    add_progression(out, bits, distance);
    return;
  }
  jr_buf items;
  jr_buf_init(&items, out->mem);
  add_items(&items, bits, add);
  join(out, &items);
}

/* "minute 5", "minutes 5 and 10" */
static void add_numbers(jr_buf *out, const char *noun, uint64_t bits) {
  jr_buf_addf(out, "%s%s ", noun, count(bits) == 1 ? "" : "s");
  add_list(out, bits, add_number);
}

/* ---- times ----------------------------------------------------------------------------------- */

static bool is_few(const jr_cron *c) {
  return count(c->hours) * count(c->minutes) * count(c->seconds) <= FEW_TIMES;
}

static void add_time(jr_buf *items, const jr_cron *c, int hour, int minute) {
  for (int second = 0; second < 60; second++) {
    if (!(c->seconds >> second & 1)) continue;
    jr_buf_addf(items, "%02d:%02d", hour, minute);
    if (c->seconds != 1) jr_buf_addf(items, ":%02d", second);
    jr_buf_adds(items, "\n");
  }
}

static void add_times(jr_buf *out, const jr_cron *c) {
  jr_buf items;
  jr_buf_init(&items, out->mem);
  jr_buf_adds(out, "at ");
  for (int hour = 0; hour < 24; hour++)
    for (int minute = 0; minute < 60; minute++)
      if (c->hours >> hour & 1 && c->minutes >> minute & 1) add_time(&items, c, hour, minute);
  join(out, &items);
}

/* The step of 0, n, 2n … below 60, where 60 is a multiple of it; 0 for other sets. */
static int step_of(uint64_t bits) {
  for (int step = 1; step <= 30; step++) {
    uint64_t even = 0;
    if (60 % step != 0) continue;
    for (int i = 0; i < 60; i += step) even |= UINT64_C(1) << i;
    if (bits == even) return step;
  }
  return 0;
}

/* "every minute", "every 5 minutes", "at minutes 5 and 20"; true but for the last. */
static bool add_rhythm(jr_buf *out, const char *noun, uint64_t bits) {
  int step = step_of(bits);
  if (step == 1) jr_buf_addf(out, "every %s", noun);
  if (step > 1) jr_buf_addf(out, "every %d %ss", step, noun);
  if (step > 0) return true;
  jr_buf_adds(out, "at ");
  add_numbers(out, noun, bits);
  return false;
}

/* " of every minute", " of minutes 5 and 20"; nothing for all of them where that goes without
 * saying. */
static void add_frame(jr_buf *out, const char *noun, uint64_t bits, int size, bool is_rhythm) {
  if (bits == all_below(size)) {
    if (!is_rhythm) jr_buf_addf(out, " of every %s", noun);
    return;
  }
  jr_buf_adds(out, " of ");
  add_numbers(out, noun, bits);
}

static void add_pattern(jr_buf *out, const jr_cron *c) {
  bool is_rhythm, every_minute = c->minutes == all_below(60);
  if (c->seconds == 1) {
    is_rhythm = add_rhythm(out, "minute", c->minutes);
  } else {
    is_rhythm = add_rhythm(out, "second", c->seconds);
    add_frame(out, "minute", c->minutes, 60, is_rhythm);
    is_rhythm = every_minute;
  }
  add_frame(out, "hour", c->hours, 24, is_rhythm);
}

/* ---- days ------------------------------------------------------------------------------------ */

static void add_dates(jr_buf *items, const jr_cron *c) {
  if (c->dates) {
    add_numbers(items, "day", c->dates);
    jr_buf_adds(items, " of the month\n");
  }
  for (int n = 1; n <= 31; n++)
    if (c->workdays >> n & 1)
      jr_buf_addf(items, "the working day nearest to day %d of the month\n", n);
  for (int n = 30; n > 0; n--)
    if (c->dates_from_last >> (31 - n) & 1)
      jr_buf_addf(items, "day %d before the last of the month\n", n);
  if (c->last_workday) jr_buf_adds(items, "the last working day of the month\n");
  if (c->dates_from_last >> 31) jr_buf_adds(items, "the last day of the month\n");
}

/* Sunday as the seventh, so that a weekend is one run. */
static void add_weekdays(jr_buf *items, const jr_cron *c) {
  add_items(items, (c->weekdays & 0x7eu) | (c->weekdays & 1u) << 7, add_weekday);
  for (int n = 0; n < 5; n++)
    for (int day = 0; day < 7; day++)
      if (c->nth_weekdays[n] >> day & 1)
        jr_buf_addf(items, "the %s %s of the month\n", ordinals[n], weekday_names[day]);
  for (int day = 0; day < 7; day++)
    if (c->last_weekdays >> day & 1)
      jr_buf_addf(items, "the last %s of the month\n", weekday_names[day]);
}

static void add_day_list(jr_buf *out, const jr_cron *c,
                         void (*add)(jr_buf *items, const jr_cron *c)) {
  jr_buf items;
  jr_buf_init(&items, out->mem);
  add(&items, c);
  join(out, &items);
}

static void add_days(jr_buf *out, const jr_cron *c, bool is_both) {
  if (!c->any_date) {
    jr_buf_adds(out, "on ");
    add_day_list(out, c, add_dates);
  }
  if (!c->any_date && !c->any_weekday) jr_buf_adds(out, is_both ? ", if that is " : " or ");
  if (!c->any_weekday) {
    if (c->any_date || !is_both) jr_buf_adds(out, "on ");
    add_day_list(out, c, add_weekdays);
  }
}

static void add_months(jr_buf *out, const jr_cron *c) {
  if (c->months == 0x1ffe) return;
  jr_buf_adds(out, ", in ");
  add_list(out, c->months, add_month);
}

void jr_cron_words(const jr_cron *cron, jr_buf *out) {
  char text[JR_DURATION_TEXT];
  if (cron->kind == JR_CRON_EVERY) {
    jr_duration_format(cron->period_ns, text);
    jr_buf_addf(out, "every %s from when it is declared", text);
  } else if (cron->kind == JR_CRON_REBOOT) {
    jr_buf_adds(out, "once, when the script starts");
  } else {
    is_few(cron) ? add_times(out, cron) : add_pattern(out, cron);
    if (!cron->any_date || !cron->any_weekday) jr_buf_adds(out, ", ");
    add_days(out, cron, cron->is_both);
    add_months(out, cron);
  }
}

void jr_cron_readings(const jr_cron *cron, jr_buf *out) {
  jr_buf_adds(out, "it runs ");
  add_days(out, cron, false);
  jr_buf_adds(out, "; other crons run it ");
  add_days(out, cron, true);
  jr_buf_adds(out, ", which is written with \"+\" in front of the day of week");
}
