--- Tasks: spawn, sleep, yield, timeout, scope, shield; the time.
---
--- A task is a coroutine on the event loop. It owns the tasks it spawns: it does not end before
--- they have, cancelling it cancels them, and a child that fails while nobody waits for it fails
--- it too.
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.task"
local host = require "jobrun.core.host"
local check = require "jobrun.check"

local M = {}

---A running or ended task.
---
---`task:await([timeout])` gives its results or raises its error; past the timeout it raises kind
---"timeout" and the task goes on. (suspends)
---`task:cancel([reason])`: each wait of the task and of the tasks it owns raises kind "cancelled"
---from now on.
---`task:detach()` makes it outlive its parent; a failure is then logged.
---@class jobrun.Task
---@field name string where it was spawned, or the name it was given
---@field status "ready"|"running"|"waiting"|"done"|"failed"|"cancelled"
---@field await fun(self: jobrun.Task, timeout?: number|string): ...
---@field cancel fun(self: jobrun.Task, reason?: string)
---@field detach fun(self: jobrun.Task): jobrun.Task

---Starts `fn(...)` as a child task of the current one. It runs when the current task waits.
---@param fn function
---@param ... any arguments for fn
---@return jobrun.Task
M.spawn = core.spawn

---Waits. Other tasks run meanwhile. Never returns early. (suspends)
---@param duration number|string seconds, or "1h30m", "250ms"
M.sleep = core.sleep

---Lets other ready tasks run first. (suspends)
M.yield = core.yield

---Runs `fn(...)` for at most that long: past it fn is cancelled, and when it has ended the error
---of kind "timeout" is raised. (suspends)
---@param duration number|string seconds, or "1h30m"
---@param fn function
---@param ... any arguments for fn
---@return any ... fn's results
M.timeout = core.timeout

---Runs `fn(...)` and waits for all tasks it spawned. The first failure among them cancels the
---others and is raised here. (suspends)
---@param fn function
---@param ... any arguments for fn
---@return any ... fn's results
M.scope = core.scope

---Runs `fn(...)` out of reach of the caller's cancellation, for 5 s at most: for clean-up that has
---to wait. (suspends)
---@param fn function
---@param ... any arguments for fn
---@return any ... fn's results
M.shield = core.shield

---There is nothing to run: a script is inside the loop. Raises an error that says what to do; it
---exists for who looks for asyncio.run.
function M.run()
  check.fail("run: this event loop is already running: call the function itself to wait for it, "
    .. "or spawn(fn) to go on meanwhile")
end

---The task that runs now.
---@return jobrun.Task
M.current = core.current

---The wall clock: seconds since 1970 UTC, with fractions.
---@return number
M.now = host.now

---The steady clock: seconds since some moment in the past; no step of the wall clock moves it.
---@return number
M.monotonic = host.monotonic

return M
