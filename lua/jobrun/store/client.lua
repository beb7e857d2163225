--- A store that another process has, reached by its socket: `store "unix:state.db.d/socket"`.
---
--- It stands where an opened store stands and takes the verbs a queue's words need; jobs are run by that process alone.
--- Ids are made over there, in stocks, and go with each push: so one whose answer was lost is asked for again and done
--- once.
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.store"
local err = require "jobrun.core.error"
local fetch = require("jobrun.http.fetch").fetch
local json = require "jobrun.json"
local sync = require "jobrun.sync"
local task = require "jobrun.task"

local M = {}

local ATTEMPTS <const>, STOCK <const> = 3, 64
local WAIT_S <const> = 5 -- for one answer; waiting for longer is asking again
local PATIENCE_S <const> = 30 -- for the answer beyond that: who has the store may be waiting for what a killed process left
local MOST_WAITS <const>, TURN_S <const> = 32, 0.5 -- that are asked for at a time; more of them take turns of so long

local PASSING <const> = { refused = true, connection = true, timeout = true, closed = true } -- the process may come back

local names = {} -- verb → its word
for name, verb in pairs(core) do
  if math.type(verb) == "integer" then names[verb] = name end
end

---@class jobrun.store.Client
---@field socket string
local Client = {}
Client.__index = Client

local function fail(self, kind, text)
  error(err.new { kind = kind, op = "store", message = ("the store behind '%s': %s"):format(self.socket, text) }, 0)
end

-- One request. A failure of the transport is tried again: each verb may be asked twice and is done once.
local function ask(self, word, body)
  for attempt = 1, ATTEMPTS do
    local ok, r = pcall(fetch, { url = "http://localhost/api/store/" .. word, method = "POST", socket = self.socket,
      headers = { ["content-type"] = "application/json" }, body = body, timeout = WAIT_S + PATIENCE_S })
    if ok and r.status ~= 503 then return r end
    if ok then r = err.new { kind = "closed", message = "it is stopping" } end
    if not err.is(r) or not PASSING[r.kind] then error(r, 0) end
    if attempt == ATTEMPTS then
      local why = r.message:gsub("^http%.fetch [^ ]*: ", "")
      fail(self, "closed", why .. " (is the process that has the store running?)")
    end
    task.sleep(0.1 * 4 ^ (attempt - 1))
  end
end

---Does a process answer there? (suspends)
---@param socket string
---@return boolean
function M.answers(socket)
  return (pcall(fetch, { url = "http://localhost/healthz", socket = socket, timeout = 2 }))
end

local function request(self, word, ...)
  local values = json.array { ... }
  for i = 1, select("#", ...) do
    if values[i] == nil then values[i] = json.null end
  end
  local r = ask(self, word, json.encode(values))
  local ok, said = pcall(r.json, r)
  if not ok then fail(self, "system", ("it answered with status %d: %s"):format(r.status, r.body:sub(1, 200))) end
  if r.status ~= 200 then
    self.left = 0 -- its ids may be another's by now
    error(err.new { kind = said.kind or "system", op = "store", message = said.message or said.detail or r.body }, 0)
  end
  for i = 1, #said do
    if said[i] == json.null then said[i] = nil end
  end
  return said
end

---One operation, see src/store.h. (suspends)
---@param verb integer
---@return any ...
function Client:call(verb, ...)
  local said = request(self, names[verb], ...)
  return said[1], said[2], said[3]
end

---A new id. (suspends)
---@return integer
function Client:id()
  if self.left == 0 then
    self.next_id, self.left = request(self, "ids", STOCK)[1], STOCK
  end
  self.next_id, self.left = self.next_id + 1, self.left - 1
  return self.next_id - 1
end

local Waiting = {
  __close = function(waiting)
    local client = waiting.client
    client.waits = client.waits - 1
    if waiting.has_turn then client.turns:release() end
  end,
}

---Waits for the end of a job, at most `seconds`; its row, or nil. Each wait takes a connection, and there are 64 of them
---for all words, so more waits than half of that take turns. (suspends)
---@param id integer
---@param seconds number?
---@return table?
function Client:wait(id, seconds)
  local give_up = seconds and task.monotonic() + seconds
  local waiting <close> = setmetatable({ client = self }, Waiting)
  self.waits = self.waits + 1
  local e
  waiting.has_turn, e = pcall(self.turns.acquire, self.turns, seconds)
  if not waiting.has_turn then
    if not err.is(e, "timeout") then error(e, 0) end
    return request(self, "wait", id, 0)[1] -- it had no turn, and may have ended long ago
  end
  local most = self.waits > MOST_WAITS and TURN_S or WAIT_S
  return request(self, "wait", id, give_up and math.min(math.max(give_up - task.monotonic(), 0), most) or most)[1]
end

function Client:close()
  self.left = 0
end

---Reaches for the store behind a socket. (suspends)
---@param socket string
---@return jobrun.store.Client
function M.open(socket)
  local client = setmetatable({ socket = socket, next_id = 0, left = 0, waits = 0,
    turns = sync.semaphore(MOST_WAITS) }, Client)
  client:id() -- or says what is wrong
  client.next_id, client.left = client.next_id - 1, client.left + 1
  return client
end

return M
