-- The control API, by the client without sockets.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program
local control, http = require "jobrun.control", require "jobrun.http"
local jobs, log, json = jobrun.jobs, jobrun.log, jobrun.json

local HOST = { host = "localhost:8080" }

local function with_host(headers)
  local all = { host = "localhost:8080" }
  for name, value in pairs(headers or {}) do all[name] = value ~= "" and value or nil end
  return all
end

-- A client of a new application, with the header fields that get through.
local function client(options)
  local c = control.app(options).client_for_test()
  local C = {}
  function C.get(target, headers, more)
    return c:get(target, { headers = with_host(headers), query = more and more.query, pieces = more and more.pieces })
  end
  function C.post(target, headers)
    local all = with_host { ["content-type"] = "application/json" }
    for name, value in pairs(headers or {}) do all[name] = value ~= "" and value or nil end
    return c:post(target, { headers = all })
  end
  C.raw = c
  return C
end

local c = client()

local function detail(r)
  return { r.status, r:json().detail }
end

-- The events of a stream: {event, id, data}.
local function events_of(r)
  local list = {}
  for block in r.body:gmatch "(.-)\n\n" do
    local event, id, data = block:match "event: (%w+)", block:match "id: (%d+)", block:match "data: ([^\n]*)"
    if event then list[#list + 1] = { event = event, id = id and math.tointeger(id), data = json.decode(data) } end
  end
  return list
end

-- ---- looking ------------------------------------------------------------------------------------------

function test_what_is_no_utf8_is_replaced()
  log.info("caf\xe9")
  local logs = c.get("/api/logs/recent"):json().logs
  lu.assertEquals(logs[#logs].msg, "caf\u{fffd}")
  lu.assertEquals(c.get("/api/jobs/%ff").status, 422)
end

function test_health_and_readiness()
  lu.assertEquals({ c.get("/healthz").status, c.get("/healthz").body }, { 200, "ok\n" })
  testing.wait_for(function() return c.get("/readyz").status == 200 end) -- the suite has loaded
  lu.assertEquals(c.get("/readyz").body, "ready\n")
end

function test_readiness_follows_the_life_of_the_script()
  local dir = testing.tmpdir()
  jobrun.fs.write(dir .. "/script.lua", [[
    local c = require("jobrun.control").app().client_for_test()
    local function say(when)
      local r = c:get("/readyz", {headers = {host = "localhost"}})
      print(when, r.status, (r.body:gsub("\n", "")))
    end
    on.start(function() say "start" end)
    on.stop(function() say "stop" end)
    sleep(0.001)
    say "runs"
  ]])
  lu.assertEquals(jobrun.exec({ program, dir .. "/script.lua" }).stdout,
    "start\t503\tstarting\nruns\t200\tready\nstop\t503\tstopping\n")
end

function test_metrics_in_both_formats()
  local r = c.get "/metrics"
  lu.assertEquals(r.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
  lu.assertStrContains(r.body, "\njobrun_build_info{")
  r = c.get("/metrics", { accept = "application/openmetrics-text; version=1.0.0" })
  lu.assertEquals(r.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8")
  lu.assertEquals(r.body:sub(-6), "# EOF\n")
  local check = jobrun.exec { "promtool", "check", "metrics", stdin = c.get("/metrics").body }
  lu.assertEquals(check.stderr, "")
end

function test_jobs()
  lu.assertEquals(c.get("/api/jobs").body, '{"jobs":[]}')
  local ran = false
  local job = jobrun.every(1).hour.named("a/b c").tag("x")(function() ran = true end)
  job:run_now()
  testing.wait_for(function() return ran and job.state == "scheduled" end)
  local list = c.get("/api/jobs"):json().jobs
  lu.assertEquals(#list, 1)
  local said = list[1]
  lu.assertEquals({ said.name, said.state, said.tags[1], said.runs, said.fails, said.skips, said.missed },
    { "a/b c", "scheduled", "x", 1, 0, 0, 0 })
  lu.assertStrMatches(said.next_run, "%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ")
  lu.assertStrMatches(said.last_end, "%d%d%d%d%-%d%d%-%d%dT.*Z")
  said = c.get("/api/jobs/a%2Fb%20c"):json()
  lu.assertEquals({ said.name, #said.recent, said.recent[1].outcome, said.recent[1].job }, { "a/b c", 1, "ok", "a/b c" })
  lu.assertEquals(detail(c.get "/api/jobs/other"), { 404, 'no job "other"' })
end

function test_runs()
  local hold = jobrun.event()
  jobrun.after(0.001, function() hold:wait() end) -- a job that has ended while its run goes on
  local bad = jobrun.every(1).hour.named("bad")(function() error "no" end)
  testing.wait_for(function() return #c.get("/api/runs", nil, { query = { outcome = "going" } }):json().runs == 1 end)
  bad:run_now()
  testing.wait_for(function() return bad.fails == 1 end)
  local runs = c.get("/api/runs", nil, { query = { limit = 2 } }):json().runs
  lu.assertEquals({ runs[1].outcome, runs[1].ended, runs[1].duration_s }, { "going", json.null, json.null })
  lu.assertEquals({ runs[2].outcome, runs[2].job, runs[2].attempt }, { "error", "bad", 1 })
  lu.assertEquals(type(runs[2].id), "string")
  lu.assertTrue(runs[2].duration_s >= 0)
  lu.assertEquals(c.get("/api/runs/" .. runs[2].id):json(), runs[2])
  lu.assertEquals(c.get("/api/runs", nil, { query = { job = "nobody" } }).body, '{"runs":[]}')
  lu.assertEquals(c.get("/api/runs", nil, { query = { limit = 0, outcome = "odd" } }).status, 422)
  lu.assertEquals(detail(c.get "/api/runs/999999"), { 404, "no run 999999 in memory" })
  hold:set()
  testing.wait_for(function() return c.get("/api/runs/" .. runs[1].id):json().outcome == "ok" end)
end

function test_tasks()
  local t = jobrun.spawn(function() jobrun.sleep(60) end)
  t.name = "the sleeper"
  jobrun.sleep(0)
  local found
  for _, task in ipairs(c.get("/api/tasks"):json().tasks) do
    if task.name == "the sleeper" then found = task end
  end
  lu.assertEquals({ found.status, found.operation }, { "waiting", "sleep" })
  lu.assertStrContains(found.at, "control_test.lua:")
  lu.assertTrue(found.depth >= 1 and found.since_s >= 0)
  t:cancel()
  pcall(t.await, t)
end

-- ---- the log ------------------------------------------------------------------------------------------

function test_the_tail_of_the_log()
  log.info "first"
  log.warn "second"
  log.error "third"
  local list = events_of(c.get("/api/logs", nil, { query = { tail = 2 }, pieces = 2 }))
  lu.assertEquals({ list[1].data.msg, list[2].data.msg, list[2].data.level }, { "second", "third", "error" })
  lu.assertEquals({ list[1].event, list[2].id }, { "log", list[1].id + 1 })
  list = c.get("/api/logs/recent", nil, { query = { tail = 2, level = "warn" } }):json().logs
  lu.assertEquals({ list[1].msg, list[2].msg, #list }, { "second", "third", 2 })
  lu.assertEquals(c.get("/api/logs", nil, { query = { level = "loud" } }).status, 422)
end

function test_new_events_follow()
  log.info "before"
  local reader = jobrun.spawn(function()
    return c.get("/api/logs", nil, { query = { tail = 1, job = "speaker" }, pieces = 2 })
  end)
  jobrun.sleep(0)
  log.info "not asked for"
  local job = jobrun.every(1).hour.named("speaker")(function(run)
    run:log "one"
    run:log "two"
  end)
  job:run_now()
  local r = reader:await(20)
  lu.assertEquals(r.headers["content-type"], "text/event-stream; charset=utf-8")
  local list = events_of(r)
  lu.assertEquals({ list[1].data.name, list[1].data.msg:match "%a+$", list[2].data.msg:match "%a+$" },
    { "speaker", "one", "two" })
  lu.assertEquals(type(list[1].data.run), "string")
end

function test_who_comes_back_goes_on_where_it_was()
  for i = 1, 5 do log.info("line %d", i) end
  local seq = log.recent(1)[1].seq
  local list = events_of(c.get("/api/logs", { ["last-event-id"] = tostring(seq - 2) }, { pieces = 2 }))
  lu.assertEquals({ list[1].data.msg, list[2].data.msg, list[2].id }, { "line 4", "line 5", seq })
  list = events_of(c.get("/api/logs", { ["last-event-id"] = "0" }, { pieces = 1 }))
  lu.assertTrue(list[1].event == "log" and list[1].id == 1 or list[1].event == "lost")
  for i = 1, 1100 do log.info("%d", i) end
  list = events_of(c.get("/api/logs", { ["last-event-id"] = "1" }, { pieces = 2 }))
  lu.assertEquals({ list[1].event, list[1].data.count, list[2].id }, { "lost", list[2].id - 2, list[1].data.count + 2 })
end

-- ---- changing -----------------------------------------------------------------------------------------

function test_run_pause_resume_and_cancel()
  local hold, ended = jobrun.event(), nil
  jobs.on("end", function(run) ended = run.outcome end)
  local job = jobrun.every(1).hour.named("worker")(function() hold:wait() end)
  local r = c.post "/api/jobs/worker/run"
  lu.assertEquals(r.status, 202)
  local id = r:json().run
  testing.wait_for(function() return c.get("/api/runs/" .. id):json().started ~= json.null end)
  lu.assertEquals(detail(c.post "/api/jobs/worker/run"), { 409, 'job "worker" has as many runs going as it may have' })
  lu.assertEquals({ c.post("/api/runs/" .. id .. "/cancel").status, r:json().run }, { 202, id })
  testing.wait_for(function() return ended end)
  lu.assertEquals({ ended, c.get("/api/runs/" .. id):json().outcome }, { "cancelled", "cancelled" })
  lu.assertEquals(detail(c.post("/api/runs/" .. id .. "/cancel")), { 404, ("no run %s goes on"):format(id) })
  r = c.post "/api/jobs/worker/pause"
  lu.assertEquals({ r.status, r:json().state, r:json().next_run, job.state }, { 200, "paused", json.null, "paused" })
  r = c.post "/api/jobs/worker/resume"
  lu.assertEquals({ r.status, r:json().state, job.state }, { 200, "scheduled", "scheduled" })
  lu.assertEquals(c.post("/api/jobs/nobody/pause").status, 404)
  lu.assertEquals(log.recent(1)[1].msg, 'control: job "worker" goes on, asked for by test')
end

function test_reading_changes_nothing()
  local job = jobrun.every(1).hour.named("still")(function() end)
  for _, method in ipairs { "get", "head", "put", "delete", "patch" } do
    for _, path in ipairs { "/api/jobs/still/run", "/api/jobs/still/pause", "/api/runs/1/cancel" } do
      local r = c.raw[method](c.raw, path, { headers = with_host { ["content-type"] = "application/json" } })
      lu.assertEquals({ r.status, r.headers.allow }, { 405, "OPTIONS, POST" }, method .. " " .. path)
    end
  end
  lu.assertEquals({ job.state, job.runs }, { "scheduled", 0 })
end

-- ---- who may ask --------------------------------------------------------------------------------------

function test_only_names_of_this_machine()
  for _, host in ipairs { "localhost", "LocalHost:1", "127.0.0.1:80", "[::1]", "[::1]:8080" } do
    lu.assertEquals(c.get("/healthz", { host = host }).status, 200, host)
  end
  for _, host in ipairs { "evil.example", "localhost.evil.example", "evil.example:80", "127.0.0.2", "localhost@evil", "[::2]",
    "localhost:80:90", "localhost, evil", "" } do
    lu.assertEquals(c.get("/api/jobs", { host = host }).status, 421, host)
  end
  local raw = control.app().instance
  for target, status in pairs { ["http://evil.example/healthz"] = 421, ["http://user@localhost/healthz"] = 421 } do
    lu.assertEquals(raw:respond({ method = "GET", target = target, headers = HOST }).status, status, target)
  end
  local r = raw:respond { method = "GET", target = "/healthz", headers = {} }
  lu.assertEquals(r.status, 421)
  local other = client { allowed_hosts = { "Ops.example" } }
  lu.assertEquals(other.get("/healthz", { host = "ops.EXAMPLE:8080" }).status, 200)
  lu.assertEquals(other.get("/healthz", { host = "localhost" }).status, 200)
  lu.assertEquals(other.get("/healthz", { host = "example" }).status, 421)
  lu.assertEquals(client({ any_host = true }).get("/healthz", { host = "10.0.0.1" }).status, 200)
end

function test_changes_only_from_our_own_pages()
  jobrun.every(1).hour.named("guarded")(function() end)
  local path = "/api/jobs/guarded/pause"
  for _, case in ipairs {
    { 200, {} },
    { 200, { ["sec-fetch-site"] = "same-origin", origin = "http://localhost:8080" } },
    { 200, { origin = "http://localhost:8080" } },
    { 403, { ["sec-fetch-site"] = "cross-site" } },
    { 403, { ["sec-fetch-site"] = "same-site" } },
    { 403, { ["sec-fetch-site"] = "none" } },
    { 403, { ["sec-fetch-site"] = "cross-site", origin = "http://localhost:8080" } },
    { 403, { origin = "http://localhost:9090" } },
    { 403, { origin = "http://evil.example" } },
    { 403, { origin = "null" } },
    { 200, { ["content-type"] = "application/json; charset=utf-8" } },
    { 415, { ["content-type"] = "" } },
    { 415, { ["content-type"] = "text/plain" } },
    { 415, { ["content-type"] = "application/x-www-form-urlencoded" } },
    { 415, { ["content-type"] = "application/jsonp" } },
    { 421, { host = "evil.example", origin = "http://evil.example", ["sec-fetch-site"] = "same-origin" } },
  } do
    lu.assertEquals(c.post(path, case[2]).status, case[1], json.encode(case[2]))
  end
end

function test_the_token()
  local secret = "s3cret-token"
  local guarded = client { token = secret }
  for _, value in ipairs { "", "Bearer wrong", "Bearer s3cret-toke", "Bearer s3cret-token2", "Basic s3cret-token" } do
    local r = guarded.get("/api/jobs", { authorization = value })
    lu.assertEquals({ r.status, r.headers["www-authenticate"] }, { 401, "Bearer" }, value)
    lu.assertEquals(guarded.post("/api/jobs/x/run", { authorization = value }).status, 401)
    lu.assertEquals(guarded.get("/metrics", { authorization = value }).status, 401)
  end
  lu.assertEquals(guarded.get("/api/jobs", { authorization = "Bearer " .. secret }).status, 200)
  lu.assertEquals(guarded.get("/healthz").status, 200)
  lu.assertEquals(guarded.get("/readyz").status, 200)
  lu.assertEquals(guarded.get("/healthz", { host = "evil.example" }).status, 421)
  local ok, e = pcall(control.app, { token = "two words" })
  lu.assertFalse(ok)
  lu.assertNotStrContains(e.message, "two words")
end

function test_read_only()
  local job = jobrun.every(1).hour.named("seen")(function() end)
  local viewer = client { read_only = true }
  lu.assertEquals(viewer.get("/api/jobs/seen").status, 200)
  lu.assertTrue(viewer.get("/api"):json().read_only)
  lu.assertEquals(detail(viewer.post "/api/jobs/seen/pause"), { 403, "nothing may be changed here (--read-only)" })
  lu.assertEquals(job.state, "scheduled")
end

function test_each_response_is_fenced_in()
  for _, r in ipairs { c.get "/api/jobs", c.get "/nowhere", c.get("/api", { host = "evil" }), c.post("/api/jobs/x/run"),
    client({ token = "x" }).get "/metrics", c.get("/api/logs", nil, { query = { tail = 1 }, pieces = 1 }) } do
    lu.assertStrContains(r.headers["content-security-policy"], "default-src 'none'")
    lu.assertStrContains(r.headers["content-security-policy"], "frame-ancestors 'none'")
    lu.assertEquals({ r.headers["x-content-type-options"], r.headers["referrer-policy"], r.headers["cache-control"] },
      { "nosniff", "no-referrer", "no-store" })
    lu.assertEquals({ r.headers["cross-origin-opener-policy"], r.headers["cross-origin-resource-policy"] },
      { "same-origin", "same-origin" })
    lu.assertNil(r.headers["access-control-allow-origin"])
  end
end

function test_it_is_apart_from_the_routes_of_the_script()
  local app = http.app()
  app.get("/mine", function() return "mine" end)
  lu.assertEquals(c.get("/mine").status, 404)
  lu.assertEquals(app.client_for_test():get("/api/jobs").status, 404)
  lu.assertEquals(c.get("/api"):json(), { api = 1, state = "ready", read_only = false })
end

function test_wrong_options_are_refused()
  for message, options in pairs {
    ['control: unknown option "tokn", did you mean \'token\'?'] = { tokn = "x" },
    ['control: allowed_hosts: expected names such as "ops.example", without a port, got "a:80"'] =
      { allowed_hosts = { "a:80" } },
  } do
    local ok, e = pcall(control.app, options)
    lu.assertFalse(ok)
    lu.assertEquals(e.message, message)
  end
end

for name, test in pairs(_G) do
  if type(name) == "string" and name:find "^test_" then
    _G[name] = function()
      test()
      jobs.clear()
    end
  end
end
