-- One contract for every call that suspends: cancelled before it, during it and after it; a deadline
-- passes; the task that owns it fails. Each row is run through all five.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local spawn, sleep = jobrun.spawn, jobrun.sleep

local FOREVER = 600

-- name → a function that makes {call = waits for ever, short = ends soon with "done"}
local CALLS = {}

function CALLS.sleep()
  return { call = function() sleep(FOREVER) end, short = function() sleep(0.001) return "done" end }
end

function CALLS.await()
  local endless = spawn(sleep, FOREVER)
  return {
    call = function() endless:await() end,
    short = function() return spawn(function() sleep(0.001) return "done" end):await() end,
    close = function() endless:cancel() end,
  }
end

function CALLS.timeout()
  return {
    call = function() jobrun.timeout(FOREVER, sleep, FOREVER) end,
    short = function() return jobrun.timeout(FOREVER, function() sleep(0.001) return "done" end) end,
  }
end

function CALLS.scope()
  return {
    call = function() jobrun.scope(function() spawn(sleep, FOREVER) end) end,
    short = function() return jobrun.scope(function() spawn(sleep, 0.001) return "done" end) end,
  }
end

function CALLS.all()
  return {
    call = function() jobrun.all { function() sleep(FOREVER) end } end,
    short = function() return (jobrun.all { function() sleep(0.001) return "done" end }) end,
  }
end

function CALLS.race()
  return {
    call = function() jobrun.race { function() sleep(FOREVER) end, function() sleep(FOREVER) end } end,
    short = function()
      return (jobrun.race { function() sleep(0.001) return "done" end, function() sleep(FOREVER) end })
    end,
  }
end

function CALLS.map()
  return {
    call = function() jobrun.map({ 1, 2 }, function() sleep(FOREVER) end, { limit = 1 }) end,
    short = function() return jobrun.map({ "done" }, function(x) sleep(0.001) return x end)[1] end,
  }
end

function CALLS.channel_get()
  local empty, soon = jobrun.channel(), jobrun.channel()
  return {
    call = function() empty:get() end,
    short = function()
      spawn(function() soon:put "done" end)
      return soon:get()
    end,
  }
end

function CALLS.channel_put()
  local full = jobrun.channel()
  return {
    call = function() full:put(1) end,
    short = function()
      local taken = jobrun.channel()
      spawn(function() taken:get() end)
      taken:put(1)
      return "done"
    end,
  }
end

function CALLS.semaphore()
  local taken = jobrun.semaphore(1)
  taken:acquire()
  return {
    call = function() taken:acquire() end,
    short = function()
      local s = jobrun.semaphore(1)
      s:acquire()
      spawn(function() sleep(0.001) s:release() end)
      s:acquire()
      return "done"
    end,
  }
end

function CALLS.event()
  local never = jobrun.event()
  return {
    call = function() never:wait() end,
    short = function()
      local e = jobrun.event()
      spawn(function() e:set() end)
      e:wait()
      return "done"
    end,
  }
end

function CALLS.blocking()
  return {
    call = function() jobrun.blocking(function() while true do sleep(1) end end) end,
    short = function() return jobrun.blocking(function() return "done" end) end,
  }
end

function CALLS.executor_queued()
  local pool = jobrun.executor(1)
  local holds = pool:spawn(function() while true do sleep(1) end end)
  return {
    call = function() pool:call(function() end) end,
    short = function()
      local other <close> = jobrun.executor(1)
      return other:call(function() return "done" end)
    end,
    close = function()
      holds:cancel()
      pcall(holds.await, holds)
      pool:close()
    end,
  }
end

function CALLS.exec()
  return {
    call = function() jobrun.exec { "sleep", tostring(FOREVER) } end,
    short = function() return (jobrun.exec { "echo", "-n", "done" }).stdout end,
  }
end

function CALLS.exec_lines()
  return {
    call = function() for _ in jobrun.exec.start({ "sleep", tostring(FOREVER) }):lines() do end end,
    short = function() return jobrun.exec.start({ "echo", "done" }):lines()() end,
  }
end

function CALLS.exec_wait()
  return {
    call = function() jobrun.exec.start({ "sleep", tostring(FOREVER) }):wait() end,
    short = function() return (jobrun.exec.start({ "echo", "-n", "done" }):wait()).stdout end,
  }
end

function CALLS.ffmpeg()
  local endless = { raw = "testsrc2=size=64x64:rate=5", f = "lavfi", args = { "-re" } }
  local short = { raw = "testsrc2=size=64x64:rate=5:duration=0.2", f = "lavfi" }
  return {
    call = function() jobrun.ffmpeg { input = endless, output = { raw = "-", f = "null" }, vcodec = "rawvideo" } end,
    short = function()
      return jobrun.ffmpeg({ input = short, output = { raw = "-", f = "null" }, vcodec = "rawvideo" }).ok and "done"
    end,
  }
end

jobrun.fs.watch("/tmp"):close() -- libuv keeps one inotify fd from the first watch on

function CALLS.fs()
  local dir = testing.tmpdir()
  return {
    call = function()
      local watch <close> = jobrun.fs.watch(dir)
      watch:next()
    end,
    short = function()
      jobrun.fs.write(dir .. "/x", "done")
      return jobrun.fs.read(dir .. "/x")
    end,
  }
end

function CALLS.pipeline()
  local stage = jobrun.stage
  return {
    call = function() jobrun.pipeline(stage.exec { "sleep", tostring(FOREVER) } | stage.exec { "cat" }) end,
    short = function() return jobrun.pipeline(stage.exec { "true" } | stage.exec { "cat" }) and "done" end,
  }
end

function CALLS.mutex()
  local held = jobrun.mutex()
  local holder = spawn(held.with, held, sleep, FOREVER)
  jobrun.yield()
  return {
    call = function() held:with(print) end,
    short = function() return jobrun.mutex():with(function() return "done" end) end,
    close = function() holder:cancel() end,
  }
end

-- A server whose events never come; connections do not outlive their request, so that none is left behind.
local app = jobrun.http.app()
app.use(function(req, next)
  local r = next(req)
  r.headers.connection = "close"
  return r
end)
app.get("/done", function() return "done" end)
app.events("/never", function() sleep(FOREVER) end)
local url = ("http://127.0.0.1:%d"):format(app.listen(0).port)
jobrun.http.fetch(url .. "/done")

function CALLS.fetch()
  return {
    call = function() jobrun.http.fetch(url .. "/never") end,
    short = function() return jobrun.http.fetch(url .. "/done").body end,
  }
end

function CALLS.fetch_chunks()
  return {
    call = function()
      local r <close> = jobrun.http.fetch { url = url .. "/never", stream = true }
      r:chunks()()
    end,
    short = function() return jobrun.http.fetch({ url = url .. "/done", stream = true }):chunks()() end,
  }
end

function CALLS.queue_wait()
  local q = jobrun.queue.open "contract"
  local never = q:push({}, { delay = FOREVER })
  return {
    call = function() jobrun.queue.wait(never) end,
    short = function()
      local other = jobrun.queue.open "contract2"
      other:handle(function() return "done" end)
      return jobrun.queue.wait(other:push())
    end,
    close = function()
      jobrun.queue.close()
      require("jobrun.store").close()
    end,
  }
end

function CALLS.user_coroutine()
  return {
    call = function() coroutine.wrap(function() coroutine.wrap(sleep)(FOREVER) end)() end,
    short = function() return coroutine.wrap(function() sleep(0.001) return "done" end)() end,
  }
end

-- ---- the five columns ------------------------------------------------------------------------------

local function kind_of(ok, e)
  if ok then return "no error" end
  return type(e) == "table" and e.kind or tostring(e)
end

local COLUMNS = {}

function COLUMNS.cancelled_before(row)
  local kind
  local t = spawn(function()
    pcall(sleep, FOREVER) -- here the cancellation comes
    kind = kind_of(pcall(row.call))
  end)
  jobrun.yield()
  t:cancel()
  pcall(t.await, t)
  lu.assertEquals(kind, "cancelled")
end

function COLUMNS.cancelled_during(row)
  local t = spawn(row.call)
  sleep(0.02)
  t:cancel()
  lu.assertEquals(kind_of(pcall(t.await, t)), "cancelled")
  lu.assertEquals(t.status, "cancelled")
end

function COLUMNS.cancelled_after(row)
  local result
  local t = spawn(function()
    result = row.short()
    sleep(FOREVER)
  end)
  testing.wait_for(function() return result end)
  t:cancel()
  pcall(t.await, t)
  lu.assertEquals(result, "done")
end

function COLUMNS.deadline(row)
  lu.assertEquals(kind_of(pcall(jobrun.timeout, 0.02, row.call)), "timeout")
end

function COLUMNS.owner_fails(row)
  local kind
  local owner = spawn(function()
    spawn(function()
      local ok, e = pcall(row.call)
      kind = kind_of(ok, e)
      error(e, 0)
    end)
    sleep(0.02)
    error("the owner failed", 0)
  end)
  local ok, e = pcall(owner.await, owner)
  lu.assertFalse(ok)
  lu.assertEquals(e, "the owner failed")
  lu.assertEquals(kind, "cancelled")
end

for name, make in pairs(CALLS) do
  for column, check in pairs(COLUMNS) do
    _G["test_" .. name .. "_" .. column] = function()
      local row = make()
      check(row)
      if row.close then row.close() end
    end
  end
end
