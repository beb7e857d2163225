--- What a media file is: `probe "in.mp4"` asks ffprobe and returns tables of numbers and strings.
--
-- ffprobe is asked for its "flat" form, one line a value: streams.stream.0.codec_name="h264".
-- Numbers come as numbers, "25/1" of a rate as 25.0, N/A and "unknown" as nil. Tags stay strings,
-- and in their names what is no letter, digit or `_` is a `_`. The strings as ffprobe gave them are
-- in `raw`.
--
-- SPDX-License-Identifier: MIT

local argv = require "jobrun.ffmpeg.argv"
local check = require "jobrun.check"
local failure = require "jobrun.ffmpeg.failure"
local output = require "jobrun.ffmpeg.output"
local process = require "jobrun.process"
local report = require "jobrun.ffmpeg.report"

local M = {}

local TAIL, LIMIT = 200, 8 << 20
local OPTIONS = {
  timeout = { type = "duration", default = 60 },
  bin = { type = "string", default = "ffprobe" },
  count_packets = "boolean",
}

-- ---- reading ------------------------------------------------------------------------------------

local ESCAPES = { n = "\n", r = "\r" }

local function unquote(text)
  local inner = text:match('^"(.*)"$')
  if not inner then return text end
  return (inner:gsub("\\(.)", function(c) return ESCAPES[c] or c end))
end

-- Lists in the paths: "streams.stream.0." is the first stream.
local LISTS = { "^streams%.stream%.", "^chapters%.chapter%.", "%.side_data_list%.side_data%." }

-- "streams.stream.0.tags.title" → "streams.#0.tags.title"
local function mark_indices(path)
  for _, list in ipairs(LISTS) do
    path = path:gsub(list, function(names) return names:match("^%.?[%w_]+%.") .. "#" end)
  end
  return path
end

-- The table and the key that a path leads to.
local function descend(root, path)
  local at, key = root, nil
  for word in mark_indices(path):gmatch("[^.]+") do
    if key ~= nil then
      at[key] = at[key] or {}
      at = at[key]
    end
    local index = word:match("^#(%d+)$")
    key = index and tonumber(index) + 1 or word
  end
  return at, key
end

local function parse(text)
  local root = {}
  for line in text:gmatch("[^\n]+") do
    local path, value = line:match("^([^=]+)=(.*)$")
    if path then
      local at, key = descend(root, path)
      at[key] = unquote(value)
    end
  end
  return root
end

-- ---- what scripts see ---------------------------------------------------------------------------

local function rate(text)
  local over, under = text:match("^(%d+)/(%d+)$")
  if not over then return tonumber(text) end
  return tonumber(under) > 0 and tonumber(over) > 0 and tonumber(over) / tonumber(under) or nil
end

local function value_of(key, text)
  if text == "N/A" or text == "unknown" then return nil end
  if key == "filename" then return text end
  if key:find("_frame_rate$") then return rate(text) end
  return text:find("^%-?%d+%.?%d*$") and tonumber(text) or text
end

local function converted(node, is_tags)
  local result = {}
  for key, value in pairs(node) do
    if type(value) == "table" then
      result[key] = converted(value, key == "tags")
    else
      result[key] = is_tags and value or value_of(tostring(key), value)
    end
  end
  return result
end

local function first_of(streams, codec_type)
  for _, stream in ipairs(streams) do
    local cover = stream.disposition and stream.disposition.attached_pic == 1
    if stream.codec_type == codec_type and not cover then return stream end
  end
end

local function longest(streams)
  local seconds
  for _, stream in ipairs(streams) do
    if stream.duration and stream.duration > (seconds or 0) then seconds = stream.duration end
  end
  return seconds
end

---@class jobrun.Probe
---@field duration? number seconds
---@field streams table[] index, codec_type, codec_name, width, sample_rate, avg_frame_rate, tags …
---@field video? table the first of them that is a picture that moves
---@field audio? table the first
---@field chapters table[]
---@field format table format_name, size, bit_rate, start_time, tags …
---@field raw table the same as ffprobe gave it

local function describe(raw)
  local info = converted(raw)
  local result = { raw = raw, format = info.format or {} }
  result.streams, result.chapters = info.streams or {}, info.chapters or {}
  result.video = first_of(result.streams, "video")
  result.audio = first_of(result.streams, "audio")
  result.duration = result.format.duration or longest(result.streams)
  return result
end

-- ---- asking -------------------------------------------------------------------------------------

local function start(command)
  local ok, child = pcall(process.start, {
    argv = command,
    env = { FFREPORT = false, AV_LOG_FORCE_COLOR = false },
    streams = {
      [1] = { mode = "capture", limit = LIMIT },
      [2] = { mode = "lines", keep = TAIL, ffmpeg = true },
    },
  })
  if not ok then failure.raise_spawn("probe", child, command) end
  return child
end

local function verdict(ended, log, lines, timeout, cut)
  if ended.timed_out then return "timeout", ("timed out after %.6g s"):format(timeout) end
  if ended.exit_code ~= 0 then return failure.of_exit(log, ended, lines) end
  if cut then return "limit", ("ffprobe said more than %d bytes"):format(LIMIT) end
end

local function ask(command, timeout)
  local child <close> = start(command)
  local log = report.new()
  local ended = child:run { note = function(line, level) log:note(line, level) end, timeout = timeout }
  local lines = child:tail(2)
  local text, cut = child:captured(1)
  local kind, reason = verdict(ended, log, lines, timeout, cut)
  if not kind then return text end
  error(failure.new("probe", {
    kind = kind, reason = argv.mask(reason), exit_code = ended.exit_code, signal = ended.signal,
    elapsed = ended.elapsed, lines = failure.last_lines(lines), argv = command,
  }), 0)
end

---Asks ffprobe about a file. Raises an error object with the kinds of ffmpeg's. (suspends)
---@param input string|jobrun.ffmpeg.File a path, or a table as an input of ffmpeg{}
---@param options? {timeout?: number|string, bin?: string, count_packets?: boolean} timeout: 60 s; count_packets
---reads the whole file, and gives each stream its nb_read_packets
---@return jobrun.Probe
function M.probe(input, options)
  local own = check.options("probe", options or {}, OPTIONS)
  local file = argv.file(input, "probe: input")
  output.check_inputs("probe", { file })
  local command = argv.probe(own.bin, file, own.count_packets)
  return describe(parse(ask(command, own.timeout)))
end

return M
