--- A queue's consumer: claims jobs into its free places, runs them, writes down how they ended.
---
--- There is no polling. A consumer claims when it was rung (something was pushed, became due, a place became free) and
--- all free places at once, in one statement. What it writes down of a run that ended, and the next claim, go to the
--- store in the same turn of the loop, so they share a commit.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.store"
local err = require "jobrun.core.error"
local host = require "jobrun.core.host"
local json = require "jobrun.json"
local log = require "jobrun.log"
local retry = require "jobrun.retry"
local runs = require "jobrun.queue.runs"
local store = require "jobrun.store"
local sync = require "jobrun.core.sync"
local task = require "jobrun.task"
local timer = require "jobrun.queue.timer"
local waiters = require "jobrun.queue.waiters"

local M = {}

-- As in schema.sql.
local AVAILABLE <const>, RETRYABLE <const>, COMPLETED <const>, DISCARDED <const>, CANCELLED <const> = 1, 3, 4, 5, 6
local OK <const>, ERROR <const>, TIMEOUT <const>, CANCEL <const>, RELEASED <const> = 1, 2, 3, 4, 7
local AFTER_ERROR <const>, AFTER_TIMEOUT <const>, AFTER_RELEASE <const> = 1, 4, 5
local MOST_PLACES <const> = 100 -- claimed in one statement

M.default_retry = { n = 10, backoff = 5, factor = 2, max = 3600, jitter = 0.15 }

---What a handler gets.
---@class jobrun.QueuedRun
---@field id integer the job's
---@field queue string
---@field args any as they were pushed
---@field attempt integer from 1
---@field fence integer which start this is, over all processes
---@field reason "first"|"error"|"lost"|"by hand"|"timeout"|"released" why it was started
---@field due number epoch seconds
---@field late number seconds it started after that
---@field lost boolean it was taken away: what it returns counts for nothing
local Run = {}
Run.__index = Run

local REASONS = { [0] = "first", "error", "lost", "by hand", "timeout", "released" }
M.REASONS = REASONS

---A line of the log, with the queue and the job's id; and of the run's own (`jobrun logs ID`).
---@param fmt string
function Run:log(fmt, ...)
  local text = select("#", ...) > 0 and fmt:format(...) or tostring(fmt)
  log.info("%s %d: %s", self.queue, self.id, text)
  runs.say(self, text)
end

local consumers = {} -- name → consumer
local claiming, early = 0, {} -- claims under way; jobs that were cancelled before this process knew that it runs them

-- ---- the end of a run ----------------------------------------------------------------------------

local function policy_of(run)
  if run.opts == "{}" then return M.default_retry end
  return json.decode(run.opts).retry or M.default_retry
end

local function retry_at(run)
  return math.floor((task.now() + retry.wait_before(policy_of(run), run.attempt + 1)) * 1000)
end

-- {state, when, given back, outcome, reason of the next start} of a run that raised `e`.
local function verdict_of(run, e)
  if run.is_cancelled then return CANCELLED, nil, 0, CANCEL, 0 end
  if M.is_stopping and err.is(e, "cancelled") then return AVAILABLE, nil, 1, RELEASED, AFTER_RELEASE end
  local timed_out = err.is(e, "timeout") and run.timeout ~= nil and run.task.status == "cancelled" -- no inner limit's
  local outcome, reason = timed_out and TIMEOUT or ERROR, timed_out and AFTER_TIMEOUT or AFTER_ERROR
  if run.attempt >= run.max_attempts then return DISCARDED, nil, 0, outcome, reason end
  return RETRYABLE, retry_at(run), 0, outcome, reason
end

local function encode(value)
  if value == nil then return nil end
  return json.encode(value)
end

-- What an answer says about other jobs: released ones may start, cancelled ones have ended.
local function tell_others(rows)
  for _, row in ipairs(rows or {}) do
    local queue, id, state = row[1], row[2], row[3]
    if state == AVAILABLE then
      M.ring(queue)
    elseif state == CANCELLED then
      waiters.wake(id)
    else
      timer.note()
    end
  end
end
M.tell_others = tell_others

local function has_ended(state)
  return state == COMPLETED or state == DISCARDED or state == CANCELLED
end
M.has_ended = has_ended

local function after_finish(run, when, result, text, state, rows)
  early[run.id] = nil -- a cancel that came for this start is no later one's
  if state == nil then
    run.lost = true
    log.warn("%s %d: this run (attempt %d) had been taken away: what it did counts for nothing", run.queue, run.id,
      run.attempt)
    return
  end
  if state == RETRYABLE then timer.note(when) end
  if state == AVAILABLE and not M.is_stopping then M.ring(run.queue) end
  if has_ended(state) then waiters.wake(run.id, { state = state, result = result, error = text, queue = run.queue }) end
  tell_others(rows)
  local consumer = consumers[run.queue]
  if consumer and consumer.shares then consumer:ring() end -- there may be a place now
end

local function conclude(run, e, state, when, given_back, result, outcome, next_reason)
  local done, now, rows, text = runs.conclude(run, e, state, when, given_back, result, outcome, next_reason)
  if done then after_finish(run, when, result, text, now, rows) end
end

local function report(run, state, e)
  if state == AVAILABLE or state == CANCELLED then return end
  log.error("%s %d: attempt %d of %d failed%s: %s", run.queue, run.id, run.attempt, run.max_attempts,
    state == DISCARDED and ", it was the last" or "", err.message(e))
end

-- ---- a run ---------------------------------------------------------------------------------------

local function call_handler(run, handler)
  if run.is_cancelled then error("cancelled before it began", 0) end
  run.task = task.current()
  return (handler(run))
end

local function run_handler(consumer, run)
  if run.args_text ~= "null" then run.args = json.decode(run.args_text) end
  if run.timeout then return task.timeout(run.timeout, call_handler, run, consumer.handler) end
  return task.scope(call_handler, run, consumer.handler)
end

local function leave(consumer, run)
  runs.leave(run)
  consumer.running = consumer.running - 1
  consumer:ring()
end

local function work(consumer, run)
  local ok, value = pcall(run_handler, consumer, run)
  if host.is_exiting() then M.stop() end -- it called os.exit, and nothing more is to be claimed
  leave(consumer, run)
  local result
  if ok then
    ok, result = pcall(encode, value)
    if ok then return conclude(run, nil, COMPLETED, nil, 0, result, OK, 0) end
    run.max_attempts, value = run.attempt, result -- its work is done: once more would do it twice
  end
  local state, when, given_back, outcome, next_reason = verdict_of(run, value)
  report(run, state, value)
  conclude(run, value, state, when, given_back, nil, outcome, next_reason)
end

-- A row of CLAIM: id kind priority run_at attempt max_attempts fence timeout args opts reason started_at.
local function run_of(queue, row)
  local run = setmetatable({
    id = row[1], queue = queue, attempt = row[5], max_attempts = row[6], fence = row[7], args_text = row[9],
    opts = row[10], reason_code = row[11], reason = REASONS[row[11]], started_ms = row[12], due = row[4] / 1000,
    late = math.max((row[12] - row[4]) / 1000, 0), lost = false,
  }, Run)
  if row[8] then run.timeout = row[8] / 1000 end
  return run
end

-- ---- the consumer --------------------------------------------------------------------------------

---@class jobrun.queue.Consumer
local Consumer = {}
Consumer.__index = Consumer

---There may be something to do.
function Consumer:ring()
  self.rung = true
  self.queue:wake(1)
end

local function earlier(a, b)
  if a[3] ~= b[3] then return a[3] < b[3] end
  if a[4] ~= b[4] then return a[4] < b[4] end
  return a[1] < b[1]
end

-- The store gives what it claimed in any order.
local function sort(rows)
  for i = 2, #rows do
    if earlier(rows[i], rows[i - 1]) then return table.sort(rows, earlier) end
  end
end

-- What was claimed while the stop came has not begun: it is given back.
local function give_back(name, rows)
  for _, row in ipairs(rows) do
    conclude(run_of(name, row), nil, AVAILABLE, nil, 1, nil, RELEASED, AFTER_RELEASE)
  end
end

function Consumer:start_all(rows)
  if M.is_stopping then return task.shield(give_back, self.name, rows) end
  sort(rows)
  self.running = self.running + #rows
  for _, row in ipairs(rows) do
    local run = run_of(self.name, row)
    run.is_cancelled, early[run.id] = early[run.id], nil
    runs.enter(run)
    task.spawn(work, self, run)
  end
end

local function claimed()
  claiming = claiming - 1
  if claiming == 0 then early = {} end
end

function Consumer:claim()
  self.rung = false
  local free = math.min(self.concurrency - self.running, MOST_PLACES)
  claiming = claiming + 1
  local ok, wait_until, rows = pcall(task.shield, store.current().call, store.current(), core.claim, self.name, free)
  if not ok then
    if not store.may_pass(wait_until) then store.give_up(wait_until) end
    log.error("%s; claiming again in 1 s", tostring(wait_until))
    self.wait_until = math.floor((task.now() + 1) * 1000)
    return
  end
  self.wait_until = wait_until
  if rows then
    if #rows == free then self.rung = true end
    self:start_all(rows)
  end
end

function Consumer:sleep()
  if not self.queue:wait(nil, self.wait_until) then self.rung = true end
end

function Consumer:run()
  while not self.ends do
    if self.rung and self.running < self.concurrency then
      self:claim()
      claimed()
    else
      self:sleep()
    end
  end
end

---Starts it, in a task of its own that outlives the caller's.
---@param name string
---@param concurrency integer
---@param shares boolean its places are counted in the store: max_global
---@param handler fun(run: jobrun.QueuedRun): any
function M.start(name, concurrency, shares, handler)
  if consumers[name] then check.fail("queue:handle: the queue %s has a handler already", check.show(name)) end
  if M.is_stopping then return end -- it would claim what it has to give back, again and again
  local consumer = setmetatable({ name = name, concurrency = concurrency, shares = shares, handler = handler, running = 0,
    rung = true, queue = sync.queue() }, Consumer)
  consumers[name] = consumer
  timer.start(M.ring)
  consumer.task = task.spawn(consumer.run, consumer):detach()
end

---Has the queue a handler in this process?
---@param name string
---@return boolean
function M.is_handled(name)
  return consumers[name] ~= nil
end

---Something may be claimed in a queue.
---@param name string
function M.ring(name)
  local consumer = consumers[name]
  if consumer then consumer:ring() end
end

---Something may be claimed somewhere.
function M.ring_all()
  for _, consumer in pairs(consumers) do consumer:ring() end
end

---Cancels a run of this process.
---@param id integer
function M.cancel(id)
  local run = runs.get(id)
  if not run then
    if claiming > 0 then early[id] = true end
    return
  end
  run.is_cancelled = true
  if run.task then run.task:cancel "queue.cancel" end
end

---Claims no more; what runs goes on.
function M.stop()
  M.is_stopping = true
  timer.stop()
  waiters.stir()
  for _, consumer in pairs(consumers) do
    consumer.ends = true
    consumer:ring()
  end
end

---Stops, cancels what runs, waits for it. (suspends)
function M.close()
  M.stop()
  for name, consumer in pairs(consumers) do
    consumer.task:cancel "the queue is closed"
    pcall(consumer.task.await, consumer.task)
    consumers[name] = nil
  end
  local last = timer.task()
  if last then pcall(last.await, last) end
  M.is_stopping = false
end

return M
