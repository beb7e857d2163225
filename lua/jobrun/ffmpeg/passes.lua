--- `two_pass=true`: ffmpeg runs twice, and the encoder knows in the second pass what the first one saw.
--
-- The first pass encodes the pictures into nothing, so it needs no sound, no subtitles, and none of
-- the options of the file's format. What it learns lies in a temporary directory.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"

local M = {}

-- Options of an output that say nothing about its pictures.
local NOT_PICTURES = {}
for name in ([[
  acodec scodec dcodec af ar ac aq ab atag sample_fmt channel_layout ch_layout apad apre spre asyncts metadata f
  movflags frag_duration min_frag_duration brand write_tmcd video_track_timescale id3v2_version
]]):gmatch("%S+") do
  NOT_PICTURES[name] = true
end

---Does an option of an output say something about its pictures?
---@param key string
---@return boolean
function M.is_about_pictures(key)
  local base, specifier = key:match("^([^:]*):?(.*)$")
  return not NOT_PICTURES[base] and not specifier:find("^[asd]%f[%W]") and not specifier:find("^[asd]$")
end

local function of_pictures(options)
  local result = { an = true, sn = true, dn = true, f = "null" }
  for key, value in pairs(options) do
    if M.is_about_pictures(key) then result[key] = value end
  end
  return result
end

local function is_x265(options)
  local codec = options.vcodec or options["c:v"] or options["codec:v"] or options.c or options.codec
  return codec == "libx265"
end

-- libx265 has passes of its own, which are no option of ffmpeg.
local function add_pass(options, number, log)
  if not is_x265(options) then
    options.pass, options.passlogfile = number, log
    return
  end
  local own = ("pass=%d:stats=%s"):format(number, (log:gsub("[\\:]", "\\%0")))
  local given = options["x265-params"]
  options["x265-params"] = given and given .. ":" .. own or own
end

---@class jobrun.ffmpeg.Pass
---@field number 1|2
---@field log string where the encoder keeps what it learned

---Makes a plan that of one pass.
---@param plan jobrun.ffmpeg.Plan
---@param pass jobrun.ffmpeg.Pass
function M.apply(plan, pass)
  if #plan.outputs > 1 then check.fail "ffmpeg: two_pass is for one output" end
  local output = plan.outputs[1]
  if pass.number == 1 then
    output.kind, output.name, output.options = "raw", "/dev/null", of_pictures(output.options)
  end
  add_pass(output.options, pass.number, pass.log)
end

---The progress of both passes as one; p.pass tells which it is.
---@param p jobrun.ffmpeg.Progress
---@param number 1|2
function M.scale(p, number)
  p.pass = number
  if p.percent then p.percent = p.percent / 2 + (number - 1) * 50 end
  if p.eta and number == 1 then p.eta = p.eta * 2 + p.elapsed end
end

return M
