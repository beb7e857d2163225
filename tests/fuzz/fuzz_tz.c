/* libFuzzer harness: any bytes as a zone file, or behind a first byte 'R' as a POSIX rule. What is
 * taken must be sound: spans that meet, each instant in its own, and wall times that lead back to
 * where they came from.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -iquote src tests/fuzz/fuzz_tz.c
 * \
 *     $(pure floor) -luv -lm
 *
 * SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "civil.h"
#include "tz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check(bool is_sound) {
  if (!is_sound) abort();
}

static void check_offset(const jr_tz *tz, int32_t offset) {
  check(offset >= jr_tz_min_offset(tz) && offset <= jr_tz_max_offset(tz));
}

static void check_span(const jr_tz *tz, const jr_tz_span *s, int64_t t) {
  check(s->start <= t && t < s->end);
  check_offset(tz, s->offset);
  if (s->start > -JR_TZ_EVER) {
    jr_tz_span before = jr_tz_span_at(tz, s->start - 1);
    check(before.end == s->start && before.offset == s->before && before.after == s->offset);
  }
  if (s->end < JR_TZ_EVER) {
    jr_tz_span after = jr_tz_span_at(tz, s->end);
    check(after.start == s->end && after.offset == s->after && after.before == s->offset);
  }
}

static void check_wall(const jr_tz *tz, int64_t wall) {
  jr_tz_wall w = jr_tz_wall_at(tz, wall);
  if (w.kind == JR_TZ_GAP) {
    jr_tz_span s = jr_tz_span_at(tz, w.at);
    check(s.start == w.at && w.before == wall - s.before && w.after == wall - s.offset &&
          w.after < w.at);
    return;
  }
  check(w.before + jr_tz_offset_at(tz, w.before) == wall);
  check(w.after + jr_tz_offset_at(tz, w.after) == wall);
  check(w.kind == JR_TZ_UNIQUE ? w.before == w.after && w.at == w.after
                               : w.before < w.at && w.at <= w.after);
}

static void check_around(const jr_tz *tz, int64_t t) {
  jr_tz_span s = jr_tz_span_at(tz, t);
  check_span(tz, &s, t);
  for (int d = -2; d <= 2; d++) check_wall(tz, t + d * 1801 + s.offset);
}

static void check_zone(const jr_tz *tz) {
  int64_t t = INT64_C(-5000000000);
  for (int i = 0; i < 200 && t < JR_TZ_EVER / 4; i++) {
    check_around(tz, t);
    t = jr_tz_span_at(tz, t).end;
  }
  for (t = JR_CIVIL_FIRST; t < JR_CIVIL_LAST; t += 33333333333) check_around(tz, t);
  check_around(tz, -JR_TZ_EVER / 4);
  check_around(tz, JR_TZ_EVER / 4);
  check(jr_tz_equals(tz, tz));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
  jr_mem mem;
  jr_tz *tz = NULL;
  jr_mem_init(&mem, NULL, NULL, 0);
  bool is_rule = len > 0 && bytes[0] == 'R';
  int status = is_rule ? jr_tz_from_rule(&mem, (const char *)bytes + 1, len - 1, &tz)
                       : jr_tz_read(&mem, bytes, len, &tz);
  if (status == 0) check_zone(tz);
  jr_tz_free(tz);
  check(mem.used == 0);
  return 0;
}
