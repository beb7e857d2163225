/* libFuzzer harness: any bytes as a cron line. Two bytes choose the zone and the moment, two more
 * the policies; the rest is the line. What is taken must answer soundly: strictly later instants,
 * each of them the next one after the second before it, and a count and a look back that agree.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -iquote src
 * tests/fuzz/fuzz_cron.c \
 *     $(pure floor) -luv -lm
 *
 * SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cron.h"
#include "cronline.h"
#include "cronwords.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const char *const rules[] = {"UTC0",
                                    "CET-1CEST,M3.5.0,M10.5.0/3",
                                    "EST5EDT,M3.2.0,M11.1.0",
                                    "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
                                    "IST-1GMT0,M10.5.0,M3.5.0/1",
                                    "AAA24BBB-24,J100/0,J200/0",
                                    "AAA0BBB-0:00:01,J100/0,J200/0",
                                    "AAA3BBB,M3.5.0/167,M10.5.0/-167"};
enum { RULES = sizeof rules / sizeof *rules, HEAD = 4, STEPS = 12 };

static void check(bool is_sound) {
  if (!is_sound) abort();
}

static void check_steps(const jr_wall *wall, int64_t from) {
  int64_t t = from;
  for (int i = 0; i < STEPS; i++) {
    int64_t next = jr_wall_next(wall, t);
    if (next == JR_NEVER) return;
    check(next > t);
    check(jr_wall_next(wall, next - 1) == next);
    check(jr_wall_last(wall, next) == next);
    jr_wall_note_of(wall, next);
    if (next - from < 400 * JR_DAY_SECONDS) check(jr_wall_count(wall, from, next) == i + 1);
    t = next;
  }
}

static void check_words(jr_mem *mem, const jr_cron *cron) {
  jr_buf text;
  jr_buf_init(&text, mem);
  jr_cron_words(cron, &text);
  check(text.len > 0);
  jr_buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
  jr_cron cron;
  jr_cron_fault fault = {0};
  jr_mem mem;
  jr_tz *tz;
  if (len < HEAD) return 0;
  const char *line = (const char *)bytes + HEAD, *rule = rules[bytes[0] % RULES];
  if (jr_cron_parse(line, len - HEAD, "name", 4, &cron, &fault) < 0) {
    check(fault.what[0] && fault.column >= 1 && (size_t)fault.column <= len - HEAD + 1);
    return 0;
  }
  jr_mem_init(&mem, NULL, NULL, 0);
  check_words(&mem, &cron);
  if (cron.kind == JR_CRON_TIMES && jr_tz_from_rule(&mem, rule, strlen(rule), &tz) == 0) {
    jr_wall wall = jr_cron_wall(&cron, tz);
    if (bytes[2] & 4) wall.gap = bytes[2] % 3;
    if (bytes[3] & 4) wall.overlap = bytes[3] % 3;
    check_steps(&wall, INT64_C(1704067200) + bytes[1] * 7 * JR_DAY_SECONDS / 4);
    jr_tz_free(tz);
  }
  check(mem.used == 0);
  return 0;
}
