/* Blocking calls as a host meets them: C functions that suspend a task, calls that cannot be
 * stopped, memory that runs out on any thread, runtimes side by side.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <uv.h>

#include "glue.h"
#include "jobrun.h"
#include "status.h"
#include "work.h"

static void drop_log(void *data, int level, const char *text, size_t len) {
  (void)data;
  (void)level;
  (void)text;
  (void)len;
}

static jobrun *new_runtime(void) {
  jobrun_opts o = JOBRUN_OPTS_INIT;
  jobrun *rt = NULL;
  o.log = drop_log;
  assert_int_equal(jobrun_new(&rt, &o), 0);
  return rt;
}

static int run(jobrun *rt, const char *code) {
  int status = jobrun_load_string(rt, code, strlen(code), "=test");
  return status < 0 ? status : jobrun_run(rt);
}

static void run_well(jobrun *rt, const char *code) {
  if (run(rt, code) != 0) fail_msg("%s", jobrun_last_error(rt));
}

/* ---- a blocking C function ------------------------------------------------------------------ */

/* host.square(n): on a worker's thread. host.hold(): runs until `gate` opens, or looks at nothing
 * but that if it is stubborn. */
typedef struct job {
  lua_Integer n;
  bool is_stubborn, was_given_up;
} job;

static _Atomic int begun, ended, dropped, told;
static _Atomic bool gate;

static void reset(void) {
  begun = ended = dropped = told = 0;
  gate = false;
}

static void square_run(void *data, const _Atomic bool *given_up) {
  job *j = data;
  (void)given_up;
  begun++;
  j->n *= j->n;
  ended++;
}

static int square_push(lua_State *L, void *data) {
  job *j = data;
  if (j->n == 0) {
    jr_error_push(L, "zero", 0, 0, "nothing to square");
    return -1;
  }
  lua_pushinteger(L, j->n);
  lua_pushliteral(L, "squared");
  return 2;
}

static void drop(void *data) {
  dropped++;
  free(data);
}

static const jr_call_ops square_ops = {
    .name = "square", .run = square_run, .push = square_push, .drop = drop};

static int host_square(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 1);
  jr_check_park(L, "square");
  job *j = calloc(1, sizeof *j);
  if (!j) return luaL_error(L, "no memory");
  j->n = n;
  return jr_work_c(L, NULL, &square_ops, j);
}

static void hold_run(void *data, const _Atomic bool *given_up) {
  job *j = data;
  begun++;
  while (!gate && (j->is_stubborn || !atomic_load(given_up))) usleep(500);
  if (atomic_load(given_up)) told++;
  ended++;
}

static const jr_call_ops hold_ops = {.name = "hold", .run = hold_run, .drop = drop};

static int host_hold(lua_State *L) {
  bool is_stubborn = lua_toboolean(L, 1);
  jr_check_park(L, "hold");
  job *j = calloc(1, sizeof *j);
  if (!j) return luaL_error(L, "no memory");
  j->is_stubborn = is_stubborn;
  return jr_work_c(L, NULL, &hold_ops, j);
}

static int host_begun(lua_State *L) {
  lua_pushinteger(L, begun);
  return 1;
}

static int host_open(lua_State *L) {
  (void)L;
  gate = true;
  return 0;
}

static const jobrun_reg functions[] = {{"square", host_square},
                                       {"hold", host_hold},
                                       {"begun", host_begun},
                                       {"open", host_open},
                                       {NULL, NULL}};

static jobrun *new_with_host(void) {
  jobrun *rt = new_runtime();
  reset();
  assert_int_equal(jobrun_register(rt, "host", functions), 0);
  return rt;
}

#define PRELUDE "local host = require 'host' "

static void a_c_function_suspends_its_task(void **state) {
  (void)state;
  jobrun *rt = new_with_host();
  run_well(rt, PRELUDE "local ticks = 0\n"
                       "local hold = spawn(host.hold)\n"
                       "while ticks < 5 do sleep(0.001) ticks = ticks + 1 end\n"
                       "host.open() assert(select('#', hold:await()) == 0)\n"
                       "local n, word = host.square(12) assert(n == 144 and word == 'squared')\n"
                       "local ok, e = pcall(host.square, 0) assert(not ok and e.kind == 'zero')");
  assert_int_equal(dropped, 3);
  assert_int_equal(jobrun_free(rt), 0);
}

static void a_c_function_is_told_when_nobody_waits(void **state) {
  (void)state;
  jobrun *rt = new_with_host();
  run_well(rt, PRELUDE
           "local hold = spawn(host.hold)\n"
           "while host.begun() == 0 do sleep(0.001) end\n"
           "hold:cancel() local ok, e = pcall(hold.await, hold) assert(e.kind == 'cancelled')");
  assert_int_equal(jobrun_free(rt), 0);
  assert_int_equal(told, 1);
  assert_int_equal(dropped, 1);
}

static void a_c_function_that_was_queued_never_runs(void **state) {
  (void)state;
  jobrun *rt = new_with_host();
  run_well(rt,
           PRELUDE "local tasks = {} for i = 1, 100 do tasks[i] = spawn(host.hold) end\n"
                   "while host.begun() == 0 do sleep(0.001) end\n"
                   "local begun = host.begun() assert(begun < 100)\n"
                   "for i = 100, 60, -1 do tasks[i]:cancel() end\n"
                   "host.open() for i = 1, 59 do tasks[i]:await() end assert(host.begun() == 59)");
  assert_int_equal(ended, 59);
  assert_int_equal(dropped, 100);
  assert_int_equal(jobrun_free(rt), 0);
}

static void a_stuck_c_function_keeps_the_runtime(void **state) {
  (void)state;
  jobrun *rt = new_with_host();
  jobrun_stop(rt, 0.01);
  run_well(rt, PRELUDE "local hold = spawn(host.hold, true)\n"
                       "while host.begun() == 0 do yield() end");
  assert_int_equal(jobrun_free(rt), UV_EBUSY);
  assert_non_null(strstr(jobrun_last_error(rt), "hold on a thread of executor 'default'"));
  assert_int_equal(dropped, 0);
  gate = true;
  assert_int_equal(jobrun_free(rt), 0);
  assert_int_equal(dropped, 1);
}

/* ---- memory --------------------------------------------------------------------------------- */

typedef struct door {
  pthread_mutex_t lock;
  long left; /* requests until one fails; < 0: none does */
  long requests, blocks;
  size_t bytes;
  _Atomic bool failed; /* read while workers still run */
} door;

static bool refuses(door *d) {
  d->requests++;
  if (d->left < 0 || d->left-- > 0) return false;
  d->failed = true;
  return true;
}

static void *alloc_locked(door *d, void *ptr, size_t old_size, size_t new_size) {
  if (!ptr) old_size = 0;
  if (new_size > old_size && refuses(d)) return NULL;
  d->bytes += new_size - old_size;
  if (new_size == 0) {
    if (ptr) d->blocks--;
    free(ptr);
    return NULL;
  }
  if (!ptr) d->blocks++;
  return realloc(ptr, new_size);
}

static void *alloc(void *data, void *ptr, size_t old_size, size_t new_size) {
  door *d = data;
  pthread_mutex_lock(&d->lock);
  void *block = alloc_locked(d, ptr, old_size, new_size);
  pthread_mutex_unlock(&d->lock);
  return block;
}

/* One run; true if no request was refused any more. */
static bool run_with(const char *script, long n, long *requests) {
  door d = {.lock = PTHREAD_MUTEX_INITIALIZER, .left = n};
  jobrun *rt = NULL;
  jobrun_opts o = JOBRUN_OPTS_INIT;
  o.alloc = alloc;
  o.alloc_data = &d;
  o.log = drop_log;
  int status = jobrun_new(&rt, &o);
  if (status == 0) {
    status = run(rt, script);
    jobrun_stats stats = {.size = sizeof stats};
    jobrun_get_stats(rt, &stats);
    assert_int_equal(stats.tasks, 0);
    assert_int_equal(stats.operations, 0);
    if (!d.failed && status != 0) fail_msg("%s", jobrun_last_error(rt));
    assert_int_equal(jobrun_free(rt), 0);
  }
  if (d.blocks != 0 || d.bytes != 0)
    fail_msg("N=%ld: %ld blocks, %zu bytes left", n, d.blocks, d.bytes);
  if (requests) *requests = d.requests;
  return !d.failed;
}

/* Only what the calls ask for, not how the runtime opens: test_alloc does that. */
static void every_allocation_may_fail(void **state) {
  (void)state;
  const char *script =
      "local t = {1, {2}} t.t = t local function f(x) return t, x, ('x'):rep(2000) end\n"
      "local p <close> = executor(1)\n"
      "local a, b = p:call(f, ('y'):rep(2000)) assert(a.t == a and #b == 2000)\n"
      "local u = p:spawn(f, 1) pcall(p.call, p, function() error{kind = 'x'} end)\n"
      "assert(select(2, u:await()) == 1)\n";
  long n = 0;
  assert_true(run_with("", -1, &n));
  long first = n;
  while (!run_with(script, n, NULL)) n++;
  assert_true(n > first + 100);
}

/* ---- side by side --------------------------------------------------------------------------- */

static void *runtime_main(void *arg) {
  jobrun *rt = new_runtime();
  int status = run(
      rt,
      "local sum, pool = 0, executor(3)\n"
      "for _, x in ipairs(pool:map({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, function(x) return x * x end)) do\n"
      "  sum = sum + x\n"
      "end\n"
      "for i = 1, 200 do sum = sum + blocking(function() return i end) end\n"
      "local t = spawn(blocking, function() while true do local _ = {} end end)\n"
      "sleep(0.01) t:cancel()\n"
      "assert(sum == 385 + 20100)");
  *(int *)arg = status < 0 ? status : jobrun_free(rt);
  return NULL;
}

static void two_runtimes_on_two_threads(void **state) {
  (void)state;
  pthread_t threads[2];
  int statuses[2] = {1, 1};
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, runtime_main, &statuses[i]);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  assert_int_equal(statuses[0], 0);
  assert_int_equal(statuses[1], 0);
}

static void runtimes_come_and_go(void **state) {
  (void)state;
  for (int i = 0; i < 50; i++) {
    jobrun *rt = new_runtime();
    run_well(rt, "assert(blocking(function(x) return x + 1 end, 1) == 2)");
    assert_int_equal(jobrun_free(rt), 0);
  }
}

static void freed_in_the_middle_of_a_call(void **state) {
  (void)state;
  jobrun *rt = new_runtime();
  const char *code = "for i = 1, 50 do spawn(blocking, sleep, 1000) end yield() spawn(sleep, 1000)";
  assert_int_equal(jobrun_load_string(rt, code, strlen(code), "=test"), 0);
  for (int i = 0; i < 20; i++) jobrun_step(rt);
  assert_int_equal(jobrun_free(rt), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_c_function_suspends_its_task),
      cmocka_unit_test(a_c_function_is_told_when_nobody_waits),
      cmocka_unit_test(a_c_function_that_was_queued_never_runs),
      cmocka_unit_test(a_stuck_c_function_keeps_the_runtime),
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(two_runtimes_on_two_threads),
      cmocka_unit_test(runtimes_come_and_go),
      cmocka_unit_test(freed_in_the_middle_of_a_call),
  };
  return cmocka_run_group_tests_name("work", tests, NULL, NULL);
}
