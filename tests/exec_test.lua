--- exec, exec.start and sh: what a program writes, how it ends, what is left of it.
--
-- SPDX-License-Identifier: MIT

local lu = require "luaunit"
local host = require "jobrun.core.host"
local process = require "jobrun.process"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program
local words = require "jobrun"
local exec, sh, spawn, sleep = words.exec, words.sh, words.spawn, words.sleep
local err = words.error_object

-- Runs a line of shell and gives what on_line got.
local function lines_of(script, opts)
  local lines = {}
  local o = opts or {}
  o[1], o[2], o[3] = "sh", "-c", script
  o.on_line = function(line) lines[#lines + 1] = line end
  exec(o)
  return lines
end

local function error_of(fn, ...)
  local ok, e = pcall(fn, ...)
  lu.assertFalse(ok)
  lu.assertTrue(err.is(e), tostring(e))
  return e
end

local function contains(text, part)
  lu.assertStrContains(tostring(text), part)
end

-- A zombie whose new parent has not reaped it yet is gone too.
local function is_alive(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  local text = file and file:read("a")
  if file then file:close() end
  return text ~= nil and text:match("^.*%) (%a)") ~= "Z"
end

local function wait_until_gone(pid)
  testing.wait_for(function() return not is_alive(pid) end)
end

-- ---- results ---------------------------------------------------------------------------------------

function test_a_result_tells_everything()
  local r = exec { "sh", "-c", "echo out; echo err >&2" }
  lu.assertEquals(r.stdout, "out\n")
  lu.assertEquals(r.stderr, "err")
  lu.assertEquals(r.exit_code, 0)
  lu.assertTrue(r.ok)
  lu.assertNil(r.signal)
  lu.assertFalse(r.pipe_held)
  lu.assertFalse(r.stdout_cut)
  lu.assertEquals(r.argv, { "sh", "-c", "echo out; echo err >&2" })
  lu.assertTrue(r.elapsed > 0 and r.elapsed < 60 and r.cpu >= 0 and r.max_rss > 0)
end

function test_sh_is_a_line_of_shell()
  lu.assertEquals(sh("echo a b | tr a-z A-Z").stdout, "A B\n")
  lu.assertEquals(sh("exit 3", { check = false }).exit_code, 3)
  contains(error_of(sh, { "ls" }), "expected a line of shell")
end

function test_numbers_are_arguments_too()
  lu.assertEquals(exec({ "echo", 1, 2.5 }).stdout, "1 2.5\n")
end

function test_stdout_is_kept_up_to_a_limit()
  local r = exec { "sh", "-c", "yes | head -c 3000000" }
  lu.assertEquals(#r.stdout, 1024 * 1024)
  lu.assertTrue(r.stdout_cut)
  r = exec { "echo", "hello", capture_stdout = 3 }
  lu.assertEquals(r.stdout, "hel")
  lu.assertNil(exec({ "echo", "hello", capture_stdout = false }).stdout)
end

function test_the_tail_of_stderr()
  local r = exec { "sh", "-c", "seq 1000 >&2" }
  lu.assertStrContains(r.stderr, "801\n802\n")
  lu.assertNil(r.stderr:find("800", 1, true))
  lu.assertEquals(r.stderr:sub(-4), "1000")
end

function test_environment_folder_input_umask_nice()
  local dir = testing.tmpdir()
  local r = exec { "sh", "-c", 'echo "$A-$HOME-$PWD-$(umask)"; cat', cwd = dir, umask = 18,
    stdin = "in\0put", env = { A = "x y", HOME = false } }
  lu.assertEquals(r.stdout, "x y--" .. dir .. "-0022\nin\0put")
  local own = tonumber(exec({ "nice" }).stdout)
  lu.assertEquals(tonumber(exec({ "nice", nice = 3 }).stdout), math.min(own + 3, 19))
end

function test_the_path_of_env_finds_the_program()
  local dir = testing.tmpdir()
  local file = assert(io.open(dir .. "/tool", "w"))
  file:write("#!/bin/sh\necho found\n")
  file:close()
  os.execute("chmod +x " .. dir .. "/tool")
  lu.assertEquals(exec({ "tool", env = { PATH = dir .. ":/bin" } }).stdout, "found\n")
  lu.assertEquals(exec({ "./tool", cwd = dir }).stdout, "found\n")
end

function test_a_large_input_reaches_the_program()
  local text = ("0123456789abcde\n"):rep(100000)
  local r = exec { "cat", stdin = text, capture_stdout = #text + 1 }
  lu.assertTrue(r.stdout == text)
end

function test_a_program_may_leave_its_input_unread()
  lu.assertEquals(exec({ "true", stdin = ("x"):rep(1000000) }).exit_code, 0)
end

-- ---- lines -----------------------------------------------------------------------------------------

function test_each_end_of_line()
  lu.assertEquals(lines_of [[printf 'a\nb\rc\r\nd\n\ne']], { "a", "b", "c", "d", "", "e" })
end

function test_lines_are_joined_across_writes()
  local script = [[printf 'ab'; sleep 0.02; printf 'cd\r'; sleep 0.02; printf '\nef']]
  lu.assertEquals(lines_of(script), { "abcd", "ef" })
end

function test_bytes_are_not_changed()
  lu.assertEquals(lines_of [[printf 'a\000b\377\376\n\000\n']], { "a\0b\xff\xfe", "\0" })
end

function test_lines_come_while_the_program_runs()
  local dir = testing.tmpdir()
  local got = {}
  exec { "sh", "-c", "echo first; while [ ! -e go ]; do sleep 0.01; done; echo second", cwd = dir,
    on_line = function(line)
      got[#got + 1] = line
      io.open(dir .. "/go", "w"):close() -- without this line it would never end
    end }
  lu.assertEquals(got, { "first", "second" })
end

function test_many_lines_in_order_on_both_streams()
  local out, bad = 0, 0
  local e = 0
  exec { "sh", "-c", "seq 100000 & seq 100000 >&2; wait",
    on_line = function(line)
      out = out + 1
      if tonumber(line) ~= out then bad = bad + 1 end
    end,
    on_stderr = function(line)
      e = e + 1
      if tonumber(line) ~= e then bad = bad + 1 end
    end }
  lu.assertEquals({ out, e, bad }, { 100000, 100000, 0 })
end

function test_all_lines_come_before_the_result_and_none_after()
  local n, ended, late = 0, false, 0
  exec { "seq", "20000", on_line = function()
    n = n + 1
    if ended then late = late + 1 end
  end }
  ended = true
  sleep(0.01)
  lu.assertEquals({ n, late }, { 20000, 0 })
end

function test_a_callback_may_suspend()
  local got = {}
  exec { "seq", "5", on_line = function(line)
    sleep(0.002)
    got[#got + 1] = line
  end }
  lu.assertEquals(got, { "1", "2", "3", "4", "5" })
end

function test_a_storm_is_bounded_while_nobody_takes_its_lines()
  collectgarbage()
  local before = host.stats().memory
  local function grown() return host.stats().memory - before end
  local line = ("x"):rep(200)
  local h = exec.start { "yes", line }
  local next_line = h:lines()
  lu.assertEquals(next_line(), line)
  testing.wait_for(function() return grown() > 4000000 end)
  for _ = 1, 20 do
    sleep(0.002)
    lu.assertTrue(grown() < 8 * 1024 * 1024, grown())
  end
  for _ = 1, 50000 do next_line() end -- it was held up, not lost
  lu.assertEquals(next_line(), line)
  h:cancel()
  pcall(h.wait, h)
end

function test_a_slow_callback_bounds_a_storm()
  collectgarbage()
  local before, most, n = host.stats().memory, 0, 0
  exec { "sh", "-c", "yes abcdefghijklmnopqrstuvwxyz | head -c 20000000", on_line = function()
    n = n + 1
    if n % 100000 == 1 then
      sleep(0.01)
      most = math.max(most, host.stats().memory - before)
    end
  end }
  lu.assertEquals(n, 20000000 // 27 + 1)
  lu.assertTrue(most < 8 * 1024 * 1024, most)
end

function test_a_line_without_end_comes_in_pieces()
  local sizes = {}
  exec { "sh", "-c", "head -c 2500000 /dev/zero | tr '\\0' x",
    on_line = function(line) sizes[#sizes + 1] = #line end }
  lu.assertEquals(sizes, { 1048576, 1048576, 2500000 - 2 * 1048576 })
end

-- ---- callbacks that fail ---------------------------------------------------------------------------

function test_a_callback_that_raises_ends_the_program()
  local pid
  local e = error_of(exec, { "sh", "-c", "echo $$; exec sleep 1000", on_line = function(line)
    pid = tonumber(line)
    error(err.new { kind = "mine", message = "enough" })
  end })
  lu.assertEquals(e.kind, "mine")
  contains(e.traceback, "exec_test.lua")
  lu.assertFalse(is_alive(pid))
end

function test_a_string_raised_stays_that_string()
  local ok, e = pcall(exec, { "yes", on_line = function() error("plain", 0) end })
  lu.assertEquals({ ok, e }, { false, "plain" })
end

function test_a_callback_that_raises_after_a_wait()
  local calls = 0
  local ok, e = pcall(exec, { "yes", on_line = function()
    sleep(0.01)
    calls = calls + 1
    error("later", 0)
  end })
  lu.assertEquals({ ok, e, calls }, { false, "later", 1 })
end

function test_no_callback_after_one_that_raised()
  local calls = 0
  pcall(exec, { "seq", "1000", on_line = function()
    calls = calls + 1
    error("stop")
  end })
  lu.assertEquals(calls, 1)
end

-- ---- failures --------------------------------------------------------------------------------------

function test_an_exit_status_is_an_error()
  local e = error_of(exec, { "sh", "-c", "seq 60 >&2; echo 'the reason' >&2; exit 3" })
  lu.assertEquals({ e.kind, e.exit_code, e.reason }, { "exit", 3, "the reason" })
  lu.assertEquals(#e.lines, 50)
  lu.assertEquals(e.argv[1], "sh")
  lu.assertTrue(e.elapsed > 0)
  contains(e, "exec: sh: the reason (exit 3)")
  contains(e, "exec_test.lua:")
end

function test_an_exit_status_asked_for_is_a_result()
  local r = exec { "sh", "-c", "exit 3", check = false }
  lu.assertEquals({ r.ok, r.exit_code }, { false, 3 })
end

function test_a_signal_is_an_error()
  local e = error_of(exec, { "sh", "-c", "kill -USR1 $$" })
  lu.assertEquals({ e.kind, e.signal, e.exit_code }, { "signal", "SIGUSR1", nil })
  lu.assertEquals(exec({ "sh", "-c", "kill -9 $$", check = false }).signal, "SIGKILL")
end

function test_a_program_that_is_not_there()
  local e = error_of(exec, { "no-such-program-here" })
  lu.assertEquals({ e.kind, e.code, e.op }, { "not_found", "ENOENT", "exec" })
  contains(e, "exec: cannot run 'no-such-program-here': not found in PATH")
  contains(e, "exec_test.lua:")
  lu.assertEquals(error_of(exec, { "/no/such" }).kind, "not_found")
end

function test_a_file_that_is_not_executable()
  local e = error_of(exec, { "/etc/passwd" })
  lu.assertEquals({ e.kind, e.code }, { "permission", "EACCES" })
end

function test_a_folder_that_is_not_there()
  local e = error_of(exec, { "true", cwd = "/no/such/folder" })
  lu.assertEquals({ e.kind, e.code, e.op }, { "not_found", "ENOENT", "cwd" })
  contains(e, "cannot enter the folder '/no/such/folder'")
end

function test_a_file_that_is_no_program()
  local dir = testing.tmpdir()
  os.execute(("printf '\\001\\002' > %s/x; chmod +x %s/x"):format(dir, dir))
  local e = error_of(exec, { dir .. "/x" })
  lu.assertEquals({ e.kind, e.code }, { "spawn", "ENOEXEC" })
end

function test_wrong_use_names_what_is_wrong()
  local cases = {
    { "ls", "expected a list" },
    { {}, "no program" },
    { { "ls", chek = 1 }, "did you mean 'check'" },
    { { "ls", on_line = 1 }, "on_line" },
    { { "ls", "a\0b" }, "zero byte" },
    { { "ls", nil, "b" }, "argument" },
    { { "ls", env = { ["A=B"] = "x" } }, "not a variable's name" },
    { { "ls", env = { A = true } }, "expected a string" },
    { { "ls", timeout = "soon" }, "duration" },
  }
  for _, case in ipairs(cases) do
    local e = error_of(exec, case[1])
    lu.assertEquals(e.kind, "usage")
    contains(e, case[2])
    contains(e, "exec_test.lua:")
  end
end

-- ---- ending ----------------------------------------------------------------------------------------

function test_timeout_ends_the_program_and_is_an_error()
  local pid
  local e = error_of(exec, { "sh", "-c", "echo $$; exec sleep 1000", timeout = 0.1,
    on_line = function(line) pid = tonumber(line) end })
  lu.assertEquals({ e.kind, e.signal }, { "timeout", "SIGTERM" })
  contains(e, "longer than 0.1 s")
  lu.assertFalse(is_alive(pid))
end

function test_lines_written_on_the_way_out_are_delivered()
  local got = {}
  pcall(exec, { "sh", "-c", "trap 'echo bye; exit' TERM; echo hi; while :; do sleep 0.01; done",
    timeout = 0.1, on_line = function(line) got[#got + 1] = line end })
  lu.assertEquals(got, { "hi", "bye" })
end

function test_a_program_that_ignores_sigterm_is_killed_after_the_grace()
  local start = words.monotonic()
  local e = error_of(exec, { "sh", "-c", "trap '' TERM; while :; do sleep 0.01; done",
    timeout = 0.1, grace = 0.2 })
  lu.assertEquals({ e.kind, e.signal }, { "timeout", "SIGKILL" })
  lu.assertTrue(words.monotonic() - start >= 0.3)
end

function test_a_program_that_was_stopped_hears_sigterm()
  local h = exec.start { "sh", "-c", "kill -STOP $$; exec sleep 1000", check = false }
  testing.wait_for(function()
    local file = io.open(("/proc/%d/stat"):format(h.pid))
    local state = file:read("a"):match("^.*%) (%a)")
    file:close()
    return state == "T"
  end)
  h:stop()
  lu.assertEquals(h:wait().signal, "SIGTERM")
end

function test_sigterm_is_sent_once()
  local terms = 0
  local h
  h = exec.start { "sh", "-c", "trap 'echo term' TERM; echo up; while :; do sleep 0.01; done", grace = 0.2,
    on_line = function(line)
      if line == "term" then terms = terms + 1 end
      h:stop()
    end }
  local r = h:wait()
  lu.assertEquals({ terms, r.signal, r.ok }, { 1, "SIGKILL", true })
end

function test_a_cancelled_task_goes_on_when_the_program_is_gone()
  local pid, alive_at_the_end
  local t = spawn(function()
    local _ <close> = setmetatable({}, { __close = function() alive_at_the_end = is_alive(pid) end })
    exec { "sh", "-c", "trap 'sleep 0.1; exit' TERM; echo $$; while :; do sleep 0.01; done",
      on_line = function(line) pid = tonumber(line) end }
  end)
  testing.wait_for(function() return pid end)
  t:cancel()
  lu.assertEquals(error_of(t.await, t).kind, "cancelled")
  lu.assertFalse(alive_at_the_end)
end

function test_a_task_cancelled_inside_a_callback_ends_the_program()
  local pid
  local t = spawn(exec, { "sh", "-c", "echo $$; exec sleep 1000", on_line = function(line)
    pid = tonumber(line)
    sleep(1000)
  end })
  testing.wait_for(function() return pid end)
  t:cancel()
  lu.assertEquals(error_of(t.await, t).kind, "cancelled")
  lu.assertFalse(is_alive(pid))
end

function test_a_cancelled_task_starts_nothing()
  local dir = testing.tmpdir()
  local e
  local t = spawn(function()
    pcall(sleep, 1000)
    e = error_of(exec, { "touch", dir .. "/made" })
  end)
  sleep(0)
  t:cancel()
  pcall(t.await, t)
  lu.assertEquals(e.kind, "cancelled")
  lu.assertNil(io.open(dir .. "/made"))
end

function test_the_whole_group_is_ended()
  local pid
  local e = error_of(exec, { "sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!; wait", timeout = 0.1,
    on_line = function(line) pid = tonumber(line) end })
  lu.assertEquals(e.kind, "timeout")
  lu.assertFalse(is_alive(pid))
end

function test_a_member_of_the_group_that_ignores_sigterm_is_killed()
  local pid
  pcall(exec, { "sh", "-c", "(trap '' TERM; while :; do sleep 0.01; done) >/dev/null 2>&1 & echo $!; wait",
    timeout = 0.1, grace = 0.2, on_line = function(line) pid = tonumber(line) end })
  wait_until_gone(pid)
end

function test_a_process_left_behind_that_holds_the_pipe()
  local pid
  local r = exec { "sh", "-c", "sleep 1000 & echo $!",
    on_line = function(line) pid = tonumber(line) end }
  lu.assertTrue(r.pipe_held)
  lu.assertEquals(r.exit_code, 0)
  lu.assertTrue(is_alive(pid)) -- it was left behind on purpose, for all we know
  os.execute("kill " .. pid)
end

function test_a_process_left_behind_that_still_talks_is_heard()
  local got = {}
  local r = exec { "sh", "-c", "(sleep 0.3; echo late) & echo early",
    on_line = function(line) got[#got + 1] = line end }
  lu.assertEquals(got, { "early", "late" })
  lu.assertFalse(r.pipe_held)
end

-- ---- exec.start ------------------------------------------------------------------------------------

function test_a_handle_waits_for_the_result()
  local h = exec.start { "sh", "-c", "echo out" }
  lu.assertTrue(h.pid > 1)
  local r = h:wait()
  lu.assertEquals({ r.stdout, r.ok }, { "out\n", true })
  lu.assertEquals(h:wait(), r)
  lu.assertFalse(h:is_running())
  lu.assertFalse(h:signal("SIGTERM"))
end

function test_output_written_before_anybody_waits()
  local h = exec.start { "echo", "out" }
  testing.wait_for(function() return not h:is_running() end)
  lu.assertEquals(h:wait().stdout, "out\n")
  lu.assertEquals(h:wait().stdout, "out\n")
  contains(error_of(h.lines, h), "since wait was called")
end

function test_lines_written_before_anybody_reads()
  local h = exec.start { "seq", "3" }
  testing.wait_for(function() return not h:is_running() end)
  local got = {}
  for line in h:lines() do got[#got + 1] = line end
  lu.assertEquals(got, { "1", "2", "3" })
  lu.assertNil(h:wait().stdout)
end

function test_lines_of_a_handle()
  local got = {}
  for line in exec.start({ "seq", "50000" }):lines() do got[#got + 1] = line end
  lu.assertEquals(#got, 50000)
  lu.assertEquals(got[50000], "50000")
end

function test_a_failure_comes_after_the_last_line()
  local got = {}
  local e = error_of(function()
    for line in exec.start({ "sh", "-c", "echo a; echo b; exit 3" }):lines() do got[#got + 1] = line end
  end)
  lu.assertEquals({ e.kind, e.exit_code }, { "exit", 3 })
  contains(e, "exec_test.lua:")
  lu.assertEquals(got, { "a", "b" })
end

function test_leaving_the_loop_ends_the_program()
  local h = exec.start { "yes" }
  local n = 0
  for _ in h:lines() do
    n = n + 1
    if n == 3 then break end
  end
  lu.assertFalse(is_alive(h.pid))
end

function test_an_error_in_the_loop_ends_the_program()
  local h = exec.start { "yes" }
  local ok, e = pcall(function()
    for _ in h:lines() do error("in the loop", 0) end
  end)
  lu.assertEquals({ ok, e }, { false, "in the loop" })
  lu.assertFalse(is_alive(h.pid))
end

function test_lines_can_be_taken_one_by_one()
  local h = exec.start { "sh", "-c", "echo ready; read x; echo done", stdin = "go\n" }
  local next_line = h:lines()
  lu.assertEquals(next_line(), "ready")
  lu.assertEquals(next_line(), "done")
  lu.assertNil(next_line())
  lu.assertTrue(h:wait().ok)
end

function test_one_reader_at_a_time()
  local h = exec.start { "sleep", "1000", check = false }
  local next_line = h:lines()
  local reader = spawn(function() return next_line() end)
  sleep(0)
  contains(error_of(next_line), "another task waits")
  h:stop()
  lu.assertNil(reader:await())
end

function test_stop_is_an_ok_result()
  local h = exec.start { "sleep", "1000" }
  h:stop()
  local r = h:wait()
  lu.assertEquals({ r.ok, r.stopped, r.signal }, { true, true, "SIGTERM" })
end

function test_cancel_raises_from_wait()
  local h = exec.start { "sleep", "1000" }
  h:cancel("not needed")
  local e = error_of(h.wait, h)
  lu.assertEquals(e.kind, "cancelled")
  contains(e, "not needed")
  lu.assertFalse(is_alive(h.pid))
end

function test_wait_may_give_up_waiting()
  local h = exec.start { "sleep", "1000" }
  lu.assertEquals(error_of(h.wait, h, 0.02).kind, "timeout")
  lu.assertTrue(h:is_running())
  h:stop()
  lu.assertTrue(h:wait().ok)
end

function test_signals_of_a_handle()
  local got = {}
  local h
  h = exec.start { "sh", "-c", "trap 'echo usr1; exit 0' USR1; echo up; while :; do sleep 0.01; done",
    on_line = function(line)
      got[#got + 1] = line
      if line == "up" then h:signal("USR1") end
    end }
  h:wait()
  lu.assertEquals(got, { "up", "usr1" })
  contains(error_of(h.signal, h, "SIGNOPE"), "no signal 'SIGNOPE'")
end

function test_the_failure_of_a_program_nobody_waits_for_is_the_owners()
  local e = error_of(words.scope, function()
    exec.start { "sh", "-c", "echo why >&2; exit 5" }
    sleep(1000)
  end)
  lu.assertEquals({ e.kind, e.exit_code }, { "exit", 5 })
end

function test_the_owner_ends_after_its_programs()
  local h
  words.scope(function() h = exec.start { "sleep", "0.1" } end)
  lu.assertFalse(h:is_running())
end

function test_cancelling_the_owner_ends_its_programs()
  local h
  local t = spawn(function()
    h = exec.start { "sleep", "1000" }
    sleep(1000)
  end)
  testing.wait_for(function() return h end)
  t:cancel()
  pcall(t.await, t)
  lu.assertFalse(is_alive(h.pid))
end

function test_a_start_in_a_task_that_is_being_cancelled_leaves_nothing()
  local t = spawn(function() exec.start { "sleep", "1000" } end)
  spawn(function() t:cancel() end)
  pcall(t.await, t)
  lu.assertEquals(host.stats().children, 0)
end

function test_a_closed_handle_ends_its_program()
  local pid
  do
    local h <close> = exec.start { "sleep", "1000" }
    pid = h.pid
  end
  lu.assertFalse(is_alive(pid))
end

function test_many_at_once()
  local ok = 0
  words.scope(function()
    for i = 1, 40 do
      spawn(function()
        if exec({ "sh", "-c", "echo " .. i }).stdout == i .. "\n" then ok = ok + 1 end
      end)
    end
  end)
  lu.assertEquals(ok, 40)
end

-- ---- process, what exec and ffmpeg stand on --------------------------------------------------------

function test_a_handle_that_is_collected_ends_its_process()
  local pid = process.start({ argv = { "sleep", "1000" } }).pid
  collectgarbage()
  collectgarbage()
  wait_until_gone(pid)
end

function test_the_log_of_ffmpeg()
  local script = [[printf '[info] a\n[lib @ 0x1] [error] b\n more\nframe=1 x\rframe=2 x\r' >&3
    printf '[info]  Duration: 1\nc\n' >&3]]
  local got, notes = {}, {}
  local p = process.start {
    argv = { "sh", "-c", script },
    streams = { [3] = { mode = "lines", keep = 10, ffmpeg = true } },
  }
  p:run {
    [3] = function(line, level) got[#got + 1] = level .. "|" .. line end,
    note = function(line, level, fd) notes[#notes + 1] = level .. "|" .. line .. "|" .. fd end,
  }
  lu.assertEquals(got, { "info|a", "error|[lib @ 0x1] b", "error| more", "error|frame=1 x", "error|frame=2 x",
    "info| Duration: 1", "info|c" })
  lu.assertEquals(notes, { "error|[lib @ 0x1] b|3", "error| more|3", "error|frame=1 x|3", "error|frame=2 x|3",
    "info| Duration: 1|3" })
  local lines, levels = p:tail(3)
  lu.assertEquals(lines, { "a", "[lib @ 0x1] b", " more", " Duration: 1", "c" })
  lu.assertEquals(levels, { "info", "error", "error", "info", "info" })
end

function test_the_tail_alone_and_the_capture_beside_it()
  local p = process.start {
    argv = { "sh", "-c", "seq 10" },
    streams = { [1] = { mode = "lines", keep = 2, limit = 5 } },
  }
  local r = p:run {}
  lu.assertEquals(r.exit_code, 0)
  local lines, levels = p:tail(1)
  lu.assertEquals({ lines, levels }, { { "9", "10" }, { false, false } })
  local bytes, was_cut = p:captured(1)
  lu.assertEquals({ bytes, was_cut }, { "1\n2\n3", true })
end

function test_a_report_can_be_opened_by_its_name()
  local p = process.start {
    argv = { "sh", "-c", "echo by name > /dev/fd/3" },
    streams = { [3] = { mode = "capture", limit = 100 } },
  }
  p:run {}
  lu.assertEquals(p:captured(3), "by name\n")
end

function test_a_task_cancelled_before_it_runs_leaves_no_process()
  local p
  local t = spawn(function()
    p = process.start { argv = { "sleep", "1000" } }
    process.follow(p, function() p:run {} end)
  end)
  spawn(function() t:cancel() end)
  pcall(t.await, t)
  lu.assertFalse(p and p:is_running() or false)
end

-- ---- jobrun killed, jobrun ended -------------------------------------------------------------------

local FAMILY = [[
  exec{"sh", "-c", "sleep 1000 & echo $! $$; wait", on_line = function(line) print(line) io.stdout:flush() end}
]]

function test_a_killed_jobrun_leaves_neither_child_nor_grandchild()
  local h = exec.start { program, "-e", FAMILY, check = false }
  local grandchild, child = h:lines()():match("(%d+) (%d+)")
  lu.assertTrue(is_alive(child) and is_alive(grandchild))
  h:signal("SIGKILL")
  wait_until_gone(child)
  wait_until_gone(grandchild)
  h:wait()
end

function test_a_stopped_jobrun_ends_its_children()
  local h = exec.start { program, "--grace=0.1", "-e", FAMILY, check = false }
  local grandchild, child = h:lines()():match("(%d+) (%d+)")
  h:stop()
  h:wait()
  lu.assertFalse(is_alive(child))
  lu.assertFalse(is_alive(grandchild))
end

function test_nothing_of_an_ended_jobrun_holds_its_output()
  local r = sh(program .. [[ -e 'exec{"true"} print "end"' | cat]])
  lu.assertEquals(r.stdout, "end\n")
  lu.assertFalse(r.pipe_held)
end

function test_a_process_nobody_followed_ends_with_jobrun()
  local code = [[p = require("jobrun.process").start{argv = {"sleep", "1000"}} print(p.pid)]]
  local r = exec { program, "-e", code }
  lu.assertFalse(is_alive(tonumber(r.stdout)))
end
