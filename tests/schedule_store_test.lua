-- Schedules across restarts: each "process" is a jobrun of its own, on the virtual clock, with the store of the one before.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"

local build = assert(os.getenv "JOBRUN_BUILD")

-- Runs a script from an instant on; its lines. status: 124 where the grace passes.
local function play(dir, from, code, status)
  local r = jobrun.exec { build .. "/jobrun", "--grace=1", "--clock=virtual=" .. from, "--store=sqlite:" .. dir .. "/store.db",
    "-e", code, check = false }
  lu.assertEquals(r.exit_code, status or 0, r.stderr)
  local lines = {}
  for line in r.stdout:gmatch "[^\n]+" do lines[#lines + 1] = line end
  return lines, r.stderr
end

local NIGHTLY <const> = [[
every().day.at("02:30", "UTC").named("nightly").times(%d)%s(function(run)
  print(os.date("!%%m-%%dT%%H:%%M", run.due // 1), os.date("!%%m-%%dT%%H:%%M", now() // 1))
end)
]]

function test_a_missed_time_of_the_calendar_is_caught_up_once_after_a_restart()
  local dir = testing.tmpdir()
  lu.assertEquals(play(dir, "2027-01-01T00:00:00Z", NIGHTLY:format(2, "")),
    { "01-01T02:30\t01-01T02:30", "01-02T02:30\t01-02T02:30" })
  -- down from the 2nd to the 6th: the newest missed time runs at once, then it goes on
  lu.assertEquals(play(dir, "2027-01-06T12:00:00Z", NIGHTLY:format(2, "")),
    { "01-06T02:30\t01-06T12:00", "01-07T02:30\t01-07T02:30" })
end

function test_without_a_missed_time_nothing_is_caught_up()
  local dir = testing.tmpdir()
  play(dir, "2027-01-01T00:00:00Z", NIGHTLY:format(1, ""))
  lu.assertEquals(play(dir, "2027-01-01T12:00:00Z", NIGHTLY:format(1, "")), { "01-02T02:30\t01-02T02:30" })
end

function test_all_or_none_may_be_caught_up()
  local dir = testing.tmpdir()
  play(dir, "2027-01-01T00:00:00Z", NIGHTLY:format(1, ""))
  lu.assertEquals(play(dir, "2027-01-04T12:00:00Z", NIGHTLY:format(3, '.catchup("all")')),
    { "01-02T02:30\t01-04T12:00", "01-03T02:30\t01-04T12:00", "01-04T02:30\t01-04T12:00" })
  lu.assertEquals(play(dir, "2027-01-08T12:00:00Z", NIGHTLY:format(1, '.catchup("none")')), { "01-09T02:30\t01-09T02:30" })
end

function test_what_never_ran_is_caught_up_too()
  local dir = testing.tmpdir()
  local code = NIGHTLY:format(1, "") .. "sleep(3600) os.exit(0)"
  lu.assertEquals(play(dir, "2027-01-01T18:00:00Z", code), {}) -- the time is always one when it is down
  lu.assertEquals(play(dir, "2027-01-02T18:00:00Z", code), { "01-02T02:30\t01-02T18:00" })
  lu.assertEquals(play(dir, "2027-01-03T18:00:00Z", code), { "01-03T02:30\t01-03T18:00" })
  local poll = [[
    every(6).hours.named("poll").catchup("all")(function(run) print(run.due % 86400 // 3600) end)
    sleep(60) os.exit(0)]]
  lu.assertEquals(play(dir, "2027-01-01T00:00:00Z", poll), {})
  lu.assertEquals(play(dir, "2027-01-01T13:00:00Z", poll), { "6.0", "12.0" })
  local at_start = [[every(6).hours.named("now").now()(function() print "now" end) sleep(60) os.exit(0)]]
  lu.assertEquals(play(dir, "2027-01-01T00:00:00Z", at_start), { "now" })
  lu.assertEquals(play(dir, "2027-01-01T01:00:00Z", at_start), { "now" })
end

function test_a_changed_declaration_begins_anew()
  local dir = testing.tmpdir()
  play(dir, "2027-01-01T00:00:00Z", NIGHTLY:format(1, ""))
  local other = NIGHTLY:gsub("02:30", "03:00")
  lu.assertEquals(play(dir, "2027-01-06T12:00:00Z", other:format(1, "")), { "01-07T03:00\t01-07T03:00" })
end

function test_an_interval_keeps_its_grid_and_catches_nothing_up()
  local dir = testing.tmpdir()
  local code = [[every(10).minutes.named("poll").times(2)(function() print(os.date("!%H:%M", now() // 1)) end)]]
  lu.assertEquals(play(dir, "2027-01-01T00:00:00Z", code), { "00:10", "00:20" })
  lu.assertEquals(play(dir, "2027-01-01T05:03:00Z", code), { "05:10", "05:20" })
end

-- The store hears of a declaration a moment after the grid began, clocks are slewed, instants are rounded to milliseconds.
function test_a_due_time_that_was_had_is_not_had_again_a_moment_later()
  local code = [[
    local job = every(2).seconds.times(2).catchup("all")%s(function(run) print(run.due %% 10 // 1) end)
    require("jobrun.core.jobs").restore(job, %d * 1000000, %d * 1000000, false)]]
  local start <const> = 1798761600000 -- 2027-01-01
  for _, case in ipairs { { "", 5, 2000 }, { "", 0, 2900 }, { "", 10, 1900 }, { ".jitter(0.9)", 5, 2800 } } do
    local script = code:format(case[1], start + case[2], start + case[3])
    lu.assertEquals(play(testing.tmpdir(), "2027-01-01T00:00:03Z", script), { "4.0", "6.0" }, script)
  end
end

function test_a_schedule_that_is_no_longer_declared_is_said_to_be_paused()
  local dir = testing.tmpdir()
  play(dir, "2027-01-01T00:00:00Z", NIGHTLY:format(1, ""))
  local _, log = play(dir, "2027-01-02T00:00:00Z", [[every(1).hour.named("other").times(1)(function() end)]])
  lu.assertStrContains(log, "nightly")
  lu.assertStrContains(log, "is not declared any more: paused")
  lu.assertEquals(play(dir, "2027-01-03T00:00:00Z", NIGHTLY:format(1, "")), { "01-02T02:30\t01-03T00:00" })
end

function test_a_paused_job_stays_paused_until_it_is_resumed()
  local dir = testing.tmpdir()
  local code = [[
    local job = every(1).hour.named("poll").times(3)(function() print(os.date("!%%H:%%M", now() // 1)) end)
    sleep(60)
    print(job.state)
    %s
    os.exit(0)]]
  lu.assertEquals(play(dir, "2027-01-01T00:00:00Z", code:format "sleep(3600) job:pause()"), { "scheduled", "01:00" })
  lu.assertEquals(play(dir, "2027-01-01T05:00:00Z", code:format ""), { "paused" })
  lu.assertEquals(play(dir, "2027-01-01T06:10:00Z", code:format "job:resume() sleep(3600)"), { "paused", "07:00" })
  lu.assertEquals(play(dir, "2027-01-01T08:10:00Z", code:format "sleep(3600)"), { "scheduled", "09:00" })
end

function test_what_the_script_declares_paused_is_the_scripts_matter()
  local dir = testing.tmpdir()
  local code = [[
    local job = every(1).hour.named("poll").times(1)%s(function() print "ran" end)
    sleep(60)
    print(job.state)
    sleep(3600)
    os.exit(0)]]
  lu.assertEquals(play(dir, "2027-01-01T00:00:00Z", code:format ".paused()"), { "paused" })
  lu.assertEquals(play(dir, "2027-01-01T05:00:00Z", code:format ""), { "scheduled", "ran" })
end

function test_runs_and_their_errors_are_rows()
  local dir = testing.tmpdir()
  play(dir, "2027-01-01T00:00:00Z", [[
    every(1).hour.named("flaky").times(1).retry{n = 2, backoff = 1}(function(run)
      if run.attempt == 1 then error("boom", 0) end
    end)]])
  local lines = play(dir, "2027-01-02T00:00:00Z", [[
    local store = require "jobrun.store"
    local core = require "jobrun.core.store"
    for _, r in ipairs(store.current():call(core.query, "runs", nil, 10)) do
      print(r.attempt, r.outcome, r.reason, r.error)
    end]])
  lu.assertEquals(lines, { "2\t1\t1\tnil", "1\t2\t0\tboom" })
end

function test_a_run_of_a_schedule_has_its_exit_its_log_and_what_its_programs_used()
  local dir = testing.tmpdir()
  play(dir, "2027-01-01T00:00:00Z", [[
    every(1).hour.named("flaky").times(1).retry{n = 2, backoff = 1}(function(run)
      run:log("attempt %d", run.attempt)
      local r = exec { "sh", "-c", "echo $JOBRUN_ATTEMPT $JOBRUN_FENCE" }
      run:log("%s", r.stdout:gsub("\n", ""))
      if run.attempt == 1 then exec { "sh", "-c", "exit 3" } end
    end)]])
  local lines = play(dir, "2027-01-02T00:00:00Z", [[
    local core = require "jobrun.core.store"
    for _, r in ipairs(require("jobrun.store").current():call(core.query, "runs", nil, 10)) do
      local used = r.cpu_ms ~= nil and r.maxrss_kb > 100
      print(r.attempt, r.exit_code, used, (r.tail:gsub("\n", "|")), fs.read(r.log_path) == r.tail)
    end]])
  lu.assertEquals(lines, { "2\tnil\ttrue\tattempt 2|2 2|\ttrue", "1\t3\ttrue\tattempt 1|1 1|\ttrue" })
end

function test_a_run_at_the_start_is_a_row_and_not_one_of_a_paused_job()
  local dir = testing.tmpdir()
  local code = [[
    local job = every(1).hour.named("poll").now()(function() print "ran" end)
    sleep(60)
    print(job.state)
    %s
    os.exit(0)]]
  lu.assertEquals(play(dir, "2027-01-01T00:00:00Z", code:format ""), { "ran", "scheduled" })
  lu.assertEquals(play(dir, "2027-01-01T05:00:00Z", code:format "job:pause() sleep(60)"), { "ran", "scheduled" })
  lu.assertEquals(play(dir, "2027-01-01T06:00:00Z", code:format ""), { "paused" })
  local lines = play(dir, "2027-01-02T00:00:00Z", [[
    print(#require("jobrun.store").current():call(require("jobrun.core.store").query, "runs", nil, 10))]])
  lu.assertEquals(lines, { "2" })
end

function test_a_clock_that_is_set_back_stops_no_interval()
  local dir = testing.tmpdir()
  lu.assertEquals(play(dir, "2027-01-01T12:00:00Z", [[
    local n = 0
    every(1).minutes.named("tick")(function() n = n + 1 end)
    sleep(600.5)
    require("jobrun.core.host").step(-7200 * 1000000000)
    sleep(600)
    print(n)
    os.exit(0)]]), { "20" })
end

function test_a_wrong_clock_at_one_start_does_not_stop_the_next()
  local dir = testing.tmpdir()
  local code = [[
    local n = 0
    every(1).minutes.named("tick")(function() n = n + 1 end)
    cron("* * * * *", { tz = "UTC", named = "line" }, function() n = n + 1 end)
    sleep(600.5)
    print(n)
    os.exit(0)]]
  lu.assertEquals(play(dir, "2030-01-01T12:00:00Z", code), { "20" })
  lu.assertEquals(play(dir, "2027-01-01T12:00:00Z", code), { "20" })
end

function test_the_history_of_a_schedule_is_kept_however_old()
  local dir = testing.tmpdir()
  play(dir, "2027-01-01T00:00:00Z", NIGHTLY:format(20, ""))
  lu.assertEquals(play(dir, "2027-02-01T00:00:00Z", [[
    queue.open("q"):handle(function() end)
    sleep(7200)
    print(#require("jobrun.store").current():call(require("jobrun.core.store").query, "runs", nil, 1000))
    os.exit(0)]]), { "20" })
end

function test_what_ended_long_ago_goes_without_a_queue_too()
  local dir = testing.tmpdir()
  play(dir, "2027-01-01T00:00:00Z", [[every(1).minutes.named("tick").times(600)(function() end)]])
  local lines = play(dir, "2027-01-02T00:00:00Z", [[
    print(require("jobrun.store").current():call(require("jobrun.core.store").query, "sizes")[1].jobs <= 160)]])
  lu.assertEquals(lines, { "true" })
end

function test_a_run_by_hand_says_so()
  local dir = testing.tmpdir()
  play(dir, "2027-01-01T00:00:00Z", [[
    local job = every(1).hour.named("poll").times(2)(function(run) sleep(0.01) end)
    sleep(60)
    job:run_now()]])
  local lines = play(dir, "2027-01-02T00:00:00Z", [[
    local core = require "jobrun.core.store"
    for _, r in ipairs(require("jobrun.store").current():call(core.query, "runs", nil, 10)) do print(r.reason) end]])
  lu.assertEquals(lines, { "0", "3" })
end

function test_a_run_over_its_time_limit_is_tried_again()
  local dir = testing.tmpdir()
  lu.assertEquals(play(dir, "2027-01-01T00:00:00Z", [[
    every(1).hour.named("slow").timeout(60).retry{n = 3, backoff = 1, jitter = false}.times(1)(function(run)
      print(run.attempt)
      sleep(120)
    end)]]), { "1", "2", "3" })
  lu.assertEquals(play(dir, "2027-01-01T01:10:00Z", [[
    local core = require "jobrun.core.store"
    for _, r in ipairs(require("jobrun.store").current():call(core.query, "runs", nil, 10)) do print(r.outcome) end]]),
    { "3", "3", "3" }) -- timeout
end

-- Runs of a job at 02:30 that began on the 1st and did not come to their end; what is left of it later.
local UNENDED <const> = [[
every().day.at("02:30", "UTC").named("nightly")%s(function(run)
  print(os.date("!%%dT%%H:%%M", now() // 1), run.attempt)
  %s
end)
sleep(%d) os.exit(0)]]

local function reasons(dir)
  return play(dir, "2027-01-09T00:00:00Z", [[
    local core = require "jobrun.core.store"
    local runs = require("jobrun.store").current():call(core.query, "runs", nil, 10)
    for i = #runs, 1, -1 do print(runs[i].reason, runs[i].outcome, runs[i].attempt) end]])
end

function test_a_run_that_the_stop_cut_off_starts_again()
  local dir = testing.tmpdir()
  lu.assertEquals(play(dir, "2027-01-01T00:00:00Z", UNENDED:format("", "sleep(7200)", 9060), 124), { "01T02:30\t1" })
  lu.assertEquals(play(dir, "2027-01-01T04:00:00Z", UNENDED:format("", "", 60)), { "01T04:00\t1" })
  lu.assertEquals(play(dir, "2027-01-01T05:00:00Z", UNENDED:format("", "", 60)), {}) -- once
  lu.assertEquals(reasons(dir), { "0\t7\t1", "5\t1\t1" }) -- first: released; released: ok
end

function test_retries_that_were_to_come_go_on_after_a_restart()
  local dir = testing.tmpdir()
  local retry = ".retry{n = 3, backoff = '1h', jitter = false}"
  lu.assertEquals(play(dir, "2027-01-01T00:00:00Z", UNENDED:format(retry, "error 'no'", 9060)), { "01T02:30\t1" })
  lu.assertEquals(play(dir, "2027-01-01T03:00:00Z", UNENDED:format(retry, "error 'no'", 60)), { "01T03:00\t2" })
  lu.assertEquals(play(dir, "2027-01-01T04:00:00Z", UNENDED:format(retry, "error 'no'", 60)), { "01T04:00\t3" })
  lu.assertEquals(play(dir, "2027-01-01T05:00:00Z", UNENDED:format(retry, "error 'no'", 60)), {}) -- it had three
  lu.assertEquals(reasons(dir), { "0\t2\t1", "1\t2\t2", "1\t2\t3" })
end

function test_a_lost_run_has_its_retries_and_a_later_time_comes_before_it()
  local kill <const> = "if run.attempt == 1 and not arg[1] then os.execute('kill -9 $PPID') sleep(9) end"
  local function lives(retry, ...)
    local dir, lines = testing.tmpdir(), {}
    for i, from in ipairs { "2027-01-01T00:00:00Z", ... } do
      local r = jobrun.exec { build .. "/jobrun", "--quiet", "--clock=virtual=" .. from,
        "--store=sqlite:" .. dir .. "/store.db", "-e", UNENDED:format(retry, kill, i == 1 and 9060 or 60),
        i > 1 and "ends" or nil, check = false }
      lines[#lines + 1] = r.stdout:gsub("\n", "")
    end
    return lines
  end
  lu.assertEquals(lives(".retry{n = 2}", "2027-01-01T04:00:00Z"), { "01T02:30\t1", "01T04:00\t2" })
  lu.assertEquals(lives("", "2027-01-01T04:00:00Z"), { "01T02:30\t1", "" }) -- that was its only attempt
  lu.assertEquals(lives(".retry{n = 2}", "2027-01-02T12:00:00Z", "2027-01-02T13:00:00Z"), { "01T02:30\t1", "02T12:00\t1", "" })
  lu.assertEquals(lives(".retry{n = 2}.catchup('none')", "2027-01-01T04:00:00Z"), { "01T02:30\t1", "" })
end

function test_a_run_that_starts_again_is_that_of_its_due_time()
  local dir = testing.tmpdir()
  play(dir, "2027-01-01T00:00:00Z", UNENDED:format("", "sleep(7200)", 9060), 124)
  local code = [[
    every().day.at("02:30", "UTC").named("nightly")(function(run)
      print(os.date("!%dT%H:%M", run.due // 1), run.by_hand, run.late, run.attempt)
    end)
    sleep(60) os.exit(0)]]
  lu.assertEquals(play(dir, "2027-01-01T04:30:00Z", code), { "01T02:30\tfalse\t7200.0\t1" })
end

function test_what_was_decided_about_a_run_that_did_not_end_holds()
  local function lives(first, between, modifiers)
    local dir = testing.tmpdir()
    play(dir, "2027-01-01T00:00:00Z", UNENDED:format(modifiers or "", first, 9060), first:find "sleep" and 124 or 0)
    if between then between(dir) end
    return play(dir, "2027-01-01T04:00:00Z", UNENDED:format(modifiers or "", "", 60))
  end
  local function command(dir, ...)
    return jobrun.exec { build .. "/jobrun", "--clock=virtual=2027-01-01T03:00:00Z",
      "--store=sqlite:" .. dir .. "/store.db", ... }
  end
  lu.assertEquals(#lives "sleep(7200)", 1)
  lu.assertEquals(lives("sleep(7200)", function(dir) -- it was cancelled
    local job = jobrun.exec { build .. "/jobrun", "jobs", "--json", "--store=sqlite:" .. dir .. "/store.db" }
    local id = jobrun.json.decode(job.stdout).id
    jobrun.exec { build .. "/jobrun", "cancel", id, "--store=sqlite:" .. dir .. "/store.db" }
  end), {})
  lu.assertEquals(lives("sleep(7200)", function(dir) -- somebody made up for it
    jobrun.fs.write(dir .. "/s.lua", UNENDED:format("", "", 60))
    command(dir, "run", dir .. "/s.lua", "nightly")
  end), {})
  lu.assertEquals(lives("sleep(7200)", nil, ".grace('1h')"), {}) -- too late
  lu.assertEquals(lives("error 'no'", nil, ".retry{n = 3, backoff = '25h', max = '2d'}"), {}) -- the next one is first
end

function test_each_of_many_runs_that_fail_is_tried_again_and_forgotten()
  local code = [[
    local again = 0
    cron("* * * * * *", { named = "often", overlap = "allow",
      retry = { n = 2, backoff = 150, max = 1000, jitter = false, cross = true } }, function(run)
      if run.attempt == 2 then again = again + 1 else error "first" end
    end)
    sleep(400)
    print(again)
    os.exit(0)]]
  lu.assertEquals(play(testing.tmpdir(), "2027-01-01T00:00:00Z", code), { "249" })
  local lines = play(testing.tmpdir(), "2027-01-01T00:00:00Z", [[
    for i = 1, 3 do every(1).second.named("s" .. i)(function(run) run:log(("x"):rep(1000)) end) end
    local function used()
      collectgarbage()
      return collectgarbage "count"
    end
    sleep(100)
    local before = used()
    sleep(1000)
    print(used() - before < 500)
    os.exit(0)]])
  lu.assertEquals(lines, { "true" })
end

function test_a_run_of_a_schedule_may_be_waited_for_and_is_in_no_queue()
  lu.assertEquals(play(testing.tmpdir(), "2027-01-01T00:00:00Z", [[
    every(1).hour.named("poll").times(1)(function() sleep(60) end)
    sleep(3610)
    local core = require "jobrun.core.store"
    local id = require("jobrun.store").current():call(core.query, "jobs", nil, nil, 10)[1].id
    print(pcall(queue.wait, id, 600))
    print(next(queue.stats()))]]), { "true", "nil" })
end

function test_queues_may_be_opened_before_jobs_are_declared()
  local dir = testing.tmpdir()
  local code = [[queue.open("q", { concurrency = 2 }):handle(function() end)
    on.start(function() print "start" end)
    ]] .. NIGHTLY:format(1, "") .. " jobs.on('end', function() os.exit(0) end)"
  lu.assertEquals(play(dir, "2027-01-01T00:00:00Z", code), { "start", "01-01T02:30\t01-01T02:30" })
  local lines, log = play(dir, "2027-01-06T12:00:00Z", code)
  lu.assertEquals(lines, { "start", "01-06T02:30\t01-06T12:00" })
  lu.assertNotStrContains(log, "is not declared any more")
end

function test_a_job_that_is_declared_late_goes_on_too()
  local dir = testing.tmpdir()
  play(dir, "2027-01-01T00:00:00Z", NIGHTLY:format(1, ""))
  lu.assertEquals(play(dir, "2027-01-06T12:00:00Z", "sleep(60) " .. NIGHTLY:format(1, "")), { "01-06T02:30\t01-06T12:01" })
end

function test_a_script_with_queues_may_be_looked_at()
  local dir = testing.tmpdir()
  jobrun.fs.write(dir .. "/s.lua", [[
    store "sqlite:nowhere/s.db"
    queue.open("q", { concurrency = 2 }):handle(function() end)
    every(1).hour.named("hourly")(function() end)]])
  lu.assertStrContains(jobrun.exec { build .. "/jobrun", "list", dir .. "/s.lua" }.stdout, "hourly")
end

function test_a_job_without_a_name_is_not_kept()
  local dir = testing.tmpdir()
  play(dir, "2027-01-01T00:00:00Z", [[every(1).hour.times(1)(function() end)]])
  lu.assertEquals(play(dir, "2027-01-02T00:00:00Z", [[
    print(#require("jobrun.store").current():call(require("jobrun.core.store").query, "jobs", nil, nil, 10))]]), { "0" })
end
