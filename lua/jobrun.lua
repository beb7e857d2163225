--- The words of jobrun. `require "jobrun"` gives a table of them; in a script run by jobrun they are
--- also reachable as globals, unless the script defines its own.
---
--- A word's module is loaded at the word's first use: an empty script pays for none.
--
-- SPDX-License-Identifier: MIT

local MODULES = { -- the module's table is the word
  jobs = "jobrun.jobs",
  fs = "jobrun.fs",
  on = "jobrun.on",
  http = "jobrun.http",
  json = "jobrun.json",
  log = "jobrun.log",
  clock = "jobrun.clock",
  error_object = "jobrun.core.error",
  metrics = "jobrun.metrics",
  notify = "jobrun.notify",
  check = "jobrun.check",
  queue = "jobrun.queue",
}

local FIELDS = { -- the word is a field of the module's table
  every = "jobrun.every",
  after = "jobrun.every",
  cron = "jobrun.every",
  once = "jobrun.every",
  spawn = "jobrun.task",
  sleep = "jobrun.task",
  yield = "jobrun.task",
  timeout = "jobrun.task",
  scope = "jobrun.task",
  shield = "jobrun.task",
  current = "jobrun.task",
  run = "jobrun.task",
  now = "jobrun.task",
  monotonic = "jobrun.task",
  all = "jobrun.sync",
  race = "jobrun.sync",
  map = "jobrun.sync",
  channel = "jobrun.sync",
  semaphore = "jobrun.sync",
  mutex = "jobrun.sync",
  event = "jobrun.sync",
  blocking = "jobrun.executor",
  executor = "jobrun.executor",
  exec = "jobrun.exec",
  sh = "jobrun.exec",
  ffmpeg = "jobrun.ffmpeg",
  probe = "jobrun.probe",
  stage = "jobrun.stage",
  pipeline = "jobrun.pipeline",
  limit = "jobrun.limit",
  store = "jobrun.store",
  encode_segments = "jobrun.segments",
}

local function index(words, name)
  local value
  if MODULES[name] then
    value = require(MODULES[name])
  elseif FIELDS[name] then
    value = require(FIELDS[name])[name]
  elseif name == "env" then
    value = require "jobrun.env"
  end
  if value ~= nil then rawset(words, name, value) end
  return value
end

return setmetatable({}, { __index = index, modules = MODULES, fields = FIELDS })
