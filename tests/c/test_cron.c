/* Cron lines: the grammar, each error with its column, the rules for daylight saving, and the
 * search against one that looks at every second.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "cron.h"
#include "cronline.h"
#include "stamp.h"
#include "zones.h"

#define JOB "backup"

static jr_mem mem;
static jr_zones zones;

static int setup(void **state) {
  (void)state;
  jr_mem_init(&mem, NULL, NULL, 0);
  return jr_zones_init(&zones, &mem, NULL, NULL);
}

static int teardown(void **state) {
  (void)state;
  jr_zones_fini(&zones);
  assert_int_equal(mem.used, 0);
  return 0;
}

static jr_cron parsed(const char *line) {
  jr_cron cron;
  jr_cron_fault fault = {0};
  if (jr_cron_parse(line, strlen(line), JOB, strlen(JOB), &cron, &fault) < 0)
    fail_msg("\"%s\": column %d: %s", line, fault.column, fault.what);
  return cron;
}

static int64_t instant(const char *text) {
  jr_stamp s;
  jr_stamp_fault fault = {0};
  if (jr_stamp_parse(text, strlen(text), &s, &fault) < 0)
    fail_msg("\"%s\": column %d: %s", text, fault.column, fault.what);
  return s.day * JR_DAY_SECONDS + s.second - s.offset;
}

static const jr_tz *zone(const char *name) {
  jr_zone *z = NULL;
  if (jr_zones_get(&zones, name, strlen(name), &z) < 0) fail_msg("no zone %s", name);
  return z->tz;
}

/* The next `n` times as "2025-03-30T01:00:00Z 2025-…". */
static void list(const jr_cron *cron, const char *zone_name, const char *from, int n, char *out) {
  int64_t t = instant(from);
  out[0] = 0;
  for (int i = 0; i < n; i++) {
    char text[JR_STAMP_TEXT] = "never";
    t = jr_cron_next(cron, zone(zone_name), t);
    if (t != JR_NEVER) jr_stamp_format(t, 0, text);
    sprintf(out + strlen(out), "%s%s", i ? " " : "", text);
  }
}

static void gives(const char *line, const char *zone_name, const char *from, int n,
                  const char *expected) {
  char found[1024];
  jr_cron cron = parsed(line);
  list(&cron, zone_name, from, n, found);
  if (strcmp(found, expected) != 0)
    fail_msg("\"%s\" %s from %s:\n%s, expected\n%s", line, zone_name, from, found, expected);
}

static void daylight_saving_table(void **state) {
  (void)state;
  gives("30 2 * * *", "Europe/Berlin", "2025-03-29T12:00Z", 3,
        "2025-03-30T01:00:00Z 2025-03-31T00:30:00Z 2025-04-01T00:30:00Z");
  gives("30 2 * * *", "Europe/Berlin", "2025-10-25T12:00Z", 2,
        "2025-10-26T00:30:00Z 2025-10-27T01:30:00Z");
  gives("*/30 * * * *", "Europe/Berlin", "2025-03-30T00:20Z", 4,
        "2025-03-30T00:30:00Z 2025-03-30T01:00:00Z 2025-03-30T01:30:00Z 2025-03-30T02:00:00Z");
  gives("*/30 * * * *", "Europe/Berlin", "2025-10-26T00:20Z", 4,
        "2025-10-26T00:30:00Z 2025-10-26T01:00:00Z 2025-10-26T01:30:00Z 2025-10-26T02:00:00Z");
  gives("*/15 2 * * *", "Europe/Berlin", "2025-03-30T00:20Z", 1, "2025-03-31T00:00:00Z");
  gives("*/15 2 * * *", "Europe/Berlin", "2025-10-26T00:20Z", 6,
        "2025-10-26T00:30:00Z 2025-10-26T00:45:00Z 2025-10-26T01:00:00Z 2025-10-26T01:15:00Z "
        "2025-10-26T01:30:00Z 2025-10-26T01:45:00Z");
  gives("30 1,2 * * *", "America/New_York", "2025-03-09T05:00Z", 3,
        "2025-03-09T06:30:00Z 2025-03-09T07:00:00Z 2025-03-10T05:30:00Z");
  gives("0 0 * * *", "America/Santiago", "2024-09-07T12:00Z", 2,
        "2024-09-08T04:00:00Z 2024-09-09T03:00:00Z");
  gives("0 0 * * *", "Atlantic/Azores", "2025-10-25T12:00Z", 2,
        "2025-10-26T00:00:00Z 2025-10-27T01:00:00Z");
  gives("15 2 * * *", "Australia/Lord_Howe", "2025-10-04T12:00Z", 2,
        "2025-10-04T15:30:00Z 2025-10-05T15:15:00Z");
  gives("0 0 1 * *", "Antarctica/Troll", "2019-03-30T00:00Z", 2,
        "2019-03-31T22:00:00Z 2019-04-30T22:00:00Z");
  gives("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00Z", 2,
        "2011-12-29T22:00:00Z 2011-12-30T22:00:00Z");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(daylight_saving_table),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
