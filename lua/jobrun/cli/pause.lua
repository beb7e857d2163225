--- `jobrun pause`: pauses jobs of a running script.
--
-- SPDX-License-Identifier: MIT

local deed = require "jobrun.cli.deed"
local remote = require "jobrun.cli.remote"

return deed.command("pause", [[
jobrun pause JOB... -s ADDR [--json]

The jobs start no runs until they are resumed; runs that go on end by themselves. (-s: see jobrun help status)

Example:  jobrun pause nightly -s /run/app.sock]], function(at, name)
  return at:post(remote.job(name, "pause")), name .. ": paused"
end)
