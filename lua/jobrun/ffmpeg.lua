--- ffmpeg as a call: `ffmpeg{ input="in.mp4", output="out.mp4", vcodec="libx264" }` runs it, waits,
--- and returns a result or raises an error that tells why it failed. `ffmpeg.start{…}` does not
--- wait and gives a handle.
---
--- Beside the keys of jobrun.ffmpeg.Options every option of ffmpeg is a key; it belongs to the
--- outputs, or to the file in whose table it stands: `input={path="a.mp4", ss=10}`. true = a bare
--- flag, false = absent, a list repeats the option, ["b:v"] carries a stream specifier.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local session = require "jobrun.ffmpeg.session"
local task_core = require "jobrun.core.task"

local M = {}

---@class jobrun.ffmpeg.File an input or output, where a path alone does not do; ffmpeg's options beside
---@field path? string a file
---@field url? string needs protocols
---@field raw? string passed as it is: lavfi graphs, devices, "pipe:1"
---@field protocols? string[] what a url may use: {"https", "tls", "tcp"}
---@field args? string[] passed as they are

---@class jobrun.ffmpeg.Options: jobrun.process.Options
---@field input? string|jobrun.ffmpeg.File
---@field inputs? (string|jobrun.ffmpeg.File)[]
---@field output? string|jobrun.ffmpeg.File
---@field outputs? (string|jobrun.ffmpeg.File)[]
---@field filter_complex? string|string[]
---@field args? string[] more arguments for the outputs, passed as they are
---@field global_args? string[] the same, before the inputs
---@field on_report? fun(line: string, level: string) each line of ffmpeg's report while it runs
---@field on_progress? fun(p: jobrun.ffmpeg.Progress)
---@field on_stderr? fun(line: string, level: string)
---@field timeout? number|string past it ffmpeg is ended, kind "timeout"
---@field stall_timeout? number|string the same when nothing moves for that long
---@field overwrite? boolean|"skip"|"newer" when the output exists: false, the default, is an error of
---kind "exists"; "skip" does nothing; "newer" does nothing if it is as new as the inputs
---@field keep_partial? boolean a failed run leaves its file; e.partial names it
---@field strict? boolean any error line is a failure
---@field duration? number|string the length of the result, where ffmpeg does not tell it
---@field capture_stdout? boolean|integer the most bytes; true: 1 MiB
---@field stats_period? number|string between two events of progress; default 0.5 s
---@field verify? jobrun.ffmpeg.Verify a second look at the files before they get their names: {frames=true, duration=0.1}
---@field two_pass? boolean encode twice, for a better picture at the same size; for one output, with its bit rate
---@field retry? jobrun.Retry|integer again, when the failure may pass (e.retryable): {n=3, backoff="10s"}
---@field limit? string|jobrun.Limit|false the limit it runs under; default the one named "ffmpeg", if declared
---@field progress? boolean a bar on the terminal
---@field bin? string the program; default "ffmpeg"

---A run that was started and not waited for.
---@class jobrun.ffmpeg.Handle
---@field pid? integer
---@field progress? jobrun.ffmpeg.Progress the latest
local Handle = {}

---Waits for the end: the result, or the error raised. With `timeout`, past it kind "timeout" is
---raised and the run goes on. (suspends)
---@param timeout? number|string
---@return jobrun.ffmpeg.Result
function Handle:wait(timeout)
  return self.task:await(timeout and check.duration(timeout, "wait"))
end

---Has ffmpeg finish what it has: SIGTERM, a playable file, an ok result with stopped=true, which is
---returned. From a callback of the run itself it returns at once. (suspends)
---@param grace? number|string until SIGKILL
---@return jobrun.ffmpeg.Result?
function Handle:stop(grace)
  local run = self.session.run
  if run.process then run:stop(grace and check.duration(grace, "stop")) end
  if task_core.is_within(self.task) then return nil end
  return self.task:await()
end

---Ends ffmpeg and drops what it has written; wait raises kind "cancelled". Does not wait.
---@param reason? string
function Handle:cancel(reason)
  self:resume()
  self.task:cancel(reason)
end

---Stops the process where it is (SIGSTOP).
function Handle:pause()
  local run = self.session.run
  if run.process then run:pause() end
end

---Lets it go on.
function Handle:resume()
  local run = self.session.run
  if run.process then run:resume() end
end

---@return boolean
function Handle:is_running()
  local process = self.session.run.process
  return process ~= nil and process:is_running()
end

local handle_meta = {
  __name = "jobrun.ffmpeg.handle",
  __close = function(self)
    if self.task.status == "done" or self.task.status == "failed" then return end
    self:cancel("its handle was closed")
    pcall(self.task.await, self.task)
  end,
  __index = function(self, key)
    if Handle[key] then return Handle[key] end
    local inner = rawget(self, "session").run
    if key == "pid" then return inner.process and inner.process.pid end
    if key == "progress" then return inner.progress and inner.progress.last end
  end,
}

local function call(opts)
  local one = session.open(opts)
  one:begin()
  return one:work()
end

-- The permit was taken by the task that called; it belongs to the one that works.
local function start(opts)
  local one = session.open(opts)
  one:begin()
  local handle = setmetatable({ session = one, task = task_core.begin(one.work, one) }, handle_meta)
  handle.task.name = "ffmpeg"
  if one.permit then one.permit:give_to(handle.task) end
  return handle
end

---Runs ffmpeg and waits. Raises an error object (jobrun.ffmpeg.Error). (suspends)
---@overload fun(opts: jobrun.ffmpeg.Options): jobrun.ffmpeg.Result
M.ffmpeg = setmetatable({
  ---Starts ffmpeg in a child task. The table is checked, and the files looked at, before it
  ---returns. (suspends)
  ---@param opts jobrun.ffmpeg.Options
  ---@return jobrun.ffmpeg.Handle
  start = start,
}, {
  __call = function(_, opts) return call(opts) end,
})

return M
