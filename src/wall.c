/* From wall times to instants.
 *
 * A zone is a line of spans with one offset each, so a set of wall times is looked for span by
 * span. Within a span everything is plain: subtract the offset. What the policies say concerns
 * its two ends only:
 *
 *            |<------------------- span ------------------->|
 *    gap:    |* times of the gap before it, at its start     |
 *            |  (END), or moved by the length (SHIFT)        |
 *    overlap:|xxxx second pass: not for FIRST           xxxx | first pass: not for SECOND
 *
 * So a span gives one range of wall times [low, high) to search, and perhaps the gap in front of
 * it. For a wildcard line the range is the whole span and there is no gap, and the two rules for
 * daylight saving fall out of the walk by themselves.
 *
 * A yearly job must not walk through every span of a year, nor a rule for 29 February through those
 * of 40. Where the search of a span gave the wall time W > high, no wall time of the set lies
 * between `low` and W, and no instant before W - max_offset shows W or more; so that is where to go
 * on. The times below `low` are out of reach too, once the next span begins so late that even the
 * smallest offset does not show them again (`can_leap`).
 *
 * SPDX-License-Identifier: MIT */
#include "wall.h"

/* The wall times of one span that are searched without further thought. */
typedef struct range {
  int64_t low, high; /* [low, high) */
} range;

static int64_t min64(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b) {
  return a > b ? a : b;
}

/* The first time of the set at or after a wall time, as if there were no zones. */
static int64_t next_time(const jr_wall *w, int64_t time) {
  int64_t day = jr_day_of(time);
  int32_t second = w->set->next_time(w->self, jr_second_of_day(time));
  int64_t found = w->set->next_day(w->self, second < 0 ? day + 1 : day);
  if (found == JR_NEVER) return JR_NEVER;
  if (found != day) second = w->set->next_time(w->self, 0);
  return second < 0 ? JR_NEVER : found * JR_DAY_SECONDS + second;
}

/* How many times of the set lie in [low, high). */
static int64_t count_times(const jr_wall *w, int64_t low, int64_t high) {
  int64_t count = 0, last = jr_day_of(high),
          per_day = w->set->times_before(w->self, JR_DAY_SECONDS);
  if (low >= high || per_day == 0) return 0;
  int64_t day = w->set->next_day(w->self, jr_day_of(low));
  if (day == jr_day_of(low)) count -= w->set->times_before(w->self, jr_second_of_day(low));
  for (; day < last; day = w->set->next_day(w->self, day + 1)) count += per_day;
  if (day == last) count += w->set->times_before(w->self, jr_second_of_day(high));
  return count;
}

static bool has_time(const jr_wall *w, int64_t time) {
  return next_time(w, time) == time;
}

/* ---- one span -------------------------------------------------------------------------------- */

static bool begins_with_gap(const jr_tz_span *s) {
  return s->before < s->offset;
}

/* The range of a span's instants from `from` on and before `until`. */
static range plain_range(const jr_wall *w, const jr_tz_span *s, int64_t from, int64_t until) {
  range r = {max64(from, s->start) + s->offset, min64(until, s->end) + s->offset};
  if (w->overlap == JR_TWICE_FIRST) r.low = max64(r.low, s->start + max64(s->before, s->offset));
  if (w->overlap == JR_TWICE_SECOND) r.high = min64(r.high, s->end + min64(s->after, s->offset));
  return r;
}

/* The same for the gap in front of it: by SHIFT its times become instants of this span by the
 * offset before; by END all of them become the start. */
static range gap_range(const jr_wall *w, const jr_tz_span *s, int64_t from, int64_t until) {
  range r = {s->start + s->before, s->start + s->offset};
  if (w->gap == JR_GAP_SHIFT) {
    r.low = max64(r.low, from + s->before);
    r.high = min64(r.high, min64(until, s->end) + s->before);
  } else if (w->gap == JR_GAP_SKIP || from > s->start || until <= s->start) {
    r.high = r.low;
  }
  return r;
}

/* Does the gap in front of a span take the whole of the day on which `time` falls? */
static bool is_missing_day(const jr_tz_span *s, int64_t time) {
  int64_t midnight = jr_day_of(time) * JR_DAY_SECONDS;
  return midnight >= s->start + s->before && midnight + JR_DAY_SECONDS <= s->start + s->offset;
}

/* The first time of the set in a gap, of a day that is not missing as a whole; JR_NEVER if none. */
static int64_t next_in_gap(const jr_wall *w, const jr_tz_span *s, range r) {
  while (r.low < r.high) {
    int64_t time = next_time(w, r.low);
    if (time >= r.high) return JR_NEVER;
    if (!is_missing_day(s, time)) return time;
    r.low = (jr_day_of(time) + 1) * JR_DAY_SECONDS;
  }
  return JR_NEVER;
}

static int64_t gap_instant(const jr_wall *w, const jr_tz_span *s, int64_t from) {
  if (!begins_with_gap(s)) return JR_NEVER;
  int64_t time = next_in_gap(w, s, gap_range(w, s, from, s->end));
  if (time == JR_NEVER) return JR_NEVER;
  return w->gap == JR_GAP_END ? s->start : time - s->before;
}

/* How many instants of a span come from the gap in front of it and from nowhere else. */
static int64_t count_gap(const jr_wall *w, const jr_tz_span *s, int64_t from, int64_t until) {
  if (!begins_with_gap(s)) return 0;
  int64_t count = 0, time;
  range r = gap_range(w, s, from, until);
  while ((time = next_in_gap(w, s, r)) != JR_NEVER) {
    int64_t instant = w->gap == JR_GAP_END ? s->start : time - s->before;
    if (!has_time(w, instant + s->offset)) count++;
    if (w->gap == JR_GAP_END) break;
    r.low = time + 1;
  }
  return count;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* Can no span behind this one show a wall time below `low` again? */
static bool can_leap(const jr_wall *w, const jr_tz_span *s, int64_t low) {
  return s->end + jr_tz_min_offset(w->tz) >= low;
}

/* What the last search found: no time of the set lies in [low, time). */
typedef struct found_time {
  int64_t low, time;
} found_time;

static int64_t search(const jr_wall *w, int64_t low, found_time *last) {
  if (low < last->low || low > last->time) last->time = next_time(w, low);
  last->low = low;
  return last->time;
}

int64_t jr_wall_next(const jr_wall *w, int64_t after) {
  if (after >= JR_CIVIL_LAST) return JR_NEVER;
  found_time last = {JR_NEVER, JR_NEVER};
  int64_t from = max64(after, JR_CIVIL_FIRST - 1) + 1;
  int64_t horizon = min64(from + JR_ERA_SECONDS, JR_CIVIL_LAST);
  while (from <= horizon) {
    jr_tz_span s = jr_tz_span_at(w->tz, from);
    range r = plain_range(w, &s, from, s.end);
    int64_t time = search(w, r.low, &last);
    int64_t plain = time < r.high ? time - s.offset : JR_NEVER;
    int64_t found = min64(plain, gap_instant(w, &s, from));
    if (found != JR_NEVER) return found <= JR_CIVIL_LAST ? found : JR_NEVER;
    if (!can_leap(w, &s, r.low)) {
      from = s.end;
    } else {
      if (time == JR_NEVER) return JR_NEVER;
      from = max64(s.end, time - jr_tz_max_offset(w->tz));
    }
  }
  return JR_NEVER;
}

/* `low` is moved up while the next instant after it is one of those sought, so in the end it is the
 * second before the last one. */
int64_t jr_wall_last(const jr_wall *w, int64_t now) {
  if (now < JR_CIVIL_FIRST) return JR_NEVER;
  int64_t low, high = min64(now, JR_CIVIL_LAST), step = JR_DAY_SECONDS;
  for (low = high - step; jr_wall_next(w, low) > now; low -= step) {
    if (low < JR_CIVIL_FIRST || step > JR_ERA_SECONDS) return JR_NEVER;
    high = low;
    step *= 2;
  }
  while (high - low > 1) {
    int64_t middle = low + (high - low) / 2;
    if (jr_wall_next(w, middle) <= now) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return high;
}

int64_t jr_wall_count(const jr_wall *w, int64_t from, int64_t to) {
  if (from >= JR_CIVIL_LAST) return 0;
  int64_t count = 0, until = min64(to, JR_CIVIL_LAST) + 1;
  jr_tz_span s;
  for (int64_t t = max64(from, JR_CIVIL_FIRST - 1) + 1; t < until; t = s.end) {
    s = jr_tz_span_at(w->tz, t);
    range r = plain_range(w, &s, t, until);
    count += count_times(w, r.low, r.high) + count_gap(w, &s, t, until);
  }
  return count;
}

jr_wall_note jr_wall_note_of(const jr_wall *w, int64_t instant) {
  int64_t time = instant + jr_tz_offset_at(w->tz, instant);
  jr_tz_wall shown = jr_tz_wall_at(w->tz, time);
  if (!has_time(w, time)) return JR_WALL_MOVED;
  if (shown.kind != JR_TZ_OVERLAP) return JR_WALL_PLAIN;
  return shown.before == instant ? JR_WALL_FIRST : JR_WALL_SECOND;
}

int64_t jr_wall_instant(const jr_tz *tz, int64_t time, jr_wall_gap gap, jr_wall_overlap overlap) {
  jr_tz_wall shown = jr_tz_wall_at(tz, time);
  if (shown.kind != JR_TZ_GAP) return overlap == JR_TWICE_SECOND ? shown.after : shown.before;
  jr_tz_span s = jr_tz_span_at(tz, shown.at);
  if (gap == JR_GAP_SKIP || is_missing_day(&s, time)) return JR_NEVER;
  return gap == JR_GAP_END ? shown.at : shown.before;
}
