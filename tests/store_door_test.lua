-- A store that another process has: commands and scripts reach it by the socket beside its file.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local json, exec = jobrun.json, jobrun.exec

local build = assert(os.getenv "JOBRUN_BUILD")

pcall(jobrun.http.fetch, "http://127.0.0.1:1/") -- libcurl's own descriptors, which stay

local OWNER <const> = [[
local q = queue.open("q", { concurrency = 2, max_global = 5 })
q:handle(function(job)
  if job.args == "wait" then sleep(60) end
  if job.args == "fail" then error("boom", 0) end
  if job.args == "large" then return ("x"):rep(17000000) end
  while job.args == "go" and not fs.exists(arg[1] .. "/go") do sleep(0.01) end
  return job.args
end)
every(1).hour.named("nightly")(function() end)
on.start(function() print "up" io.stdout:flush() end)
]]

-- A process that has the store of a folder; the store's URL, the socket's, the process.
local function owner(dir, grace)
  local url, up = "sqlite:" .. dir .. "/store.db", false
  local p = exec.start { build .. "/jobrun", "--grace=" .. (grace or 0), "--store=" .. url, "-e", OWNER, dir, check = false,
    on_line = function(line) up = up or line == "up" end, on_stderr = function() end }
  testing.wait_for(function() return up end)
  return url, "unix:" .. dir .. "/store.db.d/socket", p
end

local function stop(p)
  p:stop()
  p:wait()
end

local function script(url, code)
  local r = exec { build .. "/jobrun", "--quiet", "--store=" .. url, "-e", code, check = false }
  local lines = {}
  for line in r.stdout:gmatch "[^\n]+" do lines[#lines + 1] = line end
  return lines, r
end

local function command(url, ...)
  local argv = { build .. "/jobrun", ... }
  argv[#argv + 1], argv.check = "--store=" .. url, false
  local r = exec(argv)
  return (r.stdout:gsub("\n$", "")), r.exit_code, r.stderr
end

function test_a_script_pushes_to_it_and_waits_for_what_is_done_there()
  local _, socket, p = owner(testing.tmpdir())
  lu.assertEquals(script(socket, [[
    local q = queue.open "q"
    print(queue.wait(q:push { n = 2 }).n)
    print(queue.wait(q:push("later", { delay = 0.05 })))
    local once = q:push("wait", { unique = "u" })
    print(q:push("wait", { unique = "u" }) == once, queue.get(once).args)
    print(select(2, pcall(queue.wait, once, 0.1)).kind)
    print(queue.cancel(once), select(2, pcall(queue.wait, once)).kind)
    local bad = q:push("fail", { retry = 1 })
    print(select(2, pcall(queue.wait, bad)).kind, queue.retry(bad), queue.retry(1))
    local first = q:push({ a = json.null }, { delay = 0.05 })
    print(queue.wait(q:push("after", { after = first })))
    queue.pause "q"
    local held = q:push "held"
    print(queue.get(held).state)
    queue.resume "q"
    print(queue.wait(held), queue.stats().q.completed)
    print(select(2, pcall(q.push, q, 1, { after = 77 })).message)
    os.exit(0)]]), {
    "2", "later", "true\twait", "timeout",
    "running\tjob_cancelled", "job_failed\tdiscarded\tnil", "after", "available", "held\t5",
    "push: after: there is no job 77" })
  stop(p)
end

function test_a_second_script_is_refused_the_file_and_told_the_way()
  local url, socket, p = owner(testing.tmpdir())
  local _, r = script(url, 'queue.open("q"):push(1)')
  lu.assertEquals(r.exit_code, 1)
  lu.assertStrContains(r.stderr, "belongs to process " .. p.pid)
  lu.assertStrContains(r.stderr, ('store "%s"'):format(socket))
  lu.assertEquals(select(2, r.stderr:gsub("belongs to", "")), 1) -- told once
  stop(p)
end

function test_what_a_script_may_not_do_to_it_is_refused()
  local _, socket, p = owner(testing.tmpdir())
  local lines, r = script(socket, [[
    local ok, e = pcall(queue.open("q").handle, queue.open "q", print)
    print(ok, e.kind, e.message)
    every(1).hour.named("nightly").times(1)(function() end)
    os.exit(0)]])
  lu.assertStrContains(lines[1], "false\tusage\tqueue:handle: the store is another process's, which handles the jobs", r.stderr)
  stop(p)
end

local function post(socket, verb, body)
  -- The connection does not outlive its request, so that none is left behind.
  local r = jobrun.http.fetch { url = "http://localhost/api/store/" .. verb, method = "POST", socket = socket, body = body,
    headers = { ["content-type"] = "application/json", connection = "close" } }
  return r.status, r:json()
end

function test_a_push_that_is_asked_for_twice_is_done_once()
  local _, socket, p = owner(testing.tmpdir())
  local _, said = post(socket, "ids", "[3]")
  local push = json.encode { said[1], "q", "job", 0, json.null, 10, json.null, "1", "{}", json.null, json.null }
  lu.assertEquals({ post(socket, "enqueue", push) }, { 200, { said[1], 1, 1 } })
  lu.assertEquals(select(2, post(socket, "enqueue", push))[2], 0)
  local other = json.encode { said[1], "q", "job", 0, json.null, 10, json.null, "2", "{}", json.null, json.null }
  local status, refusal = post(socket, "enqueue", other)
  lu.assertEquals(status, 409)
  lu.assertStrContains(refusal.message, "is another job's")
  local _, next_one = post(socket, "ids", "[1]")
  lu.assertTrue(next_one[1] >= said[1] + 3)
  local _, meta = post(socket, "query", '["meta"]')
  local values = {}
  for _, row in ipairs(meta[1]) do values[row.k] = row.v end
  lu.assertEquals(values.last_id, tostring(next_one[1])) -- whoever has the file next gives none of them again
  stop(p)
end

function test_malformed_requests_are_refused()
  local _, socket, p = owner(testing.tmpdir())
  lu.assertEquals((post(socket, "claim", "[]")), 404) -- jobs run over there alone
  lu.assertEquals((post(socket, "query", "{}")), 400)
  lu.assertEquals((post(socket, "query", "[")), 400)
  local status, said = post(socket, "query", '["nonsense"]')
  lu.assertEquals({ status, said.kind }, { 409, "usage" })
  for _, bad in ipairs { { "ids", "[]" }, { "ids", "[1.5]" }, { "ids", "[0]" }, { "wait", '["x", 1]' }, { "wait", "[1]" },
    { "retry", "[]" }, { "cancel", '["7"]' }, { "limit", '["q", -1]' }, { "pause", "[7]" }, { "query", "[]" },
    { "enqueue", '["x", "q", "job", 0, null, 10, null, "1", "{}", null, null]' },
    { "enqueue", '[9223372036854775807, "q", "job", 0, null, 10, null, "1", "{}", null, null]' },
    { "enqueue", '[1, "q", "job", 0, 1e300, 10, null, "1", "{}", null, null]' },
    { "enqueue", '[1, "q", "job", 0, null, 10, null, "nonsense", "{}", null, null]' },
    { "enqueue", '[1, "q", "job", 0, null, 10, null, "1", "{}", null, null, "x"]' } } do
    status, said = post(socket, bad[1], bad[2])
    lu.assertEquals({ status, said.kind }, { 409, "usage" }, bad[2])
  end
  stop(p)
end

function test_commands_go_through_the_process_that_has_it()
  local url, socket, p = owner(testing.tmpdir())
  local id = command(url, "push", "q", '"wait"')
  testing.wait_for(function() return json.decode((command(url, "jobs", "--json"))).state == "running" end)
  lu.assertEquals(command(url, "cancel", id), id .. ": its run is cancelled")
  testing.wait_for(function() return json.decode((command(url, "jobs", "--json"))).state == "cancelled" end)
  lu.assertEquals(command(url, "retry", id), id .. ": available (it was cancelled)")
  lu.assertEquals(command(url, "pause", "q", "nightly"), "q: paused\nnightly: paused")
  lu.assertStrContains(command(url, "status", "nightly"), "paused")
  lu.assertStrContains(command(url, "resume", "nightly"), "nightly: next run")
  lu.assertStrContains(command(url, "trigger", "nightly"), "nightly: run")
  lu.assertStrContains(command(url, "logs"), 'job "nightly" runs now')
  local _, unknown, told = command(url, "logs", "nosuch", "-s", socket)
  lu.assertEquals(unknown, 1)
  lu.assertStrContains(told, 'no job "nosuch"')
  local _, code, log = command(url, "pause", "nope")
  lu.assertEquals(code, 1)
  lu.assertStrContains(log, 'there is no job or queue "nope"')
  stop(p)
  -- of the file alone
  _, code, log = command(url, "status")
  lu.assertEquals(code, 1)
  lu.assertStrContains(log, "does a script run that has this store open?")
  lu.assertStrContains(select(3, command(url .. "x", "status")), "there is no store")
  local paused, _, why = command(url, "pause", "nightly", "q")
  lu.assertEquals(paused, "nightly: paused\nq: paused", why)
  _, code, log = command(url, "pause", "nope")
  lu.assertEquals(code, 1)
  lu.assertStrContains(log, 'the store has no schedule or queue "nope"')
  local lines = script(url, [[
    local job = every(1).hour.named("nightly")(function() end)
    on.start(function() print(job.state) os.exit(0) end)]])
  lu.assertEquals(lines, { "paused" })
end

function test_the_api_says_what_is_wrong_with_a_push()
  local _, socket, p = owner(testing.tmpdir())
  local function api(path, body)
    local r = jobrun.http.fetch { url = "http://localhost/api/queues/" .. path, method = "POST", socket = socket, body = body,
      headers = { ["content-type"] = "application/json", connection = "close" } }
    return r.status, r:json().detail
  end
  local status, detail = api("q/push", '{"delay": 1e12}')
  lu.assertEquals(status, 422)
  lu.assertStrContains(detail, "delay: expected a duration of 0 to 9.2e9 seconds")
  status, detail = api(("n"):rep(300) .. "/pause", "{}")
  lu.assertEquals(status, 422)
  lu.assertStrContains(detail, "expected a queue's name")
  stop(p)
end

function test_a_socket_that_a_killed_process_left_is_in_nobodys_way()
  local dir = testing.tmpdir()
  local _, socket, p = owner(dir)
  os.execute("kill -9 " .. p.pid)
  p:wait()
  local _, r = script(socket, 'queue.open("q"):push(1)')
  lu.assertEquals(r.exit_code, 1)
  lu.assertStrContains(r.stderr, "nothing answers at the socket")
  lu.assertStrContains(r.stderr, "is the process that has the store running?")
  -- Nor where a command has the file just then.
  local has_it = false
  local holder = exec.start { build .. "/jobrun", "--quiet", "-e", [[
    local db = require("jobrun.core.store").open(arg[1])
    print "up" io.stdout:flush()
    sleep(0.3)
    db:close()]], dir .. "/store.db", on_line = function() has_it = true end }
  testing.wait_for(function() return has_it end)
  _, socket, p = owner(dir)
  holder:wait()
  lu.assertEquals(script(socket, 'print(queue.wait(queue.open("q"):push(3))) os.exit(0)'), { "3" })
  local mode = exec { "stat", "-c", "%a", dir .. "/store.db.d", (socket:gsub("^unix:", "")) }.stdout
  lu.assertEquals(mode, "700\n600\n")
  stop(p)
  lu.assertNil(io.open(dir .. "/store.db.d/socket"))
end

function test_who_did_not_push_a_job_may_wait_for_it()
  local dir = testing.tmpdir()
  local url, socket, p = owner(dir)
  local id = command(url, "push", "q", '"go"')
  local f = exec.start { build .. "/jobrun", "--store=" .. socket, "-e",
    "print(pcall(queue.wait, arg[1], 0.05)) fs.write(arg[2], '') print(queue.wait(arg[1])) os.exit(0)", id, dir .. "/go" }
  lu.assertStrMatches(f:wait().stdout, "false.*\ngo\n")
  stop(p)
end

function test_who_waits_for_a_job_outwaits_the_process_that_runs_it()
  local dir = testing.tmpdir()
  local url, socket, p = owner(dir)
  local said, warned = {}, false
  local waiter = exec.start { build .. "/jobrun", "--store=" .. socket, "-e",
    'print(queue.wait(queue.open("q"):push("go"))) os.exit(0)', check = false,
    on_line = function(line) said[#said + 1] = line end, on_stderr = function(line)
      warned = warned or line:find "is waited for all the same" ~= nil
    end }
  testing.wait_for(function() return command(url, "jobs", "--state", "running") ~= "no jobs" end)
  os.execute("kill -9 " .. p.pid)
  p:wait()
  testing.wait_for(function() return warned end)
  local _, _, second = owner(dir)
  jobrun.fs.write(dir .. "/go", "")
  lu.assertEquals(waiter:wait().exit_code, 0)
  lu.assertEquals(said, { "go" })
  stop(second)
end

function test_many_who_wait_hold_up_nobody()
  local dir = testing.tmpdir()
  local _, socket, p = owner(dir)
  lu.assertEquals(script(socket, ([[
    local q = queue.open "q"
    local id = q:push "go"
    local ended = 0
    for _ = 1, 100 do
      spawn(function() if queue.wait(id) == "go" then ended = ended + 1 end end)
    end
    yield()
    print(select(2, pcall(queue.wait, id, 0.1)).kind)
    print(timeout(4, q.push, q, "more") > id)
    local first = q:push "now"
    while queue.get(first).state ~= "completed" do sleep(0.01) end
    print(queue.wait(first, 0.1)) -- though it has no turn
    fs.write("%s/go", "")
    while ended < 100 do sleep(0.01) end
    print(ended)
    os.exit(0)]]):format(dir)), { "timeout", "true", "now", "100" })
  stop(p)
end

function test_who_waits_does_not_hold_up_the_end()
  local dir = testing.tmpdir()
  local _, socket, p = owner(dir, "30")
  local waiter = exec.start { build .. "/jobrun", "--quiet", "--grace=0", "--store=" .. socket, "-e",
    'queue.wait(queue.open("nobodys"):push())', check = false }
  testing.wait_for(function() return command("sqlite:" .. dir .. "/store.db", "jobs") ~= "no jobs" end)
  jobrun.sleep(0.1)
  local begun = jobrun.monotonic()
  p:signal "SIGTERM"
  lu.assertEquals(p:wait().exit_code, 0)
  lu.assertTrue(jobrun.monotonic() - begun < 10) -- of a grace of 30
  waiter:stop()
  waiter:wait()
end

function test_a_command_and_another_take_turns()
  local dir = testing.tmpdir()
  local url, _, p = owner(dir)
  stop(p)
  local all = {}
  for i = 1, 10 do all[i] = function() return select(2, command(url, "push", "q", tostring(i))) end end
  lu.assertEquals({ jobrun.all(all) }, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 })
  lu.assertStrContains(command(url, "doctor"), "q: 10 available")
end

function test_a_client_leaves_the_owners_limits_alone()
  local _, socket, p = owner(testing.tmpdir())
  local lines = script(socket, [[
    local core, store = require "jobrun.core.store", require "jobrun.store"
    queue.open("q", { concurrency = 3 })
    for _, row in ipairs(store.current():call(core.query, "queues")) do print(row.name, row.max_global) end
    os.exit(0)]])
  lu.assertEquals(lines, { "q\t5" })
  stop(p)
end

function test_a_result_that_is_too_large_for_the_socket_is_an_error()
  local _, socket, p = owner(testing.tmpdir())
  local lines = script(socket, [[
    local ok, e = pcall(queue.wait, queue.open("q"):push("large"))
    print(ok, e.kind, e.message:match "max_body")
    os.exit(0)]])
  lu.assertEquals(lines, { "false\tlimit\tmax_body" })
  stop(p)
end

function test_a_path_that_is_too_long_for_a_socket_is_told()
  local dir = testing.tmpdir() .. ("/" .. ("x"):rep(60)):rep(2)
  jobrun.fs.mkdir(dir, { parents = true })
  local r = exec { build .. "/jobrun", "--store=sqlite:" .. dir .. "/store.db", "-e", 'print(queue.open("q"):push(1) > 0)' }
  lu.assertEquals(r.stdout, "true\n")
  lu.assertStrContains(r.stderr, "give it a --listen")
end
