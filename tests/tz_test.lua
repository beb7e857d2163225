--- Every zone of this machine, 1900 to 2200, beside Python's zoneinfo: tests/tz_check.py, in parts.
--
-- SPDX-License-Identifier: MIT

local lu = require "luaunit"
local jobrun = require "jobrun"

local PROBE = (os.getenv "JOBRUN_BUILD" or "build") .. "/tests/timeprobe"
local PARTS = 4

local function check(part)
  local r = jobrun.exec { "python3", "tests/tz_check.py", PROBE, tostring(part), tostring(PARTS), check = false }
  lu.assertEquals(r.exit_code, 0, r.stdout .. r.stderr)
  local zones, changes = r.stdout:match "^(%d+) zones, (%d+) changes, %d+ wall times, 0 differences\n$"
  lu.assertTrue(tonumber(zones) > 50 and tonumber(changes) > 5000, r.stdout)
end

for part = 1, PARTS do
  _G[("test_zones_are_those_of_python_%d_of_%d"):format(part, PARTS)] = function() check(part) end
end
