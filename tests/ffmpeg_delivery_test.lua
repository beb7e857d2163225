-- What the callbacks of ffmpeg{} promise, with a stand-in that writes exactly what a test wants.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local helper = dofile "tests/ffmpeg_helper.lua"
local ffmpeg, sleep, spawn = jobrun.ffmpeg, jobrun.sleep, jobrun.spawn
local error_of = helper.error_of

-- Options for a run of the stand-in; its output is where it may write.
local function fake(script, more)
  local opts = {
    bin = helper.fakeff, env = { FAKEFF = script }, input = { raw = "-", f = "null" },
      output = { raw = "-", f = "null" },
  }
  for key, value in pairs(more or {}) do opts[key] = value end
  return opts
end

local function collector()
  local lines = {}
  return lines, function(line) lines[#lines + 1] = line end
end

-- The report lines of a script.
local function reported(script)
  local lines, keep = collector()
  ffmpeg(fake(script, { on_report = keep }))
  return lines
end

local function numbered(n)
  local list = {}
  for i = 1, n do list[i] = "line " .. i end
  return list
end

-- ---- when ---------------------------------------------------------------------------------------

function test_a_line_arrives_while_the_program_runs()
  local lines, keep = collector()
  local h = ffmpeg.start(fake("report one\\n\nwait\nreport two\\n", { on_report = keep }))
  testing.wait_for(function() return #lines == 1 end)
  lu.assertTrue(helper.is_alive(h.pid))
  h:stop()
  lu.assertEquals(lines, { "one", "two" })
end

function test_everything_is_delivered_before_the_result_and_nothing_after()
  local report, on_report = collector()
  local stderr, on_stderr = collector()
  local progress = {}
  local blocks = "progress frame=1\\nprogress=continue\\nframe=7\\nprogress=end\\n"
  local r = ffmpeg(fake("storm 2 5000\n" .. blocks .. "\nstorm 3 5000", {
    on_report = on_report, on_stderr = on_stderr,
      on_progress = function(p) progress[#progress + 1] = p end,
  }))
  lu.assertEquals({ #report, #stderr, #progress }, { 5000, 5000, 2 })
  lu.assertEquals({ progress[1].done, progress[2].done, progress[2].frame }, { false, true, 7 })
  lu.assertEquals(r.progress, progress[2])
  sleep(0.02)
  lu.assertEquals({ #report, #stderr, #progress }, { 5000, 5000, 2 })
end

function test_nothing_is_lost_doubled_or_reordered()
  local lines = reported "storm 3 200000"
  lu.assertEquals(#lines, 200000)
  for i = 1, #lines do
    if lines[i] ~= "line " .. i then lu.fail(("line %d is %q"):format(i, lines[i])) end
  end
end

function test_stderr_is_read_without_a_callback()
  local e = error_of(ffmpeg, fake("storm 2 100000\nexit 3"))
  lu.assertEquals(e.exit_code, 3)
  lu.assertEquals(#e.lines, 50)
  lu.assertEquals(e.lines[50], "line 100000")
  lu.assertEquals(e.reason, "line 100000")
end

-- ---- what ---------------------------------------------------------------------------------------

function test_a_last_line_without_an_end()
  lu.assertEquals(reported "report a\\nb", { "a", "b" })
end

function test_lines_are_joined_across_writes()
  lu.assertEquals(reported "report a\nsleep 5\nreport b\\nc\nsleep 5\nreport d\\n", { "ab", "cd" })
end

function test_all_three_line_ends()
  lu.assertEquals(reported "report a\\nb\\rc\\r\\nd\\n\\ne\\r\nsleep 5\nreport \\nf", { "a", "b",
    "c", "d", "", "e", "f" })
end

function test_a_carriage_return_ends_a_line_at_once()
  local lines, keep = collector()
  local h = ffmpeg.start(fake("report a\\r\nwait", { on_report = keep }))
  testing.wait_for(function() return lines[1] == "a" end)
  h:stop()
  lu.assertEquals(lines, { "a" })
end

function test_bytes_are_unchanged()
  lu.assertEquals(reported "report x\\xff\\xc3\\0y\\n", { "x\255\195\0y" })
end

function test_the_level_is_taken_out_and_passed()
  local seen = {}
  ffmpeg(fake("report [error] a\\n[libx264 @ 0x55d0] [warning] b\\nc\\n[info]d\\n",
    { on_report = function(line, level) seen[#seen + 1] = { line, level } end }))
  lu.assertEquals(seen, { { "a", "error" }, { "[libx264 @ 0x55d0] b", "warning" }, { "c",
    "warning" }, { "[info]d", "warning" } })
end

function test_the_report_goes_through_a_pipe()
  lu.assertEquals(reported "report_env", { "file=/dev/fd/3:level=32" })
end

function test_without_on_report_there_is_no_report()
  local r = ffmpeg(fake("report_env\nstdout x", { capture_stdout = true }))
  lu.assertEquals(r.stdout, "x")
end

function test_status_lines_do_not_push_errors_out_of_the_tail()
  local script = { "stderr [error] the cause\\n" }
  for i = 1, 300 do script[#script + 1] = ("stderr frame=%5d fps=25 q=1.0 size=1kB\\r"):format(i) end
  local e = error_of(ffmpeg, fake(table.concat(script, "\n") .. "\nexit 1"))
  lu.assertEquals(e.lines, { "the cause" })
  lu.assertEquals(e.reason, "the cause")
end

-- ---- callbacks that do more ---------------------------------------------------------------------

function test_a_callback_may_wait_and_nothing_is_lost()
  local lines = {}
  ffmpeg(fake("storm 3 300", { on_report = function(line)
    if #lines % 50 == 0 then sleep(0.005) end
    lines[#lines + 1] = line
  end }))
  lu.assertEquals(lines, numbered(300))
end

function test_a_callback_that_waits_is_no_stall()
  local waited
  ffmpeg(fake("report a\\n\nsleep 50\nreport b\\n", { stall_timeout = 0.2, on_report = function()
    if not waited then sleep(0.5) end
    waited = true
  end }))
  lu.assertTrue(waited)
end

function test_a_program_that_is_silent_stalls()
  local e = error_of(ffmpeg, fake("report a\\n\nwait", { stall_timeout = 0.1,
    on_report = function() end }))
  lu.assertEquals(e.kind, "timeout")
  lu.assertStrContains(e.reason, "no progress")
end

function test_progress_that_does_not_move_is_a_stall()
  local script = { "ignore" }
  for _ = 1, 100 do
    script[#script + 1] = "progress frame=1\\nout_time_us=1\\nprogress=continue\\n"
    script[#script + 1] = "sleep 20"
  end
  local e = error_of(ffmpeg, fake(table.concat(script, "\n"), { stall_timeout = 0.2, grace = 0.05 }))
  lu.assertStrContains(e.reason, "no progress")
end

function test_a_callback_that_raises_is_not_called_again()
  local calls = 0
  local ok, e = pcall(ffmpeg, fake("storm 3 1000\nwait", { on_report = function()
    calls = calls + 1
    error("stop here", 0)
  end }))
  lu.assertFalse(ok)
  lu.assertEquals({ e, calls }, { "stop here", 1 })
end

function test_a_progress_callback_that_raises_is_not_called_again()
  local calls = 0
  local ok, e = pcall(ffmpeg, fake("progress frame=1\\nprogress=continue\\n\nwait",
    { on_progress = function()
    calls = calls + 1
    error("no", 0)
  end }))
  lu.assertFalse(ok)
  lu.assertEquals({ e, calls }, { "no", 1 })
end

function test_a_run_cancelled_in_a_progress_callback_has_its_last_event()
  local events = {}
  local h = ffmpeg.start(fake("progress frame=1\\nprogress=continue\\n\nwait", { on_progress = function(p)
    events[#events + 1] = p.done
    sleep(60)
  end }))
  testing.wait_for(function() return #events == 1 end)
  h:cancel()
  lu.assertEquals(error_of(h.wait, h).kind, "cancelled")
  lu.assertEquals(events, { false, true })
end

function test_the_last_event_does_not_hide_why_the_run_failed()
  local e = error_of(ffmpeg, fake("stderr [error] the cause\\n\nexit 1", { on_progress = function(p)
    if p.done then error("from the callback") end
  end }))
  lu.assertEquals(e.reason, "the cause")
end

function test_callbacks_run_in_the_task_that_called()
  local mine, seen = jobrun.current(), nil
  ffmpeg(fake("report a\\n", { on_report = function() seen = jobrun.current() end }))
  lu.assertTrue(rawequal(mine, seen))
end

function test_a_task_spawned_in_a_callback_is_awaited_by_its_owner()
  local done
  jobrun.scope(function()
    ffmpeg(fake("report a\\n", { on_report = function()
      spawn(function()
        sleep(0.02)
        done = true
      end)
    end }))
  end)
  lu.assertTrue(done)
end

-- ---- the end ------------------------------------------------------------------------------------

function test_a_grandchild_that_holds_the_pipes_is_not_waited_for()
  local lines, keep = collector()
  local start = jobrun.monotonic()
  local r = ffmpeg(fake("hold 20000\nreport last\\n", { on_report = keep }))
  lu.assertTrue(r.pipe_held)
  lu.assertEquals(lines, { "last" })
  lu.assertTrue(jobrun.monotonic() - start < 5)
end

function test_a_program_that_ignores_sigterm_is_killed_after_the_grace()
  local lines, keep = collector()
  local h = ffmpeg.start(fake("ignore\nreport ready\\n\nsleep 60000", { grace = 0.1, on_report = keep }))
  testing.wait_for(function() return lines[1] end)
  local e = error_of(h.stop, h)
  lu.assertEquals({ e.kind, e.signal }, { "signal", "SIGKILL" })
  lu.assertStrContains(tostring(e), "was killed (SIGKILL)")
  lu.assertFalse(helper.is_alive(h.pid))
end

function test_a_timeout_reads_on_while_the_program_ends()
  local lines, keep = collector()
  local e = error_of(ffmpeg, fake("wait\nstorm 3 5000\nstorm 2 5000", { timeout = 0.1,
    on_report = keep }))
  lu.assertEquals(e.kind, "timeout")
  lu.assertEquals(#lines, 5000)
  lu.assertEquals(e.lines[50], "line 5000")
end

function test_exit_status_0_without_the_output_is_a_failure()
  local dir = testing.tmpdir()
  local e = error_of(ffmpeg, fake("", { output = dir .. "/o.mp4" }))
  lu.assertEquals({ e.kind, e.exit_code }, { "output", 0 })
  lu.assertStrContains(e.reason, "o.mp4 was not made")
  e = error_of(ffmpeg, fake("output ", { output = dir .. "/o.mp4" }))
  lu.assertStrContains(e.reason, "o.mp4 is empty")
  lu.assertEquals(helper.entries(dir), "")
end

function test_exit_status_0_with_a_file_that_could_not_be_closed_is_a_failure()
  local dir = testing.tmpdir()
  local e = error_of(ffmpeg,
    fake("output x\nstderr [error] Error writing trailer of o.mp4: Input/output error\\n",
    { output = dir .. "/o.mp4" }))
  lu.assertEquals(e.kind, "output")
  lu.assertEquals(helper.entries(dir), "")
end

function test_a_failure_after_the_file_was_begun_removes_it()
  local dir = testing.tmpdir()
  error_of(ffmpeg, fake("output half\nexit 1", { output = dir .. "/o.mp4" }))
  lu.assertEquals(helper.entries(dir), "")
  local e = error_of(ffmpeg, fake("output half\nexit 1", { output = dir .. "/o.mp4",
    keep_partial = true }))
  lu.assertEquals(helper.read(e.partial[1]), "half")
end

function test_a_program_that_says_nothing()
  lu.assertEquals(error_of(ffmpeg, fake "exit 4").message, "ffmpeg: it said nothing (exit 4)")
  local e = error_of(ffmpeg, fake "kill 9")
  lu.assertEquals({ e.kind, e.signal }, { "signal", "SIGKILL" })
end
