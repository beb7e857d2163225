--- `jobrun trigger`: runs jobs of a running script now.
--
-- SPDX-License-Identifier: MIT

local deed = require "jobrun.cli.deed"
local remote = require "jobrun.cli.remote"

return deed.command("trigger", [[
jobrun trigger JOB... (-s ADDR | --store URL) [--json]

Starts a run of each job now, beside its schedule; its limit of runs holds. (-s: see jobrun help status)

Example:  jobrun trigger nightly -s /run/app.sock]], function(at, name)
  local said = at:post(remote.job(name, "run"))
  return said, ("%s: run %s"):format(name, said.run)
end)
