/* Dates and times of day as people write them.
 *
 *   stamp := date [ ("T" | " ") time ["Z" | ("+" | "-") HH[:]MM] ] | time
 *   date  := YYYY-MM-DD          time := HH:MM[:SS[.fraction]]
 *
 * A stamp without an offset is a wall time of some zone, which is for the caller to say. 24:00 is
 * the end of a day.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_STAMP_H
#define JR_STAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct jr_stamp {
  bool has_date, has_time, has_offset;
  int64_t day;    /* since 1970-01-01; 0 without a date */
  int32_t second; /* of the day, to 86400; 0 without a time */
  int32_t nanosecond;
  int32_t offset; /* seconds east of Greenwich */
} jr_stamp;

typedef struct jr_stamp_fault {
  int column;       /* from 1 */
  const char *what; /* "expected a date, as in 2027-01-31"; static memory */
} jr_stamp_fault;

/* Reads all `len` bytes. 0, or UV_EINVAL with *fault filled. Pure, any thread. */
int jr_stamp_parse(const char *text, size_t len, jr_stamp *out, jr_stamp_fault *fault);

/* The form that a time of day takes in `.at`: of a day, an hour or a minute. */
typedef enum jr_stamp_unit { JR_STAMP_DAY, JR_STAMP_HOUR, JR_STAMP_MINUTE } jr_stamp_unit;

/* Reads "HH:MM[:SS]" of a day, ":MM" or "MM:SS" of an hour, ":SS" of a minute, as seconds from its
 * beginning. Otherwise as jr_stamp_parse. */
int jr_stamp_parse_at(const char *text, size_t len, jr_stamp_unit unit, int32_t *out_second,
                      jr_stamp_fault *fault);

enum { JR_STAMP_TEXT = 48 };

/* Writes an instant of UTC as "2025-03-30T01:00:00Z", with a fraction only where it has one
 * ("…:00.25Z"). Returns the length. Of years outside of 0 … 9999 as many digits as it takes. */
int jr_stamp_format(int64_t second, int32_t nanosecond, char text[JR_STAMP_TEXT]);

/* Writes a wall time with the offset it was reached by: "2025-03-30T03:00:00+02:00". */
int jr_stamp_format_wall(int64_t wall, int32_t offset, char text[JR_STAMP_TEXT]);

#endif
