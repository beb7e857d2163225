--- What a store keeps of named jobs: the last due time that was had, and where an interval's grid begins.
---
--- With a store, `every`, `cron` and `once` jobs that have a name go on where they were when the process ended: what passed
--- meanwhile is caught up as `.catchup` says (jobs of the calendar: once; intervals: not, unless they say so), and no due
--- time is had twice. A declaration that was changed begins anew; a name that is no longer declared is paused, and said so.
-- Each due time is a job in the store, with its runs.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.store"
local err = require "jobrun.core.error"
local jobs = require "jobrun.core.jobs"
local json = require "jobrun.json"
local life = require "jobrun.life"
local log = require "jobrun.log"
local backoff = require "jobrun.retry"
local runs = require "jobrun.queue.runs"
local store = require "jobrun.store"
local sync = require "jobrun.sync"
local task = require "jobrun.task"
local timer = require "jobrun.queue.timer"
local waiters = require "jobrun.queue.waiters"

local M = {}

-- As in schema.sql.
local COMPLETED <const>, DISCARDED <const>, CANCELLED <const> = 4, 5, 6
local OK <const>, ERROR <const>, TIMEOUT <const>, CANCEL <const>, LOST <const>, RELEASED <const> = 1, 2, 3, 4, 5, 7
local FIRST <const>, AFTER_ERROR <const>, BY_HAND <const> = 0, 1, 3
local REASON_AFTER <const> = { [ERROR] = AFTER_ERROR, [TIMEOUT] = 4, [LOST] = 2, [RELEASED] = 5 }
local NO_CATCHUP <const> = 1

local declared, started = {}, false -- name → {job=, said=…}; has the script loaded?

-- ---- runs --------------------------------------------------------------------------------------

-- A tick's job that runs once more; nil where it may not.
local function restart(id, reason)
  local fence, attempt = store.current():call(core.restart, id, reason)
  return fence and { id = id, fence = fence, attempt = attempt, reason_code = reason }
end

-- A due time's first start; nil where it was had already.
local function take_tick(kept, run)
  local id, name = store.current():id(), run.job.name
  local tick_at, reason = math.floor(run.due * 1000 + 0.5), FIRST
  if run.by_hand then tick_at, reason = nil, BY_HAND end
  if store.insist(core.tick, name, tick_at, nil, id, reason, kept.attempts) == 0 then
    -- Intervals go by the steady clock, and never come to a time twice: the wall clock was set back.
    if kept.zone then return nil end
    store.insist(core.tick, name, nil, nil, id, reason, kept.attempts)
  end
  return { id = id, fence = 1, attempt = 1, reason_code = reason }
end

-- The record of a start, for what it says and uses; nil where it may not be.
local function begin(kept, run, own_task)
  local known, left = kept.runs[run.id], kept.left_over
  local record
  if left and left.run == run.id then
    kept.left_over = nil
    record = restart(left.id, left.reason)
  elseif run.attempt > 1 and known then
    record = restart(known.id, AFTER_ERROR)
  else
    record = take_tick(kept, run)
  end
  if not record then return nil end
  record.started_ms, record.task = math.floor(task.now() * 1000), own_task
  kept.runs[run.id] = record
  return record
end

-- {state, outcome, given back} of a run that raised `e`.
local function verdict_of(kept, e)
  if jobs.timed_out() then return DISCARDED, TIMEOUT, 0 end
  if not err.is(e, "cancelled") then return DISCARDED, ERROR, 0 end
  if life.state == "stopping" and kept.job.state ~= "cancelled" then return DISCARDED, RELEASED, 1 end
  return CANCELLED, CANCEL, 0
end

local function finish(kept, record, ok, e)
  local state, outcome, given_back = COMPLETED, OK, 0
  if not ok then state, outcome, given_back = verdict_of(kept, e) end
  runs.conclude(record, e, state, nil, given_back, nil, outcome, 0)
  waiters.wake(record.id)
end

local function keep(kept, fn, run, ...)
  local record = task.shield(begin, kept, run, task.current()) -- or a cancelled one would stay begun
  if not record then
    log.warn("job %q: the run due at %s %s: skipped", run.job.name, os.date("!%Y-%m-%dT%H:%M:%SZ", run.due // 1),
      run.attempt > 1 and "may not be tried again" or "was had already")
    return
  end
  runs.enter(record)
  local results = table.pack(pcall(fn, ...))
  runs.leave(record)
  finish(kept, record, results[1], not results[1] and results[2] or nil)
  timer.prune()
  if results[1] then return table.unpack(results, 2, results.n) end
  error(results[2], 0)
end

-- What a run says by run:log goes to its own log too.
jobs.on_say(function(run, text)
  local kept = declared[run.job.name]
  local record = kept and kept.runs[run.id]
  if record and runs.get(record.id) then runs.say(record, text) end
end)

-- A run that starts with the script (.now) waits until the store knows of its job, or that there is none. False where
-- the job turns out to be paused.
local function wait_until_settled(kept)
  kept.gate = kept.gate or sync.event()
  kept.gate:wait()
  return not kept.was_held
end

local function settle(kept)
  kept.is_settled = true
  if kept.gate then kept.gate:set() end
end

---The function of a named job, with what the store has to know around it.
---@param name string
---@param fn function
---@return function
function M.wrap(name, fn)
  return function(...)
    local kept = declared[name]
    if kept and not kept.is_settled and not wait_until_settled(kept) then return end
    if not kept or not kept.is_stored then return fn(...) end
    return keep(kept, fn, (select(select("#", ...), ...)), ...)
  end
end

-- ---- declarations --------------------------------------------------------------------------------

local function ns(ms)
  return ms and ms * 1000000 or 0
end

-- What was paused stays so.
local function restore_pause(name, kept, paused)
  local state = kept.job.state
  if not paused or paused <= 0 or state ~= "scheduled" and state ~= "running" then return end
  kept.job:pause()
  kept.was_held = true
  log.info("job %q is paused since %s: `jobrun resume`, or its job:resume(), lets it go on", name,
    os.date("!%Y-%m-%dT%H:%M:%SZ", paused // 1000))
end

-- After that attempt there was none to come: the next due time was before it.
local function is_given_up(kept, tick, last, next_due)
  local retry = kept.retry
  if not retry or retry.cross or not last or last.outcome ~= ERROR and last.outcome ~= TIMEOUT then return false end
  return next_due <= last.ended_at / 1000 + backoff.wait_before(retry, tick.attempt + 1) / 1e9 -- of the builder: ns
end

-- The newest due time's run was lost, cut off by the stop, or had attempts left: where no later one was missed, and nobody
-- has made up for it, it runs once more now.
local function take_up(name, kept)
  local db = store.current()
  local tick = db:call(core.query, "newest tick", name)[1]
  if not tick or tick.state ~= DISCARDED or tick.attempt >= tick.max_attempts or tick.done_since > 0 then return end
  local due = kept.job.next_run -- nil: jobrun run, nothing starts by itself
  if kept.job.state ~= "scheduled" or not due or due <= task.now() then return end
  if kept.grace and task.now() - tick.tick_at / 1000 > kept.grace then return end
  local last = db:call(core.query, "runs", tick.id, 1)[1]
  if is_given_up(kept, tick, last, due) then return end
  local id = jobs.start_again(kept.job, ns(tick.tick_at), tick.attempt + 1)
  if not id then return end
  kept.left_over = { id = tick.id, reason = last and REASON_AFTER[last.outcome] or AFTER_ERROR, run = id }
  log.warn("job %q: its run due at %s did not come to its end: it starts again", name,
    os.date("!%Y-%m-%dT%H:%M:%SZ", tick.tick_at // 1000))
end

-- Tells the store what is declared; the job goes on where it was.
local function adopt(name, kept)
  local _, zone = jobs.zone(kept.job)
  kept.zone = zone
  local spec = kept.spec(zone)
  local is_new, anchor, last, paused = store.current():call(core.declare, name, spec, zone or "UTC", spec, kept.catchup, nil, 0)
  kept.is_stored = true
  if is_new == 0 then
    local catches_up = zone ~= nil or kept.has_catchup
    local ends_what_began = last ~= nil and catches_up and kept.catchup ~= NO_CATCHUP
    if not last and not kept.is_now then last = anchor end -- what was due since then was missed too
    jobs.restore(kept.job, ns(anchor), catches_up and ns(last) or 0, kept.has_from)
    restore_pause(name, kept, paused)
    if ends_what_began then take_up(name, kept) end
  end
  settle(kept)
end

---A named job was declared.
---@param job jobrun.Job
---@param name string
---@param said table its modifiers
---@param head table what the sentence began with
function M.declare(job, name, said, head)
  local kept = { job = job, runs = {}, catchup = said.catchup and said.catchup.policy or 0, has_catchup = said.catchup ~= nil,
    has_from = said.from ~= nil, is_now = said.now, retry = said.retry, attempts = said.retry and said.retry.n or 1,
    grace = said.grace and said.grace / 1e9 }
  kept.spec = function(zone)
    return json.encode { head = head, at = said.at and said.at.texts, on = said.on, day = said.day_of_month, zone = zone,
      from = said.from and tostring(said.from.text) }
  end
  declared[name] = kept
  if started then
    if store.explicit_path() then
      task.spawn(adopt, name, kept):detach()
    else
      settle(kept)
    end
  elseif life.has_started then -- the first one with a name, and long after loading
    started = true
    task.spawn(function()
      store.open_asked()
      M.start()
    end):detach()
  end
end

-- A run has ended that is not tried again.
local function forget(run)
  local kept = declared[run.job.name]
  if kept then kept.runs[run.id] = nil end
end

-- What was paused or resumed while the script runs stays so; the store has it when this ends.
local function hold(run)
  local kept = declared[run.job.name]
  if not kept or not kept.is_stored then return end
  local paused = run.job.state == "paused"
  task.shield(store.insist, core.hold, run.job.name, paused and math.floor(task.now() * 1000) or nil)
end

---The script has loaded: with a store, all that was declared goes on where it was. (suspends)
function M.start()
  started = true
  if store.is_client() and next(declared) then
    log.warn("store: it is another process's: named schedules of this script are not kept")
  end
  if not store.explicit_path() then
    for _, kept in pairs(declared) do settle(kept) end
    return
  end
  local began = math.floor(task.now() * 1000)
  sync.map(check.keys(declared), function(name) adopt(name, declared[name]) end, { limit = 100 }) -- they share commits
  for _, row in ipairs(store.current():call(core.sweep, began) or {}) do
    log.warn("store: the schedule %q is not declared any more: paused", row[1])
  end
  jobs.on("end", forget)
  jobs.on("pause", hold)
  jobs.on("resume", hold)
end

return M
