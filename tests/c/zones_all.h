/* What tests of the calendar share: the memory that is counted, this machine's zones, and instants
 * as text.
 *
 * SPDX-License-Identifier: MIT */
#ifndef ZONES_ALL_H
#define ZONES_ALL_H

#include <string.h>

#include "civil.h"
#include "stamp.h"
#include "zones.h"

static jr_mem mem;
static jr_zones zones;

static inline int setup_zones(void **state) {
  (void)state;
  jr_mem_init(&mem, NULL, NULL, 0);
  return jr_zones_init(&zones, &mem, NULL, NULL);
}

static inline int teardown_zones(void **state) {
  (void)state;
  jr_zones_fini(&zones);
  assert_int_equal(mem.used, 0);
  return 0;
}

static inline const jr_zone *zone(const char *name) {
  jr_zone *z = NULL;
  if (jr_zones_get(&zones, name, strlen(name), &z) < 0) fail_msg("no zone %s", name);
  return z;
}

/* "2025-03-30T01:00Z"; without an offset it counts as UTC. */
static inline int64_t instant(const char *text) {
  jr_stamp s;
  jr_stamp_fault fault = {0};
  if (jr_stamp_parse(text, strlen(text), &s, &fault) < 0) fail_msg("\"%s\": %s", text, fault.what);
  return s.day * JR_DAY_SECONDS + s.second - s.offset;
}

#endif
