-- Encodes what is put into a folder, for as long as it runs: jobrun watch_folder.lua IN OUT
-- Files that were there before are encoded too. A file is taken when it has stopped growing; afterwards it
-- lies in IN/done or IN/failed. At most two encodes at a time; Ctrl-C lets those that run come to their end.

local from, to = arg[1], arg[2]
if not to then
  print "usage: jobrun watch_folder.lua IN OUT"
  os.exit(2)
end
for _, dir in ipairs { to, from .. "/done", from .. "/failed" } do fs.mkdir(dir, { parents = true }) end

local encoding = limit("encoding", 2)
local taken = {}

local function wait_until_complete(path)
  local size, before
  repeat
    size, before = fs.stat(path), size
    sleep(0.25)
  until not size or before and size.size == before.size
  return size ~= nil
end

local function encode(name)
  local path = from .. "/" .. name
  if not wait_until_complete(path) then return end
  local output = to .. "/" .. name:gsub("%.%w+$", "") .. ".mkv"
  local ok, e = pcall(ffmpeg, {
    input = path, output = output, overwrite = true, vcodec = "libx264", preset = "veryfast", acodec = "aac",
  })
  fs.rename(path, ("%s/%s/%s"):format(from, ok and "done" or "failed", name))
  print(ok and "encoded" or "failed", name, ok and "" or e.reason)
end

local function take(name)
  if taken[name] or name:find "^%." or not fs.exists(from .. "/" .. name) then return end
  if fs.stat(from .. "/" .. name).type ~= "file" then return end
  taken[name] = true
  spawn(function()
    encoding:with(encode, name)
    taken[name] = nil
  end)
end

local watch <close> = fs.watch(from) -- before the list: nothing that comes in between is missed
for _, entry in ipairs(fs.list(from)) do take(entry.name) end
on.stop(function() watch:close() end)
print "watching"
for event in function() return watch:next() end do
  if event.name then take(event.name) end
end
