-- store.lua [FILE] [SECONDS] [IN_FLIGHT]: durable job cycles a second, awaited: each of IN_FLIGHT producers pushes a job
-- (waits until it is on disk), and goes on when the job was claimed, run and its end is on disk. Prints
-- "CYCLES_PER_S P50_MS P99_MS", the times those of a whole cycle's steps (push, and push's return to the job's end).
local path, seconds, in_flight = arg[1] or os.tmpname(), tonumber(arg[2] or 3), tonumber(arg[3] or 100)
os.execute(("rm -rf '%s' '%s-wal' '%s-shm' '%s.d'"):format(path, path, path, path))
store("sqlite:" .. path)
local q = queue.open("bench", { concurrency = in_flight })
local cycles, steps = 0, {}
q:handle(function() end)
local stop = monotonic() + seconds
local began = monotonic()
scope(function()
  for _ = 1, in_flight do
    spawn(function()
      while monotonic() < stop do
        local t0 = monotonic()
        local id = q:push { file = "/srv/in/0001.mp4" }
        local t1 = monotonic()
        steps[#steps + 1] = t1 - t0
        queue.wait(id)
        steps[#steps + 1] = (monotonic() - t1) / 2 -- claim, finish
        cycles = cycles + 1
      end
    end)
  end
end)
local took = monotonic() - began
table.sort(steps)
local function pct(p) return steps[math.max(1, math.ceil(#steps * p))] * 1000 end
print(("%.0f %.2f %.2f"):format(cycles / took, pct(0.5), pct(0.99)))
os.exit(0)
