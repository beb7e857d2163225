-- Zone files that change while a script runs.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program

local exec, fs = jobrun.exec, jobrun.fs

-- A process whose zones lie in a folder of their own, "Here" being what `of` is; its lines come as it prints them.
local function with_zones(of)
  local dir = testing.tmpdir()
  local function put(zone)
    fs.copy("/usr/share/zoneinfo/" .. zone, dir .. "/new")
    fs.rename(dir .. "/new", dir .. "/Here")
  end
  put(of)
  local p = { put = put, dir = dir, out = {}, log = {} }
  p.process = exec.start {
    check = false, env = { TZDIR = dir, TZ = "Here" }, on_line = function(line) p.out[#p.out + 1] = line end,
    on_stderr = function(line) p.log[#p.log + 1] = line end,
    program, "--grace=0", "-e", [[
      local job = every().day.at("12:00", "Here")(print)
      local function tell() print(os.date("!%H:%M", math.floor(job.next_run))) io.stdout:flush() end
      tell()
      local before = job.next_run
      while true do
        sleep(0.005)
        if job.next_run ~= before then
          before = job.next_run
          tell()
        end
      end
    ]],
  }
  return p
end

local function says(list, n)
  return testing.wait_for(function() return list[n] end)
end

function test_next_runs_follow_a_zone_file_that_changes()
  local p = with_zones "Etc/GMT-3"
  lu.assertEquals(says(p.out, 1), "09:00")
  p.put "Etc/GMT+5"
  lu.assertEquals(says(p.out, 2), "17:00")
  lu.assertStrContains(p.log[1], "the rules of the zone Here changed")
  p.put "Etc/GMT-3"
  lu.assertEquals(says(p.out, 3), "09:00")
  p.process:stop()
  p.process:wait()
end

function test_a_broken_zone_file_leaves_the_rules_as_they_were()
  local p = with_zones "Etc/GMT-3"
  says(p.out, 1)
  fs.write(p.dir .. "/new", "no zone")
  fs.rename(p.dir .. "/new", p.dir .. "/Here")
  lu.assertStrContains(says(p.log, 1), "the zone Here keeps its rules: ")
  p.put "Etc/GMT+5"
  lu.assertEquals(says(p.out, 2), "17:00")
  p.process:stop()
  p.process:wait()
end
