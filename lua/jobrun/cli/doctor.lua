--- `jobrun doctor`: is a store well?
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.store"
local json = require "jobrun.json"
local queue = require "jobrun.queue"
local rows = require "jobrun.cli.table"
local stored = require "jobrun.cli.stored"
local task = require "jobrun.task"

local M = {}

M.help = [[
jobrun doctor [--store URL] [--json]

Looks a store over: its schema, the integrity of its file, who has it, what waits and for how long. Exit status 1 if
something is wrong.

Example:  jobrun doctor --store sqlite:state.db]]

local function look(db)
  local found = { problems = json.array {}, queues = json.array {}, paused = json.array {} }
  for _, row in ipairs(db:call(core.query, "meta")) do found[row.k] = row.v end
  local integrity = db:call(core.query, "integrity")[1]
  local _, verdict = next(integrity)
  if verdict ~= "ok" then table.insert(found.problems, "the file is damaged: " .. verdict) end
  local node, is_alive = stored.owner(db)
  if is_alive then
    found.owner = ("process %d on %s, since %s"):format(node.pid, node.host, stored.when(node.started_at))
  elseif node then
    table.insert(found.problems, ("process %d ended without closing it: the next one rescues its jobs"):format(node.pid))
  end
  for _, row in ipairs(db:call(core.query, "stats")) do
    table.insert(found.queues, { queue = row.queue, state = queue.STATES[row.state], jobs = row.n })
  end
  local sizes = db:call(core.query, "sizes")[1]
  found.jobs, found.runs, found.schedules = sizes.jobs, sizes.runs, sizes.schedules
  found.waits_s = sizes.oldest and math.max(task.now() - sizes.oldest / 1000, 0) or 0
  for _, row in ipairs(db:call(core.query, "queues")) do
    if row.paused_at then table.insert(found.paused, { queue = row.name, since = stored.when(row.paused_at) }) end
  end
  for _, row in ipairs(db:call(core.query, "schedules")) do
    local since = (row.paused_at or 0) > 0 and stored.when(row.paused_at) or nil -- -1: its script declares it no more
    if row.paused_at then table.insert(found.paused, { schedule = row.name, since = since }) end
  end
  return found
end

---@param ... string
function M.main(...)
  local db, options = stored.open("doctor", M.help, {}, { 0, 0, words = "options" }, ...)
  if not db then return end
  local found = look(db)
  db:close()
  if options.json then
    print(json.encode(found))
  else
    print(("schema %s, store %s: %d jobs, %d runs, %d schedules"):format(found.schema, found.uuid, found.jobs, found.runs,
      found.schedules))
    print("open in: " .. (found.owner or "no process"))
    for _, row in ipairs(found.queues) do
      print(rows.plain(("%s: %d %s"):format(row.queue, row.jobs, row.state)))
    end
    for _, row in ipairs(found.paused) do
      print(rows.plain(("%s is paused%s"):format(row.queue or "schedule " .. row.schedule,
        row.since and " since " .. row.since or ": its script declares it no more")))
    end
    if found.waits_s >= 1 then print(("what is available waits for up to %.0f s"):format(found.waits_s)) end
    for _, problem in ipairs(found.problems) do print("PROBLEM: " .. problem) end
    if #found.problems == 0 then print "no problems" end
  end
  if #found.problems > 0 then os.exit(1) end
end

return M
