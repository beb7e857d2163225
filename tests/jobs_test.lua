-- jobrun: --clock=virtual
-- Jobs: the grid, what a function gets, overlap, errors, events, and jobs seen together.
local lu = require "luaunit"
local jobrun = require "jobrun"
local core = require "jobrun.core.jobs"
local every, jobs, sleep, spawn = jobrun.every, jobrun.jobs, jobrun.sleep, jobrun.spawn
local helper = dofile "tests/jobs_helper.lua"
local since, recorder, assert_times = helper.since, helper.recorder, helper.assert_times
local usage_of, refuses = helper.usage_of, helper.refuses

local function nothing() end

local function on_close(fn)
  return setmetatable({}, { __close = fn })
end

-- ---- the grid ---------------------------------------------------------------------------------

function test_runs_every_second_from_the_declaration_on()
  local times, note = recorder()
  every(1).second(note)
  sleep(3.5)
  assert_times(times, { 1, 2, 3 })
end

function test_now_runs_at_once_and_then_on_the_grid()
  local times, note = recorder()
  sleep(0.25)
  every(1).second.now()(note)
  sleep(2.5)
  assert_times(times, { 0.25, 1.25, 2.25 })
end

function test_all_units_and_forms_of_intervals()
  local at = jobrun.now()
  local function first(job)
    return job.next_run - at
  end
  lu.assertEquals(first(every().second(nothing)), 1)
  lu.assertEquals(first(every(1).seconds(nothing)), 1)
  lu.assertEquals(first(every(2).seconds(nothing)), 2)
  lu.assertEquals(first(every(0.25).seconds(nothing)), 0.25)
  lu.assertEquals(first(every().minute(nothing)), 60)
  lu.assertEquals(first(every(1.5).minutes(nothing)), 90)
  lu.assertEquals(first(every().hour(nothing)), 3600)
  lu.assertEquals(first(every(3).hours(nothing)), 10800)
  lu.assertEquals(first(every().day(nothing)), 86400)
  lu.assertEquals(first(every(2).days(nothing)), 172800)
  lu.assertEquals(first(every().week(nothing)), 604800)
  lu.assertEquals(first(every(2).weeks(nothing)), 1209600)
  lu.assertEquals(first(every "1h30m"(nothing)), 5400)
  lu.assertEquals(first(every("250ms")(nothing)), 0.25)
end

function test_a_long_run_does_not_shift_the_grid()
  local times, note = recorder()
  every(1).second(function()
    note()
    sleep(0.7)
  end)
  sleep(4.5)
  assert_times(times, { 1, 2, 3, 4 })
end

function test_no_drift_over_a_million_runs()
  local n, wrong, first = 0, 0, nil
  local job = every(1).second.times(1000000)(function(run)
    n = n + 1
    first = first or run.due
    if run.due ~= first + (n - 1) or run.late ~= 0 then wrong = wrong + 1 end
  end)
  sleep(1000001)
  lu.assertEquals(n, 1000000)
  lu.assertEquals(wrong, 0)
  lu.assertEquals(job.runs, 1000000)
  lu.assertEquals(job.skips, 0)
  lu.assertEquals(job.missed, 0)
  lu.assertEquals(job.state, "done")
end

function test_an_odd_interval_does_not_drift_either()
  local n, last = 0, nil
  every(0.001).seconds(function(run)
    n = n + 1
    last = run.due
  end)
  local at = jobrun.now()
  sleep(100.0005)
  lu.assertEquals(n, 100000)
  lu.assertAlmostEquals(last - at, 100, 1e-6)
end

function test_jobs_due_at_one_instant_run_in_the_order_of_declaration()
  local seen = {}
  for i, period in ipairs { 3, 1, 6, 2 } do
    every(period).seconds(function() seen[#seen + 1] = i end)
  end
  sleep(5.5)
  seen = {}
  sleep(1)
  lu.assertEquals(seen, { 1, 2, 3, 4 })
end

-- ---- what the function gets -------------------------------------------------------------------

function test_the_function_gets_its_arguments_and_then_the_run()
  local got
  local job = every(1).second(function(...) got = table.pack(...) end, "a", nil, 3)
  sleep(1.5)
  lu.assertEquals(got.n, 4)
  lu.assertEquals({ got[1], got[2], got[3] }, { "a", nil, 3 })
  local run = got[4]
  lu.assertIs(run.job, job)
  lu.assertEquals(run.attempt, 1)
  lu.assertEquals(run.late, 0)
  lu.assertEquals(run.due, job.last_start)
  lu.assertEquals(run.outcome, "going")
  lu.assertEquals(math.type(run.id), "integer")
  lu.assertStrContains(tostring(run), "every 1 second jobs_test.lua:")
end

function test_run_registers_too_and_returns_the_job()
  local got
  local job = every(1).second.run(function(a) got = a end, 7)
  lu.assertEquals(job.state, "scheduled")
  sleep(1)
  sleep(0)
  lu.assertEquals(got, 7)
end

function test_runs_have_rising_ids()
  local ids = {}
  every(1).second(function(run) ids[#ids + 1] = run.id end)
  sleep(3.5)
  lu.assertEquals({ ids[2] - ids[1], ids[3] - ids[2] }, { 1, 1 })
end

function test_an_unknown_field_of_a_run_or_a_job_is_an_error()
  local message
  local job = every(1).second(function(run) message = usage_of(function() return run.lat end) end)
  sleep(1.5)
  lu.assertEquals(message, "a run has no field 'lat'")
  refuses(function() return job.nmae end, "a job has no field 'nmae'")
  refuses(function() job.name = "x" end, "the fields of a job cannot be set (name)")
  refuses(function() job.cancel() end,
    "bad argument #1: expected a job, got no value (a method is called with ':')")
end

-- ---- the end of a job -------------------------------------------------------------------------

function test_returning_cancel_ends_the_job()
  local n = 0
  local job = every(1).second(function()
    n = n + 1
    if n == 3 then return jobs.CANCEL end
  end)
  sleep(10)
  lu.assertEquals({ n, job.state, job.runs }, { 3, "done", 3 })
end

function test_a_run_may_cancel_its_own_job_and_goes_on()
  local ended = 0
  local job
  job = every(1).second(function()
    job:cancel()
    lu.assertEquals(job.state, "running")
    sleep(0.1)
    ended = ended + 1
  end)
  sleep(5)
  lu.assertEquals({ ended, job.state }, { 1, "cancelled" })
end

function test_a_handle_survives_its_job()
  local job = every(1).second.named("old").tag("t")(nothing)
  sleep(2.5)
  job:cancel()
  job:cancel()
  collectgarbage()
  lu.assertEquals({ job.name, job.tags, job.runs, job.state }, { "old", { "t" }, 2, "cancelled" })
  lu.assertNil(job.next_run)
  lu.assertStrContains(tostring(job), 'job "old" (cancelled)')
  refuses(function() job:run_now() end, 'run_now: job "old" is cancelled')
  refuses(function() job:resume() end, 'resume: job "old" is cancelled')
  refuses(function() job:pause() end, 'pause: job "old" is cancelled')
  local seen = job.runs
  sleep(3)
  lu.assertEquals(job.runs, seen)
end

function test_a_cancelled_job_lets_its_function_go()
  local weak = setmetatable({}, { __mode = "k" })
  local fn = function() return weak end
  weak[fn] = true
  local job = every(1).second(fn)
  job:cancel()
  job, fn = nil, nil -- luacheck: ignore
  collectgarbage()
  collectgarbage()
  lu.assertNil(next(weak))
end

function test_one_job_may_cancel_another_that_is_due_at_the_same_time()
  local ran = false
  local second
  every(1).second(function() second:cancel() end)
  second = every(1).second.now()(function() ran = true end)
  second:cancel()
  sleep(0.5)
  lu.assertFalse(ran)
end

function test_pause_and_resume_keep_the_grid()
  local times, note = recorder()
  local job = every(1).second(note)
  sleep(1.5)
  job:pause()
  lu.assertEquals({ job.state, job.next_run }, { "paused", nil })
  job:pause()
  sleep(2.2)
  job:resume()
  job:resume()
  lu.assertEquals(job.state, "scheduled")
  sleep(1.5)
  assert_times(times, { 1, 4, 5 })
  lu.assertEquals({ job.missed, job.skips }, { 0, 0 })
end

function test_a_pause_between_two_runs_takes_none_away()
  local times, note = recorder()
  local job = every(1).second(note)
  sleep(1.2)
  job:pause()
  sleep(0.5)
  job:resume()
  sleep(1.5)
  assert_times(times, { 1, 2, 3 })
end

function test_a_job_may_be_declared_paused()
  local times, note = recorder()
  local job = every(1).second.paused()(note)
  sleep(2.5)
  lu.assertEquals(job.state, "paused")
  job:resume()
  sleep(1)
  assert_times(times, { 3 })
end

function test_run_now_runs_beside_the_schedule()
  local times, note = recorder()
  local job = every(1).second(note)
  sleep(0.5)
  lu.assertTrue(job:run_now())
  sleep(1)
  assert_times(times, { 0.5, 1 })
  lu.assertEquals(job.runs, 2)
end

-- ---- overlap ----------------------------------------------------------------------------------

local function slow(seconds, times)
  return function()
    times[#times + 1] = since()
    sleep(seconds)
  end
end

function test_a_due_time_during_a_run_is_skipped_and_counted()
  local times = {}
  local job = every(1).second(slow(2.5, times))
  sleep(7.9)
  assert_times(times, { 1, 4, 7 })
  lu.assertEquals({ job.runs, job.skips, job.state }, { 3, 4, "running" })
  lu.assertFalse(job:run_now())
  jobs.clear()
  sleep(3)
end

function test_queue_keeps_one_run_waiting()
  local times = {}
  local job = every(1).second.overlap("queue")(slow(2.5, times))
  sleep(7)
  assert_times(times, { 1, 3.5, 6 })
  jobs.clear()
  lu.assertEquals({ job.runs, job.skips }, { 3, 3 })
  sleep(3)
  lu.assertEquals(job.runs, 3)
end

function test_a_queued_run_is_late_by_the_wait()
  local late = {}
  local job = every(1).second.overlap("queue").times(2)(function(run)
    late[#late + 1] = run.late
    sleep(1.75)
  end)
  sleep(6)
  lu.assertEquals(late, { 0, 0.75 })
  lu.assertEquals(job.state, "done")
end

function test_cancel_ends_the_old_run_and_starts_the_new_one()
  local started, cleaned = {}, 0
  local job = every(1).second.overlap("cancel")(function()
    local guard <close> = on_close(function() cleaned = cleaned + 1 end) -- luacheck: ignore
    started[#started + 1] = since()
    sleep(10)
  end)
  sleep(3.5)
  assert_times(started, { 1, 2, 3 })
  lu.assertEquals({ job.runs, job.fails, cleaned }, { 3, 0, 2 })
  job:cancel()
  sleep(11)
  lu.assertEquals(cleaned, 3)
end

function test_allow_runs_up_to_n_at_once()
  local going, most = 0, 0
  local job = every(1).second.overlap("allow", 2)(function()
    going = going + 1
    most = math.max(most, going)
    sleep(3.5)
    going = going - 1
  end)
  sleep(6.7)
  lu.assertEquals({ most, job.runs, job.skips }, { 2, 4, 2 })
  job:cancel()
  sleep(5)
  lu.assertEquals(going, 0)
end

function test_allow_without_a_number_has_no_limit()
  local going = 0
  local job = every(1).second.overlap("allow")(function()
    going = going + 1
    sleep(100)
  end)
  sleep(20.5)
  lu.assertEquals({ going, job.skips }, { 20, 0 })
  job:cancel()
  sleep(101)
end

-- ---- other policies ---------------------------------------------------------------------------

function test_from_end_counts_from_the_end_of_a_run()
  local times = {}
  every(1).second.from_end()(slow(0.5, times))
  sleep(5)
  assert_times(times, { 1, 2.5, 4 })
  jobs.clear()
  sleep(1)
end

function test_from_end_goes_on_after_an_error()
  local n = 0
  local job = every(1).second.from_end().now()(function()
    n = n + 1
    error "no"
  end)
  sleep(3.5)
  lu.assertEquals({ n, job.fails }, { 4, 4 })
end

function test_to_draws_each_interval()
  local times, note = recorder()
  every(1).to(3).seconds(note)
  sleep(200)
  local least, most, last = math.huge, 0, 0
  for _, t in ipairs(times) do
    least, most = math.min(least, t - last), math.max(most, t - last)
    last = t
  end
  lu.assertTrue(least >= 1 and least < 1.5)
  lu.assertTrue(most <= 3 and most > 2.5)
  lu.assertTrue(#times > 80 and #times < 125)
end

function test_jitter_stays_near_the_grid()
  local times, note = recorder()
  local job = every(10).seconds.jitter("2s")(note)
  sleep(1002)
  lu.assertEquals(#times, 100)
  local sum = 0
  for i, t in ipairs(times) do
    local offset = t - 10 * i
    lu.assertTrue(offset >= 0 and offset <= 2)
    sum = sum + offset
  end
  lu.assertTrue(sum / 100 > 0.7 and sum / 100 < 1.3)
  lu.assertEquals({ job.missed, job.skips }, { 0, 0 })
end

function test_stable_jitter_is_the_same_each_time()
  local times, note = recorder()
  every(10).seconds.jitter(5, { stable = true }).named("stable")(note)
  sleep(36)
  local offset = times[1] - 10
  lu.assertTrue(offset >= 0 and offset <= 5)
  assert_times(times, { 10 + offset, 20 + offset, 30 + offset })
end

function test_timeout_cancels_the_run_and_its_children()
  local ended = {}
  local job = every(10).seconds.timeout("2s")(function()
    spawn(function()
      local guard <close> = on_close(function() ended[#ended + 1] = since() end) -- luacheck: ignore
      sleep(100)
    end)
    sleep(100)
  end)
  sleep(25)
  assert_times(ended, { 12, 22 })
  lu.assertEquals({ job.runs, job.fails }, { 2, 2 })
  lu.assertEquals(core.runs(1)[1].outcome, "timeout")
end

function test_a_run_within_its_timeout_is_left_alone()
  local job = every(10).seconds.timeout(2)(function() sleep(1) end)
  sleep(45)
  lu.assertEquals({ job.runs, job.fails }, { 4, 0 })
end

-- ---- errors -----------------------------------------------------------------------------------

function test_an_error_in_one_job_does_not_touch_another_nor_the_schedule()
  local good, note = recorder()
  local bad = every(1).second(function() error "boom" end)
  every(1).second(note)
  sleep(3.5)
  assert_times(good, { 1, 2, 3 })
  lu.assertEquals({ bad.runs, bad.fails, bad.state }, { 3, 3, "scheduled" })
end

function test_a_failing_child_fails_its_run_alone()
  local job = every(1).second(function()
    spawn(function() error "child" end)
    sleep(5)
  end)
  sleep(2.5)
  lu.assertEquals({ job.runs, job.fails }, { 2, 2 })
end

function test_the_record_of_each_run_is_kept()
  local job = every(1).second.named("kept").times(2)(function()
    sleep(0.25)
    if since() > 2 then error "second" end
  end)
  sleep(4)
  local newest, older = core.runs()[1], core.runs()[2]
  lu.assertEquals({ newest.job, older.job }, { "kept", "kept" })
  lu.assertEquals({ newest.outcome, older.outcome }, { "error", "ok" })
  lu.assertEquals({ newest.attempt, newest.late }, { 1, 0 })
  lu.assertAlmostEquals(newest.ended - newest.started, 0.25, 1e-6)
  lu.assertEquals(newest.started, newest.due)
  lu.assertEquals(job.last_end, newest.ended)
end

-- ---- events -----------------------------------------------------------------------------------

function test_events_tell_what_happens_to_runs()
  local seen = {}
  local mine = {}
  local function note(event)
    jobs.on(event, function(run, ...)
      if mine[run.job] then seen[#seen + 1] = { event, run.outcome, ... } end
    end)
  end
  for _, event in ipairs { "start", "end", "error", "skip", "timeout", "late" } do note(event) end
  mine[every(1).second.times(1)(function() sleep(1.5) end)] = true
  sleep(4)
  lu.assertEquals(seen, { { "start", "going" }, { "end", "ok" } })

  seen = {}
  local job = every(1).second(function() sleep(1.5) end)
  mine[job] = true
  sleep(2.2)
  job:cancel()
  sleep(1)
  lu.assertEquals(seen, { { "start", "going" }, { "skip", "going", "overlap", 1 }, { "end", "ok" } })

  seen = {}
  local failure = { "an error value" }
  mine[every(1).second.times(1)(function() error(failure) end)] = true
  sleep(2)
  lu.assertEquals({ seen[1][1], seen[2][1], seen[3][1] }, { "start", "error", "end" })
  lu.assertIs(seen[2][3], failure)

  seen = {}
  mine[every(1).second.times(1).timeout(1)(function() sleep(5) end)] = true
  sleep(3)
  lu.assertEquals(seen, { { "start", "going" }, { "timeout", "timeout" }, { "end", "timeout" } })

  seen = {}
  mine[every(1).second.overlap("queue").times(2)(function() sleep(2.5) end)] = true
  sleep(7)
  local events = {}
  for i, what in ipairs(seen) do events[i] = what[1] end
  lu.assertEquals(events, { "start", "skip", "end", "start", "late", "end" })
end

function test_on_checks_the_event_and_the_function()
  refuses(function() jobs.on("strat", nothing) end,
    "jobs.on: unknown event \"strat\", did you mean 'start'?")
  refuses(function() jobs.on("start") end, "jobs.on: expected a function, got nil")
end

-- ---- jobs together ----------------------------------------------------------------------------

function test_list_and_clear_by_tag()
  local a = every(1).second.tag("x")(nothing)
  local b = every(2).seconds.tag("x").tag("y")(nothing)
  local c = every(3).seconds(nothing)
  lu.assertEquals(jobs.list(), { a, b, c })
  lu.assertEquals(jobs.list "x", { a, b })
  lu.assertEquals(jobs.list "none", {})
  lu.assertEquals({ a.tags, b.tags, c.tags }, { { "x" }, { "x", "y" }, {} })
  lu.assertEquals(jobs.clear "y", 1)
  lu.assertEquals(jobs.list(), { a, c })
  lu.assertEquals(jobs.clear(), 2)
  lu.assertEquals(jobs.list(), {})
  refuses(function() jobs.list(1) end, "jobs.list: expected a tag, got 1")
end

function test_next_run_and_idle()
  lu.assertNil(jobs.next_run())
  lu.assertNil(jobs.idle())
  local at = jobrun.now()
  every(30).seconds.tag("x")(nothing)
  every(20).seconds(nothing)
  lu.assertEquals(jobs.next_run() - at, 20)
  lu.assertEquals(jobs.next_run("x") - at, 30)
  lu.assertEquals(jobs.idle(), 20)
  sleep(5)
  lu.assertEquals(jobs.idle(), 15)
end

function test_times_of_the_last_run_are_epoch_seconds()
  local job = every(10).seconds(function() sleep(2) end)
  lu.assertNil(job.last_start)
  lu.assertNil(job.last_end)
  local at = jobrun.now()
  sleep(15)
  lu.assertEquals({ job.last_start - at, job.last_end - at, job.next_run - at }, { 10, 12, 20 })
end

function test_run_all_runs_everything_once_and_waits()
  local seen = {}
  every(1).hour(function()
    sleep(2)
    seen[#seen + 1] = "slow"
  end)
  every(1).hour(function() seen[#seen + 1] = "quick" end)
  every(1).hour.paused()(function() seen[#seen + 1] = "paused" end)
  every(1).hour(function() error "fails" end)
  local ended, failed = jobs.run_all()
  lu.assertEquals({ ended, failed }, { 3, 1 })
  lu.assertEquals(seen, { "quick", "slow" })
  lu.assertAlmostEquals(since(), 2, 1e-6)
  lu.assertEquals(jobs.list()[1].next_run - jobrun.now(), 3598)
end

function test_run_all_with_tag_and_delay()
  local times, note = recorder()
  for _ = 1, 3 do every(1).hour.tag("x")(note) end
  every(1).hour(note)
  lu.assertEquals(jobs.run_all { tag = "x", delay = "500ms" }, 3)
  assert_times(times, { 0, 0.5, 1 })
  refuses(function() jobs.run_all { dealy = 1 } end,
    "jobs.run_all: unknown option \"dealy\", did you mean 'delay'?")
end

function test_run_all_waits_for_a_run_that_is_going()
  local times = {}
  local job = every(10).seconds(slow(5, times))
  sleep(11)
  lu.assertEquals(jobs.run_all(), 1)
  lu.assertAlmostEquals(since(), 15, 1e-6)
  lu.assertEquals({ job.runs, job.skips }, { 1, 0 })
end

function test_run_all_inside_a_run_does_not_wait_for_that_run()
  local ended, others = nil, 0
  every(1).second.times(1)(function()
    jobrun.scope(function() ended = jobs.run_all() end)
  end)
  every(1).hour(function() others = others + 1 end)
  sleep(3)
  lu.assertEquals({ ended, others }, { 1, 1 })
end

function test_run_all_without_jobs_returns_at_once()
  lu.assertEquals({ jobs.run_all() }, { 0, 0 })
end

function test_run_all_may_be_cancelled()
  every(1).hour(function() sleep(50) end)
  local ok, e = pcall(jobrun.timeout, 1, jobs.run_all)
  lu.assertFalse(ok)
  lu.assertEquals(e.kind, "timeout")
  sleep(60)
end

-- ---- whole scripts ----------------------------------------------------------------------------

local jobrun_path

-- Runs a script under the virtual clock: what it wrote to both outputs, and its exit status.
local function script(code)
  if not jobrun_path then
    local pipe = io.popen "readlink /proc/$PPID/exe"
    jobrun_path = pipe:read "l"
    pipe:close()
  end
  local path = require("jobrun.testing").tmpdir() .. "/script.lua"
  local file = assert(io.open(path, "w"))
  file:write(code)
  file:close()
  local pipe = io.popen(("'%s' --clock=virtual --log-format=text '%s' 2>&1"):format(jobrun_path, path))
  local text = pipe:read "a"
  local _, _, status = pipe:close()
  return text, status
end

local function count(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

function test_a_script_lives_as_long_as_it_has_active_jobs()
  local text, status = script [[
    every(1).second.times(3)(function() print "tick" end)
    every(1).hour.paused()(function() print "never" end)
  ]]
  lu.assertEquals({ text, status }, { "tick\ntick\ntick\n", 0 })
end

function test_an_error_is_logged_once_with_traceback_and_name()
  local text, status = script [[
    local function deep() error "kaput" end
    every(1).second.named("bad").times(1)(function()
      deep()
    end)
    every(2).seconds.times(1)(function() print "goes on" end)
  ]]
  lu.assertEquals(status, 0)
  lu.assertEquals(count(text, "kaput"), 1)
  lu.assertStrContains(text, 'job "bad": run 1 failed: ')
  lu.assertStrMatches(text, ".*script.lua:1: kaput\nstack traceback:.*script.lua:3: in.*")
  lu.assertStrContains(text, "goes on")
end

function test_skipped_runs_are_logged_with_the_reason()
  local text = script [[
    local job = every(1).second.named("slow")(function() sleep(2.5) return jobs.CANCEL end)
  ]]
  lu.assertStrContains(text, 'job "slow": skipped: run 1 is still going after 1s (1 in all)')
  lu.assertStrContains(text, 'job "slow": skipped: run 1 is still going after 2s (2 in all)')
end

function test_lines_about_skipped_runs_are_at_most_two_a_second()
  local text = script [[every(0.001).seconds(function() sleep(2) return jobs.CANCEL end)]]
  lu.assertEquals(count(text, "skipped: run"), 4)
  lu.assertStrContains(text, "(1501 in all)")
end

function test_a_builder_without_a_function_ends_the_script()
  local text, status = script [[every(1).second(print)

  every(2).seconds.tag("x")
  every(3).days.named("y")
  ]]
  lu.assertEquals(status, 2)
  lu.assertStrContains(text,
    "script.lua:3: every(2).seconds was never given a function: write every(2).seconds(fn)")
  lu.assertEquals(count(text, "never given"), 1)
end

function test_a_kept_builder_without_a_function_is_found_when_the_script_first_waits()
  local text, status = script "keep = every(1)\nsleep(10)\nprint 'too far'\n"
  lu.assertEquals(status, 2)
  lu.assertStrContains(text, "script.lua:1: every(1) was never given a function: write every(1).seconds(fn)")
  lu.assertNotStrContains(text, "too far")
end

function test_a_late_builder_without_a_function_is_warned_about()
  local text, status = script "sleep(1)\nlocal b = every(1).second\nb = nil\ncollectgarbage()\n"
  lu.assertEquals(status, 0)
  lu.assertStrContains(text, "script.lua:2: every(1).second was never given a function")
end

function test_wrong_words_end_the_script_with_their_line()
  for code, message in pairs {
    ["\nevery(1).secnd(print)"] = "script.lua:2: every(1): unknown word \"secnd\", did you mean 'second'?",
    ["\n\nevery(0).seconds(print)"] = "script.lua:3: every(0): expected more than 0",
    ["every(2).second(print)"] = "script.lua:1: every(2).second: Use seconds instead of second",
  } do
    local text, status = script(code)
    lu.assertEquals(status, 2)
    lu.assertStrContains(text, message)
  end
end

function test_run_all_works_inside_a_stop_hook_and_nothing_else_starts()
  local text, status = script [[
    io.stdout:setvbuf "no"
    every(1).second(function() print "tick" end)
    every(1).hour.named("last")(function() sleep(2) print "flushed" end)
    on.stop(function(why)
      print(why, #jobs.list())
      print(jobs.run_all())
      print(pcall(every(1).second.now(), print))
    end)
    sleep(2.5)
    os.execute "kill -TERM $PPID"
  ]]
  lu.assertEquals(status, 0)
  lu.assertEquals(text:match "signal.*", "signal\t2\ntick\nflushed\n2\t0\n" .. text:match "true\t.*")
end

function test_the_log_of_a_run_has_its_job_and_number()
  local text = script [[
    every(1).second.named("talks").times(1)(function(run) run:log("%d of %s", 3, "x") end)
  ]]
  lu.assertStrContains(text, 'job "talks": run 1: 3 of x')
end

helper.prepare_tests()
