--- `jobrun push`: adds a job to a queue of a store.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local consumer = require "jobrun.queue.consumer"
local core = require "jobrun.core.store"
local json = require "jobrun.json"
local stored = require "jobrun.cli.stored"
local task = require "jobrun.task"

local M = {}

M.help = [[
jobrun push QUEUE [ARGS] [--store URL] [--delay D] [--priority N] [--json]

Adds a job, whose arguments are JSON, and prints its id once it is on disk. Of a store that no process has open; a
running script has q:push.

Example:  jobrun push encode '{"src": "a.mov"}' --store sqlite:state.db --delay 5m]]

---@param ... string
function M.main(...)
  local db, options, rest = stored.open("push", M.help, { delay = "text", priority = "text" },
    { 1, 2, words = "a queue and arguments" }, true, ...)
  if not db then return end
  local text = json.encode(json.decode(rest[2] or "null"))
  local delay = options.delay and check.duration(tonumber(options.delay) or options.delay, "push: --delay")
  local priority = math.tointeger(tonumber(options.priority or 0))
  if not priority then check.fail("push: --priority: expected a whole number, got %s", check.show(options.priority)) end
  local due = delay and math.floor((task.now() + delay) * 1000)
  local id = db:call(core.enqueue, db:id(), rest[1], "job", priority, due, consumer.default_retry.n, nil, text, "{}", nil, nil)
  local row = db:call(core.query, "job", id)[1]
  db:close()
  print(options.json and json.encode(stored.job(row)) or id)
end

return M
