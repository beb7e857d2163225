--- A client without sockets, for tests: requests go straight to the routes.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local err = require "jobrun.core.error"
local json = require "jobrun.core.json"
local task = require "jobrun.task"
local url = require "jobrun.http.url"

local M = {}

---@class jobrun.http.TestResponse
---@field status integer
---@field headers table<string, string> by name in small letters
---@field body string
local TestResponse = {}
TestResponse.__index = TestResponse

---The body as JSON.
---@return any
function TestResponse:json()
  return json.decode(self.body)
end

---@class jobrun.http.TestClient
---@field get fun(self: jobrun.http.TestClient, target: string, options?: table): jobrun.http.TestResponse
---@field post fun(self: jobrun.http.TestClient, target: string, options?: table): jobrun.http.TestResponse
local Client = {}
Client.__index = Client

local OPTIONS = { headers = "table", query = "table", json = "any", body = "string", pieces = "integer" }

local function target_of(target, query)
  if type(target) ~= "string" or target:sub(1, 1) ~= "/" then
    check.fail("client: expected a target that begins with /, got %s", check.show(target))
  end
  return query and url.with_query(target, query) or target
end

-- All that is written, or the first `limit` pieces: then the client is gone.
local function collect(stream, limit)
  local pieces = {}
  local reader = task.spawn(stream, function(bytes)
    pieces[#pieces + 1] = bytes
    if #pieces == limit then task.current():cancel "the client is gone" end
    task.yield()
  end)
  local ok, e = pcall(reader.await, reader)
  if not ok and not (#pieces == limit and err.is(e, "cancelled")) then error(e, 0) end
  return table.concat(pieces)
end

-- In a task of its own, as with a server: what the handler spawned has ended when this returns.
local function ask(app, raw, limit)
  local r = app:respond(raw)
  local headers, fields = {}, r.fields
  for i = 1, #fields, 2 do
    local name = fields[i]
    headers[name] = headers[name] and headers[name] .. ", " .. fields[i + 1] or fields[i + 1]
  end
  headers["content-length"], headers.connection = r.length and tostring(r.length), r.closes and "close" or nil
  local body = r.stream and collect(r.stream, limit) or r.body or ""
  return setmetatable({ status = r.status, headers = headers, body = body }, TestResponse)
end

---A request of any method. `json` or `body` is what is sent; `pieces`: after so many pieces of a stream the client goes.
---(suspends)
---@param method string
---@param target string
---@param options? {headers?: table, query?: table, json?: any, body?: string, pieces?: integer}
---@return jobrun.http.TestResponse
function Client:request(method, target, options)
  local o = check.options("client:" .. method:lower(), options or {}, OPTIONS)
  local headers = { host = "test" }
  for name, value in pairs(o.headers or {}) do headers[name:lower()] = value end
  local body = o.body
  if o.json ~= nil then
    body = json.encode(o.json)
    headers["content-type"] = headers["content-type"] or "application/json"
  end
  local raw = { method = method, target = target_of(target, o.query), headers = headers, raw_body = body, remote = "test" }
  return task.spawn(ask, self.app, raw, o.pieces):await()
end

for _, method in ipairs { "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS" } do
  Client[method:lower()] = function(self, target, options) return self:request(method, target, options) end
end

---@param app jobrun.http.App
---@return jobrun.http.TestClient
function M.new(app)
  app.is_served = true
  return setmetatable({ app = app }, Client)
end

return M
