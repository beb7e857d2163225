--- The control API's part about queues: what is in the script's store, push, cancel, retry, pause, resume.
---
---   GET  /api/queues /api/queues/jobs/{id}
---   POST /api/queues/{name}/push|pause|resume   /api/queues/jobs/{id}/cancel|retry
--
-- SPDX-License-Identifier: MIT

local err = require "jobrun.core.error"
local http = require "jobrun.http"
local json = require "jobrun.json"
local queue = require "jobrun.queue"

local M = {}

local t = http.t

local JOB = t.object {
  args = t.any { default = json.null },
  priority = t.int { default = 0 },
  at = t.string { optional = true },
  delay = t.number { min = 0, optional = true },
  unique = t.string { optional = true },
  unique_for = t.number { min = 0, optional = true },
  after = t.list(t.int) { optional = true },
  retry = t.int { min = 1, optional = true },
  timeout = t.number { above = 0, optional = true },
}

local function show(req)
  return queue.look(req.params.id) or http.fail(404, ("there is no job %d in a queue"):format(req.params.id))
end

local function push(req)
  local options = req.body
  local args = options.args
  options.args = nil
  if args == json.null then args = nil end
  return 201, queue.look(queue.open(req.params.name):push(args, options))
end

-- Does what queue.DEED does; says what the job is now, and in `was` its state before.
local function changer(deed)
  return function(req)
    show(req)
    local was = queue[deed](req.params.id)
    local said = show(req)
    said.was = was
    return said
  end
end

local function switch(deed)
  return function(req)
    queue[deed](req.params.name)
    return { queue = req.params.name, paused = deed == "pause" }
  end
end

local STATUS <const> = { usage = 422, not_found = 422 }

-- What the caller has wrong, and what the store cannot do now, is said to the caller.
local function told(handler)
  return function(req)
    local results = table.pack(pcall(handler, req))
    if results[1] then return table.unpack(results, 2, results.n) end
    local e = results[2]
    local status = err.is(e) and (STATUS[e.kind] or e.op == "store" and 503)
    if not status then error(e, 0) end
    http.fail(status, e.message)
  end
end

---Adds the routes.
---@param app table
function M.add(app)
  app.get("/api/queues", { summary = "How many jobs, by queue and state" }, told(function()
    return { queues = queue.stats() }
  end))
  app.get("/api/queues/jobs/{id:int}", { summary = "A job of a queue" }, told(show))
  app.post("/api/queues/jobs/{id:int}/cancel", { summary = "Cancels it" }, told(changer "cancel"))
  app.post("/api/queues/jobs/{id:int}/retry", { summary = "Makes it available again" }, told(changer "retry"))
  app.post("/api/queues/{name}/push", { summary = "Adds a job", status = 201, body = JOB }, told(push))
  app.post("/api/queues/{name}/pause", { summary = "Starts nothing of a queue" }, told(switch "pause"))
  app.post("/api/queues/{name}/resume", { summary = "Lets it go on" }, told(switch "resume"))
end

return M
