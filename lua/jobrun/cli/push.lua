--- `jobrun push`: adds a job to a queue of a store.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local consumer = require "jobrun.queue.consumer"
local core = require "jobrun.core.store"
local json = require "jobrun.json"
local remote = require "jobrun.cli.remote"
local stored = require "jobrun.cli.stored"
local task = require "jobrun.task"
local url = require "jobrun.http.url"

local M = {}

M.help = [[
jobrun push QUEUE [ARGS] [--store URL] [--delay D] [--priority N] [--json]

Adds a job, whose arguments are JSON, and prints its id once it is on disk. Of a store that no process has open; with
-s ADDR of a script that runs (see jobrun help status).

Example:  jobrun push encode '{"src": "a.mov"}' --store sqlite:state.db --delay 5m]]

local function read(options, rest)
  local delay = options.delay and check.duration(tonumber(options.delay) or options.delay, "push: --delay") or 0
  local priority = math.tointeger(tonumber(options.priority or 0))
  if not priority then check.fail("push: --priority: expected a whole number, got %s", check.show(options.priority)) end
  return json.decode(rest[2] or "null"), delay, priority
end

local SPEC <const> = { delay = "text", priority = "text" }
local COUNT <const> = { 1, 2, words = "a queue and arguments" }

local function push_to_running(...)
  local at, options, rest = remote.parse("push", M.help, SPEC, COUNT, ...)
  if not at then return end
  local args, delay, priority = read(options, rest)
  local job = at:post("/api/queues/" .. url.encode(rest[1]) .. "/push", json.encode { args = args, delay = delay,
    priority = priority })
  print(options.json and json.encode(job) or job.id)
end

---@param ... string
function M.main(...)
  if not stored.is_meant(...) then return push_to_running(...) end
  local db, options, rest = stored.open("push", M.help, SPEC, COUNT, true, ...)
  if not db then return end
  local args, delay, priority = read(options, rest)
  local due = delay > 0 and math.floor((task.now() + delay) * 1000) or nil
  local id = db:call(core.enqueue, db:id(), rest[1], "job", priority, due, consumer.default_retry.n, nil, json.encode(args),
    "{}", nil, nil)
  local row = db:call(core.query, "job", id)[1]
  db:close()
  print(options.json and json.encode(stored.job(row)) or id)
end

return M
