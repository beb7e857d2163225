/* Lines out of bytes, however they are cut into reads; the tail; lines of ffmpeg's log.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ffline.h"
#include "lines.h"
#include "tail.h"

static jr_mem mem;

static int setup(void **state) {
  (void)state;
  jr_mem_init(&mem, NULL, NULL, 0);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  assert_int_equal(mem.used, 0);
  return 0;
}

static void put(jr_lines *l, const char *bytes, size_t len) {
  size_t room;
  char *to = jr_lines_reserve(l, len, &room);
  assert_non_null(to);
  assert_true(room >= len);
  if (len) memcpy(to, bytes, len);
  jr_lines_commit(l, len);
}

/* Takes all lines there are and appends them to `out`, each in angle brackets. */
static void take_all(jr_lines *l, char *out) {
  char *line;
  size_t len;
  while (jr_lines_next(l, &line, &len)) {
    out += strlen(out);
    *out++ = '<';
    memcpy(out, line, len);
    out += len;
    *out++ = '>';
    *out = 0;
  }
}

/* What comes out if the text comes in pieces of `step` bytes. */
static void split(const char *text, size_t step, char *out) {
  jr_lines l;
  jr_lines_init(&l, &mem);
  *out = 0;
  for (size_t i = 0, len = strlen(text); i < len; i += step) {
    put(&l, text + i, len - i < step ? len - i : step);
    take_all(&l, out);
  }
  jr_lines_finish(&l);
  take_all(&l, out);
  jr_lines_fini(&l);
}

static void assert_split(const char *text, const char *expected) {
  char out[256];
  for (size_t step = 1; step <= strlen(text) + 1; step++) {
    split(text, step, out);
    assert_string_equal(out, expected);
  }
}

static void test_each_kind_of_end(void **state) {
  (void)state;
  assert_split("a\nb\n", "<a><b>");
  assert_split("a\rb\r", "<a><b>");
  assert_split("a\r\nb\r\n", "<a><b>");
  assert_split("a\n\nb\n", "<a><><b>");
  assert_split("a\r\rb", "<a><><b>");
  assert_split("a\n\rb\n", "<a><><b>");
  assert_split("a\r\n\r\nb", "<a><><b>");
  assert_split("\n", "<>");
  assert_split("\r\n", "<>");
}

static void test_the_last_line_needs_no_end(void **state) {
  (void)state;
  assert_split("", "");
  assert_split("a", "<a>");
  assert_split("a\nbc", "<a><bc>");
}

static void test_a_carriage_return_ends_its_line_at_once(void **state) {
  (void)state;
  char out[64] = "";
  jr_lines l;
  jr_lines_init(&l, &mem);
  put(&l, "frame=1\r", 8);
  take_all(&l, out);
  assert_string_equal(out, "<frame=1>");
  put(&l, "\nx\n", 3);
  take_all(&l, out);
  assert_string_equal(out, "<frame=1><x>");
  jr_lines_fini(&l);
}

static void test_bytes_are_not_changed(void **state) {
  (void)state;
  jr_lines l;
  char *line;
  size_t len;
  jr_lines_init(&l, &mem);
  put(&l, "a\0b\xff\xfe\n\0\n", 8);
  assert_true(jr_lines_next(&l, &line, &len));
  assert_int_equal(len, 5);
  assert_memory_equal(line, "a\0b\xff\xfe", 5);
  assert_true(jr_lines_next(&l, &line, &len));
  assert_int_equal(len, 1);
  assert_int_equal(*line, 0);
  assert_false(jr_lines_next(&l, &line, &len));
  jr_lines_fini(&l);
}

static void test_a_long_line_comes_in_pieces(void **state) {
  (void)state;
  char out[64] = "";
  jr_lines l;
  jr_lines_init(&l, &mem);
  l.max = 4;
  put(&l, "abcd\nabcde\nabcdefghij", 21);
  take_all(&l, out);
  assert_string_equal(out, "<abcd><abcd><e><abcd><efgh>");
  jr_lines_finish(&l);
  take_all(&l, out);
  assert_string_equal(out, "<abcd><abcd><e><abcd><efgh><ij>");
  jr_lines_fini(&l);
}

/* Random bytes in random pieces, taken at random moments, against a splitter that is plainly
 * right. */
static size_t split_plainly(const char *text, size_t len, char *out) {
  size_t n = 0, start = 0;
  for (size_t i = 0; i <= len; i++) {
    bool ends = i < len && (text[i] == '\n' || text[i] == '\r');
    if (!ends && !(i == len && i > start)) continue;
    out[n++] = '<';
    memcpy(out + n, text + start, i - start);
    n += i - start;
    out[n++] = '>';
    if (i + 1 < len && text[i] == '\r' && text[i + 1] == '\n') i++;
    start = i + 1;
  }
  return n;
}

static void test_random_pieces_against_a_plain_splitter(void **state) {
  (void)state;
  static char text[5000], expected[20000], out[20000];
  srand(1);
  for (int round = 0; round < 300; round++) {
    size_t len = (size_t)rand() % sizeof text, n = 0;
    for (size_t i = 0; i < len; i++) text[i] = "ab\n\rc\0xyz"[rand() % 9];
    size_t expected_len = split_plainly(text, len, expected);
    jr_lines l;
    jr_lines_init(&l, &mem);
    char *line;
    size_t line_len;
    for (size_t i = 0; i <= len;) {
      size_t step = (size_t)rand() % 200;
      if (step > len - i) step = len - i;
      put(&l, text + i, step);
      i += step;
      if (i == len) jr_lines_finish(&l);
      for (int take = rand() % 40; take > 0 || i == len; take--) {
        if (!jr_lines_next(&l, &line, &line_len)) break;
        out[n++] = '<';
        memcpy(out + n, line, line_len);
        n += line_len;
        out[n++] = '>';
      }
      if (i == len) break;
    }
    assert_int_equal(n, expected_len);
    assert_memory_equal(out, expected, n);
    jr_lines_fini(&l);
  }
}

static void test_a_buffer_without_memory_stays_as_it_was(void **state) {
  (void)state;
  jr_lines l;
  size_t room;
  char out[64] = "";
  jr_lines_init(&l, &mem);
  put(&l, "a\nb", 3);
  mem.limit = mem.used;
  assert_null(jr_lines_reserve(&l, 100000, &room));
  mem.limit = 0;
  jr_lines_finish(&l);
  take_all(&l, out);
  assert_string_equal(out, "<a><b>");
  jr_lines_fini(&l);
}

static void test_a_grown_buffer_is_given_back(void **state) {
  (void)state;
  jr_lines l;
  size_t room;
  char *line;
  size_t len;
  jr_lines_init(&l, &mem);
  assert_non_null(jr_lines_reserve(&l, 4 << 20, &room));
  memset(l.data, 'x', 4 << 20);
  jr_lines_commit(&l, 4 << 20);
  jr_lines_finish(&l);
  while (jr_lines_next(&l, &line, &len)) continue;
  assert_non_null(jr_lines_reserve(&l, 4096, &room));
  assert_true(mem.used < 100000);
  jr_lines_fini(&l);
}

/* ---- tail ---------------------------------------------------------------------------------- */

static void test_the_tail_keeps_the_last_lines(void **state) {
  (void)state;
  jr_tail t;
  jr_tail_init(&t, &mem, 3);
  for (int i = 1; i <= 5; i++) {
    char text[8];
    int len = snprintf(text, sizeof text, "%d", i);
    jr_tail_add(&t, text, (size_t)len, i);
  }
  assert_int_equal(t.len, 3);
  for (uint32_t i = 0; i < 3; i++) {
    const jr_tail_slot *slot = jr_tail_get(&t, i);
    assert_int_equal(slot->mark, i + 3);
    assert_int_equal(slot->text[0], '3' + (int)i);
  }
  jr_tail_fini(&t);
}

static void test_the_tail_cuts_long_lines_and_survives_without_memory(void **state) {
  (void)state;
  static char text[JR_TAIL_LINE * 2];
  jr_tail t;
  jr_tail_init(&t, &mem, 2);
  jr_tail_add(&t, text, sizeof text, 0);
  assert_int_equal(jr_tail_get(&t, 0)->len, JR_TAIL_LINE);
  mem.limit = mem.used;
  jr_tail_add(&t, "left out", 8, 0);
  mem.limit = 0;
  assert_int_equal(t.len, 1);
  jr_tail_add(&t, "", 0, 0);
  assert_int_equal(t.len, 2);
  jr_tail_fini(&t);
}

/* ---- ffmpeg's log -------------------------------------------------------------------------- */

static void check_line(const char *text, jr_fflevel *level, const char *expected,
                       jr_fflevel expected_level) {
  char copy[256];
  jr_ffline out;
  size_t len = strlen(text);
  memcpy(copy, text, len + 1);
  jr_ffline_parse(copy, len, level, &out);
  assert_int_equal(out.len, strlen(expected));
  assert_memory_equal(out.text, expected, out.len);
  assert_int_equal(out.level, expected_level);
}

static void test_the_level_is_cut_out(void **state) {
  (void)state;
  jr_fflevel level = JR_FF_INFO;
  check_line("[info] text", &level, "text", JR_FF_INFO);
  check_line("[error] ", &level, "", JR_FF_ERROR);
  check_line("[libx264 @ 0x55d0c0] [warning] text", &level, "[libx264 @ 0x55d0c0] text",
             JR_FF_WARNING);
  check_line("[mov,mp4 @ 0x1] [aac @ 0x2] [fatal] x", &level, "[mov,mp4 @ 0x1] [aac @ 0x2] x",
             JR_FF_FATAL);
  check_line("[info]", &level, "[info]", JR_FF_FATAL);
  check_line("[infos] a", &level, "[infos] a", JR_FF_FATAL);
  check_line("[x] [info] a", &level, "[x] [info] a", JR_FF_FATAL);
  check_line("", &level, "", JR_FF_FATAL);
  check_line("[", &level, "[", JR_FF_FATAL);
}

static void test_a_line_without_a_level_has_that_of_the_line_before(void **state) {
  (void)state;
  jr_fflevel level = JR_FF_INFO;
  check_line("first", &level, "first", JR_FF_INFO);
  check_line("[verbose] a", &level, "a", JR_FF_VERBOSE);
  check_line("  b", &level, "  b", JR_FF_VERBOSE);
}

static void test_an_encoders_own_level_is_for_one_line(void **state) {
  (void)state;
  jr_fflevel level = JR_FF_INFO;
  check_line("x264 [error]: no", &level, "x264 [error]: no", JR_FF_ERROR);
  check_line("x265 [warning]: hm", &level, "x265 [warning]: hm", JR_FF_WARNING);
  check_line("next", &level, "next", JR_FF_INFO);
}

static void test_kinds_of_lines(void **state) {
  (void)state;
  static const struct {
    const char *text;
    bool is_progress, is_notable;
  } cases[] = {{"[info] frame=   10 fps=0.0", true, true},
               {"[info] size=       1kB", true, true},
               {"[info]   Duration: 00:00:01.00", false, true},
               {"[warning] x", false, true},
               {"[info] Stream #0:0", false, false},
               {"x264 [error]: x", false, true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    jr_fflevel level = JR_FF_INFO;
    char copy[64];
    jr_ffline out;
    strcpy(copy, cases[i].text);
    jr_ffline_parse(copy, strlen(copy), &level, &out);
    assert_int_equal(out.is_progress, cases[i].is_progress);
    assert_int_equal(out.is_notable, cases[i].is_notable);
  }
}

static bool is_bad(void *data, const char *line, size_t len) {
  (void)data;
  return len > 0 && line[0] == 'b';
}

/* What is left of `text` when it has been thinned to `target` bytes, in `out`; returns how many
 * lines went. `taken` lines are taken before. */
static size_t thin(const char *text, size_t target, int taken,
                   bool (*may_drop)(void *, const char *, size_t), char *out) {
  jr_lines l;
  char *line;
  size_t len;
  jr_lines_init(&l, &mem);
  put(&l, text, strlen(text));
  while (taken-- > 0) assert_true(jr_lines_next(&l, &line, &len));
  size_t dropped = jr_lines_thin(&l, target, may_drop, NULL);
  *out = 0;
  jr_lines_finish(&l);
  take_all(&l, out);
  jr_lines_fini(&l);
  return dropped;
}

static void test_the_oldest_lines_are_thinned_out(void **state) {
  (void)state;
  static const struct {
    const char *text;
    size_t target;
    int taken;
    bool bad_only;
    const char *left;
    size_t dropped;
  } cases[] = {
      {"a\nb\nc\n", 4, 0, false, "<b><c>", 1},
      {"a\nb\nc\n", 6, 0, false, "<a><b><c>", 0},
      {"a\nb\nc\n", 0, 0, false, "", 3},
      {"a\nb\nc\nd", 0, 0, false, "<d>", 3}, /* the last one is not whole yet */
      {"a\nb\nc\nd\n", 4, 1, false, "<c><d>", 1},
      {"a\r\nb\r\nc\r\n", 3, 0, false, "<c>", 2},
      {"a\rb\rc\r", 0, 0, false, "<c>", 2}, /* a \n may belong to the last one */
      {"a\r\nb\n", 0, 1, false, "", 1},
      {"\n\n\n", 1, 0, false, "<>", 2},
      {"a\nb1\nc\nb2\nb3\nd\n", 9, 0, true, "<a><c><b3><d>", 2},
      {"a\nb1\nc\nb2\n", 0, 0, true, "<a><c>", 2},
      {"a\nc\n", 0, 0, true, "<a><c>", 0},
  };
  char out[256];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    size_t dropped = thin(cases[i].text, cases[i].target, cases[i].taken,
                          cases[i].bad_only ? is_bad : NULL, out);
    assert_string_equal(out, cases[i].left);
    assert_int_equal(dropped, cases[i].dropped);
  }
}

static void test_the_level_of_a_line_that_stays_as_it_is(void **state) {
  (void)state;
  static const char text[] = "[libx264 @ 0x55] [warning] x", own[] = "x264 [error]: y";
  jr_fflevel level = JR_FF_INFO;
  assert_int_equal(jr_ffline_level("plain", 5, &level), JR_FF_INFO);
  assert_int_equal(jr_ffline_level(text, sizeof text - 1, &level), JR_FF_WARNING);
  assert_int_equal(jr_ffline_level(own, sizeof own - 1, &level), JR_FF_ERROR);
  assert_int_equal(jr_ffline_level("plain", 5, &level), JR_FF_WARNING);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_each_kind_of_end),
      TEST(test_the_last_line_needs_no_end),
      TEST(test_a_carriage_return_ends_its_line_at_once),
      TEST(test_bytes_are_not_changed),
      TEST(test_a_long_line_comes_in_pieces),
      TEST(test_random_pieces_against_a_plain_splitter),
      TEST(test_a_buffer_without_memory_stays_as_it_was),
      TEST(test_a_grown_buffer_is_given_back),
      TEST(test_the_tail_keeps_the_last_lines),
      TEST(test_the_tail_cuts_long_lines_and_survives_without_memory),
      TEST(test_the_level_is_cut_out),
      TEST(test_a_line_without_a_level_has_that_of_the_line_before),
      TEST(test_an_encoders_own_level_is_for_one_line),
      TEST(test_kinds_of_lines),
      TEST(test_the_oldest_lines_are_thinned_out),
      TEST(test_the_level_of_a_line_that_stays_as_it_is),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
