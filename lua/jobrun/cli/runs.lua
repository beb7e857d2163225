--- `jobrun runs`: what ran, of the jobs in a store.
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.store"
local json = require "jobrun.json"
local consumer = require "jobrun.queue.consumer"
local stored = require "jobrun.cli.stored"
local tables = require "jobrun.cli.table"

local M = {}

M.help = [[
jobrun runs [ID|NAME] [--store URL] [-n COUNT] [--json]

The newest 50 runs in a store, or COUNT; of one job, or of a queue or schedule by its name; also while a process has it
open. REASON is why it was started: first, error, lost (its process ended), timeout, by hand, released (given back when
its process stopped).

Example:  jobrun runs --store sqlite:state.db]]

---@param ... string
function M.main(...)
  local count = { 0, 1, words = "a job's id, a name or none" }
  local db, options, rest = stored.open("runs", M.help, { count = "number" }, count, ...)
  if not db then return end
  local id = rest[1] and math.tointeger(tonumber(rest[1]))
  local rows = db:call(core.query, "runs", id, options.count or 50, not id and rest[1] or nil)
  db:close()
  local lines = { { "JOB", "OF", "START", "ATTEMPT", "REASON", "STARTED", "TOOK", "OUTCOME", "ERROR" } }
  for _, row in ipairs(rows) do
    if options.json then print(json.encode(stored.run(row))) end
    lines[#lines + 1] = { tostring(row.job), stored.whose(row), tostring(row.fence), tostring(row.attempt),
      consumer.REASONS[row.reason], stored.when(row.started_at), stored.took(row), stored.outcome(row),
      stored.short(row.error, 60) }
  end
  if options.json then return end
  if #rows == 0 then return print "no runs" end
  tables.print(lines)
end

return M
