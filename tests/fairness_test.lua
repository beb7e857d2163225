-- A storm of lines lets other tasks and timers run, is bounded in memory, and may drop lines if asked.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local host = require "jobrun.core.host"
local helper = dofile "tests/ffmpeg_helper.lua"
local exec, ffmpeg, monotonic, sleep, spawn = jobrun.exec, jobrun.ffmpeg, jobrun.monotonic, jobrun.sleep, jobrun.spawn

-- Runs `storm` beside a task that sleeps again and again. Returns how often that one ran.
local function beside_a_timer(storm)
  local turns, going = 0, true
  local ticker = spawn(function()
    while going do
      sleep(0.001)
      turns = turns + 1
    end
  end)
  storm()
  going = false
  ticker:await()
  return turns
end

-- Computes for about `seconds`: what a callback does that never waits.
local function compute(seconds)
  local deadline = monotonic() + seconds
  while monotonic() < deadline do end
end

function test_callbacks_that_never_wait_let_timers_run()
  local turns = beside_a_timer(function()
    exec { "seq", "300", on_line = function() compute(0.001) end } -- 0.3 s, and one batch of lines
  end)
  lu.assertTrue(turns > 30, turns)
end

function test_a_loop_over_lines_that_never_waits_lets_timers_run()
  local turns = beside_a_timer(function()
    for _ in exec.start({ "seq", "300" }):lines() do compute(0.001) end
  end)
  lu.assertTrue(turns > 30, turns)
end

function test_a_long_storm_is_no_slow_task()
  local command = ("'%s/jobrun' -e '%s' 2>&1"):format(os.getenv "JOBRUN_BUILD" or "build", [[
    local clock = monotonic
    exec{"seq", "600", on_line = function() local e = clock() + 0.001 while clock() < e do end end}
    for _ in exec.start{"seq", "600"}:lines() do local e = clock() + 0.001 while clock() < e do end end
    print "over"
  ]])
  lu.assertEquals(exec { "sh", "-c", command }.stdout, "over\n")
end

function test_a_storm_can_be_cancelled_between_two_lines()
  local seen = 0
  local t = spawn(function() exec { "yes", on_line = function() seen = seen + 1 end } end)
  testing.wait_for(function() return seen > 1000 end)
  t:cancel()
  lu.assertEquals(helper.error_of(t.await, t).kind, "cancelled")
end

function test_a_loop_over_lines_can_be_cancelled_though_it_never_waits()
  local t = spawn(function()
    for _ in exec.start({ "yes" }):lines() do end
  end)
  sleep(0.02)
  t:cancel()
  lu.assertEquals(helper.error_of(t.await, t).kind, "cancelled")
end

-- ---- on_overflow ----------------------------------------------------------------------------------

-- A callback that waits with its first line until `until_then()`, and counts.
local function late(until_then)
  local lines, count = {}, 0
  return function(line, level)
    if count == 0 then testing.wait_for(until_then, 20) end
    count = count + 1
    lines[#lines + 1] = { line, level }
  end, lines
end

local LONG = ("x"):rep(90)

function test_without_drop_the_program_waits_and_nothing_is_lost()
  local flag = testing.tmpdir() .. "/written"
  local script = ("yes %s | head -n 100000; touch '%s'"):format(LONG, flag)
  local paused = monotonic() + 0.3
  local on_line, lines = late(function() return monotonic() > paused end)
  local r = exec { "sh", "-c", script, on_line = function(line)
    if #lines == 0 then
      on_line(line)
      lu.assertNil(io.open(flag)) -- 9 MB do not fit
    else
      on_line(line)
    end
  end }
  lu.assertEquals({ #lines, r.dropped }, { 100000, 0 })
end

function test_with_drop_the_oldest_lines_go_and_are_counted()
  local flag = testing.tmpdir() .. "/written"
  local script = ("seq -f '%%.0f %s' 100000; touch '%s'"):format(LONG, flag)
  local on_line, lines = late(function() return io.open(flag) end)
  local r = exec { "sh", "-c", script, on_line = on_line, on_overflow = "drop" }
  lu.assertTrue(r.dropped > 0)
  local told, last = 0, nil
  for _, entry in ipairs(lines) do
    local n = entry[1]:match("^(%d+) lines dropped$")
    if n then told = told + n else last = entry[1] end
  end
  lu.assertEquals(told, r.dropped)
  lu.assertEquals(last, "100000 " .. LONG)
end

function test_every_line_is_delivered_or_counted()
  local flag = testing.tmpdir() .. "/written"
  local on_line, lines = late(function() return io.open(flag) end)
  local script = ("seq -f '%%.0f %s' 100000; touch '%s'"):format(LONG, flag)
  local r = exec { "sh", "-c", script, on_line = on_line, on_overflow = "drop" }
  local notices = 0
  for _, entry in ipairs(lines) do
    if entry[1]:find "lines dropped$" then notices = notices + 1 end
  end
  lu.assertEquals(#lines - notices + r.dropped, 100000)
end

function test_of_ffmpegs_log_the_chatter_goes_first()
  local dir = testing.tmpdir()
  local program, flag = dir .. "/talker", dir .. "/written"
  helper.write(program, ([[#!/bin/sh
    { echo '[info] first'; echo '[warning] remember me'; seq -f '[info] line %%.0f %s' 100000; } >&3
    touch '%s'
  ]]):format(LONG, flag))
  os.execute("chmod +x '" .. program .. "'")
  local on_report, lines = late(function() return io.open(flag) end)
  local r = ffmpeg { bin = program, input = { raw = "-" }, output = { raw = "-" }, on_report = on_report,
    on_overflow = "drop" }
  lu.assertTrue(r.dropped > 0)
  local warnings = {}
  for _, entry in ipairs(lines) do
    if entry[2] == "warning" then warnings[entry[1]:match("lines dropped") or entry[1]] = true end
  end
  lu.assertEquals(warnings, { ["remember me"] = true, ["lines dropped"] = true })
  lu.assertEquals(lines[#lines][1], "line 100000 " .. LONG)
end

function test_memory_is_bounded_while_a_callback_waits()
  local before = host.stats().memory
  local most, going = 0, true
  local watch = spawn(function()
    while going do
      most = math.max(most, host.stats().memory)
      sleep(0.01)
    end
  end)
  for _, word in ipairs { "wait", "drop" } do
    local paused = monotonic() + 0.3
    local on_line = late(function() return monotonic() > paused end)
    local _ <close> = exec.start { "yes", LONG, on_line = on_line, on_overflow = word }
    sleep(0.25)
  end
  going = false
  watch:await()
  lu.assertTrue(most - before < 12 * 2 ^ 20, most - before)
end
