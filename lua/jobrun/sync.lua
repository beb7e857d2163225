--- Tasks together: all, race, map; channel, semaphore, event, mutex.
---
--- Each wait here may be cancelled and, where it takes a timeout, raises kind "timeout" past it. Who waits longest
--- is served first; a semaphore and a mutex are handed over, so nobody can overtake.
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.sync"
local err = require "jobrun.core.error"
local check = require "jobrun.check"
local task = require "jobrun.task"

local M = {}

local function check_count(what, value, least)
  if math.type(value) ~= "integer" or value < least then
    check.fail("%s: expected a whole number of at least %d, got %s", what, least, check.show(value))
  end
end

local function check_callable(what, value)
  if type(value) ~= "function" and not (getmetatable(value) or {}).__call then
    check.fail("%s: expected a function, got %s", what, type(value))
  end
end

-- Waits in a queue; raises past the deadline.
local function wait_in(queue, what, timeout)
  if not queue:wait(timeout) then
    error(err.new { kind = "timeout", code = "ETIMEDOUT", op = what, message = what .. ": timed out" })
  end
end

-- ---- all, race, map ----------------------------------------------------------------------------

local function check_functions(what, functions)
  if type(functions) ~= "table" then check.fail("%s: expected a list of functions, got %s", what, type(functions)) end
  for i = 1, #functions do check_callable(("%s: item %d"):format(what, i), functions[i]) end
end

---Runs all functions at once and waits for them. The first failure cancels the others and is raised. (suspends)
---@param functions fun()[]
---@return any ... the first result of each, in order
function M.all(functions)
  check_functions("all", functions)
  local n = #functions
  local results = task.scope(function()
    local tasks, values = {}, {}
    for i = 1, n do tasks[i] = task.spawn(functions[i]) end
    for i = 1, n do values[i] = (tasks[i]:await()) end
    return values
  end)
  return table.unpack(results, 1, n)
end

---Runs all functions at once until the first ends; the others are cancelled and have ended when
---this returns. (suspends)
---@param functions fun()[]
---@return any ... the winner's results, or its error raised
function M.race(functions)
  check_functions("race", functions)
  if #functions == 0 then check.fail("race: expected at least one function") end
  return task.scope(function()
    local tasks = {}
    for i = 1, #functions do tasks[i] = task.spawn(functions[i]) end
    local winner = core.first(table.unpack(tasks))
    for i = 1, #tasks do
      if i ~= winner then tasks[i]:cancel "another one won the race" end
    end
    return tasks[winner]:await()
  end)
end

---Calls `fn(item, index)` for each item, at most `limit` at once, and gives the results in the
---items' order. It is a window: as one call ends, the next begins. (suspends)
---@param list any[]
---@param fn fun(item: any, index: integer): any
---@param options? {limit?: integer} default: all at once
---@return any[] the first result of each
function M.map(list, fn, options)
  if type(list) ~= "table" then check.fail("map: expected a list, got %s", type(list)) end
  check_callable("map", fn)
  local limit = check.options("map", options or {}, { limit = { type = "integer", min = 1 } }).limit or #list
  local results, next_index, n = {}, 0, #list
  local function worker()
    while next_index < n do
      next_index = next_index + 1
      local i = next_index
      results[i] = (fn(list[i], i))
    end
  end
  task.scope(function()
    for _ = 1, math.min(limit, n) do task.spawn(worker) end
  end)
  return results
end

-- ---- semaphore, mutex ----------------------------------------------------------------------------

---@class jobrun.Semaphore
---@field free integer permits nobody holds
local Semaphore = {}
Semaphore.__index = Semaphore

---`n` permits. `sem:acquire([timeout])` waits for one, `sem:release()` gives it back,
---`sem:with(fn, ...)` does both around a call.
---@param n integer
---@return jobrun.Semaphore
function M.semaphore(n)
  check_count("semaphore", n, 1)
  return setmetatable({ free = n, size = n, queue = core.queue() }, Semaphore)
end

---@param timeout? number|string
function Semaphore:acquire(timeout)
  if self.free > 0 then
    self.free = self.free - 1
  else
    wait_in(self.queue, "semaphore", timeout)
  end
end

---@return boolean got true if a permit was free
function Semaphore:try_acquire()
  if self.free == 0 then return false end
  self.free = self.free - 1
  return true
end

-- The permit goes straight to who waits longest.
function Semaphore:release()
  if self.queue:wake(1) == 1 then return end
  if self.free == self.size then check.fail("semaphore: released more often than acquired") end
  self.free = self.free + 1
end

local Permit = { __close = function(permit) permit.owner:release() end }

---@return any ... fn's results
function Semaphore:with(fn, ...)
  check_callable("semaphore:with", fn)
  self:acquire()
  local _ <close> = setmetatable({ owner = self }, Permit)
  return fn(...)
end

---A semaphore of one: `m:with(fn)`, `m:acquire()`, `m:release()`.
---@return jobrun.Semaphore
function M.mutex()
  return M.semaphore(1)
end

-- ---- event ---------------------------------------------------------------------------------------

---@class jobrun.Event
---@field is_set boolean
local Event = {}
Event.__index = Event

---`e:wait([timeout])` waits until somebody called `e:set()`, or returns at once if one has; `e:clear()`
---makes it wait again.
---@return jobrun.Event
function M.event()
  return setmetatable({ is_set = false, queue = core.queue() }, Event)
end

---@param timeout? number|string
function Event:wait(timeout)
  if not self.is_set then wait_in(self.queue, "event", timeout) end
end

function Event:set()
  self.is_set = true
  self.queue:wake(math.maxinteger)
end

function Event:clear()
  self.is_set = false
end

-- ---- channel -------------------------------------------------------------------------------------

---@class jobrun.Channel
---@field length integer items in it
local Channel = {}
Channel.__index = Channel

---A queue between tasks that holds up to `n` items (default 0: `put` waits until the item is
---taken). `for item in ch do` takes items until it is closed and empty.
---@param n? integer
---@return jobrun.Channel
function M.channel(n)
  n = n == nil and 0 or n
  check_count("channel", n, 0)
  return setmetatable({ capacity = n, length = 0, items = {}, first = 1, closed = false,
    takers = core.queue(), putters = core.queue() }, Channel)
end

-- An unbuffered channel admits an item for each taker that waits.
function Channel:has_room()
  return self.length < math.max(self.capacity, 1)
end

---Puts an item (anything but nil) in; waits while it is full. Raises kind "closed" if it is. (suspends)
---@param item any
---@param timeout? number|string
function Channel:put(item, timeout)
  if item == nil then check.fail "channel:put: nil cannot be put into a channel (it means the end)" end
  while not self.closed and not self:has_room() do wait_in(self.putters, "channel:put", timeout) end
  if self.closed then
    error(err.new { kind = "closed", op = "channel:put", message = "channel:put: the channel is closed" })
  end
  local box = { item }
  self.items[self.first + self.length] = box
  self.length = self.length + 1
  self.takers:wake(1)
  if self.capacity == 0 then self:wait_until_taken(box, timeout) end
end

-- Cancelled or too late: the item is taken back, unless it has gone.
local Offer = {
  __close = function(offer)
    if not offer.box.taken then offer.channel:withdraw(offer.box) end
  end,
}

function Channel:wait_until_taken(box, timeout)
  local _ <close> = setmetatable({ box = box, channel = self }, Offer)
  box.queue = core.queue()
  if not box.taken then wait_in(box.queue, "channel:put", timeout) end
end

function Channel:withdraw(box)
  for i = self.first, self.first + self.length - 1 do
    if self.items[i] == box then
      table.move(self.items, i + 1, self.first + self.length, i)
      self.length = self.length - 1
      self.putters:wake(1)
      return
    end
  end
end

---Takes the next item; waits while there is none. Gives nil once it is closed and empty. (suspends)
---@param timeout? number|string
---@return any
function Channel:get(timeout)
  while self.length == 0 do
    if self.closed then return nil end
    wait_in(self.takers, "channel:get", timeout)
  end
  local box = self.items[self.first]
  self.items[self.first] = nil
  self.first, self.length = self.first + 1, self.length - 1
  box.taken = true
  if box.queue then box.queue:wake(1) end
  self.putters:wake(1)
  return box[1]
end

---No more items come: takers get what is left, then nil; putters get an error of kind "closed".
function Channel:close()
  self.closed = true
  self.takers:wake(math.maxinteger)
  self.putters:wake(math.maxinteger)
end

Channel.__call = function(self) return self:get() end -- the generic `for` passes two arguments more
Channel.__close = Channel.close

return M
