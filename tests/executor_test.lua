-- luacheck: globals shared_name no_such_word order began calls
-- Blocking calls and executors: what travels, what is refused, order, errors, cancelling, worker states.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local err = require "jobrun.core.error"
local blocking, executor, spawn, sleep = jobrun.blocking, jobrun.executor, jobrun.spawn, jobrun.sleep
local scope, timeout = jobrun.scope, jobrun.timeout

-- The calling function's own line, for messages that name it.
local function line()
  return debug.getinfo(2, "l").currentline
end

local function echo(...)
  return ...
end

local function failure(fn, ...)
  local ok, e = pcall(fn, ...)
  lu.assertFalse(ok)
  return e
end

local function wait_until_running(pool, n)
  testing.wait_for(function() return pool.stats.running == n end)
end

-- A file whose presence releases calls that wait for it: what they do while they run is up to the test.
local function gate()
  local path = testing.tmpdir() .. "/open"
  return path, function() assert(io.open(path, "w")):close() end
end

local function wait_at(path, value)
  local file
  repeat
    sleep(0.001)
    file = io.open(path)
  until file
  file:close()
  return value
end

-- ---- values --------------------------------------------------------------------------------------

function test_values_come_back_as_they_were()
  local n = table.pack(blocking(echo, nil, true, false, (1 << 53) + 1, 0.5, -0.0, "a\0b\255", "", nil))
  lu.assertEquals(n.n, 9)
  lu.assertNil(n[1])
  lu.assertEquals(n[4], 9007199254740993)
  lu.assertEquals(math.type(n[4]), "integer")
  lu.assertEquals(math.type(n[5]), "float")
  lu.assertEquals(1 / n[6], -math.huge)
  lu.assertEquals(n[7], "a\0b\255")
  lu.assertEquals({ n[2], n[3], n[8] }, { true, false, "" })
end

function test_no_values_at_all()
  lu.assertEquals(select("#", blocking(echo)), 0)
end

function test_tables_keep_their_shape()
  local t = { 1, 2, nil, 4, x = { y = { "deep" } } }
  t.self, t.again = t, t.x
  local back = blocking(echo, t)
  lu.assertNotIs(back, t)
  lu.assertIs(back.self, back)
  lu.assertIs(back.again, back.x)
  lu.assertEquals({ back[1], back[2], back[3], back[4] }, { 1, 2, nil, 4 })
  lu.assertEquals(back.x.y, { "deep" })
end

function test_long_binary_strings()
  local bytes = {}
  for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
  local s = table.concat(bytes):rep(4096)
  lu.assertTrue(blocking(echo, s) == s)
end

function test_upvalues_travel_at_each_call()
  local n, list = 1, { 1 }
  local function add() return n + #list end
  lu.assertEquals(blocking(add), 2)
  n, list = 10, { 1, 2, 3 }
  lu.assertEquals(blocking(add), 13)
end

function test_upvalues_are_copies()
  local n = 1
  lu.assertEquals(blocking(function() n = n + 1 return n end), 2)
  lu.assertEquals(n, 1)
  lu.assertEquals(blocking(function() n = n + 1 return n end), 2)
end

function test_functions_bring_the_functions_they_use()
  local function double(x) return 2 * x end
  local function quadruple(x) return double(double(x)) end
  lu.assertEquals(blocking(function(x) return quadruple(x) end, 3), 12)
end

function test_functions_may_be_results()
  local function make(n) return function() n = n + 1 return n end end
  local a, b = blocking(make, 1), blocking(make, 10)
  lu.assertEquals({ a(), b(), a(), b() }, { 2, 11, 3, 12 })
end

function test_modules_and_words_travel_by_name()
  local format, text, word = string.format, string, jobrun.sleep
  local same = blocking(function()
    return format == string.format and text == string and word == require("jobrun").sleep
  end)
  lu.assertTrue(same)
  lu.assertIs(blocking(function() return string end), string)
  lu.assertIs(blocking(function() return require("jobrun").spawn end), jobrun.spawn)
end

-- A word is made at its first use, which nothing but the table of words shows.
function test_words_of_later_travel_by_name_too()
  blocking(echo, {})
  for _, name in ipairs { "timeout", "race", "every", "jobs", "log" } do
    local word = jobrun[name]
    lu.assertIs(blocking(function() return word end), word, name)
    lu.assertIs(blocking(echo, word), word, name)
  end
end

function test_require_finds_the_scripts_modules()
  local dir = testing.tmpdir()
  local file = assert(io.open(dir .. "/worker_sample.lua", "w"))
  file:write "local M = { loads = 0 }\nfunction M.twice(x) M.loads = M.loads + 1 return 2 * x, M.loads end\nreturn M"
  file:close()
  local before = package.path
  package.path = dir .. "/?.lua;" .. before
  local sample = require "worker_sample"
  local pool <close> = executor(1)
  lu.assertEquals({ pool:call(function(x) return require("worker_sample").twice(x) end, 21) }, { 42, 1 })
  lu.assertEquals({ pool:call(function(x) return sample.twice(x) end, 4) }, { 8, 2 })
  lu.assertEquals(sample.loads, 0)
  package.path, package.loaded.worker_sample = before, nil
end

function test_embedded_modules_that_need_no_task()
  lu.assertEquals(blocking(function() return require("jobrun.check").duration("1m30s", "d") end), 90.0)
  lu.assertTrue(blocking(function() return require("jobrun").now() end) > 1.7e9)
end

-- ---- refusals ------------------------------------------------------------------------------------

local function refusal(expected, ...)
  local e = failure(blocking, ...)
  lu.assertTrue(err.is(e, "usage"))
  lu.assertEquals(e.message, "blocking: " .. expected .. " cannot travel to a worker thread")
  return e
end

function test_what_cannot_travel_is_named()
  local db, co = io.stdout, coroutine.create(print)
  local object = setmetatable({}, { __index = {} })
  local wrapped = coroutine.wrap(print)
  local here = line()
  refusal(("upvalue 'db' (userdata) of function at %s:%d"):format("tests/executor_test.lua", here + 2),
    function() return db end)
  refusal("argument 1 (userdata)", echo, db)
  refusal("argument 2, field 'x.y' (thread)", echo, 1, { x = { y = co } })
  refusal("argument 1, field '[2].file' (userdata)", echo, { 1, { file = db } })
  refusal("argument 1 (table with a metatable)", echo, object)
  refusal("argument 3 (C function with upvalues)", echo, 1, 2, wrapped)
  refusal("the function (C function with upvalues)", wrapped)
  refusal("argument 1, a key (userdata)", echo, { [db] = 1 })
  local function query() return db end
  refusal(("upvalue 'query', upvalue 'db' (userdata) of function at tests/executor_test.lua:%d"):format(line() - 1),
    function() return query end)
end

function test_a_refusal_blames_the_callers_line()
  local e = failure(function() blocking(echo, io.stdout) end)
  lu.assertEquals(e.where, ("tests/executor_test.lua:%d"):format(line() - 1))
end

function test_results_that_cannot_travel_are_named()
  local e = failure(blocking, function() return 1, { file = io.stdout } end)
  lu.assertTrue(err.is(e, "usage"))
  lu.assertEquals(e.message, "result 2, field 'file' (userdata) cannot travel back from a worker thread")
end

function test_depth_has_a_limit()
  local t = {}
  for _ = 1, 250 do t = { t } end
  local e = failure(blocking, echo, t)
  lu.assertTrue(err.is(e, "limit"))
  lu.assertEquals(e.message, "blocking: argument 1: tables and functions nested deeper than 200 cannot travel")
end

function test_only_functions_are_called()
  local pool <close> = executor(1)
  lu.assertEquals(failure(blocking, "x").message, "blocking: expected a function, got string")
  lu.assertEquals(failure(blocking).message, "blocking: expected a function, got no value")
  lu.assertEquals(failure(pool.call, pool, {}).message, "call: expected a function, got table")
  lu.assertEquals(failure(pool.spawn, pool, 1).message, "spawn: expected a function, got number")
  lu.assertStrContains(failure(pool.call, echo).message, "expected an executor, got function")
end

function test_executor_checks_its_arguments()
  for _, n in ipairs { 0, -1, 1.5, 2000, "3" } do
    lu.assertTrue(err.is(failure(executor, n), "usage"))
  end
  lu.assertStrContains(failure(executor, 1, { nam = "x" }).message, "did you mean 'name'?")
end

-- ---- errors --------------------------------------------------------------------------------------

function test_a_string_stays_that_string()
  local here = line()
  local e = failure(blocking, function() error("boom") end)
  lu.assertEquals(e, ("tests/executor_test.lua:%d: boom"):format(here + 1))
end

function test_an_error_object_stays_one()
  local e = failure(blocking, function()
    local new = require("jobrun").error_object.new
    error(new { kind = "sample", message = "m", detail = { 1, 2 }, cause = new { kind = "inner" } })
  end)
  lu.assertTrue(err.is(e, "sample"))
  lu.assertTrue(err.is(e.cause, "inner"))
  lu.assertEquals(e.detail, { 1, 2 })
end

function test_the_traceback_tells_both_sides()
  local function inner() error { kind = "table" } end
  local function outer() inner() return 1 end
  local trace
  local ok = xpcall(function()
    blocking(outer)
    return 1
  end, function(e) trace = err.traceback(e) end)
  lu.assertFalse(ok)
  lu.assertStrContains(trace, "in upvalue 'inner'")
  lu.assertStrContains(trace, "called on a worker thread from:")
  lu.assertStrContains(trace:match "called on a worker thread from:(.*)", "tests/executor_test.lua:")
end

function test_errors_that_cannot_travel_become_text()
  local e = failure(blocking, function() error(setmetatable({}, { __tostring = function() return "custom" end })) end)
  lu.assertEquals(e, "custom")
  lu.assertEquals(failure(blocking, function() error { file = io.stdout } end).file, "userdata")
  lu.assertEquals(failure(blocking, function() error() end), nil)
end

function test_a_worker_is_usable_after_an_error()
  local pool <close> = executor(1)
  for i = 1, 20 do
    failure(pool.call, pool, function() calls = (calls or 0) + 1 error "x" end)
    lu.assertEquals(pool:call(function() return calls end), i)
  end
  lu.assertEquals(pool.stats.workers, 1)
  lu.assertEquals(pool.stats.failed, 20)
end

function test_runaway_recursion_is_an_error()
  local e = failure(blocking, function()
    local function f() return 1 + f() end
    return f()
  end)
  lu.assertStrContains(e, "stack overflow")
  lu.assertEquals(blocking(echo, 1), 1)
end

-- ---- the worker's state --------------------------------------------------------------------------

function test_globals_are_the_workers_own()
  local pool <close> = executor(1)
  rawset(_G, "shared_name", "the script's")
  lu.assertNil(pool:call(function() return shared_name end))
  pool:call(function() shared_name = "the worker's" end)
  lu.assertEquals(pool:call(function() return shared_name end), "the worker's")
  lu.assertEquals(rawget(_G, "shared_name"), "the script's")
  rawset(_G, "shared_name", nil)
end

function test_words_that_need_a_task_say_so()
  local suffix = " is not available in a blocking call (worker thread); use it in the task, before or after the call"
  lu.assertEquals(failure(blocking, function() spawn(print) end).message, "spawn" .. suffix)
  lu.assertEquals(failure(blocking, function() require("jobrun").every(1) end).message, "every" .. suffix)
  lu.assertEquals(failure(blocking, function() require("jobrun").jobs.list() end).message, "jobs" .. suffix)
  lu.assertEquals(failure(blocking, function() ffmpeg {} end).message, "ffmpeg" .. suffix)
  lu.assertEquals(failure(blocking, function() blocking(print) end).message, "blocking" .. suffix)
  lu.assertEquals(failure(blocking, function() os.exit(1) end).message, "os.exit" .. suffix)
  lu.assertEquals(failure(blocking, function() require "jobrun.core.task" end).message,
    "the module jobrun.core.task" .. suffix)
  lu.assertStrContains(failure(blocking, function() no_such_word() end), "attempt to call a nil value")
end

function test_coroutines_work_in_a_worker()
  local list = blocking(function()
    local out = {}
    for v in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) do out[#out + 1] = v end
    local co = coroutine.create(function(a) error(a, 0) end)
    out[#out + 1] = select(2, coroutine.resume(co, "e"))
    out[#out + 1] = coroutine.status(co)
    return out
  end)
  lu.assertEquals(list, { 1, 2, 3, "e", "dead" })
end

function test_sleep_blocks_the_worker_and_not_the_loop()
  local path, open = gate()
  local ticks = 0
  scope(function()
    spawn(function()
      for _ = 1, 5 do sleep(0.001) ticks = ticks + 1 end
      open()
    end)
    lu.assertEquals(blocking(wait_at, path, "x"), "x")
  end)
  lu.assertEquals(ticks, 5)
end

function test_print_and_log_come_from_workers()
  local r = jobrun.exec { require("jobrun.test").program, "-e", [[
    local pool <close> = executor(4)
    pool:map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function(i)
      for _ = 1, 50 do print("line", i, ("x"):rep(100)) end
      log.warn("from %d", i)
    end)]] }
  local lines = 0
  for text in r.stdout:gmatch "[^\n]+" do
    lu.assertTrue(text:find "^line\t%d\tx+$" ~= nil, text)
    lines = lines + 1
  end
  lu.assertEquals(lines, 400)
  lu.assertEquals(select(2, r.stderr:gsub("from %d", "")), 8)
end

-- ---- order and numbers ---------------------------------------------------------------------------

function test_nine_calls_run_three_at_a_time_in_order()
  local dir = testing.tmpdir()
  local pool <close> = executor(3)
  local tasks = {}
  for i = 1, 9 do
    tasks[i] = pool:spawn(function(n)
      local file = assert(io.open(dir .. "/begun", "a"))
      file:write(n, "\n")
      file:close()
      sleep(0.02)
      return n * n
    end, i)
  end
  for i = 1, 9 do lu.assertEquals(tasks[i]:await(), i * i) end
  local stats = pool.stats
  lu.assertEquals({ stats.most, stats.done, stats.workers }, { 3, 9, 3 })
end

function test_calls_begin_in_the_order_they_were_made()
  local pool <close> = executor(1)
  pool:call(function() order = {} end)
  scope(function()
    for i = 1, 100 do pool:spawn(function(n) order[#order + 1] = n end, i) end
  end)
  local order = pool:call(function() return order end)
  for i = 1, 100 do lu.assertEquals(order[i], i) end
end

function test_spawn_copies_at_once()
  local pool <close> = executor(1)
  local t = { n = 1 }
  local task = pool:spawn(function(copy) return copy.n end, t)
  t.n = 2
  lu.assertEquals(task:await(), 1)
  lu.assertTrue(err.is(failure(pool.spawn, pool, echo, io.stdout), "usage"))
end

function test_map_gives_results_in_order()
  local pool <close> = executor(3)
  local list = {}
  for i = 1, 200 do list[i] = i end
  local squares = pool:map(list, function(x) return x * x end)
  for i = 1, 200 do lu.assertEquals(squares[i], i * i) end
  lu.assertEquals(pool:map({}, echo), {})
end

function test_a_failure_in_map_is_raised_and_cancels_the_rest()
  local pool <close> = executor(2)
  local list = {}
  for i = 1, 500 do list[i] = i end
  local e = failure(pool.map, pool, list, function(x) if x == 3 then error("three", 0) end return x end)
  lu.assertEquals(e, "three")
  lu.assertTrue(pool.stats.done < 500)
end

function test_many_calls_at_once()
  local sum = 0
  scope(function()
    for i = 1, 3000 do
      spawn(function()
        local back = blocking(echo, i)
        sum = sum + back
      end)
    end
  end)
  lu.assertEquals(sum, 3000 * 3001 // 2)
end

-- While calls are short, workers that sleep are left alone; a call that is not must not hold up others.
function test_long_calls_after_short_ones_run_side_by_side()
  local pool <close> = executor(4)
  local path, open = gate()
  scope(function()
    for i = 1, 2000 do pool:spawn(echo, i) end
  end)
  local long, done = {}, 0
  for i = 1, 103 do
    if i % 50 == 1 then
      long[#long + 1] = pool:spawn(wait_at, path, i)
    else
      spawn(function()
        pool:call(echo, i)
        done = done + 1
      end)
    end
  end
  testing.wait_for(function() return done == 100 end)
  wait_until_running(pool, 3)
  open()
  for i, task in ipairs(long) do lu.assertEquals(task:await(), 50 * i - 49) end
end

function test_idle_workers_end()
  local pool = executor(2, { idle = 0.01, name = "brief" })
  scope(function()
    for _ = 1, 2 do pool:spawn(sleep, 0.005) end
  end)
  testing.wait_for(function() return pool.stats.workers == 0 end)
  lu.assertEquals(pool:call(echo, "again"), "again")
  lu.assertEquals(pool.name, "brief")
  lu.assertEquals(tostring(pool), "executor 'brief'")
  pool:close()
end

-- ---- cancelling ----------------------------------------------------------------------------------

function test_a_queued_call_that_is_cancelled_never_begins()
  local pool <close> = executor(1)
  local path, open = gate()
  local first = pool:spawn(wait_at, path)
  local second = pool:spawn(function() began = true end)
  testing.wait_for(function() return pool.stats.queued == 1 end)
  second:cancel()
  lu.assertEquals(pool.stats.queued, 0)
  open()
  first:await()
  lu.assertNil(pool:call(function() return began end))
  lu.assertEquals(second.status, "cancelled")
  lu.assertEquals(pool.stats.cancelled, 1)
end

function test_a_task_cancelled_before_it_ran_makes_no_call()
  local pool <close> = executor(1)
  local task = pool:spawn(function() began = true end)
  task:cancel()
  lu.assertNil(pool:call(function() return began end))
end

-- A running call leaves a mark when it ends, whatever happens to it.
local function marked(path, work)
  return function()
    local _ <close> = setmetatable({}, { __close = function(_, e)
      local file = assert(io.open(path, "w"))
      file:write(type(e) == "table" and e.kind or tostring(e))
      file:close()
    end })
    work()
  end
end

local function give_up(work)
  local pool <close> = executor(1)
  local task = pool:spawn(work)
  wait_until_running(pool, 1)
  sleep(0.01)
  task:cancel()
  lu.assertTrue(err.is(failure(task.await, task), "cancelled"))
  lu.assertEquals(pool:call(echo, "another worker"), "another worker")
  testing.wait_for(function() return pool.stats.given_up == 0 end)
end

local function check_given_up(work)
  local path = testing.tmpdir() .. "/ended"
  give_up(marked(path, work))
  local file <close> = assert(io.open(path))
  lu.assertEquals(file:read "a", "cancelled")
end

function test_giving_up_a_sleeping_call()
  check_given_up(function() sleep(1000) end)
end

function test_giving_up_a_loop()
  check_given_up(function() while true do local _ = {} end end) -- luacheck: ignore
end

function test_giving_up_a_loop_that_catches_all_errors()
  give_up(function()
    while true do pcall(function() while true do local _ = {} end end) end -- luacheck: ignore
  end)
end

function test_giving_up_a_loop_in_a_coroutine()
  give_up(function()
    while true do
      pcall(coroutine.wrap(function() while true do pcall(function() local _ = {} end) end end)) -- luacheck: ignore
    end
  end)
end

function test_giving_up_a_system_call()
  check_given_up(function()
    local pipe <close> = assert(io.popen("sleep 1000 & echo $!; wait", "r"))
    local pid = pipe:read "n"
    local _ <close> = setmetatable({}, { __close = function() os.execute("kill " .. pid) end })
    pipe:read "a"
    local _ = {}
  end)
end

function test_a_deadline_gives_up_too()
  local e = failure(timeout, 0.01, blocking, sleep, 1000)
  lu.assertTrue(err.is(e, "timeout"))
  lu.assertEquals(blocking(echo, 1), 1)
end

function test_a_task_that_was_cancelled_makes_no_more_calls()
  local began = 0
  local task = spawn(function()
    pcall(sleep, 1000)
    began = select(2, pcall(blocking, echo, 1))
  end)
  jobrun.yield()
  task:cancel()
  task:await()
  lu.assertTrue(err.is(began, "cancelled"))
end

-- ---- closing -------------------------------------------------------------------------------------

function test_close_waits_for_all_calls()
  local pool = executor(2)
  local done = 0
  for i = 1, 6 do
    spawn(function()
      pool:call(sleep, 0.005)
      done = done + i
    end)
  end
  jobrun.yield()
  pool:close()
  testing.wait_for(function() return done == 21 end)
  local e = failure(pool.call, pool, echo)
  lu.assertTrue(err.is(e, "closed"))
  lu.assertEquals(e.message, "call: executor 'executor' is closed")
  lu.assertTrue(err.is(failure(pool.spawn, pool, echo), "closed"))
  pool:close()
end

function test_an_executor_nobody_holds_finishes_its_calls()
  local path, open = gate()
  local task = executor(1):spawn(wait_at, path, "done")
  jobrun.yield()
  collectgarbage()
  collectgarbage()
  open()
  lu.assertEquals(task:await(), "done")
end

-- Nothing stops a C function that looks at nothing: this one takes years.
function test_a_stuck_call_is_named_and_does_not_hang_the_exit()
  local child = jobrun.exec.start { require("jobrun.test").program, "--grace=0.01", "-e", [[
    spawn(blocking, function() string.find(("a"):rep(36), (".-"):rep(36) .. "b") end)
    sleep(0.05)
    print "running"
    sleep(1000)]], check = false }
  child:lines()()
  child:stop()
  local r = child:wait()
  lu.assertTrue(r.elapsed < 8)
  lu.assertStrContains(r.stderr, "function at ")
end

function test_a_script_may_end_with_calls_running()
  local r = jobrun.exec { require("jobrun.test").program, "-e", [[
    local loop = spawn(blocking, function() while true do local _ = {} end end)
    sleep(0.02)
    loop:cancel()]], check = false }
  lu.assertEquals(r.exit_code, 0)
  lu.assertEquals(r.stderr, "")
  lu.assertTrue(r.elapsed < 5)
end

-- libuv's own pool, of which files and names have need, is not the one blocking calls run on.
function test_calls_that_block_for_ever_stop_neither_files_nor_names()
  local uv, path = require "luv", testing.tmpdir() .. "/file"
  local calls = {}
  for i = 1, 64 do calls[i] = spawn(blocking, function() while true do sleep(1) end end) end
  jobrun.yield()
  jobrun.fs.write(path, "written")
  lu.assertEquals(jobrun.fs.read(path), "written")
  local found = jobrun.channel(1)
  uv.getaddrinfo("localhost", nil, { socktype = "stream" }, function(e, list) found:put(e or list[1].addr) end)
  lu.assertStrMatches(found:get(), "[%x:.]+")
  for _, call in ipairs(calls) do call:cancel() end
  for _, call in ipairs(calls) do pcall(call.await, call) end
end
