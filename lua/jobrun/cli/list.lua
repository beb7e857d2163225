--- `jobrun list`: the jobs a script declares.
--
-- SPDX-License-Identifier: MIT

local args = require "jobrun.cli.args"
local check = require "jobrun.check"
local core = require "jobrun.core.jobs"
local declared = require "jobrun.cli.declared"
local json = require "jobrun.json"
local rules = require "jobrun.core.rule"
local task = require "jobrun.task"

local M = {}

M.help = [[
jobrun list SCRIPT [--json]

The jobs a script declares, in order, with their next run (local time) and tags. None of it is run.

Example:  jobrun list backup.lua]]

local function row(job)
  local ns = core.upcoming(job, math.floor(task.now() * 1e9), 0)
  local zone = core.zone(job) or rules.zone()
  local next_run = job.state == "paused" and "paused" or ns and rules.wall(zone, ns):gsub("T", " ") or "never"
  return { job.name, next_run, table.concat(job.tags, ", ") }, ns
end

---@param ... string
function M.main(...)
  local options, rest = args.parse("list", { json = true, help = true }, { h = "help" }, ...)
  if options.help then return print(M.help) end
  if #rest ~= 1 then check.fail("list: expected one script (jobrun help list)") end
  local jobs = declared.of_script(rest[1])
  local rows = { { "JOB", "NEXT RUN", "TAGS" } }
  for _, job in ipairs(jobs) do
    local line, ns = row(job)
    rows[#rows + 1] = line
    if options.json then
      print(json.encode { name = job.name, tags = json.array(job.tags), state = job.state,
        next = ns and rules.iso(ns) or json.null })
    end
  end
  if options.json then return end
  if #jobs == 0 then return print "no jobs are declared" end
  require("jobrun.cli.table").print(rows)
end

return M
