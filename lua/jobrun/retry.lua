--- Trying again what may work next time: `retry={n=3, backoff="5s", factor=2, max="1h", jitter=0.15}`.
--
-- n counts all attempts. Before the second one it waits for `backoff`, and each further wait is
-- `factor` times as long, up to `max`, give or take a share `jitter` of it, so that calls that
-- failed together do not come back together.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local log = require "jobrun.log"
local task = require "jobrun.task"

local M = {}

local SPEC = {
  n = { type = "integer", min = 1, required = true },
  backoff = { type = "duration", default = 5 },
  factor = { type = "number", default = 2, min = 1 },
  max = { type = "duration", default = 3600 },
  jitter = { type = "number|boolean", default = 0.15 },
}

---@class jobrun.Retry
---@field n integer attempts in all
---@field backoff? number|string before the second; default 5 s
---@field factor? number default 2
---@field max? number|string default 1 h
---@field jitter? number|boolean share of the wait; default 0.15

---Checks the option: a table, or the number of attempts.
---@param what string the word's name
---@param option jobrun.Retry|integer|nil
---@return jobrun.Retry?
function M.check(what, option)
  if option == nil or option == false then return nil end
  if math.type(option) == "integer" then option = { n = option } end
  local o = check.options(what .. ": retry", option, SPEC)
  if type(o.jitter) == "boolean" then o.jitter = o.jitter and SPEC.jitter.default or 0 end
  if o.jitter < 0 or o.jitter > 1 then check.fail("%s: retry.jitter: expected 0 to 1, got %s", what, o.jitter) end
  return o
end

---Seconds to wait before attempt `attempt` (2, 3, …).
---@param policy jobrun.Retry
---@param attempt integer
---@return number
function M.wait_before(policy, attempt)
  local wait = math.min(policy.backoff * policy.factor ^ (attempt - 2), policy.max)
  return wait * (1 + policy.jitter * (2 * math.random() - 1))
end

---Calls `fn(attempt)` until it succeeds, raises an error that is not `retryable`, or the attempts
---are used up; the last error is raised. (suspends)
---@param policy jobrun.Retry? nil: once
---@param fn fun(attempt: integer): ...
---@return any ... fn's results
function M.call(policy, fn)
  for attempt = 1, policy and policy.n - 1 or 0 do
    local results = table.pack(pcall(fn, attempt))
    if results[1] then return table.unpack(results, 2, results.n) end
    local e = results[2]
    if type(e) ~= "table" or not e.retryable then error(e, 0) end
    local wait = M.wait_before(policy, attempt + 1)
    log.warn("attempt %d of %d failed, the next one in %.3g s: %s", attempt, policy.n, wait, tostring(e))
    task.sleep(wait)
  end
  return fn(policy and policy.n or 1)
end

return M
