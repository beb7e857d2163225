--- Log lines: `log.info("encoded %s in %.1f s", name, seconds)`; levels debug, info, warn, error.
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

return setmetatable(M, { __call = function(_, ...) M.info(...) end })
