--- `clock`: the virtual clock of `--clock=virtual`, for tests of scripts. Time there jumps to the next
--- deadline when nothing is ready, so `sleep "1d"` plays a day; these words do what sleeping cannot.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.host"
local rules = require "jobrun.core.rule"
local task = require "jobrun.task"

local M = {}

local SECOND <const> = 1000000000

local function need_virtual(word)
  if not core.is_virtual() then check.fail("clock.%s: only with --clock=virtual", word) end
end

-- One turn for the timers, one for the tasks that start.
local function let_start()
  task.sleep(0)
  task.sleep(0)
end

---True under --clock=virtual.
---@return boolean
function M.is_virtual()
  return core.is_virtual()
end

---Time passes at once, as while a machine is suspended: both clocks go forward by d, and what became due
---meanwhile is late. Lets what is due start. (suspends)
---@param d number|string seconds, or "8h"
function M.travel(d)
  need_virtual "travel"
  core.skip(math.floor(check.duration(d, "clock.travel") * SECOND))
  let_start()
end

---Sets the wall clock forward or, with a number below 0, back, as an administrator does; the steady clock,
---and with it sleeps and intervals, go on. (suspends)
---@param seconds number
function M.step(seconds)
  need_virtual "step"
  if type(seconds) ~= "number" then check.fail("clock.step: expected seconds, got %s", check.show(seconds)) end
  core.step(math.floor(seconds * SECOND))
  let_start()
end

---Sets the wall clock to a date and time, in UTC unless it has an offset. (suspends)
---@param moment string "2027-01-31T12:00:00Z"
function M.set(moment)
  need_virtual "set"
  local kind, second, ns, offset
  if type(moment) == "string" then kind, second, ns, offset = rules.stamp(moment) end
  if kind ~= "datetime" and kind ~= "date" then
    check.fail('clock.set: expected a date and time such as "2027-01-31T12:00:00Z", got %s', check.show(moment))
  end
  M.step(second - (offset or 0) + ns / SECOND - task.now())
end

return M
