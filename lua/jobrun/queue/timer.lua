--- The timer of the jobs that wait for their time: asleep until the next one is due, never looking before.
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.store"
local log = require "jobrun.log"
local store = require "jobrun.store"
local sync = require "jobrun.core.sync"
local task = require "jobrun.task"

local M = {}

local state = {} -- queue: where it sleeps; due: ms; ends: it is told to

---Seconds until the store's clock, of whole ms, reads `ms`: a microsecond more, as what now() gives is rounded.
---@param ms integer
---@return number
function M.seconds_until(ms)
  return math.max(ms / 1000 - task.now(), 0) + 1e-6
end

local function sleep(due)
  state.due = due
  local seconds = due and M.seconds_until(due) or nil
  if seconds and seconds > 9e9 then seconds = nil end
  state.queue:wait(seconds)
  state.due = nil
end

local function promote(ring)
  local due, rows = store.insist(core.promote)
  for _, row in ipairs(rows or {}) do ring(row[1]) end
  return due
end

local function run(ring)
  while not state.ends do
    local due = promote(ring)
    if not state.ends then sleep(due) end
  end
  state.task = nil
end

---Runs it, if it does not run.
---@param ring fun(queue: string) called for each queue in which something became available
function M.start(ring)
  if state.task then return end
  state.queue = state.queue or sync.queue()
  state.ends = false
  state.task = task.spawn(run, ring):detach()
  log.debug "queue: the timer runs"
end

---A job becomes due at `ms` (nil: somebody else knows when).
---@param ms? integer
function M.note(ms)
  if state.task and (not ms or not state.due or ms < state.due) then state.queue:wake(1) end
end

---Ends it.
function M.stop()
  state.ends = true
  if state.task then state.queue:wake(1) end
end

---@return jobrun.Task?
function M.task()
  return state.task
end

return M
