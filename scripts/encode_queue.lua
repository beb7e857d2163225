-- encode_queue.lua IN OUT STATE [WORKERS]: a durable encode queue, fed by a watch folder. It may be killed at any moment,
-- kill -9 included, and started again: no file is lost, none is encoded twice. Ctrl-C lets the encodes that run end.
--
--   - each file is one job, whose key is its name: seen twice, it is pushed once
--   - the job is on disk before the folder is looked at again; its output gets its name when it is whole
--   - what has its output needs no encode: a process that was killed between the two has done all but say so
local dir_in, dir_out, state = arg[1], arg[2], arg[3]
if not state then
  io.stderr:write "usage: jobrun encode_queue.lua IN OUT STATE [WORKERS]\n"
  os.exit(2)
end

store("sqlite:" .. state)
fs.mkdir(dir_out, { parents = true })
local q = queue.open("encode", { concurrency = tonumber(arg[4] or 2) })

local function wait_until_complete(path)
  local size, before
  repeat
    size, before = fs.stat(path).size, size
    sleep(0.25)
  until size == before
end

q:handle(function(job)
  local input, output = dir_in .. "/" .. job.args.name, dir_out .. "/" .. job.args.name .. ".mp4"
  if fs.exists(output) then return "was there" end
  wait_until_complete(input)
  ffmpeg { input = input, output = output, vcodec = "libx264", preset = "veryfast", pix_fmt = "yuv420p" }
  print("encoded " .. job.args.name)
  return "encoded"
end)

-- A job that was given up, as its process was killed too often or the file is broken, gets all its attempts again when the
-- script starts or the file is written anew.
local function push(name)
  if name:find "^%." then return end
  local is_readable, found = pcall(fs.stat, dir_in .. "/" .. name)
  if not is_readable or not found or found.type ~= "file" then return end -- it has gone; a folder, a pipe, a loop of links
  if not utf8.len(name) then return log.warn("%q is left out: its name is no UTF-8, rename it", name) end
  local id = q:push({ name = name }, { unique = name, unique_for = "52w", retry = { n = 5, backoff = "1s" } })
  if queue.get(id).state == "discarded" then queue.retry(id) end
end

local function push_all()
  for _, entry in ipairs(fs.list(dir_in)) do push(entry.name) end
end

-- Watching begins before the first look, so nothing falls in between; a lost event means another look.
local watch = fs.watch(dir_in)
on.stop(function() watch:close() end)
push_all()
print "watching"
for event in watch do
  if event.type == "overflow" then
    push_all()
  elseif event.name then
    push(event.name)
  end
end
