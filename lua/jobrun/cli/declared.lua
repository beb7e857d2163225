--- Looks at what a script declares without running any of it.
---
--- The main chunk is run with the clock standing still; whatever would wait ends it quietly, and what it
--- declared up to there is what there is.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.jobs"
local err = require "jobrun.core.error"
local host = require "jobrun.core.host"
local on = require "jobrun.on"

local M = {}

local function load_script(path)
  if path == "-" then return load(io.read "a", "=stdin") end
  local file, why = io.open(path)
  if not file then check.fail("cannot open %s", why) end
  file:close()
  return loadfile(path)
end

---The chunk of a script; raises where it cannot be read or compiled.
---@param path string or "-"
---@return function
function M.chunk(path)
  local chunk, why = load_script(path)
  if not chunk then check.fail("%s", why) end
  local dir = path:match "^(.*/)[^/]*$" or "./"
  package.path = ("%s?.lua;%s?/init.lua;"):format(dir, dir) .. package.path
  _G.arg = { [0] = path }
  return chunk
end

-- The hooks and the store are the script's life, which does not begin.
local function forget_life()
  on.start_hooks, on.stop_hooks = {}, {}
  local store = package.loaded["jobrun.store"]
  if store then store.keep_closed() end
end

---Runs fn, which declares jobs, and returns them in the order they were declared.
---@param fn function
---@return jobrun.Job[] jobs
---@return string? note why it was not run to its end
function M.jobs(fn)
  core.hold()
  host.declare(true)
  local ok, e = xpcall(fn, function(e)
    return type(e) == "string" and debug.traceback(e, 2) or e
  end)
  host.declare(false)
  forget_life()
  if not ok and not err.is(e, "declare") then error(e, 0) end
  require("jobrun.jobs").check_complete()
  return core.list(), not ok and tostring(e) or nil
end

-- What a script prints while it is looked at is not what was asked for.
local function print_aside(...)
  local words = table.pack(...)
  for i = 1, words.n do words[i] = tostring(words[i]) end
  io.stderr:write(table.concat(words, "\t"), "\n")
end

---The jobs of a script; a note about where it was left goes to stderr.
---@param path string
---@return jobrun.Job[]
function M.of_script(path)
  local chunk, print_here = M.chunk(path), print
  _G.print = print_aside
  local jobs, note = M.jobs(chunk)
  _G.print = print_here
  if note then io.stderr:write("jobrun: note: ", note, "\n") end
  return jobs
end

return M
