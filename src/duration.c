/* Durations as people write them.
 *
 * SPDX-License-Identifier: MIT */
#include "duration.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <uv.h>

typedef struct unit {
  char name[4];
  int64_t ns;
} unit;

/* From large to small: the order in which parts may stand. */
static const unit units[] = {
    {"w", INT64_C(604800000000000)}, {"d", INT64_C(86400000000000)},
    {"h", INT64_C(3600000000000)},   {"m", INT64_C(60000000000)},
    {"s", INT64_C(1000000000)},      {"ms", INT64_C(1000000)},
    {"us", INT64_C(1000)},           {"ns", INT64_C(1)},
};
enum { UNITS = sizeof units / sizeof *units, SECONDS = 4, NO_UNIT = UNITS };

typedef struct reader {
  const char *start, *at, *end;
  jr_duration_fault *fault;
} reader;

/* A number before its unit is known: the digits as they stand. */
typedef struct digits {
  const char *whole, *point, *end; /* point == end where there is no fraction */
} digits;

static int fail(reader *r, const char *at, int status, const char *what) {
  *r->fault = (jr_duration_fault){.column = (int)(at - r->start) + 1, .what = what};
  return status;
}

static bool is_digit(const reader *r) {
  return r->at < r->end && *r->at >= '0' && *r->at <= '9';
}

static void skip_digits(reader *r) {
  while (is_digit(r)) r->at++;
}

static int read_digits(reader *r, digits *d) {
  d->whole = r->at;
  if (!is_digit(r)) return fail(r, r->at, UV_EINVAL, "expected a digit");
  skip_digits(r);
  d->point = d->end = r->at;
  if (r->at == r->end || *r->at != '.') return 0;
  r->at++;
  if (!is_digit(r)) return fail(r, r->at, UV_EINVAL, "expected a digit behind the point");
  skip_digits(r);
  d->end = r->at;
  return 0;
}

/* The index of the unit whose name starts here (the longest one: "ms" before "m"), or NO_UNIT. */
static int read_unit(reader *r) {
  int found = NO_UNIT;
  size_t found_len = 0, left = (size_t)(r->end - r->at);
  for (int i = 0; i < UNITS; i++) {
    size_t len = strlen(units[i].name);
    if (len <= found_len || len > left || memcmp(units[i].name, r->at, len) != 0) continue;
    found = i;
    found_len = len;
  }
  r->at += found_len;
  return found;
}

/* Adds the number, in units of `unit_ns`, to *total. The fraction is taken digit by digit with an
 * ever smaller unit, so no binary fraction comes in between. False if it does not fit. */
static bool add_digits(const digits *d, int64_t unit_ns, int64_t *total) {
  int64_t whole = 0, part = 0;
  for (const char *p = d->whole; p < d->point; p++) {
    if (__builtin_mul_overflow(whole, 10, &whole)) return false;
    if (__builtin_add_overflow(whole, *p - '0', &whole)) return false;
  }
  int64_t scale = unit_ns;
  for (const char *p = d->point + 1; p < d->end; p++) part += (*p - '0') * (scale /= 10);
  return !__builtin_mul_overflow(whole, unit_ns, &whole) &&
         !__builtin_add_overflow(whole, part, &whole) &&
         !__builtin_add_overflow(*total, whole, total);
}

/* One part; *last is the unit before it. A number alone, without any unit, is seconds. */
static int read_part(reader *r, int *last, int64_t *total) {
  digits d;
  int status = read_digits(r, &d);
  if (status < 0) return status;
  const char *at = r->at;
  int found = read_unit(r);
  if (found == NO_UNIT && (r->at < r->end || *last >= 0))
    return fail(r, at, UV_EINVAL, "expected a unit (w, d, h, m, s, ms, us, ns)");
  if (found == NO_UNIT) found = SECONDS;
  if (found <= *last)
    return fail(r, at, UV_EINVAL, "expected a smaller unit than the one before it");
  if (!add_digits(&d, units[found].ns, total))
    return fail(r, d.whole, UV_EOVERFLOW, "expected less than 292 years");
  *last = found;
  return 0;
}

int jr_duration_parse(const char *text, size_t len, int64_t *out_ns, jr_duration_fault *fault) {
  reader r = {.start = text, .at = text, .end = text + len, .fault = fault};
  int64_t total = 0;
  int last = -1;
  if (len == 0) return fail(&r, text, UV_EINVAL, "expected a number, as in \"1h30m\"");
  while (r.at < r.end) {
    int status = read_part(&r, &last, &total);
    if (status < 0) return status;
    if (r.at == r.end) break;
    while (r.at < r.end && *r.at == ' ') r.at++;
    if (r.at == r.end) return fail(&r, r.at, UV_EINVAL, "expected another part or the end");
  }
  *out_ns = total;
  return 0;
}

int jr_duration_scale(double n, int64_t unit_ns, int64_t *out_ns) {
  if (!(n >= 0)) return UV_EINVAL; /* a NaN too */
  double exact = n * (double)unit_ns;
  if (exact >= 0x1p63) return UV_EOVERFLOW;
  if (n != floor(n)) {
    *out_ns = llround(exact);
    return 0;
  }
  /* A double holds whole numbers beyond 2^53 ns only roughly, so those are multiplied as such. */
  return __builtin_mul_overflow((int64_t)n, unit_ns, out_ns) ? UV_EOVERFLOW : 0;
}

int jr_duration_format(int64_t ns, char text[JR_DURATION_TEXT]) {
  int len = 0;
  for (int i = 0; i < UNITS; i++) {
    int64_t n = ns / units[i].ns;
    ns -= n * units[i].ns;
    if (n == 0 && (i != SECONDS || len > 0 || ns > 0)) continue;
    len += snprintf(text + len, (size_t)(JR_DURATION_TEXT - len), "%lld%s", (long long)n,
                    units[i].name);
  }
  return len;
}
