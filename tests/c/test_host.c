/* The embedding API: its contract, function by function, as a host program meets it.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <uv.h>

#include "host_help.h"
#include "jobrun.h"
#include "status.h"

/* ---- help ---------------------------------------------------------------------------------- */

static char note[256];

static int host_note(lua_State *L) {
  strncpy(note, luaL_checkstring(L, 1), sizeof note - 1);
  return 0;
}

static const jobrun_reg host_functions[] = {{"note", host_note}, {NULL, NULL}};

/* Runs `code`, which may call host.note; returns jobrun_run's status. */
static int run(jobrun *rt, const char *code) {
  note[0] = 0;
  assert_int_equal(jobrun_register(rt, "host", host_functions), 0);
  int status = load(rt, code);
  return status < 0 ? status : jobrun_run(rt);
}

/* ---- life ---------------------------------------------------------------------------------- */

static void test_a_script_runs_to_its_end(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_runtime(&log);
  assert_int_equal(run(rt, "sleep(0.001) require('host').note('end')"), 0);
  assert_string_equal(note, "end");
  assert_int_equal(jobrun_exit_code(rt), 0);
  assert_int_equal(jobrun_free(rt), 0);
  assert_string_equal(log.text, "");
}

static void test_free_without_run(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_runtime(&log);
  assert_int_equal(load(rt, "x = 1"), 0);
  assert_int_equal(jobrun_free(rt), 0);
  assert_int_equal(jobrun_free(NULL), 0);
  assert_string_equal(log.text, "");
}

static void test_arguments(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_runtime(&log);
  const char *argv[] = {"one", "two"};
  assert_int_equal(jobrun_set_args(rt, 2, argv), 0);
  assert_int_equal(run(rt, "local a, b = ... require('host').note(a .. b .. arg[2])"), 0);
  assert_string_equal(note, "onetwotwo");
  jobrun_free(rt);
}

static void test_an_uncaught_error(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_runtime(&log);
  assert_int_equal(run(rt, "sleep(0) error 'boom'"), JR_ESCRIPT);
  assert_non_null(strstr(jobrun_last_error(rt), "test:1: boom\nstack traceback:"));
  assert_int_equal(jobrun_exit_code(rt), 1);
  jobrun_free(rt);
}

static void test_scripts_that_do_not_load(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_runtime(&log);
  assert_int_equal(load(rt, "x ="), JR_ESYNTAX);
  assert_non_null(strstr(jobrun_last_error(rt), "test:1:"));
  assert_int_equal(jobrun_load_file(rt, "/nonexistent/x.lua"), UV_ENOENT);
  assert_non_null(strstr(jobrun_last_error(rt), "/nonexistent/x.lua"));
  assert_int_equal(load(rt, "\033Lua"), JR_ESYNTAX); /* no bytecode */
  jobrun_free(rt);
}

static void test_wrong_use_says_what_to_do(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_runtime(&log);
  assert_int_equal(jobrun_run(rt), JR_EUSAGE);
  assert_non_null(strstr(jobrun_last_error(rt), "jobrun_load_file"));
  assert_int_equal(run(rt, "x = 1"), 0);
  assert_int_equal(jobrun_run(rt), JR_ECLOSED);
  assert_non_null(strstr(jobrun_last_error(rt), "has ended"));
  assert_int_equal(load(rt, "x = 1"), JR_ECLOSED);
  jobrun_free(rt);
}

static jobrun *running;
static int status_inside, free_inside;

static int run_again(lua_State *L) {
  (void)L;
  status_inside = jobrun_run(running);
  free_inside = jobrun_free(running);
  return 0;
}

static void test_running_twice_is_refused(void **state) {
  (void)state;
  static const jobrun_reg functions[] = {{"run_again", run_again}, {NULL, NULL}};
  lines log;
  running = new_runtime(&log);
  jobrun_register(running, "again", functions);
  assert_int_equal(load(running, "require('again').run_again()"), 0);
  assert_int_equal(jobrun_run(running), 0);
  assert_int_equal(status_inside, JR_ERUNNING);
  assert_int_equal(free_inside, JR_ERUNNING);
  jobrun_free(running);
}

/* ---- threads ------------------------------------------------------------------------------- */

static void *stop_after_a_moment(void *rt) {
  usleep(20000);
  jobrun_stop(rt, 0.5);
  return NULL;
}

static void test_stop_from_another_thread(void **state) {
  (void)state;
  lines log;
  pthread_t thread;
  jobrun *rt = new_runtime(&log);
  jobrun_register(rt, "host", host_functions);
  assert_int_equal(
      load(
          rt,
          "on.stop(function(why) require('host').note(why) end) spawn(function() sleep(0.05) end) sleep(0.1)"),
      0);
  pthread_create(&thread, NULL, stop_after_a_moment, rt);
  assert_int_equal(jobrun_run(rt), 0);
  pthread_join(thread, NULL);
  assert_string_equal(note, "signal");
  assert_int_equal(jobrun_exit_code(rt), 0);
  jobrun_free(rt);
}

static void test_the_grace_ends_what_does_not(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_runtime(&log);
  assert_int_equal(load(rt, "sleep(3600)"), 0);
  assert_int_equal(jobrun_step(rt), 1);
  jobrun_stop(rt, 0.01);
  while (jobrun_step(rt) == 1) usleep(1000);
  assert_int_equal(jobrun_exit_code(rt), 124);
  assert_non_null(strstr(log.text, "the grace is over"));
  jobrun_free(rt);
}

static _Atomic int posted;

static void on_posted(jobrun *rt, void *data) {
  (void)rt;
  posted += *(int *)data;
}

static void *post_many(void *rt) {
  static int one = 1;
  for (int i = 0; i < 1000; i++) assert_int_equal(jobrun_post(rt, on_posted, &one), 0);
  jobrun_stop(rt, 0);
  return NULL;
}

static void test_post_from_another_thread(void **state) {
  (void)state;
  lines log;
  pthread_t thread;
  jobrun *rt = new_runtime(&log);
  posted = 0;
  assert_int_equal(load(rt, "sleep(3600)"), 0);
  pthread_create(&thread, NULL, post_many, rt);
  jobrun_run(rt);
  pthread_join(thread, NULL);
  jobrun_free(rt);
  assert_int_equal(posted, 1000);
}

static void *run_one(void *arg) {
  lines log;
  jobrun *rt = new_runtime(&log);
  (void)arg;
  assert_int_equal(
      load(
          rt,
          "local n = 0 scope(function() for i = 1, 100 do spawn(function() sleep(0.001) n = n + 1 end) end end) assert(n == 100)"),
      0);
  assert_int_equal(jobrun_run(rt), 0);
  jobrun_free(rt);
  return NULL;
}

static void test_two_runtimes_on_two_threads(void **state) {
  (void)state;
  pthread_t a, b;
  pthread_create(&a, NULL, run_one, NULL);
  pthread_create(&b, NULL, run_one, NULL);
  pthread_join(a, NULL);
  pthread_join(b, NULL);
}

static void test_two_runtimes_on_one_thread(void **state) {
  (void)state;
  lines log_a, log_b;
  jobrun *a = new_runtime(&log_a), *b = new_runtime(&log_b);
  assert_int_equal(load(a, "x = 'a' sleep(0.005) assert(x == 'a')"), 0);
  assert_int_equal(load(b, "x = 'b' sleep(0.005) assert(x == 'b')"), 0);
  int more_a = 1, more_b = 1;
  while (more_a == 1 || more_b == 1) {
    if (more_a == 1) more_a = jobrun_step(a);
    if (more_b == 1) more_b = jobrun_step(b);
    usleep(500);
  }
  assert_int_equal(more_a, 0);
  assert_int_equal(more_b, 0);
  jobrun_free(a);
  jobrun_free(b);
}

/* ---- the host's loop ----------------------------------------------------------------------- */

static void test_on_the_hosts_loop(void **state) {
  (void)state;
  lines log;
  uv_loop_t loop;
  jobrun_opts o = JOBRUN_OPTS_INIT;
  uv_loop_init(&loop);
  o.loop = &loop;
  jobrun *rt = new_runtime_with(&log, o);
  assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0); /* without a script nothing keeps it alive */
  assert_int_equal(run(rt, "sleep(0.01) require('host').note('host loop')"), 0);
  assert_string_equal(note, "host loop");
  assert_int_equal(jobrun_free(rt), 0);
  assert_int_equal(uv_loop_close(&loop), 0); /* no handle of ours is left on it */
}

/* ---- memory -------------------------------------------------------------------------------- */

static void test_the_memory_limit_is_an_error_of_the_script(void **state) {
  (void)state;
  jobrun_opts o = JOBRUN_OPTS_INIT;
  jobrun *rt;
  o.memory_limit = 4 << 20;
  assert_int_equal(jobrun_new(&rt, &o), 0);
  assert_int_equal(load(rt, "local t = {} for i = 1, 1e8 do t[i] = ('x'):rep(1000) .. i end"), 0);
  assert_int_equal(jobrun_run(rt), JR_ESCRIPT);
  assert_non_null(strstr(jobrun_last_error(rt), "not enough memory"));
  jobrun_free(rt);
}

static void test_create_and_free_many_times(void **state) {
  (void)state;
  for (int i = 0; i < 200; i++) {
    lines log;
    jobrun *rt = new_runtime(&log);
    assert_int_equal(run(rt, "spawn(sleep, 0)"), 0);
    assert_int_equal(jobrun_free(rt), 0);
    assert_string_equal(log.text, "");
  }
}

static void test_figures_and_names(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_runtime(&log);
  jobrun_stats stats = {.size = sizeof stats};
  assert_int_equal(jobrun_get_stats(rt, &stats), 0);
  assert_true(stats.memory_used > 1000);
  assert_int_equal(stats.tasks, 0);
  assert_string_equal(jobrun_err_name(JR_ECLOSED), "ECLOSED");
  assert_string_equal(jobrun_err_name(UV_ENOENT), "ENOENT");
  assert_string_equal(jobrun_err_name(-424242), "UNKNOWN");
  assert_non_null(strstr(jobrun_strerror(UV_ENOENT), "no such file"));
  assert_string_equal(jobrun_version(), JOBRUN_VERSION);
  jobrun_free(rt);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_script_runs_to_its_end),
      cmocka_unit_test(test_free_without_run),
      cmocka_unit_test(test_arguments),
      cmocka_unit_test(test_an_uncaught_error),
      cmocka_unit_test(test_scripts_that_do_not_load),
      cmocka_unit_test(test_wrong_use_says_what_to_do),
      cmocka_unit_test(test_running_twice_is_refused),
      cmocka_unit_test(test_stop_from_another_thread),
      cmocka_unit_test(test_the_grace_ends_what_does_not),
      cmocka_unit_test(test_post_from_another_thread),
      cmocka_unit_test(test_two_runtimes_on_two_threads),
      cmocka_unit_test(test_two_runtimes_on_one_thread),
      cmocka_unit_test(test_on_the_hosts_loop),
      cmocka_unit_test(test_the_memory_limit_is_an_error_of_the_script),
      cmocka_unit_test(test_create_and_free_many_times),
      cmocka_unit_test(test_figures_and_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
