/* A host that stops while ffmpeg runs: no child, no file is left.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <errno.h>
#include <glob.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host_help.h"
#include "jobrun.h"

typedef struct host {
  jobrun *rt;
  char dir[32];
} host;

static size_t count(const char *dir, const char *names) {
  char pattern[64];
  glob_t found;
  snprintf(pattern, sizeof pattern, "%s/%s", dir, names);
  size_t n = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
  globfree(&found);
  return n;
}

/* Stops it once ffmpeg has begun to write. */
static void *stop_when_writing(void *data) {
  host *h = data;
  for (int i = 0; i < 4000 && count(h->dir, ".a.jobrun-*") == 0; i++) usleep(5000);
  jobrun_stop(h->rt, 0);
  return NULL;
}

static void test_stop_ends_ffmpeg_and_leaves_nothing(void **state) {
  (void)state;
  host h = {.dir = "/tmp/jobrun-host-XXXXXX"};
  char code[512];
  pthread_t stopper;
  lines log;
  assert_non_null(mkdtemp(h.dir));
  h.rt = new_runtime(&log);
  snprintf(
      code, sizeof code,
      "ffmpeg { input = { raw = 'testsrc2=s=64x48:d=60', f = 'lavfi', re = true }, output = '%s/a.mkv' }",
      h.dir);
  assert_int_equal(load(h.rt, code), 0);
  assert_int_equal(pthread_create(&stopper, NULL, stop_when_writing, &h), 0);
  jobrun_run(h.rt);
  pthread_join(stopper, NULL);
  jobrun_free(h.rt);
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
  assert_int_equal(errno, ECHILD);
  assert_int_equal(count(h.dir, "*") + count(h.dir, ".a*"), 0);
  assert_int_equal(rmdir(h.dir), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_stop_ends_ffmpeg_and_leaves_nothing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
