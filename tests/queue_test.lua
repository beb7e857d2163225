-- jobrun: --clock=virtual
-- queue: what a script sees of it. Each test has a store of its own, in memory.
local lu = require "luaunit"
local host = require "jobrun.core.host"
local jobrun = require "jobrun"
local queue, sleep, spawn = jobrun.queue, jobrun.sleep, jobrun.spawn

-- libuv keeps a descriptor in reserve from the first listener on, as that of a store in a file: no test leaves it behind.
require("jobrun.http.server").open({}, "test", { "127.0.0.1:0" }, { is_background = true }):close()

local function kind_of(fn, ...)
  local ok, e = pcall(fn, ...)
  return not ok and (type(e) == "table" and e.kind or tostring(e)) or nil
end

local function usage_of(fn, ...)
  local ok, e = pcall(fn, ...)
  lu.assertFalse(ok)
  lu.assertEquals(e.kind, "usage")
  return e.message
end

function test_a_job_gets_its_arguments_and_gives_a_result()
  local q = queue.open "q"
  local seen
  q:handle(function(job)
    seen = job
    return { sum = job.args.a + job.args.b }
  end)
  local id = q:push { a = 1, b = 2 }
  lu.assertEquals(queue.wait(id), { sum = 3 })
  lu.assertEquals({ seen.id, seen.queue, seen.attempt, seen.fence, seen.reason, seen.lost, seen.late },
    { id, "q", 1, 1, "first", false, 0 })
  local job = queue.get(id)
  lu.assertEquals({ job.state, job.args, job.result }, { "completed", { a = 1, b = 2 }, { sum = 3 } })
  lu.assertEquals(queue.stats(), { q = { completed = 1 } })
end

function test_jobs_without_arguments_or_result()
  local q = queue.open "q"
  q:handle(function(job) lu.assertNil(job.args) end)
  lu.assertNil(queue.wait(q:push()))
end

function test_so_many_run_at_a_time_and_in_order()
  local q = queue.open("q", { concurrency = 2 })
  local order, running, most = {}, 0, 0
  local ids = {}
  for i = 1, 6 do ids[i] = q:push(i) end
  ids[7] = q:push(7, { priority = -1 })
  q:handle(function(job)
    order[#order + 1] = job.args
    running = running + 1
    most = math.max(most, running)
    sleep(1)
    running = running - 1
  end)
  for _, id in ipairs(ids) do queue.wait(id) end
  lu.assertEquals(order, { 7, 1, 2, 3, 4, 5, 6 })
  lu.assertEquals(most, 2)
end

function test_a_failed_job_is_tried_again_after_its_backoff()
  local q = queue.open "q"
  local times, began = {}, jobrun.now()
  q:handle(function(job)
    times[#times + 1] = { job.attempt, math.floor(jobrun.now() - began + 0.5), job.reason }
    if job.attempt < 3 then error("boom", 0) end
    return "done"
  end)
  lu.assertEquals(queue.wait(q:push(nil, { retry = { n = 5, backoff = 10, factor = 3, jitter = false } })), "done")
  lu.assertEquals(times, { { 1, 0, "first" }, { 2, 10, "error" }, { 3, 40, "error" } })
end

function test_a_job_that_never_works_is_discarded_with_its_error()
  local q = queue.open "q"
  q:handle(function() error("boom", 0) end)
  local id = q:push(nil, { retry = 2 })
  local ok, e = pcall(queue.wait, id)
  lu.assertFalse(ok)
  lu.assertEquals({ e.kind, e.job }, { "job_failed", id })
  lu.assertStrContains(e.message, "boom")
  lu.assertEquals({ queue.get(id).state, queue.get(id).attempt }, { "discarded", 2 })
  lu.assertEquals(queue.retry(id), "discarded")
  lu.assertEquals(kind_of(queue.wait, id), "job_failed")
  lu.assertEquals(queue.get(id).attempt, 2)
end

function test_a_result_without_a_json_form_is_a_failure_and_what_was_done_is_not_done_again()
  local q = queue.open "q"
  q:handle(function() return print end)
  local id = q:push(nil, { retry = 3 })
  lu.assertEquals(kind_of(queue.wait, id), "job_failed")
  lu.assertStrContains(queue.get(id).error, "no JSON form")
  lu.assertEquals(queue.get(id).attempt, 1)
end

function test_an_error_that_cannot_be_shown_is_an_error_all_the_same()
  local q = queue.open "q"
  local function refuse() error "no" end
  q:handle(function(job)
    if job.args == "bad" then error(setmetatable({}, { __tostring = refuse, __index = refuse })) end
    return job.args
  end)
  local id = q:push("bad", { retry = 1 })
  lu.assertEquals(queue.wait(q:push "good"), "good")
  lu.assertEquals(kind_of(queue.wait, id), "job_failed")
  lu.assertStrContains(queue.get(id).error, "its __tostring failed")
end

function test_a_timeout_cancels_an_attempt_and_the_next_one_says_so()
  local q = queue.open "q"
  local cut
  q:handle(function(job)
    if job.reason == "timeout" then return "second" end
    local _, e = pcall(sleep, 3600)
    cut = e.kind
    sleep(0)
  end)
  lu.assertEquals(queue.wait(q:push(nil, { timeout = "5s", retry = 2 })), "second")
  lu.assertEquals(cut, "cancelled")
end

function test_delay_and_at_start_on_time()
  local q = queue.open("q", { concurrency = 9 })
  local began, times = jobrun.now(), {}
  q:handle(function(job) times[job.args] = math.floor((jobrun.now() - began) * 1000 + 0.5) end)
  local ids = { q:push("a", { delay = "1h" }), q:push("b", { at = began + 60 }), q:push("c", { delay = 0.5 }) }
  lu.assertEquals(queue.get(ids[1]).state, "scheduled")
  for _, id in ipairs(ids) do queue.wait(id) end
  lu.assertEquals(times, { a = 3600000, b = 60000, c = 500 })
end

function test_an_earlier_job_moves_the_timer_forward()
  local q = queue.open("q", { concurrency = 2 })
  local order = {}
  q:handle(function(job) order[#order + 1] = job.args end)
  local late = q:push("late", { delay = 100 })
  sleep(1)
  queue.wait(q:push("soon", { delay = 5 }))
  queue.wait(late)
  lu.assertEquals(order, { "soon", "late" })
end

function test_a_wall_clock_that_is_set_moves_what_waits_for_a_time()
  local q = queue.open("q", { concurrency = 2 })
  q:handle(function(job) return job.args end)
  local id = q:push("noon", { at = jobrun.now() + 3600 })
  sleep(1) -- the timer waits by now
  host.step(7200 * 1000000000)
  local began = jobrun.monotonic()
  lu.assertEquals(queue.wait(id), "noon")
  lu.assertTrue(jobrun.monotonic() - began < 1)
end

function test_a_wall_clock_that_is_set_back_does_not_hold_up_a_rate()
  local q = queue.open("q", { concurrency = 9, rate = { n = 1, per = "10s" } })
  q:handle(function() end)
  queue.wait(q:push())
  host.step(-7200 * 1000000000)
  local began = jobrun.monotonic()
  queue.wait(q:push())
  lu.assertTrue(jobrun.monotonic() - began <= 10.1)
end

function test_unique_jobs_are_one()
  local q = queue.open "q"
  local id = q:push(1, { unique = "a" })
  lu.assertEquals(q:push(2, { unique = "a" }), id)
  lu.assertNotEquals(queue.open("other"):push(3, { unique = "a" }), id)
  q:handle(function() end)
  queue.wait(id)
  local again = q:push(4, { unique = "a", unique_for = "1h" })
  lu.assertNotEquals(again, id)
  queue.wait(again)
  lu.assertEquals(q:push(5, { unique = "a" }), again)
  sleep(3600)
  lu.assertNotEquals(q:push(6, { unique = "a" }), again)
end

function test_jobs_wait_for_others()
  local q = queue.open("q", { concurrency = 5 })
  local order = {}
  q:handle(function(job)
    if job.args == "bad" then error("boom", 0) end
    sleep(job.args == "a" and 2 or 1)
    order[#order + 1] = job.args
  end)
  local a, b = q:push "a", q:push "b"
  queue.wait(q:push("c", { after = { a, b } }))
  lu.assertEquals(order, { "b", "a", "c" })
  local bad = q:push("bad", { retry = { n = 2, backoff = 10 } })
  local dependent = q:push("never", { after = bad })
  lu.assertEquals(queue.get(dependent).state, "blocked")
  lu.assertEquals(kind_of(queue.wait, dependent), "job_cancelled")
end

function test_a_job_is_cancelled_while_it_waits_and_while_it_runs()
  local q = queue.open "q"
  local seen
  q:handle(function()
    local _, e = pcall(sleep, 3600)
    seen = e.kind
    sleep(0)
  end)
  local running = q:push()
  local waiting = q:push()
  sleep(0.1)
  lu.assertEquals(queue.cancel(waiting), "available")
  lu.assertEquals(queue.cancel(running), "running")
  lu.assertEquals(kind_of(queue.wait, running), "job_cancelled")
  lu.assertEquals({ seen, queue.get(running).state, queue.get(waiting).state }, { "cancelled", "cancelled", "cancelled" })
  lu.assertNil(queue.cancel(1))
  lu.assertEquals(queue.cancel(running), "cancelled")
end

function test_waits_for_jobs_are_cancelled_and_timed_out_as_others_are()
  local q = queue.open "q"
  local id = q:push()
  local seen
  local waiter = spawn(function()
    local _, e = pcall(queue.wait, id)
    seen = e.kind
  end)
  sleep(1)
  waiter:cancel()
  sleep(1)
  lu.assertEquals(seen, "cancelled")
  lu.assertEquals(kind_of(jobrun.timeout, 5, queue.wait, id), "timeout")
  local pusher = spawn(function() pcall(q.push, q) end)
  jobrun.yield()
  pusher:cancel()
  pcall(pusher.await, pusher)
  lu.assertEquals(queue.get(id).state, "available")
end

function test_a_paused_queue_starts_nothing_until_it_is_resumed()
  local q = queue.open "q"
  q:handle(function() return 1 end)
  queue.pause "q"
  local id = q:push()
  lu.assertEquals(kind_of(queue.wait, id, 60), "timeout")
  queue.resume "q"
  lu.assertEquals(queue.wait(id), 1)
end

function test_a_rate_spreads_the_starts()
  local q = queue.open("q", { concurrency = 10, rate = { n = 2, per = "10s" } })
  local began, times = jobrun.now(), {}
  q:handle(function() times[#times + 1] = math.floor(jobrun.now() - began + 0.5) end)
  local last
  for i = 1, 6 do last = q:push(i) end
  queue.wait(last)
  lu.assertEquals(times, { 0, 0, 5, 10, 15, 20 })
end

function test_what_is_pushed_by_a_task_that_is_cancelled_is_started()
  local q = queue.open "q"
  local ran = 0
  q:handle(function() ran = ran + 1 end)
  sleep(1)
  local t = spawn(function() q:push() end):detach()
  jobrun.yield()
  t:cancel()
  sleep(1)
  lu.assertEquals(ran, 1)
end

function test_a_cancellation_that_is_cancelled_is_heard_of()
  local q = queue.open "q"
  local ended
  q:handle(function()
    local _ <close> = setmetatable({}, { __close = function() ended = true end })
    sleep(3600)
  end)
  local id = q:push()
  sleep(1)
  local t = spawn(queue.cancel, id):detach()
  jobrun.yield()
  t:cancel()
  sleep(1)
  lu.assertTrue(ended)
  lu.assertEquals(kind_of(queue.wait, id), "job_cancelled")
end

function test_a_place_of_all_goes_to_the_next_one()
  local q = queue.open("q", { concurrency = 3, max_global = 1 })
  local going, most, ids = 0, 0, {}
  q:handle(function()
    going = going + 1
    most = math.max(most, going)
    sleep(1)
    going = going - 1
  end)
  for i = 1, 5 do ids[i] = q:push() end
  for _, id in ipairs(ids) do queue.wait(id, 60) end
  lu.assertEquals(most, 1)
end

function test_a_time_that_no_clock_of_ours_reaches_is_refused()
  local q = queue.open "q"
  for _, at in ipairs { "9999-12-31", "2262-05-01", 1e12, math.huge, -1, 0 / 0 } do
    lu.assertStrContains(usage_of(q.push, q, 1, { at = at }), "expected a time between 1970 and 2262")
  end
  lu.assertStrContains(usage_of(q.push, q, 1, { delay = 9.1e9 }), "expected a time between 1970 and 2262")
  lu.assertEquals(queue.get(q:push(1, { at = "2261-12-31" })).state, "scheduled")
  lu.assertStrContains(usage_of(q.push, { 1 }), "q:push(args)")
  lu.assertStrContains(usage_of(q.push, q, 1, { timeout = 0 }), "expected more than 0 seconds")
end

function test_opening_a_queue_by_name_alone_changes_nothing()
  local store, core = require "jobrun.store", require "jobrun.core.store"
  local function rate() return store.current():call(core.query, "queues")[1].rate_n end
  queue.open("q", { rate = { n = 5, per = 10 } })
  queue.close() -- and another life
  queue.open("q"):push()
  lu.assertEquals(rate(), 5)
  local q = queue.open("q", { rate = { n = 6, per = 10 } }) -- after somebody has pushed to it
  lu.assertEquals(rate(), 6)
  lu.assertStrContains(usage_of(queue.open, "q", { concurrency = 2 }), "was opened with options already")
  queue.close()
  queue.open("q"):handle(function() end) -- who handles it says what holds
  lu.assertNil(rate())
  lu.assertEquals(q.name, "q")
end

function test_what_a_job_spawned_belongs_to_it()
  local q = queue.open "q"
  local ended
  q:handle(function()
    spawn(function()
      sleep(5)
      ended = true
    end)
  end)
  queue.wait(q:push())
  lu.assertTrue(ended)
  q = queue.open "r"
  q:handle(function() spawn(error, "in a child", 0) sleep(1) end)
  lu.assertEquals(kind_of(queue.wait, q:push(nil, { retry = 1 })), "job_failed")
end

function test_what_is_given_back_at_the_end_keeps_its_attempt()
  local q = queue.open "q"
  local id = q:push()
  q:handle(function() sleep(3600) end)
  sleep(1)
  lu.assertEquals(queue.get(id).state, "running")
  queue.close()
  lu.assertEquals({ queue.get(id).state, queue.get(id).attempt }, { "available", 0 })
end

function test_what_ended_long_ago_goes()
  local q = queue.open "q"
  q:handle(function(job) if job.args == "bad" then error("boom", 0) end end)
  local good, bad = q:push "good", q:push("bad", { retry = 1 })
  queue.wait(good)
  pcall(queue.wait, bad)
  sleep(23 * 3600)
  lu.assertNotNil(queue.get(good))
  sleep(3 * 3600)
  lu.assertNil(queue.get(good))
  lu.assertNotNil(queue.get(bad))
  sleep(14 * 86400)
  lu.assertNil(queue.get(bad))
end

function test_old_logs_go_with_their_jobs()
  local dir = require("jobrun.testing").tmpdir()
  jobrun.store("sqlite:" .. dir .. "/s.db")
  local q = queue.open "q"
  q:handle(function(job) job:log "said" end)
  queue.wait(q:push())
  local function days() return #jobrun.fs.list(dir .. "/s.db.d/logs") end
  lu.assertEquals(days(), 1)
  sleep(13 * 86400)
  lu.assertEquals(days(), 1)
  sleep(3 * 86400)
  lu.assertEquals(days(), 0)
end

function test_a_log_that_cannot_be_made_fails_no_job()
  local dir = require("jobrun.testing").tmpdir()
  jobrun.store("sqlite:" .. dir .. "/s.db")
  local q = queue.open("q"):handle(function(job)
    job:log("said")
    job:log("and more")
    return job.attempt
  end)
  queue.stats()
  jobrun.fs.write(dir .. "/s.db.d/logs", "a file where the folder would be")
  local id = q:push()
  lu.assertEquals(queue.wait(id), 1)
  local run = require("jobrun.store").current():call(require("jobrun.core.store").query, "runs", id, 1)[1]
  lu.assertEquals({ run.head, run.log_path }, { "said\nand more\n" })
end

function test_a_store_that_is_of_no_use_any_more_ends_the_script()
  local r = jobrun.exec { os.getenv "JOBRUN_BUILD" .. "/jobrun", "-e", [[
    queue.open("q"):handle(print)
    require("jobrun.store").current():close()
    require("jobrun.queue.consumer").ring "q"]], check = false }
  lu.assertEquals(r.exit_code, 1)
  lu.assertStrContains(r.stderr, "the store was closed")
end

function test_a_cancel_that_came_late_is_no_later_starts()
  for i = 1, 6 do -- so that some claim is always under way
    local noise = queue.open("noise" .. i)
    noise:handle(function()
      noise:push()
      for _ = 1, i do jobrun.yield() end
    end)
    noise:push()
  end
  local q = queue.open("q", { concurrency = 2 })
  local retried = jobrun.event()
  q:handle(function(job)
    if job.reason == "by hand" then return "ran" end
    spawn(function()
      queue.cancel(job.id)
      pcall(queue.wait, job.id)
      queue.retry(job.id)
      retried:set()
    end):detach()
    jobrun.yield()
    error("fails", 0)
  end)
  for _ = 1, 50 do
    retried:clear()
    local id = q:push(nil, { retry = 1 })
    retried:wait()
    lu.assertEquals(queue.wait(id), "ran")
  end
end

function test_a_table_that_is_raised_is_what_its_message_says()
  local q = queue.open("q"):handle(function() error { kind = "smtp", message = "mailbox full" } end)
  local id = q:push(nil, { retry = 1 })
  pcall(queue.wait, id)
  lu.assertStrContains(queue.get(id).error, "mailbox full")
end

function test_a_job_is_cancelled_at_whatever_moment()
  local q = queue.open("q", { concurrency = 4 })
  local ended = {}
  q:handle(function(job)
    sleep(1)
    ended[job.id] = true
  end)
  sleep(1)
  for turns = 0, 8 do -- its claim may be under way
    local id = q:push()
    for _ = 1, turns do jobrun.yield() end
    queue.cancel(id)
    lu.assertEquals(kind_of(queue.wait, id, 3), "job_cancelled", turns)
    lu.assertEquals({ queue.get(id).state, ended[id] }, { "cancelled" }, turns)
  end
end

function test_who_waits_is_told_though_the_canceller_is_cancelled()
  local q = queue.open "q"
  local first = q:push(nil, { delay = "1h" })
  local second = q:push(nil, { after = first })
  local waiter = spawn(function() return kind_of(queue.wait, second) end)
  sleep(1)
  local canceller = spawn(queue.cancel, first)
  jobrun.yield()
  canceller:cancel()
  lu.assertEquals(jobrun.timeout(10, waiter.await, waiter), "job_cancelled")
end

function test_a_time_limit_within_the_handler_is_its_own_matter()
  local store, core = require "jobrun.store", require "jobrun.core.store"
  local q = queue.open("q", { concurrency = 2 }):handle(function(job)
    if job.args == "inner" then jobrun.timeout(1, sleep, 2) end
    sleep(20)
  end)
  local function outcome(args)
    local id = q:push(args, { timeout = 10, retry = 1 })
    lu.assertEquals(kind_of(queue.wait, id), "job_failed")
    return store.current():call(core.query, "runs", id, 1)[1].outcome
  end
  lu.assertEquals({ outcome "inner", outcome "outer" }, { 2, 3 }) -- an error, a timeout
end

function test_options_are_given_once_and_before_the_handler()
  queue.open("handled"):handle(function() end)
  lu.assertStrContains(usage_of(queue.open, "handled", { concurrency = 4 }), "has a handler")
  local kinds = {}
  for i = 1, 2 do spawn(function() kinds[i] = kind_of(queue.open, "twice", { concurrency = i }) or "opened" end) end
  sleep(1)
  lu.assertEquals(kinds, { "opened", "usage" })
end

function test_wrong_use_is_named()
  local q = queue.open "q"
  lu.assertStrContains(usage_of(queue.open, ""), "queue.open: expected a queue's name")
  lu.assertStrContains(usage_of(queue.open, "r", { concurrancy = 2 }), "did you mean 'concurrency'?")
  lu.assertStrContains(usage_of(queue.open, "r", { concurrency = 0 }), "at least 1")
  lu.assertStrContains(usage_of(queue.open, "r", { rate = { per = 1 } }), "'n'")
  lu.assertStrContains(usage_of(queue.open, "r", { rate = { n = 1, per = 0.0004 } }), "at least 1 ms, got 0.0004")
  lu.assertStrContains(usage_of(q.push, q, 1, { prio = 2 }), "unknown option")
  lu.assertStrContains(usage_of(q.push, q, 1, { at = "noon" }), "push.at: expected")
  lu.assertStrContains(usage_of(q.push, q, 1, { at = 2e9, delay = 1 }), "one of them")
  lu.assertStrContains(usage_of(q.push, q, 1, { unique_for = 1 }), "needs unique")
  lu.assertStrContains(usage_of(q.push, q, 1, { after = "x" }), "'after'")
  lu.assertStrContains(usage_of(q.push, q, 1, { after = { nil, 7 } }), "without holes and keys")
  lu.assertStrContains(usage_of(q.push, q, 1, { after = { first = 7 } }), "without holes and keys")
  lu.assertStrContains(usage_of(q.push, q, print), "no JSON form")
  lu.assertStrContains(usage_of(q.handle, q, 1), "expected a function")
  lu.assertStrContains(usage_of(queue.get, "x"), "expected the id")
  lu.assertStrContains(usage_of(queue.wait, 7), "no job 7")
  q:handle(function() end)
  lu.assertStrContains(usage_of(q.handle, q, print), "has a handler already")
  lu.assertStrContains(usage_of(jobrun.store, "mysql:x"), "expected sqlite:PATH")
  lu.assertStrContains(usage_of(jobrun.store, "sqlite:x?fast"), "synchronous")
  lu.assertStrContains(usage_of(jobrun.store, "sqlite:other"), "already")
end

-- What the history keeps of a run beside its end: the first and the last 4 KB of its log, what its programs used.
function test_a_run_has_the_ends_of_its_log_and_what_its_programs_used()
  local q = queue.open "q"
  q:handle(function(job)
    job:log "first"
    for i = 1, 300 do job:log("line %d of the middle of the log", i) end
    job:log "last"
    jobrun.exec { "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done" }
    spawn(jobrun.exec, { "true" }):await()
  end)
  local id = q:push()
  queue.wait(id)
  local run = require("jobrun.store").current():call(require("jobrun.core.store").query, "runs", id, 1)[1]
  lu.assertStrMatches(run.head, "first\nline 1 of.*")
  lu.assertStrMatches(run.tail, ".*line 300 of the middle of the log\nlast\n")
  lu.assertEquals({ #run.head, #run.tail }, { 4096, 4096 })
  lu.assertTrue(run.cpu_ms > 0)
  lu.assertTrue(run.maxrss_kb > 100)
end

for name, test in pairs(_G) do
  if type(name) == "string" and name:find "^test_" then
    _G[name] = function()
      local ok, e = pcall(test)
      require("jobrun.store").close()
      if not ok then error(e, 0) end
    end
  end
end
