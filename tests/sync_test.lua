-- all, race, map; channel, semaphore, event, mutex.
local lu = require "luaunit"
local jobrun = require "jobrun"
local spawn, sleep = jobrun.spawn, jobrun.sleep

local function kind_of(fn, ...)
  local ok, e = pcall(fn, ...)
  return not ok and (type(e) == "table" and e.kind or tostring(e)) or nil
end

function test_all_gives_results_in_order()
  lu.assertEquals({ jobrun.all {
    function() sleep(0.004) return "a" end,
    function() return "b", "extra" end,
    function() sleep(0.002) return "c" end,
  } }, { "a", "b", "c" })
  lu.assertEquals({ jobrun.all {} }, {})
end

function test_all_cancels_the_others_at_the_first_failure()
  local seen
  local e = kind_of(jobrun.all, {
    function() local _, e = pcall(sleep, 60) seen = e end,
    function() sleep(0.001) error("boom", 0) end,
  })
  lu.assertEquals(e, "boom")
  lu.assertEquals(seen.kind, "cancelled")
end

function test_race_gives_the_first_and_cancels_the_losers()
  local ended = {}
  lu.assertEquals({ jobrun.race {
    function() pcall(sleep, 60) ended[1] = true end,
    function() sleep(0.002) return "winner", 2 end,
  } }, { "winner", 2 })
  lu.assertTrue(ended[1])
  lu.assertEquals(kind_of(jobrun.race, { function() sleep(60) end, function() error("lost", 0) end }), "lost")
  lu.assertEquals(kind_of(jobrun.race, {}), "usage")
end

function test_map_is_a_window_with_results_in_order()
  local running, most = 0, 0
  local results = jobrun.map({ 5, 4, 3, 2, 1 }, function(n, i)
    running = running + 1
    most = math.max(most, running)
    sleep(n / 2000)
    running = running - 1
    return n * 10 + i
  end, { limit = 2 })
  lu.assertEquals(results, { 51, 42, 33, 24, 15 })
  lu.assertEquals(most, 2)
  lu.assertEquals(jobrun.map({}, print), {})
  lu.assertEquals(kind_of(jobrun.map, { 1 }, print, { limit = 0 }), "usage")
  lu.assertEquals(kind_of(jobrun.map, { 1 }, print, { limt = 1 }), "usage")
end

function test_a_semaphore_bounds_and_is_handed_over_in_order()
  local sem, order = jobrun.semaphore(1), {}
  jobrun.scope(function()
    for i = 1, 4 do
      spawn(function() sem:with(function() sleep(0.001) order[#order + 1] = i end) end)
    end
  end)
  lu.assertEquals(order, { 1, 2, 3, 4 })
  lu.assertEquals(sem.free, 1)
  lu.assertEquals(kind_of(sem.release, sem), "usage")
end

function test_a_permit_is_given_back_after_an_error_and_after_cancel()
  local m = jobrun.mutex()
  lu.assertEquals(kind_of(m.with, m, error, "x", 0), "x")
  local t = spawn(function() m:with(sleep, 60) end)
  jobrun.yield()
  lu.assertEquals(kind_of(m.acquire, m, 0.001), "timeout")
  t:cancel()
  m:acquire("1s")
  m:release()
  lu.assertTrue(m:try_acquire())
  lu.assertFalse(m:try_acquire())
end

function test_a_cancelled_waiter_loses_its_place()
  local m = jobrun.mutex()
  m:acquire()
  local first = spawn(function() m:acquire() end)
  local second = spawn(function() m:acquire() return "got it" end)
  jobrun.yield()
  first:cancel()
  m:release()
  lu.assertEquals(second:await(), "got it")
  pcall(first.await, first)
end

function test_an_event_wakes_all()
  local e, n = jobrun.event(), 0
  jobrun.scope(function()
    for _ = 1, 3 do spawn(function() e:wait() n = n + 1 end) end
    sleep(0.001)
    lu.assertEquals(n, 0)
    e:set()
  end)
  lu.assertEquals(n, 3)
  e:wait()
  e:clear()
  lu.assertEquals(kind_of(e.wait, e, 0.001), "timeout")
end

function test_a_channel_passes_items_in_order_until_it_is_closed()
  for _, capacity in ipairs { 0, 1, 7 } do
    local ch, got = jobrun.channel(capacity), {}
    local producer = spawn(function()
      for i = 1, 20 do ch:put(i) end
      ch:close()
    end)
    for item in ch do got[#got + 1] = item end
    producer:await()
    lu.assertEquals(#got, 20)
    lu.assertEquals(got[20], 20)
  end
end

function test_put_waits_while_the_channel_is_full()
  local ch, put = jobrun.channel(2), 0
  local t = spawn(function() for i = 1, 4 do ch:put(i) put = i end end)
  sleep(0.001)
  lu.assertEquals(put, 2)
  lu.assertEquals(ch:get(), 1)
  lu.assertEquals(ch:get(), 2)
  t:await()
  lu.assertEquals(put, 4)
end

function test_an_unbuffered_put_ends_when_the_item_is_taken()
  local ch, put = jobrun.channel(), false
  local t = spawn(function() ch:put("x") put = true end)
  sleep(0.001)
  lu.assertFalse(put)
  lu.assertEquals(ch:get(), "x")
  t:await()
  lu.assertTrue(put)
end

function test_a_cancelled_put_takes_its_item_back()
  local ch = jobrun.channel()
  local t = spawn(function() ch:put "withdrawn" end)
  jobrun.yield()
  t:cancel()
  pcall(t.await, t)
  lu.assertEquals(ch.length, 0)
  spawn(function() ch:put "kept" end)
  lu.assertEquals(ch:get(), "kept")
end

function test_channel_errors()
  local ch = jobrun.channel(1)
  lu.assertEquals(kind_of(ch.put, ch, nil), "usage")
  lu.assertEquals(kind_of(ch.get, ch, 0.001), "timeout")
  ch:put(1)
  ch:close()
  lu.assertEquals(kind_of(ch.put, ch, 2), "closed")
  lu.assertEquals(ch:get(), 1)
  lu.assertNil(ch:get())
  lu.assertEquals(kind_of(jobrun.channel, -1), "usage")
  lu.assertEquals(kind_of(jobrun.semaphore, 0), "usage")
end
