--- `jobrun status`: the jobs of a running script.
--
-- SPDX-License-Identifier: MIT

local json = require "jobrun.json"
local remote = require "jobrun.cli.remote"

local M = {}

M.help = [[
jobrun status [JOB] (-s ADDR | --store URL) [--json]

The jobs of a running script, with their state, next and last run (local time); of one job also its last runs.
ADDR is where the script listens (its --listen): a unix socket's path, or 127.0.0.1:9090; or JOBRUN_SOCKET. One that
has a store (URL, or JOBRUN_STORE) listens beside it, too.

Example:  jobrun --listen=unix:/run/app.sock app.lua      jobrun status -s /run/app.sock]]

local function print_jobs(jobs)
  local rows = { { "JOB", "STATE", "NEXT RUN", "LAST START", "RUNS", "FAILED", "SKIPPED" } }
  for _, job in ipairs(jobs) do
    rows[#rows + 1] = { job.name, job.state, remote.when(job.next_run), remote.when(job.last_start), tostring(job.runs),
      tostring(job.fails), tostring(job.skips) }
  end
  require("jobrun.cli.table").print(rows)
end

local function print_runs(runs)
  local rows = { { "RUN", "OUTCOME", "STARTED", "SECONDS", "ATTEMPT" } }
  for _, r in ipairs(runs) do
    local seconds = math.type(r.duration_s) and ("%.3f"):format(r.duration_s) or "-"
    rows[#rows + 1] = { r.id, r.outcome, remote.when(r.started), seconds, tostring(r.attempt) }
  end
  require("jobrun.cli.table").print(rows)
end

---@param ... string
function M.main(...)
  local options, rest = remote.parse("status", M.help, {}, { 0, 1, words = "at most the name of a job" }, ...)
  if not options then return end
  local said = remote.reach("status", options):get(rest[1] and remote.job(rest[1]) or "/api/jobs")
  if options.json then return print(json.encode(said)) end
  local jobs = said.jobs or { said }
  if #jobs == 0 then return print "no jobs" end
  print_jobs(jobs)
  if said.recent and #said.recent > 0 then
    print ""
    print_runs(said.recent)
  end
end

return M
