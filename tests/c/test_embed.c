/* The rest of the embedding API: threads and poll loops of the host's, its waits, its blocking
 * calls, its jobs, memory.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>
#include <uv.h>

#include "door_help.h"
#include "host_help.h"
#include "jobrun.h"
#include "status.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MANY_LIVES = 100, MEASURES_RSS = 0 };
#else
enum { MANY_LIVES = 10000, MEASURES_RSS = 1 };
#endif

/* ---- help ---------------------------------------------------------------------------------- */

/* What scripts write down by host.note. */
static lines notes;

static int host_note(lua_State *L) {
  size_t len;
  const char *text = luaL_tolstring(L, 1, &len);
  keep_log(&notes, 0, text, len);
  return 0;
}

static jobrun *new_with(lines *log, const jobrun_reg *functions, const char *script) {
  static const jobrun_reg note[] = {{"note", host_note}, {NULL, NULL}};
  jobrun *rt = new_runtime(log);
  memset(&notes, 0, sizeof notes);
  assert_int_equal(jobrun_register(rt, "note", note), 0);
  if (functions) assert_int_equal(jobrun_register(rt, "host", functions), 0);
  char code[4096];
  snprintf(code, sizeof code, "note = require('note').note host = %s %s",
           functions ? "require('host')" : "nil", script);
  if (load(rt, code) < 0) fail_msg("%s", jobrun_last_error(rt));
  return rt;
}

/* Runs to the end, which has to be a good one, and frees. */
static void run_and_free(jobrun *rt, const lines *log) {
  if (jobrun_run(rt) < 0) fail_msg("%s", jobrun_last_error(rt));
  jobrun_stats stats = {.size = sizeof stats};
  assert_int_equal(jobrun_get_stats(rt, &stats), 0);
  assert_int_equal(stats.tasks, 0);
  assert_int_equal(stats.operations, 0);
  assert_int_equal(jobrun_free(rt), 0);
  assert_string_equal(log->text, "");
}

static void assert_error(jobrun *rt, int status, int expected, const char *part) {
  assert_string_equal(jobrun_err_name(status), jobrun_err_name(expected));
  if (!strstr(jobrun_last_error(rt), part))
    fail_msg("'%s' is not in '%s'", part, jobrun_last_error(rt));
}

/* ---- a thread of its own ------------------------------------------------------------------- */

static void test_a_thread_of_its_own(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_with(&log, NULL, "on.stop(function(why) note(why) end) sleep(3600)");
  assert_int_equal(jobrun_start_thread(rt), 0);
  assert_int_equal(jobrun_stop(rt, 0), 0);
  assert_int_equal(jobrun_join(rt), 0);
  assert_string_equal(notes.text, "signal\n");
  assert_int_equal(jobrun_exit_code(rt), 0);
  assert_int_equal(jobrun_free(rt), 0);
}

static void ignore_job(jobrun *rt, void *data) {
  (void)rt;
  (void)data;
}

static int no_job(void *data, const jobrun_job *job) {
  (void)data;
  (void)job;
  return 1;
}

static void test_calls_from_another_thread_are_refused_with_advice(void **state) {
  (void)state;
  static const jobrun_reg functions[] = {{NULL, NULL}};
  lines log;
  jobrun *rt = new_with(&log, NULL, "sleep(3600)");
  jobrun_stats stats = {.size = sizeof stats};
  assert_int_equal(jobrun_start_thread(rt), 0);
  assert_error(rt, jobrun_run(rt), JR_ETHREAD, "jobrun_post");
  assert_error(rt, jobrun_step(rt), JR_ETHREAD, "jobrun_stop");
  assert_error(rt, jobrun_free(rt), JR_ETHREAD, "jobrun_join first");
  assert_int_equal(jobrun_start_thread(rt), JR_ETHREAD);
  assert_int_equal(load(rt, "x = 1"), JR_ETHREAD);
  assert_int_equal(jobrun_load_file(rt, "/dev/null"), JR_ETHREAD);
  assert_int_equal(jobrun_set_args(rt, 0, NULL), JR_ETHREAD);
  assert_int_equal(jobrun_register(rt, "more", functions), JR_ETHREAD);
  assert_int_equal(jobrun_get_stats(rt, &stats), JR_ETHREAD);
  assert_int_equal(jobrun_backend_timeout(rt), JR_ETHREAD);
  assert_int_equal(jobrun_job_each(rt, no_job, NULL), JR_ETHREAD);
  assert_int_equal(jobrun_job_trigger(rt, "x"), JR_ETHREAD);
  assert_int_equal(jobrun_job_pause(rt, "x", 1), JR_ETHREAD);
  assert_int_equal(jobrun_on_run(rt, NULL, NULL), JR_ETHREAD);
  assert_int_equal(jobrun_set_memory_limit(rt, 1), JR_ETHREAD);
  assert_int_equal(jobrun_post(rt, ignore_job, NULL), 0);
  jobrun_stop(rt, 0);
  assert_int_equal(jobrun_join(rt), 0);
  assert_int_equal(jobrun_get_stats(rt, &stats), 0);
  assert_int_equal(jobrun_free(rt), 0);
}

static void test_join_gives_what_run_returned(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_with(&log, NULL, "sleep(0.001) error 'boom'");
  assert_int_equal(jobrun_start_thread(rt), 0);
  assert_error(rt, jobrun_join(rt), JR_ESCRIPT, "boom");
  assert_error(rt, jobrun_join(rt), JR_EUSAGE, "jobrun_start_thread");
  assert_error(rt, jobrun_start_thread(rt), JR_ECLOSED, "jobrun_new");
  assert_int_equal(jobrun_free(rt), 0);
}

static jobrun *joined;
static int join_status;
static char join_text[256];

static int join_inside(lua_State *L) {
  (void)L;
  join_status = jobrun_join(joined);
  snprintf(join_text, sizeof join_text, "%s", jobrun_last_error(joined));
  return 0;
}

static void test_a_thread_cannot_join_itself(void **state) {
  (void)state;
  static const jobrun_reg functions[] = {{"join", join_inside}, {NULL, NULL}};
  lines log;
  joined = new_with(&log, functions, "host.join()");
  assert_int_equal(jobrun_start_thread(joined), 0);
  assert_int_equal(jobrun_join(joined), 0);
  assert_int_equal(join_status, JR_ETHREAD);
  assert_non_null(strstr(join_text, "on another one"));
  assert_int_equal(jobrun_free(joined), 0);
}

static void test_threads_need_a_script_and_a_loop_of_our_own(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_runtime(&log);
  assert_error(rt, jobrun_start_thread(rt), JR_EUSAGE, "jobrun_load_file");
  assert_int_equal(jobrun_free(rt), 0);

  uv_loop_t loop;
  jobrun_opts o = JOBRUN_OPTS_INIT;
  uv_loop_init(&loop);
  o.loop = &loop;
  rt = new_runtime_with(&log, o);
  assert_int_equal(load(rt, "x = 1"), 0);
  assert_error(rt, jobrun_start_thread(rt), JR_EUSAGE, "jobrun_opts.loop");
  assert_int_equal(jobrun_free(rt), 0);
  assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_two_runtimes_on_threads_of_their_own(void **state) {
  (void)state;
  static const char script[] =
      "local n = 0 every(0.002).seconds.times(5)(function() n = n + blocking(function() return 1 end) end) "
      "all { function() sleep(0.003) end, function() blocking(function() return 1 end) end } "
      "on.stop(function() assert(n == 5) end)";
  lines logs[2];
  jobrun *rts[2];
  for (int i = 0; i < 2; i++) {
    rts[i] = new_runtime(&logs[i]);
    assert_int_equal(load(rts[i], script), 0);
    assert_int_equal(jobrun_start_thread(rts[i]), 0);
  }
  for (int i = 0; i < 2; i++) {
    assert_int_equal(jobrun_join(rts[i]), 0);
    assert_int_equal(jobrun_exit_code(rts[i]), 0);
    assert_int_equal(jobrun_free(rts[i]), 0);
  }
}

enum { POSTERS = 8, POSTS = 500 };

typedef struct poster {
  jobrun *rt;
  pthread_t thread;
  int numbers[POSTS];
  int arrived; /* the runtime's thread */
} poster;

static int posters_done;

static void on_number(jobrun *rt, void *data) {
  poster *p = *(poster **)data;
  (void)rt;
  free(data);
  p->arrived++;
}

static void on_poster_done(jobrun *rt, void *data) {
  (void)data;
  if (++posters_done == POSTERS) jobrun_stop(rt, 0);
}

static void *post_numbers(void *data) {
  poster *p = data;
  for (int i = 0; i < POSTS; i++) {
    poster **letter = malloc(sizeof *letter);
    *letter = p;
    assert_int_equal(jobrun_post(p->rt, on_number, letter), 0);
  }
  assert_int_equal(jobrun_post(p->rt, on_poster_done, NULL), 0);
  return NULL;
}

static void test_posts_from_many_threads(void **state) {
  (void)state;
  lines log;
  poster posters[POSTERS] = {{0}};
  jobrun *rt = new_with(&log, NULL, "sleep(3600)");
  posters_done = 0;
  assert_int_equal(jobrun_start_thread(rt), 0);
  for (int i = 0; i < POSTERS; i++) {
    posters[i].rt = rt;
    pthread_create(&posters[i].thread, NULL, post_numbers, &posters[i]);
  }
  assert_int_equal(jobrun_join(rt), 0);
  for (int i = 0; i < POSTERS; i++) {
    pthread_join(posters[i].thread, NULL);
    assert_int_equal(posters[i].arrived, POSTS);
  }
  assert_int_equal(jobrun_free(rt), 0);
}

static int post_status;

static void on_last_post(jobrun *rt, void *data) {
  (*(int *)data)++;
  post_status = jobrun_post(rt, on_last_post, data);
  assert_int_equal(jobrun_free(rt), JR_ERUNNING);
}

static void test_free_calls_what_was_posted(void **state) {
  (void)state;
  lines log;
  int calls = 0;
  jobrun *rt = new_runtime(&log);
  assert_int_equal(jobrun_post(rt, on_last_post, &calls), 0);
  assert_int_equal(jobrun_free(rt), 0);
  assert_int_equal(calls, 1);
  assert_int_equal(post_status, JR_ECLOSED);
}

/* ---- the host's loops ----------------------------------------------------------------------- */

static void test_step_gives_the_outcome_as_often_as_it_is_asked(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_with(&log, NULL, "error 'boom'");
  int status = 1;
  while (status == 1) status = jobrun_step(rt);
  assert_int_equal(status, JR_ESCRIPT);
  assert_error(rt, jobrun_step(rt), JR_ESCRIPT, "boom");
  assert_int_equal(jobrun_free(rt), 0);
}

static int free_status;

static int free_inside(lua_State *L) {
  (void)L;
  free_status = jobrun_free(joined);
  return 0;
}

/* The first step starts the script; then the host turns its own loop, which ends with it. */
static void test_a_libuv_host_turns_its_own_loop(void **state) {
  (void)state;
  static const jobrun_reg functions[] = {{"free", free_inside}, {NULL, NULL}};
  lines log;
  uv_loop_t loop;
  jobrun_opts o = JOBRUN_OPTS_INIT;
  uv_loop_init(&loop);
  o.loop = &loop;
  joined = new_runtime_with(&log, o);
  assert_int_equal(jobrun_register(joined, "host", functions), 0);
  assert_int_equal(load(joined, "sleep(0.01) require('host').free() sleep(0.01)"), 0);
  assert_int_equal(jobrun_step(joined), 1);
  assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(free_status, JR_ERUNNING);
  assert_int_equal(jobrun_step(joined), 0);
  assert_int_equal(jobrun_free(joined), 0);
  assert_int_equal(uv_loop_close(&loop), 0);
  assert_string_equal(log.text, "");
}

static void on_host_timer(uv_timer_t *timer) {
  ++*(int *)timer->data;
}

/* luv sees its own handles alone on a host's loop, and closes no other. */
static void test_luv_on_the_loop_of_a_host(void **state) {
  (void)state;
  lines log;
  uv_loop_t loop;
  uv_timer_t timer;
  int fired = 0;
  jobrun_opts o = JOBRUN_OPTS_INIT;
  uv_loop_init(&loop);
  uv_timer_init(&loop, &timer);
  timer.data = &fired;
  o.loop = &loop;
  jobrun *rt = new_runtime_with(&log, o);
  assert_int_equal(load(rt, "local uv, n = require 'luv', 0\n"
                            "for i = 1, 3 do uv.new_timer():start(60000, 0, print) end\n"
                            "uv.walk(function(h) n = n + 1 h:is_active() end)\n"
                            "assert(n == 3) os.exit(7)"),
                   0);
  int status = 1;
  while (status == 1) status = jobrun_step(rt);
  assert_int_equal(jobrun_exit_code(rt), 7);
  assert_int_equal(jobrun_free(rt), 0);
  assert_string_equal(log.text, "");
  uv_timer_start(&timer, on_host_timer, 0, 0);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(fired, 1);
  uv_close((uv_handle_t *)&timer, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_timeouts_of_a_poll_loop(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_runtime(&log);
  assert_int_equal(jobrun_backend_timeout(rt), -1); /* no script */
  assert_int_equal(load(rt, "sleep(3600)"), 0);
  assert_int_equal(jobrun_backend_timeout(rt), 0); /* it has to be started */
  while (jobrun_step(rt) == 1 && jobrun_backend_timeout(rt) == 0) continue;
  assert_int_equal(jobrun_backend_timeout(rt), -1); /* the timer is behind the descriptor */
  jobrun_stop(rt, 0);
  struct pollfd fd = {.fd = jobrun_backend_fd(rt), .events = POLLIN};
  assert_int_equal(poll(&fd, 1, 10000), 1);
  while (jobrun_step(rt) == 1) poll(&fd, 1, jobrun_backend_timeout(rt));
  assert_int_equal(jobrun_backend_timeout(rt), -1); /* it has ended */
  assert_int_equal(jobrun_free(rt), 0);

  rt = new_runtime(&log);
  assert_int_equal(load(rt, "while true do yield() end"), 0);
  for (int i = 0; i < 10; i++) {
    assert_int_equal(jobrun_step(rt), 1);
    assert_int_equal(jobrun_backend_timeout(rt), 0); /* a task is ready */
  }
  assert_int_equal(jobrun_free(rt), 0);
}

/* The host has an epoll set with a timer of its own in it, and blocks nowhere else. */
static void test_inside_an_epoll_loop_of_the_hosts(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_with(&log, NULL,
                        "local n = 0 every(0.01).seconds.times(10)(function() n = n + 1 end) "
                        "all { function() sleep(0.03) end, function() exec { 'true' } end, "
                        "function() fs.stat('/') end, function() blocking(function() end) end } "
                        "on.stop(function() note(n) end)");
  int epoll = epoll_create1(EPOLL_CLOEXEC), ticks = 0, steps = 0, status = 1;
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  struct itimerspec every_5_ms = {{0, 5000000}, {0, 5000000}};
  struct epoll_event event = {.events = EPOLLIN, .data.fd = timer};
  timerfd_settime(timer, 0, &every_5_ms, NULL);
  epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
  event.data.fd = jobrun_backend_fd(rt);
  epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
  while (status == 1) {
    int n = epoll_wait(epoll, &event, 1, jobrun_backend_timeout(rt));
    uint64_t count;
    if (n == 1 && event.data.fd == timer) {
      ticks += read(timer, &count, sizeof count) > 0;
      continue;
    }
    status = jobrun_step(rt);
    steps++;
  }
  close(timer);
  close(epoll);
  assert_int_equal(status, 0);
  assert_string_equal(notes.text, "10\n");
  assert_true(ticks > 5);
  assert_true(steps < 1000); /* it slept in between */
  assert_int_equal(jobrun_free(rt), 0);
}

/* ---- waits of the host's ------------------------------------------------------------------- */

/* One wait, with what happened to it. Its script finds it by a global of this file. */
typedef struct probe {
  jobrun_wait *wait;
  pthread_t thread;
  bool has_thread;
  int start_status, done_status;
  bool done_in_start, done_in_cancel, done_by_thread, done_after_cancel;
  useconds_t done_after_us;
  int pushed;
  _Atomic int cancelled;
  _Atomic int dropped;
} probe;

static probe the_probe;

static void *done_soon(void *data) {
  probe *p = data;
  while (p->done_after_cancel && !p->cancelled) usleep(100);
  usleep(p->done_after_us);
  jobrun_wait_done(p->wait, p->done_status);
  return NULL;
}

static int probe_start(jobrun_wait *wait, void *data) {
  probe *p = data;
  p->wait = wait;
  if (p->done_in_start) jobrun_wait_done(wait, p->done_status);
  if (p->done_by_thread) p->has_thread = pthread_create(&p->thread, NULL, done_soon, p) == 0;
  return p->start_status;
}

static int probe_push(lua_State *L, int status, void *data) {
  ((probe *)data)->pushed++;
  if (status == 99) return luaL_error(L, "raised by push");
  if (status < 0) return status;
  lua_pushinteger(L, status);
  lua_pushliteral(L, "second");
  return 2;
}

static void probe_cancel(jobrun_wait *wait, void *data) {
  probe *p = data;
  p->cancelled++;
  if (p->done_in_cancel) jobrun_wait_done(wait, 0);
}

static void probe_drop(void *data) {
  atomic_fetch_add(&((probe *)data)->dropped, 1);
}

static const jobrun_wait_ops probe_ops = {"host.wait", probe_start, probe_push, probe_cancel,
                                          probe_drop};
static const jobrun_wait_ops bare_ops = {"host.bare", probe_start, NULL, NULL, NULL};

static int host_wait(lua_State *L) {
  return jobrun_wait_begin(L, &probe_ops, &the_probe);
}

static int host_bare(lua_State *L) {
  return jobrun_wait_begin(L, &bare_ops, &the_probe);
}

static const jobrun_reg wait_functions[] = {{"wait", host_wait}, {"bare", host_bare}, {NULL, NULL}};

static jobrun *new_waiting(lines *log, probe p, const char *script) {
  the_probe = p;
  return new_with(log, wait_functions, script);
}

static void end_probe(void) {
  if (the_probe.has_thread) pthread_join(the_probe.thread, NULL);
  assert_int_equal(the_probe.dropped, 1);
}

static void test_done_on_another_thread_wakes_the_task(void **state) {
  (void)state;
  lines log;
  jobrun *rt =
      new_waiting(&log, (probe){.done_status = 7, .done_by_thread = true, .done_after_us = 2000},
                  "local others = 0 spawn(function() for i = 1, 3 do yield() others = i end end) "
                  "note(table.concat({ host.wait() }, ' ')) note(others)");
  run_and_free(rt, &log);
  assert_string_equal(notes.text, "7 second\n3\n");
  assert_int_equal(the_probe.cancelled, 0);
  end_probe();
}

static void test_done_inside_start(void **state) {
  (void)state;
  lines log;
  jobrun *rt =
      new_waiting(&log, (probe){.done_status = 1, .done_in_start = true}, "note((host.wait()))");
  run_and_free(rt, &log);
  assert_string_equal(notes.text, "1\n");
  end_probe();
}

static void test_a_wait_passes_through_coroutines_and_timeouts(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_waiting(
      &log, (probe){.done_status = 5, .done_in_start = true},
      "for v in coroutine.wrap(function() coroutine.yield((host.wait())) end) do note(v) end");
  run_and_free(rt, &log);
  assert_string_equal(notes.text, "5\n");
  end_probe();
}

static void test_statuses_of_a_wait_are_errors(void **state) {
  (void)state;
  static const char script[] =
      "local ok, e = pcall(host.wait) note(tostring(ok)) note(e.kind or e) note(e.code) note(e.op)";
  lines log;
  jobrun *rt = new_waiting(&log, (probe){.done_status = UV_ENOENT, .done_in_start = true}, script);
  run_and_free(rt, &log);
  assert_string_equal(notes.text, "false\nnot_found\nENOENT\nhost.wait\n");
  end_probe();

  rt = new_waiting(&log, (probe){.start_status = UV_EMFILE}, script);
  run_and_free(rt, &log);
  assert_non_null(strstr(notes.text, "EMFILE\nhost.wait\n"));
  assert_int_equal(the_probe.pushed, 0);
  end_probe();

  rt = new_waiting(&log, (probe){.done_status = 99, .done_in_start = true},
                   "note(select(2, pcall(host.wait)))");
  run_and_free(rt, &log);
  assert_string_equal(notes.text, "raised by push\n");
  end_probe();
}

static void test_a_wait_without_functions(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_waiting(
      &log, (probe){.done_status = UV_EACCES, .done_in_start = true},
      "local ok, e = pcall(host.bare) note(e.kind) note(select('#', pcall(host.bare)))");
  run_and_free(rt, &log);
  assert_string_equal(notes.text, "permission\n2\n");

  rt = new_waiting(&log, (probe){.done_in_start = true}, "note(select('#', host.bare()))");
  run_and_free(rt, &log);
  assert_string_equal(notes.text, "0\n");
}

static void test_a_cancelled_task_does_not_wait_for_the_host(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_waiting(
      &log, (probe){.done_by_thread = true, .done_after_cancel = true, .done_status = 1},
      "local t = spawn(host.wait) sleep(0) t:cancel() pcall(t.await, t) note(t.status)");
  run_and_free(rt, &log);
  assert_string_equal(notes.text, "cancelled\n");
  assert_int_equal(the_probe.cancelled, 1);
  assert_int_equal(the_probe.pushed, 0);
  end_probe();
}

static void test_a_wait_beyond_its_time(void **state) {
  (void)state;
  lines log;
  jobrun *rt =
      new_waiting(&log, (probe){.done_in_cancel = true},
                  "local ok, e = pcall(timeout, 0.005, host.wait) note(tostring(ok)) note(e.kind)");
  run_and_free(rt, &log);
  assert_string_equal(notes.text, "false\ntimeout\n");
  assert_int_equal(the_probe.cancelled, 1);
  end_probe();
}

/* light.fn: a C function that no module knows, so that it travels into blocking calls. */
static void set_light(jobrun *rt, lua_CFunction fn) {
  lua_State *L = jobrun_lua(rt);
  lua_newtable(L);
  lua_pushcfunction(L, fn);
  lua_setfield(L, -2, "fn");
  lua_setglobal(L, "light");
}

static int light_wait(lua_State *L) {
  return host_wait(L);
}

static void test_where_a_wait_is_not_possible(void **state) {
  (void)state;
  lines log;
  jobrun *rt =
      new_waiting(&log, (probe){0},
                  "local ok, e = pcall(table.sort, { 1, 2 }, host.wait) note(e.message) "
                  "local t = spawn(function() pcall(sleep, 9) host.wait() end) sleep(0) t:cancel() "
                  "pcall(t.await, t) note(t.status) "
                  "local wait = light.fn "
                  "local ok, e = pcall(blocking, function() return wait() end) note(tostring(e))");
  lua_State *L = jobrun_lua(rt);
  set_light(rt, light_wait);
  lua_pushcfunction(L, host_wait);
  assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_ERRRUN);
  assert_non_null(strstr(luaL_tolstring(L, -1, NULL), "only inside a task"));
  lua_pop(L, 2);
  run_and_free(rt, &log);
  assert_non_null(strstr(notes.text, "table.sort"));
  assert_non_null(strstr(notes.text, "\ncancelled\n"));
  if (!strstr(notes.text, "not in a blocking call")) fail_msg("%s", notes.text);
  assert_int_equal(the_probe.dropped, 4);
  assert_int_equal(the_probe.pushed, 0);
}

static void test_free_with_a_wait_open_frees_nothing(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_waiting(&log, (probe){0}, "host.wait()");
  jobrun_stats stats = {.size = sizeof stats};
  assert_int_equal(jobrun_step(rt), 1);
  assert_int_equal(jobrun_get_stats(rt, &stats), 0);
  assert_int_equal(stats.operations, 1);
  assert_int_equal(jobrun_stop(rt, 0), 0); /* no grace: nor for what is given up */
  assert_error(rt, jobrun_free(rt), UV_EBUSY, "wait 'host.wait'");
  assert_int_equal(the_probe.cancelled, 1);
  assert_int_equal(the_probe.dropped, 0);
  assert_error(rt, jobrun_free(rt), UV_EBUSY, "call jobrun_free again");
  assert_error(rt, jobrun_register(rt, "more", wait_functions), JR_ECLOSED, "jobrun_free");
  assert_error(rt, load(rt, "x = 1"), JR_ECLOSED, "jobrun_free");
  assert_int_equal(jobrun_post(rt, ignore_job, NULL), JR_ECLOSED);
  jobrun_wait_done(the_probe.wait, 0);
  assert_int_equal(jobrun_free(rt), 0);
  end_probe();
}

static void test_free_waits_for_the_host_within_the_grace(void **state) {
  (void)state;
  lines log;
  jobrun *rt =
      new_waiting(&log, (probe){.done_by_thread = true, .done_after_us = 100000}, "host.wait()");
  assert_int_equal(jobrun_step(rt), 1);
  assert_int_equal(jobrun_free(rt), 0);
  assert_int_equal(the_probe.cancelled, 1);
  end_probe();
}

/* done comes while the task is being cancelled and the runtime freed, from another thread. */
static void test_done_and_cancel_at_the_same_time(void **state) {
  (void)state;
  for (int i = 0; i < 100; i++) {
    lines log;
    jobrun *rt =
        new_waiting(&log, (probe){.done_by_thread = true, .done_after_us = 2000}, "host.wait()");
    assert_true(jobrun_step(rt) >= 0);
    if (i % 4) usleep((useconds_t)(1500 + i * 10));
    assert_int_equal(jobrun_free(rt), 0);
    end_probe();
  }
}

/* ---- blocking calls of the host's ---------------------------------------------------------- */

typedef struct call {
  int status;
  bool waits_for_flag, waits_for_go;
  sem_t go, running;
  _Atomic bool was_given_up;
  _Atomic int dropped;
  pthread_t ran_on;
} call;

static call the_call;

static int call_run(void *data, const jobrun_flag *given_up) {
  call *c = data;
  c->ran_on = pthread_self();
  sem_post(&c->running);
  while (c->waits_for_go && sem_wait(&c->go) < 0) continue; /* EINTR: it was told to stop */
  while (c->waits_for_flag && !jobrun_flag_is_set(given_up)) usleep(500);
  c->was_given_up = jobrun_flag_is_set(given_up);
  return c->status;
}

static int call_push(lua_State *L, int status, void *data) {
  (void)data;
  if (status < 0) return status;
  lua_pushinteger(L, status);
  return 1;
}

static void call_drop(void *data) {
  atomic_fetch_add(&((call *)data)->dropped, 1);
}

static const jobrun_work_ops call_ops = {"host.work", call_run, call_push, call_drop};
static const jobrun_work_ops bare_call_ops = {"host.bare", call_run, NULL, NULL};

static int host_work(lua_State *L) {
  return jobrun_work(L, &call_ops, &the_call);
}

static int host_bare_work(lua_State *L) {
  return jobrun_work(L, &bare_call_ops, &the_call);
}

/* started(): whether the call runs */
static int host_started(lua_State *L) {
  int value;
  sem_getvalue(&the_call.running, &value);
  lua_pushboolean(L, value > 0);
  return 1;
}

static const jobrun_reg work_functions[] = {{"work", host_work},
                                            {"bare", host_bare_work},
                                            {"started", host_started},
                                            {"wait", host_wait},
                                            {NULL, NULL}};

static jobrun *new_working(lines *log, int status, bool waits_for_flag, bool waits_for_go,
                           const char *script) {
  the_probe = (probe){0};
  the_call.status = status;
  the_call.waits_for_flag = waits_for_flag;
  the_call.waits_for_go = waits_for_go;
  the_call.was_given_up = false;
  the_call.dropped = 0;
  sem_init(&the_call.go, 0, 0);
  sem_init(&the_call.running, 0, 0);
  return new_with(log, work_functions, script);
}

static void test_a_blocking_call_of_the_hosts(void **state) {
  (void)state;
  lines log;
  jobrun *rt =
      new_working(&log, 3, false, false, "note(host.work()) note(select('#', host.bare()))");
  run_and_free(rt, &log);
  assert_string_equal(notes.text, "3\n0\n");
  assert_false(pthread_equal(the_call.ran_on, pthread_self()));
  assert_int_equal(the_call.dropped, 1);

  rt = new_working(&log, UV_EACCES, false, false,
                   "local ok, e = pcall(host.work) note(e.kind) note(e.op) "
                   "local ok, e = pcall(host.bare) note(e.code)");
  run_and_free(rt, &log);
  assert_string_equal(notes.text, "permission\nhost.work\nEACCES\n");
  assert_int_equal(the_call.dropped, 1);
}

static void test_a_blocking_call_that_is_given_up(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_working(&log, 0, true, false,
                           "local t = spawn(host.work) repeat sleep(0.001) until host.started() "
                           "t:cancel() pcall(t.await, t) note(t.status)");
  run_and_free(rt, &log);
  assert_string_equal(notes.text, "cancelled\n");
  assert_true(the_call.was_given_up);
  assert_int_equal(the_call.dropped, 1);
}

static int light_work(lua_State *L) {
  return host_work(L);
}

static void test_where_a_blocking_call_is_not_possible(void **state) {
  (void)state;
  lines log;
  jobrun *rt =
      new_working(&log, 0, false, false,
                  "local ok, e = pcall(table.sort, { 1, 2 }, host.work) note(e.message) "
                  "local work = light.fn "
                  "local ok, e = pcall(blocking, function() return work() end) note(tostring(e))");
  set_light(rt, light_work);
  run_and_free(rt, &log);
  assert_non_null(strstr(notes.text, "table.sort"));
  if (!strstr(notes.text, "not in a blocking call")) fail_msg("%s", notes.text);
  assert_int_equal(the_call.dropped, 2);
}

/* A call that looks at nothing, and a wait nobody ends: both are named, nothing is freed. */
static void test_free_while_a_call_runs(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_working(&log, 0, false, true, "all { host.work, host.wait }");
  while (!the_probe.wait) assert_int_equal(jobrun_step(rt), 1);
  sem_wait(&the_call.running);
  jobrun_stop(rt, 0);
  int status = jobrun_free(rt);
  assert_error(rt, status, UV_EBUSY, "host.work on a thread of executor 'default'");
  assert_error(rt, status, UV_EBUSY, "wait 'host.wait'");
  assert_int_equal(the_call.dropped, 0);
  jobrun_wait_done(the_probe.wait, 0);
  assert_error(rt, jobrun_free(rt), UV_EBUSY, "host.work");
  sem_post(&the_call.go);
  while ((status = jobrun_free(rt)) == UV_EBUSY) usleep(1000);
  assert_int_equal(status, 0);
  assert_int_equal(the_call.dropped, 1);
  end_probe();
}

/* ---- jobs ----------------------------------------------------------------------------------- */

typedef struct jobs_seen {
  int len;
  char names[4][32], states[4][16];
  int64_t next_ns[4];
  uint64_t runs[4];
} jobs_seen;

static int see_job(void *data, const jobrun_job *job) {
  jobs_seen *seen = data;
  snprintf(seen->names[seen->len], sizeof *seen->names, "%s", job->name);
  snprintf(seen->states[seen->len], sizeof *seen->states, "%s", job->state);
  seen->next_ns[seen->len] = job->next_ns;
  seen->runs[seen->len] = job->runs;
  return ++seen->len == 4 ? 44 : 0;
}

static jobs_seen see_jobs(jobrun *rt) {
  jobs_seen seen = {0};
  assert_int_equal(jobrun_job_each(rt, see_job, &seen), 0);
  return seen;
}

static int stop_at_first(void *data, const jobrun_job *job) {
  (void)data;
  return (int)job->id + 40;
}

static jobrun *new_with_jobs(lines *log) {
  jobrun *rt = new_with(log, NULL,
                        "every(1).hour.named('hourly')(function() note 'hourly' end) "
                        "every(1).day.named('daily')(function() note 'daily' sleep(60) end)");
  while (jobrun_step(rt) == 1 && jobrun_backend_timeout(rt) == 0) continue;
  return rt;
}

static void test_jobs_can_be_looked_at(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_with_jobs(&log);
  jobs_seen seen = see_jobs(rt);
  assert_int_equal(seen.len, 2);
  assert_string_equal(seen.names[0], "hourly");
  assert_string_equal(seen.names[1], "daily");
  assert_string_equal(seen.states[0], "scheduled");
  double in_s = (double)seen.next_ns[0] / 1e9 - (double)time(NULL);
  assert_true(in_s > 3500 && in_s <= 3601);
  assert_int_equal(jobrun_job_each(rt, stop_at_first, NULL), 41);
  assert_int_equal(jobrun_free(rt), 0);
}

static void test_a_job_can_be_triggered(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_with_jobs(&log);
  assert_int_equal(jobrun_job_trigger(rt, "hourly"), 0);
  assert_int_equal(jobrun_job_trigger(rt, "daily"), 0);
  assert_error(rt, jobrun_job_trigger(rt, "daily"), UV_EBUSY, "run 2 has not ended");
  assert_error(rt, jobrun_job_trigger(rt, "weekly"), UV_ENOENT, "no job 'weekly'");
  assert_int_equal(jobrun_backend_timeout(rt), 0);
  while (jobrun_step(rt) == 1 && jobrun_backend_timeout(rt) == 0) continue;
  assert_string_equal(notes.text, "hourly\ndaily\n");
  jobs_seen seen = see_jobs(rt);
  assert_string_equal(seen.states[1], "running");
  assert_int_equal(seen.runs[0], 1);
  jobrun_stop(rt, 0);
  while (jobrun_step(rt) == 1) continue;
  assert_error(rt, jobrun_job_trigger(rt, "hourly"), JR_ECLOSED, "stopping");
  assert_int_equal(jobrun_free(rt), 0);

  rt = new_runtime(&log);
  assert_error(rt, jobrun_job_trigger(rt, "x"), UV_ENOENT, "once the script has declared them");
  assert_int_equal(jobrun_job_each(rt, stop_at_first, NULL), 0);
  assert_int_equal(jobrun_free(rt), 0);
}

static void test_a_job_can_be_paused(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_with_jobs(&log);
  assert_error(rt, jobrun_job_pause(rt, "weekly", 1), UV_ENOENT, "jobrun_job_each");
  assert_int_equal(jobrun_job_pause(rt, "hourly", 1), 0);
  jobs_seen seen = see_jobs(rt);
  assert_string_equal(seen.states[0], "paused");
  assert_int_equal(seen.next_ns[0], 0);
  assert_int_equal(jobrun_job_pause(rt, "hourly", 0), 0);
  assert_string_equal(see_jobs(rt).states[0], "scheduled");
  assert_int_equal(jobrun_job_pause(rt, "hourly", 1), 0);
  assert_int_equal(jobrun_job_pause(rt, "daily", 1), 0);
  assert_int_equal(jobrun_run(rt), 0); /* nothing keeps the script any more */
  assert_int_equal(jobrun_free(rt), 0);
}

static lines runs_seen;

static void see_run(void *data, const jobrun_run_info *run) {
  char text[128];
  int n = snprintf(text, sizeof text, "%llu %s %s %d", (unsigned long long)run->id, run->job_name,
                   run->outcome, run->ended_ns >= run->started_ns);
  assert_ptr_equal(data, &runs_seen);
  assert_true(run->started_ns - run->late_ns == run->due_ns);
  keep_log(&runs_seen, 0, text, (size_t)n);
}

static void test_runs_are_told(void **state) {
  (void)state;
  static const char script[] =
      "every(1).second.named('a').times(1)(function() end) "
      "every(2).seconds.named('b').times(1)(function() error 'boom' end) "
      "every(3).seconds.named('c').times(1).timeout(1)(function() sleep(9) end)";
  lines log;
  jobrun_opts o = JOBRUN_OPTS_INIT;
  o.flags = JOBRUN_VIRTUAL_CLOCK;
  memset(&runs_seen, 0, sizeof runs_seen);
  jobrun *rt = new_runtime_with(&log, o);
  assert_int_equal(jobrun_on_run(rt, see_run, &runs_seen), 0);
  assert_int_equal(load(rt, script), 0);
  assert_int_equal(jobrun_run(rt), 0);
  assert_int_equal(jobrun_free(rt), 0);
  assert_string_equal(runs_seen.text, "1 a going 0\n1 a ok 1\n2 b going 0\n2 b error 1\n"
                                      "3 c going 0\n3 c timeout 1\n");

  memset(&runs_seen, 0, sizeof runs_seen);
  rt = new_runtime_with(&log, o);
  assert_int_equal(jobrun_on_run(rt, see_run, &runs_seen), 0);
  assert_int_equal(jobrun_on_run(rt, NULL, NULL), 0);
  assert_int_equal(load(rt, script), 0);
  assert_int_equal(jobrun_run(rt), 0);
  assert_int_equal(jobrun_free(rt), 0);
  assert_string_equal(runs_seen.text, "");
}

/* ---- memory --------------------------------------------------------------------------------- */

static jobrun *limited;

static int host_limit(lua_State *L) {
  size_t bytes = (size_t)luaL_checkinteger(L, 1);
  if (bytes) bytes += jobrun_memory_used(limited);
  lua_pushinteger(L, jobrun_set_memory_limit(limited, bytes));
  return 1;
}

static void test_the_memory_limit_can_be_moved(void **state) {
  (void)state;
  static const jobrun_reg functions[] = {{"limit", host_limit}, {NULL, NULL}};
  lines log;
  limited = new_with(&log, functions,
                     "local function fill() return #('x'):rep(4 << 20) end "
                     "note(fill()) collectgarbage() host.limit(1 << 20) "
                     "note(select(2, pcall(fill))) host.limit(0) note(fill())");
  assert_true(jobrun_memory_used(limited) > 10000);
  assert_true(jobrun_memory_used(limited) < 1 << 20);
  jobrun *rt = limited;
  run_and_free(rt, &log);
  assert_string_equal(notes.text, "4194304\nnot enough memory\n4194304\n");
}

static size_t resident_kib(void) {
  char line[128];
  size_t kib = 0;
  FILE *f = fopen("/proc/self/status", "r");
  while (fgets(line, sizeof line, f))
    if (sscanf(line, "VmRSS: %zu kB", &kib) == 1) break;
  fclose(f);
  return kib;
}

static int count_fds(void) {
  int n = 0;
  for (int fd = 0; fd < 1024; fd++) n += fcntl(fd, F_GETFD) >= 0;
  return n;
}

static void live_once(door *d, bool has_jobs) {
  const char *script = has_jobs ? "every(1).hour(function() end):cancel()" : "spawn(sleep, 0)";
  lines log;
  jobrun_opts o = JOBRUN_OPTS_INIT;
  o.alloc = door_alloc;
  o.alloc_data = d;
  jobrun *rt = new_runtime_with(&log, o);
  assert_int_equal(load(rt, script), 0);
  assert_int_equal(jobrun_run(rt), 0);
  assert_int_equal(jobrun_free(rt), 0);
  assert_string_equal(log.text, "");
  assert_int_equal(d->bytes, 0);
}

static void test_many_lives_leave_nothing(void **state) {
  (void)state;
  door d = {.lock = PTHREAD_MUTEX_INITIALIZER, .left = -1};
  for (int i = 0; i < MANY_LIVES / 10; i++) live_once(&d, i % 10 == 0);
  size_t before = resident_kib(), peak = d.peak;
  int fds = count_fds();
  for (int i = 0; i < MANY_LIVES - MANY_LIVES / 10; i++) live_once(&d, i % 10 == 0);
  assert_int_equal(count_fds(), fds);
  assert_true(d.peak <= peak + peak / 20);
  if (MEASURES_RSS) assert_true(resident_kib() <= before + 1024);
}

/* ---- allocation failure at every N ----------------------------------------------------------- */

/* Each wait and call has data of its own: `out` counts what was not dropped yet. */
static jobrun *scarce;
static long out;

static int quick_start(jobrun_wait *wait, void *data) {
  (void)data;
  jobrun_wait_done(wait, 1);
  return 0;
}

static int slow_start(jobrun_wait *wait, void *data) {
  *(jobrun_wait **)data = wait;
  return 0;
}

static void slow_cancel(jobrun_wait *wait, void *data) {
  (void)data;
  jobrun_wait_done(wait, 0);
}

static int scarce_run(void *data, const jobrun_flag *given_up) {
  (void)data;
  return jobrun_flag_is_set(given_up) + 1;
}

static void scarce_drop(void *data) {
  out--;
  free(data);
}

static void *scarce_data(void) {
  out++;
  return malloc(sizeof(void *));
}

static int scarce_quick(lua_State *L) {
  static const jobrun_wait_ops ops = {"quick", quick_start, call_push, NULL, scarce_drop};
  return jobrun_wait_begin(L, &ops, scarce_data());
}

static int scarce_slow(lua_State *L) {
  static const jobrun_wait_ops ops = {"slow", slow_start, NULL, slow_cancel, scarce_drop};
  return jobrun_wait_begin(L, &ops, scarce_data());
}

static int scarce_work(lua_State *L) {
  static const jobrun_work_ops ops = {"work", scarce_run, call_push, scarce_drop};
  return jobrun_work(L, &ops, scarce_data());
}

/* A refused one says that there is no memory, and nothing else. */
static int scarce_trigger(lua_State *L) {
  int status = jobrun_job_trigger(scarce, luaL_checkstring(L, 1));
  if (status < 0) assert_int_equal(status, UV_ENOMEM);
  status = jobrun_job_pause(scarce, lua_tostring(L, 1), 1);
  if (status == 0) status = jobrun_job_pause(scarce, lua_tostring(L, 1), 0);
  if (status < 0) assert_int_equal(status, UV_ENOMEM);
  return 0;
}

static void ignore_run(void *data, const jobrun_run_info *run) {
  (void)run;
  (*(int *)data)++;
}

static int live_with(door *d, const jobrun_opts *o, const char *script, bool on_thread) {
  static const jobrun_reg functions[] = {{"quick", scarce_quick},
                                         {"slow", scarce_slow},
                                         {"work", scarce_work},
                                         {"trigger", scarce_trigger},
                                         {NULL, NULL}};
  int runs = 0, status = jobrun_new(&scarce, o);
  if (status < 0) return status;
  status = jobrun_register(scarce, "host", functions);
  if (status == 0) status = jobrun_on_run(scarce, ignore_run, &runs);
  if (status == 0) status = load(scarce, script);
  if (status == 0 && on_thread && (status = jobrun_start_thread(scarce)) == 0)
    status = jobrun_join(scarce);
  else if (status == 0)
    status = jobrun_run(scarce);
  if (!d->failed) assert_true(runs >= 2);
  assert_int_equal(jobrun_free(scarce), 0);
  assert_int_equal(out, 0);
  return status;
}

static void live_with_every_failure(const char *script, bool on_thread) {
  for (long n = 0;; n++) {
    lines log = {.len = 0};
    door d = {.lock = PTHREAD_MUTEX_INITIALIZER, .left = n};
    jobrun_opts o = JOBRUN_OPTS_INIT;
    o.alloc = door_alloc;
    o.alloc_data = &d;
    o.log = keep_log;
    o.log_data = &log;
    int status = live_with(&d, &o, script, on_thread);
    if (d.blocks != 0 || d.bytes != 0)
      fail_msg("N=%ld: %ld blocks, %zu bytes left", n, d.blocks, d.bytes);
    if (d.failed) continue;
    assert_int_equal(status, 0);
    assert_true(n > 100);
    return;
  }
}

static void test_allocation_failure_at_every_n(void **state) {
  (void)state;
  static const char script[] = "local host = require('host') "
                               "local j = every(1).hour.named('j')(function() host.quick() end) "
                               "assert(host.quick() == 1) "
                               "local t = spawn(host.slow) yield() t:cancel() pcall(t.await, t) "
                               "pcall(timeout, 0.0001, host.slow) "
                               "host.trigger('j') yield() yield() "
                               "assert(host.work() == 1) "
                               "j:cancel()";
  live_with_every_failure(script, false);
}

static void test_allocation_failure_at_every_n_on_a_thread(void **state) {
  (void)state;
  live_with_every_failure("every(0.0001).seconds.times(1)(require('host').quick)", true);
}

/* ---- its loop, its tasks -----------------------------------------------------------------------
 */

static void note_fired(uv_timer_t *timer) {
  *(bool *)timer->data = true;
  uv_close((uv_handle_t *)timer, NULL);
}

static void test_the_loop_can_be_used_by_the_host(void **state) {
  (void)state;
  lines log;
  bool fired = false;
  uv_timer_t timer;
  jobrun *rt = new_with(&log, NULL, "sleep(0.01)");
  assert_int_equal(uv_timer_init(jobrun_loop(rt), &timer), 0);
  timer.data = &fired;
  assert_int_equal(uv_timer_start(&timer, note_fired, 1, 0), 0);
  run_and_free(rt, &log);
  assert_true(fired);
}

static void test_the_tasks_are_logged_as_a_tree(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_with(&log, NULL, "local t = spawn(sleep, 60) sleep(0.05) t:cancel()");
  while (jobrun_step(rt) == 1 && jobrun_backend_timeout(rt) == 0) continue;
  assert_int_equal(jobrun_dump_tasks(rt), 0);
  assert_int_equal(jobrun_run(rt), 0);
  assert_int_equal(jobrun_free(rt), 0);
  assert_non_null(strstr(log.text, "waiting for sleep"));
}

/* ---- the log --------------------------------------------------------------------------------- */

static void test_the_log_of_a_host_has_its_own_lines_and_names_jobs(void **state) {
  (void)state;
  lines log;
  jobrun *rt = new_with(&log, NULL,
                        "local j j = every(1).hour.named('j')(function(run) run:log('a') "
                        "j:cancel() end) j:run_now()");
  jobrun_log(rt, JOBRUN_LOG_WARN, "of the host");
  jobrun_log(rt, JOBRUN_LOG_DEBUG, "below the level");
  jobrun_log(rt, 17, "of no level");
  assert_int_equal(jobrun_run(rt), 0);
  assert_int_equal(jobrun_free(rt), 0);
  assert_string_equal(log.text, "of the host\njob \"j\": run 1: a\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_thread_of_its_own),
      cmocka_unit_test(test_calls_from_another_thread_are_refused_with_advice),
      cmocka_unit_test(test_join_gives_what_run_returned),
      cmocka_unit_test(test_a_thread_cannot_join_itself),
      cmocka_unit_test(test_threads_need_a_script_and_a_loop_of_our_own),
      cmocka_unit_test(test_two_runtimes_on_threads_of_their_own),
      cmocka_unit_test(test_posts_from_many_threads),
      cmocka_unit_test(test_free_calls_what_was_posted),
      cmocka_unit_test(test_step_gives_the_outcome_as_often_as_it_is_asked),
      cmocka_unit_test(test_a_libuv_host_turns_its_own_loop),
      cmocka_unit_test(test_luv_on_the_loop_of_a_host),
      cmocka_unit_test(test_timeouts_of_a_poll_loop),
      cmocka_unit_test(test_inside_an_epoll_loop_of_the_hosts),
      cmocka_unit_test(test_done_on_another_thread_wakes_the_task),
      cmocka_unit_test(test_done_inside_start),
      cmocka_unit_test(test_a_wait_passes_through_coroutines_and_timeouts),
      cmocka_unit_test(test_statuses_of_a_wait_are_errors),
      cmocka_unit_test(test_a_wait_without_functions),
      cmocka_unit_test(test_a_cancelled_task_does_not_wait_for_the_host),
      cmocka_unit_test(test_a_wait_beyond_its_time),
      cmocka_unit_test(test_where_a_wait_is_not_possible),
      cmocka_unit_test(test_free_with_a_wait_open_frees_nothing),
      cmocka_unit_test(test_free_waits_for_the_host_within_the_grace),
      cmocka_unit_test(test_done_and_cancel_at_the_same_time),
      cmocka_unit_test(test_a_blocking_call_of_the_hosts),
      cmocka_unit_test(test_a_blocking_call_that_is_given_up),
      cmocka_unit_test(test_where_a_blocking_call_is_not_possible),
      cmocka_unit_test(test_free_while_a_call_runs),
      cmocka_unit_test(test_jobs_can_be_looked_at),
      cmocka_unit_test(test_a_job_can_be_triggered),
      cmocka_unit_test(test_a_job_can_be_paused),
      cmocka_unit_test(test_runs_are_told),
      cmocka_unit_test(test_the_memory_limit_can_be_moved),
      cmocka_unit_test(test_the_loop_can_be_used_by_the_host),
      cmocka_unit_test(test_the_tasks_are_logged_as_a_tree),
      cmocka_unit_test(test_the_log_of_a_host_has_its_own_lines_and_names_jobs),
      cmocka_unit_test(test_many_lives_leave_nothing),
      cmocka_unit_test(test_allocation_failure_at_every_n),
      cmocka_unit_test(test_allocation_failure_at_every_n_on_a_thread),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
