/* One time zone, read from a TZif file or a POSIX rule, kept as one sorted table of changes.
 *
 * The file. It begins with a header of 44 bytes: "TZif", a version, and six counts. What follows
 * are arrays of those lengths: instants of changes, the type each one changes to, the types
 * (offset, is it daylight saving, where its abbreviation begins), the abbreviations, leap seconds,
 * and two arrays of flags that nobody needs. Version 1 has 32-bit instants and is the whole file;
 * from version 2 on that block is to be skipped, a second header with a 64-bit block follows, and
 * then, between two newlines, a POSIX rule for all time after the last change.
 *
 * The table. The Gregorian calendar repeats itself every 400 years, weekdays too, so a rule does.
 * Its changes are worked out for one such cycle when the zone is read, and are appended to those of
 * the file. A later instant is moved back by whole cycles, looked up, and the answer is moved
 * forward again. A rule without a file has no past either, so there earlier instants are moved
 * forward. One binary search is all there is at run time:
 *
 *      | changes of the file | changes by the rule, from cycle_start on: 400 years and one more |
 *
 * Leap seconds. In the files below "right/" an instant counts them; the kernel's clock does not.
 * They also have no rule, for nobody knows how many there will be, so right/Europe/Berlin would be
 * wrong a few years from now without anybody noticing. Such files are refused.
 *
 * All counts and indices of a file are checked here, once. One allocation holds everything.
 *
 * SPDX-License-Identifier: MIT */
#include "tz.h"

#include <string.h>

#include <uv.h>

#include "civil.h"
#include "tzrule.h"

enum {
  HEADER = 44,
  TYPE_BYTES = 6,
  MAX_TYPES = 254,      /* two more come from the rule, and the table keeps them in a byte */
  RULE_YEARS = 400 + 8, /* a cycle, and the years at its ends whose changes may reach into it */
  RULE_CHANGES = 2 * RULE_YEARS,
};

typedef struct zone_type {
  int32_t offset;
  bool is_dst;
  char abbr[JR_TZ_ABBR];
} zone_type;

struct jr_tz {
  jr_mem *mem;
  size_t size; /* of the allocation */
  int64_t *at; /* `len` instants, ascending */
  zone_type *types;
  uint8_t *to; /* the type from at[i] on */
  uint32_t len, types_len;
  int32_t min_offset, max_offset;
  int64_t cycle_start; /* from here on it repeats itself; JR_TZ_EVER = it does not */
  bool always_cycles;  /* before that too */
  uint8_t first;       /* the type before at[0] */
};

/* ---- the file as it stands ------------------------------------------------------------------- */

typedef struct counts {
  uint32_t isut, isstd, leap, time, type, chars;
} counts;

/* One block of a file: pointers to its arrays. */
typedef struct block {
  counts n;
  int width; /* of an instant: 4 or 8 bytes */
  const uint8_t *times, *indices, *types, *abbrs;
} block;

static uint32_t read_u32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int32_t read_i32(const uint8_t *p) {
  return (int32_t)read_u32(p);
}

static int64_t read_instant(const uint8_t *p, int width) {
  if (width == 4) return read_i32(p);
  return (int64_t)((uint64_t)read_u32(p) << 32 | read_u32(p + 4));
}

static uint64_t data_bytes(const counts *n, int width) {
  uint64_t w = (uint64_t)width;
  return n->time * (w + 1) + (uint64_t)n->type * TYPE_BYTES + n->chars + n->leap * (w + 4) +
         n->isstd + n->isut;
}

/* Reads a header and finds the arrays behind it, all of them within the file. *end is what follows.
 */
static bool read_block(const uint8_t *p, const uint8_t *file_end, int width, block *b,
                       const uint8_t **end) {
  if (file_end - p < HEADER || memcmp(p, "TZif", 4) != 0) return false;
  b->n = (counts){read_u32(p + 20), read_u32(p + 24), read_u32(p + 28),
                  read_u32(p + 32), read_u32(p + 36), read_u32(p + 40)};
  b->width = width;
  p += HEADER;
  uint64_t bytes = data_bytes(&b->n, width);
  if (bytes > (uint64_t)(file_end - p)) return false;
  *end = p + bytes;
  b->times = p;
  b->indices = b->times + (size_t)b->n.time * (size_t)width;
  b->types = b->indices + b->n.time;
  b->abbrs = b->types + (size_t)b->n.type * TYPE_BYTES;
  return true;
}

/* The rule between newlines at the end; *rule NULL where it is empty. */
static bool find_footer(const uint8_t *p, const uint8_t *end, const char **rule, size_t *len) {
  if (p == end || *p != '\n') return false;
  const uint8_t *newline = memchr(p + 1, '\n', (size_t)(end - p - 1));
  if (!newline) return false;
  *len = (size_t)(newline - p - 1);
  *rule = *len > 0 ? (const char *)p + 1 : NULL;
  return true;
}

/* The 64-bit block and the rule, or all there is in a file of version 1. */
static bool read_file(const uint8_t *p, size_t len, block *b, const char **rule, size_t *rule_len) {
  const uint8_t *file_end = p + len, *end;
  *rule = NULL;
  if (!read_block(p, file_end, 4, b, &end)) return false;
  if (p[4] < '2') return true;
  return read_block(end, file_end, 8, b, &end) && find_footer(end, file_end, rule, rule_len);
}

/* ---- the table ------------------------------------------------------------------------------- */

static int tz_new(jr_mem *mem, uint32_t changes, uint32_t types, jr_tz **out) {
  size_t size = sizeof(jr_tz) + changes * (sizeof(int64_t) + 1) + types * sizeof(zone_type);
  jr_tz *tz = jr_mem_zalloc(mem, size);
  if (!tz) return UV_ENOMEM;
  tz->mem = mem;
  tz->size = size;
  tz->at = (int64_t *)(void *)(tz + 1);
  tz->types = (zone_type *)(void *)(tz->at + changes);
  tz->to = (uint8_t *)(tz->types + types);
  tz->cycle_start = JR_TZ_EVER;
  *out = tz;
  return 0;
}

void jr_tz_free(jr_tz *tz) {
  if (tz) jr_mem_free(tz->mem, tz, tz->size);
}

static uint8_t add_type(jr_tz *tz, int32_t offset, bool is_dst, const char *abbr) {
  zone_type *t = &tz->types[tz->types_len];
  t->offset = offset;
  t->is_dst = is_dst;
  memcpy(t->abbr, abbr, strnlen(abbr, JR_TZ_ABBR - 1)); /* the rest is zero */
  return (uint8_t)tz->types_len++;
}

static bool same_type(const jr_tz *tz, uint8_t a, uint8_t b) {
  const zone_type *x = &tz->types[a], *y = &tz->types[b];
  return x->offset == y->offset && x->is_dst == y->is_dst && strcmp(x->abbr, y->abbr) == 0;
}

static uint8_t last_type(const jr_tz *tz) {
  return tz->len ? tz->to[tz->len - 1] : tz->first;
}

/* A change at the same instant as the one before replaces it; one to the same type is none. */
static void add_change(jr_tz *tz, int64_t at, uint8_t type) {
  if (tz->len && tz->at[tz->len - 1] == at) tz->len--;
  if (same_type(tz, last_type(tz), type)) return;
  tz->at[tz->len] = at;
  tz->to[tz->len++] = type;
}

static bool copy_types(jr_tz *tz, const block *b) {
  for (uint32_t i = 0; i < b->n.type; i++) {
    const uint8_t *p = b->types + (size_t)i * TYPE_BYTES;
    int32_t offset = read_i32(p);
    uint8_t abbr = p[5];
    if (offset < -JR_TZ_MAX_OFFSET || offset > JR_TZ_MAX_OFFSET || p[4] > 1) return false;
    if (abbr >= b->n.chars || !memchr(b->abbrs + abbr, 0, b->n.chars - abbr)) return false;
    add_type(tz, offset, p[4] == 1, (const char *)b->abbrs + abbr);
  }
  return true;
}

static bool copy_changes(jr_tz *tz, const block *b) {
  int64_t before = INT64_MIN;
  for (uint32_t i = 0; i < b->n.time; i++) {
    int64_t at = read_instant(b->times + (size_t)i * (size_t)b->width, b->width);
    uint8_t type = b->indices[i];
    if (type >= b->n.type || (i > 0 && at <= before)) return false;
    before = at;
    if (at <= -JR_TZ_EVER / 2) {
      tz->first = type;
    } else if (at < JR_TZ_EVER / 2) {
      add_change(tz, at, type);
    }
  }
  return true;
}

static void note_offsets(jr_tz *tz) {
  tz->min_offset = tz->max_offset = tz->types[tz->first].offset;
  for (uint32_t i = 0; i < tz->len; i++) {
    int32_t offset = tz->types[tz->to[i]].offset;
    if (offset < tz->min_offset) tz->min_offset = offset;
    if (offset > tz->max_offset) tz->max_offset = offset;
  }
}

/* ---- the rule, worked out for a cycle -------------------------------------------------------- */

typedef struct change {
  int64_t at;
  uint8_t type;
} change;

/* Nearly sorted already: a rule's two changes a year may be the wrong way about, or reach a few
 * days into another year. Equal instants stay as they are: an end of one year before the beginning
 * of the next, which is how daylight saving all year is written. */
static void sort_changes(change *list, int len) {
  for (int i = 1; i < len; i++) {
    change c = list[i];
    int k = i;
    for (; k > 0 && list[k - 1].at > c.at; k--) list[k] = list[k - 1];
    list[k] = c;
  }
}

static void list_changes(const jr_tzrule *rule, int64_t year, uint8_t std, uint8_t dst,
                         change *list) {
  for (int i = 0; i < RULE_YEARS; i++, list += 2) {
    jr_tzrule_edges(rule, year + i, &list[0].at, &list[1].at);
    list[0].type = dst;
    list[1].type = std;
  }
}

/* Appends the changes after `from`, through one cycle and to the change that begins the next. The
 * cycle is taken to begin with the second of them: its neighbour on the left is then one by the
 * rule, as it is in all later cycles. */
static void add_cycle(jr_tz *tz, const jr_tzrule *rule, int64_t from, uint8_t std, uint8_t dst) {
  change list[RULE_CHANGES];
  int64_t year = jr_date_from(jr_day_of(from)).year - 2;
  int64_t complete =
      jr_day_from(year + RULE_YEARS - 1, 1, 1) * JR_DAY_SECONDS; /* but for years not listed */
  list_changes(rule, year, std, dst, list);
  sort_changes(list, RULE_CHANGES);
  uint32_t len = tz->len;
  for (int i = 0; i < RULE_CHANGES && list[i].at < complete; i++) {
    if (list[i].at <= from) continue;
    if (tz->len > len + 1 && list[i].at > tz->at[len + 1] + JR_ERA_SECONDS) break;
    add_change(tz, list[i].at, list[i].type);
  }
  if (tz->len > len + 1) tz->cycle_start = tz->at[len + 1];
}

/* What the rule says of all time after the last change. A rule that does not agree with the file
 * about the time right after that change is not believed before its own first change. */
static void add_rule(jr_tz *tz, const jr_tzrule *rule) {
  uint8_t std = add_type(tz, rule->offset, false, rule->abbr);
  if (tz->len == 0) tz->first = std;
  if (!rule->has_dst) return;
  uint8_t dst = add_type(tz, rule->dst_offset, true, rule->dst_abbr);
  tz->always_cycles = tz->len == 0;
  int64_t from = tz->len ? tz->at[tz->len - 1] : 0;
  if (from <= JR_CIVIL_LAST) add_cycle(tz, rule, from, std, dst);
  if (tz->always_cycles && tz->cycle_start == JR_TZ_EVER) { /* daylight saving all year */
    tz->first = last_type(tz);
    tz->len = 0;
  }
}

/* ---- making one ------------------------------------------------------------------------------ */

static bool fill_from_file(jr_tz *tz, const block *b, const jr_tzrule *rule) {
  if (!copy_types(tz, b) || !copy_changes(tz, b)) return false;
  if (rule) add_rule(tz, rule);
  note_offsets(tz);
  return true;
}

int jr_tz_read(jr_mem *mem, const void *bytes, size_t len, jr_tz **out) {
  block b;
  const char *text;
  size_t text_len = 0;
  jr_tzrule rule;
  if (len > JR_TZ_MAX_FILE) return UV_EFBIG;
  if (!read_file(bytes, len, &b, &text, &text_len)) return UV_EINVAL;
  if (b.n.type == 0 || b.n.type > MAX_TYPES) return UV_EINVAL;
  if (b.n.leap > 0) return UV_ENOTSUP;
  if (text && jr_tzrule_parse(text, text_len, &rule) < 0) return UV_EINVAL;
  jr_tz *tz;
  int status = tz_new(mem, b.n.time + (text && rule.has_dst ? RULE_CHANGES : 0), b.n.type + 2, &tz);
  if (status < 0) return status;
  if (!fill_from_file(tz, &b, text ? &rule : NULL)) {
    jr_tz_free(tz);
    return UV_EINVAL;
  }
  *out = tz;
  return 0;
}

int jr_tz_from_rule(jr_mem *mem, const char *rule, size_t len, jr_tz **out) {
  jr_tzrule parsed;
  jr_tz *tz;
  int status = jr_tzrule_parse(rule, len, &parsed);
  if (status < 0) return status;
  status = tz_new(mem, parsed.has_dst ? RULE_CHANGES : 0, 2, &tz);
  if (status < 0) return status;
  add_rule(tz, &parsed);
  note_offsets(tz);
  *out = tz;
  return 0;
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* How many changes lie at or before `instant`. */
static uint32_t changes_until(const jr_tz *tz, int64_t instant) {
  uint32_t lo = 0, hi = tz->len;
  while (lo < hi) {
    uint32_t mid = lo + (hi - lo) / 2;
    if (tz->at[mid] <= instant) {
      lo = mid + 1;
    } else {
      hi = mid;
    }
  }
  return lo;
}

/* By how much an instant lies beyond the cycle that the table has. */
static int64_t cycles_beyond(const jr_tz *tz, int64_t instant) {
  if (tz->cycle_start == JR_TZ_EVER) return 0;
  if (instant < tz->cycle_start && !tz->always_cycles) return 0;
  return jr_floor_div(instant - tz->cycle_start, JR_ERA_SECONDS) * JR_ERA_SECONDS;
}

/* The type that holds behind so many changes. */
static const zone_type *type_from(const jr_tz *tz, uint32_t changes) {
  return &tz->types[changes ? tz->to[changes - 1] : tz->first];
}

jr_tz_span jr_tz_span_at(const jr_tz *tz, int64_t instant) {
  int64_t beyond = cycles_beyond(tz, instant);
  uint32_t i = changes_until(tz, instant - beyond);
  const zone_type *type = type_from(tz, i);
  jr_tz_span span = {
      .start = i > 0 ? tz->at[i - 1] + beyond : -JR_TZ_EVER,
      .end = i < tz->len ? tz->at[i] + beyond : JR_TZ_EVER,
      .offset = type->offset,
      .before = type_from(tz, i > 0 ? i - 1 : 0)->offset,
      .after = type_from(tz, i < tz->len ? i + 1 : i)->offset,
      .is_dst = type->is_dst,
      .abbr = type->abbr,
  };
  return span;
}

int32_t jr_tz_min_offset(const jr_tz *tz) {
  return tz->min_offset;
}

int32_t jr_tz_max_offset(const jr_tz *tz) {
  return tz->max_offset;
}

jr_tz_wall jr_tz_wall_at(const jr_tz *tz, int64_t wall) {
  jr_tz_wall out = {JR_TZ_UNIQUE, JR_NEVER, JR_NEVER, JR_NEVER};
  /* Only instants from wall - max_offset to wall - min_offset can show this time. */
  for (jr_tz_span s = jr_tz_span_at(tz, wall - tz->max_offset);; s = jr_tz_span_at(tz, s.end)) {
    int64_t instant = wall - s.offset;
    bool is_shown = instant >= s.start && instant < s.end;
    if (out.at == JR_NEVER && instant < s.start)
      return (jr_tz_wall){JR_TZ_GAP, wall - s.before, s.start, instant};
    if (is_shown && out.at == JR_NEVER)
      out = (jr_tz_wall){JR_TZ_UNIQUE, instant, instant, instant};
    else if (is_shown)
      out = (jr_tz_wall){JR_TZ_OVERLAP, out.before, s.start, instant};
    if (s.end > wall - tz->min_offset) return out;
  }
}

bool jr_tz_equals(const jr_tz *a, const jr_tz *b) {
  if (a->len != b->len || a->cycle_start != b->cycle_start) return false;
  for (uint32_t i = 0; i <= a->len; i++) {
    const zone_type *x = type_from(a, i), *y = type_from(b, i);
    if (i > 0 && a->at[i - 1] != b->at[i - 1]) return false;
    if (x->offset != y->offset || x->is_dst != y->is_dst || strcmp(x->abbr, y->abbr) != 0)
      return false;
  }
  return true;
}
