--- `require "luv"`: the whole of libuv, on jobrun's own loop (Debian's lua-luv).
---
--- What differs from a luv of one's own: each callback runs as a task, so it may sleep, await and run
--- programs, and its failure is logged with its traceback; the loop is jobrun's to run and to end; and
--- what is open when the script ends is closed. Active handles that are not unref'd, and requests, keep
--- the script alive. luv's timers go by the real clock, under --clock=virtual too.
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.luv"
local err = require "jobrun.core.error"

local PACKAGE <const> = "lua-luv"

local function find()
  local path = package.searchpath("luv", package.cpath)
  if path then return path end
  error(err.new {
    kind = "not_found",
    message = ('require "luv": luv is not installed (on Debian: apt-get install %s)'):format(PACKAGE),
  })
end

local uv = core.open(find())

local INSTEAD <const> = {
  run = "jobrun runs the loop already: return or sleep, and the callbacks come",
  stop = "the loop is jobrun's: os.exit() ends the script",
  loop_close = "jobrun closes the loop after the script has ended",
}

for name, instead in pairs(INSTEAD) do
  uv[name] = function() error(err.new { kind = "usage", message = ("luv.%s: %s"):format(name, instead) }) end
end

---Calls fn for each handle luv made on this loop, and for no other. (as uv_walk)
---@param fn fun(handle: userdata)
function uv.walk(fn)
  for _, handle in ipairs(core.handles()) do fn(handle) end
end

return uv
