--- The files of one ffmpeg run: what is there before it, under which names it writes, what becomes
--- of them.
--
-- An output is written as `DIR/.NAME.jobrun-PID-N.EXT` in its own directory. When the run has
-- succeeded it is flushed to the disk and renamed, so nobody ever sees half a file under the real
-- name, and an input that is also the output (through a symbolic link, say) is not destroyed while
-- it is read. When it has failed it is removed. If jobrun is killed its warden does that, as soon as
-- ffmpeg is gone; and what is left all the same (a power cut) goes with the next run that writes the
-- same output.
--
-- This is not done for urls and raw names, for what is not a regular file (/dev/null, a pipe), and
-- for the formats that write several files (hls, dash, segment, numbered images).
--
-- SPDX-License-Identifier: MIT

local argv = require "jobrun.ffmpeg.argv"
local check = require "jobrun.check"
local core = require "jobrun.core.proc"
local err = require "jobrun.core.error"
local fs = require "jobrun.fs"

local M = {}

local LONGEST_NAME = 255 -- bytes; of most file systems

-- They write more than the file they are given, or write it again and again.
local SEVERAL_FILES = {
  hls = true, dash = true, segment = true, stream_segment = true, ssegment = true, image2 = true,
  smoothstreaming = true, tee = true, hds = true,
}
local SEVERAL_EXTENSIONS = { m3u8 = true, mpd = true, ism = true }
local IMAGE_EXTENSIONS = {}
local IMAGES = "bmp dpx exr jp2 jpeg jpg pam pbm pcx pfm pgm png ppm sgi sun tga tif tiff xwd"
for extension in IMAGES:gmatch("%S+") do IMAGE_EXTENSIONS[extension] = true end

local INPUT_DEVICES = { lavfi = true, v4l2 = true, x11grab = true, alsa = true, pulse = true, kmsgrab = true }

local function fail(kind, format, ...)
  local reason = format:format(...)
  error(err.new { kind = kind, message = reason, reason = reason:match("^%w+: (.*)$"), retryable = false })
end

-- ---- names --------------------------------------------------------------------------------------

local function split(path)
  local dir, name = path:match("^(.*/)([^/]*)$")
  if not dir then dir, name = "", path end
  local stem, extension = name:match("^(.*)%.([^.]*)$")
  return dir, stem or name, extension
end

local function is_numbered(name)
  return name:find("%%0?%d*d") ~= nil
end

-- One name for several files: pictures by their numbers, variants of a stream by theirs.
local function is_template(name)
  return is_numbered(name) or name:find("%v", 1, true) ~= nil
end

local function writes_several(output)
  local _, _, extension = split(output.name)
  extension = extension and extension:lower()
  local format = output.options.f
  if format then return SEVERAL_FILES[format] or false end
  return SEVERAL_EXTENSIONS[extension] or (IMAGE_EXTENSIONS[extension] and is_numbered(output.name)) or false
end

-- Two runtimes in one process have the same pid: each counts from somewhere else.
local serial = tonumber(("%p"):format(M):match("%x+$"), 16) // 16 % 1000000
local pid

local function own_pid()
  pid = pid or fs.realpath("/proc/self"):match("%d+$")
  return pid
end

local function temporary_name(path)
  local dir, stem, extension = split(path)
  serial = serial + 1
  local tail = (".jobrun-%s-%d%s"):format(own_pid(), serial, extension and "." .. extension or "")
  return dir .. "." .. stem:sub(1, LONGEST_NAME - 1 - #tail) .. tail
end

local function in_directory(cwd, path)
  if not cwd or path:find("^/") then return path end
  return cwd .. "/" .. path
end

-- ---- before -------------------------------------------------------------------------------------

local function is_pattern(input)
  return is_numbered(input.name) or input.options.pattern_type == "glob"
end

local function is_directory(path)
  local found = fs.stat(path)
  return found ~= nil and found.type == "directory"
end

---Raises kind "not_found" if there is no such directory. (suspends)
---@param cwd? string
function M.check_cwd(cwd)
  if cwd and not is_directory(cwd) then
    fail("not_found", "ffmpeg: cwd: the directory %s does not exist", cwd)
  end
end

-- What a name that is no file may have been meant to be.
local function hint_for(input)
  if INPUT_DEVICES[input.options.f] then return " (a device or lavfi graph is given as raw=)" end
  if input.name:find("^%w[%w+.-]*://") then return " (a url is given as {url=, protocols=})" end
  return ""
end

---Raises kind "not_found" if an input that is a path does not exist. (suspends)
---@param program "ffmpeg"|"probe" for the message
---@param inputs table[] as in a plan
---@param cwd? string where relative paths begin
function M.check_inputs(program, inputs, cwd)
  for _, input in ipairs(inputs) do
    if input.kind == "path" and not is_pattern(input) and not fs.exists(in_directory(cwd, input.name)) then
      fail("not_found", "%s: the input %s does not exist%s", program, input.name, hint_for(input))
    end
  end
end

---@class jobrun.ffmpeg.Target one output while it is made
---@field output table of the plan
---@field path? string as our own calls name it; nil for urls and raw names
---@field temporary? string the same of the file that is renamed in the end
---@field written string the name that ffmpeg gets
---@field litter? integer the temporary file goes if we are killed
---@field exists? boolean there was a file
---@field mtime? number of that
---@field device? boolean it is no regular file

local function check_directory(target, name)
  local dir = target.path:match("^(.*)/[^/]*$")
  if not dir or dir == "" then return end
  if not is_directory(dir) then
    fail("not_found", "ffmpeg: the directory of the output %s does not exist", name)
  end
end

local function look_at(output, cwd)
  local target = { output = output, written = output.name }
  if output.kind ~= "path" then return target end
  target.path = in_directory(cwd, output.name)
  local found = fs.stat(target.path)
  if not found then
    check_directory(target, output.name)
  elseif found.type == "directory" then
    fail("usage", "ffmpeg: the output %s is a directory", output.name)
  else
    target.exists, target.mtime, target.device = found.type == "file", found.mtime, found.type ~= "file"
  end
  return target
end

local function name_target(target, cwd)
  if not target.path or target.device or writes_several(target.output) then return end
  target.written = temporary_name(target.output.name)
  target.temporary = in_directory(cwd, target.written)
end

local function is_alive(process_id)
  return fs.exists("/proc/" .. process_id)
end

-- Temporary files of the same output that belong to processes which are dead: nobody else will
-- remove them. `temporary` is the name of ours.
local function remove_leftovers(temporary)
  local dir, prefix, tail = temporary:match("^(.-)([^/]*%.jobrun%-)%d+%-%d+([^/]*)$")
  local ok, entries = pcall(fs.list, dir == "" and "." or dir)
  for _, entry in ipairs(ok and entries or {}) do
    local name = entry.name
    local middle = name:sub(1, #prefix) == prefix and name:sub(#prefix + 1)
    local process_id, rest = (middle or ""):match("^(%d+)%-%d+(.*)$")
    if process_id and rest == tail and not is_alive(process_id) then pcall(fs.remove, dir .. name) end
  end
end

local function all_exist(targets)
  for _, target in ipairs(targets) do
    if not target.exists then return false end
  end
  return true
end

-- True if every output is at least as new as every input; what is no file counts as new.
local function is_up_to_date(targets, inputs, cwd)
  local oldest = math.huge
  for _, target in ipairs(targets) do oldest = math.min(oldest, target.mtime) end
  for _, input in ipairs(inputs) do
    local found = input.kind == "path" and fs.stat(in_directory(cwd, input.name))
    if not found or found.mtime > oldest then return false end
  end
  return true
end

local function may_skip(targets, plan, overwrite, cwd)
  if overwrite == "skip" then return all_exist(targets) end
  return overwrite == "newer" and all_exist(targets) and is_up_to_date(targets, plan.inputs, cwd)
end

---Looks at the outputs and names what will be written. Raises kind "exists" for a file that is
---there with overwrite=false, "not_found" for one whose directory is not. (suspends)
---@param plan jobrun.ffmpeg.Plan
---@param overwrite false|true|"skip"|"newer"
---@param cwd? string
---@return jobrun.ffmpeg.Target[] targets
---@return boolean skip there is nothing to do
function M.prepare(plan, overwrite, cwd)
  local targets, seen = {}, {}
  for i, output in ipairs(plan.outputs) do
    targets[i] = look_at(output, cwd)
    local path = targets[i].path
    if path and seen[path] then fail("usage", "ffmpeg: two outputs are %s", output.name) end
    if path then seen[path] = not targets[i].device end
    if targets[i].exists and not overwrite then
      fail("exists", "ffmpeg: the output %s exists (overwrite=true replaces it)", output.name)
    end
  end
  if may_skip(targets, plan, overwrite, cwd) then return targets, true end
  for _, target in ipairs(targets) do
    name_target(target, cwd)
    if target.temporary then remove_leftovers(target.temporary) end
  end
  return targets, false
end

---From now on the temporary files go if we are killed.
---@param targets jobrun.ffmpeg.Target[]
function M.guard(targets)
  for _, target in ipairs(targets) do
    if target.temporary then target.litter = core.litter(target.temporary) end
  end
end

local function forget(target)
  if target.litter then core.forget_litter(target.litter) end
  target.litter = nil
end

---May ffmpeg replace what it finds (-y)? Under temporary names nothing can be there, and a device
---always is.
---@param targets jobrun.ffmpeg.Target[]
---@param overwrite any
---@return boolean
function M.may_replace(targets, overwrite)
  if overwrite then return true end
  local unguarded = false
  for _, target in ipairs(targets) do
    if target.device then return true end
    if not target.temporary then unguarded = true end
  end
  return not unguarded
end

-- ---- after --------------------------------------------------------------------------------------

---Why the outputs cannot be what was asked for, or nil. (suspends)
---@param targets jobrun.ffmpeg.Target[]
---@return string?
function M.fault(targets)
  for _, target in ipairs(targets) do
    local checked = target.path and not target.device and not is_template(target.output.name)
    local found = checked and fs.stat(target.temporary or target.path)
    if checked and not found then return ("the output %s was not made"):format(target.output.name) end
    if checked and found.size == 0 then return ("the output %s is empty"):format(target.output.name) end
  end
end

local function rename(target, overwrite)
  fs.sync(target.temporary)
  fs.rename(target.temporary, target.path, { noreplace = not overwrite })
end

---Gives the outputs their names; raises what the file system says. A file that is not there is left
---out. (suspends)
---@param targets jobrun.ffmpeg.Target[]
---@param overwrite any
function M.commit(targets, overwrite)
  for _, target in ipairs(targets) do
    if target.temporary and fs.exists(target.temporary) then rename(target, overwrite) end
    forget(target)
  end
end

---The outputs for the result: {path=, size=}, {url=} or {raw=} each. (suspends)
---@param targets jobrun.ffmpeg.Target[]
---@return table[]
function M.describe(targets)
  local list = {}
  for i, target in ipairs(targets) do
    local found = target.path and fs.stat(target.path)
    list[i] = { [target.output.kind] = target.output.name, size = found and found.size or nil }
  end
  return list
end

---Removes what was written under temporary names. (suspends)
---@param targets jobrun.ffmpeg.Target[]
function M.discard(targets)
  for _, target in ipairs(targets) do
    if target.temporary then pcall(fs.remove, target.temporary) end
    forget(target)
  end
end

---The temporary files that are there, for keep_partial. (suspends)
---@param targets jobrun.ffmpeg.Target[]
---@return string[]
function M.partial(targets)
  local list = {}
  for _, target in ipairs(targets) do
    if target.temporary and fs.exists(target.temporary) then list[#list + 1] = target.temporary end
  end
  return list
end

---A text of ffmpeg with the temporary names replaced by the real ones and passwords masked.
---@param targets jobrun.ffmpeg.Target[]
---@param text string
---@return string
function M.real_names(targets, text)
  for _, target in ipairs(targets) do
    if target.temporary then
      local start, stop = text:find(target.written, 1, true)
      if start then text = text:sub(1, start - 1) .. target.output.name .. text:sub(stop + 1) end
    end
  end
  return argv.mask(text)
end

---@param value any
function M.check_overwrite(value)
  if value == nil or type(value) == "boolean" or value == "skip" or value == "newer" then return end
  check.fail('ffmpeg: overwrite: expected true, false, "skip" or "newer", got %s', check.show(value))
end

return M
