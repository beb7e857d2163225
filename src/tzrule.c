/* The POSIX rule for a zone.
 *
 * SPDX-License-Identifier: MIT */
#include "tzrule.h"

#include <string.h>

#include <uv.h>

#include "civil.h"

enum { HOUR = 3600, DEFAULT_EDGE_SECOND = 2 * HOUR };

typedef struct reader {
  const char *at, *end;
} reader;

static bool take(reader *r, char c) {
  if (r->at == r->end || *r->at != c) return false;
  r->at++;
  return true;
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_quoted(char c) {
  return is_letter(c) || is_digit(c) || c == '+' || c == '-';
}

/* A number of at most three digits within lo … hi. */
static bool read_number(reader *r, int lo, int hi, int *out) {
  int value = 0, digits = 0;
  for (; r->at < r->end && is_digit(*r->at) && digits < 3; digits++)
    value = value * 10 + (*r->at++ - '0');
  if (digits == 0 || value < lo || value > hi) return false;
  *out = value;
  return true;
}

static bool read_name(reader *r, char abbr[JR_TZ_ABBR]) {
  bool quoted = take(r, '<');
  const char *start = r->at;
  while (r->at < r->end && (quoted ? is_quoted(*r->at) : is_letter(*r->at))) r->at++;
  size_t len = (size_t)(r->at - start);
  if (len < 3 || (quoted && !take(r, '>'))) return false;
  if (len >= JR_TZ_ABBR) len = JR_TZ_ABBR - 1;
  memcpy(abbr, start, len);
  abbr[len] = 0;
  return true;
}

/* [+-]h[:mm[:ss]] in seconds */
static bool read_time(reader *r, int32_t *out) {
  bool negative = take(r, '-');
  if (!negative) take(r, '+');
  int h, m = 0, s = 0;
  if (!read_number(r, 0, 167, &h)) return false;
  if (take(r, ':')) {
    if (!read_number(r, 0, 59, &m)) return false;
    if (take(r, ':') && !read_number(r, 0, 59, &s)) return false;
  }
  int32_t seconds = h * HOUR + m * 60 + s;
  *out = negative ? -seconds : seconds;
  return true;
}

static bool read_offset(reader *r, int32_t *out) {
  int32_t west;
  if (!read_time(r, &west)) return false;
  *out = -west;
  return true;
}

static bool read_date(reader *r, jr_tzedge *edge) {
  int month = 0, week = 0, weekday = 0, day = 0;
  if (take(r, 'M')) {
    edge->kind = JR_TZEDGE_MONTH;
    if (!read_number(r, 1, 12, &month) || !take(r, '.')) return false;
    if (!read_number(r, 1, 5, &week) || !take(r, '.')) return false;
    if (!read_number(r, 0, 6, &weekday)) return false;
  } else {
    edge->kind = take(r, 'J') ? JR_TZEDGE_JULIAN : JR_TZEDGE_DAY;
    if (!read_number(r, edge->kind == JR_TZEDGE_JULIAN, 365, &day)) return false;
  }
  edge->month = (uint8_t)month;
  edge->week = (uint8_t)week;
  edge->weekday = (uint8_t)weekday;
  edge->day = (int16_t)day;
  return true;
}

static bool read_edge(reader *r, jr_tzedge *edge) {
  if (!take(r, ',') || !read_date(r, edge)) return false;
  edge->second = DEFAULT_EDGE_SECOND;
  return !take(r, '/') || read_time(r, &edge->second);
}

static bool read_dst(reader *r, jr_tzrule *rule) {
  if (!read_name(r, rule->dst_abbr)) return false;
  rule->has_dst = true;
  rule->dst_offset = rule->offset + HOUR;
  if (r->at < r->end && *r->at != ',' && !read_offset(r, &rule->dst_offset)) return false;
  if (r->at < r->end) return read_edge(r, &rule->begin) && read_edge(r, &rule->end);
  rule->begin = (jr_tzedge){JR_TZEDGE_MONTH, 3, 2, 0, 0, DEFAULT_EDGE_SECOND};
  rule->end = (jr_tzedge){JR_TZEDGE_MONTH, 11, 1, 0, 0, DEFAULT_EDGE_SECOND};
  return true;
}

int jr_tzrule_parse(const char *text, size_t len, jr_tzrule *out) {
  reader r = {text, text + len};
  jr_tzrule rule = {0};
  if (!read_name(&r, rule.abbr) || !read_offset(&r, &rule.offset)) return UV_EINVAL;
  if (r.at < r.end && !read_dst(&r, &rule)) return UV_EINVAL;
  if (r.at < r.end) return UV_EINVAL;
  *out = rule;
  return 0;
}

static int64_t month_edge_day(const jr_tzedge *edge, int64_t year) {
  int64_t first = jr_day_from(year, edge->month, 1);
  int day = 1 + (edge->weekday - jr_weekday(first) + 7) % 7 + (edge->week - 1) * 7;
  if (day > jr_month_length(year, edge->month)) day -= 7; /* week 5 of a month that has four */
  return first + day - 1;
}

static int64_t edge_day(const jr_tzedge *edge, int64_t year) {
  if (edge->kind == JR_TZEDGE_MONTH) return month_edge_day(edge, year);
  int64_t first = jr_day_from(year, 1, 1);
  if (edge->kind == JR_TZEDGE_DAY) return first + edge->day;
  bool behind_leap_day = edge->day >= 60 && jr_month_length(year, 2) == 29;
  return first + edge->day - 1 + behind_leap_day;
}

void jr_tzrule_edges(const jr_tzrule *rule, int64_t year, int64_t *begin, int64_t *end) {
  *begin = edge_day(&rule->begin, year) * JR_DAY_SECONDS + rule->begin.second - rule->offset;
  *end = edge_day(&rule->end, year) * JR_DAY_SECONDS + rule->end.second - rule->dst_offset;
}
