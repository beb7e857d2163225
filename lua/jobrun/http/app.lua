--- An application: routes, middleware, and the way from a request to its response. It knows no sockets.
---
--- A request goes through the middleware in the order it was declared, then to the route its path leads to, through
--- that route's group's middleware, then to its handler. Each of these steps is guarded: what raises becomes a
--- response there (http.fail its status, anything else 500, with the trace in the log only), so that what stands
--- outside sees responses alone.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local err = require "jobrun.core.error"
local files = require "jobrun.http.files"
local host = require "jobrun.core.host"
local meter = require "jobrun.http.meter"
local request = require "jobrun.http.request"
local response = require "jobrun.http.response"
local router = require "jobrun.http.router"

local M = {}

---@class jobrun.http.App
---@field routes table[] in the order they were declared
local App = {}
App.__index = App

---@return jobrun.http.App
function M.new()
  return setmetatable({ router = router.new(), routes = {}, layers = {}, is_served = false }, App)
end

-- ---- guarding -----------------------------------------------------------------------------------

local function with_trace(e)
  if type(e) == "string" then return (debug.traceback(e, 2):gsub("\n\t[^\n]*jobrun/http/[^\n]*", "")) end
  if err.is(e) and not err.is(e, "http") and not err.is(e, "cancelled") and not e.traceback then
    e.traceback = debug.traceback(nil, 2):gsub("\n\t[^\n]*jobrun/http/[^\n]*", "")
  end
  return e
end

local function of_failure(req, e)
  if err.is(e, "http") then return response.detail(e.status, e.detail, e.headers) end
  if err.is(e, "cancelled") then error(e, 0) end
  host.log("error", ("%s %s: %s"):format(req.method, req.path, err.text(e)))
  return response.new(500, "text/plain; charset=utf-8", "Internal Server Error")
end

local function returned(req, ok, first, ...)
  if not ok then return of_failure(req, first) end
  if response.is(first) then return first end
  local good, r = pcall(response.of, first, ...)
  return good and r or of_failure(req, r)
end

-- The response of fn(req, …), whatever happens in it.
local function guarded(fn, req, ...)
  return returned(req, xpcall(fn, with_trace, req, ...))
end

-- `layers` around `inner`: a function of the request (and what inner takes behind it).
local function wrap(layers, inner)
  for i = #layers, 1, -1 do
    local layer, next_one = layers[i], inner
    inner = function(req, ...)
      local n, a, b = select("#", ...), ...
      return guarded(layer, req, n == 0 and next_one or function(r) return next_one(r, a, b) end)
    end
  end
  return inner
end

-- ---- routes -------------------------------------------------------------------------------------

local ROUTE_OPTIONS = {
  query = "table", header = "table", body = "table", responses = "table", tags = "table", summary = "string",
  description = "string", hidden = { type = "boolean", default = false }, status = "integer",
}

local function here()
  return err.new({ kind = "usage", message = "" }).where
end

local function is_callable(fn)
  return type(fn) == "function" or (getmetatable(fn) or {}).__call ~= nil
end

-- What runs for a route: its declaration is read, then its function called.
local function runner(route)
  local fn, declared, status = route.fn, route.declared, route.options.status
  local function called(req, values)
    local errors = request.read(req, declared, values)
    if errors then return response.invalid(errors) end
    local r = response.of(fn(req))
    if status and (r.status == 200 or r.status == 204) then r.status = status end
    return r
  end
  return function(req, values) return guarded(called, req, values) end
end

---Declares a route. (see http.get)
function App:route(method, path, options, fn, layers)
  local what = ("http.%s %s"):format(method:lower(), check.show(path))
  if fn == nil then options, fn = {}, options end
  if not is_callable(fn) then check.fail("%s: expected a function as the last argument, got %s", what, check.show(fn)) end
  local parts = router.parse(what, path)
  local route = { method = method, path = path, parts = parts, what = what, where = here(), fn = fn, layers = layers or {} }
  route.options = check.options(what, options, ROUTE_OPTIONS)
  route.declared = request.declare(what, route.options, parts)
  if route.declared.body and (method == "GET" or method == "HEAD") then
    check.fail("%s: a %s request has no body to declare", what, method)
  end
  route.run = wrap(route.layers, runner(route))
  self.router:add(route)
  self.routes[#self.routes + 1] = route
end

---Puts `fn(req, next)` around all requests. (see http.use)
function App:use(fn)
  if not is_callable(fn) then check.fail("http.use: expected a function (req, next), got %s", check.show(fn)) end
  self.layers[#self.layers + 1] = fn
  self.entry = nil
end

-- ---- requests -----------------------------------------------------------------------------------

local function allowed(methods)
  local names = {}
  for name in pairs(methods) do names[#names + 1] = name end
  if methods.GET and not methods.HEAD then names[#names + 1] = "HEAD" end
  if not methods.OPTIONS then names[#names + 1] = "OPTIONS" end
  table.sort(names)
  return { allow = table.concat(names, ", ") }
end

local function dispatch(app, req)
  local methods, values = app.router:find(req.path)
  if not methods then
    if values then return response.detail(400, "malformed percent escape in the path") end
    return response.detail(404)
  end
  local route = methods[req.method] or req.method == "HEAD" and methods.GET
  if route then
    req.route = route.path
    return route.run(req, values)
  end
  if req.method == "OPTIONS" then return response.new(204, nil, nil, allowed(methods)) end
  return response.detail(405, nil, allowed(methods))
end

-- What is sent of a response: no body where there must be none; its fields as the list that goes out. A handler may
-- keep its response and return it again, so what is changed here is a copy.
local function finish(req, r)
  local status = r.status
  if status == 204 or status == 304 then
    r = response.copy(r)
    r.body, r.stream, r.headers["content-type"] = nil, nil, nil
  elseif req.method == "HEAD" then
    r = response.copy(r)
    if r.body then r.headers["content-length"] = #r.body end
    r.body, r.stream = nil, nil
  end
  r:make_fields()
  return r
end

local function open_and_finish(req, r)
  r = response.copy(r)
  files.open(req, r)
  return finish(req, r)
end

---The response to a request: `status`, `fields` {name, value, name, value, …}, and `body`, `stream` or neither; never an
---error but that of a cancelled task. The caller writes it. (suspends)
---@param raw {method: string, target: string, headers: table<string, string>, raw_body: string?, remote: string?} it becomes
---  the request
---@return jobrun.http.Response
---@return jobrun.http.Request
function App:respond(raw)
  local entry = self.entry
  if not entry then
    entry = wrap(self.layers, function(req) return dispatch(self, req) end)
    self.entry = entry
  end
  local req = request.new(raw)
  local began = meter.is_on and host.monotonic()
  local r = entry(req)
  local ok, finished = pcall(r.file and open_and_finish or finish, req, r)
  if not ok then finished = finish(req, of_failure(req, finished)) end
  if began then meter.note(req.method, req.route, finished.status, host.monotonic() - began) end
  return finished, req
end

---Raises a usage error at the first route's line if nothing serves them.
function App:check_served()
  local route = self.routes[1]
  if not route or self.is_served then return end
  error(err.new {
    kind = "usage",
    where = route.where,
    message = route.what .. ': the routes are never served: write http.listen "127.0.0.1:8080"',
  })
end

return M
