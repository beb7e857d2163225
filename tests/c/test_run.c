/* What is noted about jobs without Lua: their names, and the ring of ended runs.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <string.h>

#include "label.h"
#include "run.h"

#define SEC INT64_C(1000000000)

static int unit_of(const char *word) {
  int64_t ns;
  const char *known;
  for (int unit = JR_UNIT_FIRST; (known = jr_unit_word(unit, &ns)); unit++)
    if (strcmp(known, word) == 0) return unit;
  return -1;
}

static void is_written(jr_label label, int64_t period_ns, const char *expected) {
  char name[80];
  jr_label_write(&label, period_ns, name, sizeof name);
  assert_string_equal(name, expected);
}

static void writes_made_names(void **state) {
  (void)state;
  jr_label l = {.text = "/srv/jobs/script.lua", .line = 12, .ordinal = 1};
  l.unit = (uint8_t)unit_of("second");
  is_written(l, SEC, "every 1 second script.lua:12");
  l.unit = (uint8_t)unit_of("seconds");
  is_written(l, SEC / 4, "every 0.25 seconds script.lua:12");
  l.unit = (uint8_t)unit_of("weeks");
  is_written(l, 2 * 604800 * SEC, "every 2 weeks script.lua:12");
  l.unit = JR_UNIT_NONE;
  is_written(l, 5400 * SEC, "every 1h30m script.lua:12");
  l.unit = JR_UNIT_AFTER;
  l.ordinal = 3;
  is_written(l, 300 * SEC, "after 5m script.lua:12 #3");
}

static void writes_given_names_as_they_are(void **state) {
  (void)state;
  is_written((jr_label){.text = "a/b", .ordinal = 2}, SEC, "a/b");
}

static void cuts_names_to_the_room_there_is(void **state) {
  (void)state;
  jr_label l = {.text = "script.lua", .line = 12, .ordinal = 22, .unit = JR_UNIT_NONE};
  for (size_t size = 1; size < 40; size++) {
    char name[40];
    memset(name, 'x', sizeof name);
    jr_label_write(&l, SEC, name, size);
    assert_true(strlen(name) < size);
  }
}

static void keeps_the_newest_runs(void **state) {
  (void)state;
  jr_mem mem;
  jr_run_ring ring;
  jr_mem_init(&mem, NULL, NULL, 0);
  jr_run_ring_init(&ring, &mem, 3);
  jr_run_sink sink = jr_run_ring_sink(&ring);
  assert_null(jr_run_ring_get(&ring, 0));
  assert_int_equal(mem.used, 0);
  for (uint64_t id = 1; id <= 5; id++) sink.end(sink.data, &(jr_run_record){.id = id});
  assert_int_equal(jr_run_ring_get(&ring, 0)->id, 5);
  assert_int_equal(jr_run_ring_get(&ring, 2)->id, 3);
  assert_null(jr_run_ring_get(&ring, 3));
  jr_run_ring_fini(&ring);
  assert_int_equal(mem.used, 0);
}

static void counts_what_it_has_no_memory_for(void **state) {
  (void)state;
  jr_mem mem;
  jr_run_ring ring;
  jr_mem_init(&mem, NULL, NULL, 16);
  jr_run_ring_init(&ring, &mem, 3);
  jr_run_sink sink = jr_run_ring_sink(&ring);
  sink.end(sink.data, &(jr_run_record){.id = 1});
  assert_int_equal(ring.dropped, 1);
  assert_null(jr_run_ring_get(&ring, 0));
  jr_run_ring_fini(&ring);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(writes_made_names),
      cmocka_unit_test(writes_given_names_as_they_are),
      cmocka_unit_test(cuts_names_to_the_room_there_is),
      cmocka_unit_test(keeps_the_newest_runs),
      cmocka_unit_test(counts_what_it_has_no_memory_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
