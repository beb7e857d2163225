--- The log of one queued run: a file beside the store, the first megabyte and the last one.
---
--- PATH.d/logs/DAY/JOB.START.log, where DAY is that of the start in UTC. Lines are written as they come, so that the
--- file can be followed and a killed process loses none. Of what is beyond the first megabyte the last one is kept in
--- memory and written at the end, behind a line that says how much was dropped. A store in memory has no files.
--
-- SPDX-License-Identifier: MIT

local fs = require "jobrun.fs"
local log = require "jobrun.log"

local M = { most = 1024 * 1024, tail = 4096 } -- bytes of each part; of each of its ends that go into the run's row

---Where the log of a run lies.
---@param store_path string
---@param id integer
---@param fence integer
---@param started_ms integer
---@return string
function M.path(store_path, id, fence, started_ms)
  return ("%s.d/logs/%s/%d.%d.log"):format(store_path, os.date("!%Y-%m-%d", started_ms // 1000), id, fence)
end

---@class jobrun.queue.RunLog
---@field bytes integer written or kept
---@field dropped integer
local RunLog = {}
RunLog.__index = RunLog

---@param store_path string
---@return jobrun.queue.RunLog
function M.new(store_path, id, fence, started_ms)
  return setmetatable({ path = store_path ~= ":memory:" and M.path(store_path, id, fence, started_ms) or nil,
    bytes = 0, dropped = 0, last = {}, oldest = 1, newest = 0, last_bytes = 0, first = "", recent = "" }, RunLog)
end

-- A log that cannot be made is no reason for its job to fail: its ends are kept in the run's row all the same.
local function open(self)
  local file, why = io.open(self.path, "a")
  if not file then
    pcall(fs.mkdir, self.path:match "^(.*)/", { parents = true })
    file, why = io.open(self.path, "a")
  end
  if file then
    file:setvbuf "line"
  else
    log.warn("the log of a run could not be made: %s (disk full? no descriptors left?)", why)
    self.path = nil
  end
  return file
end

-- Keeps a line for the end; the oldest ones make room.
local function keep(self, line)
  self.newest = self.newest + 1
  self.last[self.newest] = line
  self.last_bytes = self.last_bytes + #line
  while self.last_bytes > M.most do
    local dropped = #self.last[self.oldest]
    self.last[self.oldest] = nil
    self.oldest = self.oldest + 1
    self.last_bytes, self.dropped = self.last_bytes - dropped, self.dropped + dropped
  end
end

---@param text string without its newline
function RunLog:add(text)
  local line = text .. "\n"
  if #self.first < M.tail then self.first = (self.first .. line):sub(1, M.tail) end
  self.recent = (self.recent .. line):sub(-M.tail)
  if not self.path then return end
  self.file = self.file or open(self)
  if not self.file then return end
  if self.bytes + #line <= M.most and self.newest == 0 then
    self.file:write(line)
    self.bytes = self.bytes + #line
  else
    keep(self, line)
  end
end

---The run has ended: what was kept is written.
function RunLog:close()
  if not self.file then return end
  if self.dropped > 0 then self.file:write(("... %d bytes are missing here ...\n"):format(self.dropped)) end
  for i = self.oldest, self.newest do self.file:write(self.last[i]) end
  self.bytes = self.bytes + self.last_bytes
  if not self.file:close() then log.warn("the log '%s' could not be written: is the disk full?", self.path) end
  self.file = nil
end

---Removes the logs of days that lie before an instant. (suspends)
---@param store_path string
---@param before number epoch seconds
function M.prune(store_path, before)
  local root = store_path .. ".d/logs"
  if store_path == ":memory:" or not fs.exists(root) then return end
  local first = os.date("!%Y-%m-%d", math.floor(before))
  for _, day in ipairs(fs.list(root)) do
    if day.name < first then fs.remove(root .. "/" .. day.name, { recursive = true }) end
  end
end

return M
