-- The two errors everybody meets in asyncio, made on purpose: "This event loop is already running" and "Event
-- loop is closed". Here each names the call, the state, and the way out.

local function work() return "worked" end

-- Already running: a script is inside the loop, so there is nothing to run.
local _, already = pcall(require("jobrun").run, work)
print(already.message)
print("the way out:", work())

-- Closed: code that runs when the loop has ended, such as a finalizer.
local words = require "jobrun"
local spawn = words.spawn
Finalizer = setmetatable({}, {
  __gc = function()
    local _, closed = pcall(spawn, work)
    print(closed.message)
  end,
})
