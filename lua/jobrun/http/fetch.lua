--- `http.fetch`: HTTP requests to elsewhere, by libcurl.
---
--- A status is an answer, whatever it is; what raises is that none came: the kinds are "refused", "unknown_host",
--- "timeout", "tls", "redirects", "protocol" (what answers is no HTTP), "limit" and "connection". What is said of a URL
--- leaves out its password and its query, where secrets are.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.fetch"
local err = require "jobrun.core.error"
local json = require "jobrun.core.json"
local retry = require "jobrun.retry"
local url = require "jobrun.http.url"

local M = {}

-- ---- responses ----------------------------------------------------------------------------------

---@class jobrun.http.Fetched
---@field status integer
---@field headers table<string, string> by name in small letters; repeated ones joined by commas, Set-Cookie by newlines
---@field body string? its bytes, unless it is a stream
---@field url string where it came from, after redirects
local Fetched = {}
Fetched.__index = Fetched

---Was the status one from 200 to 299?
---@return boolean
function Fetched:ok()
  return self.status >= 200 and self.status <= 299
end

---The body as JSON; raises kind "json" where it is none.
---@return any
function Fetched:json()
  if not self.body then check.fail("json: %s: the body is a stream: read it with :chunks()", self.url) end
  return json.decode(self.body)
end

-- What libcurl's codes mean (libcurl-errors(3)).
local KINDS = {
  [1] = "protocol", [3] = "usage", [5] = "unknown_host", [6] = "unknown_host", [7] = "refused", [8] = "protocol",
  [27] = "no_memory", [28] = "timeout", [35] = "tls", [47] = "redirects", [51] = "tls", [53] = "tls", [54] = "tls",
  [58] = "tls", [59] = "tls", [60] = "tls", [61] = "protocol", [64] = "tls", [66] = "tls", [77] = "tls", [80] = "tls",
  [82] = "tls", [83] = "tls", [90] = "tls", [91] = "tls",
}

local function public(address)
  return (address:gsub("^(%a+://)[^/?#]*@", "%1"):gsub("[?#].*$", ""))
end

local LIMITS = {
  too_large = function(request) return ("the body has more than %d bytes (max_body)"):format(request.max_body) end,
  large_head = function() return "the head has more than 256 KB" end,
}

local RETRYABLE = { refused = true, unknown_host = true, timeout = true, connection = true }

local function failure(request, what, code, text)
  local kind = what == "curl" and (KINDS[code] or "connection") or LIMITS[what] and "limit" or what
  if LIMITS[what] then text = LIMITS[what](request) end
  if kind == "refused" and request.socket then text = ("nothing answers at the socket '%s'"):format(request.socket) end
  local where = public(request.url)
  local e = err.new { kind = kind, op = "http.fetch", message = ("http.fetch %s: %s"):format(where, text) }
  e.url, e.curl, e.retryable = where, what == "curl" and code or nil, RETRYABLE[kind] or false
  return e
end

---The pieces of a streamed body as they come: `for bytes in r:chunks() do`. Raises where the body breaks off. (suspends)
---@return fun(): string?
function Fetched:chunks()
  if not self.handle then check.fail("chunks: %s was not fetched with stream = true", self.url) end
  return function()
    local bytes, what, code, text = core.read(self.handle)
    if what then error(failure(self.request, what, code, text)) end
    return bytes
  end
end

---Gives up what has not been read of a stream.
function Fetched:close()
  if self.handle then core.close(self.handle) end
end

Fetched.__close = Fetched.close

-- ---- requests -----------------------------------------------------------------------------------

---@class jobrun.http.FetchOptions
---@field url string http: or https:
---@field method? string GET, or POST where there is a body
---@field query? table<string, any> added to the url; lists repeat the name
---@field headers? table<string, string>
---@field body? string
---@field json? any the body, with its content type
---@field timeout? number|string for all of it; 30 s; of a stream none
---@field connect_timeout? number|string 10 s
---@field max_body? integer bytes of the response, 16 MiB; of a stream none
---@field redirects? integer that are followed, 5, by GET, HEAD and POST; 0: none
---@field socket? string path of a unix socket to go through; "unix:PATH" too
---@field stream? boolean the body is read with r:chunks()
---@field retry? jobrun.Retry|integer after what raises; not for POST and PATCH, which could be done twice

local OPTIONS = {
  url = { type = "string", required = true },
  method = "string",
  query = "table",
  headers = "table",
  body = "string",
  json = "any",
  timeout = "duration",
  connect_timeout = { type = "duration", default = 10 },
  max_body = { type = "integer", min = 0 },
  redirects = { type = "integer", min = 0 },
  socket = "string",
  stream = { type = "boolean", default = false },
  retry = "table|integer",
}

local REDIRECTED = { GET = true, HEAD = true, POST = true } -- which method the next one has is known of these
local REPEATABLE = { GET = true, HEAD = true, PUT = true, DELETE = true, OPTIONS = true, TRACE = true }

local function header_line(name, value)
  if type(name) ~= "string" or not name:find "^[%w!#$%%&'*+%-.^_`|~]+$" then
    check.fail("http.fetch: header name %s is malformed", check.show(name))
  end
  if math.type(value) then value = tostring(value) end
  if type(value) ~= "string" or value:find "[%z\1-\8\10-\31\127]" then
    check.fail("http.fetch: header %s: expected a text of one line, got %s", name, check.show(value))
  end
  return value == "" and name .. ";" or name .. ": " .. value
end

-- Content-Type is said where we know it; libcurl would call any body a form.
local function header_lines(o)
  local lines, has_type = {}, false
  for name, value in pairs(o.headers or {}) do
    lines[#lines + 1] = header_line(name, value)
    has_type = has_type or name:lower() == "content-type"
  end
  if o.body and not has_type then
    lines[#lines + 1] = "Content-Type: " .. (o.json ~= nil and "application/json" or "application/octet-stream")
  end
  if o.body then lines[#lines + 1] = "Expect:" end -- and wait a second for "100 Continue"
  return lines
end

local function read_options(options)
  if type(options) == "string" then options = { url = options } end
  local o = check.options("http.fetch", options, OPTIONS)
  if not o.url:find "^[Hh][Tt][Tt][Pp][Ss]?://[^/]" or o.url:find "[%s%c]" then
    check.fail("http.fetch: expected an http: or https: URL, got %s", check.show(o.url))
  end
  if o.json ~= nil then
    if o.body then check.fail "http.fetch: body and json exclude each other" end
    o.body = json.encode(o.json)
  end
  o.method = o.method or (o.body and "POST" or "GET")
  if not o.method:find "^%u+$" then check.fail("http.fetch: expected a method such as GET, got %s", check.show(o.method)) end
  if o.method == "POST" then o.body = o.body or "" end
  if o.redirects and o.redirects > 0 and not REDIRECTED[o.method] then
    check.fail("http.fetch: redirects: those of a %s are not followed: look at r.headers.location", o.method)
  end
  o.redirects = o.redirects or (REDIRECTED[o.method] and 5 or 0)
  o.socket = o.socket and (o.socket:match "^unix:(.+)$" or o.socket)
  if o.query then o.url = url.with_query(o.url, o.query) end
  if o.retry and not REPEATABLE[o.method] then
    check.fail("http.fetch: retry: a %s could be done twice; only repeatable methods are tried again", o.method)
  end
  o.retry = retry.check("http.fetch", o.retry)
  o.timeout = o.timeout or (o.stream and 0 or 30)
  o.max_body = o.max_body or (o.stream and math.maxinteger or 16 * 1024 * 1024)
  o.lines = header_lines(o)
  return o
end

local function perform(o)
  local handle, why = core.new(o.url, o.method, o.body, o.max_body, o.timeout, o.connect_timeout, o.redirects, o.socket,
    o.stream, o.lines)
  if not handle then error(err.new { kind = "not_found", op = "http.fetch", message = "http.fetch: " .. why }) end
  local status, headers, where, text = core.perform(handle)
  if not status then
    core.close(handle)
    error(failure(o, headers, where, text))
  end
  local r = setmetatable({ status = status, headers = headers, url = where }, Fetched)
  if o.stream then
    r.handle, r.request = handle, o
  else
    r.body = core.body(handle)
    core.close(handle)
  end
  return r
end

---Fetches a URL. (see http.fetch)
---@param options string|jobrun.http.FetchOptions
---@return jobrun.http.Fetched
function M.fetch(options)
  local o = read_options(options)
  if not o.retry then return perform(o) end
  return retry.call(o.retry, function() return perform(o) end)
end

return M
