--- A store's file on the command line: what the commands jobs, runs, why, push, retry, doctor, and with --store cancel,
--- pause and resume share.
--
-- SPDX-License-Identifier: MIT

local args = require "jobrun.cli.args"
local check = require "jobrun.check"
local client = require "jobrun.store.client"
local consumer = require "jobrun.queue.consumer"
local core = require "jobrun.core.store"
local err = require "jobrun.core.error"
local json = require "jobrun.json"
local queue = require "jobrun.queue"
local remote = require "jobrun.cli.remote"
local rules = require "jobrun.core.rule"
local store = require "jobrun.store"
local task = require "jobrun.task"

store.keep_closed()

local M = {}

local PATIENCE_S <const> = 5

local OUTCOMES = { "ok", "error", "timeout", "cancelled", "lost", "stale", "released" }

local function path_of(command, options)
  local url = options.store or core.url()
  if not url or url == "" then check.fail("%s: say which store: --store sqlite:PATH, or JOBRUN_STORE", command) end
  return store.file_of(command, url)
end

---Is a store's file meant, and no running script?
---@param options table
---@return boolean
function M.is_meant(options)
  return not options.socket and (options.store or core.url() or "") ~= ""
end

---Opens the store to look at it, beside the process that may have it.
---@param command string
---@param options table
---@return table db
---@return string path of its file
function M.look(command, options)
  local path = path_of(command, options)
  local ok, db = pcall(core.open, path, false, true)
  if not ok then args.give_up(1, "%s", err.is(db) and db.message or tostring(db)) end
  return db, path
end

---Reads a command's arguments and opens the store to look at it; nil where only its help was asked for.
---@param command string
---@param help string
---@param spec table further options
---@param count {[1]: integer, [2]: integer, words: string} how many other arguments it takes
---@return table? db
---@return table options
---@return string[] rest
function M.open(command, help, spec, count, ...)
  spec.store = "text"
  local options, rest = args.of(command, help, spec, count, ...)
  if not options then return nil, {}, rest end
  return M.look(command, options), options, rest
end

---What is to be changed: a store's file, or a running script, be it the one that has that file.
---@param command string
---@param options table as remote.parse reads them
---@return table? db
---@return jobrun.cli.Remote? at
function M.reach(command, options)
  if not M.is_meant(options) then return nil, remote.reach(command, options) end
  local path = path_of(command, options)
  local socket, give_up = path .. ".d/socket", task.monotonic() + PATIENCE_S
  while true do
    local ok, db = pcall(core.open, path, false, false)
    if ok then
      store.lend(db, path)
      return db
    end
    if not err.is(db, "busy") then args.give_up(1, "%s", err.is(db) and db.message or tostring(db)) end
    if client.answers(socket) then return nil, remote.at("unix:" .. socket, remote.OF_STORE) end
    if task.monotonic() > give_up then args.give_up(1, "%s", db.message) end
    task.sleep(0.02) -- another command has it for a moment, or a script begins
  end
end

---@param command string
---@param text string
---@return integer
function M.id(command, text)
  local id = math.tointeger(tonumber(text))
  if not id then check.fail("%s: expected a job's id, got %s", command, check.show(text)) end
  return id
end

---The id of a job, or of the newest one of a queue or schedule of that name; does not return where there is none.
---@param command string
---@param db table
---@param text string
---@return integer
function M.id_or_newest(command, db, text)
  local id = math.tointeger(tonumber(text)) or db:call(core.query, "newest", text)[1].id
  if id then return id end
  for _, row in ipairs(db:call(core.query, "schedules")) do
    if row.name == text then
      args.give_up(1, "%s: the schedule %s has not run yet%s", command, check.show(text), M.paused_since(row.paused_at))
    end
  end
  args.give_up(1, "%s: the store has no job of a queue or schedule %s", command, check.show(text))
end

---How long a queue or a schedule is paused, as the end of a sentence; "" where it is not.
---@param paused_at integer? ms; -1: a schedule's script declares it no more
---@return string
function M.paused_since(paused_at)
  if not paused_at then return "" end
  return paused_at > 0 and ", and is paused since " .. M.when(paused_at) or ", and its script declares it no more"
end

---Whose job a row is: a queue's name, or a schedule's.
---@param row table
---@return string
function M.whose(row)
  if row.queue ~= "" then return row.queue or "-" end
  return "schedule " .. (row.sched or "-")
end

---An instant in local time.
---@param ms integer?
---@return string
function M.when(ms)
  return args.when(ms and ms * 1000000)
end

local function iso(ms)
  return ms and rules.iso(ms * 1000000) or json.null
end

local function text_of(value)
  return value == nil and json.null or value
end

---@param row table
---@return table
function M.run(row)
  return { job = tostring(row.job), queue = row.queue ~= "" and text_of(row.queue) or json.null,
    schedule = text_of(row.sched), start = row.fence, attempt = row.attempt, reason = consumer.REASONS[row.reason],
    outcome = OUTCOMES[row.outcome] or "going", started_at = iso(row.started_at), ended_at = iso(row.ended_at),
    exit_code = text_of(row.exit_code), signal = text_of(row.signal), error = text_of(row.error),
    cpu_s = row.cpu_ms and row.cpu_ms / 1000 or json.null,
    max_rss = row.maxrss_kb and row.maxrss_kb * 1024 or json.null }
end

---@param row table
---@return string
function M.outcome(row)
  return OUTCOMES[row.outcome] or "going"
end

---@param row table
---@return string
function M.took(row)
  return row.ended_at and ("%.1f s"):format((row.ended_at - row.started_at) / 1000) or "-"
end

---One line of a text, cut.
---@param text string?
---@param most integer
---@return string
function M.short(text, most)
  text = (text or ""):gsub("\n.*", "")
  return #text > most and text:sub(1, most - 3) .. "..." or text
end

---One line about what a verb has done to a job.
---@param said table as the API says it
---@param verb "cancel"|"retry"
---@return string
function M.changed(said, verb)
  if verb == "cancel" and said.was == "running" then return said.id .. ": its run is cancelled" end
  if verb == "retry" and said.schedule ~= json.null then
    return ("%s: is a run of the schedule %s, left as it is: `jobrun trigger %s` runs it now"):format(said.id, said.schedule,
      said.schedule)
  end
  if said.was == said.state then return ("%s: is %s, left as it is"):format(said.id, said.state) end
  return ("%s: %s (it was %s)"):format(said.id, verb == "cancel" and "cancelled" or said.state, said.was)
end

---Cancels or retries a job; what became of it.
---@param verb "cancel"|"retry"
---@param text string the id
---@return table
---@return string
function M.change(verb, text)
  local id = M.id(verb, text)
  local was = queue[verb](id)
  if not was then args.give_up(1, "%s: there is no job %d", verb, id) end
  local said = queue.look(id)
  said.was = was
  return said, M.changed(said, verb)
end

---The node that has the store, or had it last without closing it; and is its process there?
---@param db table
---@return table? node
---@return boolean is_alive
function M.owner(db)
  for _, node in ipairs(db:call(core.query, "nodes", 10)) do
    if node.state == 1 then
      local file = io.open(("/proc/%d/stat"):format(node.pid))
      if file then file:close() end
      return node, file ~= nil
    end
  end
  return nil, false
end

---Pauses what has that name, a schedule or else a queue, or lets it go on.
---@param db table
---@param name string
---@param paused_at integer? ms
---@return table
function M.switch(db, name, paused_at)
  for _, row in ipairs(db:call(core.query, "schedules")) do
    if row.name == name then
      db:call(core.hold, name, paused_at)
      return { job = name, paused = paused_at ~= nil }
    end
  end
  local known = { db:call(core.query, "queues"), db:call(core.query, "stats") }
  for _, row in ipairs(table.move(known[2], 1, #known[2], #known[1] + 1, known[1])) do
    if row.name == name or row.queue == name then
      db:call(core.pause, name, paused_at)
      return { queue = name, paused = paused_at ~= nil }
    end
  end
  args.give_up(1, "the store has no schedule or queue %s", check.show(name))
end

return M
