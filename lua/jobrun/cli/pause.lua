--- `jobrun pause`: pauses jobs of a running script.
--
-- SPDX-License-Identifier: MIT

local deed = require "jobrun.cli.deed"
local core = require "jobrun.core.store"
local task = require "jobrun.task"

return deed.command("pause", [[
jobrun pause JOB|QUEUE... -s ADDR [--json]
jobrun pause QUEUE... --store URL [--json]

The jobs start no runs, of the queues nothing starts until they are resumed; what runs ends by itself. (-s: see
jobrun help status.) Or, of a store that no process has open: nothing of the queues starts.

Example:  jobrun pause nightly -s /run/app.sock]], function(at, name)
  return at:switch(name, "pause"), name .. ": paused"
end, function(db, name)
  db:call(core.pause, name, math.floor(task.now() * 1000))
  return { queue = name, paused = true }, name .. ": paused"
end)
