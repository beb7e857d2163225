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
jobrun push QUEUE [ARGS] [--store URL] [--at TIME | --delay D] [--priority N] [--unique KEY] [--unique-for D]
            [--after ID,...] [--retry N] [--timeout D] [--json]

Adds a job, whose arguments are JSON (-: standard input), and prints its id once it is on disk; to a store, be it open in
a process or not, or with -s ADDR to a script that runs (see jobrun help status). The lowest priority runs first; the
other options are those of q:push (see jobrun help queue): --retry is how many attempts it has in all.

Example:  jobrun push encode '{"src": "a.mov"}' --store sqlite:state.db --delay 5m]]

local SPEC <const> = { at = "text", delay = "text", priority = "text", unique = "text", ["unique-for"] = "text", after = "text",
  retry = "number", timeout = "text" }
local COUNT <const> = { 1, 2, words = "a queue and arguments" }

local function duration(options, name)
  local value = options[name]
  return value and check.duration(tonumber(value) or value, "push: --" .. name)
end

local function ids(text)
  local list = json.array {}
  for id in (text or ""):gmatch "[^,]+" do list[#list + 1] = stored.id("push: --after", id) end
  return text and list
end

-- The arguments, and the options as q:push and the API take them.
local function read(options, rest)
  local priority = math.tointeger(tonumber(options.priority or 0))
  if not priority then check.fail("push: --priority: expected a whole number, got %s", check.show(options.priority)) end
  local ok, args = pcall(json.decode, rest[2] or "null")
  if not ok then check.fail("push: the arguments are no JSON: %s", (tostring(args.message):gsub("^json.decode: ", ""))) end
  return args, { at = options.at, delay = duration(options, "delay"), priority = priority, unique = options.unique,
    unique_for = duration(options, "unique-for"), after = ids(options.after), retry = options.retry,
    timeout = duration(options, "timeout") }
end

local function push_to_running(at, name, args, o)
  o.args = args
  return at:post("/api/queues/" .. url.encode(name) .. "/push", json.encode(o))
end

---@param ... string
function M.main(...)
  local options, rest = remote.parse("push", M.help, SPEC, COUNT, ...)
  if not options then return end
  queue.check_name("push", rest[1])
  if rest[2] == "-" then rest[2] = io.read "a" end -- before the store is opened, which nobody else has then
  local args, o = read(options, rest)
  local db, at = stored.reach("push", options)
  local job
  if db then
    job = queue.look(queue.open(rest[1]):push(args, o))
    db:close()
  else
    job = push_to_running(at, rest[1], args, o)
  end
  print(options.json and json.encode(job) or job.id)
end

return M
