--- Blocking calls: `blocking(fn, ...)`, and executors, which bound how many run at once.
---
--- The function runs on a worker thread, in a Lua state of that thread's own. Arguments, results and
--- the function's upvalues are copied: nil, booleans, numbers, strings, tables without metatables,
--- Lua functions. Modules and jobrun's words travel by name, everything else is refused with the path
--- to it. Globals are the worker's own: `require`, `print`, `log` and `sleep` work there, words that
--- need the task do not.
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.work"
local check = require "jobrun.check"
local sync = require "jobrun.sync"
local task = require "jobrun.task"

local M = {}

---Runs `fn(...)` on a worker thread and waits for it; other tasks run meanwhile. If the wait is
---cancelled, a call that has not begun never will, and one that runs is told: its next instruction
---or `sleep` raises kind "cancelled", its result is dropped. (suspends)
---@param fn function
---@param ... any arguments for fn, copied
---@return any ... fn's results, copied; or its error raised
M.blocking = core.blocking

---@class jobrun.ExecutorStats
---@field max integer how many workers there may be
---@field workers integer how many there are
---@field idle integer
---@field queued integer calls that wait for a worker
---@field running integer
---@field most integer the most that ran at once
---@field done integer
---@field failed integer of those done
---@field cancelled integer
---@field given_up integer calls that were cancelled and still run, outside of the count

---A pool of worker threads. With `local pool <close> = executor(n)` it is closed at the block's end.
---@class jobrun.Executor
---@field name string
---@field stats jobrun.ExecutorStats
---@field call fun(self: jobrun.Executor, fn: function, ...): ... as `blocking`, here (suspends)
---@field close fun(self: jobrun.Executor) takes no more calls, waits until all have ended (suspends)
local Executor = core.methods

---Starts `fn(...)` as a child task that waits for it; arguments are copied at once. Calls begin in the
---order they were made, as many at a time as there are workers.
---@param fn function
---@param ... any arguments for fn
---@return jobrun.Task
function Executor:spawn(fn, ...)
  return task.spawn(core.run, self, core.pack(self, fn, ...))
end

---Calls `fn(item)` for each item of a list. The first failure cancels the others and is raised. (suspends)
---@param list any[]
---@param fn fun(item: any): any
---@return any[] the first result of each, in order
function Executor:map(list, fn)
  local limit = 2 * self.stats.max -- one to run and one at hand for each worker
  return sync.map(list, function(item) return (Executor.call(self, fn, item)) end, { limit = limit })
end

local MOST = 1024
local SPEC = { name = { type = "string", default = "executor" }, idle = { type = "duration", default = 10 } }

---Makes a pool of up to `n` worker threads; they are started when they are needed.
---@param n integer
---@param options? {name?: string, idle?: number|string} idle: how long a thread without work is kept (10 s)
---@return jobrun.Executor
function M.executor(n, options)
  if math.type(n) ~= "integer" or n < 1 or n > MOST then
    check.fail("executor: expected a number of workers from 1 to %d, got %s", MOST, check.show(n))
  end
  local o = check.options("executor", options or {}, SPEC)
  return core.executor(n, o.name, o.idle)
end

return M
