--- Who waits in this process for the end of a job.
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.sync"

local M = {}

local waiting = {} -- id → {queue=, n=}

local Place = {
  __close = function(place)
    place.n = place.n - 1
    if place.n == 0 then waiting[place.id] = nil end
  end,
}
Place.__index = Place

---A place to wait in, from before one looks whether the job has ended: `local place <close> = waiters.enter(id)`.
---@param id integer
function M.enter(id)
  local place = waiting[id]
  if not place then
    place = setmetatable({ id = id, n = 0, queue = core.queue() }, Place)
    waiting[id] = place
  end
  place.n = place.n + 1
  return place
end

---Waits for the end, at most `seconds`. (suspends)
---@return boolean ended
function Place:wait(seconds)
  return self.queue:wait(seconds)
end

---The job has ended.
---@param id integer
function M.wake(id)
  local place = waiting[id]
  if place then place.queue:wake(math.maxinteger) end
end

return M
