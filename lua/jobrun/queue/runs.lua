--- The runs of this process that the store knows of, those of queues and of schedules: what they say, what their programs
--- used, how they end.
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.store"
local err = require "jobrun.core.error"
local json = require "jobrun.json"
local log = require "jobrun.log"
local runlog = require "jobrun.queue.runlog"
local store = require "jobrun.store"
local task = require "jobrun.task"
local is_within = require("jobrun.core.task").is_within

local M = {}

---What is known of one.
---@class jobrun.queue.Record
---@field id integer the job's
---@field fence integer which start of the job it is
---@field attempt integer
---@field reason_code integer why it was started
---@field started_ms integer
---@field task jobrun.Task? that runs it
---@field exit_code integer? of the program whose failure is its own
---@field signal integer?
---@field cpu_ms integer? of all its children that have ended
---@field maxrss_kb integer? of the largest

local running = {} -- the job's id → run
local logs = setmetatable({}, { __mode = "k" }) -- run → its log, from its first line on

---@param run jobrun.queue.Record
function M.enter(run)
  running[run.id] = run
end

---@param run jobrun.queue.Record
function M.leave(run)
  running[run.id] = nil
end

---@param id integer
---@return jobrun.queue.Record?
function M.get(id)
  return running[id]
end

---The run that the current task belongs to, if any.
---@return jobrun.queue.Record?
function M.current()
  for _, run in pairs(running) do
    if run.task and is_within(run.task) then return run end
  end
end

---What the children of the current task's run are given.
---@return table<string, string>?
function M.environment()
  local run = M.current()
  if not run then return nil end
  return { JOBRUN_JOB = tostring(run.id), JOBRUN_ATTEMPT = tostring(run.attempt), JOBRUN_FENCE = tostring(run.fence) }
end

---A child that the current task ran has ended.
---@param ended {cpu: number?, max_rss: integer?}
function M.note_child(ended)
  local run = ended.cpu and M.current()
  if not run then return end
  run.cpu_ms = (run.cpu_ms or 0) + math.floor(ended.cpu * 1000 + 0.5)
  run.maxrss_kb = math.max(run.maxrss_kb or 0, (ended.max_rss or 0) // 1024)
end

---A line of the run's own log.
---@param run jobrun.queue.Record
---@param text string
function M.say(run, text)
  if not logs[run] then logs[run] = runlog.new(store.path(), run.id, run.fence, run.started_ms) end
  logs[run]:add(text)
end

-- ---- the end -------------------------------------------------------------------------------------

local SIGNALS = { SIGHUP = 1, SIGINT = 2, SIGQUIT = 3, SIGILL = 4, SIGABRT = 6, SIGBUS = 7, SIGFPE = 8, SIGKILL = 9,
  SIGSEGV = 11, SIGPIPE = 13, SIGTERM = 15, SIGXCPU = 24, SIGXFSZ = 25 }

-- How the program ended whose failure it is.
local function note_exit(run, e)
  if type(e) ~= "table" then return end
  local exit_code = rawget(e, "exit_code")
  run.exit_code = math.type(exit_code) == "integer" and exit_code or nil
  run.signal = SIGNALS[rawget(e, "signal")]
end

local function write_down(run, state, when, given_back, result, text, outcome, next_reason)
  local lines = logs[run] or {}
  return store.insist(core.finish, run.id, run.fence, state, when, given_back, result, text, outcome, run.attempt,
    run.reason_code, run.started_ms, next_reason, run.exit_code, run.signal, run.cpu_ms, run.maxrss_kb, lines.path,
    lines.bytes, lines.dropped, lines.first, lines.recent)
end

---Writes down how a run ended: the job's new state and when it is due, what its function returned or raised, and why the
---next start would be. Out of the cancellation's reach where there is one: asked for twice, it is done once. (suspends)
---@param run jobrun.queue.Record
---@param e any what it raised
---@return boolean done else it could not be written down, which is logged
---@return integer? state of the job, as FINISH of src/store.h; nil: the run had been taken away
---@return table? rows jobs that waited for it
---@return string? text of the error
function M.conclude(run, e, state, when, given_back, result, outcome, next_reason)
  local text = e ~= nil and json.text(err.message(e)) or nil
  note_exit(run, e)
  if logs[run] then logs[run]:close() end
  local done, now, rows = pcall(write_down, run, state, when, given_back, result, text, outcome, next_reason)
  if not done and err.is(now, "cancelled") then
    done, now, rows = pcall(task.shield, write_down, run, state, when, given_back, result, text, outcome, next_reason)
  end
  if not done then log.error("job %d: how this run ended could not be written down: %s", run.id, err.message(now)) end
  return done, now, rows, text
end

return M
