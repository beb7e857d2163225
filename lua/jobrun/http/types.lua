--- `http.t`: what a request may carry, and what is said when it does not.
---
--- A type is a value: `t.int`, refined by a call: `t.int {min = 1, default = 10}`, `t.string {pattern = "^%w+$"}`,
--- `t.list(t.string) {max_length = 5}`, `t.object {name = t.string, qty = t.int {above = 0}}`, `t.enum("a", "b")`,
--- `t.map(t.number)`. For every type: `optional` (absent and null are nil), `default`, `description`.
---
--- Values are read as pydantic 2 reads them (text from a path or query, and in JSON too where it is unmistakable), and
--- the errors are its: {type, loc, msg, input, ctx}, all of a request together. JSON Schema 2020-12 is made from the same.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local json = require "jobrun.core.json"

local null, is_array, valid_utf8 = json.null, json.is_array, json.valid_utf8
local mtype = math.type

local M = {}

---@class jobrun.http.Type
---@field kind string
---@field rules table what it was refined by
local Type = {}
Type.__index = Type

---@class jobrun.http.Errors where errors are collected; where = the declaration's part ("query", "body")

-- ---- errors -------------------------------------------------------------------------------------

-- `up` is where the thing at `key` lies: nil, or {up, key}.
local function location(up, key)
  local loc, n = { key }, 1
  while up do
    n = n + 1
    loc[n] = up[2]
    up = up[1]
  end
  for i = 1, n // 2 do loc[i], loc[n + 1 - i] = loc[n + 1 - i], loc[i] end
  return loc
end

local function complain(errors, up, key, kind, msg, input, ctx)
  if input == nil then input = null end
  errors[#errors + 1] = { type = kind, loc = location(up, key), msg = msg, input = input, ctx = ctx }
end

M.complain = complain

-- ---- rules --------------------------------------------------------------------------------------

local ANY = { optional = "boolean", default = "any", description = "string" }

local function with_any(spec)
  for key, rule in pairs(ANY) do spec[key] = rule end
  return spec
end

local BOUNDS = { min = "number", max = "number", above = "number", below = "number", multiple_of = "number" }
local LENGTHS = { min_length = "integer", max_length = "integer" }

local function merge(...)
  local all = {}
  for _, spec in ipairs { ... } do
    for key, rule in pairs(spec) do all[key] = rule end
  end
  return with_any(all)
end

local SPECS = {
  string = merge(LENGTHS, { pattern = "string" }),
  int = merge(BOUNDS),
  number = merge(BOUNDS),
  list = merge(LENGTHS),
  map = merge(LENGTHS),
  object = merge { extra = { type = "string", among = { ignore = true, forbid = true, allow = true } } },
}
local PLAIN = merge()

-- ---- text ---------------------------------------------------------------------------------------

local function plural(n, word)
  return ("%d %s%s"):format(n, word, n == 1 and "" or "s")
end

local function check_text(t, value, errors, up, key)
  local rules = t.rules
  local length = (rules.min_length or rules.max_length) and utf8.len(value, 1, -1, true) or 0
  if rules.min_length and length < rules.min_length then
    complain(errors, up, key, "string_too_short", "String should have at least " .. plural(rules.min_length, "character"),
      value, { min_length = rules.min_length })
  elseif rules.max_length and length > rules.max_length then
    complain(errors, up, key, "string_too_long", "String should have at most " .. plural(rules.max_length, "character"),
      value, { max_length = rules.max_length })
  elseif rules.pattern and not value:find(rules.pattern) then
    complain(errors, up, key, "string_pattern_mismatch", ("String should match pattern '%s'"):format(rules.pattern), value,
      { pattern = rules.pattern })
  end
  return value
end

local parse = {}

function parse.string(t, value, errors, up, key)
  if type(value) ~= "string" then
    complain(errors, up, key, "string_type", "Input should be a valid string", value)
    return nil
  end
  if not valid_utf8(value) then
    complain(errors, up, key, "string_unicode",
      "Input should be a valid string, unable to parse raw data as a unicode string", value)
    return nil
  end
  if t.is_plain then return value end
  return check_text(t, value, errors, up, key)
end

-- ---- numbers ------------------------------------------------------------------------------------

local function check_bounds(t, value, errors, up, key, input)
  local r = t.rules
  if r.above and value <= r.above then
    complain(errors, up, key, "greater_than", "Input should be greater than " .. r.above, input, { gt = r.above })
  elseif r.min and value < r.min then
    complain(errors, up, key, "greater_than_equal", "Input should be greater than or equal to " .. r.min, input, { ge = r.min })
  elseif r.below and value >= r.below then
    complain(errors, up, key, "less_than", "Input should be less than " .. r.below, input, { lt = r.below })
  elseif r.max and value > r.max then
    complain(errors, up, key, "less_than_equal", "Input should be less than or equal to " .. r.max, input, { le = r.max })
  elseif r.multiple_of and value % r.multiple_of ~= 0 then
    complain(errors, up, key, "multiple_of", "Input should be a multiple of " .. r.multiple_of, input,
      { multiple_of = r.multiple_of })
  end
  return value
end

-- The integer of a text, or nil and the error's type and message.
local function int_of_text(text)
  local digits = text:match "^%s*([+-]?%d+)%s*$" or text:match "^%s*([+-]?%d+)%.0*%s*$"
  if not digits then
    return nil, "int_parsing", "Input should be a valid integer, unable to parse string as an integer"
  end
  local value = tonumber(digits:gsub("^%+", ""), 10) or math.tointeger(tonumber(digits))
  if tostring(value) == digits:gsub("^%+", ""):gsub("^(-?)0+(%d)", "%1%2") or value == 0 then return value end
  return nil, "int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size"
end

function parse.int(t, value, errors, up, key)
  local whole, kind, msg = value, "int_type", "Input should be a valid integer"
  if type(value) == "string" then
    whole, kind, msg = int_of_text(value)
  elseif mtype(value) == "float" then
    whole = math.tointeger(value)
    kind, msg = "int_from_float", "Input should be a valid integer, got a number with a fractional part"
  elseif type(value) ~= "number" then
    whole = nil
  end
  if not whole then
    complain(errors, up, key, kind, msg, value)
    return nil
  end
  if t.is_plain then return whole end
  return check_bounds(t, whole, errors, up, key, value)
end

function parse.number(t, value, errors, up, key)
  local number = value
  if type(value) == "string" then
    number = value:find "^%s*[+-]?[%d.]+[eE]?[+-]?%d*%s*$" and tonumber(value)
  elseif type(value) ~= "number" then
    number = nil
  end
  if not number then
    local is_text = type(value) == "string"
    complain(errors, up, key, is_text and "float_parsing" or "float_type", "Input should be a valid number"
      .. (is_text and ", unable to parse string as a number" or ""), value)
    return nil
  end
  if t.is_plain then return number end
  return check_bounds(t, number, errors, up, key, value)
end

local BOOLEANS = {
  [0] = false, [1] = true, ["0"] = false, ["1"] = true, off = false, on = true, f = false, t = true, ["false"] = false,
  ["true"] = true, n = false, y = true, no = false, yes = true,
}

function parse.boolean(_, value, errors, up, key)
  if type(value) == "boolean" then return value end
  local is_text = type(value) == "string"
  local known = BOOLEANS[is_text and value:lower() or value]
  if known ~= nil then return known end
  complain(errors, up, key, is_text and "bool_parsing" or "bool_type", "Input should be a valid boolean"
    .. (is_text and ", unable to interpret input" or ""), value)
  return nil
end

-- ---- text of a form -----------------------------------------------------------------------------

local function is_date(year, month, day)
  month, day = tonumber(month), tonumber(day)
  if month < 1 or month > 12 or day < 1 then return false end
  local leap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
  return day <= (month == 2 and (leap and 29 or 28) or (month == 4 or month == 6 or month == 9 or month == 11) and 30 or 31)
end

local FORMS = { -- value → true or false
  date = function(text)
    local y, m, d = text:match "^(%d%d%d%d)-(%d%d)-(%d%d)$"
    return y and is_date(tonumber(y), m, d)
  end,
  datetime = function(text) -- RFC 3339
    local y, m, d, hour, minute, second, rest = text:match "^(%d%d%d%d)-(%d%d)-(%d%d)[Tt ](%d%d):(%d%d):(%d%d)(.*)$"
    if not y or not is_date(tonumber(y), m, d) then return false end
    if tonumber(hour) > 23 or tonumber(minute) > 59 or tonumber(second) > 60 then return false end
    rest = rest:gsub("^%.%d+", "")
    if rest == "" or rest == "Z" or rest == "z" then return true end
    local zone_hour, zone_minute = rest:match "^[+-](%d%d):(%d%d)$"
    return zone_hour and tonumber(zone_hour) < 24 and tonumber(zone_minute) < 60
  end,
  uuid = function(text)
    local x = "%x%x%x%x"
    return text:find("^" .. x .. (x .. "%-"):rep(4) .. x .. x .. x .. "$")
  end,
}
local FORM_NAMES = { date = "date", datetime = "datetime", uuid = "UUID" }

for form, matches in pairs(FORMS) do
  parse[form] = function(_, value, errors, up, key)
    if type(value) == "string" and matches(value) then return value end
    local kind = type(value) == "string" and form .. "_parsing" or form .. "_type"
    complain(errors, up, key, kind, "Input should be a valid " .. FORM_NAMES[form], value)
    return nil
  end
end

-- ---- the rest -----------------------------------------------------------------------------------

function parse.any(_, value)
  return value
end

function parse.enum(t, value, errors, up, key)
  local known = t.values[value]
  if known ~= nil then return known end
  complain(errors, up, key, "enum", "Input should be " .. t.expected, value, { expected = t.expected })
  return nil
end

-- A part's value, or its default where it is absent; `given` is the whole it is a part of.
local function part(t, value, errors, up, key, given)
  if value == nil or (value == null and t.rules.optional) then
    local rules = t.rules
    if rules.default ~= nil and value == nil then return t:copy_default() end
    if not rules.optional then complain(errors, up, key, "missing", "Field required", given) end
    return nil
  end
  return t.parse(t, value, errors, up, key)
end

M.part = part

local function check_length(t, n, what, errors, up, key, input)
  local r = t.rules
  local few = r.min_length and n < r.min_length
  if not few and not (r.max_length and n > r.max_length) then return end
  local limit = few and r.min_length or r.max_length
  complain(errors, up, key, few and "too_short" or "too_long", ("%s should have at %s %s after validation, not %d"):format(what,
    few and "least" or "most", plural(limit, "item"), n), input,
    { field_type = what, actual_length = n, [few and "min_length" or "max_length"] = limit })
end

function parse.list(t, value, errors, up, key)
  if type(value) ~= "table" or not is_array(value) then
    complain(errors, up, key, "list_type", "Input should be a valid list", value)
    return nil
  end
  local here, list, item = { up, key }, json.array {}, t.item
  for i = 1, #value do
    local checked = part(item, value[i], errors, here, i - 1)
    if checked == nil then checked = null end
    list[i] = checked
  end
  check_length(t, #value, "List", errors, up, key, value)
  return list
end

local function is_object(value)
  return type(value) == "table" and not is_array(value)
end

function parse.map(t, value, errors, up, key)
  if not is_object(value) then
    complain(errors, up, key, "dict_type", "Input should be a valid dictionary", value)
    return nil
  end
  local here, map, n = { up, key }, {}, 0
  for name, item in pairs(value) do
    map[name] = part(t.item, item, errors, here, name)
    n = n + 1
  end
  check_length(t, n, "Dictionary", errors, up, key, value)
  return map
end

local function take_extra(t, value, object, errors, here)
  local extra = t.rules.extra
  if extra ~= "forbid" and extra ~= "allow" then return end
  for name, item in pairs(value) do
    if not t.fields[name] then
      if extra == "allow" then
        object[name] = item
      else
        complain(errors, here, name, "extra_forbidden", "Extra inputs are not permitted", item)
      end
    end
  end
end

function parse.object(t, value, errors, up, key)
  if not is_object(value) then
    complain(errors, up, key, "model_attributes_type",
      "Input should be a valid dictionary or object to extract fields from", value)
    return nil
  end
  if not t.fields then return value end
  local here, object, names, fields = { up, key }, t.make(), t.names, t.fields
  for i = 1, #names do
    local name = names[i]
    object[name] = part(fields[name], value[name], errors, here, name, value)
  end
  take_extra(t, value, object, errors, here)
  return object
end

-- ---- making types -------------------------------------------------------------------------------

local function new(kind, rules)
  return setmetatable({ kind = kind, parse = parse[kind], rules = rules or {}, is_plain = true }, Type)
end

local function is_type(value)
  return getmetatable(value) == Type
end

---Is it a type of http.t?
M.is_type = is_type

---Raises a usage error unless `value` is a type that can be used as it stands.
function M.expect(what, value)
  if not is_type(value) then
    local got = type(value) == "table" and "a table (write t.object {…})" or check.show(value)
    check.fail("%s: expected a type such as t.string, got %s", what, got)
  end
  if value.kind == "enum" and not value.values then check.fail("%s: t.enum needs its values: t.enum(\"a\", \"b\")", what) end
  return value
end

local function copy(value)
  if type(value) ~= "table" then return value end
  local made = {}
  for k, v in pairs(value) do made[k] = copy(v) end
  return setmetatable(made, getmetatable(value))
end

function Type:copy_default()
  return copy(self.rules.default)
end

local function check_default(t)
  local default = t.rules.default
  if t.kind == "list" and type(default) == "table" and next(default) == nil then t.rules.default = json.array(copy(default)) end
  local errors = {}
  t.parse(t, t.rules.default, errors, nil, "default")
  local e = errors[1]
  if e then check.fail("t.%s: default %s: %s", t.kind, check.show(default), e.msg) end
end

local function check_rules(t)
  local r = t.rules
  if r.min and r.max and r.min > r.max then check.fail("t.%s: min %s is more than max %s", t.kind, r.min, r.max) end
  if r.min_length and r.max_length and r.min_length > r.max_length then
    check.fail("t.%s: min_length %d is more than max_length %d", t.kind, r.min_length, r.max_length)
  end
  if r.pattern then
    local ok, wrong = pcall(string.find, "", r.pattern)
    if not ok then check.fail("t.%s: pattern %s: %s", t.kind, check.show(r.pattern), wrong) end
  end
  if r.default ~= nil then check_default(t) end
end

local function refine(t, options)
  local checked = check.options("t." .. t.kind, options, SPECS[t.kind] or PLAIN)
  local made = setmetatable({}, Type)
  for key, value in pairs(t) do made[key] = value end
  made.rules = {}
  for key, value in pairs(t.rules) do made.rules[key] = value end
  for key, value in pairs(checked) do made.rules[key] = value end
  made.is_plain = next(made.rules) == nil
  M.expect("t." .. t.kind, made)
  check_rules(made)
  return made
end

local function make_object(fields)
  if type(fields) ~= "table" then check.fail("t.object: expected a table of fields, got %s", check.show(fields)) end
  local t = new "object"
  t.fields, t.names = fields, {}
  for name, field in pairs(fields) do
    if type(name) ~= "string" then check.fail("t.object: expected names of fields, got %s", check.show(name)) end
    M.expect("t.object: field '" .. name .. "'", field)
    t.names[#t.names + 1] = name
  end
  table.sort(t.names)
  -- A table with room for all of them: a constructor's size is that of its list, whatever is in it.
  t.make = load("return {" .. ("_ = nil,"):rep(#t.names) .. "}", "=t.object", "t", {})
  return t
end

local function make_enum(...)
  local list = select("#", ...) == 1 and type(...) == "table" and ... or { ... }
  local t, shown = new "enum", {}
  if #list == 0 then check.fail "t.enum: expected values" end
  t.values, t.list = {}, list
  for i, value in ipairs(list) do
    if type(value) ~= "string" and mtype(value) ~= "integer" then
      check.fail("t.enum: expected strings or integers, got %s", check.show(value))
    end
    t.values[value], t.values[tostring(value)] = value, value
    shown[i] = type(value) == "string" and "'" .. value .. "'" or tostring(value)
  end
  local last = table.remove(shown)
  t.expected = #shown > 0 and table.concat(shown, ", ") .. " or " .. last or last
  return t
end

local MAKERS = {
  object = make_object,
  enum = make_enum,
  list = function(item) return rawset(new "list", "item", M.expect("t.list", item)) end,
  map = function(item) return rawset(new "map", "item", M.expect("t.map", item)) end,
}

-- The first call of a composed type says what it is made of, each other one refines.
function Type.__call(t, ...)
  local maker = t.open and MAKERS[t.kind]
  if maker then return maker(...) end
  return refine(t, ...)
end

function Type.__tostring(t)
  return "t." .. t.kind
end

-- ---- JSON Schema --------------------------------------------------------------------------------

local FROM_LUA = {
  a = "A-Za-z", d = "0-9", l = "a-z", u = "A-Z", w = "A-Za-z0-9", s = "\\s", x = "0-9A-Fa-f",
}

-- A Lua pattern as a regular expression of ECMA-262, or nil where there is none.
local function regex_of(pattern)
  if pattern:find "%%[bfcgpADLUWSXCGP0-9]" then return nil end
  local in_set = false
  return (pattern:gsub("(%%?)(.)", function(percent, c)
    if percent ~= "" then
      local set = FROM_LUA[c]
      if set then return in_set and set or "[" .. set .. "]" end
      return c:find "%w" and c or "\\" .. c
    end
    if c == "[" then in_set = true elseif c == "]" then in_set = false end
    if in_set then return c == "\\" and "\\\\" or c end
    if c == "-" then return "*?" end
    return c:find "[{}|\\/]" and "\\" .. c or c
  end))
end

local SCHEMAS = {
  string = { type = "string" },
  int = { type = "integer" },
  number = { type = "number" },
  boolean = { type = "boolean" },
  date = { type = "string", format = "date" },
  datetime = { type = "string", format = "date-time" },
  uuid = { type = "string", format = "uuid" },
  any = {},
  list = { type = "array" },
  map = { type = "object" },
  object = { type = "object" },
  enum = {},
}
local LENGTH_WORDS = { string = "Length", list = "Items", map = "Properties" }

local function object_schema(t, schema)
  if not t.fields then return end
  schema.properties = {}
  local required = {}
  for _, name in ipairs(t.names) do
    local field = t.fields[name]
    schema.properties[name] = field:schema()
    if not field.rules.optional and field.rules.default == nil then required[#required + 1] = name end
  end
  if #required > 0 then schema.required = required end
  if t.rules.extra == "forbid" then schema.additionalProperties = false end
end

---The JSON Schema (2020-12) of the type, a new table.
---@return table
function Type:schema()
  local schema, r = copy(SCHEMAS[self.kind]), self.rules
  schema.minimum, schema.maximum = r.min, r.max
  schema.exclusiveMinimum, schema.exclusiveMaximum = r.above, r.below
  schema.multipleOf, schema.description, schema.default = r.multiple_of, r.description, copy(r.default)
  local word = LENGTH_WORDS[self.kind]
  if word then schema["min" .. word], schema["max" .. word] = r.min_length, r.max_length end
  if r.pattern then schema.pattern = regex_of(r.pattern) end
  if self.kind == "list" then schema.items = (self.item or M.t.any):schema() end
  if self.kind == "map" then schema.additionalProperties = (self.item or M.t.any):schema() end
  if self.kind == "object" then object_schema(self, schema) end
  if self.kind == "enum" then schema.enum = copy(self.list) end
  if r.optional and type(schema.type) == "string" then schema.type = { schema.type, "null" } end
  return schema
end

-- ---- the words ----------------------------------------------------------------------------------

local function open(kind)
  local t = new(kind)
  t.open = true
  if kind == "list" or kind == "map" then t.item = M.t.any end
  return t
end

---The types by name.
M.t = { string = new "string", int = new "int", number = new "number", boolean = new "boolean", any = new "any" }
M.t.date, M.t.datetime, M.t.uuid = new "date", new "datetime", new "uuid"
M.t.list, M.t.map, M.t.object, M.t.enum = open "list", open "map", open "object", open "enum"

setmetatable(M.t, { __index = function(_, name)
  check.fail("http.t: no type %s%s", check.show(name), check.hint(name, M.t))
end })

return M
