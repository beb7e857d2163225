--- `encode_segments{input=, output=, segment_time=60, workers=2, vcodec=…}`: a long encode in pieces,
--- several at a time.
--
--   look     the times of all pictures of the source, read once: where its key frames are
--   encode   each piece by itself, `workers` at a time     DIR/.NAME.segments/done-00000.nut, …
--   join     the pieces, with the sound and subtitles of the source, encoded once
--
-- A piece goes from one key frame to another, so that hardly anything is decoded twice. ffmpeg seeks
-- to a little before it, and a trim filter takes the pictures from the one time to the other, counted
-- in the source's own units: each picture is in one piece, also where those before a key frame need it
-- (open groups, the default of x265 and of broadcasts), which cutting the coded stream would lose.
--
-- Pieces get their names when they are complete, so one that is there is done: a call that failed, or
-- whose process was killed, is resumed by the same call. What "the same" means stands in the file
-- `call`: the source with its size and time, and the options; anything else begins anew. The
-- directory is removed when the output is there.
--
-- nut holds every codec and exact times. No picture may get lost: each piece, and the output, must
-- have as many as the source.
--
-- SPDX-License-Identifier: MIT

local argv = require "jobrun.ffmpeg.argv"
local check = require "jobrun.check"
local err = require "jobrun.core.error"
local exec = require("jobrun.exec").exec
local ffmpeg = require("jobrun.ffmpeg").ffmpeg
local fs = require "jobrun.fs"
local log = require "jobrun.log"
local passes = require "jobrun.ffmpeg.passes"
local probe = require("jobrun.probe").probe
local sync = require "jobrun.sync"
local task = require "jobrun.task"
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

local FORMAT <const> = 2 -- of the directory
local SEEK_BEFORE <const> = 1 -- seconds; streams without an index are not found exactly

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
  capture_stdout = true, two_pass = true, cwd = true, ss = true, t = true, to = true, filter_script = true,
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
  for _, key in ipairs { "vf", "filter", "filter:v" } do
    if pictures[key] and type(pictures[key]) ~= "string" then
      check.fail("encode_segments: %s: expected a string, got %s", key, check.show(pictures[key]))
    end
  end
  return check.options("encode_segments", own, OWN), pictures, rest
end

local function fail(kind, format, ...)
  local reason = format:format(...)
  error(err.new { kind = kind, message = "encode_segments: " .. reason, reason = reason, retryable = false })
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
  if not found then fail("not_found", "the input %s does not exist", own.input) end
  return table.concat({
    FORMAT, fs.realpath(own.input), found.size, ("%.6f"):format(found.mtime), own.segment_time, text_of(pictures),
  }, "\n")
end

local function check_output(own)
  local dir = own.output:match "^(.*)/[^/]*$"
  if dir and dir ~= "" and not fs.exists(dir) then
    fail("not_found", "the directory of the output %s does not exist", own.output)
  end
  if own.overwrite or not fs.exists(own.output) then return end
  fail("exists", "the output %s exists (overwrite=true replaces it)", own.output)
end

-- ---- look -----------------------------------------------------------------------------------------

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
  fs.write(dir .. "/call", call)
  return dir
end

-- Counts one picture; one that is decoded and not shown (an edit list) does not count.
local function add_picture(group, pts, is_shown)
  if not is_shown then return end
  group.count = group.count + 1
  group.from = math.min(group.from or pts, pts)
end

-- Groups of pictures, from one key frame (at `key`) to the next: {key, from, count}. Pictures come in
-- the order in which they are coded, and some that come after a key frame are shown before it. Those
-- before the first one cannot be decoded. Second, if there are pictures without a time: how many
-- there are at all.
local function read_groups(own, video)
  local groups, all, timeless = {}, 0, false
  local function take(line)
    local text, flags = line:match "^([^,]*),([^,]*)"
    if not text then return end -- where side data would stand
    local pts = math.tointeger(tonumber(text))
    all, timeless = all + 1, timeless or not pts
    if not pts then return end
    local last = groups[#groups]
    if flags:find("K", 1, true) and (not last or pts > last.key) then
      last = { key = pts, count = 0 }
      groups[#groups + 1] = last
    end
    local group = last and pts < last.key and groups[#groups - 1] or last
    if group and pts >= group.key then add_picture(group, pts, not flags:find("D", 1, true)) end
  end
  exec {
    "ffprobe", "-v", "error", "-select_streams", video.index, "-show_entries", "packet=pts,flags",
    "-of", "csv=p=0", argv.name_for_ffmpeg("path", own.input), on_line = take,
  }
  return groups, timeless and all or nil
end

local function seconds_of(units, video)
  local over, under = video.time_base:match "^(%d+)/(%d+)$"
  return units * tonumber(over) / tonumber(under)
end

-- Pieces of whole groups, each as long as asked for or a little longer.
local function plan(self)
  local video, pieces, last = self.source.video, {}, nil
  local groups, timeless = read_groups(self.own, video)
  if timeless then
    log.warn("encode_segments: %s has pictures without times: it is encoded in one piece", self.own.input)
    return { { count = timeless } }
  end
  for _, group in ipairs(groups) do
    if group.count > 0 and (not last or seconds_of(group.key - last.from, video) >= self.own.segment_time) then
      last = { from = group.from, count = 0 }
      pieces[#pieces + 1] = last
    end
    if last then last.count = last.count + group.count end
  end
  for i, piece in ipairs(pieces) do
    local following = pieces[i + 1]
    piece.to = following and following.from
    piece.length = piece.to and seconds_of(piece.to - piece.from, video)
  end
  return pieces
end

local function look(self)
  local pieces = plan(self)
  if #pieces == 0 then fail("invalid_data", "%s has no picture that can be decoded", self.own.input) end
  self.frames = 0
  for i, piece in ipairs(pieces) do
    piece.file, piece.frame = ("done-%05d.nut"):format(i - 1), 0
    self.frames = self.frames + piece.count
  end
  self.pieces = pieces
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

-- The filters for one piece; what the caller wants of filters comes behind.
local function filters_for(self, piece)
  local pictures = self.pictures
  local given = pictures.vf or pictures["filter:v"] or pictures.filter
  if not piece.from then return given end
  local cut = ("trim=start_pts=%d%s,setpts=PTS-%d"):format(piece.from,
    piece.to and (":end_pts=%d"):format(piece.to) or "", piece.from)
  return given and cut .. "," .. given or cut
end

local function output_for(self, piece)
  local output = { path = self.dir .. "/" .. piece.file, map = "0:" .. self.source.video.index, an = true, f = "nut" }
  for key, value in pairs(self.pictures) do output[key] = value end
  output.vf, output.filter, output["filter:v"] = filters_for(self, piece), nil, nil
  return output
end

-- The times of the source are those of its pictures, not of its beginning.
local function input_for(self, piece)
  local input = { path = self.own.input, args = { "-noaccurate_seek" } }
  if piece == self.pieces[1] then return input end
  local at = seconds_of(piece.from, self.source.video) - (self.source.format.start_time or 0) - SEEK_BEFORE
  input.ss = at > 0 and at or nil
  return input
end

local function encode(self, piece)
  if fs.exists(self.dir .. "/" .. piece.file) then
    self.resumed = self.resumed + 1
    piece.frame = piece.count
  else
    ffmpeg {
      input = input_for(self, piece), output = output_for(self, piece), global_args = { "-copyts" },
      duration = piece.length, retry = self.own.retry, limit = self.own.limit,
      verify = self.own.verify and { frames = piece.count } or nil,
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
    if piece.length then lines[#lines + 1] = ("duration %.6f"):format(piece.length) end
  end
  fs.write(self.dir .. "/join", table.concat(lines, "\n") .. "\n")
  return self.dir .. "/join"
end

-- The pieces begin at 0; in the source the pictures may begin later than the sound.
local function joined_input(self)
  local video, first = self.source.video, self.pieces[1].from
  local begin = first and seconds_of(first, video) or video.start_time or 0
  local late = begin - (self.source.format.start_time or 0)
  return { path = write_join_list(self), f = "concat", itsoffset = late > 0.0005 and late or nil }
end

local function join(self, rest)
  local output = {
    path = self.own.output, map = { "0:v", "1:a?", "1:s?" }, map_metadata = 1, map_chapters = 1, ["c:v"] = "copy",
  }
  if not rest.codec and not rest.c then output.c = "copy" end
  for key, value in pairs(rest) do output[key] = value end
  return ffmpeg {
    inputs = { joined_input(self), self.own.input },
    output = output, overwrite = self.own.overwrite, limit = self.own.limit,
    verify = self.own.verify and { frames = self.frames } or nil,
  }
end

local function look_at_source(own)
  local source = probe(own.input)
  if not source.video then fail("invalid_data", "%s has no pictures", own.input) end
  return source
end

-- A failed call leaves the pieces that are done, for the next one; without any, nothing.
local function tidy(self)
  for _, entry in ipairs(fs.list(self.dir)) do
    if entry.name:find "^done%-" then return end
  end
  fs.remove(self.dir, { recursive = true })
end

local Leaving = {
  __close = function(leaving, e)
    local self = leaving.call
    if e ~= nil then pcall(task.shield, tidy, self) end
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
  check_output(own)
  self.dir = enter(own, pictures)
  self.bar = own.progress and terminal.bar(own.output:match("[^/]*$")) or nil
  local _ <close> = setmetatable({ call = self }, Leaving)
  look(self)
  sync.map(self.pieces, function(piece) encode(self, piece) end, { limit = own.workers })
  local r = join(self, rest)
  fs.remove(self.dir, { recursive = true })
  tell(self, true)
  return { ok = true, outputs = r.outputs, segments = #self.pieces, resumed = self.resumed, frames = self.frames }
end

return M
