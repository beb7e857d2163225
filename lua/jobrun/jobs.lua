--- `jobs`: the jobs of the script, seen together.
---
--- A job is what `every(…)(fn)` returns:
---* fields: name, tags, next_run, last_start, last_end (epoch seconds or nil), runs, fails, skips (due times
---  that found a run still going), missed (those that passed while nothing could start), state
---  ("scheduled", "running", "paused", "done", "cancelled")
---* `job:cancel()` no further run; `job:pause()`, `job:resume()`; `job:run_now()` starts a run beside the
---  schedule, false if one is still going
---A job may still be asked about after its end.
--
-- SPDX-License-Identifier: MIT

local builder = require "jobrun.builder"
local check = require "jobrun.check"
local core = require "jobrun.core.jobs"
local task = require "jobrun.core.task"

---@class jobrun.Job
---@field name string
---@field tags string[]
---@field next_run number? epoch seconds
---@field last_start number? epoch seconds
---@field last_end number? epoch seconds
---@field runs integer
---@field fails integer
---@field skips integer
---@field missed integer
---@field state "scheduled"|"running"|"paused"|"done"|"cancelled"
---@field cancel fun(self: jobrun.Job)
---@field pause fun(self: jobrun.Job)
---@field resume fun(self: jobrun.Job)
---@field run_now fun(self: jobrun.Job): boolean, integer? whether a run started, and its id

---One run, as its function and the listeners of jobs.on get it.
---@class jobrun.Run
---@field job jobrun.Job
---@field id integer
---@field due number epoch seconds it was planned for
---@field late number seconds it started after that
---@field attempt integer
---@field started number? epoch seconds
---@field ended number? epoch seconds
---@field outcome "going"|"ok"|"error"|"timeout"|"cancelled"
---@field by_hand boolean somebody asked for it (run_now, run_all, `jobrun trigger`): it was not its time
---@field log fun(self: jobrun.Run, fmt: string, ...) a log line with the job's name

local M = {}

local EVENTS = { start = true, ["end"] = true, error = true, skip = true, late = true, timeout = true }

---A run that returns this is the last one of its job.
M.CANCEL = core.CANCEL

M.check_complete = builder.check_complete

local function has_tag(job, tag)
  for _, own in ipairs(job.tags) do
    if own == tag then return true end
  end
  return false
end

local function check_tag(what, tag)
  if tag == nil or type(tag) == "string" then return end
  check.fail("%s: expected a tag, got %s", what, check.show(tag))
end

---The jobs that have not ended, in the order they were declared.
---@param tag? string only those with this tag
---@return jobrun.Job[]
function M.list(tag)
  check_tag("jobs.list", tag)
  local all = core.list()
  if tag == nil then return all end
  local tagged = {}
  for _, job in ipairs(all) do
    if has_tag(job, tag) then tagged[#tagged + 1] = job end
  end
  return tagged
end

---Cancels all jobs, or those with a tag. Runs that are going go on to their end.
---@param tag? string
---@return integer how many
function M.clear(tag)
  check_tag("jobs.clear", tag)
  local chosen = M.list(tag)
  for _, job in ipairs(chosen) do job:cancel() end
  return #chosen
end

---When the next run is planned, in epoch seconds; nil if none is.
---@param tag? string only jobs with this tag
---@return number?
function M.next_run(tag)
  check_tag("jobs.next_run", tag)
  local first
  for _, job in ipairs(M.list(tag)) do
    local due = job.next_run
    if due and (not first or due < first) then first = due end
  end
  return first
end

---Seconds until the next planned run; nil if there is none.
---@return number?
function M.idle()
  return core.idle()
end

---Runs every job that is not paused once, now, and waits until those runs have ended; a job whose run
---is still going is waited for instead. The schedule stays as it is. Works inside on.stop hooks. (suspends)
---@param opts? {delay?: number|string, tag?: string} delay: between two starts
---@return integer ended how many runs
---@return integer failed how many of them raised or were cancelled
function M.run_all(opts)
  local o = check.options("jobs.run_all", opts or {}, { delay = "duration", tag = "string" })
  local batch, started = core.batch(), 0
  for _, job in ipairs(M.list(o.tag)) do
    if started > 0 and o.delay and o.delay > 0 then task.sleep(o.delay) end
    local state = job.state
    if state == "scheduled" or state == "running" then
      core.start(batch, job)
      started = started + 1
    end
  end
  return core.join(batch)
end

---Calls `fn(run, …)`, in a task of its own, whenever something happens to a run: "start"; "end" (see
---run.outcome); "error" (run, error); "timeout"; "late" (it started a second or more after its time);
---"skip" (run, reason, count: due times that did not run, reason "overlap" or "missed").
---@param event "start"|"end"|"error"|"skip"|"late"|"timeout"
---@param fn fun(run: jobrun.Run, ...)
function M.on(event, fn)
  if not EVENTS[event] then
    check.fail("jobs.on: unknown event %s%s", check.show(event), check.hint(event, EVENTS))
  end
  if type(fn) ~= "function" then check.fail("jobs.on: expected a function, got %s", check.show(fn)) end
  core.on(event, fn)
end

return M
