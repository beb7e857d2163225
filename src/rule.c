/* A rule that reads the calendar.
 *
 * Four kinds answer the same three questions in whole seconds; the window is laid over that, and
 * over it the limits and the nanoseconds.
 *
 * SPDX-License-Identifier: MIT */
#include "rule.h"

#define SECOND_NS INT64_C(1000000000)

enum { WINDOWS = 4000 }; /* as many closed windows in a row mean that no time will ever be in one */

static int64_t min64(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b) {
  return a > b ? a : b;
}

/* ---- the four kinds -------------------------------------------------------------------------- */

static jr_wall wall_of(const jr_rule *r) {
  const jr_tz *tz = r->zone->tz;
  return r->kind == JR_RULE_CRON ? jr_cron_wall(&r->as.cron, tz)
                                 : jr_calendar_wall(&r->as.calendar, tz);
}

static int64_t plain_next(const jr_rule *r, int64_t after) {
  if (r->kind == JR_RULE_ONCE) return r->as.once > after ? r->as.once : JR_NEVER;
  if (r->kind == JR_RULE_HOURLY) return jr_hourly_next(&r->as.hourly, r->zone->tz, after);
  jr_wall wall = wall_of(r);
  return jr_wall_next(&wall, after);
}

static int64_t plain_last(const jr_rule *r, int64_t now) {
  if (r->kind == JR_RULE_ONCE) return r->as.once <= now ? r->as.once : JR_NEVER;
  if (r->kind == JR_RULE_HOURLY) return jr_hourly_last(&r->as.hourly, r->zone->tz, now);
  jr_wall wall = wall_of(r);
  return jr_wall_last(&wall, now);
}

static int64_t plain_count(const jr_rule *r, int64_t from, int64_t to) {
  if (r->kind == JR_RULE_ONCE) return r->as.once > from && r->as.once <= to;
  if (r->kind == JR_RULE_HOURLY) return jr_hourly_count(&r->as.hourly, r->zone->tz, from, to);
  jr_wall wall = wall_of(r);
  return jr_wall_count(&wall, from, to);
}

/* ---- through the window ---------------------------------------------------------------------- */

int64_t jr_rule_next_second(const jr_rule *r, int64_t after) {
  for (int i = 0; i < WINDOWS; i++) {
    int64_t found = plain_next(r, after);
    if (found == JR_NEVER) return JR_NEVER;
    int64_t open = jr_window_next(&r->window, r->zone->tz, found);
    if (open == found || open == JR_NEVER) return open;
    after = open - 1;
  }
  return JR_NEVER;
}

static int64_t last_second(const jr_rule *r, int64_t now) {
  for (int i = 0; i < WINDOWS; i++) {
    int64_t found = plain_last(r, now);
    if (found == JR_NEVER) return JR_NEVER;
    int64_t open = jr_window_last(&r->window, r->zone->tz, found);
    if (open == found || open == JR_NEVER) return open;
    now = open;
  }
  return JR_NEVER;
}

static int64_t count_seconds(const jr_rule *r, int64_t from, int64_t to) {
  int64_t count = 0;
  while (from < to) {
    int64_t open = jr_window_next(&r->window, r->zone->tz, from + 1);
    if (open > to) break;
    int64_t end = min64(jr_window_end(&r->window, r->zone->tz, open), to);
    count += plain_count(r, open - 1, end);
    from = end;
  }
  return count;
}

/* ---- nanoseconds and limits ------------------------------------------------------------------ */

/* The last second whose instant of the rule lies at or before `ns`. */
static int64_t second_until(const jr_rule *r, int64_t ns) {
  if (ns < INT64_MIN + SECOND_NS) return JR_CIVIL_FIRST - 1;
  return jr_floor_div(ns - r->fraction_ns, SECOND_NS);
}

static int64_t in_ns(const jr_rule *r, int64_t second) {
  int64_t ns;
  if (second == JR_NEVER || __builtin_mul_overflow(second, SECOND_NS, &ns)) return JR_NEVER;
  return __builtin_add_overflow(ns, r->fraction_ns, &ns) ? JR_NEVER : ns;
}

static int64_t before(int64_t ns) {
  return ns == INT64_MIN ? ns : ns - 1;
}

void jr_rule_anchor(jr_rule *r, int64_t from_ns, bool is_from) {
  int64_t second = jr_floor_div(from_ns, SECOND_NS);
  if (r->kind == JR_RULE_HOURLY) jr_hourly_anchor(&r->as.hourly, r->zone->tz, second, is_from);
  if (r->kind != JR_RULE_CALENDAR) return;
  jr_calendar_anchor(&r->as.calendar, r->zone->tz, second, is_from);
  if (r->as.calendar.times_len == 0) r->fraction_ns = (int32_t)(from_ns - second * SECOND_NS);
}

int64_t jr_rule_next(const jr_rule *r, int64_t after_ns) {
  int64_t after = max64(after_ns, before(r->from_ns));
  int64_t found = in_ns(r, jr_rule_next_second(r, second_until(r, after)));
  return found <= r->till_ns ? found : JR_NEVER;
}

int64_t jr_rule_last(const jr_rule *r, int64_t now_ns) {
  int64_t found = in_ns(r, last_second(r, second_until(r, min64(now_ns, r->till_ns))));
  return found >= r->from_ns ? found : JR_NEVER;
}

int64_t jr_rule_count(const jr_rule *r, int64_t from_ns, int64_t to_ns) {
  int64_t from = max64(from_ns, before(r->from_ns)), to = min64(to_ns, r->till_ns);
  return from >= to ? 0 : count_seconds(r, second_until(r, from), second_until(r, to));
}

jr_wall_note jr_rule_note_of(const jr_rule *r, int64_t instant) {
  if (r->kind == JR_RULE_ONCE || r->kind == JR_RULE_HOURLY) return JR_WALL_PLAIN;
  jr_wall wall = wall_of(r);
  return jr_wall_note_of(&wall, instant);
}
