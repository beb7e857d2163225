--- `jobrun cancel`: cancels runs of a running script.
--
-- SPDX-License-Identifier: MIT

local deed = require "jobrun.cli.deed"
local json = require "jobrun.json"
local remote = require "jobrun.cli.remote"
local stored = require "jobrun.cli.stored"

-- A number is a run's, anything else a job's name: all its runs that go on.
local function cancel(at, what)
  if what:find "^%d+$" and #what > 12 then -- as the ids of queues' jobs are, and no run's
    local job = at:post("/api/queues/jobs/" .. what .. "/cancel")
    return job, stored.changed(job, "cancel")
  end
  if what:find "^%d+$" then
    return at:post("/api/runs/" .. what .. "/cancel"), ("run %s: cancelled"):format(what)
  end
  local ids = json.array {}
  at:get(remote.job(what)) -- there is such a job
  for _, run in ipairs(at:get("/api/runs", { job = what, outcome = "going" }).runs) do
    at:post("/api/runs/" .. run.id .. "/cancel")
    ids[#ids + 1] = run.id
  end
  local line = #ids > 0 and "cancelled run " .. table.concat(ids, ", ") or "no run goes on"
  return { runs = ids }, ("%s: %s"):format(what, line)
end

return deed.command("cancel", [[
jobrun cancel RUN|JOB... -s ADDR [--json]
jobrun cancel ID... --store URL [--json]

Cancels a run by its number, or the runs of a job that go on. (-s: see jobrun help status.)
Or jobs of queues by their ids, in a store, be it open in a process or not.

Example:  jobrun cancel 17 -s /run/app.sock]], cancel, function(_, name)
  return stored.change("cancel", name)
end)
