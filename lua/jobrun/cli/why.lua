--- `jobrun why`: why a job is where it is, and why it was started each time.
--
-- SPDX-License-Identifier: MIT

local args = require "jobrun.cli.args"
local consumer = require "jobrun.queue.consumer"
local core = require "jobrun.core.store"
local json = require "jobrun.json"
local queue = require "jobrun.queue"
local rows = require "jobrun.cli.table"
local stored = require "jobrun.cli.stored"

local M = {}

M.help = [[
jobrun why ID|NAME [--store URL] [--json]

Why a job is in the state it is in, and each of its starts with its reason and its end. NAME: the newest one of that
queue or schedule.

Example:  jobrun why 384394900520566785 --store sqlite:state.db]]

local BECAUSE = {
  first = "it was its turn", error = "the start before had failed", lost = "the process that ran it had ended",
  timeout = "the start before took too long", ["by hand"] = "somebody asked for it",
  released = "its process stopped and gave it back",
}

local function state_sentence(db, job)
  local state = queue.STATES[job.state]
  if state == "blocked" then
    local needs = {}
    for _, row in ipairs(db:call(core.query, "needs", job.id)) do
      needs[#needs + 1] = ("%d (%s)"):format(row.id, queue.STATES[row.state] or "gone")
    end
    return "it waits for " .. table.concat(needs, ", ")
  elseif state == "scheduled" then
    return "it is due at " .. stored.when(job.run_at)
  elseif state == "retryable" then
    return ("it failed and is tried again at %s: %s"):format(stored.when(job.run_at), job.error or "")
  elseif state == "available" then
    for _, row in ipairs(db:call(core.query, "queues")) do
      if row.name == job.queue and row.paused_at then return "its queue is paused since " .. stored.when(row.paused_at) end
    end
    local _, is_alive = stored.owner(db)
    return is_alive and "it waits for a free place, or a script that handles its queue" or "no process has the store open"
  elseif state == "running" then
    local _, is_alive = stored.owner(db)
    if not is_alive then return "its process ended before it did: the next one that opens the store takes it up" end
    return "it runs since " .. stored.when(job.started_at) .. (job.cancel_at and "; its cancellation was asked for" or "")
  end
  return ("it ended at %s%s"):format(stored.when(job.finished_at), job.error and ": " .. job.error or "")
end

local function start_sentence(run)
  local reason = consumer.REASONS[run.reason]
  local text = ("start %d (attempt %d) at %s, because %s: %s"):format(run.fence, run.attempt, stored.when(run.started_at),
    BECAUSE[reason], stored.outcome(run))
  if run.ended_at then text = text .. " after " .. stored.took(run) end
  if run.exit_code then text = ("%s, exit status %d"):format(text, run.exit_code) end
  if run.cpu_ms then
    text = ("%s, its programs used %.1f s of CPU and up to %d MB"):format(text, run.cpu_ms / 1000, run.maxrss_kb // 1024)
  end
  if run.signal then text = ("%s, signal %d"):format(text, run.signal) end
  return run.error and text .. ": " .. run.error or text
end

local function print_plain(text)
  print(rows.plain(text))
end

---@param ... string
function M.main(...)
  local db, options, rest = stored.open("why", M.help, {}, { 1, 1, words = "a job's id or a name" }, ...)
  if not db then return end
  local id = stored.id_or_newest("why", db, rest[1])
  local job = db:call(core.query, "job", id)[1]
  if not job then args.give_up(1, "why: there is no job %d", id) end
  local runs, sentence = db:call(core.query, "runs", id, 10000), state_sentence(db, job)
  db:close()
  if options.json then
    local said = queue.said(job)
    said.why, said.runs = sentence, json.array {}
    for i = #runs, 1, -1 do said.runs[#said.runs + 1] = stored.run(runs[i]) end
    return print(json.encode(said))
  end
  print_plain(("job %d of %s is %s: %s"):format(id, job.queue ~= "" and "queue " .. job.queue or "schedule " .. job.sched,
    queue.STATES[job.state], sentence))
  if job.result then print_plain("  result: " .. stored.short(job.result, 200)) end
  for i = #runs, 1, -1 do print_plain("  " .. start_sentence(runs[i])) end
end

return M
