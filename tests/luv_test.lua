-- require "luv": libuv's own words on jobrun's loop. Each test that ends a script runs it in a process of its own.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program
local uv = require "luv"

local channel, exec, sleep, spawn = jobrun.channel, jobrun.exec, jobrun.sleep, jobrun.spawn

local function wait_until_closed()
  testing.wait_for(function()
    local open = 0
    uv.walk(function() open = open + 1 end)
    return open == 0
  end)
end

-- libuv keeps some descriptors for a loop from the first listen and the first child on.
local function warm_up()
  local server = uv.new_tcp()
  server:bind("127.0.0.1", 0)
  server:listen(1, print)
  server:close()
  local child
  child = uv.spawn("true", {}, function() child:close() end)
  wait_until_closed()
end
warm_up()

-- A callback that hands what it gets to the task which waits at the channel.
local function receiver()
  local ch = channel(64)
  return ch, function(...) ch:put { n = select("#", ...), ... } end
end

local function code(text)
  local r = exec { program, "-e", text, check = false }
  return r.exit_code or r.signal, r.stdout, r.stderr
end

-- ---- callbacks are tasks ----------------------------------------------------------------------

function test_a_callback_may_wait()
  local ch, tell = receiver()
  local timer <close> = setmetatable({ uv.new_timer() }, { __close = function(t) t[1]:close() end })
  timer[1]:start(1, 0, function()
    sleep(0.001)
    tell(spawn(function() return "child" end):await())
  end)
  lu.assertEquals(ch:get()[1], "child")
end

function test_callbacks_come_in_order_with_their_arguments()
  local ch, tell = receiver()
  uv.fs_stat("/nonexistent", tell)
  local failed = ch:get()
  lu.assertStrContains(failed[1], "ENOENT")
  local async
  async = uv.new_async(function(i)
    tell(i)
    async:close()
  end)
  async:send(7)
  lu.assertEquals(ch:get()[1], 7)
end

function test_a_failing_callback_is_logged_and_fails_the_script()
  local status, out, log = code [[
    local uv = require "luv"
    local timer = uv.new_timer()
    timer:start(1, 0, function() timer:close() error "in a callback" end)
    sleep(0.05)
    print "goes on"]]
  lu.assertEquals({ status, out }, { 1, "goes on\n" })
  lu.assertStrContains(log, "(command line):3: in a callback")
  lu.assertStrContains(log, "stack traceback:")
end

-- ---- libuv for real ---------------------------------------------------------------------------

function test_tcp_there_and_back()
  local ch, tell = receiver()
  local server, client = uv.new_tcp(), uv.new_tcp()
  server:bind("127.0.0.1", 0)
  server:listen(8, function(e)
    assert(not e, e)
    local peer = uv.new_tcp()
    server:accept(peer)
    peer:read_start(function(_, data)
      if data then
        peer:write(data:upper())
      else
        peer:close()
      end
    end)
  end)
  client:connect("127.0.0.1", server:getsockname().port, function(e)
    assert(not e, e)
    client:read_start(function(_, data) tell(data) end)
    client:write "hello\0there"
  end)
  lu.assertEquals(ch:get()[1], "HELLO\0THERE")
  client:close()
  server:close()
end

function test_a_unix_socket_and_files()
  local dir = testing.tmpdir()
  local fd = uv.fs_open(dir .. "/file", "w", 384) -- without a callback: at once
  uv.fs_write(fd, "written", 0)
  uv.fs_close(fd)
  lu.assertEquals(jobrun.fs.read(dir .. "/file"), "written")
  local ch, tell = receiver()
  local server, client = uv.new_pipe(false), uv.new_pipe(false)
  server:bind(dir .. "/socket")
  server:listen(1, function()
    local peer = uv.new_pipe(false)
    server:accept(peer)
    peer:write("hi", function() peer:close() end)
  end)
  client:connect(dir .. "/socket", function() client:read_start(tell) end)
  lu.assertEquals(ch:get()[2], "hi")
  client:close()
  server:close()
end

function test_a_program_beside_our_own()
  local ch, tell = receiver()
  local handle
  handle = uv.spawn("sh", { args = { "-c", "exit 3" } }, function(...)
    tell(...)
    handle:close()
  end)
  lu.assertEquals(exec({ "sh", "-c", "echo ours" }).stdout, "ours\n")
  lu.assertEquals(ch:get()[1], 3)
end

function test_work_and_threads() -- whose states keep loops of their own
  local status, out = code [[
    local uv = require "luv"
    uv.new_work(function(a, b) return a .. b end, function(r) print(("%q"):format(r)) end):queue("a\0", "b")
    print(uv.new_thread(function(n) return n end, 1):join())]]
  lu.assertEquals({ status, out }, { 0, 'true\n"a\\0b"\n' })
end

function test_names_are_resolved()
  local ch, tell = receiver()
  uv.getaddrinfo("127.0.0.1", nil, { socktype = "stream" }, tell)
  lu.assertEquals(ch:get()[2][1].addr, "127.0.0.1")
end

-- ---- the loop is jobrun's -----------------------------------------------------------------------

function test_walk_sees_luvs_handles_alone()
  local timer = uv.new_timer()
  local seen = {}
  uv.walk(function(handle)
    lu.assertEquals(handle:get_type(), "timer")
    seen[#seen + 1] = handle
  end)
  lu.assertIs(seen[1], timer)
  lu.assertEquals(#seen, 1)
  timer:close()
  wait_until_closed()
end

function test_the_loop_cannot_be_run_stopped_or_closed()
  for name, instead in pairs { run = "the callbacks come", stop = "os.exit", loop_close = "after the script" } do
    local ok, e = pcall(uv[name])
    lu.assertFalse(ok)
    lu.assertEquals(e.kind, "usage")
    lu.assertStrMatches(tostring(e), ".*luv_test.lua:%d+: luv%." .. name .. ": .*")
    lu.assertStrContains(e.message, instead)
  end
end

-- ---- the script's life --------------------------------------------------------------------------

function test_active_handles_and_requests_keep_the_script_alive()
  local status, out = code [[
    local uv = require "luv"
    local timer = uv.new_timer()
    timer:start(20, 0, function() print "timer" uv.fs_stat("/", function() print "stat" end) end)]]
  lu.assertEquals({ status, out }, { 0, "timer\nstat\n" })
end

function test_handles_that_are_unrefd_do_not()
  local status, out = code [[
    local uv = require "luv"
    local timer = uv.new_timer()
    timer:start(60000, 60000, print)
    timer:unref()
    print "end"]]
  lu.assertEquals({ status, out }, { 0, "end\n" })
end

-- Lua must not be closed while luv still has handles, requests and close callbacks to come.
function test_what_is_open_at_the_end_is_closed()
  local status, out, log = code [[
    local uv = require "luv"
    local kept, ignore = {}, function() end
    for i = 1, 20 do
      kept[i] = uv.new_timer()
      kept[i]:start(60000, 0, ignore)
      uv.new_tcp():bind("127.0.0.1", 0)
      uv.new_timer():close(ignore)
      uv.new_fs_poll():start("/", 10, ignore)
    end
    uv.spawn("sleep", { args = { "0.01" } }, ignore)
    for i = 1, 20 do uv.fs_stat("/", ignore) end
    uv.new_work(function() end, ignore):queue()
    uv.new_pipe():connect("/nonexistent", ignore)
    print "end"
    os.exit(5)]]
  lu.assertEquals({ status, out, log }, { 5, "end\n", "" })
end

function test_a_request_that_does_not_end_is_given_up_after_the_grace()
  local path = testing.tmpdir() .. "/fifo"
  exec { "mkfifo", path }
  local r = exec { program, "--grace=0.1", "-e", [[
    local uv = require "luv"
    uv.new_work(function(path) io.open(path):read() end, print):queue(arg[1])
    sleep(0.05)
    os.exit(0)]], path, check = false }
  lu.assertEquals(r.exit_code, 1)
  lu.assertStrContains(r.stderr, "a request of luv's")
end

function test_without_luv_the_error_names_the_package()
  local status, _, log = code [[package.cpath = "/nonexistent/?.so" require "luv"]]
  lu.assertEquals(status, 1)
  lu.assertStrContains(log, [[require "luv": luv is not installed (on Debian: apt-get install lua-luv)]])
end

function test_a_module_that_is_not_luv()
  local dir = testing.tmpdir()
  jobrun.fs.write(dir .. "/luv.so", "not a library")
  local status, _, log = code(("package.cpath = %q require 'luv'"):format(dir .. "/?.so"))
  lu.assertEquals(status, 2)
  lu.assertStrContains(log, 'require "luv": ' .. dir .. "/luv.so: ")
end

function test_a_failed_load_can_be_tried_again()
  local status, out = code [[
    local path = package.cpath
    package.cpath = ""
    assert(not pcall(require, "luv"))
    package.cpath = path
    print(require("luv").version_string() ~= nil)]]
  lu.assertEquals({ status, out }, { 0, "true\n" })
end
