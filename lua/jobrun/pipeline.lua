--- Programs joined by pipes: `pipeline(stage.ffmpeg{…} | stage.exec{…}, {timeout=600})`, or
--- `pipeline{s1, s2, timeout=600}`. `pipeline.start` does not wait and gives a handle.
--
-- The pipes are the kernel's: no byte passes through jobrun. Each stage is read to its end in a task
-- of its own; when all are gone, it is decided what it meant.
--
-- Who is to blame. A stage whose reader is gone breaks at its next write, and one whose writer broke
-- off reads a short input: both only follow from something else. So a broken pipe counts for nothing
-- where a stage stands behind, and of the failures left the first from the left is the cause. If
-- nothing is left, a stage that needed no more input has ended the others: success, early_close=true.
-- A failure is one of the whole even if the last stage made something of the short input and exited
-- with 0: what it wrote is removed.
--
-- Most stages end by themselves when another one failed. One that does not notice (it waits for
-- something, or still encodes) is ended a second later; nobody wants what it makes.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local err = require "jobrun.core.error"
local failure = require "jobrun.ffmpeg.failure"
local limit = require "jobrun.limit"
local retry = require "jobrun.retry"
local stages = require "jobrun.stage"
local sync = require "jobrun.sync"
local task = require "jobrun.task"
local task_core = require "jobrun.core.task"
local terminal = require "jobrun.terminal"

local M = {}

local PATIENCE <const> = 1 -- seconds for the others to end by themselves

---@class jobrun.pipeline.Options
---@field timeout? number|string past it all stages are ended, kind "timeout"
---@field grace? number|string between SIGTERM and SIGKILL, of stages that say nothing themselves
---@field on_progress? fun(p: jobrun.ffmpeg.Progress, stage: integer) of the stages that are ffmpeg
---@field retry? jobrun.Retry|integer
---@field limit? string|jobrun.Limit|false
---@field progress? boolean a bar on the terminal

local SPEC = {
  timeout = "duration", grace = "duration", on_progress = "callable", retry = "any", limit = "any",
  progress = "boolean",
}

---@class jobrun.pipeline.Result
---@field ok true
---@field exit_code? integer the last stage's
---@field elapsed number seconds
---@field stages table[] the result of each
---@field outputs table[] of all stages, as in jobrun.ffmpeg.Result
---@field errors {count: integer, [integer]: string} of all stages that are ffmpeg, the first 20 lines of each
---@field warnings {count: integer, [integer]: string} the same
---@field progress? jobrun.ffmpeg.Progress of the last stage that is ffmpeg
---@field stdout? string of the last stage
---@field early_close boolean a stage ended before it had read everything
---@field stopped boolean by h:stop()
---@field skipped? boolean nothing had to be done (overwrite = "skip" or "newer")

local Pipeline = {}
Pipeline.__index = Pipeline

-- ---- prepare --------------------------------------------------------------------------------------

-- The two ways to call it: (stages, options), or one table with both.
local function arguments(what, first, second)
  local list = stages.list(first)
  if list then return list, second or {} end
  if type(first) ~= "table" then
    check.fail("%s: expected stages (stage.ffmpeg{…} | stage.exec{…}), got %s", what, check.show(first))
  end
  if second ~= nil then check.fail("%s: options beside a table that may hold them itself", what) end
  list = {}
  local options = {}
  for key, value in pairs(first) do
    if math.type(key) ~= "integer" then options[key] = value end
  end
  for i, value in ipairs(first) do
    local some = stages.list(value)
    if not some then check.fail("%s: item %d is no stage: %s", what, i, check.show(value)) end
    table.move(some, 1, #some, #list + 1, list)
  end
  return list, options
end

local function checked(what, first, second)
  local list, options = arguments(what, first, second)
  if #list == 0 then check.fail("%s: no stages", what) end
  local own = check.options(what, options, SPEC)
  own.retry = retry.check(what, own.retry)
  own.limit = limit.of_option(what, own.limit, "ffmpeg")
  return list, own
end

local function prepare_stage(self, one, i, count)
  local options = {}
  for key, value in pairs(one.options) do options[key] = value end
  if options.grace == nil then options.grace = self.own.grace end
  for _, word in ipairs { "retry", "limit", "two_pass", "progress" } do
    if options[word] ~= nil then check.fail("stage %d: %s is an option of the whole pipeline", i, word) end
  end
  local place = { reads = i > 1, writes = i < count }
  local run = require(one.module).stage(options, place)
  run.number = i
  return run
end

-- Those that are ffmpeg are as long as the first of them, and report their progress.
local function link_progress(self)
  local tell = self.own.on_progress
  local coded = {}
  for _, run in ipairs(self.stages) do
    if run.program == "ffmpeg" then
      coded[#coded + 1] = run
      run.on_stage_progress = function(p)
        if self.bar and run == coded[#coded] then self.bar:update(p) end
        if tell then tell(p, run.number) end
      end
    end
  end
  self.last_coded = coded[#coded]
  if not coded[2] then return end
  coded[1].on_length = function(seconds)
    for i = 2, #coded do coded[i]:presume_length(seconds) end
  end
  coded[1].on_length(coded[1].own.duration)
end

-- Checks all stages and joins them. (suspends)
local function prepare(list, own)
  local self = setmetatable({ own = own, stages = {} }, Pipeline)
  for i, one in ipairs(list) do
    self.stages[i] = prepare_stage(self, one, i, #list)
    if self.stages[i].skipped then self.skipped = self.stages[i] end
  end
  if self.skipped then return self end
  for i = 2, #self.stages do self.stages[i - 1].process:connect(self.stages[i].process) end
  link_progress(self)
  return self
end

-- ---- run ------------------------------------------------------------------------------------------

local function raise_start(run, e)
  if err.is(e) and #e.message > 0 then
    e.stage = run.number
    e.message = ("%s (stage %d)"):format(e.message, run.number)
  end
  error(e, 0)
end

-- The reader first: a writer that is there before it could only wait.
function Pipeline:start()
  for i = #self.stages, 1, -1 do
    local run = self.stages[i]
    local ok, e = pcall(run.start, run)
    if not ok then raise_start(run, e) end
  end
  if self.own.progress then
    local last = self.stages[#self.stages]
    self.bar = terminal.bar(last.label and last:label() or last.argv[1])
  end
end

local function is_secondary(self, run)
  return run.ended_by_us or run.is_broken_pipe and run.number < #self.stages
end

function Pipeline:end_the_others()
  for _, run in ipairs(self.stages) do
    if not run.ended then
      run.ended_by_us = true
      run.process:stop()
    end
  end
end

local function drain_one(self, run, failed)
  local given = (run.own or run.options).timeout
  run.has_own_timeout = given ~= nil
  run:drain(self.own.timeout)
  if run.kind and not is_secondary(self, run) then failed:set() end
end

-- Reads all stages to their end. The first callback that raises ends them all. (suspends)
local function drain(self)
  local failed = sync.event()
  local watcher = task.spawn(function()
    failed:wait()
    task.sleep(PATIENCE)
    self:end_the_others()
  end)
  local readers = {}
  for i, run in ipairs(self.stages) do readers[i] = task.spawn(drain_one, self, run, failed) end
  for _, reader in ipairs(readers) do reader:await() end
  watcher:cancel()
end

-- ---- what it meant --------------------------------------------------------------------------------

function Pipeline:cause()
  for _, run in ipairs(self.stages) do
    if run.kind and not is_secondary(self, run) then return run end
  end
end

function Pipeline:has_closed_early()
  for i = 1, #self.stages - 1 do
    if self.stages[i].is_broken_pipe then return true end
  end
  return false
end

local function summary(run)
  local ended = run.ended
  return {
    program = run.program, argv = run.argv, ok = run.kind == nil, kind = run.kind, reason = run.reason,
    exit_code = ended.exit_code, signal = ended.signal, elapsed = ended.elapsed, cpu = ended.cpu,
  }
end

local function summaries(self)
  local list = {}
  for i, run in ipairs(self.stages) do list[i] = summary(run) end
  return list
end

local function reason_of(self, run)
  local limit_s = self.own.timeout
  if run.kind == "timeout" and limit_s and not run.has_own_timeout then
    return ("the pipeline timed out after %.6g s"):format(limit_s)
  end
  return run.reason
end

function Pipeline:fail(run)
  local more = { stage = run.number, stages = summaries(self) }
  for _, other in ipairs(self.stages) do
    if other ~= run then pcall(other.finish_progress, other, false) end
  end
  local reason = reason_of(self, run)
  if run.fail then run:fail(run.kind, reason, more) end
  local fields = {
    kind = run.kind, reason = reason, exit_code = run.ended.exit_code, signal = run.ended.signal,
    elapsed = run.ended.elapsed, argv = run.argv, lines = failure.last_lines(run.lines),
    progress = self.last_coded and self.last_coded.progress.last,
  }
  for key, value in pairs(more) do fields[key] = value end
  error(failure.new(run.program, fields), 0)
end

local function add_counts(all, some)
  if not some then return end
  all.count = all.count + some.count
  table.move(some, 1, #some, #all + 1, all)
end

function Pipeline:result()
  local last = self.stages[#self.stages]
  local r = {
    ok = true, stages = {}, outputs = {}, exit_code = last.ended.exit_code,
    elapsed = 0, early_close = self:has_closed_early(), stopped = self.stopping or false,
    errors = { count = 0 }, warnings = { count = 0 },
  }
  for i, run in ipairs(self.stages) do
    local one = run:result()
    r.stages[i] = one
    r.elapsed = math.max(r.elapsed, one.elapsed)
    add_counts(r.errors, one.errors)
    add_counts(r.warnings, one.warnings)
    table.move(one.outputs or {}, 1, #(one.outputs or {}), #r.outputs + 1, r.outputs)
    run:finish_progress(not self.stopping and not run.is_broken_pipe)
    if run.program == "ffmpeg" then one.progress = run.progress.last end
  end
  r.stdout, r.stdout_cut = r.stages[#r.stages].stdout, r.stages[#r.stages].stdout_cut
  r.progress = self.last_coded and self.last_coded.progress.last
  return r
end

function Pipeline:finish_bar(ok)
  if self.bar then self.bar:finish(ok, self.last_coded and self.last_coded.progress.last or {}) end
end

function Pipeline:conclude()
  local cause = self:cause()
  if cause then self:fail(cause) end
  for _, run in ipairs(self.stages) do run:commit() end
  local result = self:result()
  self:finish_bar(true)
  return result
end

-- All of them are asked before one is waited for.
function Pipeline:clean_up(e)
  for _, run in ipairs(self.stages) do
    if err.is(e, "cancelled") then run.telling = false end
    pcall(run.finish_progress, run, false)
    run.process:stop()
  end
  self:finish_bar(false)
  for _, run in ipairs(self.stages) do run.process:close() end
  for _, run in ipairs(self.stages) do run:discard() end
end

function Pipeline:__close(e)
  if e ~= nil and not self.followed then self:clean_up(e) end
end

local function leave(self)
  return setmetatable({}, {
    __close = function(_, e)
      if e ~= nil then self:clean_up(e) end
    end,
  })
end

local function skipped_result(run)
  return {
    ok = true, skipped = true, stages = {}, outputs = run:skipped_result().outputs, elapsed = 0,
    early_close = false, stopped = false, errors = { count = 0 }, warnings = { count = 0 },
  }
end

---Reads all stages to their end. (suspends)
---@return jobrun.pipeline.Result
function Pipeline:follow()
  self.followed = true
  if self.skipped then return skipped_result(self.skipped) end
  local _ <close> = leave(self)
  task.scope(drain, self)
  return self:conclude()
end

function Pipeline:stop(grace)
  self.stopping = true
  self:resume()
  self.stages[1]:stop(grace)
end

function Pipeline:pause()
  if self.skipped then return end
  for _, run in ipairs(self.stages) do run:pause() end
end

function Pipeline:resume()
  if self.skipped then return end
  for _, run in ipairs(self.stages) do run:resume() end
end

function Pipeline:is_running()
  if self.skipped then return false end
  for _, run in ipairs(self.stages) do
    if run.process:is_running() then return true end
  end
  return false
end

-- ---- the words ------------------------------------------------------------------------------------

---A pipeline that was started and not waited for.
---@class jobrun.pipeline.Handle
---@field pids integer[]
local Handle = {}
Handle.__index = Handle

---Waits for the end: the result, or the error raised. With `timeout`, past it kind "timeout" is
---raised and the pipeline goes on. (suspends)
---@param timeout? number|string
---@return jobrun.pipeline.Result
function Handle:wait(timeout)
  return self.task:await(timeout and check.duration(timeout, "wait"))
end

---Has it finish what it has: SIGTERM to the first stage only, the others end with their input; an ok
---result with stopped=true. From a callback of the run itself it returns at once. (suspends)
---@param grace? number|string until the first stage is killed
---@return jobrun.pipeline.Result?
function Handle:stop(grace)
  if self.run and not self.run.skipped then self.run:stop(grace and check.duration(grace, "stop")) end
  if task_core.is_within(self.task) then return nil end
  return self.task:await()
end

---Ends all stages and drops what they have written; wait raises kind "cancelled". Does not wait.
---@param reason? string
function Handle:cancel(reason)
  if self.run then self.run:resume() end
  self.task:cancel(reason)
end

---Stops all stages where they are (SIGSTOP). Timeouts go on.
function Handle:pause()
  if self.run then self.run:pause() end
end

---Lets them go on.
function Handle:resume()
  if self.run then self.run:resume() end
end

---@return boolean
function Handle:is_running()
  return self.run ~= nil and self.run:is_running()
end

Handle.__close = function(self)
  if not self:is_running() then return end
  self:cancel("its handle was closed")
  pcall(self.task.await, self.task)
end

local function begin(list, own)
  local run <close> = prepare(list, own)
  if not run.skipped then run:start() end
  return run
end

local function work(handle, list, own, first)
  local _ <close> = handle.permit
  return retry.call(own.retry, function(attempt)
    if attempt > 1 then
      handle.run = begin(list, own)
    else
      handle.run = first
    end
    return handle.run:follow()
  end)
end

local function start(first, second)
  local list, own = checked("pipeline.start", first, second)
  local permit = own.limit and own.limit:acquire()
  local handle = setmetatable({ permit = permit, pids = {} }, Handle)
  local ok, run = pcall(begin, list, own)
  if not ok then
    if permit then permit:release() end
    error(run, 0)
  end
  for i, one in ipairs(run.skipped and {} or run.stages) do handle.pids[i] = one.process.pid end
  handle.run = run
  handle.task = task_core.begin(work, handle, list, own, run)
  handle.task.name = "pipeline"
  if permit then permit:give_to(handle.task) end
  return handle
end

local function call(first, second)
  local list, own = checked("pipeline", first, second)
  local _ <close> = own.limit and own.limit:acquire() or nil
  return retry.call(own.retry, function() return begin(list, own):follow() end)
end

---Runs stages joined by pipes and waits. Raises the error of the stage that is to blame
---(jobrun.ffmpeg.Error, with `stage` and `stages`). (suspends)
---@overload fun(stages: jobrun.Stages, options?: jobrun.pipeline.Options): jobrun.pipeline.Result
M.pipeline = setmetatable({
  ---Starts them in a child task. (suspends)
  ---@param stages jobrun.Stages
  ---@param options? jobrun.pipeline.Options
  ---@return jobrun.pipeline.Handle
  start = start,
}, {
  __call = function(_, first, second) return call(first, second) end,
})

return M
