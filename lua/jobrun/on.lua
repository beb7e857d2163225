--- Hooks of the script's life: `on.start(fn)`, `on.stop(fn)`.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local life = require "jobrun.life"

local M = { start_hooks = {}, stop_hooks = {} }

local function check_function(what, fn)
  if type(fn) ~= "function" then check.fail("%s: expected a function, got %s", what, type(fn)) end
end

---Calls `fn()` once the script has loaded: when its main chunk first waits (for more than its store to open), or has
---returned. Hooks run in order, each may suspend; one that comes later runs at once. An error ends the script.
---@param fn fun()
function M.start(fn)
  check_function("on.start", fn)
  if life.has_started then
    require("jobrun.task").spawn(fn)
  else
    table.insert(M.start_hooks, fn)
  end
end

---Calls `fn(why)` when the script ends, inside the grace; last registered first. `why` is "done", "signal" or
---"error". A hook may suspend and start runs (`jobs.run_all()`); an error is logged, the next hook runs.
---@param fn fun(why: string)
function M.stop(fn)
  check_function("on.stop", fn)
  table.insert(M.stop_hooks, fn)
end

return M
