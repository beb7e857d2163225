/* Answers questions about zones, a line each on standard input, for tests/tz_check.py to compare
 * with those of Python:
 *
 *   spans ZONE FROM TO          the spans of a zone that touch [FROM, TO): "START OFFSET ABBR",
 * then "." walls ZONE WALL ...         what wall times mean: "KIND BEFORE AT AFTER" each, then "."
 *
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "cron.h"
#include "cronline.h"
#include "tz.h"
#include "zones.h"

static int64_t number(char **rest) {
  return strtoll(*rest, rest, 10);
}

static void spans(const jr_tz *tz, char *rest) {
  int64_t from = number(&rest), to = number(&rest);
  for (int64_t t = from; t < to;) {
    jr_tz_span s = jr_tz_span_at(tz, t);
    printf("%" PRId64 " %d %s\n", s.start, (int)s.offset, s.abbr);
    t = s.end;
  }
}

static void walls(const jr_tz *tz, char *rest) {
  while (*rest && *rest != '\n') {
    jr_tz_wall w = jr_tz_wall_at(tz, number(&rest));
    printf("%d %" PRId64 " %" PRId64 " %" PRId64 "\n", (int)w.kind, w.before, w.at, w.after);
  }
}

static void cron(const jr_tz *tz, char *rest) {
  int64_t from = number(&rest), to = number(&rest), count = 0, last = JR_NEVER;
  jr_cron line;
  jr_cron_fault fault;
  rest[strcspn(rest, "\n")] = 0;
  if (jr_cron_parse(rest, strlen(rest), NULL, 0, &line, &fault) < 0) {
    printf("error column %d: %s\n", fault.column, fault.what);
    return;
  }
  jr_wall wall = jr_cron_wall(&line, tz);
  for (int64_t t = jr_wall_next(&wall, from); t <= to; t = jr_wall_next(&wall, t), count++) {
    printf("%" PRId64 "\n", t);
    last = t;
  }
  if (jr_wall_count(&wall, from, to) != count) puts("error in the count");
  if (count && jr_wall_last(&wall, to) != last) puts("error looking back");
}

static int complain(const jr_zones *zones, int status, const char *name) {
  jr_buf why;
  jr_buf_init(&why, zones->mem);
  jr_zones_explain(zones, status, name, strlen(name), &why);
  printf("error %.*s\n", (int)why.len, why.data);
  jr_buf_fini(&why);
  return 1;
}

static int answer(jr_zones *zones, char *line) {
  char *rest;
  const char *question = strtok_r(line, " \n", &rest), *name = strtok_r(NULL, " \n", &rest);
  jr_zone *zone;
  int status = jr_zones_get(zones, name, strlen(name), &zone);
  if (status < 0) return complain(zones, status, name);
  if (strcmp(question, "spans") == 0) spans(zone->tz, rest);
  if (strcmp(question, "walls") == 0) walls(zone->tz, rest);
  if (strcmp(question, "cron") == 0) cron(zone->tz, rest);
  puts(".");
  return 0;
}

int main(void) {
  jr_mem mem;
  jr_zones zones;
  char *line = NULL;
  size_t size = 0;
  int failed = 0;
  jr_mem_init(&mem, NULL, NULL, 0);
  if (jr_zones_init(&zones, &mem, NULL, NULL) < 0) return 1;
  while (getline(&line, &size, stdin) > 0) {
    failed |= answer(&zones, line);
    fflush(stdout);
  }
  free(line);
  jr_zones_fini(&zones);
  return failed || mem.used != 0;
}
