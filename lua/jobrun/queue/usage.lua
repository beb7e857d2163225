--- What the children of a run used: CPU time, and the most memory one of them had.
--
-- SPDX-License-Identifier: MIT

local task_core = require "jobrun.core.task"

local M = {}

local going = {} -- the usages that are counted

---@class jobrun.queue.Usage
---@field cpu_ms integer? of all children that have ended
---@field maxrss_kb integer? of the largest

---Counts for the children of a task and of what it owns, until M.stop.
---@param task jobrun.Task
---@return jobrun.queue.Usage
function M.start(task)
  local usage = { task = task }
  going[usage] = true
  return usage
end

---@param usage jobrun.queue.Usage
function M.stop(usage)
  going[usage] = nil
end

---A child that the current task ran has ended.
---@param ended {cpu: number?, max_rss: integer?}
function M.note(ended)
  if not ended.cpu then return end
  for usage in pairs(going) do
    if task_core.is_within(usage.task) then
      usage.cpu_ms = (usage.cpu_ms or 0) + math.floor(ended.cpu * 1000 + 0.5)
      usage.maxrss_kb = math.max(usage.maxrss_kb or 0, (ended.max_rss or 0) // 1024)
    end
  end
end

return M
