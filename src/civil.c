/* The calendar on the wall.
 *
 * The year is taken to begin on the first of March: the leap day is then its last day, and the days
 * before a month are a straight line through the months of 31, 30, 31, 30, 31. Floor divisions by a
 * factor that is no power of two are what this costs, so there are few of them; the lines and their
 * factors are those of Neri and Schneider, "Euclidean affine functions and applications to calendar
 * algorithms" (2021).
 *
 * SPDX-License-Identifier: MIT */
#include "civil.h"

#include <stdbool.h>

enum {
  DAYS_TO_EPOCH = 719468, /* from 0000-03-01 to 1970-01-01 */
  ERA_YEARS = 400,
  DAYS_TO_JANUARY = 306 /* from the first of March */
};

int64_t jr_day_from(int64_t year, int month, int day) {
  bool is_late = month <= 2; /* the last two of the year before */
  int64_t y = year - is_late, century = jr_floor_div(y, 100);
  int month_start = (979 * (month + 12 * is_late) - 2919) / 32;
  int64_t year_start = 365 * y + jr_floor_div(y, 4) - century + jr_floor_div(century, 4);
  return year_start + month_start + day - 1 - DAYS_TO_EPOCH;
}

jr_date jr_date_from(int64_t day) {
  int64_t era = jr_floor_div(day + DAYS_TO_EPOCH, JR_ERA_DAYS);
  uint32_t of_era = (uint32_t)(day + DAYS_TO_EPOCH - era * JR_ERA_DAYS);
  uint32_t century = (4 * of_era + 3) / (uint32_t)JR_ERA_DAYS;
  uint32_t of_century = (4 * of_era + 3) % (uint32_t)JR_ERA_DAYS / 4;
  /* times 2^32 / 1461: the year above, and below it how far into the year, in quarters of a day */
  uint64_t years = UINT64_C(2939745) * (4 * of_century + 3);
  uint32_t of_year = (uint32_t)years / 2939745 / 4, line = 2141 * of_year + 197913;
  bool is_late = of_year >= DAYS_TO_JANUARY;
  return (jr_date){
      .year = era * ERA_YEARS + 100 * century + (int64_t)(years >> 32) + is_late,
      .month = (int)(line >> 16) - 12 * is_late,
      .day = (int)((line & 0xffff) / 2141) + 1,
  };
}

static bool is_leap(int64_t year) {
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int jr_month_length(int64_t year, int month) {
  if (month == 2) return is_leap(year) ? 29 : 28;
  return 30 + ((month + (month >> 3)) & 1);
}
