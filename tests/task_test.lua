-- Tasks: spawning, waiting, errors, cancelling, ownership.
local lu = require "luaunit"
local jobrun = require "jobrun"
local spawn, sleep, timeout, scope, shield = jobrun.spawn, jobrun.sleep, jobrun.timeout, jobrun.scope, jobrun.shield

local function kind_of(fn, ...)
  local ok, e = pcall(fn, ...)
  return not ok and (type(e) == "table" and e.kind or tostring(e)) or nil
end

function test_a_task_runs_when_its_parent_waits()
  local seen = {}
  spawn(function() seen[#seen + 1] = "child" end)
  seen[#seen + 1] = "parent"
  jobrun.yield()
  lu.assertEquals(seen, { "parent", "child" })
end

function test_await_gives_all_results_with_holes()
  local t = spawn(function(...) return ... end, 1, nil, 3)
  lu.assertEquals(table.pack(t:await()), { n = 3, 1, nil, 3 })
  lu.assertEquals(table.pack(t:await()), { n = 3, 1, nil, 3 })
  lu.assertEquals(t.status, "done")
end

function test_await_raises_the_error_itself()
  local t = spawn(function() error({ tag = 1 }) end)
  local ok, e = pcall(t.await, t)
  lu.assertFalse(ok)
  lu.assertEquals(e, { tag = 1 })
  lu.assertEquals(t.status, "failed")
end

function test_sleep_is_never_early()
  for _, d in ipairs { 0, 0.0001, 0.0015, 0.01 } do
    local t = jobrun.monotonic()
    sleep(d)
    lu.assertTrue(jobrun.monotonic() - t >= d)
  end
end

function test_sleeps_end_in_order_of_their_deadlines()
  local seen = {}
  scope(function()
    for _, d in ipairs { 0.03, 0.01, 0.02 } do
      spawn(function() sleep(d) seen[#seen + 1] = d end)
    end
  end)
  lu.assertEquals(seen, { 0.01, 0.02, 0.03 })
end

function test_a_parent_ends_after_its_children()
  local child
  local parent = spawn(function()
    child = spawn(sleep, 0.01)
    return "done"
  end)
  lu.assertEquals(parent:await(), "done")
  lu.assertEquals(child.status, "done")
end

function test_an_unawaited_failure_cancels_siblings_and_is_raised_from_the_parent()
  local sibling
  local parent = spawn(function()
    sibling = spawn(sleep, 60)
    spawn(function() sleep(0.001) error("boom") end)
    sleep(60)
  end)
  local ok, e = pcall(parent.await, parent)
  lu.assertFalse(ok)
  lu.assertStrContains(e, "boom")
  lu.assertEquals(sibling.status, "cancelled")
end

function test_an_awaited_failure_stays_with_who_awaits()
  local sibling = spawn(sleep, 0.001)
  local failing = spawn(function() error("boom", 0) end)
  local ok, e = pcall(failing.await, failing)
  lu.assertFalse(ok)
  lu.assertEquals(e, "boom")
  sibling:await()
end

function test_further_failures_are_listed()
  local parent = spawn(function()
    spawn(function()
      jobrun.yield()
      error(jobrun.error_object.new { kind = "first", message = "1" })
    end)
    spawn(function()
      pcall(sleep, 60)
      error "second"
    end)
    sleep(60)
  end)
  local _, e = pcall(parent.await, parent)
  lu.assertEquals(e.kind, "first")
  lu.assertEquals(#e.errors, 1)
  lu.assertStrContains(e.errors[1], "second")
end

function test_cancel_is_seen_again_after_a_pcall()
  local seen = {}
  local t = spawn(function()
    for i = 1, 3 do
      local _, e = pcall(sleep, 60)
      seen[i] = e.kind
    end
    sleep(60)
  end)
  jobrun.yield()
  t:cancel()
  lu.assertEquals(kind_of(t.await, t), "cancelled")
  lu.assertEquals(seen, { "cancelled", "cancelled", "cancelled" })
  lu.assertEquals(t.status, "cancelled")
end

function test_cancel_before_the_first_run()
  local ran = false
  local t = spawn(function() ran = true end)
  t:cancel("no need")
  local _, e = pcall(t.await, t)
  lu.assertEquals(e.kind, "cancelled")
  lu.assertStrContains(e.message, "no need")
  lu.assertFalse(ran)
end

function test_cancel_reaches_children_first()
  local order = {}
  local t = spawn(function()
    spawn(function() pcall(sleep, 60) order[#order + 1] = "child" end)
    pcall(sleep, 60)
    order[#order + 1] = "parent"
  end)
  jobrun.yield()
  jobrun.yield()
  t:cancel()
  pcall(t.await, t)
  lu.assertEquals(order, { "child", "parent" })
end

function test_a_deep_chain_is_cancelled_without_recursion()
  local depth = 0
  local function nest()
    depth = depth + 1
    if depth < 20000 then spawn(nest) end
    sleep(60)
  end
  local t = spawn(nest)
  require("jobrun.testing").wait_for(function() return depth == 20000 end, 50)
  t:cancel()
  lu.assertEquals(kind_of(t.await, t), "cancelled")
end

function test_to_be_closed_variables_run_in_the_task_and_may_wait()
  local closed
  local t = spawn(function()
    local guard <close> = setmetatable({}, { __close = function()
      shield(sleep, 0.001)
      closed = true
    end })
    sleep(60)
    return guard
  end)
  jobrun.yield()
  t:cancel()
  pcall(t.await, t)
  lu.assertTrue(closed)
end

function test_timeout_cancels_and_waits_for_the_end()
  local cleaned = false
  lu.assertEquals(kind_of(timeout, 0.005, function()
    pcall(sleep, 60)
    cleaned = true
  end), nil)
  lu.assertTrue(cleaned)
  lu.assertEquals(kind_of(timeout, 0.005, sleep, 60), "timeout")
end

function test_timeout_gives_results_and_errors()
  lu.assertEquals({ timeout("1s", function(a) return a, 2 end, 1) }, { 1, 2 })
  lu.assertEquals(kind_of(timeout, 1, error, "x"), "x")
end

function test_await_with_a_deadline_leaves_the_task_running()
  local t = spawn(function() sleep(0.02) return "late" end)
  lu.assertEquals(kind_of(t.await, t, 0.001), "timeout")
  lu.assertEquals(t:await(), "late")
end

function test_shield_is_out_of_reach_of_cancel()
  local finished
  local t = spawn(function()
    shield(function() sleep(0.01) finished = true end)
    sleep(60)
  end)
  jobrun.yield()
  jobrun.yield()
  t:cancel()
  lu.assertEquals(kind_of(t.await, t), "cancelled")
  lu.assertTrue(finished)
end

function test_scope_waits_for_what_it_spawned()
  local n = 0
  local result = scope(function()
    for _ = 1, 5 do spawn(function() sleep(0.001) n = n + 1 end) end
    return "x"
  end)
  lu.assertEquals({ n, result }, { 5, "x" })
end

function test_a_detached_task_outlives_its_parent()
  local inner
  local parent = spawn(function() inner = spawn(sleep, 0.01):detach() end)
  parent:await()
  lu.assertEquals(inner.status, "waiting")
  inner:await()
end

function test_waiting_for_oneself_or_the_owner_is_refused()
  local _, e = pcall(function() jobrun.current():await() end)
  lu.assertStrContains(e.message, "cannot wait for itself")
  local outer = jobrun.current()
  local t = spawn(function() outer:await() end)
  _, e = pcall(t.await, t)
  lu.assertStrContains(e.message, "that owns it")
end

function test_wrong_arguments_name_the_value_and_the_line()
  for _, case in ipairs {
    { spawn, "expected a function", 5 }, { sleep, "expected a duration", {} }, { sleep, "-1", -1 },
    { sleep, "nan", 0 / 0 }, { sleep, '"1x"', "1x" }, { timeout, "expected a function", 1 },
  } do
    local ok, e = pcall(case[1], table.unpack(case, 3))
    lu.assertFalse(ok)
    lu.assertEquals(e.kind, "usage")
    lu.assertStrContains(e.message, case[2])
  end
end

function test_waits_pass_through_user_coroutines()
  local function generator()
    for i = 1, 3 do
      sleep(0.001)
      coroutine.yield(i)
    end
  end
  local seen = {}
  for i in coroutine.wrap(function() for i in coroutine.wrap(generator) do coroutine.yield(i * 10) end end) do
    seen[#seen + 1] = i
  end
  lu.assertEquals(seen, { 10, 20, 30 })
end

function test_a_coroutine_in_which_a_task_waits_is_normal()
  local co = coroutine.create(function() sleep(0.01) return "end" end)
  local t = spawn(function() return coroutine.resume(co) end)
  jobrun.yield()
  lu.assertEquals(coroutine.status(co), "normal")
  local ok, e = coroutine.resume(co)
  lu.assertFalse(ok)
  lu.assertStrContains(e, "non-suspended")
  lu.assertFalse((pcall(coroutine.close, co)))
  lu.assertEquals({ t:await() }, { true, "end" })
  lu.assertEquals(coroutine.status(co), "dead")
end

function test_errors_in_user_coroutines_keep_their_place()
  local ok, e = pcall(coroutine.wrap(function() sleep(0.001) error "inside" end))
  lu.assertFalse(ok)
  lu.assertStrContains(e, "inside")
  local status, message = coroutine.resume(coroutine.create(function() sleep(0.001) error("x", 0) end))
  lu.assertEquals({ status, message }, { false, "x" })
end

function test_where_lua_cannot_wait_the_error_names_the_function()
  local _, e = pcall(table.sort, { 3, 2, 1 }, function(a, b) sleep(0) return a < b end)
  lu.assertEquals(e.kind, "usage")
  lu.assertStrContains(e.message, "table.sort")
  _, e = pcall(string.gsub, "abc", ".", coroutine.wrap(function() sleep(0) end))
  lu.assertStrContains(tostring(e), "cannot wait here")
end

function test_yield_outside_a_coroutine_is_refused()
  local _, e = pcall(coroutine.yield, 1)
  lu.assertStrContains(e.message, "jobrun.yield")
end

function test_a_running_coroutine_that_escaped_is_not_reused()
  local mine = spawn(function() return (coroutine.running()) end):await()
  for _ = 1, 20 do
    lu.assertFalse(spawn(function() return rawequal(coroutine.running(), mine) end):await())
  end
end

function test_names_and_statuses()
  local t = spawn(sleep, 0.001)
  lu.assertStrContains(t.name, "task_test.lua:")
  t.name = "nightly"
  lu.assertEquals({ t.name, t.status }, { "nightly", "ready" })
  jobrun.yield()
  lu.assertEquals(t.status, "waiting")
  lu.assertStrContains(tostring(t), "nightly")
  t:await()
end

function test_ten_thousand_tasks()
  local sum = 0
  scope(function() for i = 1, 10000 do spawn(function() jobrun.yield() sum = sum + i end) end end)
  lu.assertEquals(sum, 50005000)
end

function test_a_deep_chain_of_awaits_gives_its_result()
  local function link(left)
    return left == 0 and "the end" or spawn(link, left - 1):await()
  end
  lu.assertEquals(spawn(link, 5000):await(), "the end")
end
