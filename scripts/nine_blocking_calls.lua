-- Nine blocking calls, three at a time. asyncio: a ThreadPoolExecutor(max_workers=3) and gather.
-- 0.3 s each: about 0.9 s in all.

local function slow(i)
  sleep(0.3) -- in a worker thread: blocks it
  return i * i
end

local began = monotonic()
local pool <close> = executor(3)
local tasks = {}
for i = 1, 9 do tasks[i] = pool:spawn(slow, i) end
for i = 1, 9 do print(i, tasks[i]:await()) end
print(("%.1f s"):format(monotonic() - began))
