--- PATH.d/socket: the control API of the process that has a store, for whoever is told the store's name: commands such as
--- `jobrun push --store`, and scripts whose store is "unix:PATH.d/socket" (jobrun.store.client).
---
--- The folder and the socket are the user's alone, so it asks for no token. What it serves is made at the first request.
---
---   POST /api/store/{verb}   [value, …] → [result, …]: a verb of src/store.h, with null for nil
---   POST /api/store/ids      [n] → [the first of n ids]
---   POST /api/store/wait     [id, seconds] → [row or null]
--
-- SPDX-License-Identifier: MIT

local calendar = require "jobrun.calendar"
local check = require "jobrun.check"
local core = require "jobrun.core.store"
local is_array = require("jobrun.core.json").is_array
local err = require "jobrun.core.error"
local http = require "jobrun.http"
local json = require "jobrun.json"
local log = require "jobrun.log"
local queue = require "jobrun.queue"
local server = require "jobrun.http.server"
local store = require "jobrun.store"

local M = {}

local MOST_IDS <const>, MOST_BODY <const> = 1000, 16 * 1024 * 1024

-- They are reserved in the file: a process that comes after this one gives them to nobody else, whatever its clock says.
local function ids(n)
  local db = store.current()
  local first = db:id()
  local last = first
  for _ = 2, math.min(n, MOST_IDS) do last = db:id() end
  db:call(core.reserve, last)
  return first
end

-- ---- what a verb takes ---------------------------------------------------------------------------

local KINDS <const> = {
  ["a whole number"] = function(x) return math.type(x) == "integer" end,
  ["a whole number from 1"] = function(x) return math.type(x) == "integer" and x > 0 end,
  ["an id from ids"] = function(x) return math.type(x) == "integer" and x > 0 and x < store.current():id() end,
  ["an instant in ms"] = function(x) return math.type(x) == "integer" and x >= 0 and x < calendar.LAST_S * 1000 end,
  ["a number"] = function(x) return type(x) == "number" end,
  ["a text"] = function(x) return type(x) == "string" end,
  ["a queue's name"] = function(x) return pcall(queue.check_name, "", x) end,
  ["JSON as a text"] = function(x) return type(x) == "string" and pcall(json.decode, x) end,
}

local NUMBER <const>, ID <const>, COUNT <const>, NAME <const> = "a whole number", "an id from ids", "a whole number from 1",
  "a queue's name"

local TAKES <const> = { -- "?": may be null; `more`: of those that follow
  enqueue = { ID, NAME, "a text", NUMBER, "an instant in ms?", COUNT, COUNT .. "?", "JSON as a text", "JSON as a text",
    "a text?", NUMBER .. "?", more = NUMBER },
  cancel = { NUMBER },
  retry = { NUMBER },
  pause = { NAME, "an instant in ms?" },
  limit = { NAME, COUNT .. "?", COUNT .. "?", COUNT .. "?" },
  query = { "a text" },
  ids = { COUNT },
  wait = { NUMBER, "a number" },
}

local function check_values(word, values)
  local takes = TAKES[word]
  for i = 1, math.max(#takes, takes.more and values.n or 0) do
    local kind, may_be_null = (takes[i] or takes.more):gsub("%?$", "")
    local x = values[i]
    if not (x == nil and may_be_null == 1 or KINDS[kind](x)) then
      check.fail("%s: value %d: expected %s%s, got %s", word, i, kind, may_be_null == 1 and " or null" or "", check.show(x))
    end
  end
end

local function perform(word, values)
  check_values(word, values)
  if word == "ids" then return table.pack(ids(values[1])) end
  if word == "wait" then return table.pack(queue.ended(values[1], values[2])) end
  return queue.perform(core[word], values)
end

local function answer(req)
  local word = req.params.verb
  if not TAKES[word] then http.fail(404, ("no verb %s"):format(word)) end
  local read, values = pcall(json.decode, req.raw_body)
  if not read or not is_array(values) then http.fail(400, "expected a JSON array of values") end
  values.n = #values
  for i = 1, values.n do
    if values[i] == json.null then values[i] = nil end
  end
  local ok, results = pcall(perform, word, values)
  if not ok then
    if not err.is(results) or err.is(results, "cancelled") then error(results, 0) end
    return 409, { kind = results.kind, message = results.message }
  end
  local list = json.array {}
  for i = 1, results.n do list[i] = results[i] == nil and json.null or results[i] end
  return list
end

local Lazy = {}

function Lazy:respond(request)
  if not self.app then
    local app = require("jobrun.control").app()
    app.post("/api/store/{verb}", { hidden = true }, answer)
    self.app = app.instance
  end
  return self.app:respond(request)
end

---Serves it; keeps no script alive.
---@param path string the store's
---@return jobrun.http.Server? door where its socket can be made
function M.open(path)
  local ok, e = pcall(server.open, setmetatable({}, { __index = Lazy }), "store", { "unix:" .. path .. ".d/socket" },
    { is_background = true, max_body = MOST_BODY })
  if ok then return e end
  if not err.is(e) or err.is(e, "cancelled") then error(e, 0) end
  log.warn("%s: commands and scripts cannot reach this process by the store's name; give it a --listen", e.message)
end

return M
