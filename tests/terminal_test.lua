-- Progress bars: in a real terminal (tmux), and lines where there is none.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local helper = dofile "tests/ffmpeg_helper.lua"
local exec = jobrun.exec

local program = (os.getenv "JOBRUN_BUILD" or "build") .. "/jobrun"

-- A script that runs the stand-in for ffmpeg; FAKE(name, commands) is one run with a bar.
local HEAD = ([[
local function FAKE(name, commands)
  local opts = { bin = %q, env = { FAKEFF = commands }, input = { raw = "-" }, duration = 10,
    output = { path = DIR .. "/" .. name, f = "null" }, progress = true }
  return ffmpeg(opts)
end
local function block(seconds)
  return ("progress out_time_us=%%d\\nspeed=2x\\nfps=50\\nprogress=continue\\n\n"):format(seconds * 1000000)
end
]]):format(helper.fakeff)

local function script_in(dir, body)
  local path = dir .. "/script.lua"
  helper.write(path, ("local DIR = %q\n"):format(dir) .. HEAD .. body)
  return path
end

-- ---- without a terminal ---------------------------------------------------------------------------

local function stderr_of(body, env)
  local dir = testing.tmpdir()
  local r = exec { program, "--log-format=text", script_in(dir, body), env = env, check = false }
  return r.stderr, r.stdout
end

local STEPS = [[
local all = ""
for i = 0, 10 do all = all .. block(i) end
FAKE("a.mkv", all .. "output x\nprogress progress=end\\n")
]]

function test_a_line_each_ten_percent_where_stderr_is_no_terminal()
  local text = stderr_of(STEPS)
  local lines = {}
  for percent in text:gmatch "a%.mkv: +(%d+) %%" do lines[#lines + 1] = tonumber(percent) end
  lu.assertEquals(lines, { 10, 20, 30, 40, 50, 60, 70, 80, 90 })
  lu.assertStrContains(text, "a.mkv: done after 0:0")
  lu.assertNil(text:find "\27")
end

function test_a_dumb_terminal_is_none()
  local text = exec { "script", "-qec", ("%s %s"):format(program, script_in(testing.tmpdir(), STEPS)), "/dev/null",
    env = { TERM = "dumb" } }.stdout
  lu.assertStrContains(text, "a.mkv: 10 %")
  lu.assertNil(text:find "\27")
end

function test_colours_by_force_and_never()
  local forced = stderr_of(STEPS, { CLICOLOR_FORCE = "1", NO_COLOR = false })
  lu.assertStrContains(forced, "\27[32mdone\27[0m")
  lu.assertNil(stderr_of(STEPS, { CLICOLOR_FORCE = "1", NO_COLOR = "1" }):find "\27")
end

function test_a_failed_run_says_so()
  local text = stderr_of 'pcall(FAKE, "a.mkv", block(4) .. "exit 3")'
  lu.assertStrContains(text, "a.mkv: failed at 40 %")
end

-- ---- in tmux --------------------------------------------------------------------------------------

local Screen = {}
Screen.__index = Screen

local function tmux(self, ...)
  return exec { "tmux", "-S", self.socket, "-f", "/dev/null", ... }
end

-- A terminal of 70 by 12 in which the script runs.
local function screen(dir, path, env)
  local self = setmetatable({ socket = dir .. "/tmux" }, Screen)
  local command = ("%s '%s' '%s'; echo over; sleep 100"):format(env or "env -u NO_COLOR", program, path)
  tmux(self, "new-session", "-d", "-x", "70", "-y", "12", command)
  return self
end

function Screen:text()
  return tmux(self, "capture-pane", "-p").stdout
end

function Screen:wait_for(pattern)
  return testing.wait_for(function()
    local text = self:text()
    return text:find(pattern) and text
  end, 20)
end

Screen.__close = function(self)
  pcall(tmux, self, "kill-server")
end

local function count(text, pattern)
  local _, n = text:gsub(pattern, "")
  return n
end

-- Two runs that wait at 40 % and 70 % until the files "go" are there.
local TWO = [[
local first = spawn(FAKE, "first.mkv", block(4) .. "until " .. DIR .. "/go1\n" .. block(9) .. "output x\n")
local second = spawn(FAKE, "second.mkv", block(7) .. "until " .. DIR .. "/go2\n" .. "exit 3")
while not fs.exists(DIR .. "/say") do sleep(0.01) end
log.info "a line of the log"
print "a printed line"
pcall(first.await, first)
pcall(second.await, second)
sleep(0.3)
]]

function test_bars_stay_below_and_everything_else_goes_above()
  local dir = testing.tmpdir()
  local s <close> = screen(dir, script_in(dir, TWO))
  s:wait_for "first%.mkv +%[#########               %] +40 %%"
  s:wait_for "second%.mkv +%[################        %] +70 %%"
  helper.write(dir .. "/say", "")
  local text = s:wait_for "a printed line"
  local log_at, print_at = text:find "a line of the log", text:find "a printed line"
  lu.assertTrue(log_at < print_at and print_at < text:find "first%.mkv")
  lu.assertEquals({ count(text, "first%.mkv"), count(text, "second%.mkv") }, { 1, 1 })
  helper.write(dir .. "/go1", "")
  text = s:wait_for "first%.mkv +done after"
  lu.assertEquals({ count(text, "first%.mkv"), count(text, "second%.mkv") }, { 1, 1 })
  helper.write(dir .. "/go2", "")
  text = s:wait_for "over"
  lu.assertStrContains(text, "failed at 70 %")
  lu.assertEquals({ count(text, "first%.mkv"), count(text, "second%.mkv"), count(text, "%[#") }, { 1, 1, 0 })
end

function test_a_terminal_that_changes_its_size()
  local dir = testing.tmpdir()
  local s <close> = screen(dir, script_in(dir, TWO))
  s:wait_for "second%.mkv +%[#+ +%] +70 %%"
  tmux(s, "resize-window", "-x", "40", "-y", "12")
  helper.write(dir .. "/say", "")
  s:wait_for "a printed line"
  helper.write(dir .. "/go1", "")
  s:wait_for "first%.mkv +done"
  tmux(s, "resize-window", "-x", "90", "-y", "12")
  helper.write(dir .. "/go2", "")
  local text = s:wait_for("over"):match "a printed line(.*)" -- what had scrolled away before is tmux's
  lu.assertEquals({ count(text, "first%.mkv"), count(text, "second%.mkv"), count(text, "%[#") }, { 1, 1, 0 })
end

function test_a_cancelled_run_takes_its_bar_away()
  local dir = testing.tmpdir()
  local s <close> = screen(dir, script_in(dir, [[
    pcall(timeout, 0.3, FAKE, "a.mkv", block(4) .. "wait\n")
    print "next"
  ]]))
  local text = s:wait_for "over"
  lu.assertStrContains(text, "next")
  lu.assertEquals(count(text, "%[#"), 0)
end
