-- `jobrun --watch`: a script run anew when its files change.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program

local exec, fs = jobrun.exec, jobrun.fs

local SCRIPT <const> = [[
local version = require "sub.version"
on.stop(function(why) print("stop", version, why) io.stdout:flush() end)
every(1).hour.named("hourly")(print)
print("start", version, ...)
io.stdout:flush()
]]

-- A script in a new folder that says the version its module has.
local function make(version)
  local dir = testing.tmpdir()
  fs.mkdir(dir .. "/sub")
  fs.write(dir .. "/sub/version.lua", "return " .. version)
  fs.write(dir .. "/app.lua", SCRIPT)
  return dir
end

local function watch(dir, ...)
  local w = { out = {}, log = {} }
  w.process = exec.start {
    check = false, on_line = function(line) w.out[#w.out + 1] = line end,
    on_stderr = function(line) w.log[#w.log + 1] = line end,
    program, "--watch", "--grace=0.2", dir .. "/app.lua", ...,
  }
  return w
end

local function has_said(list, text)
  testing.wait_for(function()
    for _, line in ipairs(list) do
      if line:find(text, 1, true) then return true end
    end
  end)
end

function test_a_changed_file_starts_it_anew()
  local dir = make(1)
  local w = watch(dir, "an argument")
  has_said(w.out, "start\t1\tan argument")
  fs.write(dir .. "/sub/version.lua", "return 2")
  has_said(w.out, "start\t2\tan argument")
  lu.assertEquals(w.out[2], "stop\t1\tsignal")
  w.process:signal "SIGTERM"
  lu.assertEquals(w.process:wait().exit_code, 0)
  lu.assertEquals(w.out[#w.out], "stop\t2\tsignal")
end

function test_what_does_not_load_is_told_and_the_old_one_goes_on()
  local dir = make(1)
  local w = watch(dir)
  has_said(w.out, "start\t1")
  fs.write(dir .. "/app.lua", "every(1).sec(print)")
  has_said(w.log, "the change is not taken")
  has_said(w.log, "unknown word")
  lu.assertEquals(#w.out, 1)
  fs.write(dir .. "/app.lua", SCRIPT .. "print 'mended' io.stdout:flush()")
  has_said(w.out, "mended")
  w.process:signal "SIGTERM"
  lu.assertEquals(w.process:wait().exit_code, 0)
end

function test_a_script_that_has_ended_waits_for_a_change()
  local dir = make(1)
  fs.write(dir .. "/app.lua", "print 'first' os.exit(3)")
  local w = watch(dir)
  has_said(w.log, "ended with status 3; a change starts it anew")
  fs.write(dir .. "/app.lua", SCRIPT)
  has_said(w.out, "start\t1")
  w.process:signal "SIGINT"
  lu.assertEquals(w.process:wait().exit_code, 130)
end

function test_it_leaves_no_script_behind()
  local dir = make(1)
  fs.write(dir .. "/app.lua", "print(io.open('/proc/self/stat'):read('n')) io.stdout:flush() sleep(60)")
  local w = watch(dir)
  testing.wait_for(function() return w.out[1] end)
  local pid = math.tointeger(tonumber(w.out[1]))
  w.process:signal "SIGKILL"
  w.process:wait()
  testing.wait_for(function() return not fs.exists(("/proc/%d/exe"):format(pid)) end)
end

function test_it_needs_a_file()
  for _, argv in ipairs { { "--watch" }, { "--watch", "-" }, { "--watch", "-e", "print(1)" }, { "--watch=1", "x.lua" } } do
    local r = exec { check = false, program, table.unpack(argv) }
    lu.assertEquals(r.exit_code, 2)
  end
end
