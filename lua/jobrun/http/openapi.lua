--- The OpenAPI 3.1.0 description of an application's routes.
--
-- SPDX-License-Identifier: MIT

local json = require "jobrun.core.json"
local types = require "jobrun.http.types"

local M = {}

local VALIDATION_ERROR = {
  type = "object",
  required = { "detail" },
  properties = {
    detail = {
      type = "array",
      items = {
        type = "object",
        required = { "loc", "msg", "type" },
        properties = {
          loc = { type = "array", items = { type = { "string", "integer" } } },
          msg = { type = "string" }, type = { type = "string" }, input = {}, ctx = { type = "object" },
        },
      },
    },
  },
}

local function parameter(place, name, t, required)
  return { ["in"] = place, name = name, required = required, schema = t:schema(), description = t.rules.description }
end

local function is_required(t)
  return not t.rules.optional and t.rules.default == nil
end

local function parameters_of(declared)
  local list = json.array {}
  for _, p in ipairs(declared.parameters) do list[#list + 1] = parameter("path", p.name, p.type, true) end
  for _, place in ipairs { "query", "header" } do
    for _, field in ipairs(declared[place] or {}) do
      list[#list + 1] = parameter(place, field.sent, field.type, is_required(field.type))
    end
  end
  return #list > 0 and list or nil
end

local function of_type(t)
  return { ["application/json"] = { schema = t:schema() } }
end

local function responses_of(route, has_input)
  local responses, options = {}, route.options
  for status, t in pairs(options.responses or {}) do
    responses[tostring(status)] = types.is_type(t) and { description = "Response", content = of_type(t) }
      or { description = tostring(t) }
  end
  local usual = tostring(options.status or 200)
  if not next(responses) then responses[usual] = { description = "Successful response" } end
  if has_input and not responses["422"] then
    responses["422"] = {
      description = "Validation error",
      content = { ["application/json"] = { schema = { ["$ref"] = "#/components/schemas/HTTPValidationError" } } },
    }
  end
  return responses
end

local function summary_of(route)
  local words = route.path:gsub("[{}]", ""):gsub(":%w+", ""):gsub("[/_-]+", " ")
  return (route.method:sub(1, 1) .. route.method:sub(2):lower() .. words):gsub("%s+$", "")
end

local function security_of(route, app)
  for _, layers in ipairs { app.layers, route.layers } do
    for _, layer in ipairs(layers) do
      if type(layer) == "table" and layer.security then return { { [layer.security] = json.array {} } } end
    end
  end
end

local function operation_of(route, app)
  local declared, options = route.declared, route.options
  local parameters = parameters_of(declared)
  local body = declared.body
  return {
    operationId = (route.method:lower() .. route.path:gsub(":%w+", ""):gsub("%W+", "_")):gsub("_$", ""),
    summary = options.summary or summary_of(route),
    description = options.description,
    tags = options.tags,
    parameters = parameters,
    requestBody = body and { required = is_required(body), content = of_type(body) } or nil,
    responses = responses_of(route, parameters ~= nil or body ~= nil),
    security = security_of(route, app),
  }
end

---@param app jobrun.http.App
---@param info {title: string, version: string, description?: string}
---@return table
function M.describe(app, info)
  local paths, has_security = {}, false
  for _, route in ipairs(app.routes) do
    if not route.options.hidden then
      local path = route.path:gsub("{([%w_]+):?%w*}", "{%1}")
      paths[path] = paths[path] or {}
      local operation = operation_of(route, app)
      paths[path][route.method:lower()] = operation
      has_security = has_security or operation.security ~= nil
    end
  end
  return {
    openapi = "3.1.0",
    info = { title = info.title, version = info.version, description = info.description },
    paths = paths,
    components = {
      schemas = { HTTPValidationError = VALIDATION_ERROR },
      securitySchemes = has_security and { bearer = { type = "http", scheme = "bearer" } } or nil,
    },
  }
end

return M
