--- Programs: `exec{"prog", "arg"}` runs one and waits, `exec.start{…}` gives a handle, `sh "a | b"` is
--- for the shell.
---
--- A program is an argv, never a shell's text. It runs in a process group of its own; when its
--- task is cancelled, its time is over, or jobrun ends, the group is sent SIGTERM once, and SIGKILL
--- after the grace.
--
-- A started program is followed by a child task, so it belongs to the task that started it. Its
-- failure is that task's failure, unless somebody reads its lines: then the one who reads gets it,
-- after the last line.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local err = require "jobrun.core.error"
local process = require "jobrun.process"
local process_options = require "jobrun.process_options"

local M = {}

local CAPTURE = 1024 * 1024 -- bytes of stdout in a result, by default
local TAIL = 200 -- lines of stderr in a result
local ERROR_LINES = 50 -- of them in an error

---@class jobrun.exec.Options: jobrun.process.Options
---@field [integer] string|number the program, then its arguments
---@field on_line? fun(line: string) each line of stdout, when it comes; may suspend; raising ends the program
---@field on_stderr? fun(line: string) each line of stderr
---@field capture_stdout? integer|false bytes of stdout for the result, at most (1 MiB; 0 with on_line)
---@field timeout? number|string past it the program is ended, and the error's kind is "timeout"
---@field check? boolean false: an exit status other than 0 is no error

---@class jobrun.exec.Result
---@field ok boolean
---@field exit_code? integer
---@field signal? string what ended it, such as "SIGKILL"
---@field stdout? string
---@field stdout_cut boolean there was more than `stdout` holds
---@field stderr string its last 200 lines
---@field elapsed number seconds
---@field cpu number seconds
---@field max_rss integer bytes
---@field dropped integer lines left out (on_overflow = "drop")
---@field pipe_held boolean a process it left behind kept a pipe open: what that one writes later is lost
---@field stopped boolean handle:stop was called
---@field argv string[]

local SPEC = {
  list = "string|number",
  on_line = "callable",
  on_stderr = "callable",
  capture_stdout = "integer|boolean",
  timeout = "duration",
  check = { type = "boolean", default = true },
}
for name, rule in pairs(process_options.spec) do SPEC[name] = rule end

-- ---- what is asked for ---------------------------------------------------------------------------

local function check_argv(what, opts)
  local argv = {}
  for i, word in ipairs(opts) do
    argv[i] = tostring(word)
    if argv[i]:find("\0", 1, true) then check.fail("%s: argument %d holds a zero byte", what, i - 1) end
  end
  if #argv == 0 or argv[1] == "" then check.fail('%s: no program; as in %s{"ls", "-l"}', what, what) end
  for key in pairs(opts) do
    if math.type(key) == "integer" and (key < 1 or key > #argv) then
      check.fail("%s: argument %d is nil", what, #argv)
    end
  end
  return argv
end

local function check_options(what, opts)
  if type(opts) == "string" then
    check.fail('%s: expected a list of the program and its arguments, as in %s{"ls", "-l"}, got a string'
      .. ' (for a line of shell: sh "ls | wc -l")', what, what)
  end
  local o = check.options(what, opts, SPEC)
  o.argv = check_argv(what, o)
  process_options.resolve(what, o)
  if o.capture_stdout == true then o.capture_stdout = CAPTURE end
  if o.capture_stdout and o.capture_stdout < 0 then check.fail("%s: capture_stdout is negative", what) end
  return o
end

-- What becomes of stdout; `default` is for one that nobody takes line by line.
local function stdout_stream(o, default)
  if o.on_line then return { mode = "lines", limit = o.capture_stdout or nil, drop = o.drop } end
  if o.capture_stdout == false then return { mode = "null" } end
  local limit = default == "capture" and (o.capture_stdout or CAPTURE) or nil
  return { mode = default, limit = limit, drop = o.drop and default == "pull" }
end

local function describe(o, stdout)
  o.keeps_stdout = stdout.limit ~= nil
  o.has_lines = stdout.mode == "lines" or stdout.mode == "pull"
  return process.new(process_options.describe(o, {
    what = "exec",
    argv = o.argv,
    streams = { [1] = stdout, [2] = { mode = "lines", keep = TAIL, drop = o.drop } },
  }))
end

local function begin(o, stdout)
  local p = describe(o, stdout)
  p:start()
  return p
end

-- ---- how it ended --------------------------------------------------------------------------------

local function how_it_ended(r)
  if r.signal then return "signal " .. r.signal end
  return r.exit_code and "exit " .. r.exit_code or "its exit status was taken by somebody else"
end

local function last_words(lines)
  for i = #lines, 1, -1 do
    if lines[i]:find("%S") then return lines[i] end
  end
end

local function last_of(lines, n)
  return table.move(lines, math.max(1, #lines - n + 1), #lines, 1, {})
end

local function kind_and_reason(o, r, lines)
  if r.timed_out then return "timeout", ("it ran for longer than %g s"):format(o.timeout) end
  return r.signal and "signal" or "exit", last_words(lines) or "it failed"
end

local function failure(o, r, lines)
  local program, how = o.argv[1], how_it_ended(r)
  local kind, reason = kind_and_reason(o, r, lines)
  return err.new {
    kind = kind,
    reason = reason,
    message = ("exec: %s: %s (%s)"):format(program, reason, how),
    exit_code = r.exit_code,
    signal = r.signal,
    lines = last_of(lines, ERROR_LINES),
    argv = o.argv,
    elapsed = r.elapsed,
  }
end

local function add_stdout(p, r)
  r.stdout, r.stdout_cut = p:captured(1)
end

local function has_failed(o, r)
  r.ok = r.exit_code == 0 or r.stopped
  return r.timed_out or (o.check and not r.ok)
end

local function complete(o, p, r, lines)
  r.timed_out = nil
  r.stdout_cut = false
  if o.keeps_stdout then add_stdout(p, r) end
  r.stderr = table.concat(lines, "\n")
  r.argv = o.argv
  r.dropped = p:dropped(2) + (o.has_lines and p:dropped(1) or 0)
  return r
end

local function drain(o, p)
  return p:run { o.on_line, o.on_stderr, timeout = o.timeout }
end

local function follow(o, p)
  local r = drain(o, p)
  local lines = p:tail(2)
  if has_failed(o, r) then error(failure(o, r, lines), 0) end
  return complete(o, p, r, lines)
end

local function call(what, opts)
  local o = check_options(what, opts)
  local p <close> = begin(o, stdout_stream(o, "capture"))
  return follow(o, p)
end

-- ---- started, and not waited for -----------------------------------------------------------------

---A started program.
---@class jobrun.exec.Handle
---@field pid integer
local Handle = {}

-- The child task. A failure that a reader of lines will be told is kept for it.
local function work(self)
  local ok, outcome = pcall(follow, self.options, self.process)
  if ok then return true, outcome end
  if not self.is_read or err.is(outcome, "cancelled") then error(outcome, 0) end
  return false, outcome
end

---Waits for the end: the result, or the error raised. Output that was not read by lines() is in
---its stdout. Past `timeout` kind "timeout" is raised and the program goes on. (suspends)
---@param timeout? number|string
---@return jobrun.exec.Result
function Handle:wait(timeout)
  if self.is_pulled and not self.is_read and not self.is_captured then
    self.is_captured = true
    self.process:capture(1, self.options.capture_stdout or CAPTURE)
  end
  local ok, outcome = self.task:await(timeout and check.duration(timeout, "wait"))
  if not ok then error(outcome, 0) end
  if self.is_captured then add_stdout(self.process, outcome) end
  return outcome
end

---The lines of stdout, for `for line in handle:lines() do`. At the end the program is gone, and its
---failure is raised. Leaving the loop early ends it; to read on later, call the first result
---yourself. A program whose output nobody takes stops at 4 MiB of it. (suspends)
---@return fun(): string?
function Handle:lines()
  if not self.is_pulled or self.is_captured then
    check.fail("lines: the output goes to %s", self.is_captured and "the result, since wait was called"
      or self.options.on_line and "on_line" or "/dev/null")
  end
  self.is_read = true
  return self.process:lines(1, function() self:wait() end), nil, nil, self
end

---Asks it to end: SIGTERM, and SIGKILL after the grace. wait() gives an ok result. Does not wait.
---@param grace? number|string
function Handle:stop(grace)
  self.process:stop(grace and check.duration(grace, "stop"))
end

---Ends it; its further output is dropped, and wait raises kind "cancelled". Does not wait.
---@param reason? string
function Handle:cancel(reason)
  self.task:cancel(reason)
end

---Stops it where it is (SIGSTOP). Timeouts go on.
function Handle:pause()
  self.process:pause()
end

---Lets it go on.
function Handle:resume()
  self.process:resume()
end

---Sends its process group a signal.
---@param name string such as "SIGUSR1"
---@return boolean sent false: it was gone
function Handle:signal(name)
  return self.process:signal(name)
end

---@return boolean
function Handle:is_running()
  return self.process:is_running()
end

local handle_meta = {
  __index = Handle,
  __name = "jobrun.exec.handle",
  __close = function(self)
    if not self.process:is_running() then return end
    self.is_read = true
    self.task:cancel("its handle was closed")
    pcall(self.task.await, self.task)
  end,
}

local function start(opts)
  local o = check_options("exec.start", opts)
  local stdout = stdout_stream(o, "pull")
  local p = begin(o, stdout)
  local self = setmetatable({ pid = p.pid, process = p, options = o }, handle_meta)
  self.is_pulled = stdout.mode == "pull"
  self.task = process.follow(p, work, self)
  self.task.name = o.argv[1]
  return self
end

---Runs a program and waits until it is gone: `exec{"git", "fetch", cwd=dir}`. Raises an error
---object: kind "exit", "signal", "timeout", "not_found", "permission" or "spawn". (suspends)
---@overload fun(opts: jobrun.exec.Options): jobrun.exec.Result
M.exec = setmetatable({
  ---Starts a program in a child task, and gives its handle.
  ---@param opts jobrun.exec.Options
  ---@return jobrun.exec.Handle
  start = start,
}, {
  __call = function(_, opts) return call("exec", opts) end,
})

-- ---- as a stage of a pipeline ---------------------------------------------------------------------

-- What jobrun.pipeline asks of a stage; jobrun.ffmpeg.run has the same.
local Stage = {}
Stage.__index = Stage

---A program as one stage of a pipeline, checked and described, not started.
---@param opts jobrun.exec.Options
---@param place {reads: boolean, writes: boolean} from the stage before, to the stage behind
function M.stage(opts, place)
  local o = check_options("stage.exec", opts)
  if place.writes and (o.on_line or o.capture_stdout) then
    check.fail "stage.exec: its stdout goes to the next stage: on_line and capture_stdout are for the last one"
  end
  if place.reads and o.stdin then check.fail "stage.exec: its stdin comes from the stage before" end
  local stdout = place.writes and { mode = "null" } or stdout_stream(o, "capture")
  return setmetatable({ program = "exec", options = o, argv = o.argv, process = describe(o, stdout) }, Stage)
end

function Stage:start()
  self.process:start()
end

---Reads it to its end and notes why it failed, if it did. (suspends)
---@param timeout? number seconds
function Stage:drain(timeout)
  local o = self.options
  o.timeout = o.timeout or timeout
  self.ended = drain(o, self.process)
  self.lines = self.process:tail(2)
  self.is_broken_pipe = self.ended.signal == "SIGPIPE"
  if not has_failed(o, self.ended) then return end
  local kind, reason = kind_and_reason(o, self.ended, self.lines)
  self.kind, self.reason = kind, ("%s: %s"):format(o.argv[1], reason)
  self.is_broken_pipe = self.is_broken_pipe or reason:find("Broken pipe", 1, true) ~= nil
end

function Stage:stop(grace)
  self.process:stop(grace)
end

function Stage:pause()
  self.process:pause()
end

function Stage:resume()
  self.process:resume()
end

function Stage:result()
  return complete(self.options, self.process, self.ended, self.lines)
end

-- A program has no files that jobrun knows of.
function Stage:commit() end

function Stage:finish_progress() end

function Stage:discard() end

---Runs a line of shell: `sh "sort a | uniq > b"`. Options as exec's. (suspends)
---@param line string
---@param opts? jobrun.exec.Options
---@return jobrun.exec.Result
function M.sh(line, opts)
  if type(line) ~= "string" then check.fail("sh: expected a line of shell, got %s", check.show(line)) end
  local o = { "sh", "-c", line }
  for key, value in pairs(opts or {}) do
    if math.type(key) == "integer" then check.fail("sh: the options hold an argument; use $1 with exec") end
    o[key] = value
  end
  return call("sh", o)
end

return M
