-- require: modules may wait while they load; two tasks that want one load it once.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"

local function with_modules(files, fn)
  local dir, path = testing.tmpdir(), package.path
  for name, text in pairs(files) do jobrun.fs.write(dir .. "/" .. name .. ".lua", text) end
  package.path = dir .. "/?.lua"
  local ok, e = pcall(fn, dir)
  package.path = path
  for name in pairs(files) do package.loaded[name] = nil end
  if not ok then error(e, 0) end
end

function test_a_module_may_wait_while_it_loads()
  with_modules({ waits = "require('jobrun').sleep(0.001) return {name = ..., file = select(2, ...)}" }, function(dir)
    local value, where = require "waits"
    lu.assertEquals(value, { name = "waits", file = dir .. "/waits.lua" })
    lu.assertEquals(where, dir .. "/waits.lua")
    lu.assertIs(require "waits", value)
  end)
end

function test_two_tasks_load_it_once()
  with_modules({ once = "LOADS = (LOADS or 0) + 1 require('jobrun').sleep(0.002) return {}" }, function()
    local a, b = jobrun.all { function() return (require "once") end, function() return (require "once") end }
    lu.assertIs(a, b)
    lu.assertEquals(rawget(_G, "LOADS"), 1)
  end)
end

function test_errors()
  with_modules({ bad = "error('not today', 0)", loop_a = "require 'loop_b'", loop_b = "require 'loop_a'" }, function()
    local _, e = pcall(require, "bad")
    lu.assertEquals(e, "not today")
    _, e = pcall(require, "loop_a")
    lu.assertStrContains(e, "requires itself")
    _, e = pcall(require, "nowhere")
    lu.assertStrContains(e, "module 'nowhere' not found:")
    lu.assertStrContains(e, "no field package.preload['nowhere']")
    lu.assertFalse((pcall(require)))
  end)
end

function test_a_module_without_a_value_is_true()
  with_modules({ nothing = "local _ = 1" }, function() lu.assertIs(require "nothing", true) end)
end
