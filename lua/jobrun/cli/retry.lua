--- `jobrun retry`: makes jobs of a store available again.
--
-- SPDX-License-Identifier: MIT

local deed = require "jobrun.cli.deed"
local stored = require "jobrun.cli.stored"

local HELP <const> = [[
jobrun retry ID... [--store URL] [--json]

Jobs that were discarded or cancelled start again, with all their attempts, and wait for what they still need (not for
what ended without completing); those that wait for their time do so no more. Of a store, be it open in a process or
not; with -s ADDR of a script that runs (see jobrun help status).

Example:  jobrun retry 384394900520566785 --store sqlite:state.db]]

return deed.command("retry", HELP, function(at, name)
  local job = at:post("/api/queues/jobs/" .. stored.id("retry", name) .. "/retry")
  return job, stored.changed(job, "retry")
end, function(_, name)
  return stored.change("retry", name)
end)
