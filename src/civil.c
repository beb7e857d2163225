/* The calendar on the wall.
 *
 * The year is taken to begin on the first of March: the leap day is then its last day, and the
 * days before a month are a straight line, (153 m + 2) / 5, through the months of 31, 30, 31,
 * 30, 31. That is Howard Hinnant's "chrono-compatible low-level date algorithms".
 *
 * SPDX-License-Identifier: MIT */
#include "civil.h"

#include <stdbool.h>

enum { DAYS_TO_EPOCH = 719468, /* from 0000-03-01 to 1970-01-01 */ YEARS_OF_ERA = 400 };

int64_t jr_day_from(int64_t year, int month, int day) {
  int64_t march_year = year - (month <= 2);
  int64_t era = jr_floor_div(march_year, YEARS_OF_ERA);
  int of_era = (int)(march_year - era * YEARS_OF_ERA);
  int of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5;
  int days = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
  return era * JR_ERA_DAYS + days + day - 1 - DAYS_TO_EPOCH;
}

jr_date jr_date_from(int64_t day) {
  int64_t shifted = day + DAYS_TO_EPOCH;
  int64_t era = jr_floor_div(shifted, JR_ERA_DAYS);
  int of_era = (int)(shifted - era * JR_ERA_DAYS);
  int year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int of_year = of_era - (365 * year + year / 4 - year / 100);
  int march_month = (5 * of_year + 2) / 153;
  int month = march_month < 10 ? march_month + 3 : march_month - 9;
  return (jr_date){
      .year = year + era * YEARS_OF_ERA + (month <= 2),
      .month = month,
      .day = of_year - (153 * march_month + 2) / 5 + 1,
  };
}

static bool is_leap(int64_t year) {
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int jr_month_length(int64_t year, int month) {
  if (month == 2) return is_leap(year) ? 29 : 28;
  return 30 + ((month + (month >> 3)) & 1);
}
