--- `jobrun push`: adds a job to a queue of a store.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local json = require "jobrun.json"
local queue = require "jobrun.queue"
local remote = require "jobrun.cli.remote"
local stored = require "jobrun.cli.stored"
local url = require "jobrun.http.url"

local M = {}

M.help = [[
jobrun push QUEUE [ARGS] [--store URL] [--delay D] [--priority N] [--json]

Adds a job, whose arguments are JSON (-: standard input), and prints its id once it is on disk; to a store, be it open in
a process or not, or with -s ADDR to a script that runs (see jobrun help status). The lowest priority runs first.

Example:  jobrun push encode '{"src": "a.mov"}' --store sqlite:state.db --delay 5m]]

local function read(options, rest)
  local delay = options.delay and check.duration(tonumber(options.delay) or options.delay, "push: --delay") or 0
  local priority = math.tointeger(tonumber(options.priority or 0))
  if not priority then check.fail("push: --priority: expected a whole number, got %s", check.show(options.priority)) end
  local ok, args = pcall(json.decode, rest[2] or "null")
  if not ok then check.fail("push: the arguments are no JSON: %s", (tostring(args.message):gsub("^json.decode: ", ""))) end
  return args, delay, priority
end

local SPEC <const> = { delay = "text", priority = "text" }
local COUNT <const> = { 1, 2, words = "a queue and arguments" }

local function push_to_running(at, name, args, delay, priority)
  return at:post("/api/queues/" .. url.encode(name) .. "/push", json.encode { args = args, delay = delay,
    priority = priority })
end

local function push_to_file(name, args, delay, priority)
  return queue.look(queue.open(name):push(args, { delay = delay > 0 and delay or nil, priority = priority }))
end

---@param ... string
function M.main(...)
  local options, rest = remote.parse("push", M.help, SPEC, COUNT, ...)
  if not options then return end
  queue.check_name("push", rest[1])
  if rest[2] == "-" then rest[2] = io.read "a" end -- before the store is opened, which nobody else has then
  local db, at = stored.reach("push", options)
  local job
  if db then
    job = push_to_file(rest[1], read(options, rest))
    db:close()
  else
    job = push_to_running(at, rest[1], read(options, rest))
  end
  print(options.json and json.encode(job) or job.id)
end

return M
