--- Who waits in this process for the end of a job.
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.sync"

local M = {}

local waiting = {} -- id → {queue=, n=}

-- Jobs that this process has pushed and that have not ended, as far as it remembers: who waits for one of these need not
-- ask the store first.
local MOST_OPEN <const> = 10000
local open, open_count = {}, 0

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

---A job was pushed, and it will end in this process.
---@param id integer
function M.note_open(id)
  if open_count >= MOST_OPEN or open[id] then return end
  open[id] = true
  open_count = open_count + 1
end

---Is it known not to have ended?
---@param id integer
function M.is_open(id)
  return open[id] ~= nil
end

---The job has ended.
---@param id integer
---@param row? {state: integer, result: string?, error: string?, queue: string} how, where that is known
function M.wake(id, row)
  if open[id] then
    open[id] = nil
    open_count = open_count - 1
  end
  local place = waiting[id]
  if not place then return end
  place.row = row
  place.queue:wake(math.maxinteger)
end

---Has everybody look again.
function M.stir()
  for _, place in pairs(waiting) do place.queue:wake(math.maxinteger) end
end

---Forgets what it knows: the store was closed.
function M.forget()
  open, open_count = {}, 0
end

return M
