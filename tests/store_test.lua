-- jobrun: --clock=virtual
-- The store's verbs (src/store.h), one suite for each store there is: what holds for one holds for all.
local lu = require "luaunit"
local jobrun = require "jobrun"
local core = require "jobrun.core.store"
local testing = require "jobrun.testing"

local AVAILABLE <const>, RUNNING <const>, RETRYABLE <const>, COMPLETED <const> = 1, 2, 3, 4
local DISCARDED <const>, CANCELLED <const>, BLOCKED <const> = 5, 6, 7

local opens = {
  memory = function() return ":memory:" end,
  sqlite = function() return testing.tmpdir() .. "/store.db" end,
}

-- A store, with shorter words for its verbs.
local Db = {}
Db.__index = function(db, name)
  if Db[name] then return Db[name] end
  return function(_, ...) return db.core:call(core[name], ...) end
end

local function open(path)
  return setmetatable({ core = core.open(path), path = path }, Db)
end

function Db:add(o)
  o = o or {}
  return self.core:call(core.enqueue, o.id or self.core:id(), o.queue or "q", "job", o.priority or 0, o.run_at,
    o.max_attempts or 10, nil, o.args or "{}", "{}", o.ukey, o.ukey_until, table.unpack(o.needs or {}))
end

function Db:take(k, queue)
  local wait_until, rows = self.core:call(core.claim, queue or "q", k or 1)
  local list = {}
  for i, r in ipairs(rows or {}) do
    list[i] = { id = r[1], attempt = r[5], fence = r[7], args = r[9], reason = r[11], started_at = r[12] }
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  return list, wait_until
end

function Db:stop(job, state, o)
  o = o or {}
  return self.core:call(core.finish, job.id, o.fence or job.fence, state, o.run_at, o.give_back or 0, o.result, o.error,
    o.outcome or (state == COMPLETED and 1 or 2), job.attempt, job.reason, job.started_at, o.next_reason or 0, nil, nil, nil,
    nil, nil, nil, nil, o.head, o.tail)
end

function Db:get(id)
  return self.core:call(core.query, "job", id)[1]
end

function Db:runs_of(id)
  return self.core:call(core.query, "runs", id, 100)
end

local function now_ms()
  return math.floor(jobrun.now() * 1000)
end

-- test_NAME becomes a test for each store.
local tests = setmetatable({}, {
  __newindex = function(_, name, fn)
    for store, path in pairs(opens) do
      _G[("test_%s_%s"):format(store, name)] = function()
        local db = open(path())
        fn(db)
        db.core:close()
      end
    end
  end,
})

function tests.a_job_is_claimed_once_and_ends_once(db)
  local id, is_new, state = db:add { args = '{"n":1}' }
  lu.assertEquals({ is_new, state }, { 1, AVAILABLE })
  local job = db:take()[1]
  lu.assertEquals({ job.id, job.attempt, job.fence, job.args, job.reason }, { id, 1, 1, '{"n":1}', 0 })
  lu.assertEquals(db:take(), {})
  lu.assertEquals(db:get(id).state, RUNNING)
  lu.assertEquals(db:stop(job, COMPLETED, { result = "42" }), COMPLETED)
  local row = db:get(id)
  lu.assertEquals({ row.state, row.result, row.owner, row.finished_at }, { COMPLETED, "42", nil, now_ms() })
  lu.assertNil((db:stop(job, DISCARDED)))
  lu.assertEquals(db:get(id).state, COMPLETED)
end

function tests.a_push_that_is_repeated_is_one_job(db)
  local id = db:add()
  lu.assertEquals({ db:add { id = id } }, { id, 0, AVAILABLE })
  lu.assertEquals(#db:take(10), 1)
end

function tests.a_push_that_is_repeated_is_one_job_whatever_became_of_it_meanwhile(db)
  local need = db:add()
  local push = { id = db.core:id(), needs = { need } }
  db:add(push)
  db:cancel(need)
  lu.assertEquals({ db:add(push) }, { push.id, 0, CANCELLED })
  local keyed = { id = db.core:id(), ukey = "k" }
  db:add(keyed)
  db:stop(db:take()[1], COMPLETED)
  lu.assertEquals({ db:add(keyed) }, { keyed.id, 0, COMPLETED })
  lu.assertEquals(db:get(keyed.id).ukey, "k")
  lu.assertErrorMsgContains("another job's", db.add, db, { id = push.id, args = "[2]" })
end

function tests.who_lost_its_fence_changes_nothing(db)
  local id = db:add()
  local job = db:take()[1]
  db:stop(job, RETRYABLE, { run_at = now_ms() })
  db:promote()
  local second = db:take()[1]
  lu.assertEquals({ second.attempt, second.fence }, { 2, 2 })
  lu.assertNil((db:stop(job, COMPLETED, { result = '"stale"' })))
  lu.assertEquals({ db:get(id).state, db:get(id).result }, { RUNNING, nil })
  lu.assertEquals(db:runs_of(id)[2].outcome, 6)
  lu.assertEquals(db:stop(second, COMPLETED), COMPLETED)
end

function tests.claims_go_by_priority_then_time_then_id(db)
  local late, first, second = db:add { priority = 1 }, db:add(), db:add()
  lu.assertEquals(db:take()[1].id, first)
  lu.assertEquals(db:take()[1].id, second)
  lu.assertEquals(db:take()[1].id, late)
end

function tests.a_batch_is_claimed_at_once(db)
  for _ = 1, 7 do db:add() end
  lu.assertEquals(#db:take(5), 5)
  lu.assertEquals(#db:take(5), 2)
end

function tests.what_waits_for_its_time_is_promoted_when_it_is_due(db)
  local _, _, state = db:add { run_at = now_ms() + 5000, queue = "later" }
  lu.assertEquals(state, 0)
  db:add { run_at = now_ms() + 9000 }
  lu.assertEquals({ db:promote() }, { now_ms() + 5000 })
  jobrun.sleep(5)
  local next_due, rows = db:promote()
  lu.assertEquals({ next_due, rows }, { now_ms() + 4000, { { "later" } } })
  jobrun.sleep(4)
  lu.assertEquals({ db:promote() }, { nil, { { "q" } } })
end

function tests.an_error_keeps_its_run_and_the_attempts_are_counted(db)
  local id = db:add { max_attempts = 2 }
  local job = db:take()[1]
  lu.assertEquals(db:stop(job, RETRYABLE, { run_at = now_ms() + 1000, error = "boom", next_reason = 1 }), RETRYABLE)
  jobrun.sleep(1)
  db:promote()
  job = db:take()[1]
  lu.assertEquals({ job.attempt, job.reason }, { 2, 1 })
  lu.assertEquals(db:stop(job, DISCARDED, { error = "boom again" }), DISCARDED)
  local runs = db:runs_of(id)
  lu.assertEquals({ #runs, runs[1].error, runs[2].error, runs[1].reason, runs[2].reason }, { 2, "boom again", "boom", 1, 0 })
end

function tests.a_run_that_is_given_back_keeps_its_attempt(db)
  local id = db:add()
  db:stop(db:take()[1], AVAILABLE, { give_back = 1, outcome = 7, next_reason = 5 })
  local job = db:take()[1]
  lu.assertEquals({ job.id, job.attempt, job.fence, job.reason }, { id, 1, 2, 5 })
end

function tests.a_run_that_goes_is_a_row_too(db)
  local id = db:add()
  db:take()
  local runs = db:runs_of(id)
  lu.assertEquals({ #runs, runs[1].outcome, runs[1].started_at }, { 1, nil, now_ms() })
end

function tests.a_key_is_taken_until_its_job_has_ended(db)
  local id = db:add { ukey = "a" }
  lu.assertEquals({ db:add { ukey = "a" } }, { id, 0, AVAILABLE })
  db:stop(db:take()[1], COMPLETED)
  local other, is_new = db:add { ukey = "a" }
  lu.assertEquals(is_new, 1)
  lu.assertNotEquals(other, id)
end

function tests.a_key_may_be_kept_for_a_while(db)
  local id = db:add { ukey = "a", ukey_until = now_ms() + 1000 }
  db:stop(db:take()[1], COMPLETED)
  lu.assertEquals({ db:add { ukey = "a" } }, { id, 0, COMPLETED })
  jobrun.sleep(1)
  local _, is_new = db:add { ukey = "a" }
  lu.assertEquals(is_new, 1)
end

function tests.a_job_waits_for_those_it_needs(db)
  local a, b = db:add(), db:add()
  local c, _, state = db:add { needs = { a, b } }
  lu.assertEquals(state, BLOCKED)
  local jobs = db:take(10)
  lu.assertEquals(#jobs, 2)
  lu.assertEquals({ db:stop(jobs[1], COMPLETED) }, { COMPLETED, { { "q", c, BLOCKED } } })
  lu.assertEquals({ db:stop(jobs[2], COMPLETED) }, { COMPLETED, { { "q", c, AVAILABLE } } })
  lu.assertEquals(db:take()[1].id, c)
  local _, _, at_once = db:add { needs = { a } }
  lu.assertEquals(at_once, AVAILABLE)
end

function tests.what_a_failed_job_was_needed_for_is_cancelled_all_the_way(db)
  local a = db:add()
  local b = db:add { needs = { a } }
  local c = db:add { needs = { b } }
  lu.assertEquals({ db:stop(db:take()[1], DISCARDED) }, { DISCARDED, { { "q", b, CANCELLED }, { "q", c, CANCELLED } } })
  lu.assertStrContains(db:get(b).error, tostring(a))
  local late, is_new, state = db:add { needs = { a } }
  lu.assertEquals({ is_new, state, db:get(late).state }, { 1, CANCELLED, CANCELLED })
  lu.assertStrContains(db:get(late).error, tostring(a))
  lu.assertErrorMsgContains("no job 7", db.add, db, { needs = { 7 } })
end

function tests.an_operation_that_fails_takes_no_other_with_it(db)
  local ok, id, failed
  jobrun.all {
    function() id = db:add() end,
    function() ok, failed = pcall(db.add, db, { needs = { 7 } }) end,
    function() db:add() end,
  }
  lu.assertFalse(ok)
  lu.assertEquals(failed.kind, "not_found")
  lu.assertEquals(db:get(id).state, AVAILABLE)
  lu.assertEquals(#db:take(10), 2)
end

function tests.a_paused_queue_gives_nothing(db)
  db:add()
  db:pause("q", now_ms())
  lu.assertEquals(db:take(), {})
  db:pause("q", nil)
  lu.assertEquals(#db:take(), 1)
end

function tests.a_global_limit_counts_what_runs(db)
  db:limit("q", 2, nil, nil)
  for _ = 1, 5 do db:add() end
  local jobs = db:take(4)
  lu.assertEquals(#jobs, 2)
  lu.assertEquals(db:take(4), {})
  db:stop(jobs[1], COMPLETED)
  lu.assertEquals(#db:take(4), 1)
end

function tests.a_rate_starts_so_many_in_its_window(db)
  db:limit("q", nil, 2, 1000)
  for _ = 1, 5 do db:add() end
  local jobs, wait_until = db:take(5)
  lu.assertEquals({ #jobs, wait_until }, { 2, now_ms() + 500 })
  lu.assertEquals({ #db:take(5) }, { 0 })
  jobrun.sleep(0.5)
  lu.assertEquals(#db:take(5), 1)
  jobrun.sleep(1)
  lu.assertEquals(#db:take(5), 2)
end

function tests.cancelling_ends_what_waits_and_marks_what_runs(db)
  local id = db:add()
  local other = db:add { needs = { id } }
  lu.assertEquals({ db:cancel(id) }, { AVAILABLE, { { "q", other, CANCELLED } } })
  lu.assertEquals(db:get(id).state, CANCELLED)
  lu.assertNil((db:cancel(7)))
  local running = db:add()
  local job = db:take()[1]
  lu.assertEquals(db:cancel(running), RUNNING)
  lu.assertEquals(db:stop(job, RETRYABLE, { run_at = now_ms() }), CANCELLED)
end

function tests.a_job_is_retried_by_hand(db)
  local id = db:add { max_attempts = 1 }
  db:stop(db:take()[1], DISCARDED)
  lu.assertEquals({ db:retry(id) }, { DISCARDED, "q" })
  local job = db:take()[1]
  lu.assertEquals({ job.id, job.attempt, job.reason, job.fence }, { id, 1, 3, 2 })
  db:stop(job, COMPLETED)
  lu.assertEquals({ db:retry(id) }, { COMPLETED, "q" })
  lu.assertEquals(db:get(id).state, COMPLETED)
end

function tests.what_is_retried_waits_for_what_it_still_needs(db)
  local done, pending = db:add { priority = -1 }, db:add()
  local id = db:add { needs = { done, pending } }
  db:cancel(id)
  db:stop(db:take()[1], COMPLETED)
  lu.assertEquals({ db:retry(id) }, { CANCELLED, "q" })
  lu.assertEquals(db:get(id).state, BLOCKED)
  lu.assertEquals({ db:stop(db:take()[1], COMPLETED) }, { COMPLETED, { { "q", id, AVAILABLE } } })
  lu.assertEquals(db:take()[1].id, id)
  local failing = db:add()
  local dependent = db:add { needs = { failing } }
  db:stop(db:take()[1], DISCARDED)
  db:retry(dependent) -- which is then to run all the same
  lu.assertEquals(db:get(dependent).state, AVAILABLE)
end

local function declare(db, name, hash)
  return db:declare(name, "spec", "UTC", hash or "hash", 1, nil, 0)
end

function tests.a_tick_is_had_once_and_never_goes_back(db)
  local anchor = now_ms()
  lu.assertEquals({ declare(db, "nightly") }, { 1 })
  local id = db.core:id()
  lu.assertEquals(db:tick("nightly", 1000, 2000, id, 0, 1), 1)
  lu.assertEquals(db:tick("nightly", 1000, 2000, db.core:id(), 0, 1), 0)
  lu.assertEquals(db:tick("nightly", 500, 2000, db.core:id(), 0, 1), 0)
  lu.assertEquals({ declare(db, "nightly") }, { 0, anchor, 1000 })
  lu.assertEquals({ declare(db, "nightly", "other") }, { 1 })
  lu.assertEquals(#db:query("jobs", nil, nil, 10), 1)
end

function tests.a_tick_that_is_asked_for_twice_is_had_once(db)
  declare(db, "nightly")
  local id, at = db.core:id(), now_ms()
  for _ = 1, 2 do lu.assertEquals(db:tick("nightly", at, nil, id, 0, 1), 1) end
  lu.assertEquals(db:tick("nightly", at, nil, db.core:id(), 0, 1), 0)
  lu.assertEquals(#db:query("runs", nil, 10), 1)
end

function tests.a_run_by_hand_is_nobodys_tick(db)
  declare(db, "nightly")
  for _ = 1, 2 do lu.assertEquals(db:tick("nightly", nil, nil, db.core:id(), 3, 1), 1) end -- at the same time
  lu.assertEquals(db:query("runs", nil, 10)[1].reason, 3)
  lu.assertEquals(db:tick("nightly", now_ms() - 1000, nil, db.core:id(), 0, 1), 1) -- had not passed for it
end

function tests.a_tick_is_a_job_with_runs(db)
  declare(db, "nightly")
  local id = db.core:id()
  db:tick("nightly", now_ms(), nil, id, 0, 1)
  local job = { id = id, attempt = 1, fence = 1, reason = 0, started_at = now_ms() }
  lu.assertEquals(db:get(id).state, RUNNING)
  lu.assertEquals(db:stop(job, DISCARDED, { error = "boom" }), DISCARDED)
  lu.assertEquals({ db:retry(id) }, { DISCARDED, "" }) -- no queue would run it
  lu.assertEquals(db:get(id).state, DISCARDED)
  lu.assertEquals({ db:restart(id, 1) }, { 2, 2 })
  lu.assertNil((db:restart(id, 1)))
  lu.assertEquals(db:stop({ id = id, attempt = 2, fence = 2, reason = 1, started_at = now_ms() }, COMPLETED), COMPLETED)
  lu.assertEquals(#db:runs_of(id), 2)
end

function tests.an_end_that_is_told_twice_is_one(db)
  local id = db:add()
  local job = db:take()[1]
  local after = db:add { needs = { id } }
  lu.assertEquals(db:stop(job, COMPLETED, { result = "7" }), COMPLETED)
  local state, rows = db:stop(job, COMPLETED, { result = "7" })
  lu.assertEquals({ state, rows }, { COMPLETED }) -- whom it released was told before
  lu.assertEquals(db:runs_of(id)[1].outcome, 1) -- and is not stale
  lu.assertEquals(db:get(after).state, AVAILABLE)
  -- nor does it end what was started since
  db:stop(db:take()[1], DISCARDED)
  db:retry(after)
  local again = db:take()[1]
  lu.assertEquals(db:stop({ id = after, fence = 1, attempt = 1, reason = 0, started_at = 0 }, DISCARDED), DISCARDED)
  lu.assertEquals({ db:get(after).state, db:get(after).fence }, { RUNNING, again.fence })
end

function tests.a_job_that_is_retried_has_its_key_again(db)
  local id = db:add { ukey = "k" }
  db:cancel(id)
  db:retry(id)
  lu.assertEquals({ db:add { ukey = "k" } }, { id, 0, AVAILABLE })
  db:cancel(id)
  local second = db:add { ukey = "k" } -- an ended one gives it away
  lu.assertNotEquals(second, id)
  db:retry(id)
  lu.assertEquals({ db:add { ukey = "k" } }, { second, 0, AVAILABLE })
end

function tests.a_long_chain_is_cancelled_to_its_end(db)
  local first = db:add { max_attempts = 1 }
  local last = first
  for _ = 1, 200 do last = db:add { needs = { last } } end
  local state, rows = db:stop(db:take()[1], DISCARDED)
  lu.assertEquals({ state, #rows }, { DISCARDED, 200 })
  lu.assertEquals(db:get(last).state, CANCELLED)
end

function tests.what_is_released_before_its_time_is_promoted_then(db)
  local first = db:add()
  local later = db:add { needs = { first }, run_at = now_ms() + 5000 }
  db:promote()
  db:stop(db:take()[1], COMPLETED)
  lu.assertEquals(db:get(later).state, 0)
  jobrun.sleep(5)
  db:promote()
  lu.assertEquals(db:get(later).state, AVAILABLE)
end

function tests.what_nobody_waits_for_any_more_is_pruned(db)
  local first = db:add()
  local other = db:add { needs = { first } }
  db:cancel(other)
  db:stop(db:take()[1], COMPLETED)
  jobrun.sleep(1)
  lu.assertEquals(db:prune(now_ms(), now_ms(), 100), 2)
end

function tests.a_clock_that_was_years_ahead_does_not_stop_a_schedule(db)
  declare(db, "nightly")
  local year = 365 * 86400000
  lu.assertEquals(db:tick("nightly", now_ms() + year, nil, db.core:id(), 0, 1), 1)
  lu.assertEquals(db:tick("nightly", now_ms(), nil, db.core:id(), 0, 1), 1)
  lu.assertEquals(db:tick("nightly", now_ms() + year, nil, db.core:id(), 0, 1), 0) -- it has a job
  lu.assertEquals({ declare(db, "nightly") }, { 1 })
end

function tests.a_schedule_that_is_held_stays_so(db)
  local declared = function() return select(4, declare(db, "nightly")) end
  declared()
  lu.assertEquals(db:hold("nightly", 5000), 1)
  lu.assertEquals(db:hold("nightly", 6000), 0) -- it is already
  lu.assertEquals(declared(), 5000)
  db:sweep(now_ms() + 1000)
  lu.assertEquals(declared(), 5000) -- not what nobody declares
  lu.assertEquals(db:hold("nightly", nil), 1)
  lu.assertEquals(db:hold("nightly", nil), 0)
  lu.assertNil(declared())
  lu.assertEquals(db:hold("unheard of", 5000), 0)
end

function tests.a_schedule_nobody_declares_is_paused_until_somebody_does(db)
  local began = now_ms()
  declare(db, "old")
  jobrun.sleep(1)
  declare(db, "new")
  lu.assertEquals({ db:sweep(now_ms()) }, { { { "old" } } })
  lu.assertEquals({ db:sweep(now_ms()) }, {})
  lu.assertEquals({ declare(db, "old") }, { 0, began, nil, -1 })
  jobrun.sleep(1)
  lu.assertEquals({ db:sweep(now_ms()) }, { { { "old" }, { "new" } } })
end

function tests.what_has_ended_is_pruned_by_age(db)
  local id, needed = db:add(), db:add()
  local waits = db:add { needs = { needed } }
  local jobs = db:take(2)
  db:stop(jobs[1], COMPLETED)
  db:stop(jobs[2], DISCARDED)
  jobrun.sleep(10)
  lu.assertEquals(db:prune(now_ms() - 20000, now_ms() - 20000, 1000), 0)
  lu.assertEquals(db:prune(now_ms() - 5000, now_ms() - 20000, 1000), 1)
  lu.assertNil(db:get(id))
  lu.assertEquals(db:runs_of(id), {})
  lu.assertEquals(db:prune(now_ms() - 5000, now_ms() - 5000, 1000), 2)
  lu.assertNil(db:get(waits))
end

function tests.of_a_schedule_the_last_hundred_are_kept(db)
  declare(db, "often")
  for i = 1, 103 do
    local id = db.core:id()
    db:tick("often", i, nil, id, 0, 1)
    db:stop({ id = id, attempt = 1, fence = 1, reason = 0, started_at = 0 }, COMPLETED)
  end
  lu.assertEquals(db:prune(0, 0, 1000), 3)
  lu.assertEquals(#db:query("jobs", nil, nil, 1000), 100)
  lu.assertEquals(#db:query("runs", nil, 1000), 100)
end

function tests.a_node_gives_signs_of_life(db)
  lu.assertEquals(db:beat(), 1)
  lu.assertEquals(db:beat(), 2)
end

function tests.ids_grow_whatever_the_clock_does(db)
  local a = db.core:id()
  jobrun.clock.step(-3600)
  lu.assertTrue(db.core:id() > a)
  jobrun.clock.step(3600)
end

function tests.bytes_and_long_texts_come_back_as_they_were(db)
  local id = db:add { args = '"' .. ("x"):rep(100000) .. '"' }
  local job = db:take()[1]
  lu.assertEquals(#job.args, 100002)
  db:stop(job, COMPLETED, { head = "a\0b\255", tail = "" })
  lu.assertEquals({ db:runs_of(id)[1].head, db:runs_of(id)[1].tail }, { "a\0b\255", "" })
end

-- ---- a file ------------------------------------------------------------------------------------------

function test_a_file_keeps_what_it_was_given_and_ids_go_on()
  local path = testing.tmpdir() .. "/store.db"
  local db = open(path)
  local id = db:add { args = "[1]" }
  db.core:close()
  db = open(path)
  lu.assertEquals(db:get(id).args, "[1]")
  lu.assertTrue(db.core:id() > id)
  db.core:close()
end

function test_a_reserved_id_is_given_to_nobody_else_though_the_clock_is_set_back()
  local path = testing.tmpdir() .. "/store.db"
  local db = open(path)
  jobrun.clock.step(3600)
  local reserved = db.core:id()
  db:reserve(reserved)
  db.core:close()
  jobrun.clock.step(-3600)
  db = open(path)
  lu.assertTrue(db.core:id() > reserved)
  db.core:close()
end

local function refuses(path, kind, text)
  local ok, e = pcall(core.open, path)
  lu.assertFalse(ok)
  lu.assertEquals(e.kind, kind)
  lu.assertStrContains(e.message, text)
  lu.assertStrContains(e.message, path)
end

local function write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
end

function test_a_second_process_is_refused()
  local path = testing.tmpdir() .. "/store.db"
  local db = open(path)
  refuses(path, "busy", "belongs to process " .. io.open("/proc/self/stat"):read "n")
  db.core:close()
  open(path).core:close()
end

function test_what_is_no_store_is_refused_and_left_alone()
  local dir = testing.tmpdir()
  write(dir .. "/text", ("no database "):rep(100))
  refuses(dir .. "/text", "corrupt", ".recover")
  lu.assertEquals(io.open(dir .. "/text"):read "a", ("no database "):rep(100))
  lu.assertNil(io.open(dir .. "/text.d"))
  refuses(dir, "usage", "is a folder, and no file")
  lu.assertNil(io.open(dir .. ".d"))
  jobrun.exec { "mkfifo", dir .. "/fifo" }
  refuses(dir .. "/fifo", "usage", "a device, a pipe or a socket, and no file")
  refuses(dir .. "/none/store.db", "not_found", "no such file")
  write(dir .. "/empty.db", "")
  open(dir .. "/empty.db").core:close()
end

function test_a_second_name_of_a_store_is_no_second_store()
  local dir = testing.tmpdir()
  local path = dir .. "/store.db"
  local db = core.open(path)
  jobrun.exec { "ln", "-s", "store.db", dir .. "/soft.db" }
  refuses(dir .. "/soft.db", "busy", "by another name")
  jobrun.exec { "ln", path, dir .. "/hard.db" }
  refuses(dir .. "/hard.db", "usage", "has a second name (a hard link)")
  lu.assertFalse((pcall(core.open, dir .. "/hard.db", false, true))) -- nor to look at it
  db:close()
  refuses(path, "usage", "has a second name (a hard link)")
  os.remove(dir .. "/hard.db")
  core.open(dir .. "/soft.db"):close()
  core.open(path):close()
end

function test_a_symbolic_link_is_the_file_it_leads_to_be_it_there_or_not()
  local dir = testing.tmpdir()
  jobrun.exec { "mkdir", dir .. "/sub" }
  jobrun.exec { "ln", "-s", "sub/b.db", dir .. "/a.db" }
  jobrun.exec { "ln", "-s", dir .. "/c.db", dir .. "/sub/b.db" }
  lu.assertEquals(core.target(dir .. "/a.db"), dir .. "/c.db")
  write(dir .. "/c.db", "")
  lu.assertEquals(core.target(dir .. "/a.db"), dir .. "/c.db")
  lu.assertEquals(core.target(dir .. "/c.db"), dir .. "/c.db")
  jobrun.exec { "ln", "-s", "loop", dir .. "/loop" }
  refuses(core.target(dir .. "/loop"), "system", "too many symbolic links")
end

function test_a_newer_schema_is_refused()
  local path = testing.tmpdir() .. "/store.db"
  open(path).core:close()
  local sqlite = io.popen(("sqlite3 '%s' \"UPDATE jr_meta SET v = '99' WHERE k = 'schema'\" 2>&1"):format(path))
  if sqlite:read "a" ~= "" then lu.skip "needs the sqlite3 command" end
  sqlite:close()
  refuses(path, "usage", "schema version 99")
end

function test_a_damaged_file_is_refused_with_the_way_out()
  local path = testing.tmpdir() .. "/store.db"
  local db = open(path)
  for _ = 1, 200 do db:add { args = '"' .. ("x"):rep(500) .. '"' } end
  db.core:close()
  local f = assert(io.open(path, "r+b"))
  f:seek("set", 0)
  f:write(("\xff"):rep(4096))
  f:close()
  refuses(path, "corrupt", "sqlite3 '" .. path .. "' .recover")
end

function test_a_store_that_was_closed_says_so()
  local db = open ":memory:"
  db.core:close()
  db.core:close()
  local ok, e = pcall(db.add, db)
  lu.assertFalse(ok)
  lu.assertEquals(e.kind, "closed")
end

-- POSIX locks go with any descriptor of the file that the process closes; the sqlite3 that ends next must not remove the WAL.
function test_a_descriptor_of_the_file_that_is_closed_costs_no_acknowledged_job()
  if not os.execute "command -v sqlite3 >/dev/null" then lu.skip "needs the sqlite3 command" end
  local open_again <const> = 'pcall(require("jobrun.core.store").open, arg[1], false, false)'
  for _, touch in ipairs { 'io.open(arg[1], "rb"):close()', open_again } do
    local path = testing.tmpdir() .. "/s.db"
    jobrun.exec { os.getenv "JOBRUN_BUILD" .. "/jobrun", "--quiet", "--store=sqlite:" .. path, "-e", [[
      local q = queue.open "q"
      q:push "first"
      ]] .. touch .. [[

      os.execute("sqlite3 '" .. arg[1] .. "' 'select count(*) from jr_job' >/dev/null")
      for i = 1, 5 do q:push(i) end
      os.execute "kill -9 $PPID"
      sleep(9)]], path, check = false }
    local f = io.popen(("sqlite3 '%s' 'select count(*) from jr_job'"):format(path))
    lu.assertEquals(f:read "n", 6, touch)
    f:close()
  end
end

function test_a_store_nobody_closed_is_collected()
  open ":memory:"
  collectgarbage()
end
