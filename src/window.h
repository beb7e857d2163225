/* The part of each day in which runs may start: .between("09:00", "18:00").
 *
 * Both ends belong to it, to the second, so a job every half hour runs at 09:00 and at 18:00. Where
 * it opens later than it closes it goes on over midnight. It is seen on the wall clock of a zone:
 * in the night in which 02:00 to 03:00 comes twice, so does what is open of it.
 *
 * Pure; any thread. Seconds of UTC.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_WINDOW_H
#define JR_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "tz.h"

/* Seconds of the day, 0 to 86400. Both the same, as zeros are: always open. */
typedef struct jr_window {
  int32_t opens, closes;
} jr_window;

bool jr_window_is_open(const jr_window *window, const jr_tz *tz, int64_t instant);

/* The first instant at or after `instant` at which it is open; JR_NEVER if there is none in sight.
 */
int64_t jr_window_next(const jr_window *window, const jr_tz *tz, int64_t instant);

/* The last instant at or before `instant` at which it is open; JR_NEVER likewise. */
int64_t jr_window_last(const jr_window *window, const jr_tz *tz, int64_t instant);

/* The last instant up to which it stays open; it is open at `instant`. JR_NEVER: for ever. */
int64_t jr_window_end(const jr_window *window, const jr_tz *tz, int64_t instant);

#endif
