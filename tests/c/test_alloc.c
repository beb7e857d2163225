/* Allocation failure at every N: for N = 1, 2, 3 … the Nth request for memory fails, until the
 * scenario gets through. Whatever N is: no crash, no leak, no handle or task left, and a status
 * that says what happened.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "door_help.h"
#include "jobrun.h"
#include "status.h"

static void drop_log(void *data, int level, const char *text, size_t len) {
  (void)data;
  (void)level;
  (void)text;
  (void)len;
}

/* One run; true if no request was refused any more. */
static bool run_with(const char *script, long n) {
  door d = {.lock = PTHREAD_MUTEX_INITIALIZER, .left = n};
  jobrun *rt = NULL;
  jobrun_opts o = JOBRUN_OPTS_INIT;
  o.alloc = door_alloc;
  o.alloc_data = &d;
  o.log = drop_log;
  o.flags = JOBRUN_VIRTUAL_CLOCK;
  int status = jobrun_new(&rt, &o);
  if (status == 0) {
    status = jobrun_load_string(rt, script, strlen(script), "=scenario");
    if (status == 0) status = jobrun_run(rt);
    jobrun_stats stats = {.size = sizeof stats};
    jobrun_get_stats(rt, &stats);
    assert_int_equal(stats.tasks, 0);
    assert_int_equal(stats.children, 0);
    assert_int_equal(jobrun_free(rt), 0);
  } else {
    assert_null(rt);
  }
  if (!d.failed && status != 0)
    fail_msg("status %s without a refused request", jobrun_err_name(status));
  if (d.blocks != 0 || d.bytes != 0)
    fail_msg("N=%ld: %ld blocks, %zu bytes left", n, d.blocks, d.bytes);
  return !d.failed;
}

/* `sparse` is for scenarios that start programs or threads: the higher N, the larger the steps.
 */
static void run_scenario_at(const char *script, bool sparse) {
  long n = 0;
  while (!run_with(script, n)) n += sparse ? 1 + n / 20 : 1;
  assert_true(n > 100); /* else the failures never came */
}

static void run_scenario(const char *script) {
  run_scenario_at(script, false);
}

static void test_tasks(void **state) {
  (void)state;
  run_scenario(
      "local function work(n) sleep(n) return n, {n} end\n"
      "local t = spawn(work, 1)\n"
      "local u = spawn(function() spawn(work, 2) pcall(timeout, 1, work, 5) shield(work, 1) end)\n"
      "assert(t:await() == 1)\n"
      "u:await()\n"
      "local v = spawn(sleep, 100) sleep(1) v:cancel('enough') pcall(v.await, v)\n");
}

static void test_failing_tasks(void **state) {
  (void)state;
  run_scenario(
      "local ok, e = pcall(scope, function()\n"
      "  spawn(function() local g <close> = setmetatable({}, {__close = function() end}) sleep(9) end)\n"
      "  spawn(function() sleep(1) error('boom') end)\n"
      "  spawn(function() pcall(sleep, 9) error('second') end)\n"
      "  sleep(50)\n"
      "end)\n"
      "assert(not ok and tostring(e):find('boom') or tostring(e):find('memory'), e)\n");
}

static void test_user_coroutines(void **state) {
  (void)state;
  run_scenario(
      "local sum = 0\n"
      "for i in coroutine.wrap(function() for i = 1, 3 do sleep(1) coroutine.yield(i) end end) do sum = sum + i end\n"
      "assert(sum == 6)\n"
      "on.stop(function() sleep(1) end)\n");
}

static void test_jobs(void **state) {
  (void)state;
  run_scenario(
      "jobs.on('end', function() end)\n"
      "local n = 0\n"
      "local a = every(1).second.named('a').tag('x').overlap('queue').timeout(2)(function(k, run)\n"
      "  n = n + 1 sleep(1.5) if n == 3 then return jobs.CANCEL end\n"
      "end, 1)\n"
      "every(1).second.times(2)(function() error('boom') end)\n"
      "after(2, function() for i = 1, 20 do every(i).seconds.times(1)(function() end) end end)\n"
      "sleep(2) pcall(jobs.run_all) sleep(60) jobs.clear()\n");
}

static void test_sync(void **state) {
  (void)state;
  run_scenario(
      "local ch = channel(1)\n"
      "local t = spawn(function() for i = 1, 3 do ch:put(i) end ch:close() end)\n"
      "local sum = 0 for i in ch do sum = sum + i end assert(sum == 6) t:await()\n"
      "local m = mutex() m:with(function() spawn(function() m:with(sleep, 1) end) sleep(1) end)\n"
      "local e = event() spawn(function() sleep(1) e:set() end) e:wait()\n"
      "assert(pcall(all, {function() sleep(1) end, function() sleep(2) end}))\n"
      "pcall(race, {function() sleep(1) end, function() sleep(9) end})\n"
      "map({1, 2, 3}, function(x) sleep(x) end, {limit = 2})\n"
      "pcall(ch.get, channel(), 1)\n");
}

/* One small program a run: each N starts processes. */
static void test_programs(void **state) {
  (void)state;
  run_scenario_at("local r = exec{'cat', stdin = 'x'} assert(r.stdout == 'x')\n"
                  "for line in exec.start{'echo', 'a'}:lines() do assert(line == 'a') end\n"
                  "local t = spawn(exec, {'sleep', '9'}) yield() t:cancel() pcall(t.await, t)\n",
                  true);
}

static void test_files(void **state) {
  (void)state;
  run_scenario_at(
      "local tmp <close> = fs.tmpdir() local p = tmp.path\n"
      "fs.write(p .. '/f', 'y', {mode = '600'}) fs.append(p .. '/f', 'z')\n"
      "assert(fs.read(p .. '/f') == 'yz')\n"
      "fs.mkdir(p .. '/a/b', {parents = true}) fs.rename(p .. '/f', p .. '/a/h', {noreplace = true})\n"
      "assert(#fs.list(p) == 1 and not fs.exists(p .. '/no'))\n"
      "local ok = pcall(fs.read, p .. '/none') assert(not ok)\n"
      "local t = spawn(fs.write, p .. '/t', 'x') yield() t:cancel() pcall(t.await, t)\n",
      true);
}

static void test_blocking_calls(void **state) {
  (void)state;
  run_scenario_at(
      "local up = {1, {2}}\n"
      "local r = blocking(function(a) return a + up[2][1], {up} end, 40) assert(r == 42)\n"
      "local pool <close> = executor(1)\n"
      "local t, u = pool:spawn(function() error('boom') end), pool:spawn(function() sleep(5) end)\n"
      "pcall(t.await, t) u:cancel() pcall(u.await, u)\n",
      true);
}

static void test_requests(void **state) {
  (void)state;
  run_scenario_at(
      "local app = http.app()\n"
      "app.post('/echo', function(req) return req.body end)\n"
      "app.get('/stream', function()\n"
      "  return http.stream(function(write) for i = 1, 9 do write(('x'):rep(50000)) end end)\n"
      "end)\n"
      "local server = app.listen(0)\n"
      "local url = 'http://127.0.0.1:' .. server.port\n"
      "local r = http.fetch {url = url .. '/echo', body = ('y'):rep(9000), timeout = 5}\n"
      "assert(r.status ~= 200 or #r.body == 9000)\n"
      "local n = 0\n"
      "for bytes in http.fetch({url = url .. '/stream', stream = true, timeout = 5}):chunks() do\n"
      "  n = n + #bytes\n"
      "end\n"
      "server:close()\n",
      true);
}

static void test_figures_and_the_log(void **state) {
  (void)state;
  run_scenario("local seen = 0\n"
               "log.recent(0)\n"
               "local t = spawn(function() for e in log.follow() do seen = seen + 1 end end)\n"
               "metrics.counter('a_total', 'A.'):add(1, {b = 'c'})\n"
               "every(1).second.times(2).named('j')(function(run) run:log('x') end)\n"
               "sleep(5) t:cancel() pcall(t.await, t) assert(seen == 2)\n"
               "assert(metrics.text():find('a_total{b=\"c\"} 1', 1, true))\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tasks),           cmocka_unit_test(test_failing_tasks),
      cmocka_unit_test(test_user_coroutines), cmocka_unit_test(test_sync),
      cmocka_unit_test(test_programs),        cmocka_unit_test(test_files),
      cmocka_unit_test(test_blocking_calls),  cmocka_unit_test(test_jobs),
      cmocka_unit_test(test_requests),        cmocka_unit_test(test_figures_and_the_log),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
