--- The control API of a running script: health, metrics, its jobs, runs, tasks and log; run, pause, resume, cancel.
---
--- An application like a script's own, apart from it; it knows no sockets. `--listen ADDR` serves it.
---
---   GET  /healthz /readyz /metrics
---   GET  /api /api/jobs /api/jobs/{name} /api/runs /api/runs/{id} /api/tasks /api/logs (events) /api/logs/recent
---   POST /api/jobs/{name}/run|pause|resume   /api/runs/{id}/cancel
---
--- Ids are strings; instants are UTC, as in 2027-01-31T12:00:00.000Z; durations are seconds. What may ask is decided
--- in jobrun.control.guard.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.jobs"
local err = require "jobrun.core.error"
local guard = require "jobrun.control.guard"
local host = require "jobrun.core.host"
local http = require "jobrun.http"
local json = require "jobrun.core.json"
local text = require("jobrun.json").text
local life = require "jobrun.life"
local log = require "jobrun.log"
local metrics = require "jobrun.metrics"

local M = {}

local API <const> = 1 -- its version
local t = http.t

-- ---- what is said ---------------------------------------------------------------------------------

local function instant(seconds)
  if not seconds then return json.null end
  local ms = math.floor(seconds * 1000 + 0.5)
  return os.date("!%Y-%m-%dT%H:%M:%S", ms // 1000) .. (".%03dZ"):format(ms % 1000)
end

local function job_said(job)
  return {
    name = text(job.name), state = job.state, tags = json.array(job.tags), next_run = instant(job.next_run),
    last_start = instant(job.last_start), last_end = instant(job.last_end), runs = job.runs, fails = job.fails,
    skips = job.skips, missed = job.missed,
  }
end

local function run_said(r)
  return {
    id = tostring(r.id), job = text(r.job), attempt = r.attempt, outcome = r.outcome, due = instant(r.due), late_s = r.late,
    started = instant(r.started), ended = instant(r.ended),
    duration_s = r.started and r.ended and math.max(r.ended - r.started, 0) or json.null,
  }
end

local function event_said(e)
  return {
    ts = instant(e.ts), level = e.level, msg = text(e.msg), name = e.name and text(e.name),
    run = e.run and tostring(e.run), event = e.event, outcome = e.outcome, duration_s = e.duration_s,
    exit_code = e.exit_code,
  }
end

-- ---- jobs -----------------------------------------------------------------------------------------

local function job_of(req)
  local name = req.params.name
  for _, job in ipairs(core.list()) do
    if job.name == name then return job end
  end
  http.fail(404, ("no job %s"):format(check.show(name)))
end

-- Runs that go on or have ended, newest first.
local function runs_where(fits, limit)
  local list = {}
  local going = core.going()
  table.sort(going, function(a, b) return a.id > b.id end)
  for _, records in ipairs { going, core.runs() } do
    for _, r in ipairs(records) do
      if #list == limit then return json.array(list) end
      if fits(r) then list[#list + 1] = run_said(r) end
    end
  end
  return json.array(list)
end

local function list_jobs()
  local list = {}
  for i, job in ipairs(core.list()) do list[i] = job_said(job) end
  return { jobs = json.array(list) }
end

local function show_job(req)
  local job = job_of(req)
  local said, name = job_said(job), job.name
  said.recent = runs_where(function(r) return r.job == name end, 20)
  return said
end

local function list_runs(req)
  local q = req.query
  return { runs = runs_where(function(r)
    return (not q.job or r.job == q.job) and (not q.outcome or r.outcome == q.outcome)
  end, q.limit) }
end

local function show_run(req)
  local id = req.params.id
  return runs_where(function(r) return r.id == id end, 1)[1] or http.fail(404, ("no run %d in memory"):format(id))
end

-- A deed that the job's state may forbid.
local function attempt(job, what)
  local ok, first, second = pcall(job[what], job)
  if ok then return first, second end
  if err.is(first, "usage") then http.fail(409, ("job %s is %s"):format(check.show(job.name), job.state)) end
  if err.is(first, "closed") then http.fail(503, "nothing new is started while the script ends") end
  error(first, 0)
end

local function note(req, what)
  host.log("info", ("control: %s, asked for by %s"):format(what, req.remote or "somebody"))
end

local function run_job(req)
  local job = job_of(req)
  local started, id = attempt(job, "run_now")
  if not started then http.fail(409, ("job %s has as many runs going as it may have"):format(check.show(job.name))) end
  note(req, ("job %s runs now"):format(check.show(job.name)))
  return 202, { run = tostring(id) }
end

local function changer(what, done)
  return function(req)
    local job = job_of(req)
    attempt(job, what)
    note(req, ("job %s %s"):format(check.show(job.name), done))
    return job_said(job)
  end
end

local function cancel_run(req)
  local id = req.params.id
  if not core.cancel_run(id) then http.fail(404, ("no run %d goes on"):format(id)) end
  note(req, ("run %d is cancelled"):format(id))
  return 202, { run = tostring(id) }
end

-- ---- tasks, the log, health -------------------------------------------------------------------------

local function list_tasks()
  local list = host.tasks()
  for _, task in ipairs(list) do
    task.since_s, task.since = task.since, nil
    for key, value in pairs(task) do
      if type(value) == "string" then task[key] = text(value) end
    end
  end
  return { tasks = json.array(list) }
end

local RANK = { debug = 1, info = 2, warn = 3, error = 4 }

-- Does an event fit what was asked for?
local function filter(q)
  local least = RANK[q.level or "debug"]
  return function(e)
    return RANK[e.level] >= least and (not q.job or e.name == q.job) and (not q.run or e.run == q.run)
  end
end

local LOG_QUERY = {
  tail = t.int { min = 0, max = 1000, default = 100 },
  level = t.enum("debug", "info", "warn", "error") { optional = true },
  job = t.string { optional = true },
  run = t.int { min = 1, optional = true },
}

-- The last `tail` events that fit, and the number of the newest of all.
local function recent(q)
  local fits, list, all = filter(q), {}, log.recent(1000)
  for i = #all, 1, -1 do
    if #list == q.tail then break end
    if fits(all[i]) then table.insert(list, 1, all[i]) end
  end
  return list, #all > 0 and all[#all].seq or 0
end

local function recent_logs(req)
  local list = recent(req.query)
  for i, e in ipairs(list) do list[i] = event_said(e) end
  return { logs = json.array(list) }
end

-- First what was, then what comes. A client that comes back tells the last event it has, and gets those behind it; where
-- some are gone, for it or for one that is too slow, "lost" says how many.
local function follow_logs(req, send)
  local fits, q = filter(req.query), req.query
  local function tell(e) send("log", event_said(e), { id = tostring(e.seq) }) end
  local last = math.tointeger(tonumber(req.headers["last-event-id"]))
  if not last then
    local list
    list, last = recent(q)
    for _, e in ipairs(list) do tell(e) end
  end
  for e in log.follow(last) do
    if e.seq > last + 1 then send("lost", { count = e.seq - last - 1 }) end
    last = e.seq
    if fits(e) then tell(e) end
  end
end

local function health()
  return "ok\n"
end

local function readiness()
  if life.state == "ready" then return "ready\n" end
  return 503, life.state .. "\n", { ["retry-after"] = "1" }
end

local function show_metrics(req)
  local body, kind = metrics.text(req.headers.accept)
  return http.response(200, body, { ["content-type"] = kind })
end

-- ---- the application --------------------------------------------------------------------------------

---@class jobrun.control.Options
---@field token? string what each request but those for health must bear
---@field allowed_hosts? string[] names beside localhost, 127.0.0.1 and [::1] by which it may be addressed
---@field any_host? boolean by any name: where it is reached from other machines, with a token
---@field read_only? boolean nothing may be changed

local OPTIONS = {
  token = "string", allowed_hosts = "table", any_host = { type = "boolean", default = false },
  read_only = { type = "boolean", default = false },
}

---The control application: the words of jobrun.http, its `instance` for a server and `client_for_test()` for tests.
---From the first one on metrics are counted and log events are kept.
---@param options? jobrun.control.Options
function M.app(options)
  local o = check.options("control", options or {}, OPTIONS)
  local app = http.app()
  guard.install(app, o)
  log.recent(0)
  app.get("/healthz", { hidden = true }, health)
  app.get("/readyz", { hidden = true }, readiness)
  app.get("/metrics", { hidden = true }, show_metrics)
  app.get("/api", { summary = "Versions and state" }, function()
    return { api = API, state = life.state, read_only = o.read_only }
  end)
  app.get("/api/jobs", { summary = "Jobs that have not ended" }, list_jobs)
  app.get("/api/jobs/{name}", { summary = "A job and its last runs" }, show_job)
  app.get("/api/runs", { summary = "Runs, newest first", query = {
    limit = t.int { min = 1, max = 1000, default = 100 },
    job = t.string { optional = true },
    outcome = t.enum("going", "ok", "error", "timeout", "cancelled") { optional = true },
  } }, list_runs)
  app.get("/api/runs/{id:int}", { summary = "A run" }, show_run)
  app.get("/api/tasks", { summary = "The tree of tasks" }, list_tasks)
  app.get("/api/logs/recent", { summary = "The last events of the log", query = LOG_QUERY }, recent_logs)
  app.events("/api/logs", { summary = "The log, as server-sent events", query = LOG_QUERY }, follow_logs)
  app.post("/api/jobs/{name}/run", { summary = "Starts a run now", status = 202 }, run_job)
  app.post("/api/jobs/{name}/pause", { summary = "Pauses a job" }, changer("pause", "is paused"))
  app.post("/api/jobs/{name}/resume", { summary = "Lets a paused job go on" }, changer("resume", "goes on"))
  app.post("/api/runs/{id:int}/cancel", { summary = "Cancels a run", status = 202 }, cancel_run)
  require("jobrun.control.queues").add(app)
  return app
end

return M
