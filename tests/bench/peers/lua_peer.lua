--- lua_peer.lua BENCH [N]: bare coroutines of the stock interpreter, without any event loop.
--
-- SPDX-License-Identifier: MIT

local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield

local function rss()
  local file <close> = assert(io.open("/proc/self/statm"))
  local _, pages = file:read("n", "n")
  return pages * 4096
end

local benches = {}

function benches.spawn(n)
  local function nop() end
  local begun = os.clock()
  for _ = 1, n do resume(create(nop)) end
  print(("per_s=%.6g"):format(n / (os.clock() - begun)))
end

function benches.switch(n)
  local tasks = {}
  for i = 1, 100 do
    tasks[i] = create(function()
      for _ = 1, n // 100 do yield() end
    end)
  end
  local begun = os.clock()
  for _ = 1, n // 100 do
    for i = 1, 100 do resume(tasks[i]) end
  end
  print(("ns=%.6g"):format((os.clock() - begun) / n * 1e9))
end

function benches.alive(n)
  local tasks, before = {}, rss()
  local function wait()
    yield()
  end
  for i = 1, n do
    tasks[i] = create(wait)
    resume(tasks[i])
  end
  print(("bytes=%.6g"):format((rss() - before) / #tasks))
end

benches[arg[1]](tonumber(arg[2]))
