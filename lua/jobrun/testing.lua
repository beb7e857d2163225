--- Help for luaunit suites run by `jobrun test`: each test function is a task, ends with nothing
--- left behind, and may ask for a temporary directory.
--
-- SPDX-License-Identifier: MIT

local host = require "jobrun.core.host"
local task = require "jobrun.task"

local M = { limit = 60 } -- seconds of real time one test may take

local directories = {}

---A new empty directory, removed with what is in it when the test ends.
---@return string path without a slash at its end
function M.tmpdir()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkdir -m 700 '" .. path .. "'"))
  table.insert(directories, path)
  return path
end

---Waits until `condition()` is true; raises after `limit` seconds (20). (suspends)
---@param condition fun(): any
---@param limit? number seconds
---@return any what the condition gave
function M.wait_for(condition, limit)
  local deadline = task.monotonic() + (limit or 20)
  repeat
    local value = condition()
    if value then return value end
    task.sleep(0.002)
  until task.monotonic() > deadline
  error("the condition did not come true in time", 2)
end

local function remove_directories()
  for _, path in ipairs(directories) do os.execute("rm -rf '" .. path .. "'") end
  directories = {}
end

local COUNTED = { "tasks", "operations", "children", "fds", "shared" }

local function jobs_left()
  local jobs = package.loaded["jobrun.jobs"]
  local n = jobs and #jobs.list() or 0
  if n > 0 then jobs.clear() end
  return n
end

-- Closing a handle takes a turn of the loop, and a garbage-collected one a collection.
local function what_is_left(before)
  local left = {}
  local after
  for _ = 1, 50 do
    left = {}
    after = host.stats()
    for _, key in ipairs(COUNTED) do
      if after[key] > before[key] then left[#left + 1] = ("%d %s"):format(after[key] - before[key], key) end
    end
    if #left == 0 then break end
    collectgarbage()
    task.sleep(0.01)
  end
  local jobs = jobs_left()
  if jobs > 0 then left[#left + 1] = jobs .. " jobs" end
  return left
end

---Runs one test: in a task of its own, whose children are awaited; then checks what it left.
---@param fn function
---@param ... any arguments for fn
function M.run(fn, ...)
  collectgarbage()
  local before = host.stats()
  local run = host.is_virtual() and task.scope or function(...) return task.timeout(M.limit, ...) end
  local ok, e = pcall(run, fn, ...)
  remove_directories()
  local left = what_is_left(before)
  if not ok then error(e, 0) end
  if #left > 0 then error("the test left behind: " .. table.concat(left, ", "), 0) end
end

return M
