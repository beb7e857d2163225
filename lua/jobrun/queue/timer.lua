--- The timer of the jobs that wait for their time: asleep until the wall clock says that the next one is due, however
--- that clock is set meanwhile. Once an hour it removes what ended long ago.
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.store"
local log = require "jobrun.log"
local runlog = require "jobrun.queue.runlog"
local store = require "jobrun.store"
local sync = require "jobrun.core.sync"
local task = require "jobrun.task"

local M = {}

local state = {} -- queue: where it sleeps; due: ms; ends: it is told to

local function sleep(due)
  if state.is_told then return end -- while it was at work
  state.due, state.sleeps = due, true
  state.queue:wait(math.max(state.prune_at - task.monotonic(), 0) + 1e-6, due)
  state.due, state.sleeps = nil, false
end

local PRUNE_EVERY <const>, AT_A_TIME <const> = 3600, 1000
local COMPLETED_MS <const>, FAILED_MS <const> = 86400000, 14 * 86400000

---What ended long ago goes, looked for once an hour: completed jobs after a day, others after two weeks, and of a schedule
---all but the last 100. (suspends)
function M.prune()
  if task.monotonic() < (state.prune_at or 0) then return end
  state.prune_at = task.monotonic() + PRUNE_EVERY
  local now = math.floor(task.now() * 1000)
  repeat
    local deleted = store.insist(core.prune, now - COMPLETED_MS, now - FAILED_MS, AT_A_TIME)
    if deleted == AT_A_TIME then task.sleep(0.01) end -- others' turn
  until deleted < AT_A_TIME or state.ends
  runlog.prune(store.path(), (now - FAILED_MS) / 1000)
end

local function promote(ring)
  local due, rows = store.insist(core.promote)
  for _, row in ipairs(rows or {}) do ring(row[1]) end
  return due
end

local function run(ring)
  while not state.ends do
    state.is_told = false
    local due = promote(ring)
    M.prune()
    if not state.ends then sleep(due) end
  end
  state.task, state.prune_at = nil, nil
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
  if not state.task or state.sleeps and ms and state.due and ms >= state.due then return end
  state.is_told = true
  state.queue:wake(1)
end

---Ends it.
function M.stop()
  state.ends = true
  M.note()
end

---@return jobrun.Task?
function M.task()
  return state.task
end

return M
