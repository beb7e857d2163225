--- What the ffmpeg suites share: small clips, made once in the build directory, and the stand-in
--- for ffmpeg.
--
-- SPDX-License-Identifier: MIT

local M = {}

local build = os.getenv "JOBRUN_BUILD" or "build"
local here = io.popen("pwd"):read("l")
if not build:find("^/") then build = here .. "/" .. build end

M.fakeff = build .. "/tests/fakeff"

local CLIPS = {
  -- 2 s of moving picture and sound
  ["clip.mp4"] = "-f lavfi -i testsrc2=s=128x96:r=25:d=2 -f lavfi -i sine=d=2 "
    .. "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 10 -c:a aac -shortest",
  ["clip.ts"] = "-f lavfi -i testsrc2=s=128x96:r=25:d=2 -c:v mpeg2video -b:v 400k",
  -- pictures of irregular length
  ["vfr.mkv"] = "-f lavfi -i testsrc2=s=128x96:r=25:d=3 -vf select='not(mod(floor(n*n/7)\\,3))' -fps_mode vfr "
    .. "-c:v libx264 -preset ultrafast -g 10",
  -- those before a key frame need it
  ["open.ts"] = "-f lavfi -i testsrc2=s=128x96:r=25:d=2 -c:v mpeg2video -b:v 400k -bf 2 -g 12",
  -- of an odd length, later than the sound, and shorter
  ["late.mkv"] = "-itsoffset 0.7 -f lavfi -i testsrc2=s=128x96:r=24000/1001:d=1.517 -f lavfi -i sine=d=3 "
    .. "-c:v libx264 -preset veryfast -g 10 -bf 2 -c:a aac -metadata title=late",
  ["sound.wav"] = "-f lavfi -i sine=d=1",
}

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("a")
  file:close()
  return bytes
end

local function write(path, bytes)
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
end

-- Damaged in the middle, the same way each time.
local function damaged(bytes)
  local list, seed = { bytes:byte(1, -1) }, 7
  for _ = 1, 60 do
    seed = (seed * 1103515245 + 12345) % 2147483648
    local at = 5000 + seed % (#list - 6000)
    list[at] = 255 - list[at]
  end
  local parts = {}
  for i = 1, #list, 4096 do parts[#parts + 1] = string.char(table.unpack(list, i,
    math.min(i + 4095, #list))) end
  return table.concat(parts)
end

local MADE = {
  ["damaged.ts"] = function() return damaged(read(M.clip "clip.ts")) end,
  ["cut.mp4"] = function() return read(M.clip "clip.mp4"):sub(1, 20000) end, -- without its index
  ["garbage.bin"] = function() return ("\1\2\3garbage"):rep(500) end,
}

local function make(name, path)
  os.execute("mkdir -p '" .. build .. "/tests/media'")
  local scratch = os.tmpname()
  if MADE[name] then
    write(scratch, MADE[name]())
  else
    local format = name:match("%.(%w+)$"):gsub("^ts$", "mpegts"):gsub("^mkv$", "matroska")
    assert(os.execute(("ffmpeg -nostdin -v error -y %s -f %s '%s'"):format(CLIPS[name], format,
      scratch)))
  end
  assert(os.execute(("cp '%s' '%s.%s' && mv '%s.%s' '%s'; rm '%s'"):format(
    scratch, path, scratch:match("[^/]+$"), path, scratch:match("[^/]+$"), path, scratch)))
end

---The path of a clip; made when it is first asked for. It is shared: do not write to it.
---@param name string
---@return string
function M.clip(name)
  local path = build .. "/tests/media/" .. name
  local file = io.open(path)
  if file then
    file:close()
  else
    make(name, path)
  end
  return path
end

---What a directory holds, sorted, one string.
---@param dir string
---@return string
function M.entries(dir)
  local pipe = io.popen("ls -A '" .. dir .. "'")
  local names = {}
  for name in pipe:lines() do names[#names + 1] = name end
  pipe:close()
  return table.concat(names, " ")
end

M.read, M.write = read, write

---The error object a call raises; fails the test if it raises none.
---@param fn function
---@return table
function M.error_of(fn, ...)
  local ok, e = pcall(fn, ...)
  assert(not ok, "no error was raised")
  assert(type(e) == "table", tostring(e))
  return e
end

---True while a process with that pid is there and not a zombie.
---@param pid integer
---@return boolean
function M.is_alive(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  if not file then return false end
  local state = file:read("a"):match("%) (%a)")
  file:close()
  return state ~= "Z"
end

return M
