-- limit: so many at a time, by name; for functions, ffmpeg calls and pipelines.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local helper = dofile "tests/ffmpeg_helper.lua"
local limit, spawn, sleep, all = jobrun.limit, jobrun.spawn, jobrun.sleep, jobrun.all
local error_of = helper.error_of

local serial = 0
local function fresh() -- names live as long as the runtime
  serial = serial + 1
  return "limit " .. serial
end

-- Counts how many run at once.
local function counter()
  local c = { now = 0, most = 0 }
  function c.enter()
    c.now = c.now + 1
    c.most = math.max(c.most, c.now)
  end
  function c.leave() c.now = c.now - 1 end
  return c
end

local function in_parallel(n, fn)
  local list = {}
  for i = 1, n do list[i] = fn end
  return all(list)
end

function test_no_more_than_n_at_a_time()
  local l, c = limit(fresh(), 2), counter()
  in_parallel(6, function()
    l:with(function()
      c.enter()
      sleep(0.005)
      c.leave()
    end)
  end)
  lu.assertEquals({ c.most, l.free }, { 2, 2 })
end

function test_with_gives_the_results_and_the_permit_back()
  local l = limit(fresh(), 1)
  lu.assertEquals({ l:with(function(a, b) return b, a end, 1, 2) }, { 2, 1 })
  lu.assertEquals(error_of(l.with, l, function() error { mine = 1 } end).mine, 1)
  lu.assertEquals(l.free, 1)
end

function test_the_same_name_is_the_same_limit()
  local name = fresh()
  lu.assertIs(limit(name, 3), limit(name, 3))
  lu.assertIs(limit(name), limit(name, 3))
end

function test_another_n_for_a_name_is_an_error()
  local name = fresh()
  limit(name, 3)
  local e = error_of(limit, name, 4)
  lu.assertEquals(e.kind, "usage")
  lu.assertStrContains(e.message, "is 3 already, not 4")
end

function test_bad_limits()
  for _, n in ipairs { 0, -1, 1.5, "2" } do lu.assertEquals(error_of(limit, fresh(), n).kind, "usage") end
  lu.assertEquals(error_of(limit, 3, 4).kind, "usage")
  lu.assertStrContains(error_of(limit, "never declared").message, "there is no limit")
end

function test_who_holds_a_permit_needs_no_second_one()
  local l = limit(fresh(), 1)
  local r = l:with(function()
    return l:with(function() return spawn(function() return l:with(function() return "in" end) end):await() end)
  end)
  lu.assertEquals({ r, l.free }, { "in", 1 })
end

function test_a_task_beside_does_need_one()
  local l = limit(fresh(), 1)
  local permit <close> = l:acquire()
  local other = spawn(function() return l:with(function() return "in" end) end):detach()
  sleep(0.005)
  lu.assertEquals(other.status, "waiting")
  permit:release()
  lu.assertEquals(other:await(), "in")
end

function test_waiting_for_a_permit_may_time_out_and_be_cancelled()
  local l = limit(fresh(), 1)
  local permit <close> = l:acquire()
  local other = spawn(function() return l:acquire(0.005) end):detach()
  lu.assertEquals(error_of(other.await, other).kind, "timeout")
  other = spawn(function() return l:acquire() end):detach()
  sleep(0.002)
  other:cancel()
  lu.assertEquals(error_of(other.await, other).kind, "cancelled")
  permit:release()
  lu.assertEquals(l.free, 1)
end

-- ---- ffmpeg ---------------------------------------------------------------------------------------

local function fake(script, more)
  local opts = { bin = helper.fakeff, env = { FAKEFF = script }, input = { raw = "-" }, output = { raw = "-", f = "null" } }
  for key, value in pairs(more or {}) do opts[key] = value end
  return opts
end

local function counted(c, more)
  local opts = fake("report begin\\n\nsleep 20\nreport end\\n", more)
  opts.on_report = function(line) c[line == "begin" and "enter" or "leave"]() end
  return opts
end

function test_ffmpeg_calls_under_a_limit_by_name()
  local name, c = fresh(), counter()
  local l = limit(name, 2)
  in_parallel(6, function() jobrun.ffmpeg(counted(c, { limit = name })) end)
  lu.assertEquals({ c.most, l.free }, { 2, 2 })
end

function test_started_runs_hold_the_permit_until_their_end()
  local l, c = limit(fresh(), 1), counter()
  local first = jobrun.ffmpeg.start(counted(c, { limit = l }))
  lu.assertEquals(l.free, 0)
  local second = jobrun.ffmpeg.start(counted(c, { limit = l })) -- waits for the first one's end
  first:wait()
  second:wait()
  lu.assertEquals({ c.most, l.free }, { 1, 1 })
end

function test_the_limit_named_ffmpeg_holds_for_every_call_and_a_job_that_has_it()
  local l, c = limit("ffmpeg", 1), counter()
  in_parallel(3, function() jobrun.ffmpeg(counted(c)) end)
  lu.assertEquals(c.most, 1)
  l:with(function() jobrun.ffmpeg(counted(c)) end) -- inside a permit of its own
  c = counter()
  in_parallel(3, function() jobrun.ffmpeg(counted(c, { limit = false })) end)
  lu.assertEquals({ c.most, l.free }, { 3, 1 })
end

function test_a_call_that_fails_gives_its_permit_back()
  local l = limit(fresh(), 1)
  error_of(jobrun.ffmpeg, fake("exit 3", { limit = l }))
  error_of(jobrun.ffmpeg, fake("exit 3", { limit = l, input = "no-such-file" }))
  error_of(jobrun.ffmpeg, fake("exit 3", { limit = l, bin = "no-such-program" }))
  error_of(jobrun.timeout, 0.02, jobrun.ffmpeg, fake("wait", { limit = l }))
  lu.assertEquals(l.free, 1)
end

function test_a_limit_that_does_not_exist()
  local e = error_of(jobrun.ffmpeg, fake("exit 0", { limit = "nobody declared this" }))
  lu.assertEquals(e.kind, "usage")
end

function test_pipelines_under_a_limit()
  local l, c = limit(fresh(), 1), counter()
  in_parallel(3, function()
    local work = jobrun.stage.exec { "sh", "-c", "echo begin; sleep 0.02; echo end",
      check = true }
    jobrun.pipeline(work | jobrun.stage.exec { "cat", on_line = function(line)
      c[line == "begin" and "enter" or "leave"]()
    end }, { limit = l })
  end)
  lu.assertEquals({ c.most, l.free }, { 1, 1 })
end

-- ---- retry ----------------------------------------------------------------------------------------

-- A program that fails by `how` until it was run `n` times.
local function fails_until(n, how)
  local dir = testing.tmpdir()
  local program, tries = dir .. "/program", dir .. "/tries"
  helper.write(program, ("#!/bin/sh\necho x >>'%s'\n[ $(wc -l <'%s') -ge %d ] && exit 0\n%s\n"):format(tries, tries, n, how))
  os.execute("chmod +x '" .. program .. "'")
  return { bin = program, input = { raw = "-" }, output = { raw = "-", f = "null" } }, function()
    local _, count = helper.read(tries):gsub("x", "")
    return count
  end
end

local NETWORK = "echo '[error] Connection refused' >&2; exit 1"

function test_what_may_pass_is_tried_again()
  local opts, tries = fails_until(3, NETWORK)
  opts.retry = { n = 5, backoff = 0.001 }
  lu.assertTrue(jobrun.ffmpeg(opts).ok)
  lu.assertEquals(tries(), 3)
end

function test_n_counts_all_attempts()
  local opts, tries = fails_until(9, "kill -9 $$")
  opts.retry = { n = 2, backoff = 0.001 }
  lu.assertEquals(error_of(jobrun.ffmpeg, opts).kind, "signal")
  lu.assertEquals(tries(), 2)
end

function test_what_will_not_pass_is_not_tried_again()
  local opts, tries = fails_until(9, "echo '[error] Unknown encoder nosuch' >&2; exit 1")
  opts.retry = 3
  lu.assertEquals(error_of(jobrun.ffmpeg, opts).kind, "codec")
  lu.assertEquals(tries(), 1)
end

function test_a_started_run_is_tried_again_too()
  local opts, tries = fails_until(2, NETWORK)
  opts.retry = { n = 2, backoff = 0.001 }
  local h = jobrun.ffmpeg.start(opts)
  lu.assertTrue(h:wait().ok)
  lu.assertEquals(tries(), 2)
end

function test_the_waits_grow_up_to_a_limit()
  local retry = require "jobrun.retry"
  local policy = retry.check("x", { n = 9, backoff = "1s", factor = 3, max = "5s", jitter = false })
  lu.assertEquals({ retry.wait_before(policy, 2), retry.wait_before(policy, 3), retry.wait_before(policy, 4) }, { 1, 3, 5 })
  policy.jitter = 0.5
  for _ = 1, 100 do
    local wait = retry.wait_before(policy, 3)
    lu.assertTrue(wait >= 1.5 and wait <= 4.5)
  end
end

function test_bad_retries()
  for _, bad in ipairs { "3", { backoff = 1 }, { n = 0 }, { n = 2, backof = 1 }, { n = 2, jitter = 2 } } do
    lu.assertEquals(error_of(jobrun.ffmpeg, fake("exit 0", { retry = bad })).kind, "usage")
  end
end

-- ---- jobs -----------------------------------------------------------------------------------------

function test_jobs_that_share_a_limit()
  local name, c, ended = fresh(), counter(), 0
  for _ = 1, 4 do
    jobrun.after(0).limit(name, 2)(function(word, run)
      lu.assertEquals({ word, run.outcome }, { "argument", "going" })
      c.enter()
      sleep(0.005)
      c.leave()
      ended = ended + 1
    end, "argument")
  end
  testing.wait_for(function() return ended == 4 end)
  lu.assertEquals({ c.most, limit(name).free }, { 2, 2 })
end

function test_a_job_and_a_function_share_a_limit()
  local name, ran = fresh(), false
  local permit <close> = limit(name, 1):acquire()
  jobrun.after(0).limit(name, 1)(function() ran = true end)
  sleep(0.01)
  lu.assertFalse(ran)
  permit:release()
  testing.wait_for(function() return ran end)
end

function test_a_job_under_a_limit_with_another_n()
  local name = fresh()
  limit(name, 1)
  lu.assertStrContains(error_of(function() return jobrun.every(1).second.limit(name, 2) end).message, "is 1 already")
end
