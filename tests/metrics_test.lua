-- Metrics: what scripts declare, what jobrun counts, and both as text, checked by promtool.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program
local helper = dofile "tests/jobs_helper.lua"
local metrics, exec = jobrun.metrics, jobrun.exec
local refuses = helper.refuses

local OPEN = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"

local count = 0
local function fresh(ending)
  count = count + 1
  return ("test_%d%s"):format(count, ending or "")
end

-- The lines that begin with `start`.
local function lines_of(start, accept)
  local list = {}
  for line in metrics.text(accept):gmatch "[^\n]+" do
    if line:sub(1, #start) == start then list[#list + 1] = line end
  end
  return list
end

-- The value of one series.
local function value(series)
  local line = lines_of(series .. " ")[1]
  return line and tonumber(line:match " (%S+)$")
end

-- ---- what scripts declare ----------------------------------------------------------------------------

function test_counter_gauge_and_histogram()
  metrics.counter("frames_total", "Frames encoded."):add(25, { codec = "av1" })
  metrics.counter("frames_total"):add(0.5, { codec = "av1" })
  metrics.counter("frames_total"):add(nil, { codec = "h264", host = "a" })
  lu.assertEquals(lines_of "frames_total", { 'frames_total{codec="av1"} 25.5', 'frames_total{codec="h264",host="a"} 1' })
  lu.assertEquals(lines_of "# HELP frames", { "# HELP frames_total Frames encoded." })
  local g = metrics.gauge("depth", "How deep.")
  g:set(3)
  g:add(-5)
  g:set(1 / 3, { pool = 7 })
  lu.assertEquals(lines_of "depth", { "depth -2", 'depth{pool="7"} 0.33333333333333331' })
  local h = metrics.histogram("wait_seconds", "Waits.", { buckets = { 0.1, 1 } })
  for _, v in ipairs { 0.1, 0.5, 0.7, 3 } do h:observe(v, { q = "x" }) end
  lu.assertEquals(lines_of "wait_seconds", {
    'wait_seconds_bucket{q="x",le="0.1"} 1', 'wait_seconds_bucket{q="x",le="1.0"} 3', 'wait_seconds_bucket{q="x",le="+Inf"} 4',
    'wait_seconds_sum{q="x"} 4.3', 'wait_seconds_count{q="x"} 4' })
end

function test_a_series_may_be_removed()
  local name = fresh()
  local g = metrics.gauge(name, "x")
  g:set(1, { a = "1" })
  g:set(2, { a = "2" })
  g:remove { a = "1" }
  lu.assertEquals(lines_of(name .. "{"), { name .. '{a="2"} 2' })
  g:set(3, { a = "1" })
  lu.assertEquals(#lines_of(name .. "{"), 2)
end

function test_labels_are_escaped()
  local name = fresh "_total"
  metrics.counter(name, 'a "help"\nof \\ two lines'):add(1, { l = 'a"b\\c\nd\255\1' })
  lu.assertEquals(lines_of(name), { name .. '{l="a\\"b\\\\c\\nd\u{fffd}\1"} 1' })
  lu.assertEquals(lines_of("# HELP " .. name), { "# HELP " .. name .. ' a "help"\\nof \\\\ two lines' })
  lu.assertEquals(lines_of("# HELP " .. name:gsub("_total", ""), OPEN)[1]:match " a.*", ' a \\"help\\"\\nof \\\\ two lines')
end

function test_wrong_use_is_refused()
  refuses(function() metrics.counter("9x", "h") end,
    'metrics.counter: expected a name of letters, digits and _, such as "frames_total", got "9x"')
  refuses(function() metrics.counter("frames", "h") end, "metrics.counter: a counter's name ends in _total: write frames_total")
  refuses(function() metrics.gauge("x_total", "h") end, "metrics.gauge: a gauge's name does not end in _total, got x_total")
  refuses(function() metrics.gauge("jobrun_x", "h") end,
    "metrics.gauge: names that begin with jobrun_ are not for scripts, got jobrun_x")
  refuses(function() metrics.gauge("nohelp") end, "metrics.gauge: nohelp needs a sentence of help, got nil")
  refuses(function() metrics.gauge("o", "h", { label = {} }) end,
    "metrics.gauge: unknown option \"label\", did you mean 'labels'?")
  refuses(function() metrics.histogram("b", "h", { buckets = { 2, 1 } }) end,
    "metrics.histogram: the buckets must rise, got 1 after 2")
  local name = fresh "_total"
  local c = metrics.counter(name, "h", { labels = { "codec" } })
  refuses(function() c:add(-1, { codec = "a" }) end, ("metric %s: a counter only grows, got -1"):format(name))
  refuses(function() c:add("x", { codec = "a" }) end, ('metric %s: add expected a number, got "x"'):format(name))
  refuses(function() c:add(0 / 0, { codec = "a" }) end, ("metric %s: add expected a number, got %s"):format(name, 0 / 0))
  refuses(function() c:add(1, { codecs = "a" }) end,
    ([[metric %s: unknown label "codecs", did you mean 'codec'?]]):format(name))
  refuses(function() c:add(1) end, ("metric %s: label codec is missing"):format(name))
  refuses(function() c:add(1, { codec = {} }) end, ("metric %s: label codec: expected a string, got table"):format(name))
  refuses(function() c:add(1, "av1") end, ('metric %s: expected a table of labels, got "av1"'):format(name))
  refuses(function() metrics.gauge(name:gsub("_total", ""), "h") end,
    ("metrics.gauge: %s is a counter already"):format((name:gsub("_total", ""))))
  refuses(function() metrics.counter(name, "other") end,
    ('metrics.counter: %s was declared with another help text: "h"'):format(name))
  local h = metrics.histogram(fresh(), "h")
  lu.assertStrContains(helper.usage_of(function() h:observe(1, { le = "1" }) end), "the label le is the histogram's own")
  lu.assertStrContains(helper.usage_of(function() h:observe(1, { __x = "1" }) end), 'do not begin with __; got "__x"')
end

function test_a_metric_has_a_bounded_number_of_series()
  local name = fresh "_total"
  local c = metrics.counter(name, "h", { max_series = 3 })
  jobrun.log.recent(0)
  for i = 1, 10 do c:add(1, { id = i }) end
  c:add(1, { id = 2 })
  lu.assertEquals(#lines_of(name .. "{"), 3)
  lu.assertEquals(value(name .. '{id="2"}'), 2)
  lu.assertEquals(value(('jobrun_metrics_dropped_total{metric="%s"}'):format(name)), 7)
  local said = jobrun.log.recent(1)[1]
  lu.assertEquals(said.level, "warn")
  lu.assertStrContains(said.msg, ("metric %s has 3 series, which is its limit"):format(name))
end

-- ---- the two formats ----------------------------------------------------------------------------------

function test_openmetrics_where_it_is_preferred()
  local name = fresh()
  metrics.counter(name .. "_total", "h"):add(2)
  local body, kind = metrics.text(OPEN)
  lu.assertEquals(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8")
  lu.assertEquals(body:sub(-6), "# EOF\n")
  lu.assertStrContains(body, ("# TYPE %s counter\n%s_total 2\n%s_created 1"):format(name, name, name))
  body, kind = metrics.text()
  lu.assertEquals(kind, "text/plain; version=0.0.4; charset=utf-8")
  lu.assertStrContains(body, ("# TYPE %s_total counter\n%s_total 2\n"):format(name, name))
  lu.assertNil(body:find("_created", 1, true) or body:find("# EOF", 1, true))
  for accept, is_open in pairs {
    ["*/*"] = false, ["text/plain"] = false, ["application/openmetrics-text"] = true,
    ["application/openmetrics-text; version=2.0.0"] = false, ["application/openmetrics-text;q=0"] = false,
    ["application/openmetrics-text;version=1.0.0;q=0.2, text/plain;q=0.9"] = false,
  } do
    lu.assertEquals(select(2, metrics.text(accept)):find "openmetrics" ~= nil, is_open, accept)
  end
end

-- No family twice, no series twice, each sample below its family: what a strict reader asks for.
function test_openmetrics_keeps_families_together()
  local seen, family, kind = {}, nil, nil
  jobrun.every(3600).seconds.named("hourly")(function() end)
  local body = metrics.text(OPEN)
  for line in body:gmatch "[^\n]+" do
    local help = line:match "^# HELP (%S+)"
    if help then
      lu.assertNil(seen["# " .. help], help)
      seen["# " .. help], family = true, help
    elseif line:find "^# TYPE" then
      lu.assertEquals(line:match "^# TYPE (%S+)", family)
      kind = line:match "(%S+)$"
    elseif line ~= "# EOF" then
      local series = line:match "^(.-) %S+$"
      local suffix = series:match("^[%w_:]+"):sub(#family + 1)
      lu.assertEquals(series:sub(1, #family), family)
      lu.assertNil(seen[series], series)
      seen[series] = true
      local allowed = { counter = " _total _created ", gauge = "  ", histogram = " _bucket _sum _count _created " }
      lu.assertStrContains(allowed[kind], " " .. suffix .. " ")
    end
  end
end

-- A script with a bit of everything prints its metrics.
local function printed(accept)
  local path = testing.tmpdir() .. "/script.lua"
  jobrun.fs.write(path, [[
    metrics.counter("frames_total", "Frames \"encoded\"."):add(1, {codec = 'a"\\\n'})
    metrics.gauge("depth", "How deep."):set(1)
    metrics.histogram("wait_seconds", "Waits."):observe(2)
    every(0.001).seconds.times(1)(function() end)
    every(1).hour.named('strange "\\ \t\n ü')(function() end)
    every(0.001).seconds.named("bad").times(50)(function() error "x" end)
    sleep(0.02)
    io.write((metrics.text(arg[1])))
    os.exit(0)
  ]])
  return exec { program, "--quiet", path, accept }.stdout
end

function test_promtool_has_no_complaint()
  local text = printed()
  lu.assertStrContains(text, 'jobrun_job_running{name="strange \\"\\\\ \t\\n ü"} 0')
  local r = exec { "promtool", "check", "metrics", stdin = text, check = false }
  lu.assertEquals({ r.exit_code, r.stdout, r.stderr }, { 0, "", "" })
  r = exec { "promtool", "check", "metrics", stdin = text .. "\nbroken{ 1\n", check = false } -- it does look
  lu.assertNotEquals(r.exit_code, 0)
end

-- The parser of the format's own reference implementation (promtool reads the older format alone).
local PARSE = [[
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for s in family.samples:
        print(family.type, s.name, sorted(s.labels.items()), s.value)
]]

function test_the_reference_parser_reads_openmetrics()
  local out = exec { "/usr/bin/python3", "-c", PARSE, stdin = printed(OPEN) }.stdout
  lu.assertStrContains(out, [[counter frames_total [('codec', 'a"\\\n')] 1]])
  lu.assertStrContains(out, "histogram wait_seconds_bucket [('le', '2.5')] 1")
  lu.assertStrContains(out, "counter jobrun_job_runs_total [('name', 'bad'), ('outcome', 'failure')] ")
  lu.assertStrContains(out, "gauge depth [] 1")
end

-- ---- what jobrun counts ---------------------------------------------------------------------------------

function test_runs_by_their_outcome()
  local jobs, name = jobrun.jobs, 'a "job"'
  local label = 'name="a \\"job\\""'
  metrics.text()
  local n = 0
  local job = jobrun.every(1).hour.named(name).timeout(0.01).retry { n = 2, backoff = 0.001, cross = true } (function()
    n = n + 1
    if n == 2 then error "no" end -- tried again, and well then
    if n >= 4 then jobrun.sleep(60) end -- times out, twice
  end)
  for _ = 1, 3 do
    lu.assertTrue(job:run_now())
    testing.wait_for(function() return job.state == "scheduled" end)
  end
  local runs = ("jobrun_job_runs_total{%s,outcome="):format(label)
  lu.assertEquals({ value(runs .. '"success"}'), value(runs .. '"timeout"}'), value(runs .. '"failure"}'),
    value(runs .. '"cancelled"}') }, { 2, 1, 0, 0 })
  lu.assertEquals(value(("jobrun_job_retries_total{%s}"):format(label)), 2)
  lu.assertEquals(value(("jobrun_job_run_duration_seconds_count{%s}"):format(label)), 3)
  lu.assertEquals(value(('jobrun_job_run_duration_seconds_bucket{%s,le="+Inf"}'):format(label)), 3)
  lu.assertEquals(value(("jobrun_job_start_delay_seconds_count{%s}"):format(label)), 3)
  lu.assertEquals(value(("jobrun_job_running{%s}"):format(label)), 0)
  lu.assertAlmostEquals(value(("jobrun_job_last_success_timestamp_seconds{%s}"):format(label)), jobrun.now(), 60)
  lu.assertAlmostEquals(value(("jobrun_job_next_run_timestamp_seconds{%s}"):format(label)), job.next_run, 0.002)
  job:pause()
  lu.assertEquals(value(("jobrun_job_paused{%s}"):format(label)), 1)
  lu.assertNil(value(("jobrun_job_next_run_timestamp_seconds{%s}"):format(label)))
  jobs.clear()
  lu.assertEquals(lines_of(("jobrun_job_running{%s}"):format(label)), {}) -- the series go with their job
end

function test_figures_of_the_runtime()
  local before = value 'jobrun_log_lines_total{level="warn"}'
  jobrun.log.warn "counted"
  lu.assertEquals(value 'jobrun_log_lines_total{level="warn"}', before + 1)
  local children = value "jobrun_children"
  local h = exec.start { "sleep", "60" }
  lu.assertEquals(value "jobrun_children", children + 1)
  h:cancel()
  pcall(h.wait, h)
  local turns = value "jobrun_loop_delay_seconds_count"
  jobrun.sleep(0.001)
  lu.assertTrue(value "jobrun_loop_delay_seconds_count" > turns)
  local stop = jobrun.monotonic() + 0.02
  while jobrun.monotonic() < stop do end
  jobrun.sleep(0.001)
  local all, short = value "jobrun_loop_delay_seconds_count", value 'jobrun_loop_delay_seconds_bucket{le="0.01"}'
  lu.assertTrue(short < all, "a turn of 20 ms is in no bucket of 10 ms")
  lu.assertTrue(value "jobrun_lua_heap_bytes" > 50000)
  lu.assertTrue(value "process_open_fds" > 3 and value "process_resident_memory_bytes" > 1e6)
  lu.assertTrue(value "process_cpu_seconds_total" > 0)
  local uptime = jobrun.now() - value "process_start_time_seconds"
  lu.assertTrue(uptime > 0 and uptime < 600, uptime)
  lu.assertStrMatches(lines_of "jobrun_build_info"[1], 'jobrun_build_info{version="[%d.]+",lua="5%.4%.%d+",libuv="1[%d.]+"} 1')
end

function test_requests_by_route_and_status()
  local app = require("jobrun.http").app()
  app.get("/items/{id:int}", function(req)
    if req.params.id == 0 then app.fail(404) end
    return "x"
  end)
  local c = app.client_for_test()
  for _, path in ipairs { "/items/1", "/items/2", "/items/0", "/items/x", "/nowhere/1", "/nowhere/2" } do c:get(path) end
  c:request("BREW", "/items/1")
  lu.assertEquals(lines_of "jobrun_http_requests_total", {
    'jobrun_http_requests_total{method="GET",route="",status="404"} 2',
    'jobrun_http_requests_total{method="GET",route="/items/{id:int}",status="200"} 2',
    'jobrun_http_requests_total{method="GET",route="/items/{id:int}",status="404"} 1',
    'jobrun_http_requests_total{method="GET",route="/items/{id:int}",status="422"} 1',
    'jobrun_http_requests_total{method="other",route="",status="405"} 1' })
  lu.assertEquals(value 'jobrun_http_request_duration_seconds_count{route="/items/{id:int}"}', 4)
end

function test_ffmpeg_runs_tell_how_far_they_are()
  local ff = dofile "tests/ffmpeg_helper.lua"
  local dir = testing.tmpdir()
  local h = jobrun.ffmpeg.start { bin = ff.fakeff, input = { raw = "-" }, duration = 10,
    env = { FAKEFF = "progress out_time_us=4000000\\nspeed=2x\\nprogress=continue\\n\nwait\n" },
    output = { path = dir .. "/a.mkv", f = "null" } }
  testing.wait_for(function() return #lines_of 'jobrun_ffmpeg_speed_ratio{name="a.mkv"' == 1 end, 20)
  lu.assertStrMatches(lines_of "jobrun_ffmpeg_progress_ratio{"[1], '.*{name="a.mkv",pid="%d+"} 0.4')
  h:cancel()
  pcall(h.wait, h)
  lu.assertEquals(lines_of "jobrun_ffmpeg_progress_ratio{", {})
end

helper.prepare_tests()
