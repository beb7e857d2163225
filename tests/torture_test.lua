-- kill -9 at random moments, and what an outside witness saw: nothing acknowledged is lost, nothing ends twice, each start
-- has its row and its reason. JOBRUN_ROUNDS=200 for more than 20 of them (make torture).
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local core = require "jobrun.core.store"

local ROUNDS <const> = tonumber(os.getenv "JOBRUN_ROUNDS" or 20)
testing.limit = 60 + 2 * ROUNDS

local build = assert(os.getenv "JOBRUN_BUILD")

local function worker(dir, what)
  return jobrun.exec.start { build .. "/jobrun", "--quiet", "tests/torture_worker.lua", dir .. "/store.db", dir .. "/witness",
    what, check = false, grace = 1 }
end

local function read_witness(path)
  local seen = { pushed = {}, done = {}, starts = {}, ends = {}, drained = 0 }
  for line in io.lines(path) do
    local word, id, a, fence, reason = line:match "^(%a+) ?(%d*) ?(%d*) ?(%d*) ?(.*)$"
    id = math.tointeger(tonumber(id))
    if word == "pushed" then
      seen.pushed[id] = true
    elseif word == "done" then
      seen.done[id] = true
    elseif word == "start" then
      if seen.done[id] then lu.fail(("job %d starts after its end was acknowledged"):format(id)) end
      local starts = seen.starts[id] or {}
      seen.starts[id] = starts
      local start = { attempt = tonumber(a), fence = tonumber(fence), reason = reason }
      if #starts > 0 and start.fence <= starts[#starts].fence then
        lu.fail(("job %d: fence %d after %d"):format(id, start.fence, starts[#starts].fence))
      end
      starts[#starts + 1] = start
    elseif word == "end" then
      seen.ends[id] = (seen.ends[id] or 0) + 1
    elseif word == "overlap" then
      lu.fail(("job %d ran while a child of an earlier run was still there"):format(id))
    elseif word == "drained" then
      seen.drained = seen.drained + 1
    end
  end
  return seen
end

local function runs_by_fence(db, id)
  local runs, valid = {}, 0
  for _, run in ipairs(db:call(core.query, "runs", id, 10000)) do
    runs[run.fence] = run
    if run.outcome == 1 then valid = valid + 1 end
  end
  lu.assertEquals(valid, 1, "ends of job " .. id)
  return runs
end

local function judge(dir)
  local seen = read_witness(dir .. "/witness")
  local db = core.open(dir .. "/store.db")
  local extra, jobs = 0, 0
  for id in pairs(seen.pushed) do
    jobs = jobs + 1
    local row = db:call(core.query, "job", id)[1]
    lu.assertNotNil(row, "job " .. id .. " was acknowledged and is gone")
    lu.assertEquals(row.state, 4, "state of job " .. id)
  end
  for id, starts in pairs(seen.starts) do
    local runs = runs_by_fence(db, id)
    for i, start in ipairs(starts) do
      lu.assertNotNil(runs[start.fence], ("no row for start %d of job %d"):format(start.fence, id))
      if i > 1 then
        extra = extra + 1
        lu.assertNotEquals(start.reason, "first")
      end
    end
    lu.assertTrue((seen.ends[id] or 0) >= 1)
  end
  lu.assertTrue(seen.drained >= 1)
  db:close()
  return jobs, extra
end

function test_kill_at_random_moments_loses_nothing_and_ends_nothing_twice()
  local dir = testing.tmpdir()
  local seed = tonumber(os.getenv "JOBRUN_SEED" or os.time())
  math.randomseed(seed)
  for _ = 1, ROUNDS do
    local p = worker(dir, "push")
    jobrun.sleep(0.005 + math.random() * 0.15)
    os.execute("kill -9 " .. p.pid)
    lu.assertEquals(p:wait().signal, "SIGKILL", "seed " .. seed)
  end
  local began = jobrun.monotonic()
  local r = worker(dir, "drain"):wait()
  local took = jobrun.monotonic() - began
  lu.assertEquals(r.exit_code, 0, "seed " .. seed)
  local jobs, extra = judge(dir)
  io.stderr:write(("torture: %d rounds; %d jobs acknowledged; "):format(ROUNDS, jobs),
    ("%d extra starts, each with its reason; drained in %.2f s; seed %d\n"):format(extra, took, seed))
  lu.assertTrue(jobs > 0)
end
