--- `jobrun resume`: lets paused jobs of a running script go on.
--
-- SPDX-License-Identifier: MIT

local deed = require "jobrun.cli.deed"
local core = require "jobrun.core.store"
local remote = require "jobrun.cli.remote"

return deed.command("resume", [[
jobrun resume JOB|QUEUE... -s ADDR [--json]
jobrun resume QUEUE... --store URL [--json]

The jobs go on with their schedule, the queues start again. (-s: see jobrun help status.) Or the
queues of a store that no process has open.

Example:  jobrun resume nightly -s /run/app.sock]], function(at, name)
  local said, is_job = at:switch(name, "resume")
  return said, is_job and ("%s: next run %s"):format(name, remote.when(said.next_run)) or name .. ": goes on"
end, function(db, name)
  db:call(core.pause, name, nil)
  return { queue = name, paused = false }, name .. ": goes on"
end)
