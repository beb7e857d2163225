/* Removing a tree in slices: it stops when it is told to, goes on where it was, and never leaves
 * the tree.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rmtree.h"

typedef struct place {
  char root[64], tree[80], outside[80];
} place;

static void make_file(const char *dir, const char *name) {
  char path[160];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  close(fd);
}

/* tree/{f0, f1, f2, sub/{g, link → ../../outside}}, outside/kept */
static int set_up(void **state) {
  place *p = calloc(1, sizeof *p);
  snprintf(p->root, sizeof p->root, "/tmp/jobrun-test-XXXXXX");
  if (!p || !mkdtemp(p->root)) return -1;
  snprintf(p->tree, sizeof p->tree, "%s/tree", p->root);
  snprintf(p->outside, sizeof p->outside, "%s/outside", p->root);
  char sub[96], link[128];
  snprintf(sub, sizeof sub, "%s/sub", p->tree);
  snprintf(link, sizeof link, "%s/link", sub);
  mkdir(p->tree, 0700);
  mkdir(sub, 0700);
  mkdir(p->outside, 0700);
  make_file(p->tree, "f0");
  make_file(p->tree, "f1");
  make_file(p->tree, "f2");
  make_file(sub, "g");
  make_file(p->outside, "kept");
  *state = p;
  return symlink("../../outside", link);
}

static int tear_down(void **state) {
  place *p = *state;
  atomic_bool stop = false;
  int status = jr_rmtree(p->root, INT64_C(10000000000), &stop);
  free(p);
  return status;
}

static int open_fds(void) {
  int n = 0;
  for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
  return n;
}

static void test_a_tree_goes_in_one_call_and_links_are_not_followed(void **state) {
  place *p = *state;
  atomic_bool stop = false;
  int fds = open_fds();
  assert_int_equal(jr_rmtree(p->tree, INT64_C(10000000000), &stop), 0);
  assert_int_equal(access(p->tree, F_OK), -1);
  char kept[96];
  snprintf(kept, sizeof kept, "%s/kept", p->outside);
  assert_int_equal(access(kept, F_OK), 0);
  assert_int_equal(open_fds(), fds);
}

/* Told to stop it still does one entry, so that slices of any length come to an end. */
static void test_slices_of_no_length_come_to_an_end(void **state) {
  place *p = *state;
  atomic_bool stop = true;
  int calls = 0, status, fds = open_fds();
  do status = jr_rmtree(p->tree, 0, &stop);
  while (++calls < 100 && status == JR_RMTREE_MORE);
  assert_int_equal(status, 0);
  assert_in_range(calls, 4, 12);
  assert_int_equal(open_fds(), fds);
}

static void test_what_is_no_folder_is_refused(void **state) {
  place *p = *state;
  atomic_bool stop = false;
  char path[128];
  snprintf(path, sizeof path, "%s/sub/link", p->tree);
  assert_int_equal(jr_rmtree(path, 0, &stop), -ENOTDIR);
  snprintf(path, sizeof path, "%s/f0", p->tree);
  assert_int_equal(jr_rmtree(path, 0, &stop), -ENOTDIR);
  snprintf(path, sizeof path, "%s/none", p->tree);
  assert_int_equal(jr_rmtree(path, 0, &stop), -ENOENT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_a_tree_goes_in_one_call_and_links_are_not_followed,
                                      set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_slices_of_no_length_come_to_an_end, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_what_is_no_folder_is_refused, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
