--- How many requests there were and how long they took, by route: kept once metrics are asked for.
--
-- SPDX-License-Identifier: MIT

local render = require "jobrun.metrics.render"

local M = {
  is_on = false,
}

local BOUNDS <const> = { 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10 }
local METHODS = { GET = true, HEAD = true, POST = true, PUT = true, PATCH = true, DELETE = true, OPTIONS = true }

local requests, durations = {}, {} -- series by labels; as there are few routes, their number is bounded

local function histogram(route)
  local series = { labels = ('route="%s"'):format(render.escape(route)), bounds = BOUNDS, count = 0, sum = 0 }
  for i = 1, #BOUNDS do series[i] = 0 end
  durations[route] = series
  return series
end

local function counter(key, method, route, status)
  local labels = ('method="%s",route="%s",status="%d"'):format(method, render.escape(route), status)
  requests[key] = { labels = labels, value = 0 }
  return requests[key]
end

---Counts a request. A path that leads to no route has the route "".
---@param method string
---@param route string? the template
---@param status integer
---@param seconds number until its response was made
function M.note(method, route, status, seconds)
  method, route = METHODS[method] and method or "other", route or ""
  local key = method .. " " .. status .. " " .. route
  local count = requests[key] or counter(key, method, route, status)
  count.value = count.value + 1
  local series = durations[route] or histogram(route)
  series.count, series.sum = series.count + 1, series.sum + seconds
  for i = 1, #BOUNDS do
    if seconds <= BOUNDS[i] then
      series[i] = series[i] + 1
      return
    end
  end
end

local function in_order(by_key)
  local list = {}
  for _, series in pairs(by_key) do list[#list + 1] = series end
  table.sort(list, function(a, b) return a.labels < b.labels end)
  return list
end

---@param add fun(type: string, name: string, help: string, series: table[])
function M.collect(add)
  add("counter", "jobrun_http_requests", "Requests that were answered.", in_order(requests))
  add("histogram", "jobrun_http_request_duration_seconds", "Time until the response to a request was made.",
    in_order(durations))
end

return M
