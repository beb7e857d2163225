--- What the job suites share: the time since a test began, on the virtual clock, and usage errors.
--
-- SPDX-License-Identifier: MIT

local lu = require "luaunit"
local jobrun = require "jobrun"

local M = {}

local start

---Seconds since the test began.
function M.since()
  return jobrun.monotonic() - start
end

---A list, and a function that adds to it when it is called.
function M.recorder()
  local times = {}
  return times, function() times[#times + 1] = M.since() end
end

function M.assert_times(times, expected)
  lu.assertEquals(#times, #expected)
  for i, t in ipairs(expected) do lu.assertAlmostEquals(times[i], t, 1e-6) end
end

---The message of the usage error that fn raises, and the line of the suite that it blames.
function M.usage_of(fn)
  local ok, e = pcall(fn)
  lu.assertFalse(ok)
  lu.assertIsTable(e)
  lu.assertEquals(e.kind, "usage")
  lu.assertStrContains(e.where, debug.getinfo(fn, "S").short_src .. ":")
  return e.message, e.where
end

function M.refuses(fn, message)
  lu.assertEquals((M.usage_of(fn)), message)
end

---Last line of a suite: each test begins at 0 and ends without jobs (luaunit has no set-up for test
---functions that stand alone).
function M.prepare_tests()
  for name, test in pairs(_G) do
    if type(name) == "string" and name:find "^test_" then
      _G[name] = function()
        start = jobrun.monotonic()
        test()
        jobrun.jobs.clear()
      end
    end
  end
end

return M
