/* The calendar on the wall: years, months, days and weekdays as numbers one can add to.
 *
 * A day is a number, counted from 1970-01-01, and a wall time is a number of seconds, counted from
 * that day's midnight as if each day had 86400 of them: no zone enters here. Both go on below zero.
 * The calendar is the Gregorian one, also before its invention, and repeats itself exactly every
 * 400 years, which are a whole number of weeks.
 *
 * Rules of the calendar answer for the years 1 to 9999; JR_CIVIL_FIRST and JR_CIVIL_LAST are that
 * range in seconds, so no sum of an instant in it with an offset or a few centuries overflows.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_CIVIL_H
#define JR_CIVIL_H

#include <stdint.h>

#define JR_NEVER INT64_MAX

#define JR_DAY_SECONDS INT64_C(86400)
#define JR_ERA_DAYS    INT64_C(146097) /* 400 years */
#define JR_ERA_SECONDS (JR_ERA_DAYS * JR_DAY_SECONDS)
#define JR_CIVIL_FIRST INT64_C(-62135596800) /* 0001-01-01 00:00:00 */
#define JR_CIVIL_LAST  INT64_C(253402300799) /* 9999-12-31 23:59:59 */

typedef struct jr_date {
  int64_t year;
  int month; /* 1 to 12 */
  int day;   /* 1 to 31 */
} jr_date;

static inline int64_t jr_floor_div(int64_t a, int64_t b) {
  return a / b - (a % b < 0);
}

static inline int64_t jr_floor_mod(int64_t a, int64_t b) {
  int64_t rest = a % b;
  return rest < 0 ? rest + b : rest;
}

/* The day on which a wall time (or an instant of UTC) in seconds falls, and the second of that day.
 */
static inline int64_t jr_day_of(int64_t seconds) {
  return jr_floor_div(seconds, JR_DAY_SECONDS);
}

static inline int32_t jr_second_of_day(int64_t seconds) {
  return (int32_t)jr_floor_mod(seconds, JR_DAY_SECONDS);
}

/* 0 = Sunday … 6 = Saturday; 1970-01-01 was a Thursday. */
static inline int jr_weekday(int64_t day) {
  return (int)jr_floor_mod(day + 4, 7);
}

/* Weeks begin on Monday, as ISO 8601 has them; 0 is the one of 1970-01-01. */
static inline int64_t jr_week_of(int64_t day) {
  return jr_floor_div(day + 3, 7);
}

/* Days since 1970-01-01 of a date. Also for a day of 0 or beyond the month's end: it is counted on.
 */
int64_t jr_day_from(int64_t year, int month, int day);

jr_date jr_date_from(int64_t day);

int jr_month_length(int64_t year, int month);

/* Months since year 0, so that they too can be added to; and back. */
static inline int64_t jr_month_index(jr_date date) {
  return date.year * 12 + date.month - 1;
}

static inline jr_date jr_month_first(int64_t index) {
  return (jr_date){jr_floor_div(index, 12), (int)jr_floor_mod(index, 12) + 1, 1};
}

#endif
