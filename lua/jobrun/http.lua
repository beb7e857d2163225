--- `http`: routes in the script's own process.
---
--- `http.get("/items/{id:int}", fn)` declares a route. `fn(req)` is a task: it may wait. What it returns is the response:
--- a table (JSON, 200), a string (text), nothing (204), a status before it (`return 201, t`), header fields behind it
--- (`return 201, t, {location = "/items/3"}`), or http.file, http.stream, http.response.
---
--- What a route declares is checked before its function runs; what is wrong is answered with 422 and the list of all
--- errors, in the shape FastAPI uses. `http.t` has the types.
--
-- SPDX-License-Identifier: MIT

local app_of = require "jobrun.http.app"
local check = require "jobrun.check"
local files = require "jobrun.http.files"
local middleware = require "jobrun.http.middleware"
local response = require "jobrun.http.response"
local types = require "jobrun.http.types"

---@class jobrun.http.RouteOptions
---@field query? table<string, jobrun.http.Type> lists take repeated names
---@field header? table<string, jobrun.http.Type> x_token means X-Token
---@field body? jobrun.http.Type of the JSON body
---@field status? integer of a usual response (200)
---@field responses? table<integer, jobrun.http.Type|string> for the description
---@field summary? string
---@field description? string
---@field tags? string[]
---@field hidden? boolean not in the description

---@class jobrun.http.ListenOptions
---@field [integer] string|integer the addresses
---@field max_connections? integer
---@field max_body? integer bytes
---@field keep_alive? number|string
---@field head_timeout? number|string
---@field body_timeout? number|string
---@field write_timeout? number|string
---@field mode? string of a socket file
---@field access_log? boolean

local common = {} -- the words that are the same for every application

---The types of declarations: string, int, number, boolean, date, datetime, uuid, any, enum, list, map, object.
common.t = types.t

---Ends the request with a status from 400 on and `{"detail": detail}`. Does not return.
---@param status integer
---@param detail? any text, or what JSON can say; the status's own words if nil
---@param headers? table<string, string>
common.fail = response.fail

---A response by its parts.
---@param status integer
---@param body? string
---@param headers? table<string, string|string[]> content-type among them
---@return jobrun.http.Response
function common.response(status, body, headers)
  if math.type(status) ~= "integer" or status < 200 or status > 599 then
    check.fail("http.response: expected a status from 200 to 599, got %s", check.show(status))
  end
  if body ~= nil and type(body) ~= "string" then check.fail("http.response: expected a string, got %s", check.show(body)) end
  return response.new(status, nil, body, headers)
end

---An HTML page.
---@param text string
---@return jobrun.http.Response
function common.html(text)
  return response.new(200, "text/html; charset=utf-8", text)
end

---Sends the browser elsewhere.
---@param location string
---@param status? integer 303, unless said otherwise
---@return jobrun.http.Response
function common.redirect(location, status)
  return response.new(status or 303, nil, nil, { location = location })
end

---A file: with ETag, If-None-Match and byte ranges, read in pieces. A missing one is 404.
---@param path string
---@param options? {content_type?: string, download?: boolean|string, headers?: table, status?: integer}
---@return jobrun.http.Response
common.file = files.file

---Fetches a URL, by libcurl (Debian's libcurl4, found at the first use). A status is an answer, whatever it is: look at
---`r.status` or `r:ok()`. Where none comes it raises: kinds "refused", "unknown_host", "timeout", "tls", "redirects",
---"limit", "connection". A cancelled task's request ends at once. (suspends)
---@param options string|jobrun.http.FetchOptions
---@return jobrun.http.Fetched
function common.fetch(options) return require("jobrun.http.fetch").fetch(options) end

local STREAM_OPTIONS = {
  status = { type = "integer", default = 200 },
  content_type = { type = "string", default = "application/octet-stream" },
  headers = "table",
}

---A body that `fn(write)` writes piece by piece; `write(bytes)` waits while the client is slower.
---@param fn fun(write: fun(bytes: string))
---@param options? {status?: integer, content_type?: string, headers?: table}
---@return jobrun.http.Response
function common.stream(fn, options)
  if type(fn) ~= "function" then check.fail("http.stream: expected a function (write), got %s", check.show(fn)) end
  local o = check.options("http.stream", options or {}, STREAM_OPTIONS)
  local r = response.new(o.status, o.content_type, nil, o.headers)
  r.stream = fn
  return r
end

---Middleware that lets only requests with this bearer token through (401 otherwise), compared in constant time; or those
---for which `token(text, req)` gives something, which is then `req.user`.
---@param token string|fun(text: string, req: jobrun.http.Request): any
common.bearer = middleware.bearer

---Middleware that lets scripts of other origins read the responses.
---`origins` is a list, or "*"; `max_age` how long a browser may keep the answer to its question (10 min).
---@param options {origins: string[]|"*", methods?: string[], headers?: string[], expose?: string[], credentials?: boolean}
common.cors = middleware.cors

-- ---- the words of an application or a group -----------------------------------------------------

local METHODS = { "get", "post", "put", "patch", "delete", "head", "options" }

local function check_prefix(what, prefix)
  if type(prefix) ~= "string" or not prefix:find "^/[^?#%s]*[^/?#%s]$" then
    check.fail('%s: expected a path such as "/admin", got %s', what, check.show(prefix))
  end
end

-- Below a prefix "" is the prefix itself.
local function join(prefix, path)
  if type(path) ~= "string" or (path ~= "" and path:sub(1, 1) ~= "/") then return path end
  return prefix .. path
end

---@class jobrun.http.Group
---@field get fun(path: string, options?: jobrun.http.RouteOptions, fn: fun(req: jobrun.http.Request): ...)
---@field post fun(path: string, options?: jobrun.http.RouteOptions, fn: fun(req: jobrun.http.Request): ...)
---@field put fun(path: string, options?: jobrun.http.RouteOptions, fn: fun(req: jobrun.http.Request): ...)
---@field patch fun(path: string, options?: jobrun.http.RouteOptions, fn: fun(req: jobrun.http.Request): ...)
---@field delete fun(path: string, options?: jobrun.http.RouteOptions, fn: fun(req: jobrun.http.Request): ...)
---@field head fun(path: string, options?: jobrun.http.RouteOptions, fn: fun(req: jobrun.http.Request): ...)
---@field options fun(path: string, options?: jobrun.http.RouteOptions, fn: fun(req: jobrun.http.Request): ...)

-- The words that declare below `prefix`, within `layers`.
local function declaring(app, prefix, layers)
  local W = {}

  for _, method in ipairs(METHODS) do
    W[method] = function(path, options, fn) app:route(method:upper(), join(prefix, path), options, fn, layers) end
  end

  ---A stream of server-sent events: `fn(req, send)` calls `send(data)`, `send(name, data)` or
  ---`send(name, data, {id=, retry=})`; tables go as JSON. A client that goes cancels the task.
  ---@param path string
  ---@param options? jobrun.http.RouteOptions
  ---@param fn fun(req: jobrun.http.Request, send: fun(name: any, data?: any, options?: table))
  function W.events(path, options, fn)
    if fn == nil then options, fn = {}, options end
    if type(fn) ~= "function" then check.fail("http.events: expected a function (req, send), got %s", check.show(fn)) end
    app:route("GET", join(prefix, path), options, require("jobrun.http.events").handler(fn), layers)
  end

  ---The files of a folder below a path. Dot-files and what links lead out of it are 404.
  ---@param path string
  ---@param directory string
  ---@param options? {index?: string, max_age?: number|string}
  function W.static(path, directory, options)
    check_prefix("http.static", path)
    local serve = files.folder(directory, options)
    app:route("GET", prefix .. path .. "/{file:path}", { hidden = true }, serve, layers)
    app:route("GET", prefix .. path, { hidden = true }, function(req) return common.redirect(req.path .. "/", 308) end, layers)
  end

  ---Routes under a common prefix, with middleware of their own: `http.group("/admin", http.bearer(env.TOKEN))`. The path
  ---"" in it is the prefix itself.
  ---@param path string
  ---@param ... function middleware
  ---@return jobrun.http.Group
  function W.group(path, ...)
    check_prefix("http.group", path)
    local inner = table.move(layers, 1, #layers, 1, {})
    for i = 1, select("#", ...) do
      local layer = select(i, ...)
      if type(layer) ~= "function" and not (getmetatable(layer) or {}).__call then
        check.fail("http.group: expected middleware, got %s", check.show(layer))
      end
      inner[#inner + 1] = layer
    end
    return declaring(app, prefix .. path, inner)
  end

  return W
end

local INFO_OPTIONS = {
  title = { type = "string", default = "jobrun" },
  version = { type = "string", default = "0.1.0" },
  description = "string",
}

local function words_of(app)
  local W = declaring(app, "", {})
  for name, word in pairs(common) do W[name] = word end

  ---Puts `fn(req, next)` around every request; `next(req)` gives the response, which may be changed, and is returned.
  ---@param fn fun(req: jobrun.http.Request, next: fun(req: jobrun.http.Request): jobrun.http.Response): ...
  function W.use(fn) app:use(fn) end

  ---The OpenAPI 3.1.0 description of the routes, as a table.
  ---@param info? {title?: string, version?: string, description?: string}
  ---@return table
  function W.openapi(info)
    return require("jobrun.http.openapi").describe(app, check.options("http.openapi", info or {}, INFO_OPTIONS))
  end

  ---A page about the routes, to read and to try them, and their description beside it (PATH/openapi.json).
  ---@param path string
  ---@param info? {title?: string, version?: string, description?: string}
  function W.docs(path, info)
    check_prefix("http.docs", path)
    local o = check.options("http.docs", info or {}, INFO_OPTIONS)
    require("jobrun.http.docs").serve(app, path, o)
  end

  ---Serves the routes: on "127.0.0.1:8080", "[::1]:8080", "localhost:8080", a port alone (on 127.0.0.1; 0: a free one),
  ---or "unix:/run/app.sock". Requests are answered once the script has loaded and its on.start hooks have run; the
  ---script then goes on until it is stopped, or the server closed. HTTP/1.1 without TLS: that is a proxy's part.
  ---
  ---`max_connections` (512): further ones wait. `max_body` (1 MiB) of a request, more is 413. `keep_alive` (15 s) between
  ---two requests, `head_timeout` (10 s) and `body_timeout` (60 s) for the whole of each, `write_timeout` (30 s) for a
  ---client that does not read. `mode` of a socket file ("0600"). `access_log`: a line for each request.
  ---@param address string|integer|jobrun.http.ListenOptions or a list of them, with options
  ---@return jobrun.http.Server
  function W.listen(address) return require("jobrun.http.server").listen(app, address) end

  ---A client for tests: requests go to the routes without a socket.
  ---@return jobrun.http.TestClient
  function W.client_for_test() return require("jobrun.http.client").new(app) end

  ---An application of its own, with the same words.
  function W.app() return words_of(app_of.new()) end

  ---@package what serves it asks here
  W.instance = app
  return W
end

return words_of(app_of.new())
