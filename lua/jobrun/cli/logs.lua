--- `jobrun logs`: the log of a running script, or of a run in a store.
--
-- SPDX-License-Identifier: MIT

local args = require "jobrun.cli.args"
local check = require "jobrun.check"
local err = require "jobrun.core.error"
local json = require "jobrun.json"
local core = require "jobrun.core.store"
local queue = require "jobrun.queue"
local remote = require "jobrun.cli.remote"
local runlog = require "jobrun.queue.runlog"
local stored = require "jobrun.cli.stored"
local task = require "jobrun.task"

local M = {}

M.help = [[
jobrun logs ID|NAME --store URL [-n COUNT] [-f] [--json]
jobrun logs (-s ADDR | --store URL) [-n COUNT] [--level=LEVEL] [-f] [--json]
jobrun logs RUN|JOB -s ADDR [-n COUNT] [--level=LEVEL] [-f] [--json]

With a store (URL, or JOBRUN_STORE) and a job's ID, or the NAME of a queue or schedule: the log of its newest run, or
the last COUNT lines of it, be the store open in a process or not. With -s, or without a word: the last 100 events of a
running script's log, or COUNT (1000 at most), of all or of one run or job. -f goes on with what comes. (-s: see jobrun
help status.) The log of an ID ends with its job's last start; that of a NAME goes on with the next runs.

Example:  jobrun logs nightly -f --store sqlite:state.db]]

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

-- Waits for the first run of a job; does not return where none will come.
local function await_run(db, id)
  while true do
    local job = db:call(core.query, "job", id)[1] -- before its runs: one may begin and end meanwhile
    if not job or db:call(core.query, "runs", id, 1)[1] then return end
    if job.finished_at then args.give_up(1, "logs: job %d never ran: it is %s", id, queue.STATES[job.state]) end
    task.sleep(0.1)
  end
end

-- Of the runs of a name the first one after a run; nil: none yet.
local function next_run(db, name, run)
  local runs = db:call(core.query, "runs", nil, 100, name)
  for i = #runs, 1, -1 do
    local r = runs[i]
    if r.started_at > run.started_at or r.started_at == run.started_at and r.job > run.job then return r end
  end
end

-- At most that many runs of a job, the newest first.
local function runs_of(db, id, count)
  local runs = db:call(core.query, "runs", id, count)
  return runs[1] and runs or args.give_up(1, "logs: there is no run of a job %d", id)
end

-- What the log of a run has behind an offset, to the end of its last whole line.
local function read_from(path, run, offset)
  local file <close> = io.open(runlog.path(path, run.job, run.fence, run.started_at), "rb")
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

local function of_store(options, what)
  if options.level then check.fail "logs: the log of a run has no --level: leave it out, or ask the script (-s ADDR)" end
  local db, path = stored.look("logs", options)
  local is_id = tonumber(what) ~= nil
  local run = not is_id and db:call(core.query, "runs", nil, 1, what)[1]
  local id = run and run.job or stored.id_or_newest("logs", db, what) -- a job that has not begun yet
  if options.follow then await_run(db, id) end
  run = runs_of(db, id, 1)[1]
  local text = read_from(path, run, 0)
  if text == "" and run.ended_at then
    io.stderr:write(("jobrun: job %d: start %d has logged nothing, or its log was removed with age\n"):format(id, run.fence))
  end
  local offset = #text
  print_lines(options.count and last_lines(text, options.count) or text, run, options.json)
  while options.follow and not (run.ended_at and is_id) do
    task.sleep(0.1)
    local newer = not is_id and run.ended_at and next_run(db, what, run)
    if newer then run, offset = newer, 0 end
    local runs = runs_of(db, run.job, 100)
    for i = #runs, 1, -1 do -- the end of a start's log comes before the next one's
      if runs[i].fence > run.fence then offset = 0 end
      if runs[i].fence >= run.fence then
        run, text = runs[i], read_from(path, runs[i], offset)
        offset = offset + #text
        print_lines(text, run, options.json)
      end
    end
  end
  db:close()
  if offset == 0 and run.tail then print_lines(run.tail, run, options.json) end
end

---@param ... string
function M.main(...)
  local options, rest = remote.parse("logs", M.help, { count = "number", level = "text", follow = true },
    { 0, 1, words = "at most an id, a run's number or a name" }, ...)
  if not options then return end
  local what = rest[1]
  if what and stored.is_meant(options) then return of_store(options, what) end
  if (options.count or 0) > 1000 then check.fail("logs: -n: expected at most 1000, got %d", options.count) end
  local at = remote.reach("logs", options)
  local query = { tail = options.count or 100, level = options.level }
  if what then query[what:find "^%d+$" and "run" or "job"] = what end
  if options.follow then return follow(at, query, options.json) end
  local logs = at:get("/api/logs/recent", query).logs
  if #logs == 0 and query.job then at:get(remote.job(what)) end -- or says that there is none
  for _, e in ipairs(logs) do print_event(e, options.json) end
end

return M
