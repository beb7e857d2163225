--- `verify={frames=true, duration=0.1}`: a second look at what ffmpeg wrote, before it gets its name.
--
-- ffmpeg's exit status says that nothing went wrong that it noticed. A source that was cut short, or
-- a muxer that lost the end, can be seen only in the file: how many packets it holds, how long it is.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local probe = require "jobrun.probe"

local M = {}

---@class jobrun.ffmpeg.Verify
---@field frames? boolean|integer the file holds as many pictures as ffmpeg says it wrote, or this many
---@field duration? number|string it is as long as it should be, give or take this much

---Checks the option.
---@param option table
---@return jobrun.ffmpeg.Verify
function M.check(option)
  return check.options("ffmpeg: verify", option, { frames = "boolean|integer", duration = "duration" })
end

local function frames_fault(name, video, frames)
  local found = video.nb_read_packets or 0
  if found == frames then return nil end
  return ("verify: %s holds %d frames, not %s"):format(name, found, frames)
end

-- ffmpeg counts the pictures of its first video stream only.
local function expected_frames(wanted, progress, is_first)
  if math.type(wanted) then return wanted end
  return is_first and progress.last and progress.last.frame or nil
end

local function duration_fault(name, found, expected, tolerance)
  if not expected then return "verify: how long the result should be is not known: give duration=" end
  if found and math.abs(found - expected) <= tolerance then return nil end
  local how_long = found and ("%.3f s"):format(found) or "nobody knows how"
  return ("verify: %s is %s long, not %.3f s"):format(name, how_long, expected)
end

local function fault_of(option, target, progress, is_first)
  local name = target.output.name
  local counts = option.frames and true or nil
  local info = probe.probe({ path = target.temporary or target.path }, { count_packets = counts })
  local frames = option.frames and info.video and expected_frames(option.frames, progress, is_first)
  local fault = frames and frames_fault(name, info.video, frames)
  if not fault and option.duration then
    fault = duration_fault(name, info.duration, progress.length, option.duration)
  end
  return fault, info.video ~= nil
end

local function unreadable(name, e)
  return ("verify: %s cannot be read: %s"):format(name, e.reason or e.message)
end

---What is wrong with the files: kind and reason, or nil. (suspends)
---@param option jobrun.ffmpeg.Verify
---@param targets jobrun.ffmpeg.Target[]
---@param progress table the reader of progress lines
---@return string? kind
---@return string? reason
function M.fault(option, targets, progress)
  local is_first = true
  for _, target in ipairs(targets) do
    if target.path and not target.device then
      local ok, fault, has_video = pcall(fault_of, option, target, progress, is_first)
      if not ok and (type(fault) ~= "table" or fault.kind == "cancelled") then error(fault, 0) end
      if not ok then fault = unreadable(target.output.name, fault) end
      if fault then return "output", fault end
      if has_video then is_first = false end
    end
  end
end

return M
