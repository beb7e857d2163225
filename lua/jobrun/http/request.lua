--- Requests as handlers see them, and the check of what a route declared about them.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local json = require "jobrun.core.json"
local response = require "jobrun.http.response"
local types = require "jobrun.http.types"
local url = require "jobrun.http.url"

local M = {}

---@class jobrun.http.Request
---@field method string
---@field path string as it was sent, without the query
---@field target string as it was sent
---@field route string? the route's template
---@field params table the path's parameters
---@field query table declared ones; all as text (the last of each name) where the route declares none
---@field headers table<string, string> by name in small letters
---@field header table the declared ones
---@field body any checked where the route declares it, the bytes otherwise
---@field raw_body string the bytes
---@field remote string? who asks
---@field state table for middleware to leave things in
local Request = {}

-- Parts that most handlers never look at are made when they are.
local LAZY = {
  query = function(req)
    local query = {}
    for name, values in pairs(url.query(req.target:match "%?(.*)$" or "")) do query[name] = values[#values] end
    return query
  end,
  state = function() return {} end,
  params = function() return {} end,
  header = function() return {} end,
  body = function(req) return rawget(req, "raw_body") end,
}

local meta = {
  __name = "jobrun.http.Request",
  __index = function(req, key)
    local make = LAZY[key]
    if not make then return Request[key] end
    local value = make(req)
    rawset(req, key, value)
    return value
  end,
}

---Makes a request of `raw`, which it becomes.
---@param raw {method: string, target: string, headers: table<string, string>, raw_body: string?, remote: string?}
function M.new(raw)
  local target = raw.target
  local mark = target:find("?", 1, true)
  raw.path = mark and target:sub(1, mark - 1) or target
  raw.raw_body = raw.raw_body or ""
  return setmetatable(raw, meta)
end

---The body as JSON. What is malformed ends the request with 422, as a declared body does.
---@return any
function Request:json()
  local ok, value = pcall(json.decode, self.raw_body)
  if ok then return value end
  response.fail(422, { M.json_error(value) })
end

-- ---- declarations -------------------------------------------------------------------------------

local SINGLE = {
  string = true, int = true, number = true, boolean = true, date = true, datetime = true, uuid = true, enum = true, any = true,
}

local function check_part(what, t, lists)
  types.expect(what, t)
  local kind = t.kind
  if SINGLE[kind] or (lists and kind == "list" and SINGLE[t.item.kind]) then return end
  check.fail("%s: t.%s has no form as plain text: expected t.string, t.int, …%s", what, kind,
    lists and " or a list of them" or "")
end

-- {names, types, as sent} of a declared group.
local function declare_fields(what, fields, lists, rename)
  if fields == nil then return nil end
  if type(fields) ~= "table" or types.is_type(fields) then check.fail("%s: expected a table {name = type}", what) end
  local list = {}
  for _, name in ipairs(check.keys(fields)) do
    if type(name) ~= "string" then check.fail("%s: expected names, got %s", what, check.show(name)) end
    check_part(what .. "." .. name, fields[name], lists)
    list[#list + 1] = { name = name, type = fields[name], sent = rename and rename(name) or name }
  end
  return list
end

local function header_name(name)
  return (name:lower():gsub("_", "-"))
end

---Checks what a route declares; returns it ready for use.
function M.declare(what, options, parts)
  local parameters = {}
  for _, part in ipairs(parts) do
    if type(part) == "table" then parameters[#parameters + 1] = part end
  end
  if options.body ~= nil then types.expect(what .. ": body", options.body) end
  return {
    parameters = parameters,
    query = declare_fields(what .. ": query", options.query, true),
    header = declare_fields(what .. ": header", options.header, false, header_name),
    body = options.body,
  }
end

-- ---- reading ------------------------------------------------------------------------------------

---{type = "json_invalid", …} of an error of json.decode.
function M.json_error(e)
  return { type = "json_invalid", loc = { "body", e.offset or 0 }, msg = "JSON decode error", input = {},
    ctx = { error = e.reason or e.message } }
end

local function read_query(fields, target, errors)
  local mark = target:find("?", 1, true)
  local sent, query, here = mark and url.query(target:sub(mark + 1)) or {}, {}, { nil, "query" }
  for _, field in ipairs(fields) do
    local values = sent[field.sent]
    local value = values and (field.type.kind == "list" and json.array(values) or values[#values])
    query[field.name] = types.part(field.type, value, errors, here, field.sent)
  end
  return query
end

local function read_header(fields, headers, errors)
  local header, here = {}, { nil, "header" }
  for _, field in ipairs(fields) do
    header[field.name] = types.part(field.type, headers[field.sent], errors, here, field.sent)
  end
  return header
end

local function is_json(content_type)
  if not content_type or content_type == "application/json" then return true end
  local media = content_type:lower():match "^%s*([^;%s]*)"
  return media == "application/json" or media:find "^application/.*%+json$" ~= nil
end

local function read_body(t, req, errors)
  if req.raw_body == "" then return types.part(t, nil, errors, nil, "body") end
  if not is_json(req.headers["content-type"]) then
    return types.part(t, req.raw_body, errors, nil, "body")
  end
  local ok, value = pcall(json.decode, req.raw_body)
  if ok then return types.part(t, value, errors, nil, "body") end
  errors[#errors + 1] = M.json_error(value)
end

local none = {} -- where errors go; nothing here waits, so one does until there are some

---Fills in what the route declared, from `values`, the texts of its path's parameters; returns the errors found, or nil.
function M.read(req, declared, values)
  local errors = none
  if values then
    local params, here = {}, { nil, "path" }
    for i, parameter in ipairs(declared.parameters) do
      params[parameter.name] = types.part(parameter.type, values[i], errors, here, parameter.name)
    end
    req.params = params
  end
  if declared.query then req.query = read_query(declared.query, req.target, errors) end
  if declared.header then req.header = read_header(declared.header, req.headers, errors) end
  if declared.body then req.body = read_body(declared.body, req, errors) end
  if not errors[1] then return nil end
  none = {}
  return errors
end

return M
