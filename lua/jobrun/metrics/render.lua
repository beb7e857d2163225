--- Metrics as text: the Prometheus format 0.0.4, and OpenMetrics 1.0.
---
--- They differ in little: OpenMetrics names a counter's family without its _total, tells when a series was created,
--- and ends with "# EOF".
--
-- SPDX-License-Identifier: MIT

local M = {}

local PLAIN <const> = "text/plain; version=0.0.4; charset=utf-8"
local OPEN <const> = "application/openmetrics-text; version=1.0.0; charset=utf-8"

local ESCAPES = { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }

---A label's value between its quotes; what is no UTF-8 becomes U+FFFD.
---@param text string
---@return string
function M.escape(text)
  while true do
    local _, bad = utf8.len(text)
    if not bad then break end
    text = text:sub(1, bad - 1) .. "\u{fffd}" .. text:sub(bad + 1)
  end
  return (text:gsub('[\\"\n]', ESCAPES))
end

---A number as both formats want it.
---@param value number
---@return string
function M.number(value)
  if math.type(value) == "integer" then return tostring(value) end
  if value == math.huge then return "+Inf" end
  if value == -math.huge then return "-Inf" end
  if value ~= value then return "NaN" end
  local text = ("%.15g"):format(value)
  return tonumber(text) == value and text or ("%.17g"):format(value)
end

-- A bucket's bound has one spelling in both formats, so that its series stays the same.
local function bound_text(bound)
  local text = M.number(bound + 0.0)
  return text:find "[.e]" and text or text .. ".0"
end

-- A q-value; 1 where there is none.
local function quality(parameters)
  return tonumber(parameters:match ";%s*[qQ]=([%d.]+)" or 1) or 0
end

---Does this Accept field prefer OpenMetrics 1.0?
---@param accept string?
---@return boolean
function M.wants_open(accept)
  local open, plain = 0, 0
  for range in (accept or ""):gmatch "[^,]+" do
    local media, parameters = range:match "^%s*([^;%s]*)%s*(.*)$"
    media = media:lower()
    local version = parameters:match ';%s*version="?([%d.]+)'
    if media == "application/openmetrics-text" and (not version or version == "1.0.0") then
      open = math.max(open, quality(parameters))
    elseif media == "text/plain" then
      plain = math.max(plain, quality(parameters))
    end
  end
  return open > 0 and open >= plain
end

local writers = {}

local function braced(labels, more)
  if labels ~= "" and more then labels = labels .. "," .. more else labels = more or labels end
  return labels == "" and "" or "{" .. labels .. "}"
end

-- An instant with milliseconds.
local function write_created(page, name, series)
  if not page.open then return end
  page:line(name, "_created", braced(series.labels), " ", ("%.3f"):format(series.created or page.created))
end

function writers.counter(page, name, series)
  page:line(name, "_total", braced(series.labels), " ", M.number(series.value))
  write_created(page, name, series)
end

function writers.gauge(page, name, series)
  page:line(name, braced(series.labels), " ", M.number(series.value))
end

-- series[i]: how many are in the bucket up to bounds[i] and in none before it.
function writers.histogram(page, name, series)
  local below = 0
  for i, bound in ipairs(series.bounds) do
    below = below + series[i]
    page:line(name, "_bucket", braced(series.labels, 'le="' .. bound_text(bound) .. '"'), " ", M.number(below))
  end
  page:line(name, "_bucket", braced(series.labels, 'le="+Inf"'), " ", M.number(series.count))
  page:line(name, "_sum", braced(series.labels), " ", M.number(series.sum))
  page:line(name, "_count", braced(series.labels), " ", M.number(series.count))
  write_created(page, name, series)
end

local Page = {}
Page.__index = Page

function Page:line(...)
  self.lines[#self.lines + 1] = table.concat { ... }
end

---A family: page(type, name, help, series). One without series is left out.
function Page:__call(kind, name, help, list)
  if #list == 0 then return end
  local shown = name .. (kind == "counter" and not self.open and "_total" or "")
  help = help:gsub("[\\\n]", ESCAPES)
  if self.open then help = help:gsub('"', '\\"') end
  self:line("# HELP ", shown, " ", help)
  self:line("# TYPE ", shown, " ", kind)
  for _, series in ipairs(list) do writers[kind](self, name, series) end
end

---A page to be filled.
---@param open boolean OpenMetrics
---@param created number when the counting began, epoch seconds
function M.page(open, created)
  local page = setmetatable({ open = open, created = created, lines = {} }, Page)

  ---Families that are text already, with a newline at their end.
  function page.add_text(text) page.lines[#page.lines + 1] = text:sub(1, -2) end

  ---@return string body
  ---@return string content_type
  function page.finish()
    if open then page.lines[#page.lines + 1] = "# EOF" end
    page.lines[#page.lines + 1] = ""
    return table.concat(page.lines, "\n"), open and OPEN or PLAIN
  end
  return page
end

return M
