/* A cron line that has been read: which days, and which times on each of them.
 *
 * Each field is a set of bits, so the search for the next time goes from the large to the small, by
 * month, day, hour, minute and second, and each step is the next bit of a word. The days of a month
 * are worked out as a word too, when the search comes to that month: what "the last Friday" or "the
 * working day nearest to the 15th" is depends on it. How lines are written, and read, is in
 * cronline.h; what they mean where a zone changes its offset, in wall.h.
 *
 * A plain value: copy it, keep it anywhere. Pure; any thread.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_CRON_H
#define JR_CRON_H

#include <stdbool.h>
#include <stdint.h>

#include "wall.h"

typedef enum jr_cron_kind {
  JR_CRON_TIMES,
  JR_CRON_EVERY, /* "@every 1h30m": the fixed grid of period_ns, from when it is declared */
  JR_CRON_REBOOT /* "@reboot": once, when the script starts */
} jr_cron_kind;

/* Bit n stands for the value n, unless it says otherwise. What follows `kind` and `period_ns` is of
 * JR_CRON_TIMES. */
typedef struct jr_cron {
  uint8_t kind; /* jr_cron_kind */
  int64_t period_ns;
  uint64_t seconds, minutes;
  uint32_t hours;
  uint32_t dates;           /* days of the month, 1 to 31 */
  uint32_t dates_from_last; /* bit 31 - n: n days before the last one of the month */
  uint32_t workdays; /* bit n: the day from Monday to Friday nearest to the n-th, same month */
  uint16_t months;   /* 1 to 12 */
  uint8_t weekdays;  /* 0 = Sunday … 6 */
  uint8_t nth_weekdays[5];    /* [0]: the first one of the month */
  uint8_t last_weekdays;      /* the last one of the month */
  bool has_special_weekdays;  /* one of the two sets above is not empty */
  bool last_workday;          /* the last day from Monday to Friday of the month */
  bool any_date, any_weekday; /* that field is a star */
  bool is_both; /* both fields must match ("+"); otherwise, where neither is a star, one of them */
  bool is_ambiguous; /* one of the two begins with a stepped star, and other crons take "both" then
                      */
  bool is_fixed;     /* no star, no step in seconds, minutes and hours */
  uint8_t gap, overlap;       /* as is_fixed has them; a declaration may set others */
  uint16_t zone_at, zone_len; /* CRON_TZ=: where in the line the name stands; len 0: none */
} jr_cron;

/* The line's times in a zone, for the questions of wall.h. Both are borrowed. Of JR_CRON_TIMES. */
jr_wall jr_cron_wall(const jr_cron *cron, const jr_tz *tz);

/* The first instant strictly after `after`, in seconds of UTC, or JR_NEVER. */
static inline int64_t jr_cron_next(const jr_cron *cron, const jr_tz *tz, int64_t after) {
  jr_wall wall = jr_cron_wall(cron, tz);
  return jr_wall_next(&wall, after);
}

/* Is there any date that matches? */
bool jr_cron_has_dates(const jr_cron *cron);

#endif
