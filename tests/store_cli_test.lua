-- jobrun jobs, runs, why, push, retry, cancel, pause, resume, doctor on a store's file.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local json = jobrun.json

local build = assert(os.getenv "JOBRUN_BUILD")

local function url_in(dir)
  return "sqlite:" .. dir .. "/store.db"
end

local function command(url, ...)
  local argv = { build .. "/jobrun", ... }
  argv[#argv + 1] = "--store=" .. url
  argv.check = false
  local r = jobrun.exec(argv)
  return (r.stdout:gsub("\n$", "")), r.exit_code, r.stderr
end

local function of(url, ...)
  local text, code, log = command(url, ...)
  lu.assertEquals(code, 0, log)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = json.decode(line) end
  return list
end

-- A store with a job that failed for good.
local function failed_job(dir)
  jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url_in(dir), "-e", [[
    local q = queue.open "q"
    q:handle(function() exec { "sh", "-c", "exit 3" } end)
    pcall(queue.wait, q:push({ n = 1 }, { retry = { n = 2, backoff = 0.001 } }))
    os.exit(0)]] }
  return of(url_in(dir), "jobs", "--json")[1]
end

local function refuses(code, text, ...)
  local _, status, log = command(...)
  lu.assertEquals(status, code)
  lu.assertStrContains(log, text)
end

function test_jobs_runs_and_why_tell_what_happened()
  local dir = testing.tmpdir()
  local url, job = url_in(dir), failed_job(dir)
  lu.assertEquals({ job.queue, job.state, job.attempt, job.args }, { "q", "discarded", 2, { n = 1 } })
  local runs = of(url, "runs", job.id, "--json")
  lu.assertEquals(#runs, 2)
  lu.assertEquals({ runs[1].start, runs[1].reason, runs[1].outcome, runs[1].exit_code }, { 2, "error", "error", 3 })
  lu.assertEquals({ runs[2].start, runs[2].reason }, { 1, "first" })
  lu.assertTrue(runs[1].cpu_s >= 0 and runs[1].max_rss > 1e5) -- of its program
  lu.assertStrContains(select(3, command(url, "logs", job.id)), "start 2 has logged nothing")
  local text = command(url, "why", job.id)
  lu.assertStrContains(text, "is discarded: it ended at")
  lu.assertStrContains(text, "start 2 (attempt 2)")
  lu.assertStrContains(text, "because the start before had failed: error")
  lu.assertStrContains(text, "exit status 3")
  lu.assertStrContains(text, "s of CPU and up to")
  local why = of(url, "why", job.id, "--json")[1]
  lu.assertEquals({ why.id, #why.runs }, { job.id, 2 })
  lu.assertStrContains(command(url, "jobs"), "discarded")
  lu.assertStrContains(command(url, "runs"), "REASON")
  lu.assertEquals(command(url, "jobs", "--state", "running"), "no jobs")
end

function test_a_job_is_pushed_cancelled_retried_and_run()
  local dir = testing.tmpdir()
  local url = url_in(dir)
  failed_job(dir)
  local id = command(url, "push", "other", '{"x": [1, 2]}', "--priority", "3")
  lu.assertStrContains(command(url, "why", id), "no process has the store open")
  lu.assertEquals(command(url, "cancel", id), id .. ": cancelled (it was available)")
  lu.assertEquals(command(url, "cancel", id), id .. ": is cancelled, left as it is")
  lu.assertEquals(command(url, "retry", id), id .. ": available (it was cancelled)")
  local later = of(url, "push", "other", "--delay", "1h", "--json")[1]
  lu.assertEquals({ later.state, later.args }, { "scheduled", json.null })
  lu.assertStrContains(command(url, "why", later.id), "it is due at")
  command(url, "pause", "other")
  lu.assertStrContains(command(url, "why", id), "its queue is paused")
  command(url, "resume", "other")
  local r = jobrun.exec { build .. "/jobrun", "--store=" .. url, "-e", [[
    queue.open("other"):handle(function(job) print(job.reason, #job.args.x) os.exit(0) end)]] }
  lu.assertEquals(r.stdout, "by hand\t2\n")
end

function test_a_job_that_ends_its_script_is_given_back()
  local url = url_in(testing.tmpdir())
  jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    local q = queue.open("q"):handle(function() os.exit(0) end)
    q:push()]] }
  local job = of(url, "jobs", "--json")[1]
  lu.assertEquals({ job.state, job.attempt }, { "available", 0 })
  local run = of(url, "runs", "--json")[1]
  lu.assertEquals({ run.outcome, run.error }, { "released", "(command line):1: cancelled: os.exit" })
end

function test_what_is_no_utf8_is_replaced()
  local url = url_in(testing.tmpdir())
  jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    local q = queue.open("q"):handle(function(job)
      job:log("caf\xe9")
      error("caf\xe9", 0)
    end)
    pcall(queue.wait, q:push(1, { retry = 1 }))
    os.exit(0)]] }
  local job = of(url, "jobs", "--json")[1]
  lu.assertEquals(job.error, "caf\u{fffd}")
  lu.assertEquals(of(url, "logs", job.id, "--json")[1].msg, "caf\u{fffd}")
  lu.assertEquals(command(url, "logs", job.id), "caf\xe9") -- as it came
end

function test_jobs_and_runs_are_asked_for_by_name()
  local url = url_in(testing.tmpdir())
  jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    every(1).hour.named("nightly").now().times(1)(function() end)
    queue.wait(queue.open("q"):handle(function() end):push(1))
    os.exit(0)]] }
  lu.assertStrContains(command(url, "jobs"), "schedule nightly")
  local schedules = {}
  for i, job in ipairs(of(url, "jobs", "--json")) do schedules[i] = job.schedule end
  table.sort(schedules, function(a) return a == "nightly" end)
  lu.assertEquals(schedules, { "nightly", json.null })
  local by_name, all = of(url, "runs", "nightly", "--json"), of(url, "runs", "--json")
  lu.assertEquals({ #by_name, #all }, { 1, 2 })
  lu.assertEquals({ by_name[1].schedule, by_name[1].queue }, { "nightly", json.null })
  lu.assertStrContains(command(url, "runs", "q"), " q ")
  lu.assertStrContains(command(url, "why", "nightly"), "of schedule nightly is completed")
  lu.assertEquals(of(url, "why", "q", "--json")[1].queue, "q")
end

function test_a_store_is_named_once()
  local url = url_in(testing.tmpdir())
  local function play(...)
    local argv = { build .. "/jobrun", ... }
    argv.check = false
    local r = jobrun.exec(argv)
    return r.exit_code, r.stdout .. r.stderr
  end
  lu.assertEquals({ play("--quiet", "--store", url, "-e", "print(queue.open('q'):push(1) > 0)") }, { 0, "true\n" })
  lu.assertEquals((play("--store=" .. url, "-e", ("store %q"):format(url))), 0)
  local code, said = play("--store=" .. url, "-e", "store 'memory:'")
  lu.assertEquals(code, 2)
  lu.assertStrContains(said, "(--store), but names \"memory:\" itself")
end

function test_asking_another_script_opens_no_store()
  local dir = testing.tmpdir()
  local r = jobrun.exec { build .. "/jobrun", "status", "-s", dir .. "/none.sock", check = false,
    env = { JOBRUN_STORE = "sqlite:" .. dir .. "/store.db" } }
  lu.assertEquals(r.exit_code, 1)
  lu.assertEquals(jobrun.fs.list(dir), {})
end

function test_a_job_that_was_killed_too_often_is_named()
  local url = url_in(testing.tmpdir())
  jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    queue.open("q"):handle(function() os.execute("kill -9 $PPID") sleep(9) end):push(1, { retry = 1 })]], check = false }
  local r = jobrun.exec { build .. "/jobrun", "--store=" .. url, "-e", "queue.stats() os.exit(0)" }
  local id = of(url, "jobs", "--json")[1].id
  lu.assertStrContains(r.stderr, ("q: job %s was started for the last time (attempt 1)"):format(id))
end

function test_a_symbolic_link_is_the_store_it_leads_to()
  local dir, is_open = testing.tmpdir(), false
  local p = jobrun.exec.start { build .. "/jobrun", "--quiet", "--store=" .. url_in(dir), "-e",
    "queue.open('q'):handle(function() return 'done' end) print 'open'", on_line = function() is_open = true end }
  testing.wait_for(function() return is_open end)
  os.execute(("ln -s store.db %s/link.db"):format(dir))
  local link = ("sqlite:%s/link.db"):format(dir)
  local id, code, said = command(link, "push", "q")
  lu.assertEquals(code, 0, said)
  testing.wait_for(function() return of(link, "jobs", "--json")[1].state == "completed" end)
  lu.assertEquals(of(url_in(dir), "jobs", "--json")[1].id, id)
  local second = jobrun.exec { build .. "/jobrun", "--store=" .. link, "-e", "queue.stats()", check = false }
  lu.assertEquals(second.exit_code, 1)
  lu.assertStrContains(second.stderr, ("belongs to process %d"):format(p.pid))
  p:signal "TERM"
  lu.assertEquals(p:wait().exit_code, 0)
  lu.assertFalse(jobrun.fs.exists(dir .. "/link.db.d"))
end

function test_commands_have_nothing_to_do_with_a_store_they_do_not_need()
  local dir = testing.tmpdir()
  jobrun.fs.write(dir .. "/s.lua", 'every(1).second.named("tick")(function() print "tick" io.stdout:flush() end)')
  for _, words in ipairs { { "check" }, { "list" }, { "next" } } do
    local r = jobrun.exec { build .. "/jobrun", "--store=" .. url_in(dir), words[1], dir .. "/s.lua", check = false }
    lu.assertEquals(r.exit_code, 0, r.stderr)
  end
  lu.assertFalse(jobrun.fs.exists(dir .. "/store.db"))
  local ticks = 0
  local p = jobrun.exec.start { build .. "/jobrun", "--watch", "--quiet", "--store=" .. url_in(dir), dir .. "/s.lua",
    check = false, on_line = function() ticks = ticks + 1 end, on_stderr = function() end }
  testing.wait_for(function() return ticks > 0 end)
  p:stop()
  p:wait()
end

function test_a_queue_that_is_opened_at_the_end_starts_nothing()
  local url = url_in(testing.tmpdir())
  local r = jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    on.stop(function() queue.open("q"):handle(function() end) end)
    queue.open("q"):push()]], timeout = 20 }
  lu.assertEquals(r.exit_code, 0)
  lu.assertEquals(of(url, "runs", "--json"), {})
  lu.assertEquals(of(url, "jobs", "--json")[1].state, "available")
end

function test_an_opening_that_is_cancelled_leaves_the_store_free()
  local dir = testing.tmpdir()
  local url = url_in(dir)
  local code <const> = [[
    queue.open("q"):handle(function()
      exec { "sh", "-c", "trap '' TERM; echo > $0.up; while [ ! -e $0.go ]; do sleep 0.02; done", arg[1] .. "/child" }
    end):push()]]
  local p = jobrun.exec.start { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", code, dir, check = false }
  testing.wait_for(function() return jobrun.fs.exists(dir .. "/child.up") end)
  os.execute("kill -9 " .. p.pid)
  p:wait()
  local r = jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    local opening = spawn(pcall, queue.open, "q")
    repeat sleep(0.01) until fs.exists(arg[1] .. "/store.db.d/socket") -- it waits for the child
    opening:cancel()
    opening:await()
    fs.write(arg[1] .. "/child.go", "")
    queue.open("q"):handle(function(job) print(job.reason) os.exit(0) end)]], dir }
  lu.assertEquals(r.stdout, "lost\n")
end

function test_what_is_paused_waits_to_be_resumed()
  local dir = testing.tmpdir()
  local url, ticks = url_in(dir), 0
  local p = jobrun.exec.start { build .. "/jobrun", "--quiet", "--store=" .. url, "-e",
    'every(0.01).seconds.named("tick")(function() print "tick" io.stdout:flush() end)', check = false,
    on_line = function() ticks = ticks + 1 end }
  testing.wait_for(function() return ticks > 0 end)
  lu.assertStrContains(command(url, "pause", "tick"), "paused")
  testing.wait_for(function() return of(url, "status", "--json")[1].jobs[1].state == "paused" end)
  local before = ticks
  lu.assertStrContains(command(url, "resume", "tick"), "tick: next run")
  testing.wait_for(function() return ticks > before end)
  p:stop()
  p:wait()
end

function test_why_has_an_answer_for_what_has_not_run()
  local dir = testing.tmpdir()
  local url = url_in(dir)
  jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e",
    'every(1).hour.named("later")(print) on.start(function() os.exit(0) end)' }
  refuses(1, 'the schedule "later" has not run yet', url, "why", "later")
  jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    queue.open("q"):handle(function(job)
      if job.args then return { n = job.args } end
      os.execute("kill -9 $PPID")
      sleep(9)
    end)
    queue.wait(queue.open("q"):push(7))
    queue.open("q"):push()]], check = false }
  lu.assertStrContains(command(url, "why", "q"), "its process ended before it did")
  lu.assertStrContains(command(url, "why", of(url, "jobs", "--json", "--state=completed")[1].id), 'result: {"n":7}')
end

function test_a_table_tells_a_terminal_nothing()
  local url = url_in(testing.tmpdir())
  jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    local q = queue.open "q"
    q:handle(function() error("\27[2Jgone\a", 0) end)
    pcall(queue.wait, q:push(1, { retry = 1 })) os.exit(0)]] }
  lu.assertStrContains(command(url, "jobs"), "?[2Jgone?")
  lu.assertStrContains(command(url, "why", "q"), "?[2Jgone?")
end

function test_jobs_tell_the_result()
  local url = url_in(testing.tmpdir())
  jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    queue.wait(queue.open("q"):handle(function() return { n = 7 } end):push(1))
    os.exit(0)]] }
  local job = of(url, "jobs", "--json")[1]
  lu.assertEquals({ job.state, job.result }, { "completed", { n = 7 } })
end

function test_a_pair_of_signals_is_one_stop() -- as timeout(1) sends them
  local url = url_in(testing.tmpdir())
  for _ = 1, 10 do
    local is_open
    local p = jobrun.exec.start { build .. "/jobrun", "--quiet", "--store=" .. url, "-e",
      "queue.open('q'):handle(print) print 'open'", check = false, on_line = function() is_open = true end }
    testing.wait_for(function() return is_open end)
    os.execute(("kill -TERM %d; sleep 0; kill -TERM %d 2>&-"):format(p.pid, p.pid))
    lu.assertEquals(p:wait().exit_code, 0)
    lu.assertStrContains(command(url, "doctor"), "no problems")
  end
end

function test_a_run_of_a_schedule_that_was_killed_is_named_and_not_retried()
  local url = url_in(testing.tmpdir())
  local function play(code)
    return jobrun.exec { build .. "/jobrun", "--store=" .. url, "-e", 'every(1).hour.named("n").now()(function() ' .. code,
      check = false }.stderr
  end
  play 'os.execute("kill -9 $PPID") sleep(9) end)'
  lu.assertStrContains(play "end) on.start(function() os.exit(0) end)", "`jobrun trigger n` runs it now")
  local id = json.decode((command(url, "jobs", "--json", "--state=discarded"))).id
  lu.assertStrContains(command(url, "retry", id), "is a run of the schedule n, left as it is")
end

local function holds_up_no_rescue(start)
  local dir = testing.tmpdir()
  local began = false
  local code = [[
    queue.open("q"):handle(function(job)
      if job.reason == "lost" then print "again" os.exit(0) end
      exec { "sh", "-c", "setsid sh -c '" .. arg[2] .. "' $0 & sleep 60", arg[1] .. "/pid" }
    end)
    if arg[3] then queue.open("q"):push() end]]
  local p = jobrun.exec.start { build .. "/jobrun", "--quiet", "--store=" .. url_in(dir), "-e", code, dir, start, "push",
    check = false }
  local pid = testing.wait_for(function() return jobrun.fs.exists(dir .. "/pid") and jobrun.fs.read(dir .. "/pid") end)
  os.execute("kill -9 " .. p.pid)
  p:wait()
  local again = jobrun.exec.start { build .. "/jobrun", "--quiet", "--store=" .. url_in(dir), "-e", code, dir, start,
    on_line = function() began = true end }
  local is_in_time = pcall(testing.wait_for, function() return began end, 8) -- an orphan is waited for for 15 s
  lu.assertTrue(os.execute("kill -9 " .. pid))
  lu.assertTrue(is_in_time)
  lu.assertEquals(again:wait().exit_code, 0)
end

function test_a_child_in_a_session_of_its_own_outlives_its_run_and_holds_up_no_rescue()
  holds_up_no_rescue "echo $$ > $0.new; mv $0.new $0; exec sleep 60"
  holds_up_no_rescue "sleep 60 & echo $! > $0.new; mv $0.new $0" -- a daemon, whose session's leader has ended
end

function test_a_script_declares_all_before_it_starts_though_it_waits_for_what_a_killed_one_left()
  local dir = testing.tmpdir()
  local code = [[
    on.start(function() print "start" end)
    local q = queue.open("q")
    q:handle(function(job)
      if job.reason == "lost" then print "again" os.exit(0) end
      exec { "sh", "-c", "trap '' TERM; echo > $0.up; while [ ! -e $0.go ]; do sleep 0.02; done", arg[1] .. "/child" }
    end)
    print "declared"
    io.stdout:flush()
    if arg[2] then q:push() end]]
  local function run(...)
    return jobrun.exec.start { build .. "/jobrun", "--quiet", "--store=" .. url_in(dir), "-e", code, dir, check = false, ... }
  end
  local p = run "push"
  testing.wait_for(function() return jobrun.fs.exists(dir .. "/child.up") end)
  os.execute("kill -9 " .. p.pid)
  p:wait()
  local lines = {}
  local again = run()
  -- Meanwhile it answers by its socket, and does what it is asked for afterwards.
  testing.wait_for(function() return jobrun.fs.exists(dir .. "/store.db.d/socket") end)
  local push = jobrun.exec.start { build .. "/jobrun", "push", "q", "--delay=1h", "--store=" .. url_in(dir) }
  jobrun.fs.write(dir .. "/child.go", "")
  for line in again:wait().stdout:gmatch "[^\n]+" do lines[#lines + 1] = line end
  lu.assertEquals({ #lines, lines[1] }, { 3, "declared" })
  lu.assertEquals(push:wait().exit_code, 0)
end

function test_arguments_may_come_by_standard_input_and_the_last_lines_of_a_log_are_given()
  local dir = testing.tmpdir()
  local url = url_in(dir)
  jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    local q = queue.open "q"
    q:handle(function(job) for i = 1, 5 do job:log("line %d", i) end end)
    queue.wait(q:push()) os.exit(0)]] }
  lu.assertStrContains(command(url, "logs", "q", "-n", "2"), "line 4\nline 5")
  lu.assertNotStrContains(command(url, "logs", "q", "-n", "2"), "line 3")
  lu.assertStrContains(command(url, "logs", "q", "-n", "9"), "line 1\n")
  lu.assertEquals(command(url, "logs", "q", "-n", "0"), "")
  jobrun.exec { build .. "/jobrun", "push", "q", "-", "--store=" .. url, stdin = '{"a": [1]}' }
  lu.assertEquals(of("unix:" .. dir .. "/store.db.d/socket", "jobs", "--json")[1].args, { a = { 1 } })
end

function test_only_a_dash_in_place_of_the_arguments_is_standard_input()
  local url = url_in(testing.tmpdir())
  jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", "queue.open('q'):push()" }
  local function push(...)
    local r = jobrun.exec { check = false, stdin = "5", build .. "/jobrun", "push", "--store=" .. url, ... }
    return r.exit_code, r.stderr
  end
  local code, said = push("q", "1", "--priority", "-")
  lu.assertEquals(code, 2)
  lu.assertStrContains(said, 'push: --priority: expected a whole number, got "-"')
  lu.assertEquals((push("-", "1")), 0)
  lu.assertEquals(of(url, "jobs", "--json")[1].queue, "-")
  lu.assertEquals((push("--priority=3", "--", "-", "-")), 0)
  local job = of(url, "jobs", "--json")[1]
  lu.assertEquals({ job.queue, job.priority, job.args }, { "-", 3, 5 })
end

function test_standard_input_is_read_before_the_store_is_opened()
  local url, ch, put = url_in(testing.tmpdir()), jobrun.channel(), 0
  jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", "queue.open('q'):push()" }
  local p = jobrun.exec.start { build .. "/jobrun", "push", "q", "-", "--store=" .. url, stdin = ch }
  local feeder = jobrun.spawn(function()
    for _ = 1, 4 do -- more than a pipe takes: it is read
      ch:put((" "):rep(1000000))
      put = put + 1
    end
    ch:put "[1]"
  end)
  testing.wait_for(function() return put == 4 end)
  lu.assertEquals(select(2, command(url, "push", "q", "2")), 0)
  feeder:await()
  ch:close()
  p:wait()
  lu.assertEquals(of(url, "jobs", "--json")[1].args, { 1 })
end

function test_doctor_finds_what_is_wrong()
  local dir = testing.tmpdir()
  local url = url_in(dir)
  failed_job(dir)
  local text, code = command(url, "doctor")
  lu.assertEquals(code, 0)
  lu.assertStrContains(text, "no problems")
  local is_open
  local p = jobrun.exec.start { build .. "/jobrun", "--store=" .. url, "-e", 'queue.stats() print "open" sleep(60)',
    check = false, on_line = function() is_open = true end }
  testing.wait_for(function() return is_open end)
  text, code = command(url, "doctor")
  lu.assertEquals(code, 0)
  lu.assertStrContains(text, "open in: process " .. p.pid)
  lu.assertEquals(#of(url, "jobs", "--json"), 1) -- looked at beside its owner
  os.execute("kill -9 " .. p.pid)
  p:wait()
  text, code = command(url, "doctor")
  lu.assertEquals(code, 1)
  lu.assertStrContains(text, "ended without closing it")
end

function test_doctor_names_what_is_paused()
  local url = url_in(testing.tmpdir())
  local function play(hour, code)
    jobrun.exec { build .. "/jobrun", "--quiet", "--clock=virtual=2027-01-01T0" .. hour .. ":00:00Z", "--store=" .. url, "-e",
      code .. " sleep(1) os.exit(0)" }
  end
  play(1, [[every(1).hour.named("gone")(print) every(1).hour.named("held")(print)]])
  play(2, [[local job = every(1).hour.named("held")(print) on.start(function() job:pause() end)]])
  local text = command(url, "doctor")
  lu.assertStrContains(text, "schedule gone is paused: its script declares it no more")
  lu.assertStrContains(text, "schedule held is paused since ")
  lu.assertEquals(of(url, "doctor", "--json")[1].paused[1], { schedule = "gone" })
end

function test_a_push_has_the_options_of_the_word_whether_the_store_is_open_or_not()
  local dir = testing.tmpdir()
  local url = url_in(dir)
  failed_job(dir)
  local function pushes()
    local first = of(url, "push", "q", "1", "--unique", "k", "--retry=3", "--json")[1]
    lu.assertEquals({ first.max_attempts, first.state }, { 3, "available" })
    lu.assertEquals(of(url, "push", "q", "--unique=k", "--unique-for=1h", "--json")[1].id, first.id)
    local next_one = of(url, "push", "q", "--after", first.id, "--timeout=5m", "--json")[1]
    lu.assertEquals(next_one.state, "blocked")
    lu.assertEquals(of(url, "push", "q", "--at=2099-01-01 12:00", "--json")[1].state, "scheduled")
    local wrong = { ["--after=1"] = "there is no job 1", ["--timeout=0"] = "timeout", ["--at=noon"] = "at: expected" }
    for option, text in pairs(wrong) do
      local _, code, said = command(url, "push", "q", option)
      lu.assertNotEquals(code, 0)
      lu.assertStrContains(said, text)
    end
    refuses(2, 'push: --after: expected a job\'s id, got "x"', url, "push", "q", "--after=x")
    command(url, "cancel", first.id)
  end
  pushes()
  local p = jobrun.exec.start { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", "every(1).hour(print)", check = false }
  testing.wait_for(function() return jobrun.fs.exists(dir .. "/store.db.d/socket") end)
  pushes()
  p:stop()
  p:wait()
end

function test_a_store_that_is_named_is_opened_be_it_used_or_not()
  local url = url_in(testing.tmpdir())
  local p = jobrun.exec.start { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", "every(1).hour(print)", check = false }
  local status = { build .. "/jobrun", "status", "--store=" .. url, check = false }
  testing.wait_for(function() return jobrun.exec(status).exit_code == 0 end)
  p:stop()
  p:wait()
  for _, bad in ipairs { "nope:x", "sqlite:/nope/x.db" } do
    local r = jobrun.exec { build .. "/jobrun", "--store=" .. bad, "-e", "every(1).hour(print)", check = false }
    lu.assertStrContains(r.stderr, "store")
    lu.assertNotEquals(r.exit_code, 0)
  end
end

function test_a_running_script_is_asked_by_its_socket()
  local dir = testing.tmpdir()
  local address, said = dir .. "/app.sock", {}
  local p = jobrun.exec.start { build .. "/jobrun", "--quiet", "--grace=0", "--listen=unix:" .. address,
    "--store=" .. url_in(dir), "-e", [[
    queue.open("q"):handle(function(job)
      if job.args == "wait" then sleep(60) end
      print(job.args.n, job.reason)
      io.stdout:flush()
      if job.reason == "first" then error("boom", 0) end
    end)
    print "up"
    io.stdout:flush()]], check = false, on_line = function(line) said[#said + 1] = line end }
  testing.wait_for(function() return said[1] == "up" end)
  local function ask(...)
    local r = jobrun.exec { check = false, build .. "/jobrun", ... }
    lu.assertEquals(r.exit_code, 0, r.stderr)
    return (r.stdout:gsub("\n$", ""))
  end
  local id = ask("push", "q", '{"n": 7}', "-s", address)
  testing.wait_for(function() return said[2] == "7\tfirst" end)
  lu.assertStrContains(ask("retry", id, "-s", address), id .. ": available (it was ")
  testing.wait_for(function() return said[3] == "7\tby hand" end)
  local stuck = ask("push", "q", '"wait"', "--priority", "2", "-s", address)
  testing.wait_for(function() return of(url_in(dir), "jobs", "--json", "--state", "running")[1] end)
  lu.assertEquals(ask("cancel", stuck, "-s", address), stuck .. ": its run is cancelled")
  testing.wait_for(function() return of(url_in(dir), "jobs", "--json", "--state", "cancelled")[1] end)
  local later = json.decode(ask("push", "q", "--delay", "1h", "--json", "-s", address))
  lu.assertEquals(later.state, "scheduled")
  lu.assertEquals(ask("retry", stuck, "-s", address), stuck .. ": available (it was cancelled)")
  local shape = of(url_in(dir), "jobs", "--json")[1]
  for key in pairs(later) do lu.assertNotNil(shape[key], key) end -- one shape, wherever it comes from
  lu.assertStrMatches(later.created_at, "%d+%-%d+%-%d+T[%d:.]+Z")
  p:stop()
  p:wait()
end

function test_logs_of_a_run_are_files_that_can_be_followed()
  local dir = testing.tmpdir()
  local url, said = url_in(dir), {}
  local p = jobrun.exec.start { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    local q = queue.open "q"
    q:handle(function(job)
      job:log("line %d", 1)
      while not fs.exists(arg[1]) do sleep(0.01) end
      job:log "line 2"
    end)
    local id = q:push()
    print(id)
    queue.wait(id)
    os.exit(0)]], dir .. "/go", on_line = function(line) said[#said + 1] = line end }
  testing.wait_for(function() return said[1] end)
  testing.wait_for(function() return command(url, "logs", said[1]) == "line 1" end)
  local followed = {}
  local f = jobrun.exec.start { build .. "/jobrun", "logs", said[1], "-f", "--store=" .. url,
    on_line = function(line) followed[#followed + 1] = line end }
  testing.wait_for(function() return followed[1] end)
  io.open(dir .. "/go", "w"):close()
  f:wait()
  p:wait()
  lu.assertEquals(followed, { "line 1", "line 2" })
  lu.assertEquals(command(url, "logs", said[1]), "line 1\nline 2")
  lu.assertEquals(command(url, "logs", said[1], "-n", "1"), "line 2")
  lu.assertEquals(of(url, "logs", said[1], "--json"), {
    { job = said[1], start = 1, msg = "line 1" }, { job = said[1], start = 1, msg = "line 2" } })
end

function test_logs_of_a_word_are_the_stores_and_without_one_the_events_of_its_script()
  local dir = testing.tmpdir()
  local url, address, is_up = url_in(dir), dir .. "/app.sock", false
  local p = jobrun.exec.start { build .. "/jobrun", "--listen=unix:" .. address, "--store=" .. url, "-e", [[
    every(1).hour.named("tick").now()(function(run) for i = 1, 3 do run:log("tick %d", i) end end)
    queue.wait(queue.open("q"):handle(function(job) job:log "of q" end):push())
    print "up"
    io.stdout:flush()]], on_line = function() is_up = true end, on_stderr = function() end }
  testing.wait_for(function() return is_up and of(url, "jobs", "--json", "--state=completed")[2] end)
  lu.assertEquals(command(url, "logs", "tick"), "tick 1\ntick 2\ntick 3")
  lu.assertEquals(command(url, "logs", "tick", "-n", "2"), "tick 2\ntick 3")
  command(url, "push", "q", "--delay=1h") -- has no run yet
  lu.assertEquals(command(url, "logs", "q"), "of q")
  local r = jobrun.exec { build .. "/jobrun", "logs", "tick", env = { JOBRUN_STORE = url } }
  lu.assertEquals(r.stdout, "tick 1\ntick 2\ntick 3\n")
  lu.assertEquals(#of(url, "logs", "-n", "2", "--json", "--level=info"), 2)
  lu.assertEquals(select(2, command(url, "logs")), 0)
  lu.assertStrMatches(command(url, "logs", "tick", "-n", "1", "-s", address), ".*info.*tick 3")
  lu.assertEquals(command(url, "logs", "tick", "-n", "1", "-s" .. address):match "tick %d$", "tick 3")
  local _, code, why = command(url, "logs", "tick", "--level=info")
  lu.assertEquals(code, 2)
  lu.assertStrContains(why, "leave it out, or ask the script (-s ADDR)")
  p:stop()
  p:wait()
end

function test_the_log_of_a_job_that_never_ran_ends()
  local url = url_in(testing.tmpdir())
  jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    local q = queue.open "q"
    q:push(1, { after = q:push(0, { delay = 3600 }) })]] }
  local blocked, scheduled = table.unpack(of(url, "jobs", "--json"))
  lu.assertEquals({ blocked.state, scheduled.state }, { "blocked", "scheduled" })
  local f = jobrun.exec.start { build .. "/jobrun", "logs", scheduled.id, "-f", "--store=" .. url, check = false }
  command(url, "cancel", scheduled.id)
  local r = jobrun.timeout(20, f.wait, f)
  lu.assertEquals(r.exit_code, 1)
  lu.assertStrContains(r.stderr, ("job %s never ran: it is cancelled"):format(scheduled.id))
  lu.assertEquals(of(url, "jobs", "--json")[1].state, "cancelled") -- with what it waited for
  lu.assertStrContains(select(3, jobrun.timeout(20, command, url, "logs", blocked.id, "-f")), "never ran: it is cancelled")
end

function test_who_follows_a_log_is_given_the_end_of_each_start()
  local dir = testing.tmpdir()
  local url, followed = url_in(dir), {}
  local p = jobrun.exec.start { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    queue.open("q"):handle(function(job)
      job:log("begin of %d", job.attempt)
      while not fs.exists(arg[1] .. "/go") do sleep(0.01) end
      job:log("end of %d", job.attempt)
      if job.attempt < 3 then error("again", 0) end
      while not fs.exists(arg[1] .. "/stop") do sleep(0.01) end
    end):push(1, { retry = { n = 3, backoff = 0.001 } })]], dir, on_stderr = function() end }
  testing.wait_for(function() return command(url, "logs", "q") == "begin of 1" end)
  local f = jobrun.exec.start { build .. "/jobrun", "logs", "q", "-f", "--store=" .. url, check = false,
    on_line = function(line) followed[#followed + 1] = line end }
  testing.wait_for(function() return followed[1] end)
  f:signal "STOP" -- so that the job starts twice between two looks
  jobrun.fs.write(dir .. "/go", "")
  testing.wait_for(function() return command(url, "logs", "q") == "begin of 3\nend of 3" end)
  f:signal "CONT"
  testing.wait_for(function() return followed[#followed] == "end of 3" end)
  jobrun.fs.write(dir .. "/stop", "")
  command(url, "push", "q", "--retry=1") -- of a name, the next job's comes too
  testing.wait_for(function() return #followed == 8 end)
  f:signal "INT"
  f:wait()
  p:stop()
  p:wait()
  lu.assertEquals(followed, { "begin of 1", "end of 1", "begin of 2", "end of 2", "begin of 3", "end of 3", "begin of 1",
    "end of 1" })
end

function test_a_long_log_keeps_its_beginning_and_its_end()
  local dir = testing.tmpdir()
  local url = url_in(dir)
  local r = jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    local q = queue.open "q"
    q:handle(function(job) for i = 1, 40000 do job:log("%08d %s", i, ("x"):rep(91)) end end)
    local id = q:push()
    queue.wait(id)
    print(id)
    os.exit(0)]] }
  local logs = io.popen(("%s/jobrun logs %s --store=%s"):format(build, r.stdout:match "%d+", url))
  local text = logs:read "a"
  logs:close()
  lu.assertEquals(text:sub(1, 8), "00000001")
  lu.assertStrContains(text:sub(-101), "00040000")
  lu.assertTrue(#text < 2.1 * 1024 * 1024)
  lu.assertStrContains(text, "bytes are missing here")
end

function test_wrong_use_is_named()
  local dir = testing.tmpdir()
  refuses(2, "there is no store", "sqlite:" .. dir .. "/none.db", "jobs")
  failed_job(dir)
  local url = url_in(dir)
  refuses(1, "there is no job 7", url, "why", "7")
  refuses(1, "there is no job 7", url, "retry", "7")
  refuses(2, "unknown option --stat", url, "jobs", "--stat", "running")
  refuses(2, "did you mean 'running'?", url, "jobs", "--state", "runing")
  refuses(2, "expected a job's id", url, "why")
  refuses(1, 'no job of a queue or schedule "nope"', url, "why", "nope")
  refuses(2, "the arguments are no JSON: line 1, column 2", url, "push", "q", "{")
  for _, name in ipairs { "", "caf\xe9", ("x"):rep(201) } do
    refuses(2, "push: expected a queue's name, of 1 to 200 bytes of UTF-8", url, "push", name)
  end
  refuses(1, "there is no run of a job 7", url, "logs", "7")
end

-- Pages in the middle of the file are overwritten, as by a disk that fails.
function test_a_damaged_store_is_told_with_what_to_do_and_left_as_it_is()
  local dir = testing.tmpdir()
  local url, path = url_in(dir), dir .. "/store.db"
  jobrun.exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", [[
    local q = queue.open "q"
    for i = 1, 500 do q:push { text = ("x"):rep(500) } end]] }
  local file <close> = assert(io.open(path, "r+b"))
  file:seek("set", 4096)
  file:write(("\xde\xad"):rep(20000))
  file:flush()
  local damaged = jobrun.fs.read(path)
  for _, argv in ipairs { { "doctor" }, { "-e", 'queue.open("q"):push {}' } } do
    local r = jobrun.exec { check = false, build .. "/jobrun", "--store=" .. url, table.unpack(argv) }
    lu.assertEquals(r.exit_code, 1)
    lu.assertStrContains(r.stderr, "'" .. path .. "' is damaged")
    lu.assertStrContains(r.stderr, ".recover")
  end
  lu.assertEquals(jobrun.fs.read(path), damaged)
end
