--- One run of ffmpeg: from the checked options to a result or an error.
--
--   prepare   checks the table, looks at the files, builds the command           (suspends)
--   start     starts the process                                                 (does not suspend)
--   follow    drain, then conclude                                               (suspends)
--   drain       delivers lines and progress until ffmpeg is gone, and judges
--   conclude    renames, and makes the result or the error
--
-- A stage of a pipeline is a run too; jobrun.pipeline calls describe, start and drain, and concludes
-- when it has seen how all of them ended.
--
-- prepare and start run in the task that called, so that a mistake blames its line and the handle
-- has a pid. follow runs there too (`ffmpeg{}`) or in a task of its own (`ffmpeg.start{}`). However
-- follow is left, the child is gone, on_progress has had its one event with done=true, and no
-- temporary file is left.
--
-- Channels of the child: stdout to nowhere or captured, stderr always read, fd 3 the report, fd 4
-- the progress.
--
-- SPDX-License-Identifier: MIT

local argv = require "jobrun.ffmpeg.argv"
local check = require "jobrun.check"
local err = require "jobrun.core.error"
local failure = require "jobrun.ffmpeg.failure"
local output = require "jobrun.ffmpeg.output"
local passes = require "jobrun.ffmpeg.passes"
local process = require "jobrun.process"
local process_options = require "jobrun.process_options"
local progress = require "jobrun.ffmpeg.progress"
local report = require "jobrun.ffmpeg.report"
local task = require "jobrun.task"
local terminal = require "jobrun.terminal"
local verify = require "jobrun.ffmpeg.verify"

local Run = {}
Run.__index = Run

local M = { going = {} } -- going: {[run] = true}, for metrics

local TAIL = 200 -- lines of stderr
local DEFAULT_CAPTURE = 1 << 20
local STDOUT, STDERR, REPORT, PROGRESS = 1, 2, 3, 4

local OWN_OPTIONS = {
  input = "any", inputs = "any", output = "any", outputs = "any", args = "any", global_args = "any",
  filter_complex = "any", overwrite = "any", strict = "boolean",
  bin = "string",
  on_report = "callable", on_progress = "callable", on_stderr = "callable",
  timeout = "duration", stall_timeout = "duration", duration = "duration",
  stats_period = "duration", capture_stdout = "boolean|integer", keep_partial = "boolean",
  verify = "table", progress = "boolean", retry = "any", limit = "any", two_pass = "boolean",
}
for name, rule in pairs(process_options.spec) do OWN_OPTIONS[name] = rule end

-- ---- prepare ------------------------------------------------------------------------------------

local function own_options(opts)
  local own = {}
  for key, value in pairs(opts) do
    if argv.is_own(key, value) then own[key] = value end
  end
  output.check_overwrite(own.overwrite)
  own = check.options("ffmpeg", own, OWN_OPTIONS)
  process_options.resolve("ffmpeg", own)
  if math.type(own.capture_stdout) and own.capture_stdout < 0 then
    check.fail("ffmpeg: capture_stdout: expected at least 0 bytes, got %d", own.capture_stdout)
  end
  own.verify = own.verify and verify.check(own.verify)
  return own
end

-- What is raw ("pipe:1", a tee) may lead to a neighbour; a path or URL does not.
local function leads_out(files)
  for _, file in ipairs(files) do
    if file.kind == "raw" then return true end
  end
  return false
end

local function check_place(own, place, plan)
  if place.reads and not leads_out(plan.inputs) then
    check.fail "stage.ffmpeg: it reads files, so nobody reads the stage before: leave out an input, or that stage"
  end
  if place.writes and not leads_out(plan.outputs) then
    check.fail "stage.ffmpeg: it writes files, so the stage behind gets nothing: leave out an output, or that stage"
  end
  if place.reads and own.stdin then check.fail "stage.ffmpeg: its stdin comes from the stage before" end
  if place.writes and own.capture_stdout then check.fail "stage.ffmpeg: its stdout goes to the next stage" end
end

-- A stall is seen in the progress, so that has to come often enough.
local function stats_period(own)
  if own.stats_period then return math.max(own.stats_period, 0.001) end
  return own.stall_timeout and math.max(math.min(0.5, own.stall_timeout / 4), 0.01) or 0.5
end

---Checks everything that can be checked before ffmpeg is started. (suspends)
---@param opts table what the script passed
---@param place? {reads: boolean, writes: boolean} in a pipeline: from the stage before, to the one behind
---@param pass? jobrun.ffmpeg.Pass
---@return table run
function M.prepare(opts, place, pass)
  place = place or {}
  local plan = argv.plan(opts, place)
  if pass then passes.apply(plan, pass) end
  local own = own_options(opts)
  check_place(own, place, plan)
  plan.stats_period = stats_period(own)
  output.check_cwd(own.cwd)
  output.check_inputs("ffmpeg", plan.inputs, own.cwd)
  local targets, skip = output.prepare(plan, own.overwrite or false, own.cwd)
  local self = setmetatable({ own = own, plan = plan, targets = targets, skipped = skip }, Run)
  self.program, self.pass = "ffmpeg", pass and pass.number
  self.log = report.new()
  self.durations = {}
  self.argv = argv.build(plan, self:names())
  return self
end

---ffmpeg as one stage of a pipeline: prepared and described. (suspends)
---@param opts table
---@param place {reads: boolean, writes: boolean}
---@return table run
function M.stage(opts, place)
  local self = M.prepare(opts, place)
  if not self.skipped then self:describe() end
  return self
end

function Run:names()
  local names = { targets = {}, report = self.own.on_report ~= nil }
  for i, target in ipairs(self.targets) do names.targets[i] = target.written end
  names.replace = output.may_replace(self.targets, self.own.overwrite)
  return names
end

-- ---- start --------------------------------------------------------------------------------------

function Run:environment()
  local env = { FFREPORT = false, AV_LOG_FORCE_COLOR = false }
  for key, value in pairs(self.own.env or {}) do env[key] = value end
  if self.own.on_report then env.FFREPORT = "file=/dev/fd/3:level=32" end
  return env
end

function Run:streams()
  local capture = self.own.capture_stdout
  if capture == true then capture = DEFAULT_CAPTURE end
  local drop = self.own.drop
  return {
    [STDOUT] = capture and { mode = "capture", limit = capture } or { mode = "null" },
    [STDERR] = { mode = "lines", keep = TAIL, ffmpeg = true, drop = drop },
    [REPORT] = self.own.on_report and { mode = "lines", ffmpeg = true, drop = drop } or nil,
    [PROGRESS] = { mode = "lines" },
  }
end

---Describes the process, so that a pipeline can join it to others before the start.
function Run:describe()
  local own = self.own
  local p = process.new(process_options.describe(own, {
    what = "ffmpeg", argv = self.argv, env = self:environment(), streams = self:streams(),
  }))
  self.process = p
  self.progress = progress.new(function() return p:elapsed() end)
  self.progress:set_length(own.duration)
end

---Starts ffmpeg. Raises kind not_found, permission or spawn.
function Run:start()
  if not self.process then self:describe() end
  if not self.own.keep_partial then output.guard(self.targets) end
  local ok, e = pcall(self.process.start, self.process)
  if not ok then failure.raise_spawn("ffmpeg", e, self.argv) end
  if self.own.progress and not self.bar then self.bar = terminal.bar(self:label()) end
end

-- What a bar is called: its first output.
function Run:label()
  local first = self.plan.outputs[1]
  return first.kind == "path" and first.name:match("[^/]*$") or argv.mask(first.name)
end

-- ---- follow: while it runs ----------------------------------------------------------------------

-- A callback that waits holds up the reading: that is no stall.
function Run:watched(callback)
  if not callback or not self.own.stall_timeout then return callback end
  return function(...)
    self.in_callback = true
    callback(...)
    self.in_callback = false
    self.active_at = task.monotonic()
  end
end

local function option_tables(files)
  local list = {}
  for i, file in ipairs(files) do list[i] = file.options end
  return list
end

function Run:note(line, level)
  local duration = progress.duration_in(line)
  if duration ~= nil then self:note_duration(duration) end
  self.log:note(line, level)
end

-- One line for each input, in their order; false = unknown.
function Run:note_duration(duration)
  local plan = self.plan
  self.durations[#self.durations + 1] = duration
  if self.own.duration or #self.durations < #plan.inputs then return end
  local inputs, outputs = option_tables(plan.inputs), option_tables(plan.outputs)
  self:set_length(progress.length_of(inputs, outputs, self.durations))
end

-- A stage that reads a pipe is not told how long its input is: as long as that of the first stage.
function Run:set_length(seconds)
  self.progress:set_length(seconds or self.presumed)
  if self.on_length then self.on_length(seconds) end
end

---How long its result will be if it does not find out by itself.
---@param seconds? number
function Run:presume_length(seconds)
  self.presumed = seconds
  if not self.own.duration and not self.progress.length then self.progress:set_length(seconds) end
end

local function has_moved(p, before)
  return not before or p.frame ~= before.frame or p.out_time ~= before.out_time
    or p.total_size ~= before.total_size
end

function Run:progress_line(line)
  local before = self.progress.last
  local p = self.progress:line(line)
  if not p then return end
  if has_moved(p, before) then self.active_at = task.monotonic() end
  self:tell(p)
end

-- The bar, and on_progress; `telling` stays true when that raises.
function Run:tell(p)
  if self.pass then passes.scale(p, self.pass) end
  if self.bar then self.bar:update(p) end
  if self.bar and p.done then self.bar:finish(self.succeeded or false, p) end
  if not self.tell_progress then return end
  self.telling = true
  self.tell_progress(p)
  self.telling = false
end

-- Of a stage: its own callback, then the pipeline's.
local function one_after_another(first, second)
  if not first or not second then return first or second end
  return function(p)
    first(p)
    second(p)
  end
end

function Run:handlers()
  self.tell_progress = self:watched(one_after_another(self.own.on_progress, self.on_stage_progress))
  return {
    [STDERR] = self:watched(self.own.on_stderr),
    [REPORT] = self:watched(self.own.on_report),
    [PROGRESS] = function(line) self:progress_line(line) end,
    note = function(line, level, fd)
      if fd == STDERR then self:note(line, level) end -- the report says the same again
    end,
    timeout = self.own.timeout,
  }
end

function Run:watch_for_stall()
  local limit = self.own.stall_timeout
  while true do
    if self.in_callback or self.paused then self.active_at = task.monotonic() end
    local quiet = task.monotonic() - self.active_at
    if quiet >= limit then break end
    task.sleep(limit - quiet)
  end
  self.stalled = true
  self.process:stop()
end

function Run:end_watching()
  if self.watcher then self.watcher:cancel() end
  self.watcher = nil
end

-- ---- follow: the end ----------------------------------------------------------------------------

local function seconds_text(seconds)
  return ("%.6g s"):format(seconds)
end

-- "video:0kB audio:0kB …: unknown": all streams were written, and nothing was in them.
local function nothing_written(lines)
  for i = #lines, 1, -1 do
    if lines[i]:find("^video:%d") then
      return lines[i]:find("^video:0kB audio:0kB subtitle:0kB other streams:0kB .*: unknown") ~= nil
    end
  end
  return false
end

-- A seek past the end gives a file with a header, no frame in it, and exit status 0.
function Run:is_empty(lines)
  if self.log.empty_output then return true end
  local p = self.progress.last
  if not p or p.out_time ~= 0 then return false end
  return p.frame == 0 or (p.frame == nil and nothing_written(lines))
end

-- What is wrong although the exit status is 0: kind and reason, or nil.
function Run:hidden_fault(lines)
  local unclosed = self.log.unclosed
  if unclosed then return report.kind_of(unclosed) or "output", unclosed end
  local fault = output.fault(self.targets)
  if fault then return "output", fault end
  if self:is_empty(lines) then return "output", "nothing was encoded (look at ss, t and the frame limits)" end
  if self.plan.strict and self.log.errors.count > 0 then return "strict", self.log.errors[1] end
end

-- After stop(): ffmpeg closes its files and exits with 255.
local function ended_as_asked(ended)
  return ended.exit_code == 0 or ended.exit_code == 255 or ended.signal == "SIGTERM"
end

---Kind and reason of the failure, or nil.
function Run:judge(ended, lines)
  if ended.timed_out then return "timeout", "timed out after " .. seconds_text(self.own.timeout) end
  if self.stalled then return "timeout", "no progress for " .. seconds_text(self.own.stall_timeout) end
  if self.stopping and ended_as_asked(ended) then return nil end
  if self.stopping and ended.signal == "SIGKILL" then
    return "signal", "it did not end after SIGTERM and was killed"
  end
  if ended.exit_code == 0 then
    local kind, reason = self:hidden_fault(lines)
    if kind or not self.own.verify then return kind, reason end
    return verify.fault(self.own.verify, self.targets, self.progress)
  end
  local kind, reason = failure.of_exit(self.log, ended, lines)
  return self.plan.strict and kind == "exit" and "strict" or kind, reason
end

-- The one event with done=true, whatever happened; but not for a callback that raised.
function Run:finish_progress(ok)
  if self.finished or self.telling then return end
  self.finished = true
  if ok and self.pass == 1 then return end
  self.succeeded = ok
  local p = self.progress:finish(ok)
  self:tell(p)
end

---Raises the error of the run. What on_progress makes of the last event does not hide it.
---@param kind string
---@param reason string
---@param more? table fields of the error
function Run:fail(kind, reason, more)
  pcall(self.finish_progress, self, false)
  local ended = self.ended
  local fields = {
    kind = kind,
    reason = output.real_names(self.targets, reason),
    exit_code = ended.exit_code, signal = ended.signal, elapsed = ended.elapsed,
    lines = failure.last_lines(self.lines), argv = self.argv, progress = self.progress.last,
    partial = self.own.keep_partial and output.partial(self.targets) or nil,
  }
  for key, value in pairs(more or {}) do fields[key] = value end
  error(failure.new("ffmpeg", fields), 0)
end

---Gives the outputs their names. (suspends)
function Run:commit()
  local ok, e = pcall(output.commit, self.targets, self.own.overwrite)
  if ok then return end
  if type(e) ~= "table" or e.kind == "cancelled" then error(e, 0) end
  local what = e.kind == "exists" and "came into being while ffmpeg ran" or "cannot be kept"
  self:fail(e.kind, ("the output %s: %s"):format(what, e.message), { cause = e })
end

---Removes what was written. (suspends)
function Run:discard()
  if not self.own.keep_partial then task.shield(output.discard, self.targets) end
end

---@class jobrun.ffmpeg.Result
---@field ok true
---@field exit_code? integer
---@field elapsed number seconds
---@field cpu number seconds
---@field max_rss integer bytes
---@field progress jobrun.ffmpeg.Progress the last
---@field errors {count: integer, [integer]: string} the first 20 lines
---@field warnings {count: integer, [integer]: string}
---@field outputs {path?: string, url?: string, raw?: string, size?: integer}[]
---@field argv string[] the command
---@field stopped boolean by h:stop()
---@field dropped integer lines left out (on_overflow = "drop")
---@field pipe_held boolean another process kept a pipe of ffmpeg open
---@field stdout? string with capture_stdout
---@field stdout_cut? boolean there was more than that
---@field skipped? boolean nothing had to be done (overwrite = "skip" or "newer")

---The result of a run that ended well. (suspends)
---@return jobrun.ffmpeg.Result
function Run:result()
  local ended = self.ended
  local r = {
    ok = true, exit_code = ended.exit_code, elapsed = ended.elapsed, cpu = ended.cpu, max_rss = ended.max_rss,
    progress = self.progress.last, errors = self.log.errors, warnings = self.log.warnings,
    outputs = output.describe(self.targets), argv = self.argv,
    stopped = self.stopping or false, pipe_held = ended.pipe_held,
    dropped = self.process:dropped(STDERR) + (self.own.on_report and self.process:dropped(REPORT) or 0),
  }
  if self.own.capture_stdout then r.stdout, r.stdout_cut = self.process:captured(STDOUT) end
  return r
end

function Run:conclude()
  if self.kind then self:fail(self.kind, self.reason) end
  self:commit()
  local result = self:result()
  self:finish_progress(not self.stopping)
  result.progress = self.progress.last
  return result
end

-- After an error: no more events but the last, the child gone, its temporary files too. Waits out
-- of reach of a cancellation. An on_progress that was waiting when the run was cancelled has not
-- raised by itself.
function Run:clean_up(e)
  if err.is(e, "cancelled") then self.telling = false end
  pcall(self.finish_progress, self, false)
  self:close_bar()
  self.process:close()
  self:discard()
end

function Run:close_bar()
  if self.bar then self.bar:close() end
end

-- Whoever holds a run holds it as a to-be-closed variable. Once it is followed that is follow's
-- business alone.
function Run:__close(e)
  if e ~= nil and self.process and not self.followed then self:clean_up(e) end
end

local function leave(self)
  return setmetatable({}, {
    __close = function(_, e)
      if e ~= nil then self:clean_up(e) end
    end,
  })
end

local Watching = {
  __close = function(watching)
    M.going[watching.run] = nil
    watching.run:end_watching()
  end,
}

-- Delivers everything until ffmpeg is gone.
function Run:read_to_the_end()
  local _ <close> = setmetatable({ run = self }, Watching)
  M.going[self] = true
  self.active_at = task.monotonic()
  if self.own.stall_timeout then self.watcher = task.spawn(self.watch_for_stall, self) end
  return self.process:run(self:handlers())
end

---Reads ffmpeg to its end, and notes why it failed, if it did. (suspends)
---@param timeout? number seconds, where the run has none of its own
function Run:drain(timeout)
  self.own.timeout = self.own.timeout or timeout
  self.ended = self:read_to_the_end()
  self.lines = self.process:tail(STDERR)
  self.kind, self.reason = self:judge(self.ended, self.lines)
  self.is_broken_pipe = self.ended.signal == "SIGPIPE" or self.kind == "broken_pipe"
end

---Reads ffmpeg to its end. (suspends)
---@return jobrun.ffmpeg.Result
function Run:follow()
  self.followed = true
  local _ <close> = leave(self)
  self:drain()
  return self:conclude()
end

---Asks ffmpeg to close its files and end; what it has written so far is the result. Does not wait.
---@param grace? number seconds until SIGKILL
function Run:stop(grace)
  self.stopping = true
  self:resume()
  self.process:stop(grace)
end

---Stops the process where it is; timeouts go on, stall_timeout does not.
function Run:pause()
  self.paused = true
  self.process:pause()
end

function Run:resume()
  self.paused = false
  self.process:resume()
end

---The result of a run that was not needed.
---@return jobrun.ffmpeg.Result
function Run:skipped_result()
  return {
    ok = true, skipped = true, elapsed = 0, errors = self.log.errors, warnings = self.log.warnings,
    outputs = output.describe(self.targets), argv = self.argv, stopped = false,
  }
end

return M
