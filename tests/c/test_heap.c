/* The heap of deadlines: order, stability, removal, failing memory.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <stdlib.h>

#include <uv.h>

#include "heap.h"

enum { MANY = 2000 };

typedef struct item {
  jr_heap_node node;
  int64_t key;
  int order;
} item;

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

static item *pop(jr_heap *h) {
  const jr_heap_entry *e = jr_heap_first(h);
  if (!e) return NULL;
  item *it = (item *)(void *)e->node;
  jr_heap_remove(h, &it->node);
  return it;
}

static void test_comes_out_in_order(void **state) {
  (void)state;
  static item items[MANY];
  jr_heap h;
  jr_heap_init(&h, &mem);
  unsigned x = 1;
  for (int i = 0; i < MANY; i++) {
    x = x * 1103515245u + 12345u;
    items[i] = (item){.key = x >> 22, .order = i};
    assert_int_equal(jr_heap_push(&h, &items[i].node, items[i].key), 0);
  }
  for (int i = 0; i < MANY; i += 3) jr_heap_remove(&h, &items[i].node);
  int64_t last = -1;
  int last_order = -1, n = 0;
  for (item *it; (it = pop(&h)); n++) {
    assert_true(it->key > last || (it->key == last && it->order > last_order));
    last = it->key;
    last_order = it->order;
    assert_true(it->order % 3 != 0);
  }
  assert_int_equal(n, MANY - (MANY + 2) / 3);
  jr_heap_fini(&h);
}

static void test_removing_twice_does_no_harm(void **state) {
  (void)state;
  item a = {.key = 1}, b = {.key = 2};
  jr_heap h;
  jr_heap_init(&h, &mem);
  jr_heap_push(&h, &a.node, a.key);
  jr_heap_push(&h, &b.node, b.key);
  jr_heap_remove(&h, &a.node);
  jr_heap_remove(&h, &a.node);
  assert_false(jr_heap_holds(&a.node));
  assert_ptr_equal(pop(&h), &b);
  assert_null(jr_heap_first(&h));
  jr_heap_fini(&h);
}

static void test_no_memory_changes_nothing(void **state) {
  (void)state;
  item a = {.key = 1};
  jr_heap h;
  jr_heap_init(&h, &mem);
  mem.limit = 8;
  assert_int_equal(jr_heap_push(&h, &a.node, 1), UV_ENOMEM);
  assert_false(jr_heap_holds(&a.node));
  assert_null(jr_heap_first(&h));
  jr_heap_fini(&h);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_comes_out_in_order, setup, teardown),
      cmocka_unit_test_setup_teardown(test_removing_twice_does_no_harm, setup, teardown),
      cmocka_unit_test_setup_teardown(test_no_memory_changes_nothing, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
