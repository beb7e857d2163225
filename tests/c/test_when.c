/* The pure floor of time: durations as people write them, and the fixed grid.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <math.h>
#include <string.h>

#include <uv.h>

#include "duration.h"
#include "when.h"

#define MS  INT64_C(1000000)
#define SEC INT64_C(1000000000)

static int64_t parsed(const char *text) {
  int64_t ns = -1;
  jr_duration_fault fault = {0};
  if (jr_duration_parse(text, strlen(text), &ns, &fault) < 0)
    fail_msg("\"%s\": column %d: %s", text, fault.column, fault.what);
  return ns;
}

static void refuses(const char *text, int status, int column, const char *what) {
  int64_t ns = -7;
  jr_duration_fault fault = {0};
  assert_int_equal(jr_duration_parse(text, strlen(text), &ns, &fault), status);
  assert_string_equal(fault.what, what);
  assert_int_equal(fault.column, column);
  assert_int_equal(ns, -7);
}

static void reads_each_unit(void **state) {
  (void)state;
  assert_int_equal(parsed("1w"), 7 * 86400 * SEC);
  assert_int_equal(parsed("2d"), 2 * 86400 * SEC);
  assert_int_equal(parsed("3h"), 3 * 3600 * SEC);
  assert_int_equal(parsed("4m"), 240 * SEC);
  assert_int_equal(parsed("90s"), 90 * SEC);
  assert_int_equal(parsed("250ms"), 250 * MS);
  assert_int_equal(parsed("7us"), 7000);
  assert_int_equal(parsed("9ns"), 9);
}

static void reads_parts_from_large_to_small(void **state) {
  (void)state;
  assert_int_equal(parsed("1h30m"), 5400 * SEC);
  assert_int_equal(parsed("1h 30m  5s"), 5405 * SEC);
  assert_int_equal(parsed("1w2d3h4m5s6ms7us8ns"),
                   ((9 * 24 + 3) * 3600 + 4 * 60 + 5) * SEC + 6 * MS + 7008);
}

static void reads_a_bare_number_as_seconds(void **state) {
  (void)state;
  assert_int_equal(parsed("0"), 0);
  assert_int_equal(parsed("90"), 90 * SEC);
  assert_int_equal(parsed("0.25"), 250 * MS);
}

static void keeps_fractions_exact(void **state) {
  (void)state;
  assert_int_equal(parsed("1.5h"), 5400 * SEC);
  assert_int_equal(parsed("0.1s"), 100 * MS);
  assert_int_equal(parsed("0.123456789s"), 123456789);
  assert_int_equal(parsed("1.0000000019s"), SEC + 1); /* nine tenths of a ns are dropped */
  assert_int_equal(parsed("0.5ns"), 0);
}

static void says_where_a_text_is_wrong(void **state) {
  (void)state;
  const char *unit = "expected a unit (w, d, h, m, s, ms, us, ns)";
  refuses("", UV_EINVAL, 1, "expected a number, as in \"1h30m\"");
  refuses("abc", UV_EINVAL, 1, "expected a digit");
  refuses("-1s", UV_EINVAL, 1, "expected a digit");
  refuses(" 1s", UV_EINVAL, 1, "expected a digit");
  refuses("1.s", UV_EINVAL, 3, "expected a digit behind the point");
  refuses("1.", UV_EINVAL, 3, "expected a digit behind the point");
  refuses("5x", UV_EINVAL, 2, unit);
  refuses("5 minutes", UV_EINVAL, 2, unit);
  refuses("1h30", UV_EINVAL, 5, unit);
  refuses("10 20", UV_EINVAL, 3, unit);
  refuses("5mo", UV_EINVAL, 3, "expected a digit");
  refuses("1h ", UV_EINVAL, 4, "expected another part or the end");
  refuses("30m1h", UV_EINVAL, 5, "expected a smaller unit than the one before it");
  refuses("1h1h", UV_EINVAL, 4, "expected a smaller unit than the one before it");
}

static void refuses_what_does_not_fit_64_bits(void **state) {
  (void)state;
  const char *most = "expected less than 292 years";
  assert_int_equal(parsed("9223372036854775807ns"), INT64_MAX);
  refuses("9223372036854775808ns", UV_EOVERFLOW, 1, most);
  refuses("99999999999999999999999999s", UV_EOVERFLOW, 1, most);
  refuses("1w 9223372036854775807ns", UV_EOVERFLOW, 4, most);
  refuses("15251w", UV_EOVERFLOW, 1, most);
}

static void takes_embedded_zeros_as_wrong(void **state) {
  (void)state;
  int64_t ns;
  jr_duration_fault fault;
  assert_int_equal(jr_duration_parse("1\0s", 3, &ns, &fault), UV_EINVAL);
  assert_int_equal(fault.column, 2);
}

static void scales_numbers_of_units(void **state) {
  (void)state;
  int64_t ns = -7;
  assert_int_equal(jr_duration_scale(0.25, SEC, &ns), 0);
  assert_int_equal(ns, 250 * MS);
  assert_int_equal(jr_duration_scale(9007199254740991.0, 1, &ns), 0);
  assert_int_equal(ns, INT64_C(9007199254740991));
  assert_int_equal(jr_duration_scale(9007201, SEC, &ns), 0); /* beyond 2^53 ns, still exact */
  assert_int_equal(ns, 9007201 * SEC);
  assert_int_equal(jr_duration_scale(1e300, SEC, &ns), UV_EOVERFLOW);
  assert_int_equal(jr_duration_scale(9223372037.0, SEC, &ns), UV_EOVERFLOW);
  assert_int_equal(jr_duration_scale((double)INFINITY, SEC, &ns), UV_EOVERFLOW);
  assert_int_equal(jr_duration_scale((double)NAN, SEC, &ns), UV_EINVAL);
  assert_int_equal(jr_duration_scale(-1, SEC, &ns), UV_EINVAL);
}

static void formats_what_it_reads(void **state) {
  (void)state;
  static const char *const texts[] = {"0s",    "1s", "1h30m", "250ms", "1w2d3h4m5s6ms7us8ns",
                                      "15250w"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    char text[JR_DURATION_TEXT];
    assert_int_equal(jr_duration_format(parsed(texts[i]), text), strlen(texts[i]));
    assert_string_equal(text, texts[i]);
  }
}

static void formats_the_longest(void **state) {
  (void)state;
  char text[JR_DURATION_TEXT];
  jr_duration_format(INT64_MAX, text);
  assert_int_equal(parsed(text), INT64_MAX);
}

static void next_is_strictly_after(void **state) {
  (void)state;
  jr_when w = {.start_ns = 100, .period_ns = 10};
  assert_int_equal(jr_when_next(&w, 100), 110);
  assert_int_equal(jr_when_next(&w, 109), 110);
  assert_int_equal(jr_when_next(&w, 110), 120);
  assert_int_equal(jr_when_next(&w, 1005), 1010);
}

static void the_start_is_an_instant(void **state) {
  (void)state;
  jr_when w = {.start_ns = 100, .period_ns = 10};
  assert_int_equal(jr_when_next(&w, 99), 100);
  assert_int_equal(jr_when_next(&w, INT64_MIN), 100);
}

static void last_is_at_or_before(void **state) {
  (void)state;
  jr_when w = {.start_ns = 100, .period_ns = 10};
  assert_int_equal(jr_when_last(&w, 99), JR_NEVER);
  assert_int_equal(jr_when_last(&w, 100), 100);
  assert_int_equal(jr_when_last(&w, 119), 110);
  assert_int_equal(jr_when_last(&w, 120), 120);
}

static void counts_without_stepping(void **state) {
  (void)state;
  jr_when w = {.start_ns = 100, .period_ns = 10};
  assert_int_equal(jr_when_count(&w, 100, 100), 0);
  assert_int_equal(jr_when_count(&w, 100, 110), 1);
  assert_int_equal(jr_when_count(&w, 99, 110), 2);
  assert_int_equal(jr_when_count(&w, 0, 99), 0);
  assert_int_equal(jr_when_count(&w, 500, 100), 0);
  jr_when ns = {.start_ns = 0, .period_ns = 1};
  assert_int_equal(jr_when_count(&ns, 0, INT64_MAX), INT64_MAX);
}

static void never_where_the_clock_ends(void **state) {
  (void)state;
  jr_when far = {.start_ns = INT64_MAX - 5, .period_ns = 10};
  assert_int_equal(jr_when_next(&far, INT64_MAX - 5), JR_NEVER);
  jr_when wide = {.start_ns = INT64_MIN, .period_ns = INT64_MAX};
  assert_int_equal(jr_when_next(&wide, INT64_MIN), -1);
  assert_int_equal(jr_when_next(&wide, -1), INT64_MAX - 1);
  assert_int_equal(jr_when_last(&wide, INT64_MAX), INT64_MAX - 1);
}

static void asks_a_rule_of_the_calendar(void **state) {
  (void)state;
  jr_rule once = {.kind = JR_RULE_ONCE, .as.once = 100, .from_ns = INT64_MIN, .till_ns = JR_NEVER};
  once.zone = &(jr_zone){.name = NULL};
  jr_when w = {.rule = &once};
  assert_int_equal(jr_when_next(&w, 0), 100 * SEC);
  assert_int_equal(jr_when_next(&w, 100 * SEC), JR_NEVER);
  assert_int_equal(jr_when_last(&w, 100 * SEC), 100 * SEC);
  assert_int_equal(jr_when_count(&w, 0, 200 * SEC), 1);
}

static void does_not_drift(void **state) {
  (void)state;
  jr_when w = {.start_ns = 12345, .period_ns = 333333333};
  int64_t now = w.start_ns;
  for (int64_t k = 1; k <= 1000000; k++) {
    int64_t due = jr_when_next(&w, now);
    if (due != w.start_ns + k * w.period_ns) fail_msg("run %lld", (long long)k);
    now = due + (k * 7919) % w.period_ns; /* late, but by less than a period */
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_each_unit),
      cmocka_unit_test(reads_parts_from_large_to_small),
      cmocka_unit_test(reads_a_bare_number_as_seconds),
      cmocka_unit_test(keeps_fractions_exact),
      cmocka_unit_test(says_where_a_text_is_wrong),
      cmocka_unit_test(refuses_what_does_not_fit_64_bits),
      cmocka_unit_test(takes_embedded_zeros_as_wrong),
      cmocka_unit_test(scales_numbers_of_units),
      cmocka_unit_test(formats_what_it_reads),
      cmocka_unit_test(formats_the_longest),
      cmocka_unit_test(next_is_strictly_after),
      cmocka_unit_test(the_start_is_an_instant),
      cmocka_unit_test(last_is_at_or_before),
      cmocka_unit_test(counts_without_stepping),
      cmocka_unit_test(never_where_the_clock_ends),
      cmocka_unit_test(asks_a_rule_of_the_calendar),
      cmocka_unit_test(does_not_drift),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
