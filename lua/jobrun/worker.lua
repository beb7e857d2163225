--- What a worker's Lua state has beside the standard library: `require` with the script's paths, `print`,
--- `log`, `json`, `sleep` (which blocks the thread), the time. The words that need a task are there too, to
--- say so when they are used.
---
--- Loaded once in each worker's state, before anything else; the module "jobrun" is this one's words there.
--
-- SPDX-License-Identifier: MIT

local worker = require "jobrun.core.worker"
local err = require "jobrun.core.error"

local ADVICE = "%s is not available in a blocking call (worker thread); "
  .. "use it in the task, before or after the call"

local function refuse(name)
  error(err.new { kind = "usage", message = ADVICE:format(name) })
end

-- Stands for a word: whatever is done with it says what is wrong.
local function stub(name)
  local function fail() refuse(name) end
  return setmetatable({}, { __call = fail, __index = fail, __newindex = fail })
end

-- ---- modules -----------------------------------------------------------------------------------

local stock_require = require

package.preload["jobrun.core.host"] = function()
  return { now = worker.now, monotonic = worker.monotonic, log = worker.log }
end

-- A script's `require` may wait; a worker's need not.
package.preload["jobrun.require"] = function()
  return stock_require
end

setmetatable(package.preload, {
  __index = function(_, name)
    if type(name) == "string" and name:find "^jobrun%.core%." then
      return function() refuse("the module " .. name) end
    end
  end,
})

-- ---- words -------------------------------------------------------------------------------------

local HERE = { log = true, env = true, json = true, check = true, error_object = true }

-- sleep blocks this thread; it raises kind "cancelled" as soon as nobody waits for the call any more.
local words = { now = worker.now, monotonic = worker.monotonic, sleep = worker.sleep }

-- The task's words, loaded when a name is asked for that is nothing else: most calls never do.
local all

local function load_all()
  package.loaded.jobrun = nil
  all = require "jobrun"
  package.loaded.jobrun = words
end

-- A word whose module does not load here is a word all the same.
local function lookup(name)
  return all[name]
end

setmetatable(words, {
  __index = function(_, name)
    if not all then load_all() end
    local loads, value = pcall(lookup, name)
    if loads and value == nil then return nil end
    if not HERE[name] then value = stub(name) end
    rawset(words, name, value)
    return value
  end,
})

package.loaded.jobrun = words
setmetatable(_G, { __index = words })
rawset(_G, "print", worker.print)
rawset(os, "exit", function() refuse "os.exit" end)

return words
