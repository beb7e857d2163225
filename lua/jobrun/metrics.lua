--- `metrics`: figures for Prometheus, the script's own beside those jobrun keeps.
---
--- `metrics.counter("frames_total", "Frames encoded."):add(25, {codec = "av1"})`; also metrics.gauge, metrics.histogram.
--- A declaration may stand where the figure is used: the same name gives the same metric again.
---
--- jobrun counts for itself from the first use of this word on (`--listen` is one): until then nothing is counted.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.metrics"
local host = require "jobrun.core.host"
local http_meter = require "jobrun.http.meter"
local render = require "jobrun.metrics.render"

local M = {}

local MOST_SERIES <const> = 1000 -- of one metric, unless its declaration says otherwise

local families, order, collectors = {}, {}, {} -- families by OpenMetrics name; each in order of declaration
local dropped = {} -- [name] = observations left out

-- ---- series ---------------------------------------------------------------------------------------

local function check_label(metric, name, value)
  if type(name) ~= "string" or not name:find "^[%a_][%w_]*$" or name:find "^__" then
    check.fail("metric %s: label names are letters, digits and _, and do not begin with __; got %s", metric.shown,
      check.show(name))
  end
  if metric.type == "histogram" and name == "le" then
    check.fail("metric %s: the label le is the histogram's own", metric.shown)
  end
  if metric.declared and not metric.declared[name] then
    check.fail("metric %s: unknown label %s%s", metric.shown, check.show(name), check.hint(name, metric.declared))
  end
  if type(value) ~= "string" and type(value) ~= "number" and type(value) ~= "boolean" then
    check.fail("metric %s: label %s: expected a string, got %s", metric.shown, name, type(value))
  end
end

-- `codec="av1",host="a"`: what the series is known by, and what is printed.
local function text_of(metric, labels)
  if type(labels) ~= "table" then
    check.fail("metric %s: expected a table of labels, got %s", metric.shown, check.show(labels))
  end
  local parts, n = {}, 0
  for name, value in pairs(labels) do
    check_label(metric, name, value)
    n = n + 1
    parts[n] = name .. '="' .. render.escape(tostring(value)) .. '"'
  end
  for name in pairs(metric.declared or {}) do
    if labels[name] == nil then check.fail("metric %s: label %s is missing", metric.shown, name) end
  end
  table.sort(parts)
  return table.concat(parts, ",")
end

-- One label is the usual case: its series is found without making a text.
local function quick(metric, labels)
  local name, value = next(labels)
  if name == nil or next(labels, name) ~= nil then return nil end
  local by_value = metric.quick[name]
  return by_value and by_value[value], name, value
end

local function remember(metric, series, name, value)
  if name == nil then return end
  metric.quick[name] = metric.quick[name] or {}
  metric.quick[name][value] = series
end

local function drop(metric)
  if not dropped[metric.shown] then
    host.log("warn", ("metric %s has %d series, which is its limit (max_series): further ones are left out, see "
      .. "jobrun_metrics_dropped_total"):format(metric.shown, metric.count))
  end
  dropped[metric.shown] = (dropped[metric.shown] or 0) + 1
end

-- The series with these labels; nil where there are too many.
local function series_of(metric, labels)
  if labels == nil and not metric.declared then
    if metric.plain then return metric.plain end
    labels = {}
  end
  local found, name, value
  if type(labels) == "table" then found, name, value = quick(metric, labels) end
  if found then return found end
  local text = text_of(metric, labels or {})
  local series = metric.series[text]
  if not series then
    if metric.count >= metric.max_series then return drop(metric) end
    series = metric:new_series(text)
    metric.series[text], metric.count = series, metric.count + 1
    metric.list[#metric.list + 1] = series
  end
  if text == "" then metric.plain = series end
  remember(metric, series, name, value)
  return series
end

local function check_number(metric, what, n)
  if type(n) ~= "number" or n ~= n then
    check.fail("metric %s: %s expected a number, got %s", metric.shown, what, check.show(n))
  end
end

local Family = {}
Family.__index = Family

function Family:new_series(text)
  return { labels = text, value = 0, created = host.now() }
end

---Takes the series with these labels away.
---@param labels? table<string, string|number|boolean>
function Family:remove(labels)
  local text = text_of(self, labels or {})
  local series = self.series[text]
  if not series then return end
  self.series[text], self.count, self.quick, self.plain = nil, self.count - 1, {}, nil
  for i, other in ipairs(self.list) do
    if other == series then return table.remove(self.list, i) end
  end
end

-- ---- counter, gauge, histogram ----------------------------------------------------------------------

---@class jobrun.Counter
local Counter = setmetatable({}, Family)
Counter.__index = Counter

---Adds `n`, which is not negative.
---@param n? number (1)
---@param labels? table<string, string|number|boolean>
function Counter:add(n, labels)
  if n == nil then n = 1 end
  check_number(self, "add", n)
  if n < 0 or n == math.huge then check.fail("metric %s: a counter only grows, got %s", self.shown, n) end
  local series = series_of(self, labels)
  if series then series.value = series.value + n end
end

---@class jobrun.Gauge
local Gauge = setmetatable({}, Family)
Gauge.__index = Gauge

---@param value number
---@param labels? table<string, string|number|boolean>
function Gauge:set(value, labels)
  check_number(self, "set", value)
  local series = series_of(self, labels)
  if series then series.value = value end
end

---@param n? number (1) may be negative
---@param labels? table<string, string|number|boolean>
function Gauge:add(n, labels)
  if n == nil then n = 1 end
  check_number(self, "add", n)
  local series = series_of(self, labels)
  if series then series.value = series.value + n end
end

---@class jobrun.Histogram
local Histogram = setmetatable({}, Family)
Histogram.__index = Histogram

function Histogram:new_series(text)
  local series = { labels = text, count = 0, sum = 0, created = host.now(), bounds = self.bounds }
  for i = 1, #self.bounds do series[i] = 0 end
  return series
end

---Counts a value: of seconds, as a rule.
---@param value number
---@param labels? table<string, string|number|boolean>
function Histogram:observe(value, labels)
  check_number(self, "observe", value)
  local series, bounds = series_of(self, labels), self.bounds
  if not series then return end
  series.count, series.sum = series.count + 1, series.sum + value
  for i = 1, #bounds do
    if value <= bounds[i] then
      series[i] = series[i] + 1
      return
    end
  end
end

-- ---- declaring ---------------------------------------------------------------------------------------

local OPTIONS = {
  labels = "table",
  max_series = { type = "integer", default = MOST_SERIES, min = 1 },
  buckets = "table",
}
local DEFAULT_BUCKETS = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 }
local ENDINGS = { "_total", "_created", "_bucket", "_count", "_sum", "_info" }

local function check_name(kind, name)
  local what = "metrics." .. kind
  if type(name) ~= "string" or not name:find "^[%a_:][%w_:]*$" then
    check.fail('%s: expected a name of letters, digits and _, such as "frames_total", got %s', what, check.show(name))
  end
  if name:find "^jobrun_" or name:find "^process_" or name:find "^__" then
    check.fail("%s: names that begin with %s are not for scripts, got %s", what, name:match "^_?_?[a-z]*_", name)
  end
  if kind == "counter" then
    if not name:find "._total$" then check.fail("%s: a counter's name ends in _total: write %s_total", what, name) end
    return name:sub(1, -7)
  end
  for _, ending in ipairs(ENDINGS) do
    if name:sub(-#ending) == ending then check.fail("%s: a %s's name does not end in %s, got %s", what, kind, ending, name) end
  end
  return name
end

local function check_buckets(buckets)
  if #buckets == 0 then check.fail "metrics.histogram: expected buckets such as {0.1, 1, 10}, got none" end
  for i, bound in ipairs(buckets) do
    if type(bound) ~= "number" or bound ~= bound or bound == math.huge then
      check.fail("metrics.histogram: bucket %d: expected a number, got %s", i, check.show(bound))
    end
    if i > 1 and bound <= buckets[i - 1] then
      check.fail("metrics.histogram: the buckets must rise, got %s after %s", bound, buckets[i - 1])
    end
  end
  return table.move(buckets, 1, #buckets, 1, {})
end

local function declared_labels(kind, labels)
  if not labels then return nil end
  local set = {}
  for _, name in ipairs(labels) do
    check_label({ shown = "metrics." .. kind, type = kind }, name, "")
    set[name] = true
  end
  return next(set) and set or nil
end

local function same_again(family, kind, name, help, options)
  if family.type ~= kind then check.fail("metrics.%s: %s is a %s already", kind, name, family.type) end
  if help ~= nil and help ~= family.help then
    check.fail("metrics.%s: %s was declared with another help text: %s", kind, name, check.show(family.help))
  end
  if options ~= nil then check.fail("metrics.%s: %s was declared before: the options belong there", kind, name) end
  return family
end

local function declare(kind, meta, name, help, options)
  local base = check_name(kind, name)
  local family = families[base]
  if family then return same_again(family, kind, name, help, options) end
  if type(help) ~= "string" or help == "" then
    check.fail('metrics.%s: %s needs a sentence of help, got %s', kind, name, check.show(help))
  end
  local o = check.options("metrics." .. kind, options or {}, OPTIONS)
  if o.buckets and kind ~= "histogram" then check.fail("metrics.%s: only a histogram has buckets", kind) end
  family = setmetatable({
    name = base, shown = name, type = kind, help = help, declared = declared_labels(kind, o.labels), count = 0,
    max_series = o.max_series, series = {}, list = {}, quick = {},
    bounds = kind == "histogram" and check_buckets(o.buckets or DEFAULT_BUCKETS) or nil,
  }, meta)
  families[base] = family
  order[#order + 1] = family
  return family
end

---@class jobrun.MetricOptions
---@field labels? string[] the labels each series has; without it they are free
---@field max_series? integer (1000) further ones are left out, counted and logged once
---@field buckets? number[] of a histogram: upper bounds (0.005 to 10)

---Something that only grows. Its name ends in _total.
---@param name string
---@param help? string a sentence; may be left out when it was declared before
---@param options? jobrun.MetricOptions
---@return jobrun.Counter
function M.counter(name, help, options) return declare("counter", Counter, name, help, options) end

---Something that goes up and down.
---@param name string
---@param help? string
---@param options? jobrun.MetricOptions
---@return jobrun.Gauge
function M.gauge(name, help, options) return declare("gauge", Gauge, name, help, options) end

---How values are spread.
---@param name string
---@param help? string
---@param options? jobrun.MetricOptions
---@return jobrun.Histogram
function M.histogram(name, help, options) return declare("histogram", Histogram, name, help, options) end

-- ---- reading ------------------------------------------------------------------------------------------

---Calls `fn(add)` whenever metrics are read; `add(type, name, help, series)` adds a family, `series` a list of
---{labels = 'a="b"', value =}. The name has no _total. For modules of jobrun.
---@package
function M.collector(fn) collectors[#collectors + 1] = fn end

local function builtin(add, add_text)
  local text = core.jobs(add.open, add.created)
  if text ~= "" then add_text(text) end
  require("jobrun.metrics.builtin").collect(add, dropped)
  http_meter.collect(add)
end

local created = host.now()
http_meter.is_on = true

---All figures as text, and its content type: OpenMetrics 1.0 where the Accept field prefers it, else the format 0.0.4.
---@param accept? string
---@return string body
---@return string content_type
function M.text(accept)
  local page = render.page(render.wants_open(accept), created)
  builtin(page, page.add_text)
  for _, fn in ipairs(collectors) do fn(page) end
  for _, family in ipairs(order) do page(family.type, family.name, family.help, family.list) end
  return page.finish()
end

return M
