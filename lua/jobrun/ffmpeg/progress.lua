--- Turns the `-progress` lines of ffmpeg into what scripts see: numbers, percent, time left.
--
-- A block is lines `key=value`, the last of them `progress=continue` or `progress=end`. ffmpeg
-- writes `end` after a SIGTERM and after many failures too, so it says nothing about success: that
-- block is only kept, and `finish`, called when the outcome is known, makes the one event with
-- done=true of it.
--
-- How long the result will be is known from `duration=`, or from the `Duration:` lines of the log,
-- one per input in order (length_of). Without it there is no percent and no eta. percent never
-- falls, and reaches 100 only in `finish(true)`.
--
-- SPDX-License-Identifier: MIT

local M = {}

local Progress = {}
Progress.__index = Progress

---@class jobrun.ffmpeg.Progress
---@field frame? integer
---@field fps? number
---@field q? number
---@field bitrate? number bit/s
---@field total_size? integer bytes
---@field out_time? number seconds
---@field dup_frames? integer
---@field drop_frames? integer
---@field speed? number 1 = real time
---@field percent? number 0..100, never falling; 100 only on success; nil if the length is unknown
---@field eta? number seconds
---@field elapsed number seconds since the start
---@field done boolean true in exactly one event, the last

local ALMOST = 99.9 -- the most that is shown before success is certain

local function number(text)
  return tonumber(text:match("^%s*([-+%w.]-)x?%s*$"))
end

local function integer(text)
  return math.tointeger(number(text))
end

-- "801.8kbits/s" in bit/s
local function bitrate(text)
  local n = tonumber(text:match("^%s*([-+%d.e]+)kbits/s"))
  return n and n * 1000
end

-- Before the first packet ffmpeg prints the smallest 64-bit number, and negative times at seeks.
local function microseconds(text)
  local n = integer(text)
  return n and n >= 0 and n / 1e6 or nil
end

local READERS = {
  frame = { "frame", integer },
  fps = { "fps", number },
  bitrate = { "bitrate", bitrate },
  total_size = { "total_size", integer },
  out_time_us = { "out_time", microseconds },
  dup_frames = { "dup_frames", integer },
  drop_frames = { "drop_frames", integer },
  speed = { "speed", number },
}

---A reader of progress lines. `elapsed()` tells the seconds since the start.
function M.new(elapsed)
  return setmetatable({ elapsed = elapsed, block = {}, percent = 0 }, Progress)
end

---The length of the result in seconds, or nil.
function Progress:set_length(seconds)
  self.length = seconds and seconds > 0 and seconds or nil
end

function Progress:measure(p)
  p.elapsed = self.elapsed()
  p.done = false
  if not self.length then return end
  local at = p.out_time or 0
  self.percent = math.max(self.percent, math.min(at / self.length * 100, ALMOST))
  p.percent = self.percent
  local left = math.max(self.length - at, 0)
  if p.speed and p.speed > 0 then
    p.eta = left / p.speed
  elseif at > 0 then
    p.eta = left * p.elapsed / at
  end
end

---Takes one line. Returns the progress when a block is complete and ffmpeg goes on, otherwise nil.
---@return jobrun.ffmpeg.Progress?
function Progress:line(text)
  local key, value = text:match("^([%w_]+)=(.*)$")
  if not key then return nil end
  if key ~= "progress" then
    local reader = READERS[key]
    if reader then
      self.block[reader[1]] = reader[2](value)
    elseif key:find("^stream_%d+_%d+_q$") and not self.block.q then
      self.block.q = number(value)
    end
    return nil
  end
  local p = self.block
  self.block = {}
  self:measure(p)
  self.last = p
  return value == "continue" and p or nil
end

---The last event, done=true, with what was last known.
---@param ok boolean the run succeeded and ran to its end
---@return jobrun.ffmpeg.Progress
function Progress:finish(ok)
  local p = {}
  for key, value in pairs(self.last or {}) do p[key] = value end
  p.elapsed = self.elapsed()
  p.done = true
  p.eta = nil
  if self.length then
    p.percent = ok and 100 or self.percent
    if ok then p.eta = 0 end
  end
  self.last = p
  return p
end

-- ---- lengths ------------------------------------------------------------------------------------

local UNITS = { [""] = 1, s = 1, ms = 1e-3, us = 1e-6 }

---Seconds of a time as ffmpeg reads it: 12.5, "90", "1500ms", "[-][HH:]MM:SS[.m]"; nil for anything
---else.
---@param value any
---@return number?
function M.seconds(value)
  if type(value) == "number" then return value end
  if type(value) ~= "string" then return nil end
  local sign, rest = value:match("^(-?)(.*)$")
  local hours, minutes, seconds = rest:match("^(%d+):(%d+):(%d+%.?%d*)$")
  if not hours then minutes, seconds = rest:match("^(%d+):(%d+%.?%d*)$") end
  local total
  if minutes then
    total = (tonumber(hours) or 0) * 3600 + tonumber(minutes) * 60 + tonumber(seconds)
  else
    local n, unit = rest:match("^(%d*%.?%d*)(%a*)$")
    total = n and tonumber(n) and UNITS[unit] and tonumber(n) * UNITS[unit]
  end
  if not total then return nil end
  return sign == "-" and -total or total
end

---The seconds in a log line "  Duration: 00:00:05.00, start: …", false for "N/A", nil if it is no
---such line.
---@param line string
---@return number|false|nil
function M.duration_in(line)
  local text = line:match("^%s*Duration: ([^,%s]+)")
  if not text then return nil end
  return M.seconds(text) or false
end

local function shortest(a, b)
  if not a or not b then return a or b end
  return math.min(a, b)
end

-- What ss, sseof, t and to leave of `length` (nil = unknown).
local function cut(length, options)
  local from = M.seconds(options.ss) or 0
  local back = M.seconds(options.sseof)
  if back and length then from = math.max(length + back, 0) end
  if length then length = math.max(length - from, 0) end
  local to = M.seconds(options.to)
  if options.t ~= nil then
    return shortest(length, M.seconds(options.t))
  elseif to then
    return shortest(length, math.max(to - from, 0))
  end
  return length
end

-- What one input will deliver.
local function input_length(options, duration)
  local loops = tonumber(options.stream_loop) or 0
  if loops < 0 then
    duration = nil
  elseif duration and loops > 0 then
    duration = duration * (loops + 1)
  end
  return cut(duration, options)
end

local LIMITS = { frames = true, vframes = true, aframes = true, dframes = true, fs = true }

local function has_frame_limit(options)
  for key in pairs(options) do
    if LIMITS[key:match("^[^:]*")] then return true end
  end
  return false
end

---How long the longest output will be, in seconds; nil if nobody can tell.
---@param inputs table[] the inputs' option tables
---@param outputs table[] the outputs' option tables
---@param durations (number|false)[] what the log said of each input
---@return number?
function M.length_of(inputs, outputs, durations)
  local longest, brief
  for i, options in ipairs(inputs) do
    local length = input_length(options, durations[i] or nil)
    if length then
      longest = math.max(longest or 0, length)
      brief = shortest(brief, length)
    end
  end
  local result
  for _, options in ipairs(outputs) do
    if has_frame_limit(options) then return nil end
    local length = cut(options.shortest and brief or longest, options)
    if not length then return nil end
    result = math.max(result or 0, length)
  end
  return result
end

return M
