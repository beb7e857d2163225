-- The commands that look at jobs: next, list, check, run, explain, help.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program
local exec, json = jobrun.exec, jobrun.json

local function jr(...)
  local r = exec { program, check = false, env = { TZ = "UTC" }, ... }
  return r.exit_code or r.signal, r.stdout, r.stderr
end

local function script(text)
  local path = testing.tmpdir() .. "/script.lua"
  jobrun.fs.write(path, text)
  return path
end

-- ---- next ------------------------------------------------------------------------------------

local NEXT = { -- SCHEDULE's table
  { "30 2 * * *", "Europe/Berlin", "2025-03-29T12:00:00Z",
    { "2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z", "2025-04-01T00:30:00Z" } },
  { "30 2 * * *", "Europe/Berlin", "2025-10-25T12:00:00Z", { "2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z" } },
  { "*/15 2 * * *", "Europe/Berlin", "2025-03-30T00:20:00Z", { "2025-03-31T00:00:00Z" } },
  { "0 0 * * *", "Atlantic/Azores", "2025-10-25T12:00:00Z", { "2025-10-26T00:00:00Z", "2025-10-27T01:00:00Z" } },
  { "0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", { "2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z" } },
}

function test_next_of_a_cron_line_as_json()
  for _, case in ipairs(NEXT) do
    local n = tostring(#case[4])
    local status, out, log = jr("next", "--cron", case[1], "--tz", case[2], "--from", case[3], "-n", n, "--json")
    lu.assertEquals({ status, log }, { 0, "" })
    lu.assertEquals(select(2, out:gsub("\n", "")), 1)
    local object = json.decode(out)
    lu.assertEquals({ object.expr, object.tz, object.from }, { case[1], case[2], case[3] })
    for i, instant in ipairs(case[4]) do lu.assertEquals(object.next[i], instant) end
    lu.assertEquals(#object.next, #case[4])
  end
end

function test_next_of_a_sentence()
  local status, out = jr("next", "--every", 'every().day.at("10:30","Europe/Amsterdam")',
    "--from=2025-03-29T12:00:00Z", "-n1", "--json")
  lu.assertEquals(status, 0)
  lu.assertEquals(out, '{"expr":"every().day.at(\\"10:30\\",\\"Europe/Amsterdam\\")","tz":"Europe/Amsterdam",'
    .. '"from":"2025-03-29T12:00:00Z","next":["2025-03-30T08:30:00Z"]}\n')
  status, out = jr("next", "--every", "every(0.25).seconds", "--from", "2026-01-01T00:00:00Z", "-n", "2", "--json")
  lu.assertEquals(status, 0)
  lu.assertEquals(json.decode(out).next[1], "2026-01-01T00:00:00.25Z")
end

function test_next_tells_what_a_change_of_the_zone_does()
  local _, out = jr("next", "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--from", "2025-03-29 12:00", "-n2")
  lu.assertEquals(out,
    "2025-03-30 03:00:00+02:00  in 14h00m  (its time does not exist that day: the clock goes forward)\n"
    .. "2025-03-31 02:30:00+02:00  in 37h30m\n")
end

function test_the_zone_is_that_of_the_declarations()
  local _, out = jr("next", "--every", 'every().day.at("10:30")', "--tz", "Asia/Tokyo",
    "--from", "2026-01-01T00:00:00Z", "-n1", "--json")
  lu.assertEquals(json.decode(out).next[1], "2026-01-01T01:30:00Z")
end

local SCRIPT = [[
print "printed"
every(6).hours.named("often").tag("a", "b")(print)
cron("30 2 * * *", { tz = "Europe/Berlin", named = "nightly" }, print)
once("2026-01-01 05:00", print)
on.start(function() error "hooks are not run" end)
sleep(1)
error "never reached"]]

function test_next_of_a_script_is_one_timetable()
  local status, out, log = jr("next", script(SCRIPT),
    "--from", "2026-01-01T00:00:00Z", "--until", "2026-01-01T12:00:00Z")
  lu.assertEquals(status, 0)
  lu.assertEquals(out, "2026-01-01 01:30:00+00:00  in 1h30m   nightly\n"
    .. "2026-01-01 05:00:00+00:00  in 5h00m   once 2026-01-01 05:00 script.lua:4\n"
    .. "2026-01-01 06:00:00+00:00  in 6h00m   often\n2026-01-01 12:00:00+00:00  in 12h00m  often\n")
  lu.assertStrContains(log, "printed\n")
  lu.assertStrContains(log, "script.lua:6: sleep: the script is only looked at, not run")
end

function test_next_of_a_script_as_json_is_an_object_for_each_job()
  local _, out = jr("next", script(SCRIPT), "--from", "2026-01-01T00:00:00Z", "-n", "2", "--json")
  local names = {}
  for line in out:gmatch "[^\n]+" do
    local object = json.decode(line)
    names[#names + 1] = object.name .. " " .. #object.next .. " " .. object.tz
  end
  lu.assertEquals(names, { "often 2 UTC", "nightly 2 Europe/Berlin", "once 2026-01-01 05:00 script.lua:4 1 UTC" })
end

-- ---- wrong use ---------------------------------------------------------------------------------

function test_wrong_use_exits_2()
  local bad = script "every(2).second(print)"
  for _, case in ipairs {
    { { "next", "--cron", "61 * * * *" }, 'minute "61": 61 is outside 0-59' },
    { { "next", "--every", "every().day.at('25:00')" }, "every(1).day.at: expected" },
    { { "next", "--every", "every(" }, "next: --every: " },
    { { "next", "--every", "5" }, "expected a sentence" },
    { { "next" }, "next: expected one script" },
    { { "next", "--cron", "@daily", "x.lua" }, "a script or an expression, not both" },
    { { "next", "--cron", "@daily", "--tz", "Nowhere" }, 'next: --tz: there is no zone "Nowhere"' },
    { { "next", "--cron", "@daily", "--from", "noon" }, "next: --from: expected a date and time" },
    { { "next", "--cron", "@daily", "-n", "0" }, "next: -n: expected a whole number from 1" },
    { { "next", "--cron", "@daily", "--jsn" }, "unknown option --jsn, did you mean 'json'?" },
    { { "next", "--cron" }, "--cron needs a value" },
    { { "check", bad }, "script.lua:1: every(2).second: Use seconds instead of second" },
    { { "check", script "x =" }, "script.lua:1: unexpected symbol" },
    { { "check", script "local b = every(5).seconds" }, "script.lua:1: every(5).seconds was never given a function" },
    { { "check", "/nonexistent.lua" }, "cannot open /nonexistent.lua" },
    { { "list", bad }, "Use seconds instead of second" },
    { { "run", script "every(1).second.named('nightly')(print)", "nightl" },
      [[there is no job "nightl", did you mean 'nightly'?]] },
    { { "explain", "1,,2 * * * *" }, "explain: minute" },
    { { "nxt" }, "cannot open nxt: no such file or command, did you mean 'next'?" },
    { { "help", "chek" }, "there is no command or word \"chek\", did you mean 'check'?" },
  } do
    local status, out, log = jr(table.unpack(case[1]))
    lu.assertEquals({ status, out }, { 2, "" }, table.concat(case[1], " ") .. ": " .. log)
    lu.assertStrContains(log, case[2])
    lu.assertEquals(select(2, log:gsub("\n", "")), 0, log)
  end
end

-- ---- the others --------------------------------------------------------------------------------

function test_list_and_check()
  local path = script((SCRIPT:gsub("2026", "2199")))
  local status, out = jr("list", path)
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "JOB ")
  lu.assertStrMatches(out, ".*\noften +%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d%+00:00 +a, b\n.*")
  status, out = jr("list", path, "--json")
  lu.assertEquals(status, 0)
  local first = json.decode(out:match "[^\n]+")
  lu.assertEquals({ first.name, first.tags[2], first.state }, { "often", "b", "scheduled" })
  lu.assertEquals(jr("check", script "every(1).day.at('10:00')(print) fs.write('/nonexistent/x', '')"), 0)
  status, out = jr("check", path)
  lu.assertEquals({ status, out }, { 0, path .. ": 3 jobs, nothing wrong\n" })
end

function test_looking_has_no_side_effects()
  local dir = testing.tmpdir()
  for _, effect in ipairs { "exec { 'touch', FILE }", "exec.start { 'touch', FILE }", "fs.write(FILE, '')",
    "spawn(function() io.open(FILE, 'w') end) sleep(1)", "blocking(function() io.open(FILE, 'w') end)" } do
    lu.assertEquals(jr("check", script(("local FILE = %q\n%s"):format(dir .. "/made", effect))), 0)
    lu.assertFalse(jobrun.fs.exists(dir .. "/made"), effect)
  end
end

function test_run_runs_jobs_once_and_tells_by_its_status()
  local path = script [[
    every(1).hour.named("good")(function(run) sleep(0.01) print("good", run.attempt) end)
    every(1).hour.named("bad")(function() error "no" end)
    every(1).hour.named("second try").retry { n = 2, backoff = 0.01 }(function(run)
      if run.attempt == 1 then error "once" end
      print "second try"
    end)
    every(0.001).seconds(function() print "not asked for" end)
    sleep(60)]]
  local status, out = jr("run", path, "good")
  lu.assertEquals({ status, out }, { 0, "good\t1\n" })
  local log
  status, out, log = jr("run", path, "good", "bad")
  lu.assertEquals({ status, out }, { 1, "good\t1\n" })
  lu.assertStrContains(log, ' name=bad run=')
  local with_queue = script [[
    queue.open("q", { concurrency = 2 }):handle(function() end)
    every(1).hour.named("late")(function() print "late" end)
    sleep(60)]]
  lu.assertEquals({ jr("run", with_queue, "late") }, { 0, "late\n", "" })
  lu.assertEquals({ jr("--once", with_queue) }, { 0, "late\n", "" })
  status, out = jr("run", path, "second try")
  lu.assertEquals({ status, out }, { 0, "second try\n" })
end

function test_explain()
  local status, out = jr("explain", "30 2 * * mon-fri")
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "at 02:30, on Monday to Friday\nA time that does not exist runs at the end of the gap")
  lu.assertStrContains(out, "next (UTC): ")
  status, out = jr("explain", "*/5 * * * *")
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "It goes by the wall clock as it passes")
  status, out = jr("explain", 'every(2).weeks.on("mon", "thu").at("09:00")')
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "every 2 weeks on mon, thu at 09:00\n")
end

-- With a job of the calendar and one of an interval far away, nothing wakes the process.
function test_an_idle_script_is_never_woken()
  lu.skipIf((os.getenv "JOBRUN_BUILD" or "build"):find "build%-", "sanitizers have threads of their own")
  local calls, ready = testing.tmpdir() .. "/calls", false
  local h = exec.start { "strace", "-f", "-o", calls, program, "-e",
    [[cron("0 0 1 1 *", print) every(1).hour(print) once("2199-01-01", print) after(0, function() print "ready" end)]],
    on_line = function() ready = true end, check = false }
  testing.wait_for(function() return ready end)
  local size
  testing.wait_for(function() -- what belongs to the run has been done
    local before = size
    size = jobrun.fs.stat(calls).size
    jobrun.sleep(0.05)
    return before == size
  end)
  jobrun.sleep(0.5)
  lu.assertEquals(jobrun.fs.stat(calls).size, size)
  h:stop()
end

function test_help()
  for _, command in ipairs { "check", "list", "next", "run", "explain", "test" } do
    local status, out = jr("help", command)
    lu.assertEquals(status, 0)
    lu.assertStrContains(out, "jobrun " .. command)
    if command ~= "test" then lu.assertEquals({ jr(command, "--help") }, { 0, out, "" }) end
  end
end

function test_a_file_named_like_a_command_is_a_script()
  local dir = testing.tmpdir()
  jobrun.fs.write(dir .. "/next", "print 'a script'")
  local r = exec { program, "next", cwd = dir }
  lu.assertEquals(r.stdout, "a script\n")
end

-- A year of jobs with draws in them, played twice.
function test_a_virtual_year_is_the_same_each_time()
  local path = testing.tmpdir() .. "/year.lua"
  jobrun.fs.write(path, [[
    cron("H 3 * * 1-5", { named = "hashed" }, function(run) print("hashed", os.date("!%FT%T", math.floor(run.due))) end)
    every().day.at("02:30", "Europe/Berlin").jitter("1h").named("drawn")(function(run)
      print("drawn", ("%.3f"):format(run.late + run.due))
    end)
    every(5).to(9).hours.named("spread")(function(run) print("spread", math.floor(run.due)) end)
    after(86400 * 365)(function() os.exit(0) end)
  ]])
  local function play()
    local r = jobrun.exec { program, "--clock=virtual=2027-01-01T00:00:00Z", "--quiet", path, env = { TZ = "UTC" },
      capture_stdout = 4000000 }
    return r.stdout
  end
  local once = play()
  lu.assertTrue(select(2, once:gsub("\n", "")) > 1500)
  lu.assertEquals(play(), once)
end
