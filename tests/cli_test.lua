-- The command: options, exit statuses, signals, messages for wrong input.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program
local exec = jobrun.exec

-- Runs jobrun with these arguments: exit status, stdout, stderr as one string.
local function jr(...)
  local r = exec { program, check = false, ... }
  return r.exit_code or r.signal, r.stdout, r.stderr
end

local function code(text, option)
  if option then return jr(option, "-e", text) end
  return jr("-e", text)
end

local function file(text)
  local path = testing.tmpdir() .. "/script.lua"
  jobrun.fs.write(path, text)
  return path
end

function test_version_and_help()
  local status, out = jr "--version"
  lu.assertEquals(status, 0)
  lu.assertStrMatches(out, "jobrun %d+%.%d+%.%d+\nLua 5%.4%.%d+\nlibuv 1%.%d+%.%d+\n.*")
  status, out = jr "--help"
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "jobrun [OPTIONS] SCRIPT [ARGS]")
end

function test_arguments_shebang_and_stdin()
  local path = file "#!/usr/bin/env jobrun\nprint(arg[0] ~= nil, arg[1], ...)"
  local status, out = jr(path, "-x", "y")
  lu.assertEquals({ status, out }, { 0, "true\t-x\t-x\ty\n" })
  local r = exec { program, "-", "z", stdin = "print(...)" }
  lu.assertEquals(r.stdout, "z\n")
  status, out = jr("--", path)
  lu.assertEquals({ status, out }, { 0, "true\tnil\n" })
end

function test_modules_beside_the_script_are_found()
  local path = file "print((require 'beside'))"
  jobrun.fs.write(path:gsub("script", "beside"), "return 'found'")
  lu.assertEquals({ jr(path) }, { 0, "found\n", "" })
end

function test_wrong_use_exits_2()
  for _, case in ipairs {
    { {}, "no script given" },
    { { "--nosuch" }, "unknown option '--nosuch'" },
    { { "--clock=later", "x" }, "--clock: expected virtual" },
    { { "--grace=soon", "x" }, "--grace: expected a duration such as 10, 2.5s or 1h30m, got 'soon'" },
    { { "--log-level=loud", "x" }, "--log-level: expected debug" },
    { { "-e" }, "-e needs a line of Lua" },
    { { "/nonexistent/script.lua" }, "cannot open /nonexistent/script.lua" },
    { { "-e", "x =" }, "(command line):1: unexpected symbol" },
    { { "-e", "every(0).seconds(print)" }, "(command line):1: every" },
    { { "-e", "every(1).secnd(print)" }, "did you mean 'second'?" },
    { { "-e", "every(2).second(print)" }, "Use seconds instead of second" },
    { { "-e", "local x = every(2).seconds" }, "never given a function" },
    { { "-e", "sleep 'soon'" }, '(command line):1: sleep: expected a duration such as "1h30m"' },
    { { "-e", "exec{}" }, "(command line):1: exec" },
    { { "-e", "ffmpeg{output='x.mp4'}" }, "(command line):1: ffmpeg" },
  } do
    local status, _, err = jr(table.unpack(case[1]))
    lu.assertEquals(status, 2, table.concat(case[1], " "))
    lu.assertStrContains(err, case[2])
    lu.assertNotStrContains(err, "traceback")
  end
end

function test_an_uncaught_error_exits_1_with_a_traceback()
  local status, _, err = jr(file "local function f()\n  sleep(0)\n  error 'boom'\nend\nf()")
  lu.assertEquals(status, 1)
  lu.assertStrContains(err, "script.lua:3: boom\nstack traceback:")
  lu.assertStrContains(err, "script.lua:5:")
end

function test_the_traceback_crosses_spawn()
  local status, _, err = jr(file "local function f()\n  sleep(0)\n  error 'boom'\nend\nspawn(f)\nsleep(1)")
  lu.assertEquals(status, 1)
  lu.assertStrContains(err, "script.lua:3: in ")
  lu.assertStrContains(err, "spawned at ")
  lu.assertStrContains(err, "script.lua:5")
end

function test_a_detached_failure_is_logged_and_exits_1()
  local status, out, err = code "spawn(function() spawn(error, 'lost', 0):detach() end) sleep(0.01) print 'went on'"
  lu.assertEquals({ status, out }, { 1, "went on\n" })
  lu.assertStrContains(err, "lost")
end

function test_a_start_hook_that_comes_late_runs_at_once()
  lu.assertEquals(select(2, code 'sleep(0.01) on.start(function() print "late" end)'), "late\n")
end

function test_os_exit_ends_in_order()
  local status, out = code "on.stop(function(why) print(why) end) os.exit(7)"
  lu.assertEquals({ status, out }, { 7, "done\n" })
end

function test_the_virtual_clock_is_the_same_each_time()
  local text = "every(1).day.times(3)(function() print(os.date('!%F %T', math.floor(now()))) end) sleep '40d'"
  local _, first = code(text, "--clock=virtual=2027-01-01")
  local _, second = code(text, "--clock=virtual=2027-01-01")
  lu.assertEquals(first, "2027-01-02 00:00:00\n2027-01-03 00:00:00\n2027-01-04 00:00:00\n")
  lu.assertEquals(second, first)
end

function test_a_word_may_be_the_scripts_own_global()
  lu.assertEquals({ code "spawn = 5 print(spawn, type(sleep), rawget(_G, 'sleep'))" }, { 0, "5\tfunction\tnil\n", "" })
end

-- ---- signals ---------------------------------------------------------------------------------------

-- Starts a script that prints "ready", then hands it to `act`; its end.
local function with_script(text, act, grace)
  local lines = {}
  local ready = jobrun.event()
  local h = exec.start {
    program, "--grace=" .. (grace or 5), file(text), check = false,
    on_line = function(line)
      lines[#lines + 1] = line
      if line == "ready" then ready:set() end
    end,
  }
  ready:wait(20)
  act(h)
  local r = h:wait()
  return r.exit_code or r.signal, lines
end

function test_sigterm_stops_in_order_and_exits_0()
  local status, lines = with_script([[
    on.stop(function(why) print("hook", why) end)
    spawn(function() sleep(0.3) print "finished in the grace" end)
    every(1).hour(print)
    print "ready"]], function(h) h:signal "SIGTERM" end)
  lu.assertEquals(status, 0)
  lu.assertEquals(lines, { "ready", "hook\tsignal", "finished in the grace" })
end

function test_ctrl_c_once_and_twice()
  local status, lines = with_script("print 'ready' sleep(0.2) print 'ended'", function(h) h:signal "SIGINT" end)
  lu.assertEquals({ status, lines[2] }, { 130, "ended" })
  status, lines = with_script([[
    on.stop(function() print "hook" sleep(60) end)
    spawn(function() pcall(sleep, 60) print "cancelled" end)
    print "ready"]], function(h)
    h:signal "SIGINT"
    jobrun.sleep(0.2)
    h:signal "SIGINT"
  end)
  lu.assertEquals({ status, lines }, { 130, { "ready", "hook", "cancelled" } })
end

function test_a_third_signal_leaves_at_once()
  local status = with_script([[
    spawn(function() while true do pcall(sleep, 60) local t = os.clock() + 0.05 while os.clock() < t do end end end)
    print "ready"]], function(h)
    for _ = 1, 3 do
      h:signal "SIGTERM"
      jobrun.sleep(0.2)
    end
  end)
  lu.assertEquals(status, 128 + 15)
end

function test_the_grace_passed_exits_124()
  local status = with_script("print 'ready' sleep(60)", function(h)
    h:signal "SIGTERM"
  end, 0.1)
  lu.assertEquals(status, 124)
end

function test_a_script_that_never_comes_back_is_ended_all_the_same()
  local begun = jobrun.monotonic()
  local status = with_script("spawn(function() while true do pcall(sleep, 60) end end) print 'ready'", function(h)
    h:signal "SIGTERM"
  end, 0)
  lu.assertEquals(status, 124)
  lu.assertTrue(jobrun.monotonic() - begun > 20) -- what cleans up has its time
end

-- ---- looking after a script ------------------------------------------------------------------------

function test_sigquit_prints_the_tree_of_tasks()
  local printed
  local h = exec.start {
    program, "--grace=0", "--log-format=text", "-e", check = false,
    "local t = spawn(function() spawn(sleep, 60).name = 'inner' sleep(60) end) sleep(0) print 'ready' t:await()",
    on_line = function() printed = true end,
  }
  testing.wait_for(function() return printed end, 20)
  h:signal "SIGQUIT"
  jobrun.sleep(0.1)
  h:signal "SIGTERM"
  h:signal "SIGTERM"
  local r = h:wait()
  lu.assertStrContains(r.stderr, "3 tasks\n  main  waiting for await since ")
  lu.assertStrContains(r.stderr, "\n    (command line):1  waiting for sleep since ")
  lu.assertStrContains(r.stderr, "\n      inner  waiting for sleep since ")
end

function test_the_tree_names_runs_by_their_job()
  local printed, named
  local h = exec.start { program, "--grace=0", "--log-format=text", "-e",
    [[every(60).seconds.now().named("nightly")(function() print(current().name) sleep(60) end)]],
    on_line = function(line) printed = line end,
    on_stderr = function(line) named = named or line:find('  job "nightly", run 1  waiting for sleep since ', 1, true) end }
  testing.wait_for(function() return printed end)
  lu.assertEquals(printed, 'job "nightly", run 1')
  testing.wait_for(function()
    if not named then h:signal "SIGQUIT" end
    return named
  end)
  h:stop()
end

-- ThreadSanitizer holds signals back until the next system call, and a loop makes none.
local function need_prompt_signals()
  lu.skipIf((os.getenv "JOBRUN_BUILD" or ""):find "tsan", "signals are late under ThreadSanitizer")
end

function test_a_slow_task_is_logged_once_with_its_traceback()
  need_prompt_signals()
  local status, out, stderr = code "local x = 0 for i = 1, 1e8 do x = x + i end print 'done'"
  lu.assertEquals({ status, out }, { 0, "done\n" })
  local _, times = stderr:gsub("slow task: main", "")
  lu.assertEquals(times, 1)
  lu.assertStrContains(stderr, "(command line):1: in main chunk")
end

function test_a_stalled_task_is_interrupted_in_spite_of_pcall()
  need_prompt_signals()
  local status, _, stderr = code("while true do pcall(function() while true do end end) end", "--stall=0.2")
  lu.assertEquals(status, 1)
  lu.assertStrContains(stderr, "stalled: computed for ")
end

function test_the_memory_limit_is_an_error_of_the_script()
  local status, out = code("print(pcall(string.rep, 'x', 1e8)) print 'goes on'", "--memory-limit=16")
  lu.assertEquals({ status, out }, { 0, "false\tnot enough memory\ngoes on\n" })
end

function test_closed_standard_descriptors_are_nothing_special()
  for _, closed in ipairs { "<&-", ">&-", "2>&-", "<&- >&- 2>&-" } do
    local script = [[print "x" local r = exec{"sh", "-c", "echo y"} assert(r.stdout:find "y") os.exit(7)]]
    local r = exec { "sh", "-c", ('"$0" -e "$1" %s'):format(closed), program, script, check = false }
    lu.assertEquals({ closed, r.exit_code }, { closed, 7 })
  end
end

function test_a_tostring_that_fails_is_told_with_the_error()
  local text = [[local e = setmetatable({}, { __tostring = function() error("inner", 0) end }) ]]
  local status, _, stderr = code(text .. "error(e)")
  lu.assertEquals(status, 1)
  lu.assertStrContains(stderr, "jobrun: (error object is a table value, and its __tostring failed: inner)")
  status, _, stderr = code(text .. "every(1).second.times(1)(function() error(e) end)", "--clock=virtual")
  lu.assertEquals(status, 0)
  lu.assertStrContains(stderr, "run 1 failed: (error object is a table value, and its __tostring failed: inner)")
end

function test_a_slow_end_of_a_task_is_not_told_of_the_next_one()
  need_prompt_signals()
  local _, _, stderr = code "return string.find(string.rep('a', 160), ('.-'):rep(3) .. 'b')"
  lu.assertNotStrContains(stderr, "jobrun.life")
  lu.assertNotStrContains(stderr, "computed for 0 ms")
end

function test_a_missing_suite_is_an_error()
  local status, _, stderr = jr("test", "/nonexistent/folder")
  lu.assertEquals(status, 2)
  lu.assertStrContains(stderr, "test: no file or folder '/nonexistent/folder'")
  status, _, stderr = jr("test", "-p", "x")
  lu.assertEquals(status, 2)
  lu.assertStrContains(stderr, "'-p' (luaunit's options go behind --)")
end

function test_output_that_nobody_reads_ends_the_script()
  local r = jobrun.sh(program .. [[ -e 'every(0.01).seconds(function(run) print(run.id) end)' | head -n 2; wait]])
  lu.assertEquals(r.stdout, "1\n2\n")
  lu.assertEquals(r.stderr:gsub("^jobrun: stopping[^\n]*\n?", ""), "")
end

function test_output_that_cannot_be_written_is_an_error()
  local r = jobrun.sh(program .. " -e 'print(1)' > /dev/full", { check = false })
  lu.assertEquals(r.exit_code, 1)
  lu.assertStrContains(r.stderr, "standard output could not be written")
  r = jobrun.sh(program .. " --help > /dev/full", { check = false })
  lu.assertEquals(r.exit_code, 1)
end

function test_a_traceback_shows_the_scripts_lines_only()
  local _, _, stderr = code "local function f() exec { 'false' } end f()"
  lu.assertEquals(stderr, "jobrun: (command line):1: exec: false: it failed (exit 1)\nstack traceback:\n"
    .. "\t(command line):1: in local 'f'\n\t(command line):1: in main chunk")
end

function test_a_suite_that_is_cut_off_or_empty_has_not_passed()
  local dir = testing.tmpdir()
  jobrun.fs.write(dir .. "/hangs_test.lua", "function test_it() require('jobrun').sleep(50) end")
  local h = exec.start { program, "--grace=0.2", "test", dir, check = false }
  jobrun.sleep(0.3)
  h:signal "SIGTERM"
  lu.assertStrContains(h:wait().stdout, "0 passed, 1 failed, 0 skipped")
  jobrun.fs.write(dir .. "/hangs_test.lua", "local _ = 1")
  local status, out = jr("test", dir)
  lu.assertEquals(status, 1)
  lu.assertStrContains(out, "no test was found")
end
