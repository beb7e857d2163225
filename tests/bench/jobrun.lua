--- jobrun.lua BENCH [N | COMMAND...]: the benches of bench.py on jobrun, by its public words alone.
--
-- SPDX-License-Identifier: MIT

local jobrun = require "jobrun"
local spawn, scope, sleep, monotonic = jobrun.spawn, jobrun.scope, jobrun.sleep, jobrun.monotonic

local function out(values)
  local words = {}
  for key, value in pairs(values) do words[#words + 1] = ("%s=%.6g"):format(key, value) end
  print(table.concat(words, " "))
end

local function rss()
  local file <close> = assert(io.open("/proc/self/statm"))
  local _, pages = file:read("n", "n")
  return pages * 4096
end

-- The min, p50, p99 and max, in microseconds, of seconds; added to `values`.
local function with_spread(values, seconds)
  table.sort(seconds)
  local n = #seconds
  if n == 0 then return values end
  values.min_us, values.max_us = seconds[1] * 1e6, seconds[n] * 1e6
  values.p50_us, values.p99_us = seconds[n // 2 + 1] * 1e6, seconds[n * 99 // 100 + 1] * 1e6
  return values
end

local benches = {}

function benches.spawn(n)
  local function nop() end
  local begun = monotonic()
  for _ = 1, n // 1000 do
    scope(function()
      for _ = 1, 1000 do spawn(nop) end
    end)
  end
  out { per_s = n / (monotonic() - begun) }
end

function benches.switch(n)
  local yield = jobrun.yield
  local begun = monotonic()
  scope(function()
    for _ = 1, 100 do
      spawn(function()
        for _ = 1, n // 100 do yield() end
      end)
    end
  end)
  out { ns = (monotonic() - begun) / n * 1e9 }
end

function benches.alive(n)
  local before, asleep = rss(), 0
  local function one()
    asleep = asleep + 1
    sleep(1e6)
  end
  for _ = 1, n do spawn(one) end
  while asleep < n do jobrun.yield() end
  out { bytes = (rss() - before) / n }
  os.exit(0)
end

function benches.sleep(n)
  local late, x = {}, 12345
  local function one(duration)
    local begun = monotonic()
    sleep(duration)
    late[#late + 1] = monotonic() - begun - duration
  end
  local begun = monotonic()
  scope(function()
    for _ = 1, n do
      x = x * 16807 % 2147483647
      spawn(one, x % 1000 / 1000)
    end
  end)
  out(with_spread({ wall = monotonic() - begun, cpu = os.clock() }, late))
end

local function add(a, b)
  return a + b
end

function benches.trip(n)
  local pool <close> = jobrun.executor(4)
  for i = 1, 100 do pool:call(add, 1, i) end
  local begun = monotonic()
  for i = 1, n do pool:call(add, 1, i) end
  out { us = (monotonic() - begun) / n * 1e6 }
end

-- 1000 tasks, each with one call in flight.
function benches.calls(n)
  local pool <close> = jobrun.executor(4)
  local begun = monotonic()
  local function caller()
    for i = 1, n // 1000 do pool:call(add, 1, i) end
  end
  scope(function()
    for _ = 1, 1000 do spawn(caller) end
  end)
  out { per_s = n / (monotonic() - begun) }
end

-- The same by a task for each call, 1000 at a time.
function benches.calls_spawned(n)
  local pool <close> = jobrun.executor(4)
  local begun = monotonic()
  for _ = 1, n // 1000 do
    scope(function()
      for i = 1, 1000 do pool:spawn(add, 1, i) end
    end)
  end
  out { per_s = n / (monotonic() - begun) }
end

function benches.nine(n)
  local pool <close> = jobrun.executor(3)
  local begun = monotonic()
  scope(function()
    for _ = 1, n do pool:spawn(function() sleep(0.3) end) end -- luacheck: ignore
  end)
  out { wall = monotonic() - begun }
end

-- The first one pays for what stands ready then: the warden is forked. It is told beside.
local function run_processes(n, at_once)
  local exec, left, begun = jobrun.exec, n, monotonic()
  exec { "/bin/true" }
  local first = monotonic() - begun
  begun = monotonic()
  scope(function()
    for _ = 1, at_once do
      spawn(function()
        while left > 0 do
          left = left - 1
          exec { "/bin/true" }
        end
      end)
    end
  end)
  local spent = monotonic() - begun
  out { per_s = n / spent, ms = spent / n * 1e3, first_ms = first * 1e3 }
end

function benches.exec(n)
  run_processes(n, 1)
end

function benches.exec8(n)
  run_processes(n, 8)
end

function benches.exec_1gb(n)
  local ballast = {}
  for i = 1, 64 do ballast[i] = ("x"):rep(1 << 24) end
  run_processes(n, 1)
  return ballast
end

function benches.lines(n)
  local begun, count = monotonic(), 0
  local child = jobrun.exec.start { jobrun.env.LINEPROD, tostring(n) }
  for line in child:lines() do
    if #line > 0 then count = count + 1 end
  end
  child:wait()
  out { lines_per_s = count / (monotonic() - begun), lines = count }
end

function benches.lines_callback(n)
  local begun, count = monotonic(), 0
  jobrun.exec {
    jobrun.env.LINEPROD, tostring(n),
    on_line = function(line)
      if #line > 0 then count = count + 1 end
    end,
  }
  out { lines_per_s = count / (monotonic() - begun), lines = count }
end

-- Follows a stand-in for ffmpeg by its report.
local function follow(program, on_report)
  local output = os.tmpname()
  jobrun.ffmpeg {
    bin = program, input = { raw = "anything" }, output = output, overwrite = true,
    on_report = on_report,
  }
  os.remove(output)
end

function benches.report(program)
  local latencies = {}
  follow(program, function(line)
    local at = monotonic()
    local ns = line:match("^T %d+ (%d+)")
    if ns then latencies[#latencies + 1] = at - ns / 1e9 end
  end)
  out(with_spread({ lines = #latencies, cpu = os.clock() }, latencies))
end

function benches.storm(program)
  local count = 0
  follow(program, function() count = count + 1 end)
  out { lines = count, cpu = os.clock() }
end

function benches.encode(source, output)
  local lines = 0
  jobrun.ffmpeg {
    input = { raw = source, f = "lavfi", re = true }, output = output, overwrite = true,
    vcodec = "libx264", preset = "ultrafast", threads = 1,
    on_report = function() lines = lines + 1 end,
  }
  out { lines = lines }
end

-- n runs of a job, as the peers have them too.
local function documents(n)
  local runs = {}
  for i = 1, n do
    runs[i] = {
      id = i, job = "encode-" .. i, started = "2026-11-26T10:00:00.123Z", duration = i / 7, status = "ok", exit_code = 0,
      tags = { "nightly", "archive", "av1" }, progress = { frame = i * 25, fps = 29.97, speed = 1.5, done = true },
      log = 'line one\nline "two" café 日本語 /srv/media/in.mp4 -> /srv/media/out.mkv',
    }
  end
  return runs
end

-- MB of `bytes` a second, the best of some times.
local function rate(bytes, fn, ...)
  local best = math.huge
  for _ = 1, 10 do
    collectgarbage()
    local begun = monotonic()
    fn(...)
    best = math.min(best, monotonic() - begun)
    jobrun.yield()
  end
  return bytes / best / 1e6
end

-- A store in a new file.
local function new_store()
  local path = os.tmpname()
  os.remove(path)
  jobrun.store("sqlite:" .. path)
  return path
end

local function remove_store(path)
  require("jobrun.store").close()
  for _, suffix in ipairs { "", "-wal", "-shm", ".d/lock" } do os.remove(path .. suffix) end
  os.remove(path .. ".d")
end

-- Durable job cycles for 3 s: each of n producers pushes a job (waits until it is on disk) and then waits until it was
-- claimed, run, and its end is on disk. The times are those of one step: the push, half of the rest.
function benches.queue(n)
  local path, steps, cycles = new_store(), {}, 0
  local q = jobrun.queue.open("bench", { concurrency = n })
  q:handle(function() end)
  local begun = monotonic()
  scope(function()
    for _ = 1, n do
      spawn(function()
        while monotonic() < begun + 3 do
          local t0 = monotonic()
          local id = q:push { file = "/srv/in/0001.mp4" }
          local t1 = monotonic()
          jobrun.queue.wait(id)
          steps[#steps + 1], steps[#steps + 2] = t1 - t0, (monotonic() - t1) / 2
          cycles = cycles + 1
        end
      end)
    end
  end)
  out(with_spread({ per_s = cycles / (monotonic() - begun) }, steps))
  remove_store(path)
end

-- What a claim costs, its share of the commits included, with n jobs of better priority that are due next week.
function benches.claim(n)
  local path, core = new_store(), require "jobrun.core.store"
  local db = require("jobrun.store").current()
  local function push(priority, at)
    return db:call(core.enqueue, db:id(), "q", "job", priority, at, 10, nil, "{}", "{}", nil, nil)
  end
  local week = math.floor((jobrun.now() + 7 * 86400) * 1000)
  for _ = 1, n // 1000 do
    scope(function()
      for _ = 1, 1000 do spawn(push, -1, week) end
    end)
  end
  local function timed(rounds, fn)
    local begun = monotonic()
    scope(function()
      for _ = 1, rounds do spawn(fn) end
    end)
    return monotonic() - begun
  end
  timed(2000, function() push(0) end)
  local took = timed(2000, function() db:call(core.claim, "q", 1) end)
  out { claim_us = took / 2000 * 1e6 }
  remove_store(path)
end

function benches.json(n)
  local json = jobrun.json
  local runs = documents(n)
  local text = json.encode(runs)
  out { decode = rate(#text, json.decode, text), encode = rate(#text, json.encode, runs) }
end

-- A checked JSON request to its response, without a socket; and a text.
function benches.route(n)
  local http = require "jobrun.http"
  local t = http.t
  local order = t.object { id = t.int, name = t.string, qty = t.int, price = t.number, tags = t.list(t.string) }
  http.get("/hello", function() return "Hello, World!" end)
  http.post("/json", { body = order }, function(req)
    local body = req.body
    return { id = body.id, name = body.name, ok = true, total = body.qty * body.price, tags = body.tags }
  end)
  http.client_for_test()
  local function us(method, target, body)
    local headers = { host = "bench", ["content-type"] = "application/json" }
    local begun = os.clock()
    for i = 1, n do
      http.instance:respond { method = method, target = target, headers = headers, raw_body = body }
      if i % 100 == 0 then jobrun.yield() end
    end
    return (os.clock() - begun) / n * 1e6
  end
  local body = '{"id":42,"name":"transcode","qty":3,"price":9.99,"tags":["a","b","c"]}'
  out { hello = us("GET", "/hello"), json = us("POST", "/json", body) }
end

-- ---- the scheduler --------------------------------------------------------------------------------

local function nothing() end

function benches.jobs_add(n)
  local every = jobrun.every
  local before, begun = rss(), monotonic()
  for _ = 1, n do every(1).hour(nothing) end
  out { add_s = (monotonic() - begun) * 1e5 / n, bytes = (rss() - before) / n }
  os.exit(0)
end

-- The CPU of n starts: a thousand jobs, all due at once again and again.
function benches.jobs_dispatch(n)
  local left, begun = n, nil
  local function one()
    begun = begun or os.clock()
    left = left - 1
    if left ~= 0 then return end
    out { us = (os.clock() - begun) / n * 1e6 }
    os.exit(0)
  end
  for _ = 1, 1000 do jobrun.every(0.02).seconds(one) end
end

-- n jobs every second, their phases spread over it; drift: how far the last due time is off the grid of the first.
function benches.jobs_late(n)
  local late, first, last = {}, {}, {}
  for i = 1, n do
    jobrun.every(1).second.from(1 + i / n)(function(run)
      late[#late + 1] = run.late
      first[i] = first[i] or run.due
      last[i] = run.due
    end)
  end
  sleep(4.5)
  local drift = 0
  for i, due in pairs(last) do
    local off = due - first[i]
    drift = math.max(drift, math.abs(off - math.floor(off + 0.5)))
  end
  late = with_spread({}, late)
  out { p50_us = late.p50_us, p99_us = late.p99_us, drift_us = drift * 1e6 }
  os.exit(0)
end

function benches.cron_next(n)
  local rules = require "jobrun.core.rule"
  local zone = rules.zone "America/New_York"
  local function speed(line, times)
    local rule = rules.cron(line)
    local begin <const> = 1735689600 * 1000000000
    rules.bind(rule, zone, nil, nil, begin, false)
    local next_of, at = rules.next, begin
    local begun = monotonic()
    for _ = 1, times do at = next_of(rule, at) or begin end -- the calendar ends with the year 9999
    return times / (monotonic() - begun)
  end
  out { per_s = speed("*/5 * * * *", n), rare_us = 1e6 / speed("0 0 29 2 1", n // 10) }
end

benches[arg[1]](tonumber(arg[2]) or arg[2], arg[3])
