-- jobrun: --clock=virtual
-- Jobs of the calendar: words used right and wrong, zones and their changes, clocks that are set.
local lu = require "luaunit"
local jobrun = require "jobrun"
local clock, cron, every, jobs, once, sleep = jobrun.clock, jobrun.cron, jobrun.every, jobrun.jobs, jobrun.once, jobrun.sleep
local helper = dofile "tests/jobs_helper.lua"
local refuses, usage_of = helper.refuses, helper.usage_of

local function nothing() end

local function iso(seconds)
  return seconds and os.date("!%m-%d %H:%M", math.floor(seconds + 0.5))
end

-- The first n due times of a job that is declared at `from`, as "MM-DD HH:MM" of UTC.
local function due_times(n, from, declare)
  clock.set(from)
  local times = {}
  local job = declare(function(run) times[#times + 1] = iso(run.due) end)
  for _ = 1, n do sleep(math.max(0, job.next_run - jobrun.now())) sleep(0) end
  job:cancel()
  return table.concat(times, ", ")
end

local function next_of(from, declare)
  clock.set(from)
  local job = declare(nothing)
  local next_run = job.next_run
  job:cancel()
  return os.date("!%Y-%m-%d %H:%M:%S", math.floor(next_run + 0.5))
end

-- ---- zones and their changes: SCHEDULE's table ---------------------------------------------------

local CHANGES = {
  gap_is_moved_to_its_end = { "30 2 * * *", "Europe/Berlin", "2025-03-29T12:00:00Z", "03-30 01:00, 03-31 00:30, 04-01 00:30" },
  overlap_runs_once = { "30 2 * * *", "Europe/Berlin", "2025-10-25T12:00:00Z", "10-26 00:30, 10-27 01:30" },
  wildcards_pass_over_a_gap = { "*/30 * * * *", "Europe/Berlin", "2025-03-30T00:20:00Z",
    "03-30 00:30, 03-30 01:00, 03-30 01:30" },
  wildcards_run_in_both_passes = { "*/30 * * * *", "Europe/Berlin", "2025-10-26T00:20:00Z",
    "10-26 00:30, 10-26 01:00, 10-26 01:30, 10-26 02:00" },
  wildcard_in_the_gap_is_skipped = { "*/15 2 * * *", "Europe/Berlin", "2025-03-30T00:20:00Z", "03-31 00:00" },
  wildcard_in_the_overlap_is_doubled = { "*/15 2 * * *", "Europe/Berlin", "2025-10-26T00:20:00Z",
    "10-26 00:30, 10-26 00:45, 10-26 01:00, 10-26 01:15, 10-26 01:30, 10-26 01:45" },
  two_items_around_a_gap = { "30 1,2 * * *", "America/New_York", "2025-03-09T05:00:00Z",
    "03-09 06:30, 03-09 07:00, 03-10 05:30" },
  midnight_gap = { "0 0 * * *", "America/Santiago", "2024-09-07T12:00:00Z", "09-08 04:00, 09-09 03:00" },
  midnight_twice = { "0 0 * * *", "Atlantic/Azores", "2025-10-25T12:00:00Z", "10-26 00:00, 10-27 01:00" },
  half_an_hour = { "15 2 * * *", "Australia/Lord_Howe", "2025-10-04T12:00:00Z", "10-04 15:30, 10-05 15:15" },
  two_hours = { "0 0 1 * *", "Antarctica/Troll", "2019-03-30T00:00:00Z", "03-31 22:00, 04-30 22:00" },
  a_day_that_does_not_exist = { "0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", "12-29 22:00, 12-30 22:00" },
}
for name, case in pairs(CHANGES) do
  _G["test_" .. name] = function()
    local line, zone, from, expected = table.unpack(case)
    local _, commas = expected:gsub(",", "")
    lu.assertEquals(due_times(commas + 1, from, function(fn) return cron(line, { tz = zone }, fn) end), expected)
  end
end

function test_instants_beyond_our_clocks_are_refused()
  for _, word in ipairs { 'once("9999-12-31", "UTC", print)', 'every(1).day.till("2262-05-01")(print)',
    'every(1).day.from("9999-01-01")(print)' } do
    local ok, e = pcall(load("local every, once = require('jobrun').every, require('jobrun').once " .. word))
    lu.assertFalse(ok)
    lu.assertStrContains(tostring(e), "expected a time between 1970 and 2262")
  end
end

function test_at_jobs_are_fixed_times()
  local function declare(fn) return every().day.at("02:30", "Europe/Berlin")(fn) end
  lu.assertEquals(due_times(3, "2025-03-29T12:00:00Z", declare), "03-30 01:00, 03-31 00:30, 04-01 00:30")
  lu.assertEquals(due_times(2, "2025-10-25T12:00:00Z", declare), "10-26 00:30, 10-27 01:30")
end

function test_dst_can_be_said()
  local function declare(gap, overlap)
    return function(fn) return every().day.at("02:30").tz("Europe/Berlin").dst { gap = gap, overlap = overlap }(fn) end
  end
  lu.assertEquals(due_times(1, "2025-03-29T12:00:00Z", declare("shift")), "03-30 01:30")
  lu.assertEquals(due_times(1, "2025-03-29T12:00:00Z", declare("skip")), "03-31 00:30")
  lu.assertEquals(due_times(2, "2025-10-25T12:00:00Z", declare(nil, "both")), "10-26 00:30, 10-26 01:30")
  lu.assertEquals(due_times(1, "2025-10-25T12:00:00Z", declare(nil, "second")), "10-26 01:30")
end

function test_days_follow_the_wall_clock_and_hours_the_real_time()
  local function day(fn) return every().day.tz("Europe/Berlin")(fn) end
  lu.assertEquals(due_times(2, "2025-03-29T12:00:00Z", day), "03-30 11:00, 03-31 11:00")
  lu.assertEquals(due_times(2, "2025-03-29T12:00:00Z", function(fn) return every(24).hours(fn) end),
    "03-30 12:00, 03-31 12:00")
end

-- ---- the words, used right -----------------------------------------------------------------------

local FROM = "2026-11-26T09:00:00Z" -- a Thursday
local NEXT = {
  { "2026-11-27 09:00:00", function(fn) return every().day(fn) end },
  { "2026-11-26 10:30:00", function(fn) return every().day.at("10:30")(fn) end },
  { "2026-11-27 08:30:00", function(fn) return every().day.at("08:30")(fn) end },
  { "2026-11-28 10:30:00", function(fn) return every(2).days.at("10:30")(fn) end },
  { "2026-11-26 09:30:00", function(fn) return every().day.at("10:30", "Europe/Amsterdam")(fn) end },
  { "2026-11-26 17:00:00", function(fn) return every().day.at("08:00", "17:00")(fn) end },
  { "2026-11-30 09:00:00", function(fn) return every().monday(fn) end },
  { "2026-12-03 08:00:00", function(fn) return every().thursday.at("08:00")(fn) end },
  { "2026-11-30 09:00:00", function(fn) return every(2).monday(fn) end },
  { "2026-12-03 09:00:00", function(fn) return every().week(fn) end },
  { "2026-12-10 09:00:00", function(fn) return every(2).weeks(fn) end },
  { "2026-11-27 09:00:00", function(fn) return every().weekday(fn) end },
  { "2026-11-28 09:00:00", function(fn) return every().weekend(fn) end },
  { "2026-11-27 12:00:00", function(fn) return every().on("mon", "Friday").at("12:00")(fn) end },
  { "2026-12-26 09:00:00", function(fn) return every().month(fn) end },
  { "2026-11-30 00:00:00", function(fn) return every().month.day_of_month("last").at("00:00")(fn) end },
  { "2026-12-15 00:00:00", function(fn) return every().day_of_month(15).at("00:00")(fn) end },
  { "2027-11-26 09:00:00", function(fn) return every().year(fn) end },
  { "2026-11-26 09:30:00", function(fn) return every().hour.at(":30")(fn) end },
  { "2026-11-26 11:30:00", function(fn) return every(2).hours.at(":30")(fn) end },
  { "2026-11-26 09:00:15", function(fn) return every().minute.at(":15")(fn) end },
  { "2026-11-26 09:05:00", function(fn) return cron("*/5 * * * *", fn) end },
  { "2026-11-26 09:00:10", function(fn) return cron("*/10 * * * * *", fn) end },
  { "2026-11-26 10:00:00", function(fn) return cron("@hourly")(fn) end },
  { "2026-11-26 10:30:00", function(fn) return cron("@every 1h30m", fn) end },
  { "2026-11-27 01:30:00", function(fn) return cron("CRON_TZ=Europe/Berlin 30 2 * * *", fn) end },
  { "2026-12-24 17:00:00", function(fn) return once("2026-12-24 18:00", "Europe/Berlin", fn) end },
  { "2026-11-27 08:00:00", function(fn) return once("08:00", fn) end },
  { "2026-11-26 09:05:00", function(fn) return every(5).minutes.between("09:00", "18:00")(fn) end },
  { "2026-11-26 18:00:00", function(fn) return every(1).hour.between("18:00", "06:00")(fn) end },
  { "2026-12-01 00:00:00", function(fn) return every(1).hour.from("2026-12-01")(fn) end },
  { "2026-12-01 09:00:00", function(fn) return every(2).days.from("2026-12-01 09:00")(fn) end },
}
for i, case in ipairs(NEXT) do
  _G[("test_next_%02d"):format(i)] = function() lu.assertEquals(next_of(FROM, case[2]), case[1]) end
end

function test_months_from_the_31st_come_back_to_it()
  lu.assertEquals(due_times(3, "2027-01-31T06:00:00Z", function(fn) return every().month(fn) end),
    "02-28 06:00, 03-31 06:00, 04-30 06:00")
  lu.assertEquals(due_times(2, "2027-01-31T06:00:00Z", function(fn) return every().month.day_of_month(31)(fn) end),
    "03-31 06:00, 05-31 06:00")
end

function test_every_second_monday()
  lu.assertEquals(due_times(3, FROM, function(fn) return every(2).monday.at("08:00")(fn) end),
    "11-30 08:00, 12-14 08:00, 12-28 08:00")
end

function test_between_on_each_day()
  lu.assertEquals(due_times(4, "2026-11-26T16:30:00Z", function(fn) return every(1).hour.between("09:00", "18:00")(fn) end),
    "11-26 17:30, 11-27 09:30, 11-27 10:30, 11-27 11:30")
end

function test_till_ends_the_job()
  clock.set(FROM)
  local runs = 0
  local job = every(10).minutes.till("09:35")(function() runs = runs + 1 end)
  sleep(7200)
  lu.assertEquals({ runs, job.state, job.next_run }, { 3, "done", nil })
  job = every().day.at("10:00").till("2026-11-28 12:00")(nothing)
  sleep(86400 * 5)
  lu.assertEquals({ job.runs, job.state }, { 2, "done" })
end

function test_options_of_cron_are_the_modifiers()
  local job = cron("30 2 * * *", { tz = "Europe/Berlin", named = "nightly", tag = { "a", "b" }, times = 2,
    retry = { n = 3 }, timeout = "1h", overlap = { "allow", 2 }, paused = true }, nothing)
  lu.assertEquals({ job.name, job.tags, job.state }, { "nightly", { "a", "b" }, "paused" })
  job:cancel()
end

function test_names_tell_the_rule()
  local line = debug.getinfo(1, "l").currentline
  local names = {
    cron("0 0 * * *", nothing).name,
    every().monday.at("09:00")(nothing).name,
    every(2).weeks.on("sun", "mon")(nothing).name,
  }
  for i, text in ipairs { 'cron "0 0 * * *"', "every monday at 09:00", "every 2 weeks on mon, sun" } do
    lu.assertEquals(names[i], ("%s calendar_test.lua:%d"):format(text, line + 1 + i))
  end
  local twice = {}
  for i = 1, 2 do twice[i] = cron("0 0 1 1 *", nothing).name end
  lu.assertEquals(twice[2], twice[1] .. " #2")
end

function test_h_spreads_by_name()
  refuses(function() cron("H H * * *", nothing) end,
    'cron("H H * * *"): minute "H": "H" needs the job to have a name (column 1)')
end

-- ---- used wrong: each fails at its line when it is declared --------------------------------------

local WRONG = {
  { function() every().day.at("25:00")(nothing) end, 'every(1).day.at: expected "HH:MM" or "HH:MM:SS", got "25:00"' },
  { function() every().hour.at("10:30:00")(nothing) end, "every(1).hour.at: expected" },
  { function() every(5).seconds.at(":15")(nothing) end, "every(5).seconds.at: seconds have no time in them" },
  { function() every().week.at("10:00")(nothing) end, "on which day of the week?" },
  { function() every().day.at("10:30", "Europe/Berln")(nothing) end, 'there is no zone "Europe/Berln"' },
  { function() every().day.at(10)(nothing) end, ".at: expected a time as a text, got 10" },
  { function() every().day.at()(nothing) end, ".at: expected a time" },
  { function() every().day.tz("../etc/passwd")(nothing) end, "is not the name of a zone" },
  { function() every(2).month(nothing) end, "Use months instead of month" },
  { function() every(2).weekday(nothing) end, "there is every().weekday only" },
  { function() every().monday.day(nothing) end, 'a second unit, "day"' },
  { function() every(1.5).months(nothing) end, "counted in whole numbers, got 1.5" },
  { function() every().on("noday")(nothing) end, '.on: unknown day "noday"' },
  { function() every().day.on("mon")(nothing) end, ".on: only of weeks" },
  { function() every().day_of_month(32)(nothing) end, '.day_of_month: expected 1 to 31 or "last", got 32' },
  { function() every().monday.to(3)(nothing) end, ".to: only of intervals" },
  { function() every().monday.from_end()(nothing) end, ".from_end: only of intervals" },
  { function() every(5).minutes.tz("UTC")(nothing) end, "an interval goes by elapsed time and has no zone" },
  { function() every(5).minutes.dst { gap = "end" }(nothing) end, ".dst: an interval goes by elapsed time" },
  { function() every().day.dst { gap = "middle" }(nothing) end, '.dst: gap: expected "end", "shift" or "skip"' },
  { function() every(5).minutes.between("09:00")(nothing) end, ".between: expected two times" },
  { function() every(5).minutes.between("09:00", "09:00")(nothing) end, ".between: both ends are 09:00" },
  { function() every().day.till("2020-01-01")(nothing) end, '.till: "2020-01-01" is past already' },
  { function() every().day.till("soon")(nothing) end, ".till: expected" },
  { function() every().day.till("1h")(nothing) end, "would never run" },
  { function() every().day.from("2027-01-02").till("2027-01-01")(nothing) end, "is before .from" },
  { function() every().day.grace("x")(nothing) end, ".grace: " },
  { function() every().day.catchup("some")(nothing) end, '.catchup: expected "none", "once" or "all", got "some"' },
  { function() every().day.catchup("once", { max = 1 })(nothing) end, 'only "all" takes options' },
  { function() every().day.retry {}(nothing) end, ".retry: n, the attempts in all" },
  { function() every().day.retry { n = 3, times = 2 }(nothing) end, "retry: unknown option" },
  { function() every().day.retry { n = 3, factor = 0.5 }(nothing) end, ".retry: factor: expected at least 1" },
  { function() every().day.at("10:00").jitter("25h")(nothing) end, ".jitter: expected less than the interval" },
  { function() every().day.fortnight(nothing) end, 'unknown word "fortnight"' },
  { function() cron(5, nothing) end, "cron(5): expected a cron line" },
  { function() cron("* * * *", nothing) end, 'cron("* * * *"): ' },
  { function() cron("61 * * * *", nothing) end, "61 is outside 0-59 (column 1)" },
  { function() cron("0 0 31 2 *", nothing) end, "cron(" },
  { function() cron("0 0 * * Monday", nothing) end, "did you mean \"mon\"" },
  { function() cron("CRON_TZ=No/Where 0 0 * * *", nothing) end, 'there is no zone "No/Where"' },
  { function() cron("CRON_TZ=UTC 0 0 * * *", { tz = "UTC" }, nothing) end, "names the zone UTC already" },
  { function() cron("0 0 * * *", { zone = "UTC" }, nothing) end, 'unknown option "zone"' },
  { function() cron("0 0 * * *", "UTC", nothing) end, "expected options or a function behind the line" },
  { function() cron("0 0 * * *").at("10:00")(nothing) end, ".at: the line says when" },
  { function() once("2020-01-01 00:00", nothing) end, "is past already" },
  { function() once("tomorrow", nothing) end, 'once("tomorrow").once: expected' },
  { function() once("2027-01-01").now()(nothing) end, "runs once: .now is only for every" },
  { function() once("2027-01-01", "Nowhere", nothing) end, 'there is no zone "Nowhere"' },
}
for i, case in ipairs(WRONG) do
  _G[("test_wrong_%02d"):format(i)] = function()
    clock.set(FROM)
    lu.assertStrContains((usage_of(case[1])), case[2])
    lu.assertEquals(jobs.list(), {})
  end
end

-- ---- lateness --------------------------------------------------------------------------------

function test_a_machine_that_slept_runs_each_job_once()
  clock.set(FROM)
  local late
  local job = every().day.at("10:00")(function(run) late = run.late end)
  clock.travel "50h"
  lu.assertEquals({ job.runs, job.missed }, { 1, 2 })
  lu.assertAlmostEquals(late, 3600, 1)
end

function test_grace()
  clock.set(FROM)
  local reasons = {}
  jobs.on("skip", function(_, reason, n) reasons[#reasons + 1] = reason .. n end)
  local job = every().day.at("10:00").grace("5m")(nothing)
  clock.travel(3600 + 299)
  lu.assertEquals({ job.runs, job.missed }, { 1, 0 })
  clock.travel(86400 + 2)
  lu.assertEquals({ job.runs, job.missed }, { 1, 1 })
  sleep(0)
  lu.assertEquals(reasons, { "late1" })
end

function test_catchup_none_and_all()
  clock.set(FROM)
  local due = {}
  local none = every().hour.at(":00").catchup("none")(nothing)
  local all = every().hour.at(":00").catchup("all")(function(run) due[#due + 1] = iso(run.due) end)
  local two = every(1).hour.catchup("all", { max = 2 })(nothing)
  local window = every(1).hour.catchup("all", { window = "90m" })(nothing)
  clock.travel "4h30m"
  sleep(1)
  lu.assertEquals(due, { "11-26 10:00", "11-26 11:00", "11-26 12:00", "11-26 13:00" })
  lu.assertEquals({ none.runs, none.missed }, { 0, 4 })
  lu.assertEquals({ all.runs, all.missed }, { 4, 0 })
  lu.assertEquals({ two.runs, two.missed }, { 2, 2 })
  lu.assertEquals({ window.runs, window.missed }, { 2, 2 })
end

function test_catching_up_goes_one_after_another()
  clock.set(FROM)
  local going, most = 0, 0
  local job = every(1).hour.catchup("all")(function()
    going = going + 1
    most = math.max(most, going)
    sleep(10)
    going = going - 1
  end)
  clock.travel "3h1m"
  sleep(60)
  lu.assertEquals({ job.runs, most, job.skips }, { 3, 1, 0 })
end

-- ---- the clock is set ----------------------------------------------------------------------------

function test_a_clock_set_back_repeats_no_fixed_time()
  clock.set(FROM)
  local job = every().day.at("10:00")(nothing)
  local quarter = cron("*/15 * * * *", nothing)
  sleep(3600 + 60)
  lu.assertEquals({ job.runs, quarter.runs }, { 1, 4 })
  clock.step(-7200)
  lu.assertEquals(iso(quarter.next_run), "11-26 08:15")
  sleep(7200 + 60)
  lu.assertEquals({ job.runs, iso(job.next_run) }, { 1, "11-27 10:00" })
end

function test_a_clock_set_forward_runs_each_at_most_once()
  clock.set(FROM)
  local job = every().day.at("10:00")(nothing)
  local interval = every(1).hour(nothing)
  clock.step(86400 * 3)
  lu.assertEquals({ job.runs, job.missed, interval.runs }, { 1, 2, 0 })
  sleep(3600)
  lu.assertEquals(interval.runs, 1)
end

function test_a_date_that_was_wrong_is_left_behind()
  clock.set "2040-01-01T00:00:00Z"
  local job = every().day.at("10:00")(nothing)
  clock.set(FROM)
  lu.assertEquals(iso(job.next_run), "11-26 10:00")
end

-- ---- trying again --------------------------------------------------------------------------------

function test_retry()
  local at, ends = {}, {}
  clock.set(FROM)
  jobs.on("end", function(run) ends[#ends + 1] = run.outcome .. run.attempt end)
  local start = jobrun.monotonic()
  local job = every(1).hour.now().retry { n = 3, backoff = "10s" }.times(1)(function(run)
    at[#at + 1] = math.floor(jobrun.monotonic() - start + 0.5)
    if run.attempt < 3 then error "not yet" end
  end)
  sleep(120)
  lu.assertEquals(at, { 0, 10, 30 })
  lu.assertEquals({ job.runs, job.fails, job.state, ends[#ends] }, { 1, 0, "done", "ok3" })
end

function test_retry_gives_up_and_waits_at_most_max()
  local at = {}
  local start = jobrun.monotonic()
  local job = every(1).hour.now().retry { n = 4, backoff = "10s", factor = 10, max = "1m" }.times(1)(function()
    at[#at + 1] = math.floor(jobrun.monotonic() - start + 0.5)
    error "never"
  end)
  sleep(600)
  lu.assertEquals(at, { 0, 10, 70, 130 })
  lu.assertEquals({ job.runs, job.fails, job.state }, { 1, 1, "done" })
end

function test_retry_never_crosses_the_next_run_unless_it_is_told_to()
  local function attempts(cross)
    local numbers = {}
    local job = every(1).minute.retry { n = 5, backoff = "45s", cross = cross }(function(run)
      numbers[#numbers + 1] = run.attempt
      error "no"
    end)
    sleep(200)
    job:cancel()
    return numbers
  end
  lu.assertEquals(attempts(false), { 1, 2, 1, 2, 1 })
  lu.assertEquals(attempts(true), { 1, 2, 3 })
end

function test_run_all_waits_for_the_last_attempt()
  local job = every(1).hour.retry { n = 2, backoff = "1m" }(function(run)
    if run.attempt == 1 then error "once" end
  end)
  lu.assertEquals({ jobs.run_all() }, { 1, 0 })
  lu.assertEquals(job.fails, 0)
end

function test_a_cancelled_job_is_not_tried_again()
  local job = every(1).hour.now().retry { n = 3, backoff = "10s" }(function() error "no" end)
  sleep(1)
  lu.assertEquals(job.state, "running")
  job:cancel()
  sleep(100)
  lu.assertEquals({ job.runs, job.fails, job.state }, { 1, 1, "cancelled" })
end

-- ---- a long time ---------------------------------------------------------------------------------

function test_a_year_of_nights()
  clock.set "2025-01-01T00:00:00Z"
  local hours = {}
  local job = cron("30 2 * * *", { tz = "Europe/Berlin" }, function(run)
    local hour = os.date("!%H:%M", math.floor(run.due))
    hours[hour] = (hours[hour] or 0) + 1
  end)
  sleep(86400 * 365)
  lu.assertEquals({ job.runs, hours }, { 365, { ["00:30"] = 210, ["01:00"] = 1, ["01:30"] = 154 } })
end

helper.prepare_tests()
