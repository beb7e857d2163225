-- encode_queue.lua IN OUT STATE [WORKERS]: a durable encode queue, fed by a watch folder. It may be killed at any moment,
-- kill -9 included, and started again: no file is lost, none is encoded twice. Ctrl-C lets the encodes that run end.
--
--   - each file as it was last written is one job, whose key is its name, size and time: seen twice, it is pushed once;
--     written anew, it is encoded anew
--   - the job is on disk before the file is forgotten; its output gets its name when it is whole
--   - what has an output that is newer needs no encode: a process that was killed between the two has done all but say so
local dir_in, dir_out, state = arg[1], arg[2], arg[3]
if not state then
  io.stderr:write "usage: jobrun encode_queue.lua IN OUT STATE [WORKERS]\n"
  os.exit(2)
end

local SETTLED <const> = 1 -- seconds that nobody has written to it: until then it is being copied

store("sqlite:" .. state)
fs.mkdir(dir_out, { parents = true })
local q = queue.open("encode", { concurrency = tonumber(arg[4] or 2) })

-- nil: it has gone, or is a folder, a pipe, a loop of links.
local function look(name)
  local is_readable, found = pcall(fs.stat, dir_in .. "/" .. name)
  return is_readable and found and found.type == "file" and found or nil
end

local function version_of(file)
  return ("%d %.6f"):format(file.size, file.mtime)
end

q:handle(function(job)
  local name = job.args.name
  local input, output = dir_in .. "/" .. name, dir_out .. "/" .. name .. ".mp4"
  local file, made = look(name), fs.stat(output)
  if not file then error("it has gone", 0) end -- tried again, should it come back
  if version_of(file) ~= job.args.version then return "was written anew, which is another job" end
  if made and made.mtime > file.ctime then return "was there" end
  local part = ("%s/.%s.%d.mp4"):format(dir_out, name, job.id)
  ffmpeg { input = input, output = part, vcodec = "libx264", preset = "veryfast", pix_fmt = "yuv420p", overwrite = true }
  file = look(name) -- an output of what was there before would pass for one of what is there now
  if not file or version_of(file) ~= job.args.version then
    fs.remove(part)
    return file and "was written anew, which is another job" or error("it has gone", 0)
  end
  fs.rename(part, output)
  print("encoded " .. name)
  return "encoded"
end)

-- A job that was given up, as its process was killed too often or the file is broken, gets all its attempts again when the
-- script starts.
local function push(name, file)
  if not utf8.len(name) then return log.warn("%q is left out: its name is no UTF-8, rename it", name) end
  local version = version_of(file)
  local id = q:push({ name = name, version = version }, { unique = name .. " " .. version, unique_for = "52w",
    retry = { n = 5, backoff = "1s" } })
  if queue.get(id).state == "discarded" then queue.retry(id) end
end

local settling = {}

-- Pushes a file when it is not being written to any more.
local function take(name)
  if settling[name] or name:find "^%." then return end
  settling[name] = true
  spawn(function()
    local file = look(name)
    while file and now() - file.ctime < SETTLED and now() >= file.ctime do
      sleep(SETTLED)
      file = look(name)
    end
    settling[name] = nil
    if file then push(name, file) end
  end)
end

local function take_all()
  for _, entry in ipairs(fs.list(dir_in)) do take(entry.name) end
end

-- Watching begins before the first look, so nothing falls in between; a lost event means another look.
local watch = fs.watch(dir_in)
on.stop(function() watch:close() end)
take_all()
print "watching"
for event in watch do
  if event.type == "overflow" then
    take_all()
  elseif event.name then
    take(event.name)
  end
end
