/* One time zone: which offset from UTC holds at an instant, and which instants a wall time names.
 *
 * A zone is a line of spans, each with one offset, from the beginning of time to its end:
 *
 *    ------ +1 ------|------ +2 ------|------ +1 ------|--- …
 *                    at 01:00 UTC     at 01:00 UTC
 *      wall: 01:59:59|03:00     02:59:59|02:00
 *                     a gap             an overlap
 *
 * Where the offset grows, the wall clock jumps and the times between do not exist; where it
 * shrinks, the wall clock goes back and the times between come twice. Everything about daylight
 * saving, and about all other changes of a zone's mind, is said by that picture.
 *
 * A zone is made from the bytes of a zone file (TZif, RFC 9636) or from a POSIX rule. It never
 * changes, holds no cache and may be read from any thread. Wall times and instants are seconds
 * since 1970-01-01 00:00:00, the former as if the wall clock were one of UTC.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_TZ_H
#define JR_TZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem.h"

typedef struct jr_tz jr_tz;

/* Where a span has no beginning or no end it is this far away: any offset can be added to it. */
#define JR_TZ_EVER (INT64_C(1) << 60)

/* What is read is not longer than that; the largest zone file today has 4 KiB. */
enum { JR_TZ_MAX_FILE = 64 * 1024 };

/* The zone that a TZif file of `len` bytes describes. 0; UV_EINVAL for what is none, UV_EFBIG
 * beyond JR_TZ_MAX_FILE, UV_ENOTSUP for one that counts leap seconds, UV_ENOMEM. The caller frees
 * it. */
int jr_tz_read(jr_mem *mem, const void *bytes, size_t len, jr_tz **out);

/* The zone of a POSIX rule ("CET-1CEST,M3.5.0,M10.5.0/3"), for all time. 0, UV_EINVAL, UV_ENOMEM.
 */
int jr_tz_from_rule(jr_mem *mem, const char *rule, size_t len, jr_tz **out);

void jr_tz_free(jr_tz *tz); /* NULL is all right */

/* Are two zones the same in every span? */
bool jr_tz_equals(const jr_tz *a, const jr_tz *b);

typedef struct jr_tz_span {
  int64_t start, end;    /* the instants of [start, end) */
  int32_t offset;        /* seconds east of Greenwich */
  int32_t before, after; /* the offsets of the neighbours; `offset` where there is none */
  bool is_dst;
  const char *abbr; /* "CEST"; lives as long as the zone */
} jr_tz_span;

/* The span in which an instant lies, within ±JR_TZ_EVER. */
jr_tz_span jr_tz_span_at(const jr_tz *tz, int64_t instant);

static inline int32_t jr_tz_offset_at(const jr_tz *tz, int64_t instant) {
  return jr_tz_span_at(tz, instant).offset;
}

/* No offset of the zone is smaller, or larger. */
int32_t jr_tz_min_offset(const jr_tz *tz);
int32_t jr_tz_max_offset(const jr_tz *tz);

typedef enum jr_tz_wall_kind { JR_TZ_UNIQUE, JR_TZ_GAP, JR_TZ_OVERLAP } jr_tz_wall_kind;

/* What a wall time means. Unique: one instant, three times. In a gap and in an overlap: the
 * instants by the offset before the change and by the one after it, and between them, in `at`, that
 * of the change. In an overlap `before` is the first of the two and `after` the second. In a gap
 * it is the other way about: `before` shows as a wall time behind the gap, `after` as one in front.
 */
typedef struct jr_tz_wall {
  jr_tz_wall_kind kind;
  int64_t before, at, after;
} jr_tz_wall;

jr_tz_wall jr_tz_wall_at(const jr_tz *tz, int64_t wall);

#endif
