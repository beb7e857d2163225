--- `jobrun logs`: the log of a running script.
--
-- SPDX-License-Identifier: MIT

local args = require "jobrun.cli.args"
local check = require "jobrun.check"
local err = require "jobrun.core.error"
local json = require "jobrun.json"
local core = require "jobrun.core.store"
local remote = require "jobrun.cli.remote"
local runlog = require "jobrun.queue.runlog"
local stored = require "jobrun.cli.stored"
local task = require "jobrun.task"

local M = {}

M.help = [[
jobrun logs [RUN|JOB] (-s ADDR | --store URL) [-n COUNT] [--level=LEVEL] [-f] [--json]
jobrun logs ID --store URL [-n LINES] [-f] [--json]

The last 100 events of a running script's log, or COUNT (1000 at most); of one run or job; -f goes on with those that
come. (-s: see jobrun help status.) Or what the newest run of a queued job has logged, be the store open in a process or
not.

Example:  jobrun logs nightly -f -s /run/app.sock]]

local function print_event(e, as_json)
  if as_json then return print(json.encode(e)) end
  local about = type(e.name) == "string" and ("job \"%s\": "):format(e.name) or ""
  print(("%s %-5s %s%s"):format(remote.when(e.ts), e.level, about, e.msg))
end

-- The data of the server-sent events in a stream.
local function events(chunks)
  local text = ""
  return function()
    while true do
      local from, to = text:find("\n\n", 1, true)
      if from then
        local event = text:sub(1, from)
        text = text:sub(to + 1)
        local name, data = event:match "event: (%w+)\n", {}
        for line in event:gmatch "data: ([^\n]*)" do data[#data + 1] = line end
        if #data > 0 then return name, json.decode(table.concat(data, "\n")) end
      else
        local bytes = chunks()
        if not bytes then return nil end
        text = text .. bytes
      end
    end
  end
end

local function follow(at, query, as_json)
  local r = at:ask("GET", "/api/logs", { query = query, stream = true })
  if not r:ok() then check.fail("logs: %s answered with %d", at.address, r.status) end
  local ok, e = pcall(function()
    for name, event in events(r:chunks()) do
      if name == "log" then
        print_event(event, as_json)
      else
        io.stderr:write(("jobrun: %d events came too fast to be shown\n"):format(event.count))
      end
    end
  end)
  if not ok and not err.is(e, "connection") then error(e, 0) end
  io.stderr:write("jobrun: the script has ended\n")
end

-- ---- of a run in a store -------------------------------------------------------------------------

-- The newest run of a job, and where its log lies.
local function newest_run(db, id, path)
  local run = db:call(core.query, "runs", id, 1)[1]
  if not run then args.give_up(1, "logs: there is no run of a job %d", id) end
  return run, runlog.path(path, id, run.fence, run.started_at)
end

-- What a file has behind an offset, to the end of its last whole line.
local function read_from(path, offset)
  local file <close> = io.open(path, "rb")
  if not file then return "" end
  file:seek("set", offset)
  return file:read("a"):match "^.*\n" or ""
end

local function last_lines(text, count)
  local starts = {}
  for start in text:gmatch "()[^\n]*\n" do starts[#starts + 1] = start end
  return text:sub(starts[math.max(#starts - count, 0) + 1] or #text + 1)
end

local function print_lines(text, run, as_json)
  if as_json then
    for line in text:gmatch "([^\n]*)\n" do
      print(json.encode { job = tostring(run.job), start = run.fence, msg = json.text(line) })
    end
  else
    io.write(text)
  end
  io.flush()
end

local function of_store(...)
  local db, options, rest, path = stored.open("logs", M.help, { follow = true, count = "number" },
    { 1, 1, words = "a job's id, or a queue's or schedule's name" }, ...)
  if not db then return end
  local id = stored.id_or_newest("logs", db, rest[1])
  while options.follow and db:call(core.query, "job", id)[1] and not db:call(core.query, "runs", id, 1)[1] do
    task.sleep(0.1) -- until it starts
  end
  local run, log_path = newest_run(db, id, path)
  local text = read_from(log_path, 0)
  if text == "" and run.ended_at then
    io.stderr:write(("jobrun: job %d: start %d has logged nothing, or its log was removed with age\n"):format(id, run.fence))
  end
  local offset, start = #text, run.fence
  print_lines(options.count and last_lines(text, options.count) or text, run, options.json)
  while options.follow and not run.ended_at do
    task.sleep(0.1)
    run, log_path = newest_run(db, id, path)
    if run.fence ~= start then offset, start = 0, run.fence end
    text = read_from(log_path, offset)
    offset = offset + #text
    print_lines(text, run, options.json)
  end
  db:close()
  if offset == 0 and run.tail then print_lines(run.tail, run, options.json) end
end

-- Is there a number? With a store that is the id of a queue's job.
local function has_number(...)
  for _, word in ipairs { ... } do
    if word:find "^%d+$" then return true end
  end
end

---@param ... string
function M.main(...)
  if has_number(...) and stored.is_meant(...) then return of_store(...) end
  local at, options, rest = remote.parse("logs", M.help, { count = "number", level = "text", follow = true },
    { 0, 1, words = "at most a run's number or the name of a job" }, ...)
  if not at then return end
  if (options.count or 0) > 1000 then check.fail("logs: -n: expected at most 1000, got %d", options.count) end
  local what = rest[1]
  local query = { tail = options.count or 100, level = options.level }
  if what then query[what:find "^%d+$" and "run" or "job"] = what end
  if options.follow then return follow(at, query, options.json) end
  local logs = at:get("/api/logs/recent", query).logs
  if #logs == 0 and query.job then at:get(remote.job(what)) end -- or says that there is none
  for _, e in ipairs(logs) do print_event(e, options.json) end
end

return M
