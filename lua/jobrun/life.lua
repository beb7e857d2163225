--- What the host runs at the turning points of a script's life, in a task of its own.
--
-- SPDX-License-Identifier: MIT

local err = require "jobrun.core.error"
local host = require "jobrun.core.host"

-- loaded: the main chunk has suspended or returned; state: "starting", then "ready" when the on.start hooks have run, at
-- the end "stopping"
-- has_started: the on.start hooks run, or have run; runs_at_end: each job runs once more when the script is told to stop.
local M = { loaded = false, state = "starting", has_started = false, runs_at_end = false }

-- A module that was never used has nothing to do: package.loaded tells without loading it.
local function used(name)
  return package.loaded["jobrun." .. name]
end

-- Was --store given? Then it is opened, be it used or not: for the commands that are given it too.
local function has_store()
  local _, by_host = require("jobrun.core.store").url()
  return by_host and not M.is_command
end

-- Incomplete declarations are reported before anything starts.
local function after_loading()
  M.loaded = true
  if used "every" then require("jobrun.jobs").check_complete() end
  if used "http" then require("jobrun.http").instance:check_served() end
  if used "store" or used "queue" or used "schedule" or has_store() then require("jobrun.store").open_asked() end
  if used "schedule" then require("jobrun.schedule").start() end
  M.has_started = true
  local on = used "on"
  if on then
    for _, hook in ipairs(on.start_hooks) do hook() end
  end
  if used "http.server" then require("jobrun.http.server").start() end
end

local function call_last(fn, ...)
  local ok, e = xpcall(fn, function(e) return type(e) == "string" and debug.traceback(e, 2) or e end, ...)
  if not ok and not err.is(e, "cancelled") then host.fail(e) end
end

local function before_end(why)
  if used "queue" then require("jobrun.queue").stop() end
  if M.runs_at_end and why == "signal" and used "jobs" then call_last(require("jobrun.jobs").run_all) end
  local on = used "on"
  if not on then return end
  for i = #on.stop_hooks, 1, -1 do call_last(on.stop_hooks[i], why) end
end

---Called by the host: without `why` when the main chunk has loaded, with it when the script ends.
---@param why? "done"|"signal"|"error"
function M.advance(why)
  if why then
    M.state = "stopping"
    return before_end(why)
  end
  after_loading()
  if M.state == "starting" then M.state = "ready" end
end

return M
