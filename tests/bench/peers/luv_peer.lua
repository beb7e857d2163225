--- luv_peer.lua BENCH [N]: the benches of ../bench.py on luv, with as small a scheduler as its
--- coroutines need.
--
-- SPDX-License-Identifier: MIT

local uv = require "luv"

local running, yield = coroutine.running, coroutine.yield

local function now()
  return uv.hrtime() / 1e9
end

local function out(values)
  local words = {}
  for key, value in pairs(values) do words[#words + 1] = ("%s=%.6g"):format(key, value) end
  print(table.concat(words, " "))
end

local function resume(co, ...)
  local ok, err = coroutine.resume(co, ...)
  if not ok then error(debug.traceback(co, err)) end
end

-- The ready queue: run once per turn of the loop; an active idle handle keeps the poll from blocking.
local queue, first, last = {}, 1, 0
local idle, prepare = uv.new_idle(), uv.new_prepare()

local function run_ready()
  local stop = last
  while first <= stop do
    local co = queue[first]
    queue[first] = nil
    first = first + 1
    resume(co)
  end
  if first <= last then return end
  first, last = 1, 0
  idle:stop()
  prepare:stop()
end

local function ready(co)
  if last == 0 then
    idle:start(function() end)
    prepare:start(run_ready)
  end
  last = last + 1
  queue[last] = co
end

-- A group of tasks that one task waits for.
local function spawn(group, fn, ...)
  group.n = (group.n or 0) + 1
  resume(coroutine.create(function(...)
    fn(...)
    group.n = group.n - 1
    if group.n == 0 and group.waiter then ready(group.waiter) end
  end), ...)
end

local function join(group)
  if group.n == 0 then return end
  group.waiter = running()
  yield()
end

local function sleep(ms)
  local co, timer = running(), uv.new_timer()
  timer:start(ms, 0, function()
    timer:close()
    resume(co)
  end)
  yield()
end

local function spread(us)
  table.sort(us)
  local n = #us
  return { min_us = us[1], p50_us = us[n // 2 + 1], p99_us = us[n * 99 // 100 + 1], max_us = us[n] }
end

local function rss()
  local file <close> = assert(io.open("/proc/self/statm"))
  local _, pages = file:read("n", "n")
  return pages * 4096
end

-- Calls on libuv's pool; the reply carries the caller's number, for luv passes nothing else back.
local function pool(fn)
  local callers, id = {}, 0
  local context = uv.new_work(fn, function(caller, ...)
    local co = callers[caller]
    callers[caller] = nil
    resume(co, ...)
  end)
  return function(...)
    id = id + 1
    callers[id] = running()
    context:queue(id, ...)
    return yield()
  end
end

local function add(id, a, b)
  return id, a + b
end

local function process()
  local co, handle = running(), nil
  handle = assert(uv.spawn("/bin/true", { args = {} }, function()
    handle:close()
    resume(co)
  end))
  yield()
end

local function run_processes(n, at_once)
  local left, begun, group = n, now(), {}
  for _ = 1, at_once do
    spawn(group, function()
      while left > 0 do
        left = left - 1
        process()
      end
    end)
  end
  join(group)
  local spent = now() - begun
  out { per_s = n / spent, ms = spent / n * 1e3 }
end

local benches = {}

function benches.spawn(n)
  local function nop() end
  local begun = now()
  for _ = 1, n // 1000 do
    local group = {}
    for _ = 1, 1000 do spawn(group, nop) end
    join(group)
  end
  out { per_s = n / (now() - begun) }
end

function benches.switch(n)
  local begun, group = now(), {}
  for _ = 1, 100 do
    spawn(group, function()
      for _ = 1, n // 100 do
        ready(running())
        yield()
      end
    end)
  end
  join(group)
  out { ns = (now() - begun) / n * 1e9 }
end

function benches.alive(n)
  local before, group = rss(), {}
  for _ = 1, n do spawn(group, sleep, 1000000000) end
  out { bytes = (rss() - before) / n }
  io.stdout:flush()
  os.exit(0)
end

function benches.sleep(n)
  local late, x, group, begun = {}, 12345, {}, now()
  local function one(ms)
    uv.update_time()
    local from = now()
    sleep(ms)
    late[#late + 1] = (now() - from) * 1e6 - ms * 1e3
  end
  for _ = 1, n do
    x = x * 16807 % 2147483647
    spawn(group, one, x % 1000)
  end
  join(group)
  local wall, cpu = now() - begun, os.clock()
  local values = spread(late)
  values.wall, values.cpu = wall, cpu
  out(values)
end

function benches.trip(n)
  local call = pool(add)
  for i = 1, 100 do call(1, i) end
  local begun = now()
  for i = 1, n do call(1, i) end
  out { us = (now() - begun) / n * 1e6 }
end

function benches.calls(n)
  local call, begun = pool(add), now()
  for _ = 1, n // 1000 do
    local group = {}
    for i = 1, 1000 do spawn(group, call, 1, i) end
    join(group)
  end
  out { per_s = n / (now() - begun) }
end

function benches.nine(n) -- runs with UV_THREADPOOL_SIZE=3
  local call = pool(function(id, ms)
    require("luv").sleep(ms)
    return id
  end)
  local begun, group = now(), {}
  for _ = 1, n do spawn(group, call, 300) end
  join(group)
  out { wall = now() - begun }
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
  local begun, count, rest, co = now(), 0, "", running()
  local stdout, handle = uv.new_pipe(), nil
  local function on_line(line)
    if #line > 0 then count = count + 1 end
  end
  handle = assert(uv.spawn(os.getenv("LINEPROD"), { args = { tostring(n) }, stdio = { nil, stdout, 2 } },
    function() handle:close() end))
  stdout:read_start(function(_, data)
    if not data then
      stdout:close()
      return resume(co)
    end
    local from = 1
    while true do
      local eol = data:find("\n", from, true)
      if not eol then break end
      on_line(rest .. data:sub(from, eol - 1))
      rest, from = "", eol + 1
    end
    rest = rest .. data:sub(from)
  end)
  yield()
  out { lines_per_s = count / (now() - begun), lines = count }
end

resume(coroutine.create(function() benches[arg[1]](tonumber(arg[2])) end))
uv.run()
