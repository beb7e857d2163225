--- `queue`: durable queues of jobs. What `push` has returned is on disk, and is done at least once.
---
---    local q = queue.open("encode", { concurrency = 2 })
---    q:handle(function(job) ffmpeg { input = job.args.src, output = job.args.dst, overwrite = true } end)
---    q:push({ src = "a.mov", dst = "a.mp4" }, { unique = "a.mov", retry = { n = 3 } })
---
--- A job whose handler raises is tried again, by default up to 10 attempts, 5 s to 1 h apart; then it is discarded and
--- stays to be looked at. One whose process was killed starts again when the next process opens the store; the start
--- says so (`job.reason`), and `job.fence` tells one start from another: children have it as JOBRUN_FENCE, beside
--- JOBRUN_JOB and JOBRUN_ATTEMPT.
--
-- SPDX-License-Identifier: MIT

local calendar = require "jobrun.calendar"
local check = require "jobrun.check"
local consumer = require "jobrun.queue.consumer"
local core = require "jobrun.core.store"
local err = require "jobrun.core.error"
local host = require "jobrun.core.host"
local json = require "jobrun.json"
local log = require "jobrun.log"
local retry = require "jobrun.retry"
local rules = require "jobrun.core.rule"
local store = require "jobrun.store"
local task = require "jobrun.task"
local timer = require "jobrun.queue.timer"
local waiters = require "jobrun.queue.waiters"

local M = {}

local STATES = { [0] = "scheduled", "available", "running", "retryable", "completed", "discarded", "cancelled", "blocked" }
M.STATES = STATES

---@class jobrun.Queue
---@field name string
local Queue = {}
Queue.__index = Queue

local queues = {} -- name → Queue

-- ---- options -------------------------------------------------------------------------------------

local OPEN_OPTIONS = {
  concurrency = { type = "integer", min = 1, default = 1 },
  max_global = { type = "integer", min = 1 },
  rate = "table",
}
local RATE_OPTIONS = { n = { type = "integer", min = 1, required = true }, per = { type = "duration", default = 1 } }

local PUSH_OPTIONS = {
  priority = { type = "integer", default = 0 },
  at = "string|number",
  delay = "duration",
  unique = "string",
  unique_for = "duration",
  retry = "table|integer",
  timeout = "duration",
  after = "table|integer",
  exclusive = "boolean",
}

---@class jobrun.PushOptions
---@field priority? integer
---@field at? string|number
---@field delay? number|string
---@field unique? string
---@field unique_for? number|string
---@field retry? jobrun.Retry|integer
---@field timeout? number|string
---@field after? integer|integer[]
---@field exclusive? boolean a run that is cut off from the store ends its children; with SQLite none is ever cut off

---Raises where it is no name of a queue.
---@param what string for the message
---@param name any
---@package
function M.check_name(what, name)
  if type(name) ~= "string" or name == "" or #name > 200 or json.text(name) ~= name then
    check.fail("%s: expected a queue's name, of 1 to 200 bytes of UTF-8, got %s", what, check.show(name))
  end
end

local function check_id(what, id)
  local number = math.tointeger(id)
  if not number then check.fail("%s: expected the id that push returned, got %s", what, check.show(id)) end
  return number
end

local function refuse_moment(_, fmt, ...)
  check.fail("push" .. fmt, ...)
end

-- When it may start at the earliest, in ms; nil = at once.
local function due_of(o)
  if o.at and o.delay then check.fail "push: at and delay: one of them" end
  if type(o.at) == "string" then return calendar.moment(nil, "at", o.at, refuse_moment) // 1000000 end
  local at = o.delay and task.now() + o.delay or o.at
  if not at then return nil end
  if not (at >= 0 and at < calendar.LAST_S) then
    check.fail("push: %s: expected a time between 1970 and 2262, in seconds, got %s", o.delay and "delay" or "at",
      check.show(o.delay or o.at))
  end
  return math.floor(at * 1000)
end

local function needs_of(after)
  if after == nil then return {} end
  if type(after) ~= "table" then after = { after } end
  local needs, count = {}, 0
  for _ in pairs(after) do count = count + 1 end
  if count ~= #after then check.fail "push: after: expected a list of ids, without holes and keys" end
  for i, id in ipairs(after) do needs[i] = check_id("push: after", id) end
  return needs
end

local function opts_of(policy, o)
  if not o.retry and not o.exclusive then return "{}" end
  return json.encode { retry = policy, exclusive = o.exclusive }
end

local function ms(seconds)
  return seconds and math.max(math.floor(seconds * 1000 + 0.5), 1)
end

-- ---- what the store's answers mean for this process ----------------------------------------------

local function after_push(queue, due, state)
  if state == 1 then consumer.ring(queue) end
  if state == 0 then timer.note(due) end
end

local function after_cancel(id, state, rows)
  if not state then return end
  if state == 2 then
    consumer.cancel(id)
  elseif not consumer.has_ended(state) then
    waiters.wake(id)
  end
  consumer.tell_others(rows)
end

-- Does a verb. Where the task is cancelled meanwhile it is done all the same: then `after` is too, once it is on disk.
local function perform(after, verb, ...)
  local db = store.current()
  local results = table.pack(pcall(db.call, db, verb, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  if err.is(results[2], "cancelled") and not store.is_client() then
    task.shield(function()
      db:call(core.query, "meta") -- comes after it
      after()
    end)
  end
  error(results[2], 0)
end

-- ---- queues --------------------------------------------------------------------------------------

local function set_limits(name, max_global, rate)
  local db = store.current()
  if max_global or rate.n or not store.is_client() then -- else it is the owner's matter
    db:call(core.limit, name, max_global, rate.n, ms(rate.per))
  end
end

---The queue of that name. concurrency: how many jobs this process runs at a time (1); max_global: how many run at a time
---in all; rate: `{n=10, per="1s"}` starts at once at most, and one more each 0.1 s (a token bucket). (suspends)
---@param name string
---@param options? {concurrency?: integer, max_global?: integer, rate?: {n: integer, per?: number|string}}
---@return jobrun.Queue
function M.open(name, options)
  M.check_name("queue.open", name)
  local known = queues[name]
  if known and not options then return known end
  local o = check.options("queue.open", options or {}, OPEN_OPTIONS)
  local rate = o.rate and check.options("queue.open: rate", o.rate, RATE_OPTIONS) or {}
  if rate.per and rate.per < 0.001 then check.fail("queue.open: rate.per: expected at least 1 ms, got %s s", rate.per) end
  if known and known.is_set then
    check.fail("queue.open: the queue %s was opened with options already", check.show(name))
  end
  if options and consumer.is_handled(name) then
    check.fail("queue.open: the queue %s has a handler: its options are to be given before", check.show(name))
  end
  local queue = known or setmetatable({ name = name }, Queue)
  queue.concurrency, queue.shares, queue.is_set = o.concurrency, o.max_global ~= nil, options ~= nil
  queues[name] = queue
  if not options or host.is_looking() then return queue end
  local ok, e = pcall(set_limits, name, o.max_global, rate)
  if ok then return queue end
  queues[name] = known
  if known then known.is_set = false end
  error(e, 0)
end

---Calls `fn(job)` for each job. What it returns is the result, any value with a JSON form; an error has the job tried
---again. Jobs are handled until the script ends: SIGTERM lets what runs end within the grace, and gives back what does
---not. (suspends)
---@param fn fun(job: jobrun.QueuedRun): any
---@return jobrun.Queue
function Queue:handle(fn)
  if type(fn) ~= "function" then check.fail("queue:handle: expected a function, got %s", check.show(fn)) end
  if host.is_looking() then return self end
  local db = store.current()
  if store.is_client() then
    check.fail("queue:handle: the store is another process's, which handles the jobs: %s", check.show(db.socket))
  end
  consumer.start(self.name, self.concurrency, self.shares, fn)
  if not self.is_set then db:call(core.limit, self.name, nil, nil, nil) end -- what it had in an earlier life
  return self
end

local function check_queue(self)
  if getmetatable(self) ~= Queue then check.fail "push: expected a queue before the colon: q:push(args)" end
end

---Adds a job; it is on disk when this returns. A lower priority is sooner. `at`: a time (text, or epoch seconds);
---`delay`: not before that long. unique: if a job of this queue with that key has not ended (or was pushed less than
---unique_for ago) its id is returned instead. after: ids of jobs that must complete first; if one does not, or did not, this
---one is cancelled. timeout: of each attempt. retry: as `ffmpeg`'s, by default 10 attempts. (suspends)
---@param args any any value with a JSON form
---@param options? jobrun.PushOptions
---@return integer id
function Queue:push(args, options)
  check_queue(self)
  local text = args == nil and "null" or json.encode(args)
  local db = store.current()
  local id, is_new, state, due
  local function ring()
    consumer.ring(self.name)
    timer.note()
  end
  if options == nil then
    id, is_new, state = perform(ring, core.enqueue, db:id(), self.name, "job", 0, nil, consumer.default_retry.n, nil, text,
      "{}", nil, nil)
  else
    local o = check.options("push", options, PUSH_OPTIONS)
    local policy = retry.check("push", o.retry)
    if o.timeout and o.timeout <= 0 then check.fail "push: timeout: expected more than 0 seconds" end
    due = due_of(o)
    if o.unique_for and not o.unique then check.fail "push: unique_for needs unique" end
    local key = o.unique and ("%d:%s:%s"):format(#self.name, self.name, o.unique)
    local until_ms = o.unique_for and math.floor((task.now() + o.unique_for) * 1000)
    id, is_new, state = perform(ring, core.enqueue, db:id(), self.name, "job", o.priority, due,
      (policy or consumer.default_retry).n, ms(o.timeout), text, opts_of(policy, o), key, until_ms,
      table.unpack(needs_of(o.after)))
  end
  if is_new == 1 and not consumer.has_ended(state) and not store.is_client() then waiters.note_open(id) end
  after_push(self.name, due, state)
  return id
end

-- ---- jobs ----------------------------------------------------------------------------------------

local function seconds(value)
  return value and value / 1000
end

local function decode(text)
  if text and text ~= "null" then return json.decode(text) end
end

---@class jobrun.QueuedJob
---@field id integer
---@field queue string
---@field state "scheduled"|"available"|"running"|"retryable"|"completed"|"discarded"|"cancelled"|"blocked"
---@field args any
---@field result any
---@field error string?
---@field attempt integer
---@field max_attempts integer
---@field priority integer
---@field run_at number epoch seconds, as the others
---@field created_at number
---@field started_at number?
---@field finished_at number?

---A job as it is now, or nil. (suspends)
---@param id integer
---@return jobrun.QueuedJob?
function M.get(id)
  local row = store.current():call(core.query, "job", check_id("queue.get", id))[1]
  if not row then return nil end
  return { id = row.id, queue = row.queue, state = STATES[row.state], args = decode(row.args), result = decode(row.result),
    error = row.error, attempt = row.attempt, max_attempts = row.max_attempts, priority = row.priority,
    run_at = seconds(row.run_at), created_at = seconds(row.created_at), started_at = seconds(row.started_at),
    finished_at = seconds(row.finished_at) }
end

local function iso(value)
  return value and rules.iso(value * 1000000) or json.null
end

local function or_null(value)
  if value == nil then return json.null end
  return value
end

---A row of jr_job for programs: ids are texts, instants ISO 8601 in UTC.
---@param row table
---@return table
---@package
function M.said(row)
  return { id = tostring(row.id), queue = row.queue, state = STATES[row.state], priority = row.priority,
    attempt = row.attempt, max_attempts = row.max_attempts, schedule = or_null(row.sched), run_at = iso(row.run_at),
    created_at = iso(row.created_at), started_at = iso(row.started_at), finished_at = iso(row.finished_at),
    args = or_null(decode(row.args)), result = or_null(decode(row.result)), error = or_null(row.error) }
end

---The same of a job; nil where there is none. (suspends)
---@param id integer
---@return table?
---@package
function M.look(id)
  local row = store.current():call(core.query, "job", id)[1]
  return row and M.said(row)
end

local function result_of(id, row)
  local state = STATES[row.state]
  if state == "completed" then return decode(row.result) end
  error(err.new { kind = state == "discarded" and "job_failed" or "job_cancelled", op = "queue.wait", job = id,
    message = ("job %d of %s was %s: %s"):format(id, row.queue ~= "" and ("queue '%s'"):format(row.queue) or "a schedule",
      state, row.error or "no reason") })
end

-- The same in another process, which may end and begin anew meanwhile: the job is in its store.
local function await_end_there(id, left)
  local is_told
  repeat
    local ok, row = pcall(store.current().wait, store.current(), id, left())
    if ok and row then return row end
    if not ok then
      if not err.is(row, "closed") then error(row, 0) end
      if not is_told then log.warn("%s; job %d is waited for all the same", row.message, id) end
      is_told = true
      task.sleep(math.min(left() or 1, 1))
    end
  until left() == 0
end

-- How a job ended, that is waited for at most until `give_up`; nil: it has not. A guest's wait ends with the script's.
local function await_end(id, give_up, is_guest)
  local function left() return give_up and math.max(give_up - task.monotonic(), 0) end
  store.current() -- opened, or it is not known whose it is
  if store.is_client() then return await_end_there(id, left) end
  local place <close> = waiters.enter(id)
  while true do
    local row = place.row
    if not row and not waiters.is_open(id) then
      row = store.current():call(core.query, "end", id)[1]
      if not row then check.fail("queue.wait: there is no job %d", id) end
    end
    if row and consumer.has_ended(row.state) then return row end
    if not place:wait(left()) or is_guest and consumer.is_stopping then return nil end
  end
end

---Waits for a job's end and gives its result. Raises kind "job_failed" where it was discarded, "job_cancelled", and
---"timeout". (suspends)
---@param id integer
---@param timeout? number|string
---@return any
function M.wait(id, timeout)
  id = check_id("queue.wait", id)
  local row = await_end(id, timeout and task.monotonic() + check.duration(timeout, "queue.wait"))
  if row then return result_of(id, row) end
  error(err.new { kind = "timeout", op = "queue.wait", message = ("queue.wait: job %d has not ended"):format(id) })
end

---Cancels a job; one that runs is cancelled as a task is. Returns the state it was in, nil if there is no such job. (suspends)
---@param id integer
---@return string?
function M.cancel(id)
  id = check_id("queue.cancel", id)
  local state, rows = perform(function()
    if store.current():call(core.cancel, id) == 2 then
      consumer.cancel(id)
    else
      waiters.forget() -- what else it ended is not known here
      waiters.stir()
    end
  end, core.cancel, id)
  after_cancel(id, state, rows)
  return STATES[state]
end

---Makes a job available that was discarded or cancelled, or waits for its time. What it still needs is waited for; a need
---that ended without completing is not. Returns the state it was in. (suspends)
---@param id integer
---@return string?
function M.retry(id)
  local state, queue = perform(consumer.ring_all, core.retry, check_id("queue.retry", id))
  if not state then return nil end
  consumer.ring(queue)
  return STATES[state]
end

---Nothing of a queue starts until `queue.resume(name)`. (suspends)
---@param name string
function M.pause(name)
  M.check_name("queue.pause", name)
  store.current():call(core.pause, name, math.floor(task.now() * 1000))
end

---@param name string
function M.resume(name)
  M.check_name("queue.resume", name)
  perform(consumer.ring_all, core.pause, name, nil)
  consumer.ring(name)
end

local NONE <const> = { __index = {} }
for _, name in pairs(STATES) do NONE.__index[name] = 0 end

---How many jobs there are: `stats().encode.available`, 0 where there are none in that state. (suspends)
---@return table<string, table<string, integer>>
function M.stats()
  local stats, db = {}, store.current()
  for _, row in ipairs(db:call(core.query, "queues")) do stats[row.name] = setmetatable({}, NONE) end
  for _, row in ipairs(db:call(core.query, "stats")) do
    stats[row.queue] = stats[row.queue] or setmetatable({}, NONE)
    stats[row.queue][STATES[row.state]] = row.n
  end
  return stats
end

-- ---- for jobrun itself ---------------------------------------------------------------------------

---A verb of the store, asked for by another process, with what it means for this one. (suspends)
---@param verb integer
---@param values table with n
---@return table results with n
---@package
function M.perform(verb, values)
  local results = table.pack(store.current():call(verb, table.unpack(values, 1, values.n)))
  if verb == core.enqueue then after_push(values[2], values[5], results[3]) end
  if verb == core.cancel then after_cancel(values[1], results[1], results[2]) end
  if verb == core.retry and results[1] then consumer.ring(results[2]) end
  if verb == core.pause and values[2] == nil then consumer.ring(values[1]) end
  return results
end

---How a job ended, waited for at most so long on another process's behalf; nil: it has not. (suspends)
---@param id integer
---@param most number seconds
---@return table?
---@package
function M.ended(id, most)
  return await_end(id, task.monotonic() + (consumer.is_stopping and 0 or most), true)
end

---The script ends: claims no more.
---@package
M.stop = consumer.stop

---Ends all queues; what runs is cancelled and given back. (suspends)
---@package
function M.close()
  consumer.close()
  waiters.forget()
  queues = {}
end

return M
