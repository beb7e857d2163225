--- `encode_segments{input=, output=, segment_time=60, workers=2, vcodec=…}`: a long encode in pieces,
--- several at a time.
--
--   split    the pictures at key frames, copied            DIR/.NAME.segments/source-00000.nut, …
--   encode   each piece by itself, `workers` at a time     DIR/.NAME.segments/done-00000.nut, …
--   join     the pieces, with the sound and subtitles of the source, encoded once
--
-- Pieces get their names when they are complete, so one that is there is done: a call that failed, or
-- whose process was killed, is resumed by the same call. What "the same" means stands in the file
-- `call`: the source with its size and time, and the options; anything else begins anew. The
-- directory is removed when the output is there.
--
-- nut holds every codec and exact times; how long each piece is comes from the list that the
-- splitting wrote. No picture may get lost: the output must have as many as the source.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local err = require "jobrun.core.error"
local ffmpeg = require("jobrun.ffmpeg").ffmpeg
local fs = require "jobrun.fs"
local passes = require "jobrun.ffmpeg.passes"
local probe = require("jobrun.probe").probe
local sync = require "jobrun.sync"
local terminal = require "jobrun.terminal"

local M = {}

---@class jobrun.segments.Options everything else is an option of ffmpeg
---@field input string
---@field output string
---@field segment_time? number|string how long a piece is, at least; default 60 s
---@field workers? integer pieces at a time; default 2
---@field on_progress? fun(p: {frame: integer, percent: number, segments: integer, ready: integer,
---done: boolean})
---@field overwrite? boolean
---@field verify? boolean false: the number of pictures may differ from the source's (a filter changes the rate)
---@field retry? jobrun.Retry|integer of each piece
---@field limit? string|jobrun.Limit|false of each ffmpeg
---@field progress? boolean a bar on the terminal

---@class jobrun.segments.Result
---@field ok true
---@field outputs {path: string, size: integer}[]
---@field segments integer
---@field resumed integer pieces that were done already
---@field frames integer

local OWN = {
  input = { type = "string", required = true },
  output = { type = "string", required = true },
  segment_time = { type = "duration", default = 60 },
  workers = { type = "integer", default = 2, min = 1 },
  on_progress = "callable",
  overwrite = { type = "boolean", default = false },
  verify = { type = "boolean", default = true },
  retry = "any", limit = "any",
  progress = "boolean",
}

-- Options of ffmpeg{} that make no sense for pieces.
local REFUSED = {
  inputs = true, outputs = true, map = true, filter_complex = true, on_report = true, stdin = true,
  capture_stdout = true, two_pass = true, cwd = true, ss = true, t = true, to = true,
}

-- ---- what is asked for ----------------------------------------------------------------------------

local function split_options(opts)
  if type(opts) ~= "table" then check.fail("encode_segments: expected a table of options, got %s", check.show(opts)) end
  local own, pictures, rest = {}, {}, {}
  for key, value in pairs(opts) do
    if REFUSED[key] then check.fail("encode_segments: %s cannot be used with pieces", key) end
    if OWN[key] then
      own[key] = value
    elseif type(key) == "string" and passes.is_about_pictures(key) then
      pictures[key] = value
    else
      rest[key] = value
    end
  end
  return check.options("encode_segments", own, OWN), pictures, rest
end

local function text_of(value)
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  for key, item in pairs(value) do parts[#parts + 1] = tostring(key) .. "=" .. text_of(item) end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

local function description(own, pictures)
  local found = fs.stat(own.input)
  if not found then
    local reason = ("the input %s does not exist"):format(own.input)
    error(err.new { kind = "not_found", message = "encode_segments: " .. reason, reason = reason, retryable = false })
  end
  return table.concat({
    fs.realpath(own.input), found.size, ("%.6f"):format(found.mtime), own.segment_time, text_of(pictures),
  }, "\n")
end

local function check_output(own)
  if own.overwrite or not fs.exists(own.output) then return end
  local reason = ("the output %s exists (overwrite=true replaces it)"):format(own.output)
  error(err.new { kind = "exists", message = "encode_segments: " .. reason, reason = reason, retryable = false })
end

-- ---- split ----------------------------------------------------------------------------------------

local function directory_for(output)
  local dir, name = output:match("^(.*/)([^/]*)$")
  return (dir or "") .. "." .. (name or output) .. ".segments"
end

-- The directory of this very call; what another one left there goes.
local function enter(own, pictures)
  local dir, call = directory_for(own.output), description(own, pictures)
  if fs.exists(dir) and not (fs.exists(dir .. "/call") and fs.read(dir .. "/call") == call) then
    fs.remove(dir, { recursive = true })
  end
  fs.mkdir(dir, { parents = true })
  return dir, call
end

local function split(self)
  local dir, own = self.dir, self.own
  ffmpeg {
    input = own.input, limit = own.limit, overwrite = true,
    output = {
      path = dir .. "/source-%05d.nut", map = "0:v:0", codec = "copy", f = "segment", segment_format = "nut",
      segment_time = own.segment_time, reset_timestamps = 1, segment_list_type = "csv",
      segment_list = dir .. "/list",
    },
  }
  fs.write(dir .. "/call", self.call) -- from now on the pieces can be used
end

-- source-00000.nut,0.000000,4.000000: from where to where it is shown. With reordered pictures the
-- first one is shown later than the 0 that is written there.
local function read_list(self)
  local pieces = {}
  for number, from, to in fs.read(self.dir .. "/list"):gmatch("source%-(%d+)%.nut,([%d.]+),([%d.]+)") do
    pieces[#pieces + 1] = {
      source = ("%s/source-%s.nut"):format(self.dir, number), file = ("done-%s.nut"):format(number),
      length = tonumber(to) - tonumber(from), frame = 0,
    }
  end
  local first = pieces[1]
  if first then first.length = first.length - (probe(first.source).format.start_time or 0) end
  return pieces
end

-- ---- encode ---------------------------------------------------------------------------------------

local function tell(self, done)
  local frame = 0
  for _, piece in ipairs(self.pieces) do frame = frame + piece.frame end
  local percent = math.max(self.percent, math.min(frame / math.max(self.frames, 1) * 100, 99.9))
  self.percent = done and 100 or percent
  local p = {
    frame = frame, percent = self.percent, segments = #self.pieces, ready = self.ready, done = done,
  }
  if self.bar then self.bar:update(p) end
  if self.own.on_progress then self.own.on_progress(p) end
  return p
end

local function encode(self, piece)
  local path = self.dir .. "/" .. piece.file
  if fs.exists(path) then
    self.resumed = self.resumed + 1
  else
    local output = { path = path, an = true, f = "nut" }
    for key, value in pairs(self.pictures) do output[key] = value end
    ffmpeg {
      input = piece.source, output = output, duration = piece.length, retry = self.own.retry, limit = self.own.limit,
      on_progress = function(p)
        if p.frame then piece.frame = p.frame end
        tell(self, false)
      end,
    }
  end
  self.ready = self.ready + 1
end

-- ---- join -----------------------------------------------------------------------------------------

local function write_join_list(self)
  local lines = { "ffconcat version 1.0" }
  for _, piece in ipairs(self.pieces) do
    lines[#lines + 1] = "file " .. piece.file
    lines[#lines + 1] = ("duration %.6f"):format(piece.length)
  end
  fs.write(self.dir .. "/join", table.concat(lines, "\n") .. "\n")
  return self.dir .. "/join"
end

-- The pieces begin at 0; in the source the pictures may begin later than the sound.
local function joined_input(self)
  local late = (self.source.video.start_time or 0) - (self.source.format.start_time or 0)
  return { path = write_join_list(self), f = "concat", itsoffset = late > 0.0005 and late or nil }
end

local function join(self, rest)
  local output = { path = self.own.output, map = { "0:v", "1:a?", "1:s?" }, ["c:v"] = "copy" }
  if not rest.codec and not rest.c then output.c = "copy" end
  for key, value in pairs(rest) do output[key] = value end
  return ffmpeg {
    inputs = { joined_input(self), self.own.input },
    output = output, overwrite = self.own.overwrite, limit = self.own.limit,
    verify = self.own.verify and { frames = self.frames } or nil,
  }
end

local function look_at_source(own)
  local source = probe(own.input, { count_packets = true })
  if source.video then return source end
  local reason = ("%s has no pictures"):format(own.input)
  error(err.new { kind = "invalid_data", message = "encode_segments: " .. reason, reason = reason, retryable = false })
end

local Bar = {
  __close = function(guard, e)
    local self = guard.self
    if self.bar then self.bar:finish(e == nil, { percent = self.percent }) end
  end,
}

---Encodes in pieces. Raises the errors of ffmpeg{}. (suspends)
---@param opts jobrun.segments.Options
---@return jobrun.segments.Result
function M.encode_segments(opts)
  local own, pictures, rest = split_options(opts)
  local self = { own = own, pictures = pictures, ready = 0, resumed = 0, percent = 0 }
  self.source = look_at_source(own)
  self.frames = self.source.video.nb_read_packets or 0
  check_output(own)
  self.dir, self.call = enter(own, pictures)
  self.bar = own.progress and terminal.bar(own.output:match("[^/]*$")) or nil
  local _ <close> = setmetatable({ self = self }, Bar)
  if not fs.exists(self.dir .. "/call") then split(self) end
  self.pieces = read_list(self)
  sync.map(self.pieces, function(piece) encode(self, piece) end, { limit = own.workers })
  local r = join(self, rest)
  fs.remove(self.dir, { recursive = true })
  tell(self, true)
  return { ok = true, outputs = r.outputs, segments = #self.pieces, resumed = self.resumed, frames = self.frames }
end

return M
