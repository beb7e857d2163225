--- `json`: JSON (RFC 8259) to Lua values and back.
---
--- Objects become tables with string keys, null becomes `json.null` (which is true in a condition). Integers that
--- fit 64 bits stay integers, larger ones become floats, and a float stays one: 1.0 is written 1.0. Lists that were
--- decoded remember that they are lists, so [] stays []; `json.array{}` makes such a list. Text is UTF-8.
---
--- Both ways a value may be 128 levels deep. A call computes without letting other tasks run, about 10 ms for
--- each MB: do much bigger ones inside a function given to `blocking`, which returns what of it is needed.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.json"

local M = {}

local MOST_INDENT <const> = 16

---null, where a table has to say so: `{note = json.null}`.
M.null = core.null

local REPLACE = { replace = true, error = true }
local DECODE_OPTIONS = { invalid = { type = "string", among = REPLACE } }
local ENCODE_OPTIONS = {
  pretty = "boolean|integer",
  sort = { type = "boolean", default = true },
  invalid = { type = "string", among = REPLACE },
}

---The value of a JSON text. What is wrong in it raises kind "json", with the fields line, column (from 1, in
---characters), offset (bytes before it) and reason. Of equal keys in an object the last counts.
---@param text string
---@param options? {invalid?: "error"|"replace"} "replace": what is no UTF-8, halves of surrogate pairs too, becomes U+FFFD
---@return any
function M.decode(text, options)
  if options == nil then return core.decode(text) end
  local o = check.options("json.decode", options, DECODE_OPTIONS)
  return core.decode(text, o.invalid == "replace")
end

local function indent_of(pretty)
  if not pretty then return 0 end
  if pretty == true then return 2 end
  if pretty < 0 or pretty > MOST_INDENT then
    check.fail("json.encode: option 'pretty' expected 0 to %d spaces, got %s", MOST_INDENT, pretty)
  end
  return pretty
end

---The JSON text of a value, keys in order. A table with items from 1 on is a list, any other an object. What has
---no JSON form (NaN, an infinity, a function, a table with items and names, a list with holes, a string that is
---not UTF-8) raises kind "usage" with the path to it: `jobs[3].name`. pretty: lines, with so many spaces a level
---(true: 2); sort=false: keys in any order, which is faster.
---@param value any
---@param options? {pretty?: boolean|integer, sort?: boolean, invalid?: "error"|"replace"}
---@return string
function M.encode(value, options)
  if options == nil then return core.encode(value) end
  local o = check.options("json.encode", options, ENCODE_OPTIONS)
  return core.encode(value, indent_of(o.pretty), o.sort, o.invalid == "replace")
end

---A text as JSON may hold it: what of it is no UTF-8 becomes U+FFFD.
---@param text string
---@return string
function M.text(text)
  return core.valid_utf8(text) and text or core.decode(core.encode(text, 0, true, true))
end

---Marks a table as a list, so that it is written as one when it is empty.
---@param list? any[] a new one if nil
---@return any[] list
M.array = core.array

return M
