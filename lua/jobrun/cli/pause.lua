--- `jobrun pause`: pauses jobs of a running script.
--
-- SPDX-License-Identifier: MIT

local deed = require "jobrun.cli.deed"
local stored = require "jobrun.cli.stored"
local task = require "jobrun.task"

return deed.command("pause", [[
jobrun pause JOB|QUEUE... (-s ADDR | --store URL) [--json]

The jobs start no runs, of the queues nothing starts until they are resumed; what runs ends by itself. -s is a running
script (see jobrun help status), --store what is in a store, be it open in a process or not.

Example:  jobrun pause nightly --store sqlite:state.db]], function(at, name)
  return at:switch(name, "pause"), name .. ": paused"
end, function(db, name)
  return stored.switch(db, name, math.floor(task.now() * 1000)), name .. ": paused"
end)
