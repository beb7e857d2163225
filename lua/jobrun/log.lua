--- Log lines: `log.info("encoded %s in %.1f s", name, seconds)`; levels debug, info, warn, error.
---
--- They go to stderr, as text on a terminal and as logfmt elsewhere (`--log-format`); what a job's run logs, or a task of
--- it, carries the job's name and the run's number. From the first `log.recent` or
--- `log.follow` on, the last thousand or so (half a megabyte at most) are kept in memory too.
--
-- SPDX-License-Identifier: MIT

local host = require "jobrun.core.host"

local M = {}

local function logger(level)
  return function(fmt, ...)
    host.log(level, select("#", ...) > 0 and fmt:format(...) or tostring(fmt))
  end
end

---@type fun(fmt: string, ...)
M.debug = logger "debug"
---@type fun(fmt: string, ...)
M.info = logger "info"
---@type fun(fmt: string, ...)
M.warn = logger "warn"
---@type fun(fmt: string, ...)
M.error = logger "error"

-- Opens the ring of events.
local function reader()
  require "jobrun.core.sync"
  return require "jobrun.core.log"
end

---@class jobrun.LogEvent
---@field seq integer counts up by one
---@field ts number epoch seconds
---@field level "debug"|"info"|"warn"|"error"
---@field msg string
---@field name string? of the job
---@field run integer? its id
---@field event "start"|"end"|"skip"|nil
---@field outcome "ok"|"error"|"timeout"|"cancelled"|nil of an end
---@field duration_s number? of an end
---@field exit_code integer?

---The last events, oldest first.
---@param most? integer (100)
---@return jobrun.LogEvent[]
function M.recent(most)
  local core = reader()
  local list = {}
  local e = core.next(math.max(core.last() - (most or 100), 0))
  while e do
    list[#list + 1] = e
    e = core.next(e.seq)
  end
  return list
end

---The events from now on, or those behind the number `after`, for ever: `for e in log.follow() do`. A reader who is much
---slower than the log misses some; their numbers are missing then. (suspends)
---@param after? integer
---@return fun(): jobrun.LogEvent
function M.follow(after)
  local core = reader()
  local seq = after or core.last()
  return function()
    local e = core.next(seq)
    while not e do
      core.queue:wait()
      e = core.next(seq)
    end
    seq = e.seq
    return e
  end
end

return setmetatable(M, { __call = function(_, ...) M.info(...) end })
