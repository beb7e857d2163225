--- Responses: what a handler returned, as {status, headers, body | stream | file}.
---
--- Names of header fields are kept in small letters, however they are written.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.http"
local err = require "jobrun.core.error"
local json = require "jobrun.core.json"

local M = {}

---@class jobrun.http.Response
---@field status integer
---@field headers table<string, string|string[]>
---@field body string? its bytes
---@field stream? fun(write: fun(bytes: string)) called to write them
---@field is_endless? boolean the stream ends with its client, and when the server stops
---@field fields? string[] the header as it goes out, when the application is done with it, but for
---@field length? integer what a Content-Length said
---@field closes? boolean the connection ends with it
local Response = {}
Response.__index = Response

local headers_meta = {
  __index = function(t, name)
    return type(name) == "string" and rawget(t, name:lower()) or nil
  end,
  __newindex = function(t, name, value)
    rawset(t, name:lower(), value)
  end,
}

---@param status integer
---@param content_type string?
---@param body string?
---@param headers? table<string, string|string[]>
---@return jobrun.http.Response
function M.new(status, content_type, body, headers)
  local fields = setmetatable({ ["content-type"] = content_type }, headers_meta)
  if headers then
    for name, value in pairs(headers) do fields[name] = value end
  end
  return setmetatable({ status = status, headers = fields, body = body }, Response)
end

---The same, to be changed without changing `r`.
function M.copy(r)
  local made = M.new(r.status, nil, r.body, r.headers)
  made.stream, made.file, made.is_endless = r.stream, r.file, r.is_endless
  return made
end

function M.is(value)
  return getmetatable(value) == Response
end

---A JSON response.
function M.json(status, value, headers)
  return M.new(status, "application/json", json.encode(value), headers)
end

---What is wrong with a request, as it came: bytes that are no UTF-8 are replaced.
---@param errors table[]
function M.invalid(errors)
  return M.new(422, "application/json", json.encode({ detail = errors }, 0, true, true))
end

---Raises what ends a request with a status: `{"detail": detail}`. (see http.fail)
function M.fail(status, detail, headers)
  if math.type(status) ~= "integer" or status < 400 or status > 599 then
    check.fail("http.fail: expected a status from 400 to 599, got %s", check.show(status))
  end
  error(err.new { kind = "http", message = ("%d: %s"):format(status, check.show(detail)), status = status, detail = detail,
    headers = headers })
end

-- What is wrong with a response, found when no line of the script is to blame any more.
local function refuse(fmt, ...)
  error(err.new({ kind = "usage", message = fmt:format(...) }, 0), 0)
end

---{"detail": …} with a status; the status's own words where there is no detail. It may name what came with the request:
---bytes that are no UTF-8 are replaced.
function M.detail(status, detail, headers)
  if detail == nil then detail = core.reason(status) or "Error" end
  return M.new(status, "application/json", json.encode({ detail = detail }, 0, true, true), headers)
end

local function of_value(status, value, headers)
  local kind = type(value)
  if value == nil then return M.new(status or 204, nil, nil, headers) end
  if kind == "table" then return M.new(status or 200, "application/json", json.encode(value), headers) end
  if kind == "string" then return M.new(status or 200, "text/plain; charset=utf-8", value, headers) end
  if kind == "boolean" or kind == "number" or value == json.null then return M.json(status or 200, value, headers) end
  refuse("a handler returned a %s: expected a table (JSON), a string (text), a response, or nothing", kind)
end

---The response of what a handler returned: `[status,] value [, headers]`.
function M.of(first, second, third)
  if getmetatable(first) == Response then return first end
  if math.type(first) ~= "integer" then return of_value(nil, first, second) end
  if first < 200 or first > 599 then
    refuse("a handler returned %d as its first value: expected a status from 200 to 599", first)
  end
  if getmetatable(second) == Response then
    second.status = first
    return second
  end
  return of_value(first, second, third)
end

local names_seen, seen = {}, 0 -- well-formed ones; a script has few

local function check_name(name)
  if names_seen[name] then return end
  if type(name) ~= "string" or not name:find "^[%w!#$%%&'*+%-.^_`|~]+$" then
    refuse("header name %s is malformed", check.show(name))
  end
  if seen < 256 then names_seen[name], seen = true, seen + 1 end
end

local function check_value(name, value)
  if type(value) == "number" then return tostring(value) end
  if type(value) ~= "string" then refuse("header %s: expected a string, got %s", name, type(value)) end
  if value:find "%c" and value:find "[%z\1-\8\10-\31\127]" then
    refuse("header %s: control characters are not allowed, got %s", name, check.show(value))
  end
  return value
end

-- Fields that say how the response is sent: the server writes them itself, from what they ask for.
local FRAMING = {
  date = function() end,
  connection = function(r, value) r.closes = value:lower() == "close" end,
  ["content-length"] = function(r, value)
    r.length = math.tointeger(tonumber(value))
    if not r.length or r.length < 0 then refuse("header content-length: expected a number, got %s", check.show(value)) end
  end,
  ["transfer-encoding"] = function() refuse "header transfer-encoding is not for scripts to set" end,
}

local function add_field(r, list, name, value)
  check_name(name)
  if FRAMING[name] then return FRAMING[name](r, check_value(name, value)) end
  if type(value) ~= "table" then
    list[#list + 1], list[#list + 2] = name, check_value(name, value)
    return
  end
  for _, one in ipairs(value) do list[#list + 1], list[#list + 2] = name, check_value(name, one) end
end

---Makes `fields`, a flat list {name, value, name, value, …}, checked, in order of names; and `length` and `closes`.
function Response:make_fields()
  local headers, list = self.headers, {}
  self.fields, self.length, self.closes = list, nil, nil
  local first, value = next(headers)
  if first == nil then return end
  if next(headers, first) == nil then return add_field(self, list, first, value) end
  for _, name in ipairs(check.keys(headers)) do add_field(self, list, name, headers[name]) end
end

return M
