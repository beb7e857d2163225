-- A running script and the commands that speak to it: --listen, status, logs, trigger, pause, resume, cancel.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program

local exec, fs, json = jobrun.exec, jobrun.fs, jobrun.json

local SCRIPT <const> = [[
every(1).day.named("nightly work")(function(run) run:log("begun") sleep(60) end)
every(1).day.named("quick")(print)
print "up"
io.stdout:flush()
]]

local running, address

local function run_with(options, env)
  local argv = { program, "-e", SCRIPT, check = false, env = env }
  for i, option in ipairs(options) do table.insert(argv, i + 1, option) end
  running = exec.start(argv)
  return running:lines()()
end

local function start()
  address = testing.tmpdir() .. "/app.sock"
  lu.assertEquals(run_with { "--listen=unix:" .. address, "--grace=0" }, "up")
end

local function stop()
  running:stop()
  return running:wait().exit_code
end

-- jobrun COMMAND … -s ADDRESS → status, stdout, stderr
local function jr(...)
  local r = exec { check = false, env = { JOBRUN_SOCKET = address }, program, ... }
  return r.exit_code, r.stdout, r.stderr
end

function test_status_shows_the_jobs()
  start()
  local status, out = jr "status"
  lu.assertEquals(status, 0)
  lu.assertStrMatches(out, "JOB +STATE +NEXT RUN.*\nnightly work +scheduled +%d%d%d%d%-.*\nquick +scheduled .*")
  status, out = jr("status", "--json")
  lu.assertEquals(status, 0)
  lu.assertEquals(json.decode(out).jobs[2].name, "quick")
  stop()
end

function test_a_job_is_triggered_looked_at_and_cancelled()
  start()
  local status, out = jr("trigger", "nightly work")
  lu.assertEquals({ status, out }, { 0, "nightly work: run 1\n" })
  status, out = jr("status", "nightly work")
  lu.assertEquals(status, 0)
  lu.assertStrMatches(out, ".*nightly work +running.*\n1 +going .*")
  status, out = jr("cancel", "1")
  lu.assertEquals({ status, out }, { 0, "run 1: cancelled\n" })
  jr("trigger", "nightly work")
  lu.assertEquals({ jr("cancel", "nightly work") }, { 0, "nightly work: cancelled run 2\n", "" })
  lu.assertEquals({ jr("cancel", "nightly work") }, { 0, "nightly work: no run goes on\n", "" })
  stop()
end

function test_a_job_is_paused_and_resumed()
  start()
  lu.assertEquals({ jr("pause", "quick") }, { 0, "quick: paused\n", "" })
  local _, out = jr("status", "quick")
  lu.assertStrMatches(out, ".*quick +paused.*")
  local status
  status, out = jr("resume", "quick")
  lu.assertEquals(status, 0)
  lu.assertStrMatches(out, "quick: next run %d.*")
  stop()
end

function test_a_queue_is_paused_and_resumed_by_its_name()
  address = testing.tmpdir() .. "/app.sock"
  running = exec.start { check = false, program, "--listen=unix:" .. address, "--grace=0", "-e", [[
    local q = queue.open "films"
    q:push({ n = 1 }, { delay = 3600 })
    print "up"
    io.stdout:flush()
    q:handle(function(job) print(job.args.n) io.stdout:flush() end)
    sleep(60)
  ]] }
  local lines = running:lines()
  lu.assertEquals(lines(), "up")
  lu.assertEquals({ jr("pause", "films") }, { 0, "films: paused\n", "" })
  lu.assertEquals((jr("push", "films", '{"n":2}', "-s", address)), 0)
  lu.assertEquals({ jr("resume", "films") }, { 0, "films: goes on\n", "" })
  lu.assertEquals(lines(), "2")
  local status, _, text = jr("pause", "flims")
  lu.assertEquals(status, 1)
  lu.assertStrContains(text, 'there is no job or queue "flims"')
  stop()
end

function test_the_log_is_shown_and_followed()
  start()
  jr("trigger", "nightly work")
  local out
  testing.wait_for(function()
    out = select(2, jr("logs", "nightly work"))
    return out:find "begun"
  end)
  lu.assertStrMatches(out, '[%d-]+ [%d:+-]+ info  job "nightly work": .*begun\n')
  local follower = exec.start { program, "logs", "-f", "-n", "1", "--json", "-s", address, check = false }
  local lines = follower:lines()
  lu.assertNotNil(json.decode(lines()).msg)
  jr("pause", "quick")
  lu.assertStrContains(json.decode(lines()).msg, 'job "quick" is paused')
  follower:signal "SIGTERM"
  lu.assertEquals(follower:wait().exit_code, 0)
  local last = exec.start { program, "logs", "-f", "-s", address, check = false }
  last:lines()()
  stop()
  lu.assertEquals(last:wait().exit_code, 0)
end

function test_failures_say_what_to_do()
  start()
  local status, _, text = jr("trigger", "nighly")
  lu.assertEquals(status, 1)
  lu.assertStrContains(text, 'no job "nighly"')
  status, _, text = jr("cancel", "99")
  lu.assertEquals(status, 1)
  lu.assertStrContains(text, "no run 99 goes on")
  stop()
  status, _, text = jr "status"
  lu.assertEquals(status, 1)
  lu.assertStrContains(text, address)
  lu.assertStrContains(text, "is it running, with --listen there?")
  local r = exec { program, "status", check = false }
  lu.assertEquals(r.exit_code, 2)
  lu.assertStrContains(r.stderr, "JOBRUN_SOCKET")
  r = exec { program, "trigger", "-s", "x", check = false }
  lu.assertEquals(r.exit_code, 2)
  lu.assertStrContains(r.stderr, "expected the name of a job")
end

-- The status of GET /healthz, asked for under a name; in a process of its own, as connections are kept.
local function health(name)
  local ask = 'print(http.fetch({ url = "http://" .. arg[1] .. "/healthz", socket = arg[2] }).status)'
  return tonumber(exec({ program, "-e", ask, name, address }).stdout)
end

-- ---- --listen -----------------------------------------------------------------------------------

function test_a_token_is_asked_for_where_others_can_reach_it()
  local r = exec { program, "--listen=0.0.0.0:0", "-e", SCRIPT, check = false }
  lu.assertEquals({ r.exit_code, r.stdout }, { 2, "" })
  lu.assertStrContains(r.stderr, "0.0.0.0:0 can be reached from other machines, which needs a token")
  address = testing.tmpdir() .. "/app.sock"
  local token = testing.tmpdir() .. "/token"
  fs.write(token, "secret\n")
  run_with { "--listen=0.0.0.0:0", "--listen=unix:" .. address, "--token-file=" .. token, "--grace=0" }
  local status, _, text = jr "status"
  lu.assertEquals(status, 1)
  lu.assertStrContains(text, "it needs a token: set JOBRUN_TOKEN")
  lu.assertEquals(exec({ program, "status", "-s", address, env = { JOBRUN_TOKEN = "secret" } }).exit_code, 0)
  lu.assertEquals(health "localhost", 200)
  stop()
end

function test_a_read_only_one_changes_nothing()
  address = testing.tmpdir() .. "/app.sock"
  run_with { "--listen=unix:" .. address, "--read-only", "--grace=0" }
  lu.assertEquals((jr "status"), 0)
  local status, _, text = jr("pause", "quick")
  lu.assertEquals(status, 1)
  lu.assertStrContains(text, "--read-only")
  stop()
end

function test_only_known_names_are_answered()
  address = testing.tmpdir() .. "/app.sock"
  run_with { "--listen=unix:" .. address, "--allow-host=ops.example", "--grace=0" }
  lu.assertEquals({ health "localhost", health "ops.example", health "evil.example" }, { 200, 200, 421 })
  stop()
end

function test_it_keeps_no_script_alive_and_leaves_no_socket()
  address = testing.tmpdir() .. "/app.sock"
  local r = exec { program, "--listen=unix:" .. address, "-e", "print 'done'" }
  lu.assertEquals(r.stdout, "done\n")
  lu.assertNil(fs.stat(address))
end

function test_wrong_options_are_refused()
  for option, text in pairs {
    ["--listen"] = "--listen needs a value",
    ["--listen=nowhere"] = 'expected an address such as "127.0.0.1:8080"',
    ["--listen=unix:/no/such/folder/x"] = "the folder does not exist",
    ["--token-file=/no/such/file"] = "--token-file: cannot open /no/such/file",
    ["--allow-host=a/b"] = 'expected names such as "ops.example"',
    ["--read-only=1"] = "--read-only takes no value",
  } do
    local argv = { program, option, "-e", "print 'ran'", check = false }
    if not option:find "^%-%-listen" then table.insert(argv, 2, "--listen=127.0.0.1:0") end
    local r = exec(argv)
    lu.assertEquals({ r.exit_code, r.stdout }, { 2, "" }, option)
    lu.assertStrContains(r.stderr, text)
  end
end
