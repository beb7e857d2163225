-- What the command line has beside jobs: --once, --fail, --chdir, --env-file, --pid-file, durations, new, repl,
-- completions, --version.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program

local exec, fs = jobrun.exec, jobrun.fs

-- jobrun … → status, stdout, stderr
local function jr(...)
  local r = exec { check = false, program, ... }
  return r.exit_code, r.stdout, r.stderr
end

local function script(text)
  local path = testing.tmpdir() .. "/script.lua"
  fs.write(path, text)
  return path
end

function test_once_runs_each_job_and_ends()
  local path = script [[
    every().day.named("a")(function() print "a" end)
    cron("0 3 * * *").named("b")(function() sleep(0.01) print "b" end)
  ]]
  lu.assertEquals({ jr("--once", path) }, { 0, "a\nb\n", "" })
  lu.assertEquals({ jr("run", path, "--all") }, { 0, "a\nb\n", "" })
  lu.assertEquals((jr("--once", script "every().day.named('c')(error)")), 1)
  lu.assertEquals((jr("--once", "-e", "print(1)")), 2)
  lu.assertEquals((jr("run", path, "--all", "a")), 2)
end

function test_fail_makes_a_failed_run_the_exit_status()
  local path = script "every(0.01).seconds.times(1)(error)"
  lu.assertEquals((jr("--fail", path)), 1)
  lu.assertEquals((jr(path)), 0)
  lu.assertEquals((jr("--fail", script "every(0.01).seconds.times(1)(function() end)")), 0)
end

function test_chdir_and_env_file()
  local dir = testing.tmpdir()
  fs.write(dir .. "/here", "")
  fs.write(dir .. "/env", "# comment\n\nexport JR_A=\"x y\"\n JR_B = '2' \nHOME=/not/this\n")
  local status, out = jr("--chdir=" .. dir, "--env-file=" .. dir .. "/env", "-e",
    "print(fs.exists 'here', env.JR_A, env.JR_B, env.HOME ~= '/not/this')")
  lu.assertEquals({ status, out }, { 0, "true\tx y\t2\ttrue\n" })
  local _, text
  status, _, text = jr("--chdir=" .. dir .. "/none", "-e", "")
  lu.assertEquals(status, 2)
  lu.assertStrContains(text, "--chdir: " .. dir .. "/none: No such file")
  fs.write(dir .. "/env", "JR_A=1\n2JR=1\n")
  status, _, text = jr("--env-file=" .. dir .. "/env", "-e", "")
  lu.assertEquals(status, 2)
  lu.assertStrContains(text, dir .. "/env:2: expected NAME=VALUE")
  lu.assertEquals((jr("--env-file=" .. dir .. "/none", "-e", "")), 2)
end

function test_a_pid_file_belongs_to_one_process()
  local path = testing.tmpdir() .. "/pid"
  local first = exec.start { check = false, program, "--pid-file=" .. path, "-e", "print 'up' io.stdout:flush() sleep(60)" }
  lu.assertEquals(first:lines()(), "up")
  lu.assertEquals(tonumber(fs.read(path)), first.pid)
  local status, _, text = jr("--pid-file=" .. path, "-e", "print 'no'")
  lu.assertEquals(status, 2)
  lu.assertStrContains(text, ("process %d has it"):format(first.pid))
  lu.assertTrue(fs.exists(path))
  first:signal "SIGKILL"
  first:wait()
  lu.assertEquals((jr("--pid-file=" .. path, "-e", "")), 0)
  lu.assertFalse(fs.exists(path))
end

function test_durations_have_units()
  lu.assertEquals((jr("--grace=1h30m", "--stall=250ms", "-e", "")), 0)
  lu.assertEquals((jr("--grace", "1h30m", "--quiet", "--stall", "250ms", "-e", "")), 0)
  for _, wrong in ipairs { "--grace=", "--grace=1x", "--grace=-1", "--stall=1h30" } do
    local status, _, text = jr(wrong, "-e", "")
    lu.assertEquals(status, 2, wrong)
    lu.assertStrContains(text, "expected a duration")
  end
end

function test_new_scripts_are_right()
  local dir = testing.tmpdir()
  for _, template in ipairs { "jobs", "ffmpeg", "http" } do
    local path = ("%s/%s.lua"):format(dir, template)
    lu.assertEquals({ jr("new", dir .. "/" .. template, "--template=" .. template) }, { 0, "wrote " .. path .. "\n", "" })
    lu.assertEquals(fs.stat(path).mode, "0755")
    if template ~= "ffmpeg" then lu.assertEquals((jr("check", path)), 0) end
  end
  local helper = dofile "tests/ffmpeg_helper.lua"
  local status, out = jr(dir .. "/ffmpeg.lua", helper.clip "clip.mp4", dir .. "/out.mp4")
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, dir .. "/out.mp4: ")
  local _, text
  status, _, text = jr("new", dir .. "/jobs.lua")
  lu.assertEquals(status, 2)
  lu.assertStrContains(text, "exists")
  status, _, text = jr("new", dir .. "/x", "--template=htp")
  lu.assertEquals(status, 2)
  lu.assertStrContains(text, "did you mean 'http'?")
end

function test_the_repl_reads_runs_and_shows()
  local r = exec { check = false, program, "repl", stdin = [[
1 + 1, "two"
x = 20
function f()
return x + 1
end
f()
error "oops"
spawn(sleep, 0):await() "awaited"
= 3
]] }
  lu.assertEquals(r.exit_code, 0)
  lu.assertStrContains(r.stdout, "2\ttwo\n")
  lu.assertStrContains(r.stdout, "21\n")
  lu.assertStrContains(r.stderr, "oops")
  lu.assertStrContains(r.stderr, "unexpected symbol near '='")
end

function test_completions_are_what_the_shell_reads()
  for _, shell in ipairs { "bash", "zsh", "fish" } do
    local status, out = jr("completions", shell)
    lu.assertEquals(status, 0)
    lu.assertStrContains(out, "--log-level=")
    lu.assertStrContains(out, "explain")
  end
  local r = exec { "bash", "-c", ([[source <(%s completions bash)
    COMP_WORDS=(jobrun --log) COMP_CWORD=1; _jobrun; echo "${COMPREPLY[*]}"]]):format(program) }
  lu.assertEquals(r.stdout, "--log-level= --log-format=\n")
  lu.assertEquals((jr("completions", "tcsh")), 2)
end

function test_versions_of_what_is_used()
  local status, out = jr "--version"
  lu.assertEquals(status, 0)
  lu.assertStrMatches(out, "jobrun %d[%d.]+\nLua 5%.4%.%d+\nlibuv %d[%d.]+\nlibcurl %d[%d.]+\nffmpeg %S+\n")
end

-- Each word has the comment that stands above it; the parts of a module have theirs.
function test_help_knows_every_word()
  local map = getmetatable(jobrun)
  for _, set in ipairs { map.modules, map.fields } do
    for word, module in pairs(set) do
      local status, out = jr("help", word)
      local is_told = status == 0 and #out > #word + 20
      lu.assertTrue(is_told or module:find "%.core%." ~= nil, word .. ": " .. out)
    end
  end
  local _, out = jr("help", "fs.read")
  lu.assertStrMatches(out, "fs%.read\n\n.*@param path string.*")
  local status, _, text = jr("help", "evry")
  lu.assertEquals(status, 2)
  lu.assertStrContains(text, "did you mean 'every'?")
end

function test_the_manual_page_is_well_formed()
  local path = testing.tmpdir() .. "/jobrun.1"
  fs.write(path, exec({ program, "-e", 'require("jobrun.cli.man").main()' }).stdout)
  local page = fs.read(path)
  for _, text in ipairs { ".SH NAME", "\\-\\-run\\-pending\\-on\\-exit", ".SS trigger", "JOBRUN_STORE", "124 the" } do
    lu.assertStrContains(page, text)
  end
  local lint = exec { "mandoc", "-Tlint", "-Wwarning", path, check = false }
  lu.assertEquals(lint.stdout .. lint.stderr, "")
end

function test_the_definitions_for_editors_are_lua_and_have_every_word()
  local text = exec({ program, "-e", 'require("jobrun.cli.definitions").main()' }).stdout
  assert(load(text, "=jobrun.d.lua", "t", {}))
  lu.assertEquals(text:sub(1, 9), "---@meta\n")
  for _, part in ipairs {
    "---@param options string|jobrun.http.FetchOptions\n---@return jobrun.http.Fetched\nfunction http.fetch(options) end\n",
    "function spawn(fn, ...) end\n",
    "---@class jobrun.http.FetchOptions\n---@field url string",
  } do
    lu.assertNotNil(text:find(part, 1, true), part)
  end
  for word in pairs(getmetatable(jobrun).fields) do
    local at = text:find(("\nfunction %s("):format(word), 1, true) or text:find(("\n%s = "):format(word), 1, true)
    lu.assertNotNil(at, word)
  end
end

-- As `schedule` programs do at their end: everything once more.
function test_pending_jobs_run_on_exit()
  local path = script [[
    every().day.named("a")(function() sleep(0.01) print "a" end)
    on.stop(function(why) print(why) end)
    after(0)(function() print "up" io.stdout:flush() end)
  ]]
  local p = exec.start { check = false, program, "--run-pending-on-exit", path }
  local lines = p:lines()
  lu.assertEquals(lines(), "up")
  p:signal "SIGTERM"
  lu.assertEquals({ lines(), lines(), lines() }, { "a", "signal" })
  lu.assertEquals(p:wait().exit_code, 0)
end
