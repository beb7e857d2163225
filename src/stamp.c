/* Dates and times of day as people write them.
 *
 * SPDX-License-Identifier: MIT */
#include "stamp.h"

#include <stdio.h>

#include <uv.h>

#include "civil.h"

typedef struct reader {
  const char *start, *at, *end;
  jr_stamp_fault *fault;
} reader;

static int fail(const reader *r, const char *what) {
  *r->fault = (jr_stamp_fault){.column = (int)(r->at - r->start) + 1, .what = what};
  return UV_EINVAL;
}

static bool is_at(const reader *r, char c) {
  return r->at < r->end && *r->at == c;
}

static bool take(reader *r, char c) {
  if (!is_at(r, c)) return false;
  r->at++;
  return true;
}

static bool is_digit(const char *p) {
  return *p >= '0' && *p <= '9';
}

/* Exactly `digits` digits with a value of at most `most`; otherwise *r stays where it is. */
static bool take_number(reader *r, int digits, int most, int *out) {
  int value = 0;
  if (r->end - r->at < digits) return false;
  for (int i = 0; i < digits; i++) {
    if (!is_digit(r->at + i)) return false;
    value = value * 10 + (r->at[i] - '0');
  }
  if (value > most) return false;
  r->at += digits;
  *out = value;
  return true;
}

static int read_date(reader *r, jr_stamp *s) {
  static const char what[] = "expected a date, as in 2027-01-31";
  int year, month, day;
  if (!take_number(r, 4, 9999, &year) || !take(r, '-')) return fail(r, what);
  if (!take_number(r, 2, 12, &month) || month == 0) return fail(r, "expected a month, 01 to 12");
  if (!take(r, '-')) return fail(r, what);
  if (!take_number(r, 2, 31, &day) || day == 0) return fail(r, "expected a day, 01 to 31");
  if (day <= jr_month_length(year, month)) {
    s->has_date = true;
    s->day = jr_day_from(year, month, day);
    return 0;
  }
  r->at -= 2;
  return fail(r, "this month has no such day");
}

static int read_fraction(reader *r, int32_t *out) {
  int32_t scale = 1000000000, nanosecond = 0;
  if (r->at == r->end || !is_digit(r->at)) return fail(r, "expected a digit behind the point");
  for (; r->at < r->end && is_digit(r->at); r->at++) nanosecond += (*r->at - '0') * (scale /= 10);
  *out = nanosecond;
  return 0;
}

static int read_seconds(reader *r, jr_stamp *s) {
  int second;
  if (!take_number(r, 2, 59, &second)) return fail(r, "expected seconds, 00 to 59");
  s->second += second;
  return take(r, '.') ? read_fraction(r, &s->nanosecond) : 0;
}

static int read_time(reader *r, jr_stamp *s) {
  int hour, minute, status;
  const char *start = r->at;
  if (!take_number(r, 2, 24, &hour)) return fail(r, "expected hours, 00 to 23, as in 09:30");
  if (!take(r, ':')) return fail(r, "expected ':' and minutes, as in 09:30");
  if (!take_number(r, 2, 59, &minute)) return fail(r, "expected minutes, 00 to 59");
  s->has_time = true;
  s->second = hour * 3600 + minute * 60;
  if (take(r, ':') && (status = read_seconds(r, s)) < 0) return status;
  if (s->second < JR_DAY_SECONDS || (s->second == JR_DAY_SECONDS && s->nanosecond == 0)) return 0;
  r->at = start;
  return fail(r, "the last time of a day is 24:00");
}

static int read_offset(reader *r, jr_stamp *s) {
  int hour, minute;
  s->has_offset = true;
  if (take(r, 'Z')) return 0;
  bool west = is_at(r, '-');
  r->at++;
  if (!take_number(r, 2, 23, &hour)) return fail(r, "expected an offset, as in +02:00");
  take(r, ':');
  if (!take_number(r, 2, 59, &minute)) return fail(r, "expected an offset, as in +02:00");
  s->offset = (hour * 3600 + minute * 60) * (west ? -1 : 1);
  return 0;
}

static int read_stamp(reader *r, jr_stamp *s) {
  bool is_time = r->end - r->at >= 3 && r->at[2] == ':';
  int status = is_time ? read_time(r, s) : read_date(r, s);
  if (status < 0 || is_time || r->at == r->end) return status;
  if (!take(r, 'T') && !take(r, ' ')) return fail(r, "expected a time behind the date");
  if ((status = read_time(r, s)) < 0) return status;
  if (is_at(r, 'Z') || is_at(r, '+') || is_at(r, '-')) return read_offset(r, s);
  return 0;
}

int jr_stamp_parse(const char *text, size_t len, jr_stamp *out, jr_stamp_fault *fault) {
  reader r = {text, text, text + len, fault};
  jr_stamp s = {0};
  int status = read_stamp(&r, &s);
  if (status < 0) return status;
  if (r.at < r.end) return fail(&r, "expected the end");
  *out = s;
  return 0;
}

/* ---- times for .at --------------------------------------------------------------------------- */

/* Two-digit parts with ':' between them, from the unit down to seconds. */
static int read_at(reader *r, jr_stamp_unit unit, int32_t *out) {
  static const char *const what[] = {"expected HH:MM or HH:MM:SS", "expected :MM or MM:SS",
                                     "expected :SS"};
  int parts[3] = {0}, i = (int)unit;
  bool leading_colon = unit != JR_STAMP_DAY && take(r, ':');
  if (unit == JR_STAMP_MINUTE && !leading_colon) return fail(r, what[unit]);
  for (int first = i;; i++) {
    if (!take_number(r, 2, i == 0 ? 23 : 59, &parts[i])) return fail(r, what[unit]);
    bool enough = leading_colon || i > first;
    if (r->at == r->end && enough) break;
    if (leading_colon || i == 2 || !take(r, ':')) return fail(r, what[unit]);
  }
  *out = parts[0] * 3600 + parts[1] * 60 + parts[2];
  return 0;
}

int jr_stamp_parse_at(const char *text, size_t len, jr_stamp_unit unit, int32_t *out_second,
                      jr_stamp_fault *fault) {
  reader r = {text, text, text + len, fault};
  return read_at(&r, unit, out_second);
}

/* ---- writing --------------------------------------------------------------------------------- */

static int write_wall(int64_t wall, char text[JR_STAMP_TEXT]) {
  jr_date d = jr_date_from(jr_day_of(wall));
  int s = jr_second_of_day(wall);
  return snprintf(text, JR_STAMP_TEXT, "%04lld-%02d-%02dT%02d:%02d:%02d", (long long)d.year,
                  d.month, d.day, s / 3600, s / 60 % 60, s % 60);
}

static int write_fraction(int32_t nanosecond, char *text) {
  if (nanosecond == 0) return 0;
  int len = snprintf(text, 12, ".%09d", nanosecond);
  while (text[len - 1] == '0') len--;
  return len;
}

int jr_stamp_format(int64_t second, int32_t nanosecond, char text[JR_STAMP_TEXT]) {
  int len = write_wall(second, text);
  len += write_fraction(nanosecond, text + len);
  text[len] = 'Z';
  text[len + 1] = 0;
  return len + 1;
}

int jr_stamp_format_wall(int64_t wall, int32_t offset, char text[JR_STAMP_TEXT]) {
  int len = write_wall(wall, text), minutes = (offset < 0 ? -offset : offset) / 60;
  return len + snprintf(text + len, (size_t)(JR_STAMP_TEXT - len), "%c%02d:%02d",
                        offset < 0 ? '-' : '+', minutes / 60, minutes % 60);
}
