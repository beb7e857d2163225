--- Checks of what scripts pass in: option tables, durations, names. Everything wrong is an error
--- of kind "usage" that names the value, what was expected and the script's line.
--
-- SPDX-License-Identifier: MIT

local durations = require "jobrun.core.duration"
local err = require "jobrun.core.error"

local M = {}

---Raises a usage error that blames the script's line.
---@param fmt string as string.format
function M.fail(fmt, ...)
  error(err.new { kind = "usage", message = fmt:format(...) })
end

---A value as it is shown in messages.
---@param value any
---@return string
function M.show(value)
  if type(value) == "string" then return ("%q"):format(#value > 60 and value:sub(1, 57) .. "..." or value) end
  return tostring(value)
end

-- Edit distance with swaps of neighbours, up to `limit`.
local function distance(a, b, limit)
  if math.abs(#a - #b) > limit then return limit + 1 end
  local before, previous, current = {}, {}, {}
  for j = 0, #b do previous[j] = j end
  for i = 1, #a do
    current[0] = i
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local best = math.min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, before[j - 2] + 1)
      end
      current[j] = best
    end
    before, previous, current = previous, current, before
  end
  return previous[#b]
end

---The known word nearest to `name`, if any is near enough to be meant.
---@param name any
---@param words table<string, any>|string[] keys, or a list
---@return string?
function M.nearest(name, words)
  if type(name) ~= "string" then return nil end
  local best, best_distance
  local limit = math.max(1, #name // 3)
  for key, value in pairs(words) do
    local word = type(key) == "string" and key or value
    local d = distance(name:lower(), word:lower(), limit)
    if d <= limit and (not best or d < best_distance or (d == best_distance and word < best)) then
      best, best_distance = word, d
    end
  end
  return best
end

---", did you mean 'word'?" or "".
---@param name any
---@param words table
---@return string
function M.hint(name, words)
  local word = M.nearest(name, words)
  return word and (", did you mean '%s'?"):format(word) or ""
end

---Seconds of a duration: a number, or a string such as "1h30m", "90s", "250ms", "2d", "1w".
---@param value any
---@param what string the name of the thing, for the message
---@return number seconds
function M.duration(value, what)
  if type(value) == "number" then
    if value ~= value or value < 0 or value > 9.2e9 then
      M.fail("%s: expected a duration of 0 to 9.2e9 seconds, got %s", what, value)
    end
    return value
  end
  if type(value) ~= "string" then
    M.fail("%s: expected a duration (seconds or \"1h30m\"), got %s", what, type(value))
  end
  local ns, fault = durations.parse(value)
  if not ns then
    M.fail('%s: expected a duration such as "1h30m", "90s" or "250ms", got %s (%s)', what, M.show(value), fault)
  end
  return ns / 1e9
end

local function type_matches(value, expected)
  for word in expected:gmatch("[^|]+") do
    if word == "any" or type(value) == word or word == math.type(value) then return true end
    if word == "callable" and (type(value) == "function" or (getmetatable(value) or {}).__call) then return true end
  end
  return false
end

local function check_option(what, key, value, rule)
  local expected = rule.type
  if expected == "duration" then return M.duration(value, what .. "." .. key) end
  if not type_matches(value, expected) then
    M.fail("%s: option '%s' expected %s, got %s (%s)", what, key, (expected:gsub("|", " or ")), M.show(value),
      type(value))
  end
  if rule.among and not rule.among[value] then
    local words = {}
    for word in pairs(rule.among) do words[#words + 1] = M.show(word) end
    table.sort(words)
    M.fail("%s: option '%s' expected one of %s, got %s", what, key, table.concat(words, ", "), M.show(value))
  end
  if rule.min and value < rule.min then
    M.fail("%s: option '%s' expected at least %s, got %s", what, key, rule.min, M.show(value))
  end
  return value
end

---Checks an option table and returns a copy with defaults and durations in seconds.
---`spec[key]` is a type ("string", "number|string", "integer", "duration", "callable", "any") or a
---table {type=, default=, required=, among={word=true}, min=}. With `spec[1] = "any"`-like integer
---keys absent, list items are refused too; `spec.list = "string"` allows a list of that type.
---@param what string the word's name
---@param options table
---@param spec table
---@return table
function M.options(what, options, spec)
  if type(options) ~= "table" then M.fail("%s: expected a table of options, got %s", what, type(options)) end
  local checked = {}
  for key, value in pairs(options) do
    if math.type(key) == "integer" and type(spec.list) == "string" then
      if not type_matches(value, spec.list) then
        M.fail("%s: item %d expected %s, got %s", what, key, spec.list, type(value))
      end
      checked[key] = value
    else
      local rule = spec[key]
      if rule == nil or key == "list" and type(rule) == "string" then
        M.fail("%s: unknown option %s%s", what, M.show(key), M.hint(key, spec))
      end
      checked[key] = check_option(what, key, value, type(rule) == "string" and { type = rule } or rule)
    end
  end
  for key, rule in pairs(spec) do
    if type(rule) == "table" and checked[key] == nil then
      if rule.required then M.fail("%s: option '%s' (%s) is missing", what, key, rule.type) end
      checked[key] = rule.default
    end
  end
  return checked
end

---The keys of a table, in order.
---@param t table<string, any>
---@return string[]
function M.keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

return M
