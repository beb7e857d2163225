--- Which route a path leads to: a tree by segments, in which a fixed segment is looked at before a parameter.
---
--- A template is "/items/{id:int}/log": `{name}` is a segment as text, `{name:TYPE}` one of http.t's types, and
--- `{name:path}`, only at the end, all the rest.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local types = require "jobrun.http.types"
local url = require "jobrun.http.url"

local M = {}

---@class jobrun.http.Router
local Router = {}
Router.__index = Router

---@return jobrun.http.Router
function M.new()
  return setmetatable({ root = { fixed = {} }, whole = {} }, Router)
end

local SEGMENT_TYPES = { string = true, int = true, number = true, boolean = true, date = true, datetime = true, uuid = true }

-- "{id:int}" → the parameter; nil for a fixed segment.
local function parameter_of(what, segment, is_last)
  if not segment:find "[{}]" then return nil end
  local name, kind = segment:match "^{([%a_][%w_]*):?([%w_]*)}$"
  if not name then check.fail("%s: expected {name} or {name:type} as a whole segment, got %s", what, check.show(segment)) end
  if kind == "path" then
    if not is_last then check.fail("%s: {%s:path} takes the rest: it must come last", what, name) end
    return { name = name, type = types.t.string, rest = true }
  end
  kind = kind == "" and "string" or kind
  if not SEGMENT_TYPES[kind] then
    check.fail("%s: no type %s for a segment%s", what, check.show(kind), check.hint(kind, SEGMENT_TYPES))
  end
  return { name = name, type = types.t[kind] }
end

---The parts of a template, each a text or a parameter {name, type, rest}.
function M.parse(what, template)
  if type(template) ~= "string" or template:sub(1, 1) ~= "/" or template:find "[?#%s]" then
    check.fail("%s: expected a path that begins with /, without ?, # and blanks, got %s", what, check.show(template))
  end
  local parts, seen, n = {}, {}, 0
  for _ in template:gmatch "/" do n = n + 1 end
  for segment in template:gmatch "/([^/]*)" do
    local parameter = parameter_of(what, segment, #parts + 1 == n)
    if parameter then
      if seen[parameter.name] then check.fail("%s: {%s} is there twice", what, parameter.name) end
      seen[parameter.name] = true
    end
    parts[#parts + 1] = parameter or segment
  end
  return parts
end

local function child_of(node, part)
  if type(part) == "string" then
    local child = node.fixed[part] or { fixed = {} }
    node.fixed[part] = child
    return child
  end
  local word = part.rest and "rest" or "any"
  node[word] = node[word] or { fixed = {} }
  return node[word]
end

---Adds a route {method, path, parts, where}; one that is there already is a usage error.
function Router:add(route)
  local node = self.root
  for _, part in ipairs(route.parts) do node = child_of(node, part) end
  node.methods = node.methods or {}
  local other = node.methods[route.method]
  if other then
    check.fail("%s: %s %s leads here already (%s)", route.what, route.method, other.path, other.where or "?")
  end
  node.methods[route.method] = route
  local is_fixed = true
  for _, part in ipairs(route.parts) do is_fixed = is_fixed and type(part) == "string" end
  if is_fixed then self.whole[route.path] = node end
end

local function match(node, segments, i, values)
  local segment = segments[i]
  if segment == nil then return node.methods and node end
  local child = node.fixed[segment]
  local found = child and match(child, segments, i + 1, values)
  if found then return found end
  if node.any and segment ~= "" then
    values[#values + 1] = segment
    found = match(node.any, segments, i + 1, values)
    if found then return found end
    values[#values] = nil
  end
  if node.rest then
    values[#values + 1] = table.concat(segments, "/", i)
    return node.rest
  end
  return nil
end

---The methods of a path and the texts of its parameters in order; nil where nothing leads. Nil and true: the path is
---malformed.
---@param path string without its query
function Router:find(path)
  local whole = self.whole[path]
  if whole then return whole.methods, nil end
  local segments, n = {}, 0
  for segment in path:gmatch "/([^/]*)" do
    n = n + 1
    segments[n] = url.decode(segment)
    if not segments[n] then return nil, true end
  end
  local values = {}
  local node = match(self.root, segments, 1, values)
  if node then return node.methods, values end
  return nil
end

return M
