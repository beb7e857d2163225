-- What systemd hears: datagrams to a socket that a small receiver holds.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program
local exec = jobrun.exec

local RECEIVER = [[
import socket, sys
name = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("\0" + name[1:] if name[0] == "@" else name)
print("bound", flush=True)
while True:
    print(s.recv(4096).decode().replace("\n", "|"), flush=True)
]]

-- A receiver, and the list of what it hears.
local function receiver(name)
  local heard, bound = {}, false
  local h = exec.start { "python3", "-c", RECEIVER, name, check = false, on_line = function(line)
    if line == "bound" then bound = true else heard[#heard + 1] = line end
  end }
  testing.wait_for(function() return bound end, 20)
  return heard, h
end

local function wait_until_heard(heard, what)
  testing.wait_for(function()
    for _, line in ipairs(heard) do
      if line:find(what, 1, true) then return true end
    end
  end, 20)
end

local function finish(h)
  h:cancel()
  pcall(h.wait, h)
end

local function hears(name, code, env)
  local heard, h = receiver(name)
  env = env or {}
  env.NOTIFY_SOCKET = name
  local r = exec { program, "-e", code, env = env }
  wait_until_heard(heard, "STOPPING=1")
  finish(h)
  return heard, r
end

local LIFE = { "READY=1|STATUS=running, 1 job(s)", "STATUS=half done", "STOPPING=1|STATUS=stopping" }
local CODE = [[
  local started = event()
  every(1).hour(print)
  on.start(function() sleep(0.001) started:set() end)
  started:wait()
  notify.status "half done"
  jobs.clear()
]]

function test_ready_status_and_stopping()
  lu.assertEquals(hears(testing.tmpdir() .. "/notify", CODE), LIFE)
end

function test_an_abstract_socket()
  lu.assertEquals(hears("@jobrun-test-" .. testing.tmpdir():match "[^/]+$", CODE), LIFE)
end

function test_reloading_has_its_time()
  local heard = hears(testing.tmpdir() .. "/notify", "sleep(0.001) notify.reloading() notify.ready()")
  lu.assertStrMatches(heard[2], "RELOADING=1|MONOTONIC_USEC=%d+")
  lu.assertEquals(heard[3], "READY=1")
end

function test_a_script_that_fails_to_load_is_never_ready()
  local name = testing.tmpdir() .. "/notify"
  local heard, h = receiver(name)
  local r = exec { program, "-e", "every(0).seconds(print)", env = { NOTIFY_SOCKET = name }, check = false }
  lu.assertEquals(r.exit_code, 2)
  wait_until_heard(heard, "STOPPING=1")
  finish(h)
  lu.assertEquals(heard, { "STOPPING=1|STATUS=stopping" })
end

-- Datagrams keep their order, so what comes between two of them was sent between them.
function test_the_watchdog_is_fed_by_the_loop_alone()
  local heard = hears(testing.tmpdir() .. "/notify", [[
    sleep(0.05)
    notify.status "blocking"
    local stop = monotonic() + 0.2
    while monotonic() < stop do end
    notify.status "over"
    sleep(0.05)
  ]], { WATCHDOG_USEC = "20000", WATCHDOG_PID = false })
  local part, fed = "before", { before = 0, blocking = 0, over = 0 }
  for _, line in ipairs(heard) do
    if line == "WATCHDOG=1" then fed[part] = fed[part] + 1 end
    part = line:match "^STATUS=(%l+)$" or part
  end
  lu.assertTrue(fed.before >= 2, fed.before)
  lu.assertEquals(fed.blocking, 0)
  lu.assertTrue(fed.over >= 1, fed.over)
end

function test_the_watchdog_of_another_process_is_not_fed()
  for _, env in ipairs { { WATCHDOG_USEC = "2000", WATCHDOG_PID = "1" }, { WATCHDOG_USEC = "no", WATCHDOG_PID = false } } do
    local heard = hears(testing.tmpdir() .. "/notify", "sleep(0.03)", env)
    lu.assertEquals(heard, { "READY=1|STATUS=running, 0 job(s)", "STOPPING=1|STATUS=stopping" })
  end
end

function test_a_socket_that_is_not_there_is_said_and_no_more()
  local r = exec { program, "-e", "print 'done'", env = { NOTIFY_SOCKET = "/nonexistent/socket" } }
  lu.assertEquals(r.stdout, "done\n")
  lu.assertStrContains(r.stderr, "the service manager at $NOTIFY_SOCKET was not told: no such file or directory")
end

function test_commands_are_no_service()
  local r = exec { program, "explain", "@daily", env = { NOTIFY_SOCKET = "/nonexistent/socket" } }
  lu.assertEquals(r.stderr, "")
end

function test_status_is_one_line()
  local ok, e = pcall(jobrun.notify.status, "a\nREADY=1")
  lu.assertFalse(ok)
  lu.assertEquals(e.message, 'notify.status: expected one line of text, got "a\\\nREADY=1"')
end
