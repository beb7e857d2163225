--- `limit(name, n)`: at most n at a time of whatever shares the name: ffmpeg runs, jobs, any function.
---
--- One registry for the word and the job modifier `.limit(name, n)`. A limit named "ffmpeg" holds for
--- every ffmpeg call and pipeline with one in it, unless that names another one or says limit=false.
--
-- What runs under a permit may ask for the same limit again, itself or in a task it owns: it has the
-- permit already. A job under `.limit("ffmpeg", 2)` can so call ffmpeg{} without waiting for itself.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.task"
local sync = require "jobrun.sync"
local task = require "jobrun.task"

local M = {}

---@class jobrun.Limit
---@field name string
---@field size integer
---@field free integer permits nobody holds
local Limit = {}

local limits = {}

local meta = {
  __name = "jobrun.limit",
  __index = function(self, key)
    if key == "free" then return self.semaphore.free end
    return Limit[key]
  end,
}

---@class jobrun.Permit
local Permit = {}
Permit.__index = Permit

-- Does the current task, or one that owns it, hold a permit?
local function is_held(self)
  for owner in pairs(self.holders) do
    if core.is_within(owner) then return true end
  end
  return false
end

---Waits for a permit, which release() or the end of its scope gives back. (suspends)
---@param timeout? number|string past it kind "timeout" is raised
---@return jobrun.Permit
function Limit:acquire(timeout)
  if is_held(self) then return setmetatable({}, Permit) end
  self.semaphore:acquire(timeout)
  local permit = setmetatable({ limit = self, owner = task.current() }, Permit)
  self.holders[permit.owner] = permit
  return permit
end

---Gives it back; once is enough.
function Permit:release()
  local limit = self.limit
  if not limit then return end
  self.limit = nil
  limit.holders[self.owner] = nil
  limit.semaphore:release()
end

---From now on it belongs to another task.
---@param owner jobrun.Task
function Permit:give_to(owner)
  local limit = self.limit
  if not limit then return end
  limit.holders[self.owner] = nil
  self.owner = owner
  limit.holders[owner] = self
end

Permit.__close = Permit.release

---Runs `fn(...)` under a permit. (suspends)
---@param fn function
---@param ... any arguments for fn
---@return any ... fn's results
function Limit:with(fn, ...)
  if type(fn) ~= "function" then check.fail("limit:with: expected a function, got %s", check.show(fn)) end
  local _ <close> = self:acquire()
  return fn(...)
end

local function find(what, name)
  local known = limits[name]
  if known then return known end
  check.fail("%s: there is no limit %s%s: say limit(%s, n) first", what, check.show(name),
    check.hint(name, limits), check.show(name))
end

---At most `n` at a time: `limit("disk", 2):with(fn, ...)`. Without n: the limit of that name, which
---must be there. A second, different n for one name is an error.
---@param name string
---@param n? integer
---@return jobrun.Limit
function M.limit(name, n)
  if type(name) ~= "string" or name == "" then check.fail("limit: expected a name, got %s", check.show(name)) end
  if n == nil then return find("limit", name) end
  if math.type(n) ~= "integer" or n < 1 then
    check.fail("limit: expected a whole number of at least 1, got %s", check.show(n))
  end
  local known = limits[name]
  if known and known.size ~= n then
    check.fail("limit: %s is %d already, not %d", check.show(name), known.size, n)
  end
  limits[name] = known or setmetatable({
    name = name, size = n, semaphore = sync.semaphore(n), holders = setmetatable({}, { __mode = "k" }),
  }, meta)
  return limits[name]
end

---The limit that a call's option names: nil = the one called `default`, if it was declared; false = none.
---@param what string the word's name
---@param option any
---@param default string
---@return jobrun.Limit?
function M.of_option(what, option, default)
  if option == nil then return limits[default] end
  if option == false then return nil end
  if getmetatable(option) == meta then return option end
  if type(option) == "string" then return find(what, option) end
  check.fail("%s: limit: expected the name of a limit, a limit or false, got %s", what, check.show(option))
end

return M
