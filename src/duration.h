/* Durations as people write them: "1h30m", "90s", "250ms", "2d", "0.5h", or a bare number of
 * seconds.
 *
 *   duration := number | part { [blanks] part }      part   := number unit
 *   number   := digits [ "." digits ]                unit   := w d h m s ms us ns
 *
 * Parts stand from large to small, each unit once, so "1m30h" is a slip and not thirty hours. The
 * result is whole nanoseconds in 64 bits (292 years); what lies beyond that is an error, and a
 * fraction of a nanosecond is dropped. A day is 24 hours and a week is 7 days.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_DURATION_H
#define JR_DURATION_H

#include <stddef.h>
#include <stdint.h>

/* What is wrong with a text, and where. */
typedef struct jr_duration_fault {
  int column;       /* from 1 */
  const char *what; /* "expected a unit (w, d, h, m, s, ms, us, ns)"; static memory */
} jr_duration_fault;

/* Reads all `len` bytes of `text`. 0 with the nanoseconds (>= 0) in *out_ns; UV_EINVAL for what is
 * no duration, UV_EOVERFLOW for one that is too long, both with *fault filled. Pure, any thread. */
int jr_duration_parse(const char *text, size_t len, int64_t *out_ns, jr_duration_fault *fault);

/* `n` units of `unit_ns` each, rounded to the nearest nanosecond; exact while n is whole. 0,
 * UV_EINVAL where n is negative or no number, UV_EOVERFLOW beyond 292 years. Pure, any thread. */
int jr_duration_scale(double n, int64_t unit_ns, int64_t *out_ns);

enum { JR_DURATION_TEXT = 64 };

/* Writes `ns` as jr_duration_parse reads it ("1h30m", "250ms", "0s"), at most JR_DURATION_TEXT
 * bytes with the zero. Returns the length. */
int jr_duration_format(int64_t ns, char text[JR_DURATION_TEXT]);

#endif
