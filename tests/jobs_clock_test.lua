-- Jobs on the real clock: never early, nothing lost from the books, no wake-ups while nothing is due.
local lu = require "luaunit"
local jobrun = require "jobrun"
local wait_for = require("jobrun.testing").wait_for
local every, jobs, sleep, monotonic = jobrun.every, jobrun.jobs, jobrun.sleep, jobrun.monotonic

-- Computes for that long, so that nothing else can run.
local function hog(seconds)
  local till = monotonic() + seconds
  repeat until monotonic() >= till
end

function test_no_run_is_early_and_late_is_what_it_says()
  local early, wrong, n = 0, 0, 0
  local start = monotonic()
  local job = every(0.005).seconds(function(run)
    n = n + 1
    if run.late < 0 then early = early + 1 end
    local since = (monotonic() - start) % 0.005 -- lateness as seen from here, if under a period
    if run.late < 0.004 and since < 0.004 and since + 0.0005 < run.late then wrong = wrong + 1 end
  end)
  wait_for(function() return n >= 40 end)
  job:cancel()
  lu.assertEquals({ early, wrong }, { 0, 0 })
end

function test_due_times_lie_on_the_grid()
  local dues = {}
  local job = every(0.01).seconds(function(run) dues[#dues + 1] = run.due end)
  wait_for(function() return #dues >= 20 end)
  job:cancel()
  for i = 2, #dues do
    local steps = (dues[i] - dues[1]) / 0.01
    lu.assertAlmostEquals(steps, math.floor(steps + 0.5), 0.01)
  end
end

function test_missed_times_become_one_run_and_are_counted()
  local runs, last, skips = 0, nil, 0
  local start
  local job = every(0.01).seconds(function(run)
    runs = runs + 1
    last = run.due
  end)
  start = job.next_run - 0.01
  jobs.on("skip", function(run, reason, count)
    if run.job == job and reason == "missed" then skips = skips + count end
  end)
  wait_for(function() return runs >= 2 end)
  local before, missed = runs, job.missed
  hog(0.2)
  wait_for(function() return runs > before end)
  job:cancel()
  lu.assertTrue(job.missed - missed >= 18)
  lu.assertEquals(math.floor((last - start) / 0.01 + 0.5), runs + job.missed)
  sleep(0)
  lu.assertEquals(skips, job.missed)
end

function test_a_job_that_is_not_due_wakes_nobody()
  local host = require "jobrun.core.host"
  local job = every(1).hour(function() end)
  sleep(0.01)
  local before = host.stats().resumed
  sleep(0.1)
  lu.assertTrue(host.stats().resumed - before <= 2)
  job:cancel()
end

function test_a_hanging_run_does_not_hold_up_another_job()
  local n = 0
  local event = jobrun.spawn(function() sleep(30) end)
  local hanging = every(0.005).seconds(function() pcall(event.await, event) end)
  local busy = every(0.005).seconds(function() n = n + 1 end)
  wait_for(function() return n >= 20 end)
  lu.assertEquals(hanging.runs, 1)
  lu.assertTrue(hanging.skips + hanging.missed >= 15)
  jobs.clear()
  event:cancel()
  wait_for(function() return hanging.state == "cancelled" end)
  lu.assertEquals(busy.fails, 0)
end
