--- `jobrun jobs`: the jobs in a store.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.store"
local json = require "jobrun.json"
local queue = require "jobrun.queue"
local stored = require "jobrun.cli.stored"
local tables = require "jobrun.cli.table"

local M = {}

M.help = [[
jobrun jobs [--store URL] [--queue NAME] [--state STATE] [-n COUNT] [--json]

The newest 50 jobs of a store, or COUNT, also while a process has it open. STATE: scheduled, available, running, retryable,
completed, discarded, cancelled or blocked.

Example:  jobrun jobs --store sqlite:state.db --state discarded]]

local function state_of(word)
  if not word then return nil end
  local states = {}
  for number, state in pairs(queue.STATES) do
    if state == word then return number end
    states[state] = true
  end
  check.fail("jobs: --state: there is no state %s%s", check.show(word), check.hint(word, states))
end

---@param ... string
function M.main(...)
  local spec = { queue = "text", state = "text", count = "number" }
  local db, options = stored.open("jobs", M.help, spec, { 0, 0, words = "options" }, ...)
  if not db then return end
  local rows = db:call(core.query, "jobs", options.queue, state_of(options.state), options.count or 50)
  db:close()
  local lines = { { "ID", "QUEUE", "STATE", "ATTEMPT", "RUN AT", "ARGS", "ERROR" } }
  for _, row in ipairs(rows) do
    if options.json then print(json.encode(queue.said(row))) end
    lines[#lines + 1] = { tostring(row.id), stored.whose(row), queue.STATES[row.state],
      ("%d/%d"):format(row.attempt, row.max_attempts), stored.when(row.run_at), stored.short(row.args, 40),
      stored.short(row.error, 60) }
  end
  if options.json then return end
  if #rows == 0 then return print "no jobs" end
  tables.print(lines)
end

return M
