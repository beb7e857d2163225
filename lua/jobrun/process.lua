--- One child process with its streams: what exec.lua and ffmpeg.lua stand on. Not a public word.
--
--   local p <close> = process.start{
--     argv = {"prog", "arg"},       -- strings; argv[1] without a slash is looked up in PATH
--     env = {K = "V", L = false},   -- merged over the inherited environment; false removes
--     cwd = "dir", umask = 0x12, user = "name", nice = 10, -- nice is added to our own
--     stdin = nil | "text" | true   -- /dev/null, these bytes, or ours (inherited),
--       | {path = "file"}           -- a file (relative to cwd),
--       | channel,                  -- what comes out of it, until it is closed
--     ionice = {class, level},      -- of ioprio_set(2)
--     rlimits = {{name, soft, hard}, …}, -- -1: unlimited
--     grace = 10,                   -- seconds between SIGTERM and SIGKILL
--     what = "exec",                -- the word that error messages begin with
--     streams = {                   -- by the child's fd, 0 < fd < 8; 1 and 2 not named: "inherit"
--       [1] = {mode = "capture", limit = 2^20},
--       [2] = {mode = "lines", keep = 200, ffmpeg = true},
--     },
--   }
--   local r = p:run{[1] = fn, [2] = fn, note = fn, timeout = 60}
--
-- A channel is emptied by a child task of the one that calls run, no faster than the program reads;
-- when the program is gone the channel is closed, so that who puts into it is told.
--
-- Two programs are joined by a pipe between process.new, which only describes, and p:start:
--
--   local a, b = process.new(spec_a), process.new(spec_b)
--   a:connect(b) a:start() b:start()      -- stdout of a is stdin of b
--
-- Modes: "null" (/dev/null), "inherit" (our fd of that number), "lines" (a pipe, split into lines:
-- each goes to the handler of `run`, if there is one, and the last `keep` of them can be had with
-- p:tail), "capture" (a pipe; the first `limit` bytes are kept, the rest is read and forgotten),
-- "pull" (a pipe whose lines wait for p:lines). `limit` may stand beside lines and pull too. Where
-- nobody takes the lines fast enough the program has to wait, at 4 MiB of them; with `drop = true`
-- the oldest are left out instead (of ffmpeg's log first those of level info and below), a line
-- "N lines dropped" tells, and p:dropped(fd) counts them.
--
-- `\n`, `\r` and `\r\n` end a line, a last one without an end counts, bytes are unchanged, a line
-- of more than 1 MiB comes in pieces. With `ffmpeg = true` the `[level] ` that
-- `-loglevel repeat+level+info` writes is taken out of the line and passed as second argument
-- ("info"; a line without one has that of the line before), and progress lines (`frame=…`,
-- `size=…`) stay out of the tail.
--
-- start raises an error object: kind "not_found" or "permission" (the program, or cwd), otherwise
-- "spawn"; e.code is the system's (ENOENT), e.op the step that failed ("exec", "cwd", "user", …),
-- e.argv the command.
--
-- p:run suspends until the child is gone and everything was delivered. Handlers are called in this
-- task, as handler(line), with ffmpeg = true as handler(line, level); they may suspend (reading
-- pauses meanwhile), and none is called after run returned. `note(line, level, fd)` sees only,
-- from streams with ffmpeg = true, lines of level warning or worse, lines of progress and lines
-- with "Duration:"; for one line it runs before the handler. A handler that raises ends the child;
-- its error is raised from run when the child is gone. When the task is cancelled the child is
-- ended the same way first. `timeout` (seconds): past it the child is ended as by p:stop().
-- Result: {exit_code = 0 | nil, signal = "SIGTERM" | nil, elapsed = s, cpu = s, max_rss = bytes,
-- pipe_held = bool (another process kept a pipe open: its later output is lost), stopped = bool
-- (p:stop was called), timed_out = bool}; neither exit_code nor signal if a host program reaped
-- the child before us. max_rss is at least our own size. run may be called once.
--
-- p.pid; p:tail(fd) → list of lines, list of levels (false where there is none); p:captured(fd) →
-- string, was it cut?; p:lines(fd, at_end) → an iterator (mode pull), which calls at_end before it
-- gives nil; p:capture(fd, limit): lines not yet pulled and all to come are captured;
-- p:stop([grace]): SIGTERM once to its process group, SIGKILL after the grace, does not wait;
-- p:signal("SIGUSR1"): to the group, false if it is gone; p:is_running(); p:elapsed(). A handle
-- that is closed (waits until the child is gone) or collected (does not wait) ends a live child.
--
-- process.follow(p, fn, ...) → a child task that runs fn(...), which calls p:run.
--
-- Times are real ones, also under the virtual clock.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.proc"
local err = require "jobrun.core.error"
local task = require "jobrun.task"
local task_core = require "jobrun.core.task"

local M = {}

local MODES = { null = 0, inherit = 1, lines = 2, capture = 3, pull = 4 }

---@class jobrun.process
---@field pid integer
local Process = {}
Process.__index = Process

-- C takes lists of strings as one string, with a zero behind each.
local function pack(list)
  return table.concat(list, "\0") .. "\0"
end

-- The children of a run that a store knows of are told whose they are.
local function pack_env(env)
  local runs = package.loaded["jobrun.queue.runs"]
  local own = runs and runs.environment()
  if not env and not own then return nil end
  local list = {}
  for name, value in pairs(own or {}) do list[#list + 1] = name .. "=" .. value end
  for name, value in pairs(env or {}) do
    list[#list + 1] = value == false and name or name .. "=" .. tostring(value)
  end
  return #list > 0 and pack(list) or nil
end

-- What failed, for a person: the system's text alone does not tell which of the names is meant.
local function explain(spec, code, step, text)
  local program = spec.argv[1]
  if step == "cwd" then return ("cannot enter the folder '%s': %s"):format(spec.cwd, text) end
  if step == "user" then return ("cannot run as user '%s': %s"):format(spec.user, text) end
  if step ~= "exec" then return ("cannot run '%s': %s (%s)"):format(program, text, step) end
  if code == "ENOENT" then
    local is_path = program:find("/", 1, true)
    text = is_path and "no such file, or its interpreter is missing" or "not found in PATH"
  elseif code == "EACCES" then
    text = "not an executable file, or no permission"
  end
  return ("cannot run '%s': %s"):format(program, text)
end

local function raise_start(spec, kind, code, step, text)
  local reason = explain(spec, code, step, text)
  error(err.new {
    kind = kind,
    code = code,
    op = step,
    argv = spec.argv,
    reason = reason,
    message = (spec.what or "process") .. ": " .. reason,
  })
end

local function add_streams(handle, streams)
  for fd, s in pairs(streams) do
    core.stream(handle, fd, MODES[s.mode], s.keep or 0, (s.limit or 0) // 1 | 0, s.ffmpeg == true)
    if s.drop then core.drops(handle, fd) end
  end
  for fd = 1, 2 do
    if not streams[fd] then core.stream(handle, fd, MODES.inherit) end
  end
end

---Describes a program; see the head of this file.
---@param spec table checked by the caller
---@return jobrun.process
function M.new(spec)
  local handle = core.new()
  add_streams(handle, spec.streams or {})
  if spec.ionice then core.ionice(handle, spec.ionice[1], spec.ionice[2]) end
  for _, limit in ipairs(spec.rlimits or {}) do core.rlimit(handle, limit[1], limit[2], limit[3]) end
  local self = setmetatable({ handle = handle, spec = spec }, Process)
  if type(spec.stdin) == "table" and not spec.stdin.path then
    self.source = spec.stdin
    core.input_pipe(handle)
  end
  return self
end

---Its stdout becomes the stdin of `other`; neither is started yet.
---@param other jobrun.process
function Process:connect(other)
  core.connect(self.handle, other.handle)
end

local function open_input(self)
  local path, cwd = self.spec.stdin.path, self.spec.cwd
  if cwd and not path:find("^/") then path = cwd .. "/" .. path end
  local ok, kind, code, _, text = core.input_file(self.handle, path)
  if ok then return end
  if code == "EINVAL" then text = "it is neither a file nor a device" end
  local reason = ("cannot read '%s' as stdin: %s"):format(path, text)
  error(err.new { kind = kind, code = code, op = "stdin", argv = self.spec.argv, reason = reason,
    message = (self.spec.what or "process") .. ": " .. reason })
end

---Starts what was described.
function Process:start()
  local spec = self.spec
  local stdin = spec.stdin
  if type(stdin) == "table" then
    if stdin.path then open_input(self) end
    stdin = nil
  end
  local pid, kind, code, step, text = core.start(self.handle, pack(spec.argv), pack_env(spec.env),
    stdin, spec.cwd, spec.user, spec.umask, spec.nice, spec.grace or 10)
  if not pid then raise_start(spec, kind, code, step, text) end
  self.pid, self.spec = pid, nil
end

---Starts a program; see the head of this file.
---@param spec table checked by the caller
---@return jobrun.process
function M.start(spec)
  local self = M.new(spec)
  self:start()
  return self
end

-- Not at a good end: lines that nobody has pulled yet are still to be had then.
local Follower = {
  __close = function(self, e)
    if e ~= nil then self.process:close() end
  end,
}

---Starts `fn(...)`, which is to call p:run, as a child task. It begins even if it is cancelled before
---it ever ran, so that the process always has somebody who ends it.
---@param p jobrun.process
---@param fn function
---@return jobrun.Task
function M.follow(p, fn, ...)
  return task_core.begin(function(...)
    local _ <close> = setmetatable({ process = p }, Follower)
    return fn(...)
  end, ...)
end

local function write_all(self)
  for bytes in self.source do
    if type(bytes) ~= "string" then
      check.fail("stdin: the channel gave a %s: only strings can be written", type(bytes))
    end
    if not core.write(self.handle, bytes) then break end
  end
  core.finish(self.handle)
end

-- A failure is run's to raise, when the program is gone.
local function feed(self)
  local ok, e = pcall(write_all, self)
  if ok then return end
  self.feed_error = e
  self:stop()
end

-- Whoever waits with an item in hand gets rid of it, and is told at the next one.
local function close_source(source)
  source:close()
  while source.length > 0 do source:get() end
end

local Feeding = {
  __close = function(feeding)
    feeding.task:cancel()
    pcall(close_source, feeding.source)
  end,
}

local function run(self, h)
  local result = core.run(self.handle, h.timeout, h.note, h[1], h[2], h[3], h[4], h[5], h[6], h[7])
  local runs = package.loaded["jobrun.queue.runs"] -- where a store keeps runs
  if runs then runs.note_child(result) end
  return result
end

local function run_and_feed(self, h)
  local _ <close> = setmetatable({ task = task.spawn(feed, self), source = self.source }, Feeding)
  local result = run(self, h)
  if self.feed_error and not err.is(self.feed_error, "cancelled") then error(self.feed_error, 0) end
  return result
end

---Follows it to its end; suspends. Once per process.
---@param handlers table<integer|string, function|number>
---@return table result
function Process:run(handlers)
  return (self.source and run_and_feed or run)(self, handlers or {})
end

---An iterator over the lines of a stream with mode "pull"; suspends while there is none.
---@param fd integer
---@param at_end? function called at the end, before nil is returned; may suspend
---@return fun(): string?, string?
function Process:lines(fd, at_end)
  return core.lines(self.handle, fd, at_end)
end

---@param fd integer
---@return string[] lines, (string|false)[] levels
function Process:tail(fd)
  return core.tail(self.handle, fd)
end

---@param fd integer
---@return string bytes, boolean was_cut
function Process:captured(fd)
  return core.captured(self.handle, fd)
end

---@param fd integer
---@param limit integer
function Process:capture(fd, limit)
  core.capture(self.handle, fd, limit)
end

---@param fd integer
---@return integer lines left out
function Process:dropped(fd)
  return core.dropped(self.handle, fd)
end

---@param grace number?
function Process:stop(grace)
  core.stop(self.handle, grace)
end

---@param name string
---@return boolean sent
function Process:signal(name)
  return core.signal(self.handle, name)
end

---Stops its group where it is (SIGSTOP). Timeouts go on.
function Process:pause()
  if not self.is_paused then self.is_paused = self:signal("SIGSTOP") end
end

---Lets it go on.
function Process:resume()
  if self.is_paused then self:signal("SIGCONT") end
  self.is_paused = false
end

---@return boolean
function Process:is_running()
  return core.is_running(self.handle)
end

---@return number seconds
function Process:elapsed()
  return core.elapsed(self.handle)
end

---Ends it and waits until it is gone.
function Process:close()
  core.close(self.handle)
end

Process.__close = Process.close

return M
