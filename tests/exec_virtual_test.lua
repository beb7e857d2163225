-- jobrun: --clock=virtual
--- Programs under the virtual clock: their times are real ones, and time does not jump while one runs.
--
-- SPDX-License-Identifier: MIT

local lu = require "luaunit"
local words = require "jobrun"

function test_time_does_not_jump_while_a_program_runs()
  local order = {}
  words.spawn(function()
    words.sleep(3600)
    order[#order + 1] = "slept"
  end)
  words.exec { "sleep", "0.05" }
  order[#order + 1] = "ran"
  words.sleep(3600)
  lu.assertEquals(order, { "ran", "slept" })
end

function test_timeout_and_grace_are_real_times()
  local ok, e = pcall(words.exec, { "sh", "-c", "trap '' TERM; while :; do sleep 0.01; done",
    timeout = 0.1, grace = 0.1 })
  lu.assertFalse(ok)
  lu.assertEquals({ e.kind, e.signal }, { "timeout", "SIGKILL" })
end

function test_a_deadline_that_a_child_outlives_comes_in_real_time()
  local began = words.monotonic()
  local ok, e = pcall(words.timeout, 0.2, words.exec, { "sleep", "30" })
  lu.assertFalse(ok)
  lu.assertEquals(e.kind, "timeout")
  lu.assertEquals(words.monotonic() - began, 0.2)
end
