--- Targets of requests: percent-decoding, queries (RFC 3986; forms as WHATWG URL).
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"

local M = {}

local function byte_of(hex)
  return string.char(tonumber(hex, 16))
end

---The text behind percent escapes, or nil where one is malformed.
---@param text string
---@return string?
function M.decode(text)
  if not text:find("%", 1, true) then return text end
  if text:gsub("%%%x%x", ""):find("%", 1, true) then return nil end
  return (text:gsub("%%(%x%x)", byte_of))
end

---The values of a query by name, each a list in the order they stand. What is malformed stays as it is.
---@param query string
---@return table<string, string[]>
function M.query(query)
  local values = {}
  for pair in query:gmatch "[^&]+" do
    local name, value = pair:match "^([^=]*)=?(.*)$"
    name, value = name:gsub("+", " "), value:gsub("+", " ")
    name, value = M.decode(name) or name, M.decode(value) or value
    local list = values[name]
    if list then list[#list + 1] = value else values[name] = { value } end
  end
  return values
end

local function escape(c)
  return ("%%%02X"):format(c:byte())
end

---The text with all that is not unreserved as escapes; `also`: letters that stay.
---@param text string
---@param also? string
---@return string
function M.encode(text, also)
  return (text:gsub("[^%w%-._~" .. (also or "") .. "]", escape))
end

---A URL or target with a query behind it, in the order of names; a list gives its name several times.
---@param target string
---@param query table<string, any>
---@return string
function M.with_query(target, query)
  local fields = {}
  for _, name in ipairs(check.keys(query)) do
    local values = type(query[name]) == "table" and query[name] or { query[name] }
    for _, value in ipairs(values) do fields[#fields + 1] = M.encode(name) .. "=" .. M.encode(tostring(value)) end
  end
  if #fields == 0 then return target end
  return target .. (target:find("?", 1, true) and "&" or "?") .. table.concat(fields, "&")
end

return M
