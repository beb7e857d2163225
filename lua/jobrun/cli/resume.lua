--- `jobrun resume`: lets paused jobs of a running script go on.
--
-- SPDX-License-Identifier: MIT

local deed = require "jobrun.cli.deed"
local remote = require "jobrun.cli.remote"
local stored = require "jobrun.cli.stored"

return deed.command("resume", [[
jobrun resume JOB|QUEUE... (-s ADDR | --store URL) [--json]

The jobs go on with their schedule, the queues start again. (-s, --store: see jobrun help pause.)

Example:  jobrun resume nightly --store sqlite:state.db]], function(at, name)
  local said, is_job = at:switch(name, "resume")
  return said, is_job and ("%s: next run %s"):format(name, remote.when(said.next_run)) or name .. ": goes on"
end, function(db, name)
  return stored.switch(db, name, nil), name .. ": goes on"
end)
